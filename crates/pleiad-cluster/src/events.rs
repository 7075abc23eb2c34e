//! What happens in a cluster, as it happens.

use std::time::{Duration, SystemTime};

use pleiad_types::{Attempt, JobId};
use tokio::sync::broadcast;

/// Something that has happened in a cluster.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Event {
    /// When, by this machine's clock.
    pub at: SystemTime,
    /// What.
    pub kind: EventKind,
}

/// What has happened.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum EventKind {
    /// A job was accepted.
    Accepted {
        /// Which.
        job: JobId,
    },
    /// A job was given to a worker, to be run now or after others.
    Assigned {
        /// Which.
        job: JobId,
        /// Which try.
        attempt: Attempt,
    },
    /// A job has sent a provisional result or another message.
    Message {
        /// Which.
        job: JobId,
    },
    /// A job tells how far it is.
    Progress {
        /// Which.
        job: JobId,
        /// So much is done.
        done: u64,
        /// Of so much.
        total: u64,
    },
    /// A job did not succeed and is to be tried again.
    Retrying {
        /// Which.
        job: JobId,
        /// The try that did not succeed.
        attempt: Attempt,
        /// Why not.
        why: String,
        /// How long until the next.
        wait: Duration,
    },
    /// A job gave its result.
    Succeeded {
        /// Which.
        job: JobId,
    },
    /// A job failed for good.
    Failed {
        /// Which.
        job: JobId,
        /// Why.
        why: String,
    },
    /// A job was cancelled.
    Cancelled {
        /// Which.
        job: JobId,
    },
    /// A worker was started.
    WorkerStarted {
        /// Its number, from 1.
        worker: u32,
    },
    /// A worker has ended.
    WorkerEnded {
        /// Its number.
        worker: u32,
        /// How.
        how: String,
    },
    /// The reader was too slow, and so many events are gone.
    Missed(u64),
}

/// The events of a cluster from the moment of [`Cluster::events`](crate::Cluster::events) on.
#[derive(Debug)]
pub struct Events(pub(crate) broadcast::Receiver<Event>);

impl Events {
    /// The next event; `None` once the cluster is closed.
    ///
    /// Events of one job come in their order. A reader that is more than 4,096 events behind gets
    /// [`EventKind::Missed`] instead of the oldest.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe: no event is lost.
    pub async fn next(&mut self) -> Option<Event> {
        match self.0.recv().await {
            Ok(event) => Some(event),
            Err(broadcast::error::RecvError::Lagged(n)) => {
                Some(Event { at: SystemTime::now(), kind: EventKind::Missed(n) })
            }
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

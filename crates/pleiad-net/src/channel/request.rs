//! What goes between a channel and those who have found it. Messages as all others: there is no protocol.

use std::time::Duration;

use pleiad_task::{PublishError, Published, Reply, TaskRef};
use serde::{Deserialize, Serialize};

use crate::message::Message;

/// What a channel is to do.
#[derive(Serialize, Deserialize)]
#[serde(bound = "T: Message")]
pub(super) enum Request<T> {
    Publish(T),
    Deliver {
        message: T,
        at_least: Option<u64>,
        timeout: Option<Duration>,
        reply: Reply<Result<Counts, NotDelivered>>,
    },
    Subscribe {
        task: TaskRef<T>,
        /// One whose subscription ends at the same time.
        instead_of: Option<TaskRef<T>>,
        reply: Reply<Result<(), NotSubscribed>>,
    },
    Unsubscribe {
        task: TaskRef<T>,
        /// Whether there was a subscription.
        reply: Reply<bool>,
    },
}

/// A [`Published`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Counts {
    reached: u64,
    missed: u64,
    disconnected: u64,
    filtered: u64,
}

/// A [`PublishError`], and one more.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum NotDelivered {
    Closed,
    TimedOut { reached: u64, wanted: u64 },
    TooFew { reached: u64, wanted: u64 },
    Busy,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum NotSubscribed {
    ChannelClosed,
    TaskClosed,
}

impl From<Published> for Counts {
    fn from(published: Published) -> Self {
        Self {
            reached: published.reached as u64,
            missed: published.missed as u64,
            disconnected: published.disconnected as u64,
            filtered: published.filtered as u64,
        }
    }
}

impl From<Counts> for Published {
    fn from(counts: Counts) -> Self {
        let mut published = Self::default();
        published.reached = size(counts.reached);
        published.missed = size(counts.missed);
        published.disconnected = size(counts.disconnected);
        published.filtered = size(counts.filtered);
        published
    }
}

impl From<PublishError> for NotDelivered {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::TimedOut { reached, wanted, .. } => {
                Self::TimedOut { reached: reached as u64, wanted: wanted as u64 }
            }
            PublishError::TooFew { reached, wanted, .. } => {
                Self::TooFew { reached: reached as u64, wanted: wanted as u64 }
            }
            _ => Self::Closed,
        }
    }
}

/// The peer may be larger than this machine.
pub(super) fn size(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

//! What a job can see and do while it runs.

use std::any::{Any, type_name};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pleiad_types::limits::BODY_BYTES_MAX;
use pleiad_types::{Attempt, JobId};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::message;
use crate::worker::wire::{FromWorker, Run};
use crate::worker::{Inbox, Outbox};

/// What a job can see and do while it runs: who it is, whether it should stop, the data of its
/// worker, and messages in both directions.
///
/// A job gets one by taking `&JobContext` as its first argument.
///
/// ```
/// use std::time::Duration;
/// use pleiad_cluster::JobContext;
///
/// fn search(job: &JobContext, start: u64) -> u64 {
///     let mut best = start;
///     while !job.should_stop() && best < start + 1_000 {
///         best += 1;
///         job.progress(best - start, 1_000);
///     }
///     best
/// }
/// ```
pub struct JobContext {
    run: Run,
    machine: Arc<str>,
    inbox: Arc<Inbox>,
    outbox: Option<Arc<Outbox>>,
    data: Option<Arc<dyn Any + Send + Sync>>,
}

impl fmt::Debug for JobContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JobContext({}, {} on {})", self.run.job, self.run.attempt, self.machine)
    }
}

impl JobContext {
    /// The job's number.
    pub fn job(&self) -> JobId {
        self.run.job
    }

    /// Which try this is.
    pub fn attempt(&self) -> Attempt {
        self.run.attempt
    }

    /// The name of the machine.
    pub fn machine(&self) -> &str {
        &self.machine
    }

    /// Whether the job should come to an end: it was cancelled or has run as long as it may.
    ///
    /// A job that returns within the grace (5 s unless the cluster says otherwise) keeps its
    /// worker; later it is ended by force. What it returns is its result if it was asked to
    /// [finish early](crate::Job::finish_early) or has reached its limit; after a cancel it is
    /// dropped. Costs about a nanosecond.
    pub fn should_stop(&self) -> bool {
        self.inbox.stopping()
    }

    /// Waits for `time`, or until the job [should stop](Self::should_stop); says whether it should.
    pub fn wait_for_stop(&self, time: Duration) -> bool {
        self.inbox.wait_for_stop(Instant::now() + time)
    }

    /// Sends a provisional result, or any other message, to whoever waits for this job; see
    /// [`Job::messages`](crate::Job::messages).
    ///
    /// Messages of one job arrive in order and before its end. Whoever reads too slowly loses the
    /// oldest ones and is told how many. Nobody reading costs little: they are dropped.
    ///
    /// # Errors
    ///
    /// If the value does not serialise or is over 1 GiB. Nothing was sent.
    pub fn send<T: Serialize>(&self, value: &T) -> Result<(), JobSendError> {
        let body = message::encode(value)?;
        if let Some(outbox) = &self.outbox {
            outbox.send(&FromWorker::Message { run: self.run, body });
        }
        Ok(())
    }

    /// Tells how far the job is: `done` of `total`, in whatever unit.
    pub fn progress(&self, done: u64, total: u64) {
        if let Some(outbox) = &self.outbox {
            outbox.add_frame(&FromWorker::Progress { run: self.run, done, total });
        }
    }

    /// Waits for the next message that was sent to this job by [`Job::send`](crate::Job::send),
    /// at most for `time`.
    ///
    /// `Ok(None)`: none came in that time, or the job should stop.
    ///
    /// # Errors
    ///
    /// If the message is of another type. It is taken out all the same.
    pub fn recv<T: DeserializeOwned>(&self, time: Duration) -> Result<Option<T>, MessageError> {
        self.inbox.take(Instant::now() + time).map(|body| message::decode(&body)).transpose()
    }

    /// The next message, if there is one already. See [`recv`](Self::recv).
    ///
    /// # Errors
    ///
    /// If the message is of another type. It is taken out all the same.
    pub fn try_recv<T: DeserializeOwned>(&self) -> Result<Option<T>, MessageError> {
        self.recv(Duration::ZERO)
    }

    /// The data that the setup of this worker has made.
    ///
    /// # Panics
    ///
    /// If there was no setup, or it made something of another type: the job then fails with a
    /// text that says so.
    pub fn data<T: Send + Sync + 'static>(&self) -> &T {
        let Some(data) = &self.data else {
            panic!("this worker has no data: give the computation a setup");
        };
        let found = data.downcast_ref();
        found.unwrap_or_else(|| panic!("the data of this worker is no `{}`", type_name::<T>()))
    }

    /// A context for functions that run before any job.
    pub(crate) fn outside() -> Self {
        let run = Run { slot: 0, job: JobId(0), attempt: Attempt::FIRST };
        Self { run, machine: "".into(), inbox: Arc::default(), outbox: None, data: None }
    }

    pub(crate) fn inside(machine: Arc<str>, outbox: Arc<Outbox>) -> Self {
        Self { machine, outbox: Some(outbox), ..Self::outside() }
    }

    pub(crate) fn begin(
        &mut self,
        run: Run,
        inbox: Arc<Inbox>,
        data: Option<&Arc<dyn Any + Send + Sync>>,
    ) {
        self.run = run;
        self.inbox = inbox;
        if self.data.is_none() {
            self.data = data.cloned();
        }
    }
}

/// A message that could not be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JobSendError {
    /// It does not serialise. Nothing was sent.
    #[error("the message does not serialise: {0}")]
    Unserialisable(String),
    /// It is over the limit. Nothing was sent: write it to a file and send the name.
    #[error("the message has {0} bytes, more than the limit of {BODY_BYTES_MAX}")]
    TooLarge(usize),
    /// The job is final. Nothing was sent.
    #[error("the job is final")]
    Final,
    /// The job runs a program, which takes no messages.
    #[error("a program takes no messages")]
    Program,
    /// The cluster is closed.
    #[error("the cluster is closed")]
    Closed,
}

/// A message of another type than was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a message of type `{expected}`: {why}")]
pub struct MessageError {
    /// The type that was asked for.
    pub expected: &'static str,
    /// What is wrong.
    pub why: String,
}

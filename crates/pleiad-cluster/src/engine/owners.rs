//! Who waits for a job, and what they are given.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use pleiad_sched::ClassId;
use pleiad_types::limits::JOB_MESSAGES_MAX;
use pleiad_types::{Attempt, JobId};
use tokio::sync::{mpsc, oneshot};

use crate::error::{JobError, JobErrorKind, SubmitError};
use crate::program::{Captured, ProgramOutput};
use crate::queue::Queue;

pub(crate) use pleiad_types::SetId;

/// What came of an attempt.
#[derive(Debug)]
pub(crate) enum Report {
    /// The serialised result of a function.
    Value { bytes: Bytes, ran: Duration },
    /// The same, with what the function had printed.
    Printed(Box<PrintedValue>),
    /// What a program left behind.
    Program(Box<ProgramOutput>),
    /// Why there is nothing.
    Error(Box<JobErrorKind>),
    /// A program was ended; this is what there was.
    Stopped(Option<Box<ProgramOutput>>),
}

#[derive(Debug)]
pub(crate) struct PrintedValue {
    pub(crate) bytes: Bytes,
    pub(crate) ran: Duration,
    pub(crate) stdout: Captured,
    pub(crate) stderr: Captured,
}

impl Report {
    pub(super) fn into_error(self) -> Option<JobErrorKind> {
        match self {
            Self::Error(kind) => Some(*kind),
            Self::Program(output) => Some(JobErrorKind::Exited(output)),
            Self::Stopped(Some(output)) => Some(JobErrorKind::Exited(output)),
            Self::Value { .. } | Self::Printed(_) | Self::Stopped(None) => None,
        }
    }

    pub(super) fn into_output(self) -> Option<Box<ProgramOutput>> {
        match self {
            Self::Program(output) => Some(output),
            Self::Stopped(output) => output,
            Self::Error(kind) => match *kind {
                JobErrorKind::Exited(output) => Some(output),
                _ => None,
            },
            Self::Value { .. } | Self::Printed(_) => None,
        }
    }
}

/// How a job ended, for whoever waits for it.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) index: usize,
    pub(crate) job: JobId,
    pub(crate) attempt: Attempt,
    pub(crate) result: Result<Report, JobError>,
}

/// Who waits for a job.
#[derive(Debug)]
pub(crate) enum Owner {
    One(Box<One>),
    Set { set: SetId, index: usize },
}

impl Owner {
    /// Nobody will ask for the job any more.
    pub(super) fn release(&mut self) {
        if let Self::One(one) = self {
            one.released = true;
        }
    }

    pub(super) fn name(&self) -> Option<String> {
        match self {
            Self::One(one) => one.name.clone(),
            Self::Set { .. } => None,
        }
    }
}

/// The waiting end of a job of its own.
#[derive(Debug)]
pub(crate) struct One {
    pub(crate) name: Option<String>,
    /// Nobody will ask for it any more; its record goes when it is final.
    pub(crate) released: bool,
    pub(crate) shared: Arc<JobShared>,
    /// Until it has been told.
    done: Option<oneshot::Sender<Done>>,
}

impl One {
    pub(crate) fn new(
        name: Option<String>,
        shared: Arc<JobShared>,
        done: oneshot::Sender<Done>,
    ) -> Self {
        Self { name, released: false, shared, done: Some(done) }
    }

    pub(super) fn finish(mut self, job: JobId, attempt: Attempt, result: Result<Report, JobError>) {
        // Who has the result finds no message that comes later.
        self.shared.messages.close();
        if let Some(done) = self.done.take() {
            let _ = done.send(Done { index: 0, job, attempt, result });
        }
    }

    pub(super) fn refuse(self, error: SubmitError) {
        self.finish(JobId(0), Attempt(0), Err(error.into()));
    }
}

/// Also when the engine ends before the job does: its messages may be read without a handle that
/// keeps the engine.
impl Drop for One {
    fn drop(&mut self) {
        self.shared.messages.close();
    }
}

const ABANDONED: u64 = u64::MAX;

/// What a running job tells those who wait for it.
#[derive(Debug)]
pub(crate) struct JobShared {
    pub(crate) messages: Queue<Bytes>,
    /// Its number; 0 before it is accepted, [`ABANDONED`] if nobody waits any more.
    job: AtomicU64,
    done: AtomicU64,
    total: AtomicU64,
}

impl JobShared {
    pub(crate) fn new() -> Self {
        let messages = Queue::new(JOB_MESSAGES_MAX);
        let zero = || AtomicU64::new(0);
        Self { messages, job: zero(), done: zero(), total: zero() }
    }

    /// False if nobody waits for it any more.
    pub(super) fn accepted(&self, job: JobId) -> bool {
        self.job.compare_exchange(0, job.0, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Nobody waits for it any more. Gives its number if it has been accepted.
    pub(crate) fn abandon(&self) -> Option<JobId> {
        Some(self.job.swap(ABANDONED, Ordering::AcqRel)).filter(|job| *job != 0).map(JobId)
    }

    pub(super) fn set_progress(&self, done: u64, total: u64) {
        self.total.store(total, Ordering::Relaxed);
        self.done.store(done, Ordering::Relaxed);
    }

    pub(crate) fn progress(&self) -> Option<(u64, u64)> {
        let total = self.total.load(Ordering::Relaxed);
        (total > 0).then(|| (self.done.load(Ordering::Relaxed).min(total), total))
    }
}

/// A message from a job of a set.
#[derive(Debug)]
pub(crate) struct SetMessage {
    pub(crate) index: usize,
    pub(crate) job: JobId,
    pub(crate) body: Bytes,
}

/// What the running jobs of a set tell those who wait for them.
#[derive(Debug)]
pub(crate) struct SetShared {
    pub(crate) messages: Queue<SetMessage>,
}

impl SetShared {
    pub(crate) fn new() -> Self {
        Self { messages: Queue::new(JOB_MESSAGES_MAX) }
    }
}

/// The sets of a cluster.
#[derive(Default)]
pub(super) struct Sets {
    sets: BTreeMap<SetId, Set>,
    /// Those with something in `done`.
    with_news: Vec<SetId>,
}

struct Set {
    class: ClassId,
    shared: Arc<SetShared>,
    unfinished: usize,
    done: Vec<Done>,
    sender: mpsc::UnboundedSender<Vec<Done>>,
}

impl Sets {
    pub(super) fn open(
        &mut self,
        id: SetId,
        class: ClassId,
        shared: Arc<SetShared>,
        sender: mpsc::UnboundedSender<Vec<Done>>,
    ) {
        let set = Set { class, shared, unfinished: 0, done: Vec::new(), sender };
        self.sets.insert(id, set);
    }

    pub(super) fn class(&self, set: SetId) -> Option<ClassId> {
        self.sets.get(&set).map(|set| set.class)
    }

    /// Counts one more job that is not final.
    pub(super) fn add(&mut self, set: SetId) {
        if let Some(set) = self.sets.get_mut(&set) {
            set.unfinished += 1;
        }
    }

    /// How many of the set's jobs are not final.
    pub(super) fn unfinished(&self, set: SetId) -> usize {
        self.sets.get(&set).map_or(0, |set| set.unfinished)
    }

    /// A job of the set is final.
    pub(super) fn done(&mut self, id: SetId, done: Done) {
        if let Some(set) = self.sets.get_mut(&id) {
            set.unfinished -= 1;
            self.tell(id, done);
        }
    }

    /// Tells whoever waits for the set.
    pub(super) fn tell(&mut self, id: SetId, done: Done) {
        let Some(set) = self.sets.get_mut(&id) else { return };
        if set.done.is_empty() {
            self.with_news.push(id);
        }
        set.done.push(done);
    }

    pub(super) fn message(&self, owner: &Owner, job: JobId, body: Bytes) {
        match owner {
            Owner::One(one) => one.shared.messages.put(body),
            Owner::Set { set, index } => {
                if let Some(set) = self.sets.get(set) {
                    set.shared.messages.put(SetMessage { index: *index, job, body });
                }
            }
        }
    }

    pub(super) fn close(&mut self, set: SetId) -> Option<ClassId> {
        self.sets.remove(&set).map(|set| set.class)
    }

    /// Hands over what has gathered.
    pub(super) fn flush(&mut self) {
        for id in self.with_news.drain(..) {
            if let Some(set) = self.sets.get_mut(&id) {
                let _ = set.sender.send(std::mem::take(&mut set.done));
            }
        }
    }
}

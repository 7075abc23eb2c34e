//! What the engine can be asked for.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pleiad_sched::{CancelResult, Class, Explanation};
use pleiad_types::{ComputationId, JobId};
use tokio::sync::{mpsc, oneshot};

use super::owners::{Done, Owner, SetId, SetShared};
use crate::context::JobSendError;
use crate::error::SubmitError;
use crate::job::Record;
use crate::program::{Chunk, Program};
use crate::status::Status;

/// What a job is to do.
#[derive(Debug, Clone)]
pub(crate) enum Work {
    /// Call the function at this place.
    Call { place: i64, args: Bytes },
    /// Run this program.
    Program(Box<ProgramWork>),
}

impl Work {
    /// What an error may call it, if nobody has named it.
    pub(super) fn name(&self) -> Option<String> {
        const CHARS: usize = 80;
        match self {
            Self::Call { .. } => None,
            Self::Program(work) => {
                let command = work.program.to_string();
                match command.char_indices().nth(CHARS) {
                    Some((end, _)) => Some(format!("{}…", &command[..end])),
                    None => Some(command),
                }
            }
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct ProgramWork {
    pub(crate) program: Program,
    /// Where its output goes while it runs.
    pub(crate) chunks: Option<mpsc::Sender<Chunk>>,
}

/// A job to be accepted.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) class: Class,
    pub(crate) work: Work,
    /// Their records are kept until the job is accepted.
    pub(crate) after: Vec<Arc<Record>>,
    pub(crate) owner: Owner,
}

/// Where the workers of a computation live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WorkersMode {
    Processes,
    SharedProcess,
    InProcess,
}

/// How the workers of a computation are to be.
#[derive(Debug, Clone)]
pub(crate) struct Computation {
    pub(crate) mode: WorkersMode,
    pub(crate) keeps_output: bool,
    pub(crate) setup: Option<Setup>,
    pub(crate) setup_limit: Duration,
}

#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) place: i64,
    pub(crate) args: Bytes,
    pub(crate) cleanup: Option<i64>,
}

pub(crate) enum Command {
    Submit {
        submission: Box<Submission>,
        reply: Option<oneshot::Sender<Result<JobId, SubmitError>>>,
    },
    OpenSet {
        set: SetId,
        class: Box<Class>,
        shared: Arc<SetShared>,
        done: mpsc::UnboundedSender<Vec<Done>>,
    },
    SubmitSet {
        set: SetId,
        works: Vec<Work>,
        first_index: usize,
    },
    /// Cancels the set's jobs; their ends are still told.
    CancelSet {
        set: SetId,
    },
    /// Asks the set's jobs for what they have.
    FinishSetEarly {
        set: SetId,
    },
    /// Cancels what is left of the set and forgets it.
    CloseSet {
        set: SetId,
    },
    Cancel {
        job: JobId,
        reply: oneshot::Sender<CancelResult>,
    },
    FinishEarly {
        job: JobId,
        reply: oneshot::Sender<CancelResult>,
    },
    /// Nobody waits for this job any more.
    CancelQuietly {
        job: JobId,
    },
    CancelAll {
        kill: bool,
    },
    /// Cancels the job and ends it by force if it runs.
    Kill {
        job: JobId,
    },
    Release {
        job: JobId,
    },
    Send {
        job: JobId,
        body: Bytes,
        reply: oneshot::Sender<Result<(), JobSendError>>,
    },
    Explain {
        job: JobId,
        reply: oneshot::Sender<Explanation>,
    },
    Status {
        reply: oneshot::Sender<Status>,
    },
    Open {
        computation: Box<Computation>,
        reply: oneshot::Sender<ComputationId>,
    },
    WaitIdle {
        reply: oneshot::Sender<()>,
    },
    Close {
        reply: oneshot::Sender<()>,
    },
}

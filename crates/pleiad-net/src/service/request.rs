//! What goes between those who call and those who serve. Messages as all others: there is no protocol.

use pleiad_task::{Exit, ExitReason, Failure, Reply, TaskRef, far};
use serde::{Deserialize, Serialize};

use crate::link::cut;
use crate::message::Message;

/// That a function is to run.
#[derive(Serialize, Deserialize)]
#[serde(bound = "A: Message, R: Message, M: Message")]
pub(super) struct Request<A, R, M> {
    pub(super) args: A,
    /// Where the task goes, if it is wanted.
    pub(super) started: Option<Reply<TaskRef<M>>>,
    /// Where the result goes. When nobody waits for it any more, the task is ended.
    pub(super) end: Reply<Result<R, Trouble>>,
}

/// Why there is no result.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Trouble {
    /// So many run, and so many wait.
    Busy { running: u64, waiting: u64 },
    /// It is not served any more.
    Stopped,
    /// The task with this number has failed.
    Failed { task: u64, message: String, location: Option<String>, backtrace: Option<String> },
    /// The task with this number was ended.
    Terminated { task: u64 },
}

impl Trouble {
    /// How a task has ended, if not with a result.
    pub(super) fn of(exit: &Exit) -> Self {
        let task = exit.task.id().number();
        match &exit.reason {
            ExitReason::Failed(failure) => Self::Failed {
                task,
                message: cut(&failure.message),
                location: failure.location.as_deref().map(cut),
                backtrace: failure.backtrace.as_deref().map(cut),
            },
            _ => Self::Terminated { task },
        }
    }
}

/// What made a task fail, as it was there.
pub(super) fn failure(
    message: String,
    location: Option<String>,
    backtrace: Option<String>,
) -> Failure {
    far::failure(message, location, backtrace)
}

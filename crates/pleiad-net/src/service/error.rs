use std::time::Duration;

use pleiad_task::{AskError, Failure, far::Unanswered};
use thiserror::Error;

use crate::service::request::{self, Trouble};

/// Why there is no result of a [call](crate::RemoteService::call), or no
/// [task](crate::RemoteService::start).
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CallError {
    /// The function has panicked, or returned an error.
    #[error("{task} failed: {failure}")]
    Failed {
        /// The task in which it ran, as `words/12@shop`.
        task: String,
        /// The text of the panic or error, and where it was.
        failure: Failure,
    },
    /// The task was ended there, before it had a result.
    #[error("{task} was terminated")]
    Terminated {
        /// The task, as `words/12@shop`.
        task: String,
    },
    /// Too many calls run or wait: the function was not called. Try again later.
    #[error("{service} is busy: {running} call(s) run and {waiting} wait; try again later")]
    Busy {
        /// The service and its node, as `words@shop`.
        service: String,
        /// Calls that run.
        running: u64,
        /// Calls that wait.
        waiting: u64,
    },
    /// It is not served any more: the function was not called. To look for it again, see
    /// [`Node::service`](crate::Node::service).
    #[error("{0} is not served any more: locate it again")]
    Stopped(String),
    /// Its node has closed or is lost: the function may or may not have been called.
    #[error("{service} was lost with {peer}, and what became of the call is not known")]
    Lost {
        /// The service and its node.
        service: String,
        /// Who was lost, and why.
        peer: String,
    },
    /// There was no result in time. What runs is ended.
    #[error("{service} gave no result within {after:?}")]
    TimedOut {
        /// The service and its node.
        service: String,
        /// How long it was waited.
        after: Duration,
    },
    /// The arguments cannot be sent: the function was not called. Do not try again.
    #[error("the arguments cannot be sent to {service}: {why}")]
    Unsendable {
        /// The service and its node.
        service: String,
        /// What is wrong with them.
        why: String,
    },
    /// The arguments could not be read there, or the result not be sent or read. Do not try again.
    #[error("the arguments or the result of {service} could not be read: {why}")]
    Unreadable {
        /// The service and its node.
        service: String,
        /// What is wrong with them.
        why: String,
    },
    /// The service was [closed](crate::RemoteService::close) here. What runs is ended.
    #[error("{0} was closed here")]
    Closed(String),
}

/// Whom errors are about.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The name of the service.
    pub(super) service: &'static str,
    /// `@shop`; of this node, nothing.
    pub(super) at: String,
}

impl Place {
    pub(super) fn service(&self) -> String {
        format!("{}{}", self.service, self.at)
    }

    fn task(&self, number: u64) -> String {
        format!("{}/{number}{}", self.service, self.at)
    }

    /// What was asked was not answered.
    pub(super) fn unasked(&self, error: AskError) -> CallError {
        let service = self.service();
        match error {
            AskError::Lost { peer, .. } => CallError::Lost { service, peer },
            AskError::Unsendable { why, .. } => CallError::Unsendable { service, why },
            AskError::Undecodable { why, .. } => CallError::Unreadable { service, why },
            AskError::TimedOut { after, .. } | AskError::NotAsked { after, .. } => {
                CallError::TimedOut { service, after }
            }
            _ => CallError::Stopped(service),
        }
    }

    /// There is no answer.
    pub(super) fn unanswered(&self, why: Unanswered) -> CallError {
        let service = self.service();
        match why {
            Unanswered::Lost(peer) => CallError::Lost { service, peer },
            Unanswered::Undecodable(why) => CallError::Unreadable { service, why },
            Unanswered::Dropped | Unanswered::Unread(_) | Unanswered::Closed => {
                CallError::Stopped(service)
            }
        }
    }

    /// The answer is that there is no result.
    pub(super) fn troubled(&self, trouble: Trouble) -> CallError {
        match trouble {
            Trouble::Busy { running, waiting } => {
                CallError::Busy { service: self.service(), running, waiting }
            }
            Trouble::Stopped => CallError::Stopped(self.service()),
            Trouble::Failed { task, message, location, backtrace } => CallError::Failed {
                task: self.task(task),
                failure: request::failure(message, location, backtrace),
            },
            Trouble::Terminated { task } => CallError::Terminated { task: self.task(task) },
        }
    }
}

use std::fmt;
use std::sync::Arc;

use crate::identity::Identity;

/// That a task has ended, and how. Given to [monitors](crate::TaskRef::monitor), and to those who
/// [wait](crate::TaskRef::ended) for it. Prints as `counter/12 returned`.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exit {
    /// Which task.
    pub task: Identity,
    /// How it ended.
    pub reason: ExitReason,
}

/// How a task has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExitReason {
    /// Its function has returned.
    Returned,
    /// Its function has panicked, or, if it was spawned by [`try_spawn`](crate::try_spawn), has
    /// returned an error.
    Failed(Arc<Failure>),
    /// It was [terminated](crate::TaskRef::terminate), or its runtime was shut down.
    Terminated,
    /// There is no such task.
    NotFound,
    /// The process or machine where it ran was lost; what became of it is not known.
    Lost {
        /// Who was lost.
        peer: String,
    },
}

/// What made a task fail. As text, one line; with `{:?}` also the backtrace.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// The text of the panic, or of the error and its causes.
    pub message: String,
    /// Where it panicked, as `src/main.rs:12:5`.
    pub location: Option<String>,
    /// The way there, if it panicked and `RUST_BACKTRACE` is set.
    pub backtrace: Option<String>,
}

impl Exit {
    pub(crate) fn new(task: Identity, reason: ExitReason) -> Self {
        Self { task, reason }
    }
}

impl ExitReason {
    /// Whether the task ended by itself and without an error.
    pub fn is_returned(&self) -> bool {
        matches!(self, Self::Returned)
    }

    /// Whether the task has failed.
    pub fn is_failed(&self) -> bool {
        matches!(self, Self::Failed(_))
    }

    /// Whether the task was terminated.
    pub fn is_terminated(&self) -> bool {
        matches!(self, Self::Terminated)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.task, self.reason)
    }
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Returned => f.write_str("returned"),
            Self::Failed(failure) => write!(f, "failed: {failure}"),
            Self::Terminated => f.write_str("was terminated"),
            Self::NotFound => f.write_str("was not found"),
            Self::Lost { peer } => write!(f, "was lost with {peer}"),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.location {
            Some(location) => write!(f, "panicked at {location}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// As a person wants to read it, since `unwrap` and `main` print it so.
impl fmt::Debug for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.task)?;
        match &self.reason {
            ExitReason::Failed(failure) => write!(f, "failed: {failure:?}"),
            reason => fmt::Display::fmt(reason, f),
        }
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)?;
        match &self.backtrace {
            Some(backtrace) => write!(f, "\n{backtrace}"),
            None => Ok(()),
        }
    }
}

/// As the result of a task that did not return.
impl std::error::Error for Exit {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::TaskId;

    #[test]
    fn it_prints_in_one_line_and_with_its_backtrace_when_asked() {
        let task = Identity::new(TaskId::next(), || "shop::till", None);
        let number = task.id().number();
        let failure = Failure {
            message: "no change left".to_owned(),
            location: Some("src/till.rs:7:5".to_owned()),
            backtrace: Some("   0: shop::till".to_owned()),
        };
        let exit = Exit::new(task, ExitReason::Failed(Arc::new(failure)));
        let line = format!("till/{number} failed: panicked at src/till.rs:7:5: no change left");
        assert_eq!(exit.to_string(), line);
        assert_eq!(format!("{exit:?}"), format!("{line}\n   0: shop::till"));
    }
}

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::any::AnyTask;
use crate::exit::{Exit, Failure};
use crate::names::{FindError, NameTaken};
use crate::reference::TaskRef;
use crate::reply::Reply;
use crate::supervisor::Child;

/// A reference to a supervisor that runs: given by [`Supervisor::start`](crate::Supervisor::start).
///
/// It is a [`TaskRef`] too: to monitor it, to wait for its end, to end it. Cheap to clone. When the
/// last one is dropped, and the supervisor has no name, it stops its children and ends.
///
/// What is asked of a supervisor that stops or has ended is answered when it has ended, by an error
/// with how. A child that asks its own supervisor to stop, and waits for it, waits until its grace is
/// over.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SupervisorRef(pub(crate) TaskRef<SupervisorMessage>);

/// What a supervisor is asked to do, by the methods of [`SupervisorRef`].
pub struct SupervisorMessage(pub(crate) Request);

pub(crate) enum Request {
    Add(Child, Reply<Result<(), ChildStartError>>),
    StopChild(String, Reply<Result<ChildInfo, ChildError>>),
    RemoveChild(String, Reply<Result<ChildInfo, ChildError>>),
    RestartChild(String, Reply<Result<(), ChildError>>),
    Children(Reply<Vec<ChildInfo>>),
    Stop(Reply<Vec<ChildInfo>>),
}

/// A child, as its supervisor sees it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ChildInfo {
    /// Its name.
    pub name: Arc<str>,
    /// What it does.
    pub state: ChildState,
    /// The task, if it runs.
    pub task: Option<AnyTask>,
    /// How its last incarnation ended, or why its last start went wrong. `None` if its first runs.
    pub exit: Option<Exit>,
    /// How often it was started after the first time: for whatever reason.
    pub restarts: u64,
}

/// See [`ChildInfo::state`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChildState {
    /// It runs.
    Running,
    /// It runs, but was asked to stop or is about to be.
    Stopping,
    /// It has ended, and will be started again: after its back-off, or when others of its group have
    /// ended or started.
    Waiting,
    /// It has ended, and stays so.
    Ended,
}

/// Why a child, and so perhaps a supervisor, was not started.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ChildStartError {
    /// Somebody else has the child's name, or it is no name. Nothing was started.
    #[error("child {child:?} was not started")]
    Name {
        /// The child.
        child: String,
        /// Why it did not get its name.
        source: NameTaken,
    },
    /// The supervisor has a child of this name already, though it may not run. Nothing was started.
    #[error("the supervisor has a child {child:?} already")]
    Exists {
        /// The child.
        child: String,
    },
    /// The child's function has panicked before it gave a future. Nothing was started.
    #[error("child {child:?} was not started: {failure}")]
    Panicked {
        /// The child.
        child: String,
        /// What its function said.
        failure: Arc<Failure>,
    },
    /// The child was stopped or removed before its turn came to be started.
    #[error("child {child:?} was stopped before it was started")]
    Stopped {
        /// The child.
        child: String,
    },
    /// The supervisor has ended.
    #[error("the supervisor has ended")]
    SupervisorEnded(#[source] Exit),
}

/// Why a supervisor did not do to a child what was asked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ChildError {
    /// It has no such child. Nothing was done.
    #[error("the supervisor has no child {0:?}")]
    NoSuchChild(String),
    /// The child was not started. Unless it was stopped, it is tried again as after each failure.
    #[error("the child was not started")]
    NotStarted(#[source] ChildStartError),
    /// The supervisor has ended, and so have its children.
    #[error("the supervisor has ended")]
    SupervisorEnded(#[source] Exit),
}

impl SupervisorRef {
    /// The supervisor that was registered by this name: as
    /// [a child](crate::Child::supervisor) of another, or by [`TaskRef::register`].
    ///
    /// # Errors
    ///
    /// As [`TaskRef::find`].
    pub fn find(name: &str) -> Result<Self, FindError> {
        TaskRef::find(name).map(Self)
    }

    /// As [`find`](Self::find), but waits for at most `timeout` until the name appears.
    ///
    /// # Errors
    ///
    /// As [`TaskRef::locate`].
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time.
    pub async fn locate(name: &str, timeout: Duration) -> Result<Self, FindError> {
        TaskRef::locate(name).timeout(timeout).await.map(Self)
    }

    /// Starts one child more, after all others.
    ///
    /// While a group is restarted, it waits for its turn.
    ///
    /// # Errors
    ///
    /// [`ChildStartError`]; the supervisor then does not have the child.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the child may or may not be added.
    pub async fn add(&self, child: Child) -> Result<(), ChildStartError> {
        let answer = self.request(|reply| Request::Add(child, reply)).await;
        answer.unwrap_or_else(|exit| Err(ChildStartError::SupervisorEnded(exit)))
    }

    /// Stops a child: politely, within its grace, then by force. Waits for its end, and gives how.
    ///
    /// It is not started again, neither by itself nor with its group, until
    /// [`restart_child`](Self::restart_child). Others of its group go on.
    ///
    /// # Errors
    ///
    /// [`ChildError`].
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the child may or may not be stopped.
    pub async fn stop_child(&self, name: &str) -> Result<ChildInfo, ChildError> {
        self.about(|reply| Request::StopChild(name.to_owned(), reply)).await
    }

    /// As [`stop_child`](Self::stop_child), and then forgets the child.
    ///
    /// # Errors
    ///
    /// [`ChildError`].
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the child may or may not be removed.
    pub async fn remove_child(&self, name: &str) -> Result<ChildInfo, ChildError> {
        self.about(|reply| Request::RemoveChild(name.to_owned(), reply)).await
    }

    /// Starts a child, after it was stopped if it runs, and waits for that. It keeps its place among
    /// the others, which go on; it has no back-off, and does not count for the
    /// [intensity](crate::Supervisor::intensity).
    ///
    /// # Errors
    ///
    /// [`ChildError`].
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the child may or may not be restarted.
    pub async fn restart_child(&self, name: &str) -> Result<(), ChildError> {
        self.about(|reply| Request::RestartChild(name.to_owned(), reply)).await
    }

    /// All children, in their order.
    ///
    /// # Errors
    ///
    /// How the supervisor has ended.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time.
    pub async fn children(&self) -> Result<Vec<ChildInfo>, Exit> {
        self.request(Request::Children).await
    }

    /// Stops all children, the last first, each politely within its grace, then by force; then the
    /// supervisor ends. Waits for that, and gives how each child has ended, in their order.
    ///
    /// Takes at most the sum of all graces, if the children await now and then. To make it shorter:
    /// [`TaskRef::kill`] ends supervisor and children at once.
    ///
    /// # Errors
    ///
    /// How the supervisor has ended instead: it was killed, gave up, or had ended before.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the supervisor may or may not stop; if it does, it stops all.
    pub async fn stop(&self) -> Result<Vec<ChildInfo>, Exit> {
        let children = self.request(Request::Stop).await?;
        self.ended().await;
        Ok(children)
    }

    async fn about<T: Send + 'static>(
        &self,
        request: impl FnOnce(Reply<Result<T, ChildError>>) -> Request,
    ) -> Result<T, ChildError> {
        let answer = self.request(request).await;
        answer.unwrap_or_else(|exit| Err(ChildError::SupervisorEnded(exit)))
    }

    async fn request<T: Send + 'static>(
        &self,
        request: impl FnOnce(Reply<T>) -> Request,
    ) -> Result<T, Exit> {
        match self.ask(|reply| SupervisorMessage(request(reply))).await {
            Ok(answer) => Ok(answer),
            // A supervisor drops no question but at its end.
            Err(_) => Err(self.ended().await),
        }
    }
}

impl Deref for SupervisorRef {
    type Target = TaskRef<SupervisorMessage>;

    fn deref(&self) -> &TaskRef<SupervisorMessage> {
        &self.0
    }
}

impl fmt::Display for SupervisorRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for SupervisorRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for SupervisorMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Request::Add(child, _) => write!(f, "add {:?}", child.name),
            Request::StopChild(name, _) => write!(f, "stop {name:?}"),
            Request::RemoveChild(name, _) => write!(f, "remove {name:?}"),
            Request::RestartChild(name, _) => write!(f, "restart {name:?}"),
            Request::Children(_) => f.write_str("tell of the children"),
            Request::Stop(_) => f.write_str("stop"),
        }
    }
}

impl fmt::Display for ChildState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Waiting => "waiting",
            Self::Ended => "ended",
        })
    }
}

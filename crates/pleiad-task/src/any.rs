use std::fmt;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::cell::AnyCell;
use crate::exit::Exit;
use crate::identity::{Identity, TaskId};
use crate::registry::TaskInfo;

/// A task, whatever messages it takes: to end it, to wait for its end, to look at it. Does not keep
/// its mailbox open.
#[derive(Clone)]
pub struct AnyTask(Arc<dyn AnyCell>);

/// An [`AnyTask`] that does not keep its memory either.
#[derive(Clone)]
pub struct WeakAnyTask(Weak<dyn AnyCell>);

impl AnyTask {
    pub(crate) fn new(cell: Arc<dyn AnyCell>) -> Self {
        Self(cell)
    }

    /// The task's number.
    pub fn id(&self) -> TaskId {
        self.0.id()
    }

    /// The task's number and name.
    pub fn identity(&self) -> Identity {
        self.0.identity()
    }

    /// See [`TaskRef::terminate`](crate::TaskRef::terminate).
    pub fn terminate(&self) {
        self.0.stop(None);
    }

    /// See [`TaskRef::terminate_within`](crate::TaskRef::terminate_within).
    pub fn terminate_within(&self, grace: Duration) {
        self.0.stop(Some(grace));
    }

    /// See [`TaskRef::kill`](crate::TaskRef::kill).
    pub fn kill(&self) {
        self.0.kill();
    }

    /// How the task has ended; `None` as long as it lives.
    pub fn exit(&self) -> Option<Exit> {
        self.0.exit()
    }

    /// Waits until the task has ended.
    pub fn ended(&self) -> Ended {
        Ended::new(self.0.clone())
    }

    /// What it does, and how much waits for it.
    pub fn info(&self) -> TaskInfo {
        self.0.info()
    }

    /// One that does not keep the memory of the task.
    pub fn downgrade(&self) -> WeakAnyTask {
        WeakAnyTask(Arc::downgrade(&self.0))
    }

    #[cfg(feature = "far")]
    pub(crate) fn cell(&self) -> &Arc<dyn AnyCell> {
        &self.0
    }
}

impl WeakAnyTask {
    /// The task, if anybody else still knows it.
    pub fn upgrade(&self) -> Option<AnyTask> {
        self.0.upgrade().map(AnyTask)
    }
}

impl fmt::Debug for WeakAnyTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.upgrade() {
            Some(task) => write!(f, "weak {task}"),
            None => f.write_str("weak (a task that nobody knows)"),
        }
    }
}

impl PartialEq for AnyTask {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

impl Eq for AnyTask {}

impl Hash for AnyTask {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id().hash(state);
    }
}

impl fmt::Display for AnyTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.identity(), f)
    }
}

impl fmt::Debug for AnyTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Waits for the end of a task: see [`TaskRef::ended`](crate::TaskRef::ended).
#[must_use = "the end is awaited when this is"]
pub struct Ended {
    cell: Arc<dyn AnyCell>,
    told: Option<oneshot::Receiver<Exit>>,
    /// Of the monitor that will tell, while it waits.
    monitor: Option<u64>,
}

impl Ended {
    pub(crate) fn new(cell: Arc<dyn AnyCell>) -> Self {
        Self { cell, told: None, monitor: None }
    }
}

impl Future for Ended {
    type Output = Exit;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Exit> {
        loop {
            if let Some(exit) = self.cell.exit() {
                self.monitor = None;
                return Poll::Ready(exit);
            }
            if let Some(told) = &mut self.told {
                match Pin::new(told).poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    // Told, or there is nobody left who could: `exit` says more.
                    Poll::Ready(Ok(exit)) => return Poll::Ready(exit),
                    Poll::Ready(Err(_)) => self.told = None,
                }
            }
            let (sender, receiver) = oneshot::channel();
            self.monitor = self.cell.monitor(Box::new(|exit| drop(sender.send(exit))));
            self.told = Some(receiver);
        }
    }
}

/// Who waited only for a time leaves nothing in the task.
impl Drop for Ended {
    fn drop(&mut self) {
        if let Some(number) = self.monitor {
            self.cell.unmonitor(number);
        }
    }
}

impl fmt::Debug for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "end of {}", self.cell.identity())
    }
}

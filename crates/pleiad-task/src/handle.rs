use std::fmt;
use std::future::{Future, IntoFuture};
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::cell::AnyCell;
use crate::exit::{Exit, ExitReason};
use crate::reference::TaskRef;

/// A task that was spawned: a [`TaskRef`], and the result to come.
///
/// Awaiting it gives `Ok` with what its function has returned, or `Err` with how it ended instead. It
/// gives its reference back first: a task that nobody else can send to then gets `None` from its
/// mailbox, and ends by itself.
///
/// Dropping it does not end the task; see [`TaskRef::terminate`].
///
/// # Cancel safety
///
/// The task goes on if the wait is dropped; its result is lost. To go on waiting, keep the future:
/// `let mut end = task.join();`, and then `&mut end`.
#[must_use = "if this is dropped, so is the result, and a task that nobody else can send to will get no more messages"]
pub struct Task<M, R> {
    reference: TaskRef<M>,
    join: JoinHandle<Result<R, Exit>>,
}

/// The end of a task, to be awaited: see [`Task`].
#[must_use = "the end is awaited when this is"]
pub struct Join<R> {
    cell: Arc<dyn AnyCell>,
    join: JoinHandle<Result<R, Exit>>,
}

impl<M: Send + 'static, R> Task<M, R> {
    pub(crate) fn new(reference: TaskRef<M>, join: JoinHandle<Result<R, Exit>>) -> Self {
        Self { reference, join }
    }

    /// Gives the reference back, and gives a future of the result.
    pub fn join(self) -> Join<R> {
        Join { cell: self.reference.cell.clone(), join: self.join }
    }

    /// As awaiting it, for threads that run no tasks: blocks the thread.
    ///
    /// # Errors
    ///
    /// How the task ended, if its function has not returned.
    ///
    /// # Panics
    ///
    /// In async code, which must not block its thread.
    #[track_caller]
    pub fn join_blocking(self) -> Result<R, Exit> {
        crate::block::on(self.join())
    }

    /// Waits for the end for at most so long: the task comes back if it has not ended.
    ///
    /// Unlike awaiting it, this keeps the reference meanwhile, and so the mailbox open: a task that goes
    /// on until nobody can send to it is to be [closed](TaskRef::close) first.
    ///
    /// # Errors
    ///
    /// The task itself, with its result still to come.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with timers.
    ///
    /// # Cancel safety
    ///
    /// The task goes on if the wait is dropped; its result is lost.
    pub async fn join_timeout(mut self, timeout: Duration) -> Result<Result<R, Exit>, Self> {
        match tokio::time::timeout(timeout, &mut self.join).await {
            Ok(joined) => Ok(settle(joined, &*self.reference.cell)),
            Err(_) => Err(self),
        }
    }

    /// Keeps the reference, and has the result go to another task: `message` makes a message of it. As
    /// a [monitor](TaskRef::monitor) that gets the result too; but it waits for room.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn report_to<N: Send + 'static>(
        self,
        other: &TaskRef<N>,
        message: impl FnOnce(Result<R, Exit>) -> N + Send + 'static,
    ) -> TaskRef<M>
    where
        R: Send + 'static,
    {
        let Self { reference, join } = self;
        let (cell, other) = (reference.cell.clone(), other.clone());
        tokio::spawn(async move {
            let result = settle(join.await, &*cell);
            drop(cell);
            // Who has ended meanwhile does not want to know.
            let _ = other.deliver(message(result)).await;
        });
        reference
    }

    /// Keeps the reference, and gives up the result.
    pub fn detach(self) -> TaskRef<M> {
        self.reference
    }
}

impl<M, R> Deref for Task<M, R> {
    type Target = TaskRef<M>;

    fn deref(&self) -> &TaskRef<M> {
        &self.reference
    }
}

impl<M: Send + 'static, R> IntoFuture for Task<M, R> {
    type Output = Result<R, Exit>;
    type IntoFuture = Join<R>;

    fn into_future(self) -> Join<R> {
        self.join()
    }
}

impl<R> Future for Join<R> {
    type Output = Result<R, Exit>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        Pin::new(&mut this.join).poll(cx).map(|joined| settle(joined, &*this.cell))
    }
}

fn settle<R>(
    joined: Result<Result<R, Exit>, tokio::task::JoinError>,
    cell: &dyn AnyCell,
) -> Result<R, Exit> {
    // Tokio itself ends a task only when its runtime is shut down.
    joined.unwrap_or_else(|_| {
        let terminated = || Exit::new(cell.identity(), ExitReason::Terminated);
        Err(cell.exit().unwrap_or_else(terminated))
    })
}

impl<M, R> fmt::Display for Task<M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.reference, f)
    }
}

impl<M, R> fmt::Debug for Task<M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<R> fmt::Debug for Join<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "end of {}", self.cell.identity())
    }
}

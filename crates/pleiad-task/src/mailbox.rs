use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use thiserror::Error;

use crate::cell::TaskCell;
use crate::current;
use crate::deadline::Deadline;
use crate::exit::Exit;
use crate::identity::{Identity, TaskId};
use crate::monitor::{Monitor, MonitorError};
use crate::queue::{Matching, Scanned, TryRecv, bits};
use crate::reference::TaskRef;

/// Where the messages of a task arrive; given to its function.
///
/// Holds at most [`MAILBOX_MESSAGES`](pleiad_types::limits::MAILBOX_MESSAGES) messages, unless its
/// task was spawned with another [capacity](crate::TaskBuilder::capacity). Messages of one sender
/// arrive in order. When it is dropped, and when the task ends, what was not read is dropped, and
/// nothing more is taken.
///
/// It is a [`Stream`] too.
pub struct Mailbox<M> {
    cell: Arc<TaskCell<M>>,
    /// Messages taken out of the queue and not yet read.
    batch: VecDeque<M>,
}

/// Why [`Mailbox::try_recv`] has no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TryRecvError {
    /// There is none at this moment.
    #[error("there is no message")]
    Empty,
    /// There never will be: nobody can send any more.
    #[error("the mailbox is closed and empty")]
    Closed,
}

/// Why [`Mailbox::recv_timeout`] has no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RecvTimeoutError {
    /// None came in time.
    #[error("no message came in time")]
    TimedOut,
    /// There never will be one: nobody can send any more, or the task is asked to stop.
    #[error("the mailbox is closed and empty, or the task is asked to stop")]
    Closed,
}

/// Why [`Mailbox::recv_matching`] has no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RecvMatchingError {
    /// There never will be one: nobody can send any more, or the task is asked to stop.
    #[error("no message matches, and the mailbox is closed, or the task is asked to stop")]
    Closed,
    /// The mailbox is full of messages that do not match, so that no other can come, unless it is urgent
    /// or the end of a monitored task: read some of them.
    #[error("none of the {0} messages matches, and the mailbox has no room for another")]
    Full(usize),
}

impl<M: Send + 'static> Mailbox<M> {
    pub(crate) fn new(cell: Arc<TaskCell<M>>) -> Self {
        Self { cell, batch: VecDeque::new() }
    }

    /// The oldest message; waits until there is one. Urgent ones come first.
    ///
    /// `None` when nobody can send any more and all has been read; and at once when the task is asked
    /// to [stop](TaskRef::terminate), which [`is_stopping`](Self::is_stopping) tells.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, no message is lost.
    pub async fn recv(&mut self) -> Option<M> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// As [`recv`](Self::recv), for at most so long.
    ///
    /// # Errors
    ///
    /// [`RecvTimeoutError::TimedOut`], or [`RecvTimeoutError::Closed`] where `recv` gives `None`.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, no message is lost.
    pub async fn recv_timeout(&mut self, timeout: Duration) -> Result<M, RecvTimeoutError> {
        match tokio::time::timeout(timeout, self.recv()).await {
            Ok(message) => message.ok_or(RecvTimeoutError::Closed),
            Err(_) => Err(RecvTimeoutError::TimedOut),
        }
    }

    /// A message that is there now. Goes on to give messages when the task is asked to stop.
    ///
    /// # Errors
    ///
    /// [`TryRecvError::Empty`] and [`TryRecvError::Closed`].
    pub fn try_recv(&mut self) -> Result<M, TryRecvError> {
        let settles = self.settles();
        self.cell.queue.try_recv(&mut self.batch, settles).map_err(|error| match error {
            TryRecv::Empty => TryRecvError::Empty,
            TryRecv::Closed => TryRecvError::Closed,
        })
    }

    /// The oldest message for which `matches` is true; waits until there is one. The others stay, in
    /// their order.
    ///
    /// Each that does not match is looked at once for a call, so a mailbox with many of them makes
    /// this slow: for a dialogue with one other task, [`ask`](TaskRef::ask) is better.
    ///
    /// # Errors
    ///
    /// [`RecvMatchingError::Full`] when the mailbox is full of others, so that none can come;
    /// [`RecvMatchingError::Closed`] where [`recv`](Self::recv) gives `None`.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, no message is lost.
    pub async fn recv_matching(
        &mut self,
        mut matches: impl FnMut(&M) -> bool,
    ) -> Result<M, RecvMatchingError> {
        let Self { cell, batch } = self;
        let mut scanned = Scanned::default();
        poll_fn(move |cx| cell.queue.poll_matching(batch, &mut scanned, &mut matches, cx))
            .await
            .map_err(|error| match error {
                Matching::Closed => RecvMatchingError::Closed,
                Matching::Full(messages) => RecvMatchingError::Full(messages),
            })
    }

    /// As [`recv`](Self::recv), for functions of [`spawn_blocking`](crate::spawn_blocking): blocks
    /// the thread.
    ///
    /// # Panics
    ///
    /// In async code, which must not block its thread.
    #[track_caller]
    pub fn recv_blocking(&mut self) -> Option<M> {
        crate::block::on(poll_fn(|cx| self.poll_recv(cx)))
    }

    /// As [`recv_timeout`](Self::recv_timeout), but blocks the thread.
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Panics
    ///
    /// In async code, which must not block its thread.
    #[track_caller]
    pub fn recv_timeout_blocking(&mut self, timeout: Duration) -> Result<M, RecvTimeoutError> {
        let mut deadline = Deadline::Later(timeout);
        crate::block::on(poll_fn(|cx| match self.poll_recv(cx) {
            Poll::Ready(message) => Poll::Ready(message.ok_or(RecvTimeoutError::Closed)),
            Poll::Pending => deadline.poll(cx).map(|_| Err(RecvTimeoutError::TimedOut)),
        }))
    }

    /// As [`recv`](Self::recv), for own futures.
    #[inline]
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<M>> {
        let settles = self.settles();
        self.cell.queue.poll_recv(&mut self.batch, cx, settles)
    }

    /// Takes no more messages. Those that are there can still be read, then comes `None`.
    pub fn close(&mut self) {
        self.cell.queue.close();
    }

    /// A reference to this task. As long as it is kept, the mailbox stays open, even if nobody else
    /// has one. If the last reference had gone, it is open again; not so after [`close`](Self::close).
    pub fn me(&self) -> TaskRef<M> {
        self.cell.queue.add_own_sender();
        TaskRef::adopt(self.cell.clone())
    }

    /// As [`TaskRef::monitor`], of this task: the end of `other` arrives here as a message.
    ///
    /// # Errors
    ///
    /// [`MonitorError`].
    pub fn monitor<N: Send + 'static>(
        &self,
        other: &TaskRef<N>,
        message: impl FnOnce(Exit) -> M + Send + 'static,
    ) -> Result<Monitor, MonitorError> {
        self.me().monitor(other, message)
    }

    /// The task's number.
    pub fn id(&self) -> TaskId {
        self.cell.id()
    }

    /// The task's number and name.
    pub fn identity(&self) -> Identity {
        self.cell.identity()
    }

    /// Messages that have not been read.
    pub fn len(&self) -> usize {
        self.cell.queue.len()
    }

    /// Whether all has been read.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the task is asked to stop.
    pub fn is_stopping(&self) -> bool {
        self.cell.queue.attention() & bits::STOPPED != 0
    }

    /// Waits until the task is asked to stop: for tasks that wait for something else than messages.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use pleiad_task::{Mailbox, spawn};
    /// async fn search(mailbox: Mailbox<()>) -> u32 {
    ///     let mut best = 0;
    ///     loop {
    ///         tokio::select! {
    ///             () = mailbox.stopping() => return best,
    ///             () = tokio::time::sleep(Duration::from_millis(1)) => best += 1,
    ///         }
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let task = spawn(search);
    /// task.terminate();
    /// assert!(task.await.is_ok(), "it gives the best that it has");
    /// # }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time.
    pub fn stopping(&self) -> impl Future<Output = ()> + Send {
        // Not of the mailbox: it can be sent to another thread though messages may not be shared.
        let cell = &self.cell;
        async move {
            let mut waiter = StopWaiter { cell, number: None };
            poll_fn(|cx| waiter.poll(cx)).await;
        }
    }

    fn settles(&self) -> bool {
        current::is_at(Arc::as_ptr(&self.cell) as usize)
    }
}

/// Waits to be asked to stop.
struct StopWaiter<'a, M> {
    cell: &'a TaskCell<M>,
    /// Its place among those who wait, if it has one.
    number: Option<u64>,
}

impl<M> StopWaiter<'_, M> {
    fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        // The end counts too: a mailbox that is in another task may see it.
        const READY: u32 = bits::STOPPED | bits::ENDED;
        if self.cell.queue.attention() & READY != 0 {
            return Poll::Ready(());
        }
        let (polled, displaced) = self.cell.queue.life_mut(|life, attention| {
            if attention & READY != 0 {
                return (Poll::Ready(()), None);
            }
            (Poll::Pending, life.stop_waiters.wait(&mut self.number, cx.waker()))
        });
        drop(displaced);
        polled
    }
}

impl<M> Drop for StopWaiter<'_, M> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            drop(self.cell.queue.life_mut(|life, _| life.stop_waiters.leave(number)));
        }
    }
}

impl<M: Send + 'static> Stream for Mailbox<M> {
    type Item = M;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<M>> {
        self.poll_recv(cx)
    }
}

// Nothing in it is pinned.
impl<M> Unpin for Mailbox<M> {}

impl<M> Drop for Mailbox<M> {
    fn drop(&mut self) {
        let remains = self.cell.queue.deafen();
        let id = self.cell.id();
        let batch = current::discard(id, self.batch.drain(..));
        let failure = remains.and_then(|remains| remains.discard(id)).or(batch);
        if let Some(failure) = failure {
            let task = self.cell.identity();
            tracing::error!(%task, %failure, "a message has failed to be dropped");
        }
    }
}

impl<M> fmt::Debug for Mailbox<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mailbox of {}", self.cell.identity())
    }
}

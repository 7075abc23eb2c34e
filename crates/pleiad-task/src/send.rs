use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::deadline::Deadline;
use crate::identity::Identity;
use crate::queue::{Delivery, Queue, Refusal};
use crate::reference::TaskRef;

/// Why [`TaskRef::send`] has sent nothing. The message comes back.
#[non_exhaustive]
pub enum SendError<M> {
    /// The mailbox is full. Try again later, or [`deliver`](TaskRef::deliver).
    Full {
        /// Whose mailbox.
        task: Identity,
        /// How many messages it holds.
        capacity: u32,
        /// What was not sent.
        message: M,
    },
    /// The task has ended, or has closed or dropped its mailbox. Do not try again.
    Closed {
        /// Whose mailbox.
        task: Identity,
        /// What was not sent.
        message: M,
    },
}

/// Why [`TaskRef::deliver`] has delivered nothing. The message comes back.
#[non_exhaustive]
pub enum DeliverError<M> {
    /// The task has ended, or has closed or dropped its mailbox. Do not try again.
    Closed {
        /// Whose mailbox.
        task: Identity,
        /// What was not delivered.
        message: M,
    },
    /// There was no room in time. Nothing was delivered; try again later.
    TimedOut {
        /// Whose mailbox.
        task: Identity,
        /// How long it was waited for room.
        after: Duration,
        /// What was not delivered.
        message: M,
    },
}

impl<M> SendError<M> {
    /// The message that was not sent.
    pub fn into_message(self) -> M {
        match self {
            Self::Full { message, .. } | Self::Closed { message, .. } => message,
        }
    }

    /// Whose mailbox.
    pub fn task(&self) -> &Identity {
        match self {
            Self::Full { task, .. } | Self::Closed { task, .. } => task,
        }
    }

    /// Whether it may help to try again.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }
}

impl<M> DeliverError<M> {
    /// The message that was not delivered.
    pub fn into_message(self) -> M {
        match self {
            Self::Closed { message, .. } | Self::TimedOut { message, .. } => message,
        }
    }

    /// Whose mailbox.
    pub fn task(&self) -> &Identity {
        match self {
            Self::Closed { task, .. } | Self::TimedOut { task, .. } => task,
        }
    }
}

impl<M> fmt::Display for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { task, capacity, .. } => {
                write!(f, "the mailbox of {task} is full ({capacity} messages)")
            }
            Self::Closed { task, .. } => write!(f, "{task} takes no more messages"),
        }
    }
}

impl<M> fmt::Debug for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<M> std::error::Error for SendError<M> {}

impl<M> fmt::Display for DeliverError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { task, .. } => write!(f, "{task} takes no more messages"),
            Self::TimedOut { task, after, .. } => {
                write!(f, "there was no room in the mailbox of {task} within {after:?}")
            }
        }
    }
}

impl<M> fmt::Debug for DeliverError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<M> std::error::Error for DeliverError<M> {}

/// A message on its way into a mailbox: see [`TaskRef::deliver`].
#[must_use = "a message is delivered when this is awaited"]
pub struct Deliver<'a, M> {
    task: &'a TaskRef<M>,
    delivery: Delivery<M>,
    deadline: Deadline,
}

impl<'a, M> Deliver<'a, M> {
    pub(crate) fn new(task: &'a TaskRef<M>, message: M) -> Self {
        Self { task, delivery: Delivery::New(message), deadline: Deadline::None }
    }

    /// Gives up when there is no room for so long; the message comes back. Default: never.
    pub fn timeout(mut self, after: Duration) -> Self {
        self.deadline = Deadline::Later(after);
        self
    }

    /// As awaiting it, for threads that run no tasks: blocks the thread.
    ///
    /// # Errors
    ///
    /// See [`DeliverError`]; the message comes back.
    ///
    /// # Panics
    ///
    /// In async code, which must not block its thread.
    #[track_caller]
    pub fn blocking(self) -> Result<(), DeliverError<M>> {
        crate::block::on(self)
    }

    fn queue(&self) -> &'a Queue<M> {
        &self.task.cell.queue
    }
}

// Nothing in it is pinned but the box.
impl<M> Unpin for Deliver<'_, M> {}

impl<M> Future for Deliver<'_, M> {
    type Output = Result<(), DeliverError<M>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        match this.queue().poll_deliver(&mut this.delivery, cx) {
            Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
            Poll::Ready(Err((Refusal::Closed | Refusal::Full, message))) => {
                let task = this.task.identity();
                return Poll::Ready(Err(DeliverError::Closed { task, message }));
            }
            Poll::Pending => (),
        }
        let Poll::Ready(after) = this.deadline.poll(cx) else { return Poll::Pending };
        Poll::Ready(match this.queue().take_back(&mut this.delivery) {
            // It got in at the last moment.
            None => Ok(()),
            Some(message) => {
                Err(DeliverError::TimedOut { task: this.task.identity(), after, message })
            }
        })
    }
}

impl<M> fmt::Debug for Deliver<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "delivery to {}", self.task)
    }
}

impl<M> Drop for Deliver<'_, M> {
    fn drop(&mut self) {
        if matches!(self.delivery, Delivery::Waiting(_)) {
            self.queue().take_back(&mut self.delivery);
        }
    }
}

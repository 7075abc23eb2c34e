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
    /// The node where the task runs was lost. Nothing was sent; do not try again.
    Lost {
        /// Whose mailbox.
        task: Identity,
        /// Which node.
        peer: String,
        /// What was not sent.
        message: M,
    },
    /// The message cannot be sent to another node. Nothing was sent; do not try again.
    Unsendable {
        /// Whose mailbox.
        task: Identity,
        /// What is wrong with the message.
        why: String,
        /// What was not sent.
        message: M,
    },
}

/// Why [`TaskRef::deliver`] is not known to have delivered. The message comes back.
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
    /// It was not acknowledged in time by the node where the task runs: it may or may not have come, or
    /// may still come. The replies in it have gone with it.
    Unconfirmed {
        /// Whose mailbox.
        task: Identity,
        /// How long it was waited.
        after: Duration,
        /// What may or may not have been delivered.
        message: M,
    },
    /// The node where the task runs was lost: the message may or may not have come. Do not try again.
    Lost {
        /// Whose mailbox.
        task: Identity,
        /// Which node.
        peer: String,
        /// What may or may not have been delivered.
        message: M,
    },
    /// The message cannot be sent to another node, or not be read there. Nothing was delivered; do not
    /// try again.
    Unsendable {
        /// Whose mailbox.
        task: Identity,
        /// What is wrong with the message.
        why: String,
        /// What was not delivered.
        message: M,
    },
}

impl<M> SendError<M> {
    /// The message that was not sent.
    pub fn into_message(self) -> M {
        match self {
            Self::Full { message, .. }
            | Self::Closed { message, .. }
            | Self::Lost { message, .. }
            | Self::Unsendable { message, .. } => message,
        }
    }

    /// Whose mailbox.
    pub fn task(&self) -> &Identity {
        match self {
            Self::Full { task, .. }
            | Self::Closed { task, .. }
            | Self::Lost { task, .. }
            | Self::Unsendable { task, .. } => task,
        }
    }

    /// Whether it may help to try again.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }
}

impl<M> DeliverError<M> {
    /// The message that was not delivered, or [may not](Self::is_certain) have been.
    pub fn into_message(self) -> M {
        match self {
            Self::Closed { message, .. }
            | Self::TimedOut { message, .. }
            | Self::Unconfirmed { message, .. }
            | Self::Lost { message, .. }
            | Self::Unsendable { message, .. } => message,
        }
    }

    /// Whose mailbox.
    pub fn task(&self) -> &Identity {
        match self {
            Self::Closed { task, .. }
            | Self::TimedOut { task, .. }
            | Self::Unconfirmed { task, .. }
            | Self::Lost { task, .. }
            | Self::Unsendable { task, .. } => task,
        }
    }

    /// Whether nothing was delivered for certain: only then may it be tried again without the danger
    /// that the message comes twice.
    pub fn is_certain(&self) -> bool {
        !matches!(self, Self::Unconfirmed { .. } | Self::Lost { .. })
    }
}

impl<M> fmt::Display for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { task, capacity, .. } => {
                write!(f, "the mailbox of {task} is full ({capacity} messages)")
            }
            Self::Closed { task, .. } => write!(f, "{task} takes no more messages"),
            Self::Lost { task, peer, .. } => write!(f, "{task} was lost with {peer}"),
            Self::Unsendable { task, why, .. } => {
                write!(f, "the message cannot be sent to {task}: {why}")
            }
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
            Self::Unconfirmed { task, after, .. } => {
                write!(f, "{task} has not acknowledged the message within {after:?}")
            }
            Self::Lost { task, peer, .. } => {
                write!(f, "{task} was lost with {peer}: it may or may not have got the message")
            }
            Self::Unsendable { task, why, .. } => {
                write!(f, "the message cannot be sent to {task}: {why}")
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

    /// Gives up after so long; the message comes back. Default: never. To a task of this process, that
    /// is the wait for room; to one of another node, also that for the acknowledgement.
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

    #[cold]
    fn refused(&self, refusal: Refusal, message: M) -> DeliverError<M> {
        let task = self.task.identity();
        match refusal {
            Refusal::Closed | Refusal::Full => DeliverError::Closed { task, message },
            #[cfg(feature = "far")]
            Refusal::Lost => {
                DeliverError::Lost { task, peer: crate::far::refusal_detail(), message }
            }
            #[cfg(feature = "far")]
            Refusal::Unsendable => {
                DeliverError::Unsendable { task, why: crate::far::refusal_detail(), message }
            }
        }
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
            Poll::Ready(Err((refusal, message))) => {
                return Poll::Ready(Err(this.refused(refusal, message)));
            }
            Poll::Pending => (),
        }
        let Poll::Ready(after) = this.deadline.poll(cx) else { return Poll::Pending };
        #[cfg(feature = "far")]
        if let Delivery::Far(_) = this.delivery
            && let Some(message) = this.queue().take_back(&mut this.delivery)
        {
            let task = this.task.identity();
            return Poll::Ready(Err(DeliverError::Unconfirmed { task, after, message }));
        }
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

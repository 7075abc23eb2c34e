use std::fmt;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::pin::Pin;
use std::sync::Arc;

use thiserror::Error;

use crate::identity::Identity;
use crate::queue::Refusal;
use crate::reference::TaskRef;
use crate::send::DeliverError;

/// Whoever takes values of the type `T`: see [`TaskRef::recipient`].
///
/// Cheap to clone; compared and hashed by its task. Keeps the task's mailbox open.
pub struct Recipient<T>(Arc<dyn Receive<T>>);

/// Why a [`Recipient`] was not reached.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RecipientError {
    /// Its mailbox is full. Try again later, or [`deliver`](Recipient::deliver).
    #[error("the mailbox of {0} is full")]
    Full(Identity),
    /// It has ended, or takes no more messages.
    #[error("{0} takes no more messages")]
    Closed(Identity),
    /// The node where it runs was lost. [`deliver`](Recipient::deliver): the value may or may not have
    /// come there.
    #[error("{task} was lost with {peer}")]
    Lost {
        /// Who.
        task: Identity,
        /// Which node.
        peer: String,
    },
    /// The value, in its message, cannot be sent to another node. Do not try again.
    #[error("the message cannot be sent to {task}: {why}")]
    Unsendable {
        /// To whom.
        task: Identity,
        /// What is wrong with it.
        why: String,
    },
}

trait Receive<T>: Send + Sync {
    fn identity(&self) -> Identity;
    fn send(&self, value: T) -> Result<(), RecipientError>;
    fn deliver(&self, value: T) -> Received<'_>;
    fn is_closed(&self) -> bool;
}

/// What became of a value.
enum Received<'a> {
    Settled(Result<(), RecipientError>),
    /// There is no room, or it is elsewhere.
    Waits(Pin<Box<dyn Future<Output = Result<(), RecipientError>> + Send + 'a>>),
}

struct Mapped<M, F> {
    task: TaskRef<M>,
    message: F,
}

impl<T: Send + 'static> Recipient<T> {
    pub(crate) fn new<M: Send + 'static>(
        task: TaskRef<M>,
        message: impl Fn(T) -> M + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Mapped { task, message }))
    }

    /// As [`TaskRef::send`].
    ///
    /// # Errors
    ///
    /// [`RecipientError`]; the value is dropped.
    pub fn send(&self, value: T) -> Result<(), RecipientError> {
        self.0.send(value)
    }

    /// As [`TaskRef::deliver`].
    ///
    /// # Errors
    ///
    /// [`RecipientError`], but never `Full`; the value is dropped.
    ///
    /// # Cancel safety
    ///
    /// As for [`TaskRef::deliver`].
    pub async fn deliver(&self, value: T) -> Result<(), RecipientError> {
        match self.0.deliver(value) {
            Received::Settled(settled) => settled,
            Received::Waits(waits) => waits.await,
        }
    }

    /// Which task it is.
    pub fn identity(&self) -> Identity {
        self.0.identity()
    }

    /// Whether nothing will be taken any more.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

impl<T, M, F> Receive<T> for Mapped<M, F>
where
    T: Send + 'static,
    M: Send + 'static,
    F: Fn(T) -> M + Send + Sync,
{
    fn identity(&self) -> Identity {
        self.task.identity()
    }

    fn send(&self, value: T) -> Result<(), RecipientError> {
        let sent = self.task.cell.queue.push((self.message)(value));
        sent.map_err(|(refusal, _)| self.refused(refusal))
    }

    fn deliver(&self, value: T) -> Received<'_> {
        let queue = &self.task.cell.queue;
        let message = (self.message)(value);
        #[cfg(feature = "far")]
        if queue.is_far() {
            return self.wait(message);
        }
        match queue.push(message) {
            Ok(()) => Received::Settled(Ok(())),
            Err((Refusal::Full, message)) => self.wait(message),
            Err((refusal, _)) => Received::Settled(Err(self.refused(refusal))),
        }
    }

    fn is_closed(&self) -> bool {
        self.task.cell.queue.is_closed()
    }
}

impl<M: Send + 'static, F: Sync> Mapped<M, F> {
    fn wait(&self, message: M) -> Received<'_> {
        Received::Waits(Box::pin(async move {
            self.task.deliver(message).await.map_err(|error| match error {
                DeliverError::Lost { task, peer, .. } => RecipientError::Lost { task, peer },
                DeliverError::Unsendable { task, why, .. } => {
                    RecipientError::Unsendable { task, why }
                }
                other => RecipientError::Closed(other.task().clone()),
            })
        }))
    }

    #[cold]
    fn refused(&self, refusal: Refusal) -> RecipientError {
        let task = self.task.identity();
        match refusal {
            Refusal::Full => RecipientError::Full(task),
            Refusal::Closed => RecipientError::Closed(task),
            #[cfg(feature = "far")]
            Refusal::Lost => RecipientError::Lost { task, peer: crate::far::refusal_detail() },
            #[cfg(feature = "far")]
            Refusal::Unsendable => {
                RecipientError::Unsendable { task, why: crate::far::refusal_detail() }
            }
        }
    }
}

impl<T> Clone for Recipient<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> PartialEq for Recipient<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.identity() == other.0.identity()
    }
}

impl<T> Eq for Recipient<T> {}

impl<T> Hash for Recipient<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.identity().hash(state);
    }
}

impl<T> fmt::Display for Recipient<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.identity(), f)
    }
}

impl<T> fmt::Debug for Recipient<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

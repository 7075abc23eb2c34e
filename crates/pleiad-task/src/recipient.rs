use std::fmt;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::pin::Pin;
use std::sync::Arc;

use thiserror::Error;

use crate::identity::Identity;
use crate::queue::Refusal;
use crate::reference::TaskRef;

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
}

trait Receive<T>: Send + Sync {
    fn identity(&self) -> Identity;
    fn receive(&self, value: T) -> Received<'_>;
    fn is_closed(&self) -> bool;
}

/// What became of a value.
enum Received<'a> {
    Yes,
    /// There is no room; this waits for it: true if the value got in.
    Waits(Pin<Box<dyn Future<Output = bool> + Send + 'a>>),
    Closed,
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
        match self.0.receive(value) {
            Received::Yes => Ok(()),
            Received::Waits(_) => Err(RecipientError::Full(self.identity())),
            Received::Closed => Err(RecipientError::Closed(self.identity())),
        }
    }

    /// As [`TaskRef::deliver`].
    ///
    /// # Errors
    ///
    /// [`RecipientError::Closed`]; the value is dropped.
    ///
    /// # Cancel safety
    ///
    /// As for [`TaskRef::deliver`].
    pub async fn deliver(&self, value: T) -> Result<(), RecipientError> {
        let got_in = match self.0.receive(value) {
            Received::Yes => true,
            Received::Waits(waits) => waits.await,
            Received::Closed => false,
        };
        if got_in { Ok(()) } else { Err(RecipientError::Closed(self.identity())) }
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

    fn receive(&self, value: T) -> Received<'_> {
        match self.task.cell.queue.push((self.message)(value)) {
            Ok(()) => Received::Yes,
            Err((Refusal::Closed, _)) => Received::Closed,
            Err((Refusal::Full, message)) => {
                Received::Waits(Box::pin(async move { self.task.deliver(message).await.is_ok() }))
            }
        }
    }

    fn is_closed(&self) -> bool {
        self.task.cell.queue.is_closed()
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

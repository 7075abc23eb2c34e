use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::time::Instant;

use crate::ask::AskError;
use crate::names::FindError;
use crate::reference::TaskRef;
use crate::reply::Reply;
use crate::send::{DeliverError, SendError};

/// A reference to whoever has a name, at the time of each call: so it survives the restarts of a
/// [child](crate::Child). Costs one look-up for each call more than a [`TaskRef`].
///
/// ```
/// # use std::time::Duration;
/// # use pleiad_task::{Mailbox, NamedRef, Strategy, Supervisor};
/// # async fn logger(mut mailbox: Mailbox<String>) { while mailbox.recv().await.is_some() {} }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let log = NamedRef::new("log").timeout(Duration::from_secs(1));
/// let supervisor = Supervisor::new(Strategy::OneForOne).child("log", logger).start().await?;
/// log.deliver("it is night".to_owned()).await?;
/// supervisor.stop().await?;
/// assert!(log.send("it is day".to_owned()).is_err());
/// # Ok(())
/// # }
/// ```
pub struct NamedRef<M> {
    name: Arc<str>,
    timeout: Option<Duration>,
    message: PhantomData<fn(M)>,
}

/// Why nothing is known to have been sent by a name. The message comes back.
#[derive(Error)]
#[non_exhaustive]
pub enum NamedSendError<M> {
    /// Nobody has the name, or who has it takes other messages. Nothing was sent.
    #[error("nobody was found to send to")]
    NotFound {
        /// Why.
        #[source]
        source: FindError,
        /// What was not sent.
        message: M,
    },
    /// Who has the name did not take the message.
    #[error(transparent)]
    NotSent(SendError<M>),
    /// Who has the name is on another node, and may or [may not](DeliverError::is_certain) have got the
    /// message.
    #[error(transparent)]
    NotDelivered(DeliverError<M>),
    /// No holder of the name had room in time. Nothing was delivered; try again later.
    #[error("nobody of the name {name:?} has taken the message within {after:?}")]
    TimedOut {
        /// The name.
        name: String,
        /// How long it was waited.
        after: Duration,
        /// What was not delivered.
        message: M,
    },
}

/// Why there is no answer to a question that was asked by a name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NamedAskError {
    /// Nobody has had the name in time, or who has it takes other messages. Nothing was asked.
    #[error("nobody was found to ask")]
    NotFound(#[source] FindError),
    /// No holder of the name had room in time. Nothing was asked; try again later.
    #[error("nobody of the name {name:?} has taken the question within {after:?}")]
    NotAsked {
        /// The name.
        name: String,
        /// How long it was waited.
        after: Duration,
    },
    /// Who had the name did not answer.
    #[error(transparent)]
    NoAnswer(AskError),
}

impl<M: Send + 'static> NamedRef<M> {
    /// To whoever has this name. Nobody needs to have it yet.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), timeout: None, message: PhantomData }
    }

    /// How long [`deliver`](Self::deliver) and [`ask`](Self::ask) wait in all. Default: for ever.
    pub fn timeout(mut self, after: Duration) -> Self {
        self.timeout = Some(after);
        self
    }

    /// As [`TaskRef::send`]: never waits, so that between two incarnations it fails.
    ///
    /// # Errors
    ///
    /// [`NamedSendError::NotFound`] and [`NamedSendError::NotSent`]; the message comes back.
    pub fn send(&self, message: M) -> Result<(), NamedSendError<M>> {
        match TaskRef::find(&self.name) {
            Ok(task) => task.send(message).map_err(NamedSendError::NotSent),
            Err(source) => Err(NamedSendError::NotFound { source, message }),
        }
    }

    /// As [`TaskRef::deliver`], but waits until somebody has the name; if that task ends before it has
    /// room, for the next one.
    ///
    /// # Errors
    ///
    /// [`NamedSendError::NotFound`], [`NamedSendError::TimedOut`] and [`NamedSendError::NotDelivered`];
    /// the message comes back.
    ///
    /// # Cancel safety
    ///
    /// As for [`TaskRef::deliver`]: if the future is dropped, the message is dropped too, unless it has
    /// got in since the last poll.
    pub async fn deliver(&self, mut message: M) -> Result<(), NamedSendError<M>> {
        let deadline = Deadline::new(self.timeout);
        loop {
            let task = match self.locate(deadline).await {
                Ok(task) => task,
                Err(source) => return Err(NamedSendError::NotFound { source, message }),
            };
            let delivery = task.deliver(message);
            let delivered = match deadline.left() {
                Some(left) => delivery.timeout(left).await,
                None => delivery.await,
            };
            message = match delivered {
                Ok(()) => return Ok(()),
                Err(
                    DeliverError::Closed { message, .. } | DeliverError::TimedOut { message, .. },
                ) => message,
                // The next one may not get it too.
                Err(error) => return Err(NamedSendError::NotDelivered(error)),
            };
            if !ends_before(deadline, &task).await {
                let (name, after) = (self.name.to_string(), self.timeout.unwrap_or_default());
                return Err(NamedSendError::TimedOut { name, after, message });
            }
        }
    }

    /// As [`TaskRef::ask`], but waits until somebody has the name. If that task ends before it has read
    /// the question, the next one is asked: `question` makes it anew. Once somebody has read it, it is
    /// not asked again: if that task ends with it, there is no answer.
    ///
    /// # Errors
    ///
    /// See [`NamedAskError`].
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the question may or may not have been asked.
    pub async fn ask<T: Send + 'static>(
        &self,
        mut question: impl FnMut(Reply<T>) -> M,
    ) -> Result<T, NamedAskError> {
        let deadline = Deadline::new(self.timeout);
        let after = self.timeout.unwrap_or_default();
        loop {
            let task = self.locate(deadline).await.map_err(NamedAskError::NotFound)?;
            let ask = task.ask(&mut question);
            let answered = match deadline.left() {
                Some(left) => ask.timeout(left).await,
                None => ask.await,
            };
            match answered {
                Ok(answer) => return Ok(answer),
                Err(AskError::Closed(_) | AskError::Unread(_))
                    if ends_before(deadline, &task).await => {}
                Err(AskError::Closed(_) | AskError::Unread(_) | AskError::NotAsked { .. }) => {
                    return Err(NamedAskError::NotAsked { name: self.name.to_string(), after });
                }
                Err(AskError::TimedOut { task, .. }) => {
                    return Err(NamedAskError::NoAnswer(AskError::TimedOut { task, after }));
                }
                Err(error) => return Err(NamedAskError::NoAnswer(error)),
            }
        }
    }

    async fn locate(&self, deadline: Deadline) -> Result<TaskRef<M>, FindError> {
        let Some(left) = deadline.left() else { return TaskRef::locate(&self.name).await };
        TaskRef::locate(&self.name).timeout(left).await.map_err(|error| match error {
            // Not what was left of it.
            FindError::TimedOut { name, .. } => {
                FindError::TimedOut { name, after: self.timeout.unwrap_or_default() }
            }
            other => other,
        })
    }
}

impl<M> NamedSendError<M> {
    /// The message that was not sent.
    pub fn into_message(self) -> M {
        match self {
            Self::NotFound { message, .. } | Self::TimedOut { message, .. } => message,
            Self::NotSent(error) => error.into_message(),
            Self::NotDelivered(error) => error.into_message(),
        }
    }
}

/// Waits for the end of a task. Whether it came in time.
async fn ends_before<M: Send + 'static>(deadline: Deadline, task: &TaskRef<M>) -> bool {
    match deadline.left() {
        Some(left) => tokio::time::timeout(left, task.ended()).await.is_ok(),
        None => {
            task.ended().await;
            true
        }
    }
}

#[derive(Clone, Copy)]
struct Deadline(Option<Instant>);

impl Deadline {
    fn new(timeout: Option<Duration>) -> Self {
        Self(timeout.and_then(|timeout| Instant::now().checked_add(timeout)))
    }

    fn left(self) -> Option<Duration> {
        self.0.map(|at| at.saturating_duration_since(Instant::now()))
    }
}

impl<M> Clone for NamedRef<M> {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), timeout: self.timeout, message: PhantomData }
    }
}

impl<M> fmt::Display for NamedRef<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl<M> fmt::Debug for NamedRef<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "whoever has the name {:?}", self.name)
    }
}

impl<M> fmt::Debug for NamedSendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

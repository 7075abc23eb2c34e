use std::fmt;
#[cfg(feature = "far")]
use std::future::poll_fn;
use std::sync::{Mutex, PoisonError};

use tokio::sync::oneshot;

use crate::current;
use crate::identity::TaskId;

/// Where the answer to a question goes: see [`TaskRef::ask`](crate::TaskRef::ask). May be kept, and
/// passed on to another task, also of another node; if it is dropped, the question is left
/// unanswered, and whoever asked is told so at once.
#[must_use = "if it is dropped, the question stays unanswered"]
pub struct Reply<T> {
    // None: it has answered, or was taken out to travel to another node: for that, the lock, which
    // nobody else needs. No more than a pointer, for it is moved from hand to hand.
    inner: Box<Mutex<Option<Inner<T>>>>,
}

pub(crate) enum Inner<T> {
    /// To somebody of this process.
    Here(oneshot::Sender<Answer<T>>),
    #[cfg(feature = "far")]
    Far(Box<crate::far::FarReply<T>>),
}

/// What comes of a question.
pub(crate) enum Answer<T> {
    Given(T),
    None(Box<Unanswered>),
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "far"),
    expect(dead_code, unreachable_pub, reason = "most of it is of other nodes")
)]
pub enum Unanswered {
    /// The reply was dropped.
    Dropped,
    /// It was dropped unread, in the mailbox of this task.
    Unread(TaskId),
    /// The mailbox was closed when the question came there.
    Closed,
    /// The node where the question is was lost: this one.
    Lost(String),
    /// The question or its answer could not be read or written, and why.
    Undecodable(String),
}

impl<T> Reply<T> {
    pub(crate) fn new(inner: Option<Inner<T>>) -> Self {
        Self { inner: Box::new(Mutex::new(inner)) }
    }

    /// Answers. If nobody waits any more, the answer is dropped: see [`try_send`](Self::try_send).
    pub fn send(self, answer: T) {
        let _ = self.try_send(answer);
    }

    /// Answers; the answer comes back if nobody waits any more. To a task of another node, an answer
    /// that [cannot be sent](crate::SendError::Unsendable) comes back too; whoever asked is told why.
    ///
    /// # Errors
    ///
    /// The answer.
    pub fn try_send(mut self, answer: T) -> Result<(), T> {
        match self.inner_mut().take() {
            Some(Inner::Here(sender)) => match sender.send(Answer::Given(answer)) {
                Err(Answer::Given(answer)) => Err(answer),
                _ => Ok(()),
            },
            #[cfg(feature = "far")]
            Some(Inner::Far(far)) => far.answer(answer),
            None => Ok(()),
        }
    }

    /// Whether somebody still waits, as far as is known here.
    pub fn is_wanted(&self) -> bool {
        match &*self.inner.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(Inner::Here(sender)) => !sender.is_closed(),
            #[cfg(feature = "far")]
            Some(Inner::Far(far)) => far.is_wanted(),
            None => false,
        }
    }

    /// Waits until nobody waits any more, to stop a work that has become useless.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time.
    pub async fn unwanted(&mut self) {
        match self.inner_mut() {
            Some(Inner::Here(sender)) => sender.closed().await,
            #[cfg(feature = "far")]
            Some(Inner::Far(far)) => poll_fn(|cx| far.poll_unwanted(cx)).await,
            None => (),
        }
    }

    /// Takes out what it is, for it to travel.
    #[cfg(feature = "far")]
    pub(crate) fn take(&self) -> Option<Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// It has not travelled.
    #[cfg(feature = "far")]
    pub(crate) fn put_back(&self, inner: Inner<T>) {
        let displaced = self.inner.lock().unwrap_or_else(PoisonError::into_inner).replace(inner);
        drop(displaced);
    }

    #[inline]
    fn inner_mut(&mut self) -> &mut Option<Inner<T>> {
        self.inner.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Drop for Reply<T> {
    #[inline]
    fn drop(&mut self) {
        match self.inner_mut() {
            None => (),
            Some(Inner::Here(_)) => {
                if let Some(task) = current::discards()
                    && let Some(Inner::Here(sender)) = self.inner_mut().take()
                {
                    let _ = sender.send(Answer::None(Box::new(Unanswered::Unread(task))));
                }
            }
            #[cfg(feature = "far")]
            Some(Inner::Far(_)) => {
                if let Some(Inner::Far(far)) = self.inner_mut().take() {
                    far.discard();
                }
            }
        }
    }
}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_wanted() { "reply" } else { "reply that nobody waits for" })
    }
}

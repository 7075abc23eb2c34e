use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::oneshot;

use crate::deadline::Deadline;
use crate::identity::Identity;
use crate::queue::{Delivery, Refusal};
use crate::reference::TaskRef;
use crate::reply::{Answer, Inner, Reply, Unanswered};

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AskError {
    /// The task has ended, or takes no more messages: the question was not asked.
    #[error("{0} takes no more messages")]
    Closed(Identity),
    /// The task has ended, or has dropped its mailbox, before it read the question. It was not
    /// answered by anything that the task did: it may be asked again, of another.
    #[error("{0} has ended before it read the question")]
    Unread(Identity),
    /// The task has read the question, and has dropped it, or has ended with it.
    #[error("{0} has dropped the question, or has ended while it had it: its exit says more")]
    Unanswered(Identity),
    /// There is no room for another urgent message: the question was not asked.
    #[error("{0} has no room for another urgent message")]
    Full(Identity),
    /// There was no room in the mailbox in time: the question was not asked.
    #[error("there was no room in the mailbox of {task} within {after:?}")]
    NotAsked {
        /// Whom.
        task: Identity,
        /// How long it was waited.
        after: Duration,
    },
    /// There was no answer in time. The task may still work on it; nobody will see what it says.
    #[error("{task} gave no answer within {after:?}")]
    TimedOut {
        /// Whom.
        task: Identity,
        /// How long it was waited.
        after: Duration,
    },
    /// The node where the task runs, or where it has passed the question on to, was lost. The question
    /// may or may not have been asked; there will be no answer.
    #[error("{task} was lost with {peer}: it may or may not have had the question")]
    Lost {
        /// Whom.
        task: Identity,
        /// Which node.
        peer: String,
    },
    /// The question cannot be sent to another node: it was not asked. Do not try again.
    #[error("the question cannot be sent to {task}: {why}")]
    Unsendable {
        /// Whom.
        task: Identity,
        /// What is wrong with it.
        why: String,
    },
    /// The question, or its answer, could not be read where it came, or the answer not be sent: the
    /// two programs do not agree about their types. Do not try again.
    #[error("the question to {task}, or its answer, could not be read: {why}")]
    Undecodable {
        /// Whom.
        task: Identity,
        /// What is wrong with it.
        why: String,
    },
}

/// A question on its way: see [`TaskRef::ask`].
#[must_use = "a question is asked when this is awaited"]
pub struct Ask<'a, M, T> {
    task: &'a TaskRef<M>,
    question: Delivery<M>,
    is_urgent: bool,
    answer: oneshot::Receiver<Answer<T>>,
    /// Whether the answer, or that there is none, has come.
    is_settled: bool,
    deadline: Deadline,
}

impl<'a, M: Send + 'static, T> Ask<'a, M, T> {
    pub(crate) fn new(task: &'a TaskRef<M>, question: impl FnOnce(Reply<T>) -> M) -> Self {
        let (sender, answer) = oneshot::channel();
        let reply = Reply::new(Some(Inner::Here(sender)));
        let question = Delivery::New(question(reply));
        let deadline = Deadline::None;
        Self { task, question, is_urgent: false, answer, is_settled: false, deadline }
    }

    /// Gives up after so long, the wait for room included. Default: never; but the wait ends when the
    /// task ends.
    pub fn timeout(mut self, after: Duration) -> Self {
        self.deadline = Deadline::Later(after);
        self
    }

    /// Asks before all that waits in the mailbox and is not urgent: see
    /// [`send_urgent`](TaskRef::send_urgent). Does not wait for room.
    pub fn urgent(mut self) -> Self {
        self.is_urgent = true;
        self
    }

    /// As awaiting it, for threads that run no tasks: blocks the thread.
    ///
    /// # Errors
    ///
    /// See [`AskError`].
    ///
    /// # Panics
    ///
    /// In async code, which must not block its thread.
    #[track_caller]
    pub fn blocking(self) -> Result<T, AskError> {
        crate::block::on(self)
    }
}

// Nothing in it is pinned.
impl<M, T> Unpin for Ask<'_, M, T> {}

impl<M: Send + 'static, T> Future for Ask<'_, M, T> {
    type Output = Result<T, AskError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if !matches!(this.question, Delivery::Done) {
            ready!(this.poll_question(cx))?;
        }
        if let Poll::Ready(answer) = Pin::new(&mut this.answer).poll(cx) {
            this.is_settled = true;
            return Poll::Ready(match answer {
                Ok(Answer::Given(answer)) => Ok(answer),
                Ok(Answer::None(why)) => Err(this.unanswered(*why)),
                Err(_) => Err(this.unanswered(Unanswered::Dropped)),
            });
        }
        let Poll::Ready(after) = this.deadline.poll(cx) else { return Poll::Pending };
        Poll::Ready(Err(AskError::TimedOut { task: this.task.identity(), after }))
    }
}

impl<M, T> fmt::Debug for Ask<'_, M, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "question to {}", self.task)
    }
}

impl<M: Send + 'static, T> Ask<'_, M, T> {
    /// Ready when the question is in the mailbox.
    fn poll_question(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), AskError>> {
        let queue = &self.task.cell.queue;
        if self.is_urgent {
            let urgent = queue.take_back(&mut self.question);
            let pushed = urgent.map_or(Ok(()), |urgent| queue.push_urgent(urgent));
            return Poll::Ready(pushed.map_err(|(refusal, _)| self.refused(refusal)));
        }
        if let Poll::Ready(delivered) = queue.poll_ask(&mut self.question, cx) {
            return Poll::Ready(delivered.map_err(|(refusal, _)| self.refused(refusal)));
        }
        let Poll::Ready(after) = self.deadline.poll(cx) else { return Poll::Pending };
        let task = self.task.identity();
        Poll::Ready(Err(match queue.take_back(&mut self.question) {
            Some(_) => AskError::NotAsked { task, after },
            // It got in at the last moment.
            None => AskError::TimedOut { task, after },
        }))
    }

    #[cold]
    fn refused(&self, refusal: Refusal) -> AskError {
        let task = self.task.identity();
        match refusal {
            Refusal::Full => AskError::Full(task),
            Refusal::Closed => AskError::Closed(task),
            #[cfg(feature = "far")]
            Refusal::Lost => AskError::Lost { task, peer: crate::far::refusal_detail() },
            #[cfg(feature = "far")]
            Refusal::Unsendable => AskError::Unsendable { task, why: crate::far::refusal_detail() },
        }
    }

    #[cold]
    fn unanswered(&self, why: Unanswered) -> AskError {
        let task = self.task.identity();
        match why {
            Unanswered::Unread(by) if by == task.id() => AskError::Unread(task),
            // In the mailbox of another, it has been read: it was passed on.
            Unanswered::Unread(_) | Unanswered::Dropped => AskError::Unanswered(task),
            Unanswered::Closed => AskError::Closed(task),
            Unanswered::Lost(peer) => AskError::Lost { task, peer },
            Unanswered::Undecodable(why) => AskError::Undecodable { task, why },
        }
    }
}

impl<M, T> Drop for Ask<'_, M, T> {
    fn drop(&mut self) {
        match self.question {
            Delivery::Waiting(_) => drop(self.task.cell.queue.take_back(&mut self.question)),
            #[cfg(feature = "far")]
            Delivery::Done if !self.is_settled => {
                // First the wait ends, so that it is found.
                self.answer.close();
                self.task.cell.queue.say_unwanted();
            }
            _ => (),
        }
    }
}

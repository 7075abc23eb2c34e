use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::oneshot;

use crate::current;
use crate::deadline::Deadline;
use crate::identity::{Identity, TaskId};
use crate::queue::{Delivery, Refusal};
use crate::reference::TaskRef;

/// Where the answer to a question goes: see [`TaskRef::ask`]. May be kept, and passed on to another
/// task; if it is dropped, the question is left unanswered, and whoever asked is told so at once.
#[must_use = "if it is dropped, the question stays unanswered"]
pub struct Reply<T> {
    // No more than a pointer, for it is moved from hand to hand. None: it has answered.
    sender: Option<oneshot::Sender<Answer<T>>>,
}

/// What comes of a question.
enum Answer<T> {
    Given(T),
    /// It was dropped unread, in the mailbox of this task.
    Unread(TaskId),
}

impl<T> Reply<T> {
    /// Answers. If nobody waits any more, the answer is dropped: see [`try_send`](Self::try_send).
    pub fn send(self, answer: T) {
        let _ = self.try_send(answer);
    }

    /// Answers; the answer comes back if nobody waits any more.
    ///
    /// # Errors
    ///
    /// The answer.
    pub fn try_send(mut self, answer: T) -> Result<(), T> {
        match self.sender.take().map(|sender| sender.send(Answer::Given(answer))) {
            Some(Err(Answer::Given(answer))) => Err(answer),
            _ => Ok(()),
        }
    }

    /// Whether somebody still waits.
    pub fn is_wanted(&self) -> bool {
        self.sender.as_ref().is_some_and(|sender| !sender.is_closed())
    }

    /// Waits until nobody waits any more, to stop a work that has become useless.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time.
    pub async fn unwanted(&mut self) {
        if let Some(sender) = &mut self.sender {
            sender.closed().await;
        }
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        if let Some(task) = current::discards()
            && let Some(sender) = self.sender.take()
        {
            let _ = sender.send(Answer::Unread(task));
        }
    }
}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_wanted() { "reply" } else { "reply that nobody waits for" })
    }
}

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
}

/// A question on its way: see [`TaskRef::ask`].
#[must_use = "a question is asked when this is awaited"]
pub struct Ask<'a, M, T> {
    task: &'a TaskRef<M>,
    question: Delivery<M>,
    is_urgent: bool,
    answer: oneshot::Receiver<Answer<T>>,
    deadline: Deadline,
}

impl<'a, M: Send + 'static, T> Ask<'a, M, T> {
    pub(crate) fn new(task: &'a TaskRef<M>, question: impl FnOnce(Reply<T>) -> M) -> Self {
        let (sender, answer) = oneshot::channel();
        let reply = Reply { sender: Some(sender) };
        let question = Delivery::New(question(reply));
        Self { task, question, is_urgent: false, answer, deadline: Deadline::None }
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
        match Pin::new(&mut this.answer).poll(cx) {
            Poll::Ready(Ok(Answer::Given(answer))) => return Poll::Ready(Ok(answer)),
            Poll::Ready(Ok(Answer::Unread(by))) if by == this.task.id() => {
                return Poll::Ready(Err(AskError::Unread(this.task.identity())));
            }
            // In the mailbox of another, it has been read: it was passed on.
            Poll::Ready(Ok(Answer::Unread(_)) | Err(_)) => {
                return Poll::Ready(Err(AskError::Unanswered(this.task.identity())));
            }
            Poll::Pending => (),
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
            let pushed =
                queue.take_back(&mut self.question).map(|urgent| queue.push_urgent(urgent));
            return Poll::Ready(match pushed {
                Some(Err((Refusal::Full, _))) => Err(AskError::Full(self.task.identity())),
                Some(Err((Refusal::Closed, _))) => Err(AskError::Closed(self.task.identity())),
                Some(Ok(())) | None => Ok(()),
            });
        }
        if let Poll::Ready(delivered) = queue.poll_deliver(&mut self.question, cx) {
            return Poll::Ready(delivered.map_err(|_| AskError::Closed(self.task.identity())));
        }
        let Poll::Ready(after) = self.deadline.poll(cx) else { return Poll::Pending };
        let task = self.task.identity();
        Poll::Ready(Err(match queue.take_back(&mut self.question) {
            Some(_) => AskError::NotAsked { task, after },
            // It got in at the last moment.
            None => AskError::TimedOut { task, after },
        }))
    }
}

impl<M, T> Drop for Ask<'_, M, T> {
    fn drop(&mut self) {
        if matches!(self.question, Delivery::Waiting(_)) {
            self.task.cell.queue.take_back(&mut self.question);
        }
    }
}

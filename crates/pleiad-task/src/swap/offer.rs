use std::any::type_name;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::oneshot;

use crate::deadline::Deadline;
use crate::identity::{Identity, short};
use crate::reference::TaskRef;
use crate::swap::mailbox::SwapMailbox;
use crate::swap::slot::Slot;

/// How the function of a swappable task ends.
#[must_use = "a function goes on as this says only if it returns it"]
pub enum Flow<M, S> {
    /// So does the task; this is its result.
    Done(S),
    /// The task goes on with another function: see [`Offer::accept`].
    Become(Successor<M, S>),
}

/// With what a task goes on.
pub struct Successor<M, S> {
    pub(super) function: Function<M, S>,
    pub(super) mailbox: SwapMailbox<M, S>,
    pub(super) state: S,
}

pub(super) type Function<M, S> = Box<
    dyn FnOnce(SwapMailbox<M, S>, S) -> Pin<Box<dyn Future<Output = Flow<M, S>> + Send>> + Send,
>;

/// A function that somebody offers to a task.
pub struct Offer<M, S> {
    pub(super) function: Function<M, S>,
    pub(super) name: &'static str,
    pub(super) verdict: oneshot::Sender<Verdict>,
    pub(super) slot: Arc<Slot<M, S>>,
}

/// Why a task goes on with its old function.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SwapError {
    /// The task does not want it.
    #[error("{task} has refused {function}: {reason}")]
    Refused {
        /// Which task.
        task: Identity,
        /// The function that was offered.
        function: &'static str,
        /// What it said.
        reason: String,
    },
    /// Another function was offered before the task looked at this one.
    #[error("{function} was not looked at by {task} before another was offered")]
    Superseded {
        /// Which task.
        task: Identity,
        /// The function that was offered.
        function: &'static str,
    },
    /// The task has ended, or has dropped its mailbox.
    #[error("{0} has ended")]
    Ended(Identity),
    /// The task did not look at it in time. The offer is withdrawn.
    #[error("{task} has not looked at {function} within {after:?}")]
    TimedOut {
        /// Which task.
        task: Identity,
        /// The function that was offered.
        function: &'static str,
        /// How long it was waited.
        after: Duration,
    },
}

pub(super) enum Verdict {
    Accepted,
    Refused(String),
    Superseded,
}

impl<M, S> Offer<M, S> {
    /// The function's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The task goes on with the function that is offered, and with this state: return what this
    /// gives.
    pub fn accept(self, mailbox: SwapMailbox<M, S>, state: S) -> Flow<M, S> {
        self.slot.lock().current = self.name;
        let _ = self.verdict.send(Verdict::Accepted);
        Flow::Become(Successor { function: self.function, mailbox, state })
    }

    /// The task goes on as it is.
    pub fn refuse(self, reason: impl Into<String>) {
        let _ = self.verdict.send(Verdict::Refused(reason.into()));
    }
}

/// An offer on its way: see [`SwapRef::hot_swap`](crate::SwapRef::hot_swap).
#[must_use = "the offer is made when this is awaited"]
pub struct HotSwap<'a, M, S> {
    task: &'a TaskRef<M>,
    slot: &'a Slot<M, S>,
    function: Option<Function<M, S>>,
    name: &'static str,
    waiting: Option<(u64, oneshot::Receiver<Verdict>)>,
    deadline: Deadline,
}

impl<'a, M, S> HotSwap<'a, M, S> {
    pub(super) fn new<F, Fut>(task: &'a TaskRef<M>, slot: &'a Slot<M, S>, function: F) -> Self
    where
        F: FnOnce(SwapMailbox<M, S>, S) -> Fut + Send + 'static,
        Fut: Future<Output = Flow<M, S>> + Send + 'static,
    {
        let boxed: Function<M, S> =
            Box::new(move |mailbox, state| Box::pin(function(mailbox, state)));
        Self {
            task,
            slot,
            function: Some(boxed),
            name: short(type_name::<Fut>()),
            waiting: None,
            deadline: Deadline::None,
        }
    }

    /// Gives up, and withdraws the offer, if the task has not looked at it within this time. Default:
    /// never; but the wait ends when the task does.
    pub fn timeout(mut self, after: Duration) -> Self {
        self.deadline = Deadline::Later(after);
        self
    }
}

// Nothing in it is pinned.
impl<M, S> Unpin for HotSwap<'_, M, S> {}

impl<M, S> Future for HotSwap<'_, M, S> {
    type Output = Result<(), SwapError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Some(function) = this.function.take() {
            let (verdict, told) = oneshot::channel();
            let Some(number) = this.slot.put(function, this.name, verdict) else {
                return Poll::Ready(Err(SwapError::Ended(this.task.identity())));
            };
            this.task.cell.queue.wake();
            this.waiting = Some((number, told));
        }
        let Some((number, told)) = &mut this.waiting else { return Poll::Pending };
        let (task, function) = (this.task, this.name);
        if let Poll::Ready(verdict) = Pin::new(told).poll(cx) {
            this.waiting = None;
            return Poll::Ready(match verdict {
                Ok(Verdict::Accepted) => Ok(()),
                Ok(Verdict::Refused(reason)) => {
                    Err(SwapError::Refused { task: task.identity(), function, reason })
                }
                Ok(Verdict::Superseded) => {
                    Err(SwapError::Superseded { task: task.identity(), function })
                }
                Err(_) if this.slot.lock().closed => Err(SwapError::Ended(task.identity())),
                Err(_) => Err(SwapError::Refused {
                    task: task.identity(),
                    function,
                    reason: "it has dropped the offer".to_owned(),
                }),
            });
        }
        let Poll::Ready(after) = this.deadline.poll(cx) else { return Poll::Pending };
        if !this.slot.withdraw(*number) {
            // The task looks at it just now: it will say what it thinks.
            return Poll::Pending;
        }
        this.waiting = None;
        Poll::Ready(Err(SwapError::TimedOut { task: task.identity(), function, after }))
    }
}

impl<M, S> Drop for HotSwap<'_, M, S> {
    fn drop(&mut self) {
        if let Some((number, _)) = self.waiting {
            self.slot.withdraw(number);
        }
    }
}

impl<M, S> fmt::Debug for Offer<M, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "offer of {}", self.name)
    }
}

impl<M, S> fmt::Debug for HotSwap<'_, M, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "offer of {} to {}", self.name, self.task)
    }
}

impl<M, S> fmt::Debug for Successor<M, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "successor with the {:?}", self.mailbox)
    }
}

impl<M, S: fmt::Debug> fmt::Debug for Flow<M, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done(result) => f.debug_tuple("Done").field(result).finish(),
            Self::Become(_) => f.write_str("Become"),
        }
    }
}

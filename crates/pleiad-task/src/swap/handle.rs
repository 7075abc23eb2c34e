use std::fmt;
use std::future::{Future, IntoFuture};
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use crate::exit::Exit;
use crate::handle::{Join, Task};
use crate::reference::TaskRef;
use crate::swap::mailbox::SwapMailbox;
use crate::swap::offer::{Flow, HotSwap};
use crate::swap::slot::Slot;

/// A swappable task that was spawned: a [`Task`] that takes offers.
#[must_use = "if this is dropped, so is the result, and a task that nobody else can send to will get no more messages"]
pub struct SwapTask<M, S> {
    pub(super) task: Task<M, S>,
    pub(super) slot: Arc<Slot<M, S>>,
}

/// A reference to a swappable task: a [`TaskRef`] that takes offers.
pub struct SwapRef<M, S> {
    task: TaskRef<M>,
    slot: Arc<Slot<M, S>>,
}

impl<M, S> SwapRef<M, S>
where
    M: Send + 'static,
    S: Send + 'static,
{
    /// Offers `function` to the task, to go on with, and waits until it has accepted.
    ///
    /// The task sees it when it next asks for a [`SwapEvent`](crate::SwapEvent): until then the offer
    /// waits, and a later one takes its place. See [`HotSwap::timeout`]. The first message that the new
    /// function gets is the one that the old one would have got.
    ///
    /// # Errors
    ///
    /// See [`SwapError`](crate::SwapError).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the offer is withdrawn, unless the task has already looked at it.
    pub fn hot_swap<F, Fut>(&self, function: F) -> HotSwap<'_, M, S>
    where
        F: FnOnce(SwapMailbox<M, S>, S) -> Fut + Send + 'static,
        Fut: Future<Output = Flow<M, S>> + Send + 'static,
    {
        HotSwap::new(&self.task, &self.slot, function)
    }

    /// The name of the function that runs. (The task keeps the name that it had at first.)
    pub fn function(&self) -> &'static str {
        self.slot.lock().current
    }
}

impl<M, S> SwapTask<M, S>
where
    M: Send + 'static,
    S: Send + 'static,
{
    /// See [`SwapRef::hot_swap`].
    ///
    /// # Errors
    ///
    /// See [`SwapError`](crate::SwapError).
    pub fn hot_swap<F, Fut>(&self, function: F) -> HotSwap<'_, M, S>
    where
        F: FnOnce(SwapMailbox<M, S>, S) -> Fut + Send + 'static,
        Fut: Future<Output = Flow<M, S>> + Send + 'static,
    {
        HotSwap::new(&self.task, &self.slot, function)
    }

    /// See [`SwapRef::function`].
    pub fn function(&self) -> &'static str {
        self.slot.lock().current
    }

    /// A reference that takes offers.
    pub fn swap_ref(&self) -> SwapRef<M, S> {
        SwapRef { task: TaskRef::clone(&self.task), slot: self.slot.clone() }
    }

    /// The task, without what makes it swappable.
    pub fn into_task(self) -> Task<M, S> {
        self.task
    }
}

impl<M, S> Deref for SwapTask<M, S> {
    type Target = TaskRef<M>;

    fn deref(&self) -> &TaskRef<M> {
        &self.task
    }
}

impl<M: Send + 'static, S> IntoFuture for SwapTask<M, S> {
    type Output = Result<S, Exit>;
    type IntoFuture = Join<S>;

    fn into_future(self) -> Join<S> {
        self.task.join()
    }
}

impl<M, S> fmt::Display for SwapTask<M, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.task, f)
    }
}

impl<M, S> fmt::Debug for SwapTask<M, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.task, f)
    }
}

impl<M, S> Deref for SwapRef<M, S> {
    type Target = TaskRef<M>;

    fn deref(&self) -> &TaskRef<M> {
        &self.task
    }
}

impl<M, S> Clone for SwapRef<M, S> {
    fn clone(&self) -> Self {
        Self { task: self.task.clone(), slot: self.slot.clone() }
    }
}

impl<M, S> PartialEq for SwapRef<M, S> {
    fn eq(&self, other: &Self) -> bool {
        self.task == other.task
    }
}

impl<M, S> Eq for SwapRef<M, S> {}

impl<M, S> Hash for SwapRef<M, S> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.task.hash(state);
    }
}

impl<M, S> fmt::Display for SwapRef<M, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.task, f)
    }
}

impl<M, S> fmt::Debug for SwapRef<M, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.task, f)
    }
}

//! Hot swap: a running task gets a new function, and keeps everything else.

use std::any::type_name;
use std::fmt;
use std::future::{Future, IntoFuture, poll_fn};
use std::hash::{Hash, Hasher};
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::oneshot;

use crate::exit::Exit;
use crate::handle::{Join, Task};
use crate::identity::{Identity, short};
use crate::mailbox::Mailbox;
use crate::reference::TaskRef;
use crate::send::Deadline;
use crate::spawn::TaskBuilder;

/// Starts a task whose function can be changed for another while it runs: an async function with a
/// [`SwapMailbox`] and a state, which gives a [`Flow`].
///
/// What is offered by [`SwapRef::hot_swap`] arrives at [`SwapMailbox::next`], before the messages
/// that wait. The function looks at it, and accepts, with the state for its successor, or refuses.
/// Mailbox and messages, identity, references, names and monitors stay. A function for other
/// messages or another state does not compile. The state at the end is the task's result.
///
/// ```
/// # use pleiad_task::{Flow, Reply, SwapEvent, SwapMailbox, spawn_swappable};
/// type Words = SwapMailbox<Reply<String>, u32>;
///
/// async fn polite(mut mailbox: Words, mut asked: u32) -> Flow<Reply<String>, u32> {
///     loop {
///         match mailbox.next().await {
///             SwapEvent::Message(reply) => {
///                 asked += 1;
///                 reply.send(format!("Good morning, you are number {asked}"));
///             }
///             SwapEvent::Swap(offer) => return offer.accept(mailbox, asked),
///             SwapEvent::Closed => return Flow::Done(asked),
///         }
///     }
/// }
///
/// async fn curt(mut mailbox: Words, mut asked: u32) -> Flow<Reply<String>, u32> {
///     loop {
///         match mailbox.next().await {
///             SwapEvent::Message(reply) => {
///                 asked += 1;
///                 reply.send(format!("{asked}!"));
///             }
///             SwapEvent::Swap(offer) => offer.refuse("I have only just begun"),
///             SwapEvent::Closed => return Flow::Done(asked),
///         }
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let task = spawn_swappable(polite, 0);
/// assert_eq!(task.ask(|reply| reply).await?, "Good morning, you are number 1");
/// task.hot_swap(curt).await?;
/// assert_eq!(task.ask(|reply| reply).await?, "2!");
/// # Ok(())
/// # }
/// ```
///
/// # Panics
///
/// Outside of a tokio runtime.
pub fn spawn_swappable<M, S, F, Fut>(function: F, state: S) -> SwapTask<M, S>
where
    M: Send + 'static,
    S: Send + 'static,
    F: FnOnce(SwapMailbox<M, S>, S) -> Fut + Send + 'static,
    Fut: Future<Output = Flow<M, S>> + Send + 'static,
{
    TaskBuilder::new().spawn_swappable(function, state)
}

impl TaskBuilder {
    /// See [`spawn_swappable`].
    ///
    /// # Panics
    ///
    /// As [`spawn`](Self::spawn).
    pub fn spawn_swappable<M, S, F, Fut>(self, function: F, state: S) -> SwapTask<M, S>
    where
        M: Send + 'static,
        S: Send + 'static,
        F: FnOnce(SwapMailbox<M, S>, S) -> Fut + Send + 'static,
        Fut: Future<Output = Flow<M, S>> + Send + 'static,
    {
        let slot = Arc::new(Slot::new(type_name::<Fut>()));
        let of_mailbox = slot.clone();
        let run = |mailbox| async move {
            let mut flow = function(SwapMailbox { mailbox, slot: of_mailbox }, state).await;
            loop {
                match flow {
                    Flow::Done(result) => return result,
                    Flow::Become(Successor { function, mailbox, state }) => {
                        flow = function(mailbox, state).await;
                    }
                }
            }
        };
        let task = if self.has_name() { self } else { self.name(short(type_name::<Fut>())) };
        SwapTask { task: task.spawn(run), slot }
    }
}

/// A swappable task that was spawned: a [`Task`] that takes offers.
#[must_use = "if this is dropped, so is the result, and a task that nobody else can send to will get no more messages"]
pub struct SwapTask<M, S> {
    task: Task<M, S>,
    slot: Arc<Slot<M, S>>,
}

/// A reference to a swappable task: a [`TaskRef`] that takes offers.
pub struct SwapRef<M, S> {
    task: TaskRef<M>,
    slot: Arc<Slot<M, S>>,
}

/// The mailbox of a swappable task: a [`Mailbox`] where offers arrive too.
pub struct SwapMailbox<M, S> {
    mailbox: Mailbox<M>,
    slot: Arc<Slot<M, S>>,
}

/// What a swappable task gets.
#[derive(Debug)]
pub enum SwapEvent<M, S> {
    /// A message.
    Message(M),
    /// A function to go on with. Dropping the offer refuses it.
    Swap(Offer<M, S>),
    /// Nobody can send any more, or the task is asked to stop.
    Closed,
}

/// How the function of a swappable task ends.
pub enum Flow<M, S> {
    /// So does the task; this is its result.
    Done(S),
    /// The task goes on with another function: see [`Offer::accept`].
    Become(Successor<M, S>),
}

/// With what a task goes on.
pub struct Successor<M, S> {
    function: Function<M, S>,
    mailbox: SwapMailbox<M, S>,
    state: S,
}

type Function<M, S> = Box<
    dyn FnOnce(SwapMailbox<M, S>, S) -> Pin<Box<dyn Future<Output = Flow<M, S>> + Send>> + Send,
>;

/// A function that somebody offers to a task.
pub struct Offer<M, S> {
    function: Function<M, S>,
    name: &'static str,
    verdict: oneshot::Sender<Verdict>,
    slot: Arc<Slot<M, S>>,
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

enum Verdict {
    Accepted,
    Refused(String),
    Superseded,
}

/// What references and mailbox share: the offer that waits.
struct Slot<M, S> {
    /// Whether there is one, to look without a lock.
    offered: AtomicBool,
    state: Mutex<SlotState<M, S>>,
}

struct SlotState<M, S> {
    waiting: Option<Waiting<M, S>>,
    next_number: u64,
    closed: bool,
    /// The function that runs.
    current: &'static str,
}

struct Waiting<M, S> {
    number: u64,
    function: Function<M, S>,
    name: &'static str,
    verdict: oneshot::Sender<Verdict>,
}

impl<M, S> SwapRef<M, S>
where
    M: Send + 'static,
    S: Send + 'static,
{
    /// Offers `function` to the task, to go on with, and waits until it has accepted.
    ///
    /// The task sees it when it next asks for a [`SwapEvent`]: until then the offer waits, and a later
    /// one takes its place. See [`HotSwap::timeout`]. The first message that the new function gets is
    /// the one that the old one would have got.
    ///
    /// # Errors
    ///
    /// See [`SwapError`].
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
    /// See [`SwapError`].
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

impl<M, S> SwapMailbox<M, S>
where
    M: Send + 'static,
{
    /// The next message or offer; offers come first.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, nothing is lost.
    pub async fn next(&mut self) -> SwapEvent<M, S> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<SwapEvent<M, S>> {
        if let Some(offer) = self.take_offer() {
            return Poll::Ready(SwapEvent::Swap(offer));
        }
        match self.mailbox.poll_recv(cx) {
            Poll::Ready(Some(message)) => Poll::Ready(SwapEvent::Message(message)),
            Poll::Ready(None) => Poll::Ready(SwapEvent::Closed),
            // Who offers from here on finds a waiting receiver, and wakes it.
            Poll::Pending => {
                self.take_offer().map_or(Poll::Pending, |offer| Poll::Ready(SwapEvent::Swap(offer)))
            }
        }
    }

    /// The offer that waits, for tasks that are busy with something else than messages.
    pub fn take_offer(&mut self) -> Option<Offer<M, S>> {
        if !self.slot.offered.load(Ordering::Acquire) {
            return None;
        }
        let mut state = self.slot.lock();
        self.slot.offered.store(false, Ordering::Relaxed);
        let Waiting { function, name, verdict, .. } = state.waiting.take()?;
        Some(Offer { function, name, verdict, slot: self.slot.clone() })
    }
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

/// An offer on its way: see [`SwapRef::hot_swap`].
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
    fn new<F, Fut>(task: &'a TaskRef<M>, slot: &'a Slot<M, S>, function: F) -> Self
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

impl<M, S> Slot<M, S> {
    fn new(function: &'static str) -> Self {
        let current = short(function);
        let state = SlotState { waiting: None, next_number: 0, closed: false, current };
        Self { offered: AtomicBool::new(false), state: Mutex::new(state) }
    }

    /// Puts an offer there, and gives its number; nothing if the task takes none any more.
    fn put(
        &self,
        function: Function<M, S>,
        name: &'static str,
        verdict: oneshot::Sender<Verdict>,
    ) -> Option<u64> {
        let mut state = self.lock();
        if state.closed {
            return None;
        }
        let number = state.next_number;
        state.next_number += 1;
        let before = state.waiting.replace(Waiting { number, function, name, verdict });
        self.offered.store(true, Ordering::Release);
        drop(state);
        if let Some(before) = before {
            let _ = before.verdict.send(Verdict::Superseded);
        }
        Some(number)
    }

    /// Takes an offer back; whether the task had not looked at it.
    fn withdraw(&self, number: u64) -> bool {
        let mut state = self.lock();
        let withdrawn = state.waiting.take_if(|waiting| waiting.number == number);
        drop(state);
        withdrawn.is_some()
    }

    fn lock(&self) -> MutexGuard<'_, SlotState<M, S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M, S> Drop for SwapMailbox<M, S> {
    fn drop(&mut self) {
        let mut state = self.slot.lock();
        state.closed = true;
        let waiting = state.waiting.take();
        drop(state);
        drop(waiting);
    }
}

impl<M, S> Deref for SwapMailbox<M, S> {
    type Target = Mailbox<M>;

    fn deref(&self) -> &Mailbox<M> {
        &self.mailbox
    }
}

impl<M, S> DerefMut for SwapMailbox<M, S> {
    fn deref_mut(&mut self) -> &mut Mailbox<M> {
        &mut self.mailbox
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

impl<M, S> fmt::Display for SwapTask<M, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.task, f)
    }
}

impl<M, S> fmt::Display for SwapRef<M, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.task, f)
    }
}

impl<M, S> fmt::Debug for SwapTask<M, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.task, f)
    }
}

impl<M, S> fmt::Debug for SwapRef<M, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.task, f)
    }
}

impl<M, S> fmt::Debug for SwapMailbox<M, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.mailbox, f)
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

impl<M, S> fmt::Debug for Offer<M, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "offer of {}", self.name)
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

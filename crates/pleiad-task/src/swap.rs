//! Hot swap: a running task gets a new function, and keeps everything else.

mod handle;
mod mailbox;
mod offer;
mod slot;

use std::any::type_name;
use std::future::Future;
use std::sync::Arc;

use crate::identity::short;
use crate::spawn::TaskBuilder;
use slot::Slot;

pub use handle::{SwapRef, SwapTask};
pub use mailbox::{SwapEvent, SwapMailbox};
pub use offer::{Flow, HotSwap, Offer, Successor, SwapError};

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

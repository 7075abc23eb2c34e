//! Tasks that are started again when they end: [`Supervisor`].

mod child;
mod handle;
mod named;
mod policy;
mod shell;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use pleiad_types::{Backoff, limits};
use tokio::sync::oneshot;

use crate::mailbox::Mailbox;
use crate::spawn::TaskBuilder;
use policy::Options;

pub use child::{Child, Restart};
pub use handle::{
    ChildError, ChildInfo, ChildStartError, ChildState, SupervisorMessage, SupervisorRef,
};
pub use named::{NamedAskError, NamedRef, NamedSendError};

/// Who is restarted with a child that has ended.
///
/// Those that go with it are stopped in the reverse of their order, one after the other: each when
/// the one after it has ended. When all have, and the back-off of the first is over, they are started
/// in their order. Started means spawned: who needs an earlier one
/// [locates](crate::TaskRef::locate) it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Strategy {
    /// Nobody: children do not need each other.
    OneForOne,
    /// All others: they need each other.
    OneForAll,
    /// Those after it in the order of the children: each may need those before it.
    RestForOne,
}

/// Tasks that are started together, and again when they end.
///
/// A supervisor is a task with an ordered list of [children](Child). It starts them in that order,
/// stops them in the reverse order, and is told of each end. By the child's [`Restart`] rule it then
/// starts a new incarnation of it, with the same name and an empty mailbox, and by its [`Strategy`]
/// of others. If that happens too often, it stops all and fails: a supervisor above hears that.
///
/// ```
/// # use std::time::Duration;
/// # use pleiad_task::{Child, Mailbox, Reply, Restart, Strategy, Supervisor, TaskRef};
/// enum Count {
///     Add(u64),
///     Get(Reply<u64>),
/// }
///
/// async fn counter(mut mailbox: Mailbox<Count>) {
///     let mut n: u64 = 0;
///     while let Some(message) = mailbox.recv().await {
///         match message {
///             Count::Add(k) => n = n.checked_add(k).expect("too much"),
///             Count::Get(reply) => reply.send(n),
///         }
///     }
/// }
///
/// async fn printer(mut mailbox: Mailbox<String>, prefix: String) {
///     while let Some(line) = mailbox.recv().await {
///         println!("{prefix}{line}");
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let prefix = "> ".to_owned();
/// let supervisor = Supervisor::new(Strategy::OneForOne)
///     .intensity(3, Duration::from_secs(5))
///     .child("counter", counter)
///     .with(
///         Child::new("printer", move |mailbox| printer(mailbox, prefix.clone()))
///             .restart(Restart::OnFailure)
///             .capacity(16),
///     )
///     .start()
///     .await?;
///
/// let counter = TaskRef::locate("counter").await?;
/// counter.send(Count::Add(u64::MAX))?;
/// counter.send(Count::Add(1))?;
/// counter.ended().await;
///
/// let counter = TaskRef::locate("counter").timeout(Duration::from_secs(1)).await?;
/// assert_eq!(counter.ask(Count::Get).await?, 0);
/// supervisor.stop().await?;
/// # Ok(())
/// # }
/// ```
///
/// # Names
///
/// From its start to its end, an incarnation is registered by the name of its child. Between two of
/// them nobody has the name: [`TaskRef::find`](crate::TaskRef::find) finds nothing,
/// [`TaskRef::locate`](crate::TaskRef::locate) waits. A reference to one incarnation does not lead to
/// the next, and what the one has not read is lost; see [`NamedRef`].
///
/// # End
///
/// [`SupervisorRef::stop`], [`TaskRef::terminate`](crate::TaskRef::terminate), or dropping the last
/// [`SupervisorRef`] end a supervisor in order: each child is asked to stop, the last first, and
/// dropped when its grace is over. If the supervisor itself is killed, or its runtime is shut down,
/// its children are killed.
#[derive(Debug)]
#[must_use = "it starts nothing by itself"]
pub struct Supervisor {
    name: Option<Arc<str>>,
    options: Options,
    children: Vec<Child>,
}

impl Supervisor {
    /// Without children, and with the defaults.
    pub fn new(strategy: Strategy) -> Self {
        let (restarts, period) = (3, Duration::from_secs(5));
        let options = Options { strategy, restarts, period, backoff: Backoff::default() };
        Self { name: None, options, children: Vec::new() }
    }

    /// The name of its task in what is printed. Default: `supervisor`.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How many restarts within which time are borne: with the next one, the supervisor stops all
    /// children and fails, with the name of the child and how it ended. Default: 3 within 5 s.
    ///
    /// The restart of a group counts once, a start that goes wrong counts too, and what is restarted
    /// [by hand](SupervisorRef::restart_child) does not. Zero restarts: the first end that asks for
    /// one is the end. More than 1000 are taken for 1000. The period is sensible from a second on.
    pub fn intensity(mut self, restarts: u32, period: Duration) -> Self {
        self.options.restarts = restarts.min(limits::RESTARTS_MAX);
        self.options.period = period;
        self
    }

    /// How long a child waits for its restart. Default: the first restart comes at once, the second
    /// in a row after 100 ms, and each one after twice the time, up to one minute.
    ///
    /// `first` is the wait before the second restart in a row. A row ends when an incarnation has run
    /// for longer than the period of the [intensity](Self::intensity). The others of its group
    /// wait with it. [`Backoff::NONE`]: no waits.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.options.backoff = backoff;
        self
    }

    /// A child more: a function that takes a mailbox, and is called for each start. For more choice,
    /// see [`with`](Self::with).
    pub fn child<M, F, Fut>(self, name: impl Into<Arc<str>>, function: F) -> Self
    where
        M: Send + 'static,
        F: FnMut(Mailbox<M>) -> Fut + Send + 'static,
        Fut: Future<Output: Send + 'static> + Send + 'static,
    {
        self.with(Child::new(name, function))
    }

    /// As [`child`](Self::child), for a function that returns a `Result`: with an error it has
    /// failed.
    pub fn try_child<M, F, Fut, R, E>(self, name: impl Into<Arc<str>>, function: F) -> Self
    where
        M: Send + 'static,
        F: FnMut(Mailbox<M>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<R, E>> + Send + 'static,
        R: Send + 'static,
        E: fmt::Display + 'static,
    {
        self.with(Child::try_new(name, function))
    }

    /// A child more, after those that are there.
    pub fn with(mut self, child: Child) -> Self {
        self.children.push(child);
        self
    }

    /// Starts the supervisor, and its children in their order.
    ///
    /// # Errors
    ///
    /// [`ChildStartError`], for the first child that could not be started. Those before it have been
    /// stopped again, those after it were not started, and the supervisor has ended.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the supervisor stops what it has started, and ends.
    pub async fn start(self) -> Result<SupervisorRef, ChildStartError> {
        let (started, has_started) = oneshot::channel();
        let Self { name, options, children } = self;
        let name = name.unwrap_or_else(|| "supervisor".into());
        // Its end takes as long as those of its children.
        let builder = TaskBuilder::new().name(name).grace(Duration::MAX);
        let run = |mailbox| shell::run(options, children, mailbox, Some(started));
        let supervisor = SupervisorRef(builder.try_spawn(run).detach());
        match has_started.await {
            Ok(Ok(())) => Ok(supervisor),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(ChildStartError::SupervisorEnded(supervisor.ended().await)),
        }
    }

    /// As the function of a task.
    async fn run(self, mailbox: Mailbox<SupervisorMessage>) -> Result<(), String> {
        shell::run(self.options, self.children, mailbox, None).await
    }
}

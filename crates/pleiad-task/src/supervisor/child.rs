use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;

use crate::cell::AnyCell;
use crate::current;
use crate::exit::{Exit, ExitReason, Failure};
use crate::mailbox::Mailbox;
use crate::names::NameTaken;
use crate::spawn::TaskBuilder;
use crate::supervisor::{ChildStartError, Supervisor};

/// Whether a child that has ended is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Restart {
    /// However it ended. The default.
    #[default]
    Always,
    /// Unless it has returned: if it has panicked, if its function has returned an error
    /// ([`Child::try_new`]), and if it was killed, or was dropped because its grace was over, by
    /// somebody else than its supervisor. One that somebody else asks to stop, and that then
    /// returns, has done what it should: it is not restarted.
    OnFailure,
    /// Never. If it goes down with others of its group, it stays down, too.
    Never,
}

/// A task that a [`Supervisor`] starts, watches, and starts again.
///
/// It has a name and a function. The function is called for each start; it is as that of
/// [`spawn`](crate::spawn()), but can be called again and again: what it captures, it clones.
///
/// ```
/// # use std::time::Duration;
/// # use pleiad_task::{Child, Mailbox, Restart};
/// # #[derive(Clone)] struct Pool;
/// # enum Query {}
/// async fn database(mailbox: Mailbox<Query>, pool: Pool) -> Result<(), std::io::Error> {
///     # drop((mailbox, pool)); Ok(())
/// }
///
/// # let pool = Pool;
/// let child = Child::try_new("database", move |mailbox| database(mailbox, pool.clone()))
///     .restart(Restart::OnFailure)
///     .capacity(16)
///     .grace(Duration::from_secs(2));
/// ```
///
/// As long as it runs, the task is [registered](crate::TaskRef::register) by the name, and so its
/// mailbox stays open. Its next incarnation has the same name and an empty mailbox: what the last one
/// has not read is lost.
#[must_use = "it is started when it is given to a supervisor"]
pub struct Child {
    pub(crate) name: Arc<str>,
    pub(crate) restart: Restart,
    builder: TaskBuilder,
    start: StartFunction,
}

type StartFunction =
    Box<dyn FnMut(TaskBuilder, &str) -> Result<Arc<dyn AnyCell>, NotStarted> + Send>;

/// A start that went wrong.
pub(crate) struct NotStarted {
    pub(crate) cause: Cause,
    /// For the books.
    pub(crate) exit: Exit,
}

/// Why a start went wrong.
pub(crate) enum Cause {
    Name(NameTaken),
    Panic(Arc<Failure>),
}

impl Child {
    /// A task that runs `function`. What that returns is dropped.
    pub fn new<M, F, Fut>(name: impl Into<Arc<str>>, function: F) -> Self
    where
        M: Send + 'static,
        F: FnMut(Mailbox<M>) -> Fut + Send + 'static,
        Fut: Future<Output: Send + 'static> + Send + 'static,
    {
        Self::judged(name.into(), function, |_| Ok(()))
    }

    /// As [`new`](Self::new), for a function that returns a `Result`: with an error it has failed.
    pub fn try_new<M, F, Fut, R, E>(name: impl Into<Arc<str>>, function: F) -> Self
    where
        M: Send + 'static,
        F: FnMut(Mailbox<M>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<R, E>> + Send + 'static,
        R: Send + 'static,
        E: fmt::Display + 'static,
    {
        // The alternate form of anyhow's errors, and of those made alike, is the chain of causes.
        Self::judged(name.into(), function, |output| match output {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("{error:#}")),
        })
    }

    /// A supervisor below a supervisor: `make` is called for each start. If one of its children
    /// cannot be started, or it gives up, it has failed.
    ///
    /// Its [grace](Self::grace) is without end by default: it ends when its last child has.
    /// [`SupervisorRef::locate`](crate::SupervisorRef::locate) finds it.
    pub fn supervisor(
        name: impl Into<Arc<str>>,
        mut make: impl FnMut() -> Supervisor + Send + 'static,
    ) -> Self {
        Self::try_new(name, move |mailbox| make().run(mailbox)).grace(Duration::MAX)
    }

    /// Whether it is started again. Default: [`Restart::Always`].
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }

    /// How many messages its mailbox holds: see [`TaskBuilder::capacity`].
    pub fn capacity(mut self, messages: usize) -> Self {
        self.builder = self.builder.capacity(messages);
        self
    }

    /// Its mailbox is never full: see [`TaskBuilder::unbounded`].
    pub fn unbounded(mut self) -> Self {
        self.builder = self.builder.unbounded();
        self
    }

    /// How long it may go on when its supervisor asks it to stop. Zero: not at all. Default:
    /// [`STOP_GRACE`](pleiad_types::limits::STOP_GRACE).
    pub fn grace(mut self, grace: Duration) -> Self {
        self.builder = self.builder.grace(grace);
        self
    }

    /// Whether the end of the program does not wait for it: see [`TaskBuilder::daemon`]. Default:
    /// false.
    pub fn daemon(mut self, daemon: bool) -> Self {
        self.builder = self.builder.daemon(daemon);
        self
    }

    /// Starts it, with its name.
    pub(crate) fn start(&mut self) -> Result<Arc<dyn AnyCell>, NotStarted> {
        (self.start)(self.builder.clone(), &self.name)
    }

    fn judged<M, F, Fut>(
        name: Arc<str>,
        mut function: F,
        judge: fn(Fut::Output) -> Result<(), String>,
    ) -> Self
    where
        M: Send + 'static,
        F: FnMut(Mailbox<M>) -> Fut + Send + 'static,
        Fut: Future + Send + 'static,
    {
        let builder = TaskBuilder::new().name(name.clone());
        let start = move |builder: TaskBuilder, name: &str| {
            start_incarnation(builder, name, &mut function, judge)
        };
        Self { name, restart: Restart::default(), builder, start: Box::new(start) }
    }
}

/// Whoever locates the name finds a task that will run, so the name comes first; and a task that will
/// not run gives the name back before anybody tries again.
fn start_incarnation<M, Fut>(
    builder: TaskBuilder,
    name: &str,
    function: &mut impl FnMut(Mailbox<M>) -> Fut,
    judge: fn(Fut::Output) -> Result<(), String>,
) -> Result<Arc<dyn AnyCell>, NotStarted>
where
    M: Send + 'static,
    Fut: Future + Send + 'static,
{
    let mut refused = None;
    let task = builder.try_spawn(|mailbox: Mailbox<M>| {
        let me = mailbox.me();
        let future = me.register(name).map_err(Cause::Name).and_then(|()| {
            current::catch(|| function(mailbox)).map_err(|failure| {
                me.unregister(name);
                Cause::Panic(Arc::from(failure))
            })
        });
        match future {
            Ok(future) => Incarnation::Runs { future, judge },
            Err(cause) => {
                refused = Some(cause);
                Incarnation::Refused
            }
        }
    });
    let cell: Arc<dyn AnyCell> = task.cell.clone();
    match refused {
        None => Ok(cell),
        Some(cause) => {
            cell.kill();
            let exit = Exit::new(cell.identity(), ExitReason::Failed(cause.failure()));
            Err(NotStarted { cause, exit })
        }
    }
}

impl Cause {
    fn failure(&self) -> Arc<Failure> {
        match self {
            Self::Panic(failure) => failure.clone(),
            Self::Name(taken) => {
                Arc::new(Failure { message: taken.to_string(), location: None, backtrace: None })
            }
        }
    }

    pub(crate) fn into_error(self, child: &str) -> ChildStartError {
        let child = child.to_owned();
        match self {
            Self::Name(source) => ChildStartError::Name { child, source },
            Self::Panic(failure) => ChildStartError::Panicked { child, failure },
        }
    }
}

pin_project! {
    #[project = IncarnationProjected]
    enum Incarnation<F: Future> {
        Runs { #[pin] future: F, judge: fn(F::Output) -> Result<(), String> },
        Refused,
    }
}

impl<F: Future> Future for Incarnation<F> {
    type Output = Result<(), String>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            IncarnationProjected::Runs { future, judge } => future.poll(cx).map(judge),
            IncarnationProjected::Refused => Poll::Ready(Err("it was not started".to_owned())),
        }
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, restart, .. } = self;
        f.debug_struct("Child")
            .field("name", name)
            .field("restart", restart)
            .finish_non_exhaustive()
    }
}

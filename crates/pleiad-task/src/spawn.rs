use std::any::type_name;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use pleiad_types::limits;
use tokio::runtime::Handle;

use crate::cell::{End, TaskCell};
use crate::handle::Task;
use crate::live;
use crate::mailbox::Mailbox;
use crate::queue::{UNBOUNDED, bits};
use crate::reference::TaskRef;
use crate::runner::{Fallible, Outcome, Plain, Runner};
use crate::{current, registry};

/// The messages of tasks that take none: there are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "far", derive(serde::Serialize, serde::Deserialize))]
pub enum NoMessage {}

/// Starts a task: an async function with a mailbox, and perhaps more.
///
/// ```
/// # use pleiad_task::{Mailbox, spawn};
/// async fn greeter(mut mailbox: Mailbox<String>, greeting: &'static str) -> usize {
///     let mut greeted = 0;
///     while let Some(name) = mailbox.recv().await {
///         println!("{greeting}, {name}");
///         greeted += 1;
///     }
///     greeted
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let task = spawn(|mailbox| greeter(mailbox, "Hello"));
/// task.send("Alcyone".to_owned())?;
/// task.send("Maia".to_owned())?;
/// assert_eq!(task.await?, 2);
/// # Ok(())
/// # }
/// ```
///
/// The function is called at once, by the caller; what runs in the task is the future that it gives.
/// See [`TaskBuilder`] for what can be chosen.
///
/// # Panics
///
/// Outside of a tokio runtime; see [`TaskBuilder::on`]. And if the function panics before it gives a
/// future.
pub fn spawn<M, F, Fut>(function: F) -> Task<M, Fut::Output>
where
    M: Send + 'static,
    F: FnOnce(Mailbox<M>) -> Fut,
    Fut: Future<Output: Send + 'static> + Send + 'static,
{
    TaskBuilder::new().spawn(function)
}

/// As [`spawn`], for a function that returns a `Result`: if it returns an error, the task has
/// [failed](crate::ExitReason::Failed) with its text, and monitors and supervisors hear that.
pub fn try_spawn<M, F, Fut, R, E>(function: F) -> Task<M, R>
where
    M: Send + 'static,
    F: FnOnce(Mailbox<M>) -> Fut,
    Fut: Future<Output = Result<R, E>> + Send + 'static,
    R: Send + 'static,
    E: fmt::Display + 'static,
{
    TaskBuilder::new().try_spawn(function)
}

/// Starts a task without a mailbox.
///
/// # Panics
///
/// Outside of a tokio runtime.
pub fn spawn_future<Fut>(future: Fut) -> Task<NoMessage, Fut::Output>
where
    Fut: Future<Output: Send + 'static> + Send + 'static,
{
    TaskBuilder::new().spawn_future(future)
}

/// As [`spawn_future`], for a future of a `Result`: if it is an error, the task has failed, as with
/// [`try_spawn`].
///
/// # Panics
///
/// Outside of a tokio runtime.
pub fn try_spawn_future<Fut, R, E>(future: Fut) -> Task<NoMessage, R>
where
    Fut: Future<Output = Result<R, E>> + Send + 'static,
    R: Send + 'static,
    E: fmt::Display + 'static,
{
    TaskBuilder::new().try_spawn_future(future)
}

/// As [`spawn`], for a function whose future must stay in this thread: inside of a
/// [`LocalSet`](tokio::task::LocalSet).
///
/// # Panics
///
/// Outside of a `LocalSet`.
pub fn spawn_local<M, F, Fut>(function: F) -> Task<M, Fut::Output>
where
    M: Send + 'static,
    F: FnOnce(Mailbox<M>) -> Fut,
    Fut: Future<Output: Send + 'static> + 'static,
{
    TaskBuilder::new().spawn_local(function)
}

/// Starts a task that may block its thread, in a thread for such tasks: for long calculations, and
/// for calls that wait in the system. It reads its mailbox by [`Mailbox::recv_blocking`].
///
/// The function is an ordinary one: of an async function, only its future would be made, and never run.
/// Tokio has 512 such threads by default; more of such tasks wait for a free one. Asked to stop, it
/// sees that in its mailbox, as others do, but nothing can end it by force.
///
/// # Panics
///
/// Outside of a tokio runtime.
pub fn spawn_blocking<M, F, R>(function: F) -> Task<M, R>
where
    M: Send + 'static,
    F: FnOnce(Mailbox<M>) -> R + Send + 'static,
    R: Send + 'static,
{
    TaskBuilder::new().spawn_blocking(function)
}

/// How to start a task, when [`spawn`] leaves too much open.
///
/// ```
/// # use pleiad_task::{Mailbox, TaskBuilder};
/// # async fn logger(_: Mailbox<String>) {}
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let task = TaskBuilder::new().name("log").capacity(16).daemon(true).spawn(logger);
/// assert_eq!(task.identity().name(), "log");
/// # }
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "it starts nothing by itself"]
pub struct TaskBuilder {
    name: Option<Arc<str>>,
    capacity: Capacity,
    daemon: bool,
    grace: Option<Duration>,
    runtime: Option<Handle>,
}

/// Messages that a mailbox holds.
#[derive(Debug, Clone, Copy)]
struct Capacity(u32);

impl Default for Capacity {
    fn default() -> Self {
        Self(limits::MAILBOX_MESSAGES as u32)
    }
}

impl TaskBuilder {
    /// With the defaults of [`spawn`].
    pub fn new() -> Self {
        Self::default()
    }

    /// The task's name in what is printed. Default: that of its function. To be found by a name, see
    /// [`TaskRef::register`].
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How many messages the mailbox holds: from 1 to 2³¹ - 1, others are taken for the nearest of
    /// these. Default: [`MAILBOX_MESSAGES`](limits::MAILBOX_MESSAGES). As many again may be
    /// [urgent](TaskRef::send_urgent), and the ends of monitored tasks need no room.
    pub fn capacity(mut self, messages: usize) -> Self {
        self.capacity = Capacity(messages.clamp(1, i32::MAX as usize) as u32);
        self
    }

    /// The mailbox is never full: senders that are faster than the task fill the memory.
    pub fn unbounded(mut self) -> Self {
        self.capacity = Capacity(UNBOUNDED);
        self
    }

    /// Whether the end of the program waits for the task: [`join_all`](crate::join_all) does not wait
    /// for daemons. Default: false.
    pub fn daemon(mut self, daemon: bool) -> Self {
        self.daemon = daemon;
        self
    }

    /// How long the task may go on when it is asked to [stop](TaskRef::terminate). Default:
    /// [`STOP_GRACE`](limits::STOP_GRACE). Of no effect for tasks without a mailbox, which are dropped at
    /// once, and for those that block their thread, which cannot be.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = Some(grace);
        self
    }

    /// Starts it in this runtime, instead of the one of the caller. Of no effect for
    /// [`spawn_local`](Self::spawn_local).
    pub fn on(mut self, runtime: &Handle) -> Self {
        self.runtime = Some(runtime.clone());
        self
    }

    /// See [`spawn`].
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime, unless [`on`](Self::on) names one.
    #[inline]
    pub fn spawn<M, F, Fut>(self, function: F) -> Task<M, Fut::Output>
    where
        M: Send + 'static,
        F: FnOnce(Mailbox<M>) -> Fut,
        Fut: Future<Output: Send + 'static> + Send + 'static,
    {
        let cell = self.cell(type_name::<Fut>, 0);
        let future = call(function, &cell);
        self.start::<_, _, Plain>(cell, future)
    }

    /// See [`try_spawn`].
    ///
    /// # Panics
    ///
    /// As [`spawn`](Self::spawn).
    pub fn try_spawn<M, F, Fut, R, E>(self, function: F) -> Task<M, R>
    where
        M: Send + 'static,
        F: FnOnce(Mailbox<M>) -> Fut,
        Fut: Future<Output = Result<R, E>> + Send + 'static,
        R: Send + 'static,
        E: fmt::Display + 'static,
    {
        let cell = self.cell(type_name::<Fut>, 0);
        let future = call(function, &cell);
        self.start::<_, _, Fallible>(cell, future)
    }

    /// See [`spawn_future`].
    ///
    /// # Panics
    ///
    /// As [`spawn`](Self::spawn).
    #[inline]
    pub fn spawn_future<Fut>(self, future: Fut) -> Task<NoMessage, Fut::Output>
    where
        Fut: Future<Output: Send + 'static> + Send + 'static,
    {
        let cell = self.cell(type_name::<Fut>, bits::DEAF);
        self.start::<_, _, Plain>(cell, future)
    }

    /// See [`try_spawn_future`].
    ///
    /// # Panics
    ///
    /// As [`spawn`](Self::spawn).
    pub fn try_spawn_future<Fut, R, E>(self, future: Fut) -> Task<NoMessage, R>
    where
        Fut: Future<Output = Result<R, E>> + Send + 'static,
        R: Send + 'static,
        E: fmt::Display + 'static,
    {
        let cell = self.cell(type_name::<Fut>, bits::DEAF);
        self.start::<_, _, Fallible>(cell, future)
    }

    /// See [`spawn_local`].
    ///
    /// # Panics
    ///
    /// Outside of a [`LocalSet`](tokio::task::LocalSet).
    pub fn spawn_local<M, F, Fut>(self, function: F) -> Task<M, Fut::Output>
    where
        M: Send + 'static,
        F: FnOnce(Mailbox<M>) -> Fut,
        Fut: Future<Output: Send + 'static> + 'static,
    {
        let cell = self.cell(type_name::<Fut>, 0);
        let future = call(function, &cell);
        let reference = TaskRef::adopt(cell.clone());
        Task::new(reference, tokio::task::spawn_local(Runner::<_, _, Plain>::new(cell, future)))
    }

    /// See [`spawn_blocking`].
    ///
    /// # Panics
    ///
    /// As [`spawn`](Self::spawn).
    pub fn spawn_blocking<M, F, R>(self, function: F) -> Task<M, R>
    where
        M: Send + 'static,
        F: FnOnce(Mailbox<M>) -> R + Send + 'static,
        R: Send + 'static,
    {
        let cell = self.cell(type_name::<F>, 0);
        let mailbox = Mailbox::new(cell.clone());
        let reference = TaskRef::adopt(cell.clone());
        let guard = Unstarted(cell);
        let run = move || {
            let cell = guard.0.clone();
            let entered = current::enter(cell.id(), 0);
            let ended = current::catch(move || function(mailbox));
            drop(entered);
            match ended {
                Ok(value) => {
                    cell.finish(End::Returned);
                    Ok(value)
                }
                Err(failure) => Err(cell.fail(End::Failed(failure))),
            }
        };
        let join = match &self.runtime {
            Some(runtime) => runtime.spawn_blocking(run),
            None => tokio::task::spawn_blocking(run),
        };
        Task::new(reference, join)
    }

    pub(crate) fn has_name(&self) -> bool {
        self.name.is_some()
    }

    fn cell<M: Send + 'static>(
        &self,
        function: fn() -> &'static str,
        bits: u32,
    ) -> Arc<TaskCell<M>> {
        current::keep_panics();
        let mut cell = TaskCell::new(self.capacity.0, function);
        if self.daemon {
            live::one_less();
            cell.queue.preset(bits | bits::DAEMON);
        } else if bits != 0 {
            cell.queue.preset(bits);
        }
        let watch = registry::tasks_are_watched();
        if watch || self.name.is_some() || self.grace.is_some() {
            cell.queue.life_mut(|life, _| {
                life.name.clone_from(&self.name);
                life.grace = self.grace;
                life.watch = watch.then(registry::watch);
            });
        }
        let cell = Arc::new(cell);
        if watch {
            registry::add(cell.clone());
        }
        cell
    }

    #[inline]
    fn start<M, Fut, O>(self, cell: Arc<TaskCell<M>>, future: Fut) -> Task<M, O::Value>
    where
        M: Send + 'static,
        Fut: Future + Send + 'static,
        O: Outcome<Fut::Output, Value: Send + 'static> + 'static,
    {
        let reference = TaskRef::adopt(cell.clone());
        let runner = Runner::<_, _, O>::new(cell, future);
        let join = match &self.runtime {
            Some(runtime) => runtime.spawn(runner),
            None => tokio::spawn(runner),
        };
        Task::new(reference, join)
    }
}

/// Has the function make its future. If it panics instead, it does so in the caller, and the task has
/// ended before it began.
#[inline]
fn call<M, Fut>(function: impl FnOnce(Mailbox<M>) -> Fut, cell: &Arc<TaskCell<M>>) -> Fut
where
    M: Send + 'static,
{
    struct Begun<'a, M>(&'a TaskCell<M>);

    impl<M> Drop for Begun<'_, M> {
        fn drop(&mut self) {
            self.0.finish(End::Terminated);
        }
    }

    let begun = Begun(cell);
    let future = function(Mailbox::new(cell.clone()));
    std::mem::forget(begun);
    future
}

/// A function that is dropped before it has begun, with its runtime, has ended too.
struct Unstarted<M>(Arc<TaskCell<M>>);

impl<M> Drop for Unstarted<M> {
    fn drop(&mut self) {
        self.0.finish(End::Terminated);
    }
}

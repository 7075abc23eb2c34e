//! The end of the program: waiting for tasks, and what is to be done last.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use thiserror::Error;

use crate::current::{self, current};
use crate::deadline::Deadline;
use crate::exit::Failure;
use crate::identity::{Identity, TaskId};
use crate::live;

type Action = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

static AT_EXIT: Mutex<Vec<Entry>> = Mutex::new(Vec::new());

struct Entry {
    number: u64,
    priority: i32,
    action: Action,
}

/// Waits until all tasks of this process that are not [daemons](crate::TaskBuilder::daemon) have
/// ended: at the end of `main`, so that nothing is cut off.
///
/// ```
/// # use std::time::Duration;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// for n in 0..3 {
///     pleiad_task::spawn_future(async move { println!("task {n}") }).detach();
/// }
/// pleiad_task::join_all().timeout(Duration::from_secs(10)).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`JoinAllError::StillRunning`] if there is a [time-out](JoinAll::timeout), and
/// [`JoinAllError::InTask`] in a task, which would wait for itself.
///
/// # Cancel safety
///
/// May be dropped at any time.
pub fn join_all() -> JoinAll {
    JoinAll { none_left: Box::pin(live::none_left()), deadline: Deadline::None }
}

/// See [`join_all`].
#[must_use = "the tasks are awaited when this is"]
pub struct JoinAll {
    none_left: Pin<Box<dyn Future<Output = ()> + Send>>,
    deadline: Deadline,
}

/// Why [`join_all`] has not waited for all tasks.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum JoinAllError {
    /// Tasks have not ended in time. They go on.
    #[error("{tasks} task(s) have not ended within {after:?}{}", Names(.known))]
    StillRunning {
        /// How many.
        tasks: u64,
        /// Which, as far as they are known: see [`watch_tasks`](crate::watch_tasks).
        known: Vec<Identity>,
        /// How long it was waited.
        after: Duration,
    },
    /// It was called in a task, which would have waited for itself.
    #[error("{0} cannot wait for all tasks: it is one of them")]
    InTask(TaskId),
}

struct Names<'a>(&'a [Identity]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 5;
        for (index, task) in self.0.iter().take(SHOWN).enumerate() {
            write!(f, "{}{task}", if index == 0 { ": " } else { ", " })?;
        }
        if self.0.len() > SHOWN { f.write_str(", …") } else { Ok(()) }
    }
}

impl JoinAll {
    /// Gives up after so long. Default: never.
    pub fn timeout(mut self, after: Duration) -> Self {
        self.deadline = Deadline::Later(after);
        self
    }

    /// As awaiting it, for threads that run no tasks: blocks the thread.
    ///
    /// # Errors
    ///
    /// See [`JoinAllError`].
    ///
    /// # Panics
    ///
    /// In async code, which must not block its thread.
    #[track_caller]
    pub fn blocking(self) -> Result<(), JoinAllError> {
        crate::block::on(self)
    }
}

impl Future for JoinAll {
    type Output = Result<(), JoinAllError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(task) = current() {
            return Poll::Ready(Err(JoinAllError::InTask(task)));
        }
        if self.none_left.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        let Poll::Ready(after) = self.deadline.poll(cx) else { return Poll::Pending };
        let live = crate::tasks().into_iter().map(|task| task.info());
        let known = live.filter(|info| !info.daemon).map(|info| info.task).collect();
        Poll::Ready(Err(JoinAllError::StillRunning { tasks: live::count(), known, after }))
    }
}

impl fmt::Debug for JoinAll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "end of all {} tasks", live::count())
    }
}

/// To take an action of [`at_exit`] back. Dropping this changes nothing.
#[derive(Debug)]
pub struct AtExit(u64);

/// Has [`run_at_exit`] do something at the end of the program: higher priorities first, and equal
/// ones in the order in which they came.
pub fn at_exit<Fut>(priority: i32, action: impl FnOnce() -> Fut + Send + 'static) -> AtExit
where
    Fut: Future<Output = ()> + Send + 'static,
{
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut entries = AT_EXIT.lock().unwrap_or_else(PoisonError::into_inner);
    let action: Action = Box::new(move || Box::pin(action()));
    entries.push(Entry { number, priority, action });
    AtExit(number)
}

impl AtExit {
    /// Takes the action back, if it has not begun.
    pub fn cancel(self) -> bool {
        let mut entries = AT_EXIT.lock().unwrap_or_else(PoisonError::into_inner);
        let found = entries.iter().position(|entry| entry.number == self.0);
        let removed = found.map(|index| entries.remove(index));
        drop(entries);
        removed.is_some()
    }
}

/// Waits for all tasks ([`join_all`]), and then runs what was given to [`at_exit`], also what it
/// adds. Gives the failures of those that have panicked; the others run nevertheless.
///
/// Call it at the end of `main`: nothing does by itself.
///
/// # Errors
///
/// [`JoinAllError::InTask`] in a task, which would wait for itself. Nothing has been run.
pub async fn run_at_exit() -> Result<Vec<Failure>, JoinAllError> {
    join_all().await?;
    let mut failures = Vec::new();
    while let Some(action) = next_action() {
        match current::catch(action) {
            Ok(running) => failures.extend(Caught(running).await.err()),
            Err(failure) => failures.push(*failure),
        }
    }
    for failure in &failures {
        tracing::error!(%failure, "an action at exit has failed");
    }
    Ok(failures)
}

fn next_action() -> Option<Action> {
    let mut entries = AT_EXIT.lock().unwrap_or_else(PoisonError::into_inner);
    let next = entries
        .iter()
        .enumerate()
        .max_by_key(|(_, entry)| (entry.priority, std::cmp::Reverse(entry.number)))?;
    let index = next.0;
    Some(entries.remove(index).action)
}

/// A future whose panic is an error.
struct Caught(Pin<Box<dyn Future<Output = ()> + Send>>);

impl Future for Caught {
    type Output = Result<(), Failure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match current::catch(|| self.0.as_mut().poll(cx)) {
            Ok(polled) => polled.map(Ok),
            Err(failure) => Poll::Ready(Err(*failure)),
        }
    }
}

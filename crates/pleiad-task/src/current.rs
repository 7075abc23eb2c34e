//! Which task this thread runs, and what a panic in it has said.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use std::thread;

use pleiad_types::backtrace_of;

use crate::exit::Failure;
use crate::identity::TaskId;

thread_local! {
    static CURRENT: Cell<Option<(TaskId, usize)>> = const { Cell::new(None) };
    static DISCARDS: Cell<Option<TaskId>> = const { Cell::new(None) };
    static LAST_PANIC: RefCell<Option<Panic>> = const { RefCell::new(None) };
}

/// What the hook has seen of a panic.
struct Panic {
    text: String,
    location: String,
    backtrace: Option<String>,
}

/// The task that runs here: `None` outside of tasks that were spawned by pleiad.
pub fn current() -> Option<TaskId> {
    CURRENT.get().map(|(id, _)| id)
}

/// Whether the task with the cell at `address` runs here.
#[inline]
pub(crate) fn is_at(address: usize) -> bool {
    CURRENT.get().is_some_and(|(_, current)| current == address)
}

/// The async task that runs here: `None` in a task of [`spawn_blocking`](crate::spawn_blocking) too.
pub(crate) fn polled() -> Option<TaskId> {
    CURRENT.get().filter(|&(_, address)| address != 0).map(|(id, _)| id)
}

/// This thread runs a task, until this is dropped. `address`: of its cell, or 0 if it may block.
pub(crate) struct Entered(Option<(TaskId, usize)>);

#[inline]
pub(crate) fn enter(id: TaskId, address: usize) -> Entered {
    Entered(CURRENT.replace(Some((id, address))))
}

impl Drop for Entered {
    #[inline]
    fn drop(&mut self) {
        CURRENT.set(self.0);
    }
}

/// Runs `f`; a panic in it becomes a [`Failure`].
#[inline]
pub(crate) fn catch<T>(f: impl FnOnce() -> T) -> Result<T, Box<Failure>> {
    panic::catch_unwind(AssertUnwindSafe(f)).map_err(|payload| {
        let message = text(&*payload);
        // A payload may panic itself when it is dropped.
        if let Err(second) = panic::catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            std::mem::forget(second);
        }
        // One that was passed on, by `resume_unwind`, is none that the hook has seen; it may have seen
        // another, which was caught.
        let seen = LAST_PANIC.take().filter(|seen| seen.text == message);
        let (location, backtrace) = seen.map(|seen| (seen.location, seen.backtrace)).unzip();
        Box::new(Failure { message, location, backtrace: backtrace.flatten() })
    })
}

/// Drops messages that `task` has not read, also when one of them panics. Gives the failure of the
/// first that does.
pub(crate) fn discard<T>(task: TaskId, values: impl IntoIterator<Item = T>) -> Option<Failure> {
    let mut failure = None;
    if std::mem::needs_drop::<T>() {
        let _discarding = Discarding(DISCARDS.replace(Some(task)));
        for value in values {
            if let Err(failed) = catch(|| drop(value)) {
                failure.get_or_insert(*failed);
            }
        }
    }
    failure
}

/// The task whose messages this thread is about to [`discard`].
pub(crate) fn discards() -> Option<TaskId> {
    DISCARDS.get()
}

/// Until this is dropped.
struct Discarding(Option<TaskId>);

impl Drop for Discarding {
    fn drop(&mut self) {
        DISCARDS.set(self.0);
    }
}

fn text(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("(a panic without a text)").to_owned()
}

/// Makes panics in tasks leave their place and backtrace here; they are printed as ever.
pub(crate) fn keep_panics() {
    static ONCE: Once = Once::new();
    // A thread that panics may change no hook: the next spawn does.
    if !ONCE.is_completed() && thread::panicking() {
        return;
    }
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if CURRENT.get().is_some() {
                let backtrace = Backtrace::capture();
                let backtrace = (backtrace.status() == BacktraceStatus::Captured)
                    .then(|| backtrace_of(&backtrace.to_string(), "pleiad_task::runner"));
                let location = info.location().map(ToString::to_string).unwrap_or_default();
                LAST_PANIC.set(Some(Panic { text: text(info.payload()), location, backtrace }));
            }
            before(info);
        }));
    });
}

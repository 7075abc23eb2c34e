//! Waiting in a thread that runs no tasks.

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant;

use tokio::sync::RwLock;

use crate::current;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

thread_local! {
    /// When the future that blocks this thread wants to be polled again.
    static WAKE_AT: Cell<Option<Instant>> = const { Cell::new(None) };
    static IS_BLOCKED: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread runs a future by [`on`], where there need be no runtime with timers.
pub(crate) fn is_blocked() -> bool {
    IS_BLOCKED.get()
}

/// The future that blocks this thread is polled again then, if it still waits.
pub(crate) fn wake_at(time: Instant) {
    WAKE_AT.set(Some(WAKE_AT.get().map_or(time, |other| other.min(time))));
}

/// This thread is blocked, until this is dropped.
struct Blocked(bool);

impl Drop for Blocked {
    fn drop(&mut self) {
        IS_BLOCKED.set(self.0);
    }
}

/// Tokio knows whether a thread polls futures, and tells it only so: this panics there.
static MAY_BLOCK: RwLock<()> = RwLock::const_new(());

/// Runs `future` to its end, and parks the thread while it waits.
///
/// # Panics
///
/// In async code: it would stop all tasks of its thread, perhaps also the one that it waits for.
#[track_caller]
pub(crate) fn on<T>(future: impl Future<Output = T>) -> T {
    if let Some(task) = current::polled() {
        panic!("{task} is asynchronous and must not block its thread: use the form with `.await`");
    }
    drop(MAY_BLOCK.blocking_read());
    let _blocked = Blocked(IS_BLOCKED.replace(true));
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    loop {
        WAKE_AT.set(None);
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(value) => return value,
            Poll::Pending => match WAKE_AT.take() {
                None => thread::park(),
                Some(time) => {
                    thread::park_timeout(time.saturating_duration_since(Instant::now()));
                }
            },
        }
    }
}

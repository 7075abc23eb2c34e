//! How many tasks there are for which the program waits before it ends.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// Tasks that were started: the number of the last.
static STARTED: AtomicU64 = AtomicU64::new(0);
/// Those of them for which nobody waits any more: they have ended, or are daemons. For a moment it may
/// be one less than none: see [`one_back`].
static SETTLED: AtomicU64 = AtomicU64::new(0);
static NONE_LEFT: Notify = Notify::const_new();

/// Counts a task more, and gives its number, from 1 on.
#[inline]
pub(crate) fn one_more() -> u64 {
    STARTED.fetch_add(1, Ordering::Relaxed) + 1
}

/// A task has ended, or has become a daemon.
#[inline]
pub(crate) fn one_less() {
    let settled = SETTLED.fetch_add(1, Ordering::AcqRel).wrapping_add(1);
    if settled == STARTED.load(Ordering::Acquire) {
        NONE_LEFT.notify_waiters();
    }
}

/// A daemon is none any more. If it was none before, [`one_less`] follows.
pub(crate) fn one_back() {
    SETTLED.fetch_sub(1, Ordering::AcqRel);
}

pub(crate) fn count() -> u64 {
    // In this order: a task that starts and ends in between is not to make it less than none.
    let settled = SETTLED.load(Ordering::Acquire);
    STARTED.load(Ordering::Acquire).wrapping_sub(settled)
}

/// Returns when there has been a moment without live tasks.
pub(crate) async fn none_left() {
    let mut notified = pin!(NONE_LEFT.notified());
    notified.as_mut().enable();
    if count() > 0 {
        // After this there was such a moment, even if new ones have begun since.
        notified.await;
    }
}

//! How many tasks the program waits for before it ends.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static NONE_LEFT: Notify = Notify::const_new();

#[inline]
pub(crate) fn one_more() {
    LIVE.fetch_add(1, Ordering::Relaxed);
}

#[inline]
pub(crate) fn one_less() {
    if LIVE.fetch_sub(1, Ordering::AcqRel) == 1 {
        NONE_LEFT.notify_waiters();
    }
}

pub(crate) fn count() -> usize {
    LIVE.load(Ordering::Acquire)
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

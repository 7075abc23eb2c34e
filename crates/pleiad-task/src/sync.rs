//! The primitives under the queue: loom's when its interleavings are explored, else the usual.

#[cfg(not(pleiad_loom))]
pub(crate) use std::sync::{Mutex, MutexGuard};

#[cfg(not(pleiad_loom))]
pub(crate) mod atomic {
    pub(crate) use std::sync::atomic::{AtomicU32, Ordering, fence};
}

#[cfg(pleiad_loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard};

#[cfg(pleiad_loom)]
pub(crate) mod atomic {
    pub(crate) use loom::sync::atomic::{AtomicU32, Ordering, fence};
}

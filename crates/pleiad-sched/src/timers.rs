//! What is to be looked at, and when.

use std::collections::BTreeSet;

use pleiad_types::{JobId, Time};

use crate::job::Place;

/// What to look at.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Timer {
    /// Whether the first job has reached its limit, or the lane has stalled. A lane has at most one
    /// timer, and it may ring too early: a lane's deadline moves with every job that ends, and
    /// moving the timer each time would cost more than looking once too often.
    Lane(Place),
    /// Its next attempt may start.
    Retry(JobId),
}

/// The timers, first one first. They are taken out exactly when they are no longer needed, so there
/// are never more than lanes and jobs that wait for a retry.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    set: BTreeSet<(Time, Timer)>,
}

impl Timers {
    pub(crate) fn insert(&mut self, at: Time, timer: Timer) {
        self.set.insert((at, timer));
    }

    pub(crate) fn remove(&mut self, at: Time, timer: Timer) {
        self.set.remove(&(at, timer));
    }

    /// When the first one rings.
    pub(crate) fn next(&self) -> Option<Time> {
        self.set.first().map(|&(at, _)| at)
    }

    /// Takes out the first one that has rung.
    pub(crate) fn pop(&mut self, now: Time) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        self.set.pop_first().map(|(_, timer)| timer)
    }

    pub(crate) fn contains(&self, at: Time, timer: Timer) -> bool {
        self.set.contains(&(at, timer))
    }

    pub(crate) fn len(&self) -> usize {
        self.set.len()
    }
}

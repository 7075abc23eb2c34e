//! Who is measured.

use std::time::Duration;

use crate::row::{Threads, Work};

mod actix;
mod kameo;
mod kanal;
mod pleiad;
mod ractor;
mod tokio;

/// How long `n` of something take.
pub(crate) type Timed = fn(Threads, u64) -> Duration;

/// A library, and how it does each work. What it has no equivalent for is `None`.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    /// By how many bytes the process grows by `n` idle tasks.
    pub(crate) memory: Option<fn(u64) -> u64>,
    /// About how many bytes that is for each: to see before whether there is room.
    pub(crate) idle: u64,
    pub(crate) spawn: Option<Timed>,
    pub(crate) future: Option<Timed>,
    pub(crate) ask: Option<Timed>,
    pub(crate) bounded: Option<Timed>,
    pub(crate) unbounded: Option<Timed>,
    pub(crate) broadcast: Option<Timed>,
    pub(crate) swap: Option<Timed>,
}

impl Peer {
    const fn new(name: &'static str) -> Self {
        Self {
            name,
            memory: None,
            idle: 2_000,
            spawn: None,
            future: None,
            ask: None,
            bounded: None,
            unbounded: None,
            broadcast: None,
            swap: None,
        }
    }

    /// How it does `work`, where that is a matter of time.
    pub(crate) fn timed(&self, work: Work) -> Option<Timed> {
        match work {
            Work::Memory => None,
            Work::Spawn => self.spawn,
            Work::Future => self.future,
            Work::Ask => self.ask,
            Work::Bounded => self.bounded,
            Work::Unbounded => self.unbounded,
            Work::Broadcast => self.broadcast,
            Work::Swap => self.swap,
        }
    }

    pub(crate) fn does(&self, work: Work) -> bool {
        match work {
            Work::Memory => self.memory.is_some(),
            _ => self.timed(work).is_some(),
        }
    }
}

/// The libraries. The first is what the others are compared with.
pub(crate) const PEERS: &[Peer] =
    &[tokio::PEER, tokio::MANY, pleiad::PEER, kanal::PEER, actix::PEER, kameo::PEER, ractor::PEER];

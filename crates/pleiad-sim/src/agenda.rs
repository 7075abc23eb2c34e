//! The virtual clock, and what happens when.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use pleiad_types::Time;

use crate::faults::Fault;
use crate::net::{ConnId, Side};

/// What happens. A `life` tells a process from one that was at the same host before.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    /// A connection reaches the host that was dialled.
    Knock(ConnId),
    /// A connection was refused, or nothing was heard for too long.
    Fail(ConnId),
    /// Bytes, or the end of them, may have come to the other side.
    Carry(ConnId, Side),
    /// A slow reader goes on.
    Read(ConnId, Side),
    /// There may be room to write.
    Flush(ConnId, Side),
    /// A connection has broken on this side.
    Gone(ConnId, Side),
    /// A greeting has had its time.
    Greet(ConnId, Side),
    /// Timers of a node.
    Wake {
        host: usize,
        life: u64,
    },
    /// A task looks into its mailbox.
    Step {
        host: usize,
        life: u64,
        task: u64,
    },
    /// Somebody does something.
    Act,
    Fault(Fault),
    /// No more faults and actions from here on; all is healed.
    Calm,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    now: Time,
    count: u64,
    events: BinaryHeap<Reverse<(Time, u64, Event)>>,
}

impl Agenda {
    pub(crate) fn now(&self) -> Time {
        self.now
    }

    pub(crate) fn after(&mut self, pause: Duration, event: Event) {
        self.at(self.now + pause, event);
    }

    pub(crate) fn at(&mut self, at: Time, event: Event) {
        self.count += 1;
        self.events.push(Reverse((at.max(self.now), self.count, event)));
    }

    /// The next event until then; the time is now that of the event.
    pub(crate) fn next(&mut self, until: Time) -> Option<Event> {
        if self.events.peek().is_none_or(|Reverse((at, ..))| *at > until) {
            self.now = until;
            return None;
        }
        let Reverse((at, _, event)) = self.events.pop()?;
        self.now = at;
        Some(event)
    }
}

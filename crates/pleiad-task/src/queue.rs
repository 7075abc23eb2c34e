//! The queue behind a mailbox: many senders, one receiver.
//!
//! There is one lock. A sender takes it for each message, for as long as a push lasts. The receiver
//! takes it once for all messages that have come meanwhile: it changes its empty **batch** for the
//! full queue, and then reads the batch without a lock. What is seldom needed (waiting senders,
//! urgent messages, monitors) is in a box that most tasks never have: a million idle tasks are to
//! fit into 400 MB.
//!
//! When the queue is full, messages of waiting senders wait inside, in order. Room that the receiver
//! makes by reading its batch is given to them by [`Queue::settle`], which a task's runner calls
//! after each poll: so a full mailbox costs one lock for a turn of the receiver, not for a message.

#[cfg(feature = "far")]
mod far;
mod receiver;
mod sender;
mod task;

use std::collections::VecDeque;
use std::sync::PoisonError;
use std::task::Waker;

use crate::life::Life;
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::{Mutex, MutexGuard};
use sender::WaitingMessage;

pub(crate) use receiver::{Matching, Scanned, TryRecv};
pub(crate) use sender::{Delivery, Refusal};
pub(crate) use task::Remains;

/// [`Queue::reader`]: the receiver waits for a message; the other bits count what it has not read.
const WAITING: u32 = 1 << 31;

/// Capacity of a queue without a bound.
pub(crate) const UNBOUNDED: u32 = u32::MAX;

/// What the bits of [`Queue::attention`] say. They change only under the lock.
pub(crate) mod bits {
    /// The task is asked to stop: nothing more is received.
    pub(crate) const STOPPED: u32 = 1 << 0;
    /// The task is to be dropped at once.
    pub(crate) const KILLED: u32 = 1 << 1;
    /// There are urgent messages.
    pub(crate) const URGENT: u32 = 1 << 2;
    /// Senders wait for room.
    pub(crate) const SENDERS: u32 = 1 << 3;
    /// Nothing more is accepted; what is in the queue is still read. So it is when nobody is left who
    /// could send; then the receiver itself may open it again.
    pub(crate) const CLOSED: u32 = 1 << 4;
    /// The receiver is gone. Nothing is in the queue, and nothing will be.
    pub(crate) const DEAF: u32 = 1 << 5;
    /// The waker is the task's own: it stays.
    pub(crate) const ROOTED: u32 = 1 << 6;
    /// The task has ended; one of the next three says how.
    pub(crate) const ENDED: u32 = 1 << 7;
    pub(crate) const RETURNED: u32 = 1 << 8;
    pub(crate) const FAILED: u32 = 1 << 9;
    pub(crate) const TERMINATED: u32 = 1 << 10;
    /// The program does not wait for this task.
    pub(crate) const DAEMON: u32 = 1 << 11;
    /// There are rings to look into.
    pub(crate) const SOURCES: u32 = 1 << 12;
    /// It was closed on purpose, or the task has ended: nothing opens it again.
    pub(crate) const SHUT: u32 = 1 << 13;
    /// Of a task of another node. Nothing is ever in the queue: it is closed, and whoever is refused
    /// for that looks for this.
    #[cfg(feature = "far")]
    pub(crate) const FAR: u32 = 1 << 14;
    /// Of such a task: it was closed on purpose from here.
    #[cfg(feature = "far")]
    pub(crate) const FAR_SHUT: u32 = 1 << 15;
}

use bits::{CLOSED, DEAF, SHUT};

pub(crate) struct Queue<M> {
    state: Mutex<State<M>>,
    /// How many messages of its batch the receiver has not read, and whether it waits ([`WAITING`]).
    /// Written by the receiver; a sender that wakes it takes the [`WAITING`] away.
    reader: AtomicU32,
    /// See [`bits`].
    attention: AtomicU32,
    /// References that may send. When the last goes, the queue closes.
    senders: AtomicU32,
    capacity: u32,
}

struct State<M> {
    queue: Vec<M>,
    /// Wakes the receiver: of a task, its own waker, which stays; else that of the last poll.
    waker: Option<Waker>,
    rare: Option<Box<Rare<M>>>,
}

struct Rare<M> {
    /// Messages for which there is no room yet, oldest first.
    waiting: VecDeque<WaitingMessage<M>>,
    /// The ticket of the next message that has to wait. All below that of the first in `waiting` are
    /// in the queue, or were taken back.
    next_ticket: u64,
    urgent: VecDeque<M>,
    /// Of a receiver that is polled by another waker than its task's, as in `FuturesUnordered`.
    receiver: Option<Waker>,
    /// Rings of channels that drop their oldest message.
    sources: Vec<Box<dyn Source<M>>>,
    life: Life,
    /// Where everything goes, of a task of another node.
    #[cfg(feature = "far")]
    far: Option<std::sync::Arc<crate::far::FarEnd<M>>>,
}

/// Somewhere else that messages come from.
pub(crate) trait Source<M>: Send {
    /// The oldest message there.
    fn pop(&self) -> Option<M>;

    /// Whether nothing will come any more.
    fn is_over(&self) -> bool;
}

impl<M> Default for Rare<M> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            next_ticket: 0,
            urgent: VecDeque::new(),
            receiver: None,
            sources: Vec::new(),
            life: Life::default(),
            #[cfg(feature = "far")]
            far: None,
        }
    }
}

impl<M> Queue<M> {
    /// An empty queue with one sender.
    pub(crate) fn new(capacity: u32) -> Self {
        Self {
            state: Mutex::new(State { queue: Vec::new(), waker: None, rare: None }),
            reader: AtomicU32::new(0),
            attention: AtomicU32::new(0),
            senders: AtomicU32::new(1),
            capacity,
        }
    }

    pub(crate) fn capacity(&self) -> u32 {
        #[cfg(feature = "far")]
        if let Some(far) = self.far() {
            return far.target().capacity();
        }
        self.capacity
    }

    /// See [`bits`].
    pub(crate) fn attention(&self) -> u32 {
        self.attention.load(Ordering::Acquire)
    }

    /// Messages that have not been read.
    pub(crate) fn len(&self) -> usize {
        #[cfg(feature = "far")]
        if let Some(far) = self.far() {
            return far.target().queued();
        }
        let state = self.lock();
        let urgent = state.rare.as_ref().map_or(0, |rare| rare.urgent.len());
        state.queue.len() + self.unread() + urgent
    }

    /// Messages that the receiver has taken out and not yet read.
    pub(crate) fn unread(&self) -> usize {
        (self.reader.load(Ordering::Relaxed) & !WAITING) as usize
    }

    /// Whether nothing more is accepted.
    pub(crate) fn is_closed(&self) -> bool {
        let attention = self.attention();
        #[cfg(feature = "far")]
        if attention & bits::FAR != 0 {
            return attention & (SHUT | bits::FAR_SHUT) != 0;
        }
        attention & (CLOSED | DEAF) != 0
    }

    /// Whether nothing at all will be accepted any more, not even an exit.
    pub(crate) fn is_shut(&self) -> bool {
        self.attention() & (SHUT | DEAF) != 0
    }

    /// Whether the receiver waits for a message.
    pub(crate) fn is_receiving(&self) -> bool {
        self.reader.load(Ordering::Acquire) & WAITING != 0
    }

    // ---- under the lock ----

    /// Sets [`bits`]. Nothing else changes them meanwhile, so that no atomic change is needed.
    fn set(&self, bits: u32) {
        self.attention.store(self.attention.load(Ordering::Relaxed) | bits, Ordering::Release);
    }

    /// Takes [`bits`] away.
    fn clear(&self, bits: u32) {
        self.attention.store(self.attention.load(Ordering::Relaxed) & !bits, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, State<M>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(all(test, pleiad_loom))]
mod loom_models;

#[cfg(all(test, not(pleiad_loom)))]
mod tests;

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

use std::collections::VecDeque;
use std::mem;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use tokio::task::coop;

use crate::current;
use crate::exit::Failure;
use crate::life::Life;
use crate::sync::atomic::{AtomicU32, Ordering, fence};
use crate::sync::{Mutex, MutexGuard};

/// [`Queue::reader`]: the receiver waits for a message; the other bits count what it has not read.
const WAITING: u32 = 1 << 31;

/// Capacity of a queue without a bound.
pub(crate) const UNBOUNDED: u32 = u32::MAX;

/// A buffer that is larger than this is given back when the receiver waits.
const KEPT_BYTES: usize = 4096;

/// A buffer with room for more messages than this is given back when it was mostly empty.
const KEPT_CAPACITY: usize = 64;

/// Messages of its batch that the receiver reads for one unit of the budget that tokio gives a task
/// before the next one runs. The budget is 128 units, and accounting for one costs as much as reading a
/// message.
const MESSAGES_A_UNIT: usize = 4;

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
}

use bits::{CLOSED, DEAF, ENDED, KILLED, ROOTED, SENDERS, SHUT, SOURCES, STOPPED, URGENT};

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
}

struct WaitingMessage<M> {
    ticket: u64,
    message: M,
    waker: Waker,
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
        }
    }
}

/// Why a message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    Full,
    Closed,
}

/// A message on its way into a queue, which may have to wait.
pub(crate) enum Delivery<M> {
    New(M),
    Waiting(u64),
    Done,
}

/// What the end of a task leaves to be done outside of the lock.
pub(crate) struct Remains<M> {
    pub(crate) life: Option<Life>,
    /// What was never read; only to be dropped.
    queue: Vec<M>,
    urgent: VecDeque<M>,
    sources: Vec<Box<dyn Source<M>>>,
    wakers: Vec<Waker>,
}

impl<M> Remains<M> {
    /// Tells those who wait to send.
    pub(crate) fn wake(&mut self) {
        self.wakers.drain(..).for_each(Waker::wake);
    }

    /// Drops all messages. Gives the failure of the first that has panicked.
    pub(crate) fn discard(self) -> Option<Failure> {
        let queue = current::discard(self.queue);
        let urgent = current::discard(self.urgent);
        let sources = current::discard(self.sources);
        queue.or(urgent).or(sources)
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
        self.capacity
    }

    /// See [`bits`].
    pub(crate) fn attention(&self) -> u32 {
        self.attention.load(Ordering::Acquire)
    }

    /// Messages that have not been read.
    pub(crate) fn len(&self) -> usize {
        let state = self.lock();
        let urgent = state.rare.as_ref().map_or(0, |rare| rare.urgent.len());
        state.queue.len() + self.unread() + urgent
    }

    /// Whether nothing more is accepted.
    pub(crate) fn is_closed(&self) -> bool {
        self.attention() & (CLOSED | DEAF) != 0
    }

    /// Whether nothing at all will be accepted any more, not even an exit.
    pub(crate) fn is_shut(&self) -> bool {
        self.attention() & (SHUT | DEAF) != 0
    }

    /// Whether the receiver waits for a message.
    pub(crate) fn is_receiving(&self) -> bool {
        self.reader.load(Ordering::Acquire) & WAITING != 0
    }

    // ---- senders ----

    pub(crate) fn add_sender(&self) {
        self.senders.fetch_add(1, Ordering::Relaxed);
    }

    /// As [`add_sender`](Self::add_sender), also if there was none left: then it is open again.
    pub(crate) fn add_own_sender(&self) {
        let _state = self.lock();
        self.add_sender();
        if self.attention.load(Ordering::Relaxed) & SHUT == 0 {
            self.clear(CLOSED);
        }
    }

    /// As [`add_sender`](Self::add_sender), if there is one.
    pub(crate) fn add_sender_if_any(&self) -> bool {
        self.attention() & CLOSED == 0
            && self
                .senders
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n > 0).then(|| n + 1))
                .is_ok()
    }

    /// The last one closes the queue. Once it is closed for good, nobody counts any more.
    #[inline]
    pub(crate) fn remove_sender(&self) {
        if self.attention() & SHUT == 0 && self.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.close_if_deserted();
        }
    }

    /// Puts `message` into the queue, if there is room.
    #[inline]
    pub(crate) fn push(&self, message: M) -> Result<(), (Refusal, M)> {
        let mut state = self.lock();
        let attention = self.attention.load(Ordering::Relaxed);
        if attention & (CLOSED | DEAF | SENDERS) != 0 {
            let refusal =
                if attention & (CLOSED | DEAF) != 0 { Refusal::Closed } else { Refusal::Full };
            return Err((refusal, message));
        }
        if !self.has_room(&state) {
            return Err((Refusal::Full, message));
        }
        state.queue.push(message);
        let waker = self.receiver_to_wake(&mut state);
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// Puts `message` into the queue, whether there is room or not: for what is bounded elsewhere.
    pub(crate) fn push_exempt(&self, message: M) -> Result<(), M> {
        let mut state = self.lock();
        if self.attention.load(Ordering::Relaxed) & (DEAF | SHUT) != 0 {
            return Err(message);
        }
        state.queue.push(message);
        let waker = self.receiver_to_wake(&mut state);
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// Puts `message` before all that are not urgent. There is room for as many as the capacity.
    pub(crate) fn push_urgent(&self, message: M) -> Result<(), (Refusal, M)> {
        let mut state = self.lock();
        if self.attention.load(Ordering::Relaxed) & (CLOSED | DEAF) != 0 {
            return Err((Refusal::Closed, message));
        }
        let rare = state.rare.get_or_insert_default();
        if rare.urgent.len() >= self.capacity as usize {
            return Err((Refusal::Full, message));
        }
        rare.urgent.push_back(message);
        self.set(URGENT);
        let waker = self.receiver_to_wake(&mut state);
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// Puts the message of `delivery` into the queue, as soon as there is room and no older one
    /// waits. Once it has become [`Delivery::Waiting`], it must be polled until ready or
    /// [cancelled](Self::cancel).
    pub(crate) fn poll_deliver(
        &self,
        delivery: &mut Delivery<M>,
        cx: &Context<'_>,
    ) -> Poll<Result<(), (Refusal, M)>> {
        let ticket = match mem::replace(delivery, Delivery::Done) {
            Delivery::New(message) => match self.push(message) {
                Ok(()) => return Poll::Ready(Ok(())),
                Err((Refusal::Closed, message)) => {
                    return Poll::Ready(Err((Refusal::Closed, message)));
                }
                Err((Refusal::Full, message)) => self.wait(message, cx),
            },
            Delivery::Waiting(ticket) => ticket,
            Delivery::Done => return Poll::Ready(Ok(())),
        };
        let mut state = self.lock();
        let attention = self.attention.load(Ordering::Relaxed);
        let Some(rare) = state.rare.as_mut() else { return Poll::Ready(Ok(())) };
        let Ok(index) = rare.waiting.binary_search_by_key(&ticket, |waiting| waiting.ticket) else {
            return Poll::Ready(Ok(()));
        };
        if attention & (CLOSED | DEAF) != 0 {
            let refused = rare.waiting.remove(index);
            // Its waker is not to be dropped under the lock.
            drop(state);
            return Poll::Ready(
                refused.map_or(Ok(()), |waiting| Err((Refusal::Closed, waiting.message))),
            );
        }
        let waiting = &mut rare.waiting[index];
        let displaced = (!waiting.waker.will_wake(cx.waker()))
            .then(|| mem::replace(&mut waiting.waker, cx.waker().clone()));
        *delivery = Delivery::Waiting(ticket);
        drop(state);
        drop(displaced);
        Poll::Pending
    }

    /// Takes back a message that waits, if it still does.
    pub(crate) fn cancel(&self, ticket: u64) -> Option<M> {
        let mut state = self.lock();
        let rare = state.rare.as_mut()?;
        let index = rare.waiting.binary_search_by_key(&ticket, |waiting| waiting.ticket).ok()?;
        let cancelled = rare.waiting.remove(index);
        if rare.waiting.is_empty() {
            self.clear(SENDERS);
        }
        drop(state);
        cancelled.map(|waiting| waiting.message)
    }

    /// Queues `message` behind those that wait, and gives its ticket.
    fn wait(&self, message: M, cx: &Context<'_>) -> u64 {
        let mut state = self.lock();
        let rare = state.rare.get_or_insert_default();
        let ticket = rare.next_ticket;
        rare.next_ticket += 1;
        rare.waiting.push_back(WaitingMessage { ticket, message, waker: cx.waker().clone() });
        self.set(SENDERS);
        // The other half of `read`: either we see the room that it has made, or it sees us.
        fence(Ordering::SeqCst);
        let woken = self.admit(&mut state);
        drop(state);
        woken.into_iter().for_each(Waker::wake);
        ticket
    }

    /// Nothing more is accepted. What is in the queue is still read.
    pub(crate) fn close(&self) {
        let woken = self.close_as(&mut self.lock(), CLOSED | SHUT);
        woken.into_iter().for_each(Waker::wake);
    }

    #[cold]
    fn close_if_deserted(&self) {
        let mut state = self.lock();
        // The receiver may have made itself a sender meanwhile.
        if self.senders.load(Ordering::Acquire) > 0 {
            return;
        }
        let woken = self.close_as(&mut state, CLOSED);
        drop(state);
        woken.into_iter().for_each(Waker::wake);
    }

    fn close_as(&self, state: &mut State<M>, bits: u32) -> Vec<Waker> {
        self.set(bits);
        let mut woken: Vec<Waker> = self.receiver_to_wake(state).into_iter().collect();
        if let Some(rare) = &mut state.rare {
            woken.extend(rare.waiting.iter().map(|waiting| waiting.waker.clone()));
        }
        woken
    }

    // ---- the receiver ----

    /// The next message: urgent ones first. `None` when the queue is closed and empty, or stopped.
    /// `settles`: whether [`settle`](Self::settle) will be called before the receiver does anything
    /// else that takes time.
    #[inline]
    pub(crate) fn poll_recv(
        &self,
        batch: &mut VecDeque<M>,
        cx: &mut Context<'_>,
        settles: bool,
    ) -> Poll<Option<M>> {
        let coop = if batch.len().is_multiple_of(MESSAGES_A_UNIT) {
            Some(ready!(coop::poll_proceed(cx)))
        } else {
            None
        };
        let polled = if self.attention() & (STOPPED | URGENT) == 0
            && let Some(message) = batch.pop_front()
        {
            self.read(batch.len(), settles);
            Poll::Ready(Some(message))
        } else {
            self.poll_recv_locked(batch, cx)
        };
        if polled.is_ready()
            && let Some(coop) = coop
        {
            coop.made_progress();
        }
        polled
    }

    fn poll_recv_locked(&self, batch: &mut VecDeque<M>, cx: &Context<'_>) -> Poll<Option<M>> {
        let mut state = self.lock();
        let attention = self.attention.load(Ordering::Relaxed);
        if attention & STOPPED != 0 {
            return Poll::Ready(None);
        }
        let (message, woken) = self.take(&mut state, batch);
        if message.is_none() {
            if attention & (CLOSED | DEAF) != 0 {
                return Poll::Ready(None);
            }
            let displaced = self.register(&mut state, batch.len(), cx);
            let buffers = large_buffers(&mut state);
            drop(state);
            drop((displaced, buffers));
            shrink(batch);
            return Poll::Pending;
        }
        drop(state);
        woken.into_iter().for_each(Waker::wake);
        Poll::Ready(message)
    }

    /// The next message if there is one; else whether there never will be. Also when stopped.
    pub(crate) fn try_recv(&self, batch: &mut VecDeque<M>, settles: bool) -> Result<M, TryRecv> {
        if self.attention() & URGENT == 0
            && let Some(message) = batch.pop_front()
        {
            self.read(batch.len(), settles);
            return Ok(message);
        }
        let mut state = self.lock();
        let waits = self.is_receiving();
        let (message, woken) = self.take(&mut state, batch);
        if waits && message.is_none() {
            // Whoever was told to wait, by another poll, still does.
            self.reader.store(WAITING, Ordering::Relaxed);
        }
        let closed = self.attention.load(Ordering::Relaxed) & (CLOSED | DEAF) != 0;
        drop(state);
        woken.into_iter().for_each(Waker::wake);
        message.ok_or(if closed { TryRecv::Closed } else { TryRecv::Empty })
    }

    /// The first message for which `matches` is true. The others stay, in order. `scanned` is the
    /// number of messages of the batch that are known not to match.
    pub(crate) fn poll_matching(
        &self,
        batch: &mut VecDeque<M>,
        scanned: &mut usize,
        matches: &mut dyn FnMut(&M) -> bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<M, Matching>> {
        let coop = ready!(coop::poll_proceed(cx));
        loop {
            let attention = self.attention();
            if attention & STOPPED != 0 {
                return Poll::Ready(Err(Matching::Closed));
            }
            // Urgent ones are looked at first.
            if attention & URGENT == 0 {
                let found = (*scanned..batch.len()).find(|&index| matches(&batch[index]));
                if let Some(message) = found.and_then(|index| batch.remove(index)) {
                    self.read(batch.len(), false);
                    coop.made_progress();
                    return Poll::Ready(Ok(message));
                }
                *scanned = batch.len();
            }

            let mut state = self.lock();
            let attention = self.attention.load(Ordering::Relaxed);
            let Gathered { urgent, news, woken } = self.gather(&mut state, batch);
            if urgent > 0 {
                // They were put before all others.
                *scanned = 0;
            }
            if urgent + news > 0 {
                drop(state);
                woken.into_iter().for_each(Waker::wake);
                continue;
            }
            if attention & (STOPPED | CLOSED | DEAF) != 0 {
                return Poll::Ready(Err(Matching::Closed));
            }
            if batch.len() >= self.capacity as usize {
                return Poll::Ready(Err(Matching::Full(batch.len())));
            }
            let displaced = self.register(&mut state, batch.len(), cx);
            let buffers = large_buffers(&mut state);
            drop(state);
            drop((displaced, buffers));
            shrink(batch);
            return Poll::Pending;
        }
    }

    /// Gives the room that reading has made to senders that wait.
    #[inline]
    pub(crate) fn settle(&self) {
        if self.capacity == UNBOUNDED {
            return;
        }
        // The other half of `wait`.
        fence(Ordering::SeqCst);
        if self.attention.load(Ordering::Relaxed) & SENDERS != 0 {
            let woken = self.admit(&mut self.lock());
            woken.into_iter().for_each(Waker::wake);
        }
    }

    /// The receiver is gone: nothing more is accepted, and what is in the queue is to be dropped.
    pub(crate) fn deafen(&self) -> Option<Box<Remains<M>>> {
        let mut state = self.lock();
        self.set(DEAF);
        let mut remains = self.empty(&mut state);
        // Its batch goes with it.
        self.reader.store(0, Ordering::Relaxed);
        drop(state);
        remains.iter_mut().for_each(|remains| remains.wake());
        remains
    }

    // ---- the task ----

    /// From now on `waker` wakes the receiver, and nothing changes it.
    pub(crate) fn set_root(&self, waker: &Waker) {
        let mut state = self.lock();
        self.set(ROOTED);
        if state.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            return;
        }
        let mut displaced = state.waker.replace(waker.clone());
        if self.is_receiving() && displaced.is_some() {
            displaced = mem::replace(&mut state.rare.get_or_insert_default().receiver, displaced);
        }
        drop(state);
        drop(displaced);
    }

    /// Asks the task to stop, or more, and wakes whoever waits in it, for whatever. One that has no
    /// mailbox where it could see that is killed.
    pub(crate) fn stop(&self, bits: u32) {
        let mut state = self.lock();
        let before = self.attention.load(Ordering::Relaxed);
        let unseen = before & (STOPPED | DEAF) == DEAF;
        self.set(STOPPED | bits | if unseen { KILLED } else { 0 });
        let receiver = self.receiver_to_wake(&mut state);
        let root = state.waker.clone();
        let waiting = state.rare.as_mut().map(|rare| rare.life.stop_waiters.take());
        drop(state);
        let waiting = waiting.into_iter().flatten();
        receiver.into_iter().chain(root).chain(waiting).for_each(Waker::wake);
    }

    /// Sets a bit or takes it away, unless one of `unless` is set; gives what the bits were.
    pub(crate) fn mark_unless(&self, unless: u32, bit: u32, set: bool) -> Option<u32> {
        let _state = self.lock();
        let before = self.attention.load(Ordering::Relaxed);
        if before & unless != 0 {
            return None;
        }
        if set {
            self.set(bit);
        } else {
            self.clear(bit);
        }
        Some(before)
    }

    /// The end of the task: true the first time, with what is left to be done, if anything is.
    pub(crate) fn end(
        &self,
        how: u32,
        failure: Option<Arc<Failure>>,
    ) -> (bool, Option<Box<Remains<M>>>) {
        let mut state = self.lock();
        if self.attention.load(Ordering::Relaxed) & ENDED != 0 {
            return (false, None);
        }
        if failure.is_some() {
            state.rare.get_or_insert_default().life.failure = failure;
        }
        self.set(ENDED | CLOSED | SHUT | DEAF | how);
        let mut remains = self.empty(&mut state);
        if let Some(remains) = &mut remains {
            remains.life = state.rare.as_mut().map(|rare| rare.life.at_end());
        }
        let root = state.waker.take();
        drop(state);
        // It holds the memory of the whole task.
        drop(root);
        (true, remains)
    }

    /// What is known of the task beyond its queue, if anything is.
    pub(crate) fn life<R>(&self, look: impl FnOnce(Option<&Life>) -> R) -> R {
        look(self.lock().rare.as_deref().map(|rare| &rare.life))
    }

    /// As [`life`](Self::life), to change it; with the [`bits`].
    pub(crate) fn life_mut<R>(&self, change: impl FnOnce(&mut Life, u32) -> R) -> R {
        let mut state = self.lock();
        let attention = self.attention.load(Ordering::Relaxed);
        change(&mut state.rare.get_or_insert_default().life, attention)
    }

    /// As it is before anybody knows the queue.
    pub(crate) fn preset(&mut self, bits: u32) {
        self.attention.store(bits, Ordering::Relaxed);
    }

    /// Messages come from there too.
    pub(crate) fn add_source(&self, source: Box<dyn Source<M>>) {
        let mut state = self.lock();
        if self.attention.load(Ordering::Relaxed) & DEAF == 0 {
            let rare = state.rare.get_or_insert_default();
            rare.sources.retain(|source| !source.is_over());
            rare.sources.push(source);
            self.set(SOURCES);
        }
    }

    /// There is something in a source.
    pub(crate) fn wake(&self) {
        let mut state = self.lock();
        let waker = self.receiver_to_wake(&mut state);
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
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

    /// Messages that the receiver has taken out and not yet read.
    pub(crate) fn unread(&self) -> usize {
        (self.reader.load(Ordering::Relaxed) & !WAITING) as usize
    }

    fn has_room(&self, state: &State<M>) -> bool {
        self.capacity == UNBOUNDED || state.queue.len() + self.unread() < self.capacity as usize
    }

    /// The receiver has read a message and has `left` in its batch.
    #[inline]
    fn read(&self, left: usize, settles: bool) {
        self.reader.store(left as u32, Ordering::Relaxed);
        if !settles {
            self.settle();
        }
    }

    /// The receiver's waker, if it waits; it does not any more.
    fn receiver_to_wake(&self, state: &mut State<M>) -> Option<Waker> {
        if self.reader.load(Ordering::Relaxed) & WAITING == 0 {
            return None;
        }
        // The receiver may read at the same time, and write its count.
        self.reader.fetch_and(!WAITING, Ordering::Relaxed);
        let other = state.rare.as_mut().and_then(|rare| rare.receiver.take());
        other.or_else(|| state.waker.clone())
    }

    /// The receiver waits from now on. Gives a waker that is to be dropped outside of the lock.
    fn register(&self, state: &mut State<M>, unread: usize, cx: &Context<'_>) -> Option<Waker> {
        self.reader.store(unread as u32 | WAITING, Ordering::Relaxed);
        let known = state.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if known {
            return state.rare.as_mut().and_then(|rare| rare.receiver.take());
        }
        if self.attention.load(Ordering::Relaxed) & ROOTED == 0 {
            return state.waker.replace(cx.waker().clone());
        }
        state.rare.get_or_insert_default().receiver.replace(cx.waker().clone())
    }

    /// The next message, and whom to wake because there is room.
    fn take(&self, state: &mut State<M>, batch: &mut VecDeque<M>) -> (Option<M>, Vec<Waker>) {
        let attention = self.attention.load(Ordering::Relaxed);
        if attention & URGENT != 0
            && let Some(rare) = &mut state.rare
        {
            let message = rare.urgent.pop_front();
            if let Some(watch) = &mut rare.life.watch {
                watch.taken += u64::from(message.is_some());
            }
            if rare.urgent.is_empty() {
                self.clear(URGENT);
            }
            if message.is_some() {
                return (message, Vec::new());
            }
        }
        self.reader.store(batch.len() as u32, Ordering::Relaxed);
        let mut woken = self.admit(state);
        if batch.is_empty() {
            if attention & SOURCES == 0 && state.queue.len() == 1 && state.rare.is_none() {
                // As when two tasks talk: not worth a change of buffers.
                return (state.queue.pop(), woken);
            }
            self.refill(state, batch);
        }
        let message = batch.pop_front();
        self.reader.store(batch.len() as u32, Ordering::Relaxed);
        woken.extend(self.admit(state));
        (message, woken)
    }

    /// Changes the empty batch for the queue, and looks into the sources.
    fn refill(&self, state: &mut State<M>, batch: &mut VecDeque<M>) {
        if !state.queue.is_empty() {
            let mut spare = Vec::from(mem::take(batch));
            if spare.capacity() > KEPT_CAPACITY && state.queue.len() < spare.capacity() / 4 {
                spare = Vec::new();
            }
            *batch = VecDeque::from(mem::replace(&mut state.queue, spare));
        }
        if self.attention.load(Ordering::Relaxed) & SOURCES != 0
            && let Some(rare) = &mut state.rare
        {
            // One of each, so that none starves and none fills the batch.
            batch.extend(rare.sources.iter().filter_map(|source| source.pop()));
        }
        if let Some(rare) = &mut state.rare
            && let Some(watch) = &mut rare.life.watch
        {
            watch.taken += batch.len() as u64;
        }
    }

    /// Adds all that there is to the batch.
    fn gather(&self, state: &mut State<M>, batch: &mut VecDeque<M>) -> Gathered {
        self.reader.store(batch.len() as u32, Ordering::Relaxed);
        let woken = self.admit(state);
        let mut gathered = Gathered { urgent: 0, news: state.queue.len(), woken };
        if let Some(rare) = &mut state.rare {
            gathered.urgent = rare.urgent.len();
            while let Some(message) = rare.urgent.pop_back() {
                batch.push_front(message);
            }
            self.clear(URGENT);
            let before = batch.len();
            // What does not match stays in the batch: it must not take more than there is room for.
            let room = (self.capacity as usize).saturating_sub(before + state.queue.len());
            batch.extend(rare.sources.iter().filter_map(|source| source.pop()).take(room));
            gathered.news += batch.len() - before;
            if let Some(watch) = &mut rare.life.watch {
                watch.taken += (gathered.urgent + gathered.news) as u64;
            }
        }
        batch.extend(state.queue.drain(..));
        self.reader.store(batch.len() as u32, Ordering::Relaxed);
        gathered
    }

    /// Takes messages that wait into the queue, as long as there is room; gives whom to wake.
    fn admit(&self, state: &mut State<M>) -> Vec<Waker> {
        let mut woken = Vec::new();
        if self.attention.load(Ordering::Relaxed) & (SENDERS | CLOSED | DEAF) != SENDERS {
            return woken;
        }
        while self.has_room(state)
            && let Some(waiting) = state.rare.as_mut().and_then(|rare| rare.waiting.pop_front())
        {
            state.queue.push(waiting.message);
            woken.push(waiting.waker);
        }
        if state.rare.as_ref().is_none_or(|rare| rare.waiting.is_empty()) {
            self.clear(SENDERS);
        }
        if !woken.is_empty() {
            woken.extend(self.receiver_to_wake(state));
        }
        woken
    }

    /// Takes out what nobody will read, and who waits.
    #[inline]
    fn empty(&self, state: &mut State<M>) -> Option<Box<Remains<M>>> {
        let waits = self.reader.load(Ordering::Relaxed) & WAITING != 0;
        // What takes no memory may still have to be dropped.
        let has_buffer =
            if size_of::<M>() > 0 { state.queue.capacity() > 0 } else { !state.queue.is_empty() };
        (waits || state.rare.is_some() || has_buffer).then(|| self.remains(state))
    }

    #[cold]
    fn remains(&self, state: &mut State<M>) -> Box<Remains<M>> {
        let queue = mem::take(&mut state.queue);
        let mut wakers: Vec<Waker> = self.receiver_to_wake(state).into_iter().collect();
        let (mut urgent, mut sources) = (VecDeque::new(), Vec::new());
        if let Some(rare) = &mut state.rare {
            urgent = mem::take(&mut rare.urgent);
            sources = mem::take(&mut rare.sources);
            wakers.extend(rare.waiting.iter().map(|waiting| waiting.waker.clone()));
            if self.attention.load(Ordering::Relaxed) & ENDED != 0 {
                wakers.extend(rare.life.stop_waiters.take());
            }
        }
        Box::new(Remains { life: None, queue, urgent, sources, wakers })
    }
}

/// Takes out what a burst has needed, when the receiver begins to wait, and all has been read: to be
/// dropped outside of the lock.
#[inline]
fn large_buffers<M>(state: &mut State<M>) -> (Vec<M>, VecDeque<M>) {
    let (mut queue, mut urgent) = (Vec::new(), VecDeque::new());
    if is_large::<M>(state.queue.capacity()) {
        mem::swap(&mut queue, &mut state.queue);
    }
    if let Some(rare) = &mut state.rare
        && is_large::<M>(rare.urgent.capacity())
    {
        mem::swap(&mut urgent, &mut rare.urgent);
    }
    (queue, urgent)
}

/// As [`large_buffers`], for what the receiver has.
#[inline]
fn shrink<M>(batch: &mut VecDeque<M>) {
    if is_large::<M>(batch.capacity()) && batch.len() < batch.capacity() / 4 {
        batch.shrink_to(2 * batch.len());
    }
}

fn is_large<M>(capacity: usize) -> bool {
    size_of::<M>() > 0 && capacity > KEPT_BYTES / size_of::<M>()
}

/// Why [`Queue::try_recv`] has nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TryRecv {
    Empty,
    Closed,
}

/// Why [`Queue::poll_matching`] gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Matching {
    Closed,
    /// The queue is full of messages that do not match, so none can come.
    Full(usize),
}

/// What [`Queue::gather`] has added.
struct Gathered {
    urgent: usize,
    news: usize,
    woken: Vec<Waker>,
}

#[cfg(all(test, pleiad_loom))]
mod loom_models;

#[cfg(all(test, not(pleiad_loom)))]
mod tests;

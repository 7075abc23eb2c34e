//! The receiver's half of a [`Queue`].

use std::collections::VecDeque;
use std::mem;
use std::task::{Context, Poll, Waker, ready};

use tokio::task::coop;

use crate::queue::bits::{CLOSED, DEAF, ROOTED, SENDERS, SOURCES, STOPPED, URGENT};
use crate::queue::{Queue, Remains, Source, State, UNBOUNDED, WAITING};
use crate::sync::MutexGuard;
use crate::sync::atomic::{Ordering, fence};

/// A buffer that is larger than this is given back when the receiver waits.
const KEPT_BYTES: usize = 4096;

/// A buffer with room for more messages than this is given back when it was mostly empty.
const KEPT_CAPACITY: usize = 64;

/// Messages of its batch that the receiver reads for one unit of the budget that tokio gives a task
/// before the next one runs. The budget is 128 units, and accounting for one costs as much as reading a
/// message.
const MESSAGES_A_UNIT: usize = 4;

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

/// How many messages a search by [`Queue::poll_matching`] has looked at: they are known not to match.
#[derive(Default)]
pub(crate) struct Scanned {
    urgent: usize,
    usual: usize,
}

impl<M> Queue<M> {
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
        let (message, woken) = if batch.is_empty() && is_plain(&state) && state.queue.len() < 2 {
            // As when two tasks talk: not worth a change of buffers.
            self.reader.store(0, Ordering::Relaxed);
            (state.queue.pop(), Vec::new())
        } else {
            self.take(&mut state, batch)
        };
        if message.is_none() {
            if attention & (CLOSED | DEAF) != 0 {
                return Poll::Ready(None);
            }
            self.wait_for_more(state, batch, cx);
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

    /// The first message for which `matches` is true. The others stay, in order.
    pub(crate) fn poll_matching(
        &self,
        batch: &mut VecDeque<M>,
        scanned: &mut Scanned,
        matches: &mut dyn FnMut(&M) -> bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<M, Matching>> {
        let coop = ready!(coop::poll_proceed(cx));
        // Urgent ones, while they are looked at, are at the front of the batch: so many.
        let mut urgent = 0;
        loop {
            let attention = self.attention();
            if attention & STOPPED != 0 {
                self.put_back(&mut self.lock(), batch, urgent);
                return Poll::Ready(Err(Matching::Closed));
            }
            // Urgent ones are looked at first.
            if attention & URGENT == 0 {
                let mut unseen =
                    (scanned.urgent..urgent).chain(urgent + scanned.usual..batch.len());
                let found = unseen.find(|&index| matches(&batch[index]));
                if let Some(index) = found
                    && let Some(message) = batch.remove(index)
                {
                    if urgent > 0 {
                        urgent -= usize::from(index < urgent);
                        self.put_back(&mut self.lock(), batch, urgent);
                    }
                    self.read(batch.len(), false);
                    coop.made_progress();
                    return Poll::Ready(Ok(message));
                }
                *scanned = Scanned { urgent, usual: batch.len() - urgent };
            }

            let mut state = self.lock();
            let attention = self.attention.load(Ordering::Relaxed);
            let woken = self.gather(&mut state, batch, &mut urgent);
            if batch.len() > scanned.urgent + scanned.usual {
                drop(state);
                woken.into_iter().for_each(Waker::wake);
                continue;
            }
            let looked_at = batch.len();
            self.put_back(&mut state, batch, urgent);
            if attention & (STOPPED | CLOSED | DEAF) != 0 {
                return Poll::Ready(Err(Matching::Closed));
            }
            if batch.len() >= self.capacity as usize {
                return Poll::Ready(Err(Matching::Full(looked_at)));
            }
            self.wait_for_more(state, batch, cx);
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
        self.wake_receiver(self.lock());
    }

    /// The receiver has read a message and has `left` in its batch.
    #[inline]
    fn read(&self, left: usize, settles: bool) {
        self.reader.store(count(left), Ordering::Relaxed);
        if !settles {
            self.settle();
        }
    }

    /// Wakes the receiver, if it waits, when the lock is let go.
    #[inline]
    pub(super) fn wake_receiver(&self, mut state: MutexGuard<'_, State<M>>) {
        let waker = self.receiver_to_wake(&mut state);
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The receiver waits from now on, and keeps no large buffers meanwhile.
    fn wait_for_more(
        &self,
        mut state: MutexGuard<'_, State<M>>,
        batch: &mut VecDeque<M>,
        cx: &Context<'_>,
    ) {
        let displaced = self.register(&mut state, batch.len(), cx);
        let buffers = large_buffers(&mut state);
        drop(state);
        drop((displaced, buffers));
        shrink(batch);
    }

    // ---- under the lock ----

    /// The receiver's waker, if it waits; it does not any more.
    pub(super) fn receiver_to_wake(&self, state: &mut State<M>) -> Option<Waker> {
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
        self.reader.store(count(unread) | WAITING, Ordering::Relaxed);
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
        self.reader.store(count(batch.len()), Ordering::Relaxed);
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
        let mut woken = self.admit(state);
        if batch.is_empty() {
            self.refill(state, batch);
        }
        let message = batch.pop_front();
        self.reader.store(count(batch.len()), Ordering::Relaxed);
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

    /// Adds all that there is to the batch; urgent messages behind the `urgent` ones at its front. Gives
    /// whom to wake.
    fn gather(
        &self,
        state: &mut State<M>,
        batch: &mut VecDeque<M>,
        urgent: &mut usize,
    ) -> Vec<Waker> {
        let before = batch.len();
        self.reader.store(count(before - *urgent), Ordering::Relaxed);
        let woken = self.admit(state);
        if let Some(rare) = &mut state.rare {
            for message in rare.urgent.drain(..) {
                batch.insert(*urgent, message);
                *urgent += 1;
            }
            self.clear(URGENT);
            // What does not match stays in the batch: it must not take more than there is room for.
            let held = batch.len() - *urgent + state.queue.len();
            let room = (self.capacity as usize).saturating_sub(held);
            batch.extend(rare.sources.iter().filter_map(|source| source.pop()).take(room));
        }
        batch.extend(state.queue.drain(..));
        if let Some(rare) = &mut state.rare
            && let Some(watch) = &mut rare.life.watch
        {
            watch.taken += (batch.len() - before) as u64;
        }
        self.reader.store(count(batch.len() - *urgent), Ordering::Relaxed);
        woken
    }

    /// Puts the `urgent` messages at the front of the batch back where they were: those that have come
    /// meanwhile are behind them.
    fn put_back(&self, state: &mut State<M>, batch: &mut VecDeque<M>, urgent: usize) {
        if urgent > 0
            && let Some(rare) = &mut state.rare
        {
            for message in batch.drain(..urgent).rev() {
                rare.urgent.push_front(message);
            }
            if let Some(watch) = &mut rare.life.watch {
                watch.taken -= urgent as u64;
            }
            self.set(URGENT);
        }
    }
}

/// As [`Queue::reader`] has it: of an unbounded mailbox with more than 2³¹ messages, as many as it can.
#[inline]
fn count(messages: usize) -> u32 {
    messages.min(WAITING as usize - 1) as u32
}

/// Whether it has messages and a waker at most: nobody waits, nothing is urgent, nobody looks.
fn is_plain<M>(state: &State<M>) -> bool {
    state.rare.is_none()
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
        && rare.urgent.is_empty()
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

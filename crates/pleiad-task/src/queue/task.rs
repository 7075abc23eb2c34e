//! The task's half of a [`Queue`]: how it is woken, asked to stop, and ends.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::task::Waker;

use crate::current;
use crate::exit::Failure;
use crate::identity::TaskId;
use crate::life::Life;
use crate::queue::bits::{CLOSED, DEAF, ENDED, KILLED, ROOTED, SHUT, STOPPED};
use crate::queue::{Queue, Source, State, WAITING};
use crate::sync::atomic::Ordering;

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
    pub(crate) fn discard(self, task: TaskId) -> Option<Failure> {
        let queue = current::discard(task, self.queue);
        let urgent = current::discard(task, self.urgent);
        let sources = current::discard(task, self.sources);
        queue.or(urgent).or(sources)
    }
}

impl<M> Queue<M> {
    /// As it is before anybody knows the queue.
    pub(crate) fn preset(&mut self, bits: u32) {
        self.attention.store(bits, Ordering::Relaxed);
    }

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

    /// What is known of the task beyond its queue, if anything is.
    pub(crate) fn life<R>(&self, look: impl FnOnce(Option<&Life>) -> R) -> R {
        look(self.lock().rare.as_deref().map(|rare| &rare.life))
    }

    /// As [`life`](Self::life), to change it; with the [bits](Queue::attention).
    pub(crate) fn life_mut<R>(&self, change: impl FnOnce(&mut Life, u32) -> R) -> R {
        let mut state = self.lock();
        let attention = self.attention.load(Ordering::Relaxed);
        change(&mut state.rare.get_or_insert_default().life, attention)
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

    // ---- under the lock ----

    /// Takes out what nobody will read, and who waits.
    #[inline]
    pub(super) fn empty(&self, state: &mut State<M>) -> Option<Box<Remains<M>>> {
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

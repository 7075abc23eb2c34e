use std::collections::VecDeque;
use std::mem;
use std::sync::{Arc, PoisonError};

use crate::queue::Source;
use crate::sync::{Mutex, MutexGuard};

/// The newest messages of a subscription that drops its oldest: a mailbox takes them from here when
/// it has read what is its own.
///
/// No code of users runs under the lock: what falls out is dropped by whoever gets it.
pub(super) struct Ring<M>(Mutex<State<M>>);

struct State<M> {
    /// Invariant: at most `capacity`.
    messages: VecDeque<M>,
    capacity: usize,
    closed: bool,
}

/// What became of a message.
pub(super) enum Pushed<M> {
    /// It is the only one: whoever reads may wait.
    First,
    Behind,
    /// It is in, and the oldest is out.
    InsteadOf(M),
    Closed(M),
}

impl<M> Ring<M> {
    /// Room for at least one message.
    pub(super) fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        Self(Mutex::new(State { messages: VecDeque::new(), capacity, closed: false }))
    }

    pub(super) fn push(&self, message: M) -> Pushed<M> {
        let mut state = self.lock();
        if state.closed {
            return Pushed::Closed(message);
        }
        let oldest =
            if state.messages.len() >= state.capacity { state.messages.pop_front() } else { None };
        let is_first = state.messages.is_empty() && oldest.is_none();
        state.messages.push_back(message);
        match oldest {
            Some(oldest) => Pushed::InsteadOf(oldest),
            None if is_first => Pushed::First,
            None => Pushed::Behind,
        }
    }

    /// Changes the capacity; gives the oldest messages, if they have no room any more.
    #[must_use = "messages are to be dropped outside of locks"]
    pub(super) fn resize(&self, capacity: usize) -> VecDeque<M> {
        let mut state = self.lock();
        state.capacity = capacity.max(1);
        let surplus = state.messages.len().saturating_sub(state.capacity);
        let kept = state.messages.split_off(surplus);
        mem::replace(&mut state.messages, kept)
    }

    /// Nothing more gets in. What is there is still read.
    pub(super) fn close(&self) {
        self.lock().closed = true;
    }

    /// Nothing more gets in, and what is there comes out.
    pub(super) fn discard(&self) -> VecDeque<M> {
        let mut state = self.lock();
        state.closed = true;
        mem::take(&mut state.messages)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    fn lock(&self) -> MutexGuard<'_, State<M>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The mailbox's end of a ring.
pub(super) struct Outlet<M>(pub(super) Arc<Ring<M>>);

impl<M: Send> Source<M> for Outlet<M> {
    fn pop(&self) -> Option<M> {
        self.0.lock().messages.pop_front()
    }

    fn is_over(&self) -> bool {
        let state = self.0.lock();
        state.closed && state.messages.is_empty()
    }
}

impl<M> Drop for Outlet<M> {
    /// Nobody reads any more. A mailbox drops this outside of its lock, unless the ring is over: then
    /// it is empty.
    fn drop(&mut self) {
        drop(self.0.discard());
    }
}

#[cfg(all(test, not(pleiad_loom)))]
mod tests {
    use super::*;

    fn rest(outlet: &Outlet<u32>) -> Vec<u32> {
        std::iter::from_fn(|| outlet.pop()).collect()
    }

    #[test]
    fn the_oldest_makes_room_for_the_newest() {
        let ring = Arc::new(Ring::new(2));
        let outlet = Outlet(ring.clone());
        assert!(matches!(ring.push(1), Pushed::First));
        assert!(matches!(ring.push(2), Pushed::Behind));
        assert!(matches!(ring.push(3), Pushed::InsteadOf(1)));
        assert_eq!(rest(&outlet), [2, 3]);
        assert!(matches!(ring.push(4), Pushed::First));
    }

    #[test]
    fn a_ring_of_one_never_tells_its_reader_twice() {
        let ring = Ring::new(0);
        assert!(matches!(ring.push(1), Pushed::First));
        assert!(matches!(ring.push(2), Pushed::InsteadOf(1)));
    }

    #[test]
    fn a_smaller_ring_keeps_the_newest() {
        let ring = Arc::new(Ring::new(3));
        (1..=3).for_each(|n| assert!(!matches!(ring.push(n), Pushed::Closed(_))));
        assert_eq!(ring.resize(1), [1, 2]);
        assert_eq!(rest(&Outlet(ring)), [3]);
    }

    #[test]
    fn a_closed_ring_is_read_to_its_end() {
        let ring = Arc::new(Ring::new(3));
        let outlet = Outlet(ring.clone());
        assert!(matches!(ring.push(1), Pushed::First));
        ring.close();
        assert!(matches!(ring.push(2), Pushed::Closed(2)));
        assert!(!outlet.is_over());
        assert_eq!(rest(&outlet), [1]);
        assert!(outlet.is_over());
    }
}

#[cfg(all(test, pleiad_loom))]
mod loom_models {
    use std::collections::VecDeque;
    use std::future::poll_fn;

    use loom::future::block_on;
    use loom::thread;

    use super::*;
    use crate::queue::Queue;

    /// A wake-up that is lost shows as a deadlock.
    #[test]
    fn each_message_of_a_ring_wakes_the_receiver() {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(|| {
            let queue = Arc::new(Queue::<u32>::new(1));
            let ring = Arc::new(Ring::new(2));
            queue.add_source(Box::new(Outlet(ring.clone())));
            let publisher = thread::spawn({
                let (queue, ring) = (queue.clone(), ring.clone());
                move || {
                    for message in 1..=2 {
                        if matches!(ring.push(message), Pushed::First) {
                            queue.wake();
                        }
                    }
                }
            });
            let mut batch = VecDeque::new();
            for message in 1..=2 {
                let received = block_on(poll_fn(|cx| queue.poll_recv(&mut batch, cx, false)));
                assert_eq!(received, Some(message));
            }
            publisher.join().unwrap();
        });
    }
}

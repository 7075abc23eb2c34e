//! A bounded queue that gives up its oldest entries, for readers that must not slow a writer down.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// What a reader of a [`Queue`] gets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read<T> {
    Entry(T),
    /// So many entries have gone since the last read, because the reader was too slow.
    Missed(u64),
}

#[derive(Debug)]
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Notify,
    max: usize,
}

#[derive(Debug)]
struct State<T> {
    entries: VecDeque<T>,
    missed: u64,
    closed: bool,
}

impl<T> Queue<T> {
    /// An empty queue for at most `max` entries.
    pub(crate) fn new(max: usize) -> Self {
        let state = State { entries: VecDeque::new(), missed: 0, closed: false };
        Self { state: Mutex::new(state), changed: Notify::new(), max }
    }

    pub(crate) fn put(&self, entry: T) {
        let mut state = self.state();
        let missed = push_newest(&mut state.entries, entry, self.max);
        state.missed += u64::from(missed);
        drop(state);
        self.changed.notify_one();
    }

    /// No more entries will come.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.changed.notify_one();
    }

    /// The next entry; `None` once the queue is closed and empty.
    ///
    /// Cancel-safe. For one reader at a time.
    pub(crate) async fn read(&self) -> Option<Read<T>> {
        loop {
            {
                let mut state = self.state();
                if state.missed > 0 {
                    return Some(Read::Missed(std::mem::take(&mut state.missed)));
                }
                if let Some(entry) = state.entries.pop_front() {
                    return Some(Read::Entry(entry));
                }
                if state.closed {
                    // Only one reader is woken at a time, and there may be more.
                    self.changed.notify_one();
                    return None;
                }
            }
            self.changed.notified().await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts an entry behind the others, of which the oldest goes if there are `max`; true if one went.
pub(crate) fn push_newest<T>(entries: &mut VecDeque<T>, entry: T, max: usize) -> bool {
    let is_full = entries.len() == max;
    if is_full {
        entries.pop_front();
    }
    entries.push_back(entry);
    is_full
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_reader_loses_the_oldest_and_is_told_how_many() {
        let queue = Queue::new(2);
        for n in 1..=5 {
            queue.put(n);
        }
        queue.close();
        assert_eq!(queue.read().await, Some(Read::Missed(3)));
        assert_eq!(queue.read().await, Some(Read::Entry(4)));
        assert_eq!(queue.read().await, Some(Read::Entry(5)));
        assert_eq!(queue.read().await, None);
    }
}

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use crate::channel::subscription::{Key, Subscribed};

pub(super) type Entry<T> = Arc<dyn Subscribed<T>>;

/// A list shorter than this is not searched for subscribers that have ended.
const PRUNED_LENGTH_MIN: usize = 16;

/// Who is subscribed to a channel. Kept under the channel's lock, so what comes out is given to the
/// caller, to be dropped outside of it.
pub(super) struct Subscribers<T> {
    /// Publishers read it without the lock; a change copies it if one does at that time.
    entries: Arc<Vec<Entry<T>>>,
    /// Where in `entries`.
    places: HashMap<Key, usize>,
    /// At this length, those that have ended are taken out.
    prune_at: usize,
}

/// Who is out when a subscriber is in.
pub(super) struct Inserted<T> {
    /// The earlier one of the same key: its subscription goes on as the new one.
    pub(super) earlier: Option<Entry<T>>,
    pub(super) ended: Vec<Entry<T>>,
}

impl<T> Default for Subscribers<T> {
    fn default() -> Self {
        Self { entries: Arc::default(), places: HashMap::new(), prune_at: PRUNED_LENGTH_MIN }
    }
}

impl<T> Subscribers<T> {
    pub(super) fn entries(&self) -> Arc<Vec<Entry<T>>> {
        self.entries.clone()
    }

    pub(super) fn find(&self, key: Key) -> Option<&Entry<T>> {
        self.places.get(&key).map(|&place| &self.entries[place])
    }

    /// Adds a subscriber, instead of an earlier one of the same key. Gives those that have ended.
    #[must_use = "subscribers are to be dropped outside of locks"]
    pub(super) fn insert(&mut self, entry: Entry<T>) -> Inserted<T> {
        let key = entry.key();
        if let Some(&place) = self.places.get(&key) {
            let earlier = mem::replace(&mut Arc::make_mut(&mut self.entries)[place], entry);
            return Inserted { earlier: Some(earlier), ended: Vec::new() };
        }
        let ended = if self.entries.len() >= self.prune_at { self.prune() } else { Vec::new() };
        self.places.insert(key, self.entries.len());
        Arc::make_mut(&mut self.entries).push(entry);
        Inserted { earlier: None, ended }
    }

    #[must_use = "subscribers are to be dropped outside of locks"]
    pub(super) fn remove(&mut self, key: Key) -> Option<Entry<T>> {
        let place = self.places.remove(&key)?;
        let entries = Arc::make_mut(&mut self.entries);
        let removed = entries.swap_remove(place);
        if let Some(moved) = entries.get(place) {
            self.places.insert(moved.key(), place);
        }
        Some(removed)
    }

    /// Removes this entry, but not a newer one of the same key.
    #[must_use = "subscribers are to be dropped outside of locks"]
    pub(super) fn remove_entry(&mut self, entry: &Entry<T>) -> Option<Entry<T>> {
        let key = entry.key();
        let is_it = self.find(key).is_some_and(|known| Arc::ptr_eq(known, entry));
        if is_it { self.remove(key) } else { None }
    }

    /// Takes out those that have ended. It runs next when the list is twice as long, so that it costs
    /// little for each subscription.
    fn prune(&mut self) -> Vec<Entry<T>> {
        let entries = mem::take(Arc::make_mut(&mut self.entries));
        let (over, kept): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| entry.is_over());
        if !over.is_empty() {
            self.places = kept.iter().map(|entry| entry.key()).zip(0..).collect();
        }
        self.prune_at = (2 * kept.len()).max(PRUNED_LENGTH_MIN);
        self.entries = Arc::new(kept);
        over
    }
}

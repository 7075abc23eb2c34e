use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::{fmt, mem};

use tokio::sync::Notify;

use crate::channel::error::PublishError;
use crate::channel::hierarchy;
use crate::channel::round::Round;
use crate::channel::subscribers::{Entry, Inserted, Subscribers};
use crate::channel::subscription::{After, Key};
use crate::current;

/// Told of every change of the subscribers of any channel: with hierarchies, any may matter.
pub(super) static CHANGED: LazyLock<Arc<Notify>> = LazyLock::new(Arc::default);

pub(super) type Transform<T> = dyn Fn(&str, T) -> Option<T> + Send + Sync;

/// What all handles of a channel share. It is closed when the last is dropped.
///
/// Whatever runs code of users, wakes somebody, or enters another channel, is outside of the lock.
pub(super) struct Hub<T> {
    /// Different from those of all other channels of this process.
    pub(super) id: u64,
    pub(super) name: Arc<str>,
    /// Set under the lock.
    closed: AtomicBool,
    /// Told when it is closed.
    pub(super) end: Notify,
    state: Mutex<State<T>>,
}

struct State<T> {
    subscribers: Subscribers<T>,
    transform: Option<Arc<Transform<T>>>,
    /// Whether it is found by its name.
    registered: bool,
}

/// The channel is closed.
#[derive(Debug)]
pub(super) struct Closed;

/// Subscribers that are none any more. To be dropped outside of locks: that runs code of users.
#[must_use = "it is to be dropped outside of locks"]
pub(super) struct Displaced<T> {
    /// Has an heir.
    #[expect(dead_code, reason = "only to be dropped")]
    earlier: Option<Entry<T>>,
    ended: Vec<Entry<T>>,
    /// Whether they may still read what they have been given.
    may_read: bool,
}

impl<T> Drop for Displaced<T> {
    fn drop(&mut self) {
        self.ended.iter().for_each(|entry| entry.end(self.may_read));
        CHANGED.notify_waiters();
    }
}

/// What a publisher needs to know, at one moment.
pub(super) struct Snapshot<T> {
    entries: Arc<Vec<Entry<T>>>,
    transform: Option<Arc<Transform<T>>>,
}

impl<T> Hub<T> {
    pub(super) fn new(name: &str) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            name: name.into(),
            closed: AtomicBool::new(false),
            end: Notify::new(),
            state: Mutex::new(State {
                subscribers: Subscribers::default(),
                transform: None,
                registered: false,
            }),
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Ends all subscriptions; only the first call does. Whether the name is to be given back.
    pub(super) fn close(&self) -> bool {
        let mut state = self.lock();
        if self.is_closed() {
            return false;
        }
        self.closed.store(true, Ordering::Release);
        let subscribers = mem::take(&mut state.subscribers).entries();
        let transform = state.transform.take();
        let registered = mem::take(&mut state.registered);
        drop(state);

        hierarchy::forget(self.id);
        subscribers.iter().for_each(|subscriber| subscriber.end(true));
        drop((subscribers, transform));
        self.end.notify_waiters();
        CHANGED.notify_waiters();
        registered
    }

    /// Remembers whether it is found by its name; gives whether it was.
    pub(super) fn set_registered(&self, registered: bool) -> Result<bool, Closed> {
        let mut state = self.open()?;
        Ok(mem::replace(&mut state.registered, registered))
    }

    pub(super) fn set_transform(&self, transform: Option<Arc<Transform<T>>>) {
        if let Ok(mut state) = self.open() {
            let before = mem::replace(&mut state.transform, transform);
            drop(state);
            drop(before);
        }
    }

    /// Adds a subscriber, which `make` makes of the earlier one of the same key, if there is one.
    /// It runs under the lock.
    pub(super) fn subscribe<R>(
        &self,
        key: Key,
        make: impl FnOnce(Option<&Entry<T>>) -> (Entry<T>, R),
    ) -> Result<(R, Displaced<T>), Closed> {
        let mut state = self.open()?;
        let (entry, given) = make(state.subscribers.find(key));
        let Inserted { earlier, ended } = state.subscribers.insert(entry);
        Ok((given, Displaced { earlier, ended, may_read: true }))
    }

    pub(super) fn unsubscribe(&self, key: Key) -> Option<Displaced<T>> {
        let removed = self.lock().subscribers.remove(key)?;
        Some(Displaced { earlier: None, ended: vec![removed], may_read: false })
    }

    /// Tasks and streams that a message would be offered to; may stop counting at `enough`.
    pub(super) fn reach(&self, enough: usize) -> usize {
        let entries = self.lock().subscribers.entries();
        let mut reach = 0;
        for entry in entries.iter() {
            reach += entry.reach(enough - reach);
            if reach >= enough {
                break;
            }
        }
        reach
    }

    pub(super) fn snapshot(&self) -> Result<Snapshot<T>, Closed> {
        let state = self.open()?;
        Ok(Snapshot { entries: state.subscribers.entries(), transform: state.transform.clone() })
    }

    /// Subscribers that have ended go out, unless they have subscribed again.
    #[cold]
    fn take_out(&self, gone: &[Entry<T>]) {
        let mut state = self.lock();
        let ended = gone.iter().filter_map(|entry| state.subscribers.remove_entry(entry));
        let displaced = Displaced { earlier: None, ended: ended.collect(), may_read: true };
        drop(state);
        drop(displaced);
    }

    fn open(&self) -> Result<MutexGuard<'_, State<T>>, Closed> {
        let state = self.lock();
        if self.is_closed() { Err(Closed) } else { Ok(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone> Hub<T> {
    /// Gives `message` to all that are subscribed at this moment.
    pub(super) fn publish(&self, message: T, round: &mut Round) -> Result<(), Closed> {
        let snapshot = self.snapshot()?;
        match self.transform(&snapshot, message) {
            Some(message) => self.spread(snapshot, message, round),
            None => round.published.filtered += 1,
        }
        Ok(())
    }

    /// What the transform makes of `message`.
    pub(super) fn transform(&self, snapshot: &Snapshot<T>, message: T) -> Option<T> {
        let Some(transform) = &snapshot.transform else { return Some(message) };
        current::catch(|| transform(&self.name, message)).unwrap_or_else(|failure| {
            let channel = &*self.name;
            tracing::error!(
                channel,
                panic = failure.message,
                "the transform has panicked, and the message is dropped"
            );
            None
        })
    }

    pub(super) fn spread(&self, snapshot: Snapshot<T>, message: T, round: &mut Round) {
        let Some((last, others)) = snapshot.entries.split_last() else { return };
        let mut gone = Vec::new();
        for entry in others {
            if entry.offer(message.clone(), round) == After::Goes {
                gone.push(entry.clone());
            }
        }
        if last.offer(message, round) == After::Goes {
            gone.push(last.clone());
        }
        if !gone.is_empty() {
            // Else it would be copied.
            drop(snapshot);
            self.take_out(&gone);
        }
    }

    pub(super) fn closed(&self) -> PublishError {
        PublishError::Closed { channel: self.name.to_string() }
    }
}

impl<T> Drop for Hub<T> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<T> fmt::Debug for Hub<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

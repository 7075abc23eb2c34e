use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use crate::channel::pending::Waits;
use crate::channel::ring::{Pushed, Ring};
use crate::channel::round::Round;
use crate::current;
use crate::identity::TaskId;
use crate::queue::{Delivery, Queue, Refusal};
use crate::reference::TaskRef;

/// What a channel does with a message for which a subscriber has no room.
///
/// No other subscriber suffers, except that [`deliver`](crate::Channel::deliver) waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum WhenFull {
    /// [`deliver`](crate::Channel::deliver) waits for room. [`send`](crate::Channel::send), which
    /// never waits, does not reach the subscriber, and counts it as missed.
    #[default]
    Wait,
    /// The oldest message that the subscriber has not read makes room: publishers always reach it,
    /// and it reads the newest ones.
    ///
    /// The messages are in a ring of their own, apart from the mailbox: they need no room there, and
    /// may come later than what was sent to the task directly. The mailbox takes one at a time, each
    /// time when what it had before is read; only what it has taken is
    /// [queued](crate::TaskRef::queued), and stays.
    ///
    /// For a task of another node, it is the newest message that is dropped, as long as there is no
    /// room on the way there.
    DropOldest,
    /// The subscriber is taken out at once. What it has been sent before, it can still read.
    Disconnect,
}

/// A subscription of a task, to see how it fares. Dropping this changes nothing.
#[derive(Clone)]
pub struct Subscription(Arc<Shared>);

impl Subscription {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// How many messages the subscriber has not got, because there was no room, or because they made
    /// room for newer ones. Goes on when the task is subscribed again.
    pub fn missed(&self) -> u64 {
        self.0.missed()
    }

    /// Whether it has not ended. It ends when the task is unsubscribed or disconnected, when the
    /// channel is closed, and when a message of the channel finds that the task has ended.
    pub fn is_active(&self) -> bool {
        !self.0.is_over()
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (missed, active) = (self.missed(), self.is_active());
        f.debug_struct("Subscription").field("missed", &missed).field("active", &active).finish()
    }
}

/// What a subscription and those who look at it have in common.
#[derive(Default)]
pub(super) struct Shared {
    missed: AtomicU64,
    over: AtomicBool,
}

impl Shared {
    pub(super) fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    pub(super) fn miss(&self, messages: usize) {
        self.missed.fetch_add(messages as u64, Ordering::Relaxed);
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// True the first time.
    fn end(&self) -> bool {
        !self.over.swap(true, Ordering::AcqRel)
    }
}

/// Who it is that is subscribed. There is one subscription for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Task(TaskId),
    Stream(u64),
    Channel(u64),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Task(id) => fmt::Display::fmt(id, f),
            Self::Stream(number) => write!(f, "stream-{number}"),
            Self::Channel(number) => write!(f, "channel-{number}"),
        }
    }
}

/// Whether a subscriber is to be taken out of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    Stays,
    Goes,
}

/// A subscriber of a channel of `T`, whatever it is. Nothing of this is called under a lock, but
/// `key`, `is_over`, `shared`, and `ring`, which are plain reads.
pub(super) trait Subscribed<T>: Send + Sync {
    fn key(&self) -> Key;

    /// Gives it a message, and writes into `round` what became of that.
    fn offer(&self, message: T, round: &mut Round) -> After;

    /// How many tasks and streams it stands for; needs not count further than `enough`.
    fn reach(&self, enough: usize) -> usize;

    /// Whether it can be taken out of the list.
    fn is_over(&self) -> bool;

    /// It has been taken out. `may_read`: what it has been given is not to be lost.
    fn end(&self, may_read: bool);

    fn shared(&self) -> Option<&Arc<Shared>> {
        None
    }

    /// Its `Ring`, of whatever messages.
    fn ring(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        None
    }
}

/// Where messages are read from in the end.
pub(super) trait End<M>: Clone + Send + Sync + 'static {
    fn queue(&self) -> &Queue<M>;

    /// The channel gives it nothing more.
    fn hang_up(&self) {}
}

impl<M: Send + 'static> End<M> for TaskRef<M> {
    fn queue(&self) -> &Queue<M> {
        &self.cell.queue
    }
}

/// A task or a stream as a subscriber.
pub(super) struct Direct<E, M, F> {
    pub(super) key: Key,
    pub(super) end: E,
    pub(super) map: F,
    pub(super) when_full: WhenFull,
    /// Of one that drops its oldest.
    pub(super) ring: Option<Arc<Ring<M>>>,
    pub(super) shared: Arc<Shared>,
}

impl<T, E, M, F> Subscribed<T> for Direct<E, M, F>
where
    E: End<M>,
    M: Send + 'static,
    F: Fn(T) -> Option<M> + Send + Sync,
{
    fn key(&self) -> Key {
        self.key
    }

    #[inline]
    fn offer(&self, message: T, round: &mut Round) -> After {
        if self.shared.is_over() {
            return After::Goes;
        }
        let message = match current::catch(|| (self.map)(message)) {
            Ok(Some(message)) => message,
            Ok(None) => {
                round.published.filtered += 1;
                return After::Stays;
            }
            Err(failure) => return self.has_panicked(&failure, round),
        };
        if let Some(ring) = &self.ring {
            return self.offer_to_ring(ring, message, round);
        }
        // That it is on its way to another node is not enough for whoever waits.
        #[cfg(feature = "far")]
        if round.waits && self.when_full == WhenFull::Wait && self.end.queue().is_far() {
            return self.is_full(message, round);
        }
        match self.end.queue().push(message) {
            Ok(()) => {
                round.published.reached += 1;
                After::Stays
            }
            Err((Refusal::Closed, _)) => After::Goes,
            Err((Refusal::Full, message)) => self.is_full(message, round),
            #[cfg(feature = "far")]
            Err((Refusal::Lost, _)) => After::Goes,
            #[cfg(feature = "far")]
            Err((Refusal::Unsendable, _)) => {
                let (subscriber, why) = (self.key, crate::far::refusal_detail());
                tracing::warn!(%subscriber, why, "a message cannot be sent to a subscriber");
                self.misses(round);
                After::Stays
            }
        }
    }

    fn reach(&self, _: usize) -> usize {
        usize::from(!Subscribed::<T>::is_over(self))
    }

    fn is_over(&self) -> bool {
        self.shared.is_over() || self.end.queue().is_closed()
    }

    fn end(&self, may_read: bool) {
        self.shared.end();
        if let Some(ring) = &self.ring {
            if may_read {
                ring.close();
            } else {
                self.shared.miss(ring.discard().len());
            }
        }
        self.end.hang_up();
    }

    fn shared(&self) -> Option<&Arc<Shared>> {
        Some(&self.shared)
    }

    fn ring(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        self.ring.clone().map(|ring| ring as Arc<dyn Any + Send + Sync>)
    }
}

impl<E: End<M>, M: Send + 'static, F> Direct<E, M, F> {
    fn offer_to_ring(&self, ring: &Ring<M>, message: M, round: &mut Round) -> After {
        let queue = self.end.queue();
        if queue.is_closed() {
            return After::Goes;
        }
        match ring.push(message) {
            Pushed::First => queue.wake(),
            Pushed::Behind => (),
            Pushed::InsteadOf(_) => self.shared.miss(1),
            Pushed::Closed(_) if self.shared.is_over() || queue.is_closed() => return After::Goes,
            // It has another policy meanwhile.
            Pushed::Closed(_) => {
                self.misses(round);
                return After::Stays;
            }
        }
        round.published.reached += 1;
        After::Stays
    }

    #[cold]
    fn is_full(&self, message: M, round: &mut Round) -> After {
        match self.when_full {
            WhenFull::Wait if round.waits => {
                round.pending.push(Box::new(Waiting {
                    end: self.end.clone(),
                    delivery: Delivery::New(message),
                    shared: self.shared.clone(),
                }));
                After::Stays
            }
            WhenFull::Wait | WhenFull::DropOldest => {
                self.misses(round);
                After::Stays
            }
            WhenFull::Disconnect => {
                self.misses(round);
                if self.shared.end() {
                    round.published.disconnected += 1;
                }
                After::Goes
            }
        }
    }

    #[cold]
    fn has_panicked(&self, failure: &crate::exit::Failure, round: &mut Round) -> After {
        let subscriber = self.key;
        tracing::error!(%subscriber, panic = failure.message, "a subscriber's map has panicked");
        self.misses(round);
        After::Stays
    }

    fn misses(&self, round: &mut Round) {
        self.shared.miss(1);
        round.published.missed += 1;
    }
}

/// A message for which a subscriber has no room yet.
struct Waiting<E: End<M>, M> {
    end: E,
    delivery: Delivery<M>,
    shared: Arc<Shared>,
}

impl<E: End<M>, M: Send> Waits for Waiting<E, M> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        self.end.queue().poll_deliver(&mut self.delivery, cx).map(|delivered| delivered.is_ok())
    }

    fn is_over(&self) -> bool {
        self.shared.is_over()
    }

    fn take_back(&mut self) -> bool {
        self.give_up()
    }
}

impl<E: End<M>, M> Waiting<E, M> {
    /// Whether the subscriber has not got the message: it has missed it.
    fn give_up(&mut self) -> bool {
        let missed = self.end.queue().take_back(&mut self.delivery);
        if missed.is_some() {
            self.shared.miss(1);
        }
        missed.is_some()
    }
}

/// The publisher has given up.
impl<E: End<M>, M> Drop for Waiting<E, M> {
    fn drop(&mut self) {
        self.give_up();
    }
}

/// A channel as a subscriber.
pub(super) struct Nested<U, F> {
    pub(super) child: crate::Channel<U>,
    pub(super) map: F,
}

impl<T, U, F> Subscribed<T> for Nested<U, F>
where
    U: Clone + Send + 'static,
    F: Fn(T) -> U + Send + Sync,
{
    fn key(&self) -> Key {
        Key::Channel(self.child.hub.id)
    }

    fn offer(&self, message: T, round: &mut Round) -> After {
        match current::catch(|| (self.map)(message)) {
            Ok(message) => match self.child.hub.publish(message, round) {
                Ok(()) => After::Stays,
                Err(_) => After::Goes,
            },
            Err(failure) => {
                let channel = self.child.name();
                tracing::error!(channel, panic = failure.message, "a channel's map has panicked");
                round.published.missed += self.child.hub.reach(usize::MAX);
                After::Stays
            }
        }
    }

    fn reach(&self, enough: usize) -> usize {
        self.child.hub.reach(enough)
    }

    fn is_over(&self) -> bool {
        self.child.is_closed()
    }

    fn end(&self, _: bool) {}
}

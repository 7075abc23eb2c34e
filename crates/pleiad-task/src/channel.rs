use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use pleiad_types::limits::MAILBOX_MESSAGES;

use crate::identity::TaskId;
use crate::names::{self, FindError, Locate, NameTaken, sealed};
use crate::queue::UNBOUNDED;
use crate::reference::TaskRef;

use broadcast::Broadcast;
use error::{PublishError, SubscribeChannelError, SubscribeError};
use hierarchy::Forbidden;
use hub::{Hub, Transform};
use ring::{Outlet, Ring};
use round::{Published, Round};
use stream::Subscriber;
use subscription::{Direct, Key, Nested, Subscription, WhenFull};

pub(crate) mod broadcast;
pub(crate) mod error;
mod hierarchy;
mod hub;
mod pending;
mod ring;
pub(crate) mod round;
pub(crate) mod stream;
mod subscribers;
pub(crate) mod subscription;

/// A named broadcast: whoever has it may publish messages, and all who are subscribed get them.
///
/// Subscribers are [tasks](Self::subscribe), which get the messages in their mailbox as all others,
/// [streams](Self::stream), and [other channels](Self::subscribe_channel). This is a handle: cheap to
/// clone, compared and hashed by the channel it is of; prints the channel's name.
///
/// ```
/// # use pleiad_task::{Channel, Mailbox, spawn};
/// async fn sum(mut mailbox: Mailbox<u64>) -> u64 {
///     let mut sum = 0;
///     while let Some(n) = mailbox.recv().await {
///         sum += n;
///     }
///     sum
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let numbers = Channel::new("numbers");
/// let task = spawn(sum);
/// numbers.subscribe(&task)?;
/// for n in 1..=4 {
///     assert_eq!(numbers.send(n)?.reached, 1);
/// }
/// numbers.close();
/// assert_eq!(task.await?, 10);
/// # Ok(())
/// # }
/// ```
///
/// # What is promised
///
/// - *Order*: messages of one publisher arrive at each subscriber in the order in which they were
///   published, whoever else publishes, subscribes or unsubscribes meanwhile.
/// - *Loss*: a message comes at most once for each subscription. It is missed only by a subscriber
///   that has no room, and this is counted: see [`WhenFull`]. Nothing is kept for those who come
///   later.
/// - *Independence*: a slow subscriber costs its own mailbox at most (with
///   [`WhenFull::DropOldest`], as much again). One that has ended is taken out when the next message
///   finds that, or when the list of subscribers would grow.
///
/// # How it ends
///
/// By [`close`](Self::close), and when the last handle is dropped: subscriptions end, streams end
/// when all is read, and publishing becomes an error. A subscription keeps the task's mailbox open,
/// so a task that waits for the end of its mailbox must not itself hold the channel to which it is
/// subscribed.
pub struct Channel<T> {
    hub: Arc<Hub<T>>,
}

impl<T: Clone + Send + 'static> Channel<T> {
    /// A channel without subscribers. The name is for what is printed, and for those who
    /// [find](Self::find) it once it is [registered](Self::register); others may have the same.
    pub fn new(name: &str) -> Self {
        Self { hub: Arc::new(Hub::new(name)) }
    }

    // ---- publishing ----

    /// Publishes `message` to all who are subscribed at this moment, without ever waiting.
    ///
    /// Subscribers that have no room miss it, or are taken out: see [`WhenFull`]. It is no error if
    /// nobody is subscribed, or if the [transform](Self::set_transform) drops the message. The message
    /// is cloned for all but one of the subscribers; a panic of the clone is the caller's.
    ///
    /// # Errors
    ///
    /// [`PublishError::Closed`].
    pub fn send(&self, message: T) -> Result<Published, PublishError> {
        let mut round = Round::default();
        match self.hub.publish(message, &mut round) {
            Ok(()) => Ok(round.published),
            Err(_) => Err(self.hub.closed()),
        }
    }

    /// Publishes `message` to all who are subscribed at this moment, and waits until it is in all of
    /// their mailboxes. Ready at once if nobody is subscribed.
    ///
    /// Those who have room have it at once. A subscription that ends is not waited for, and misses
    /// the message. See [`Broadcast::at_least`], to wait for subscribers first, and
    /// [`Broadcast::timeout`]; default: no limit. A task that is subscribed itself, and whose mailbox is
    /// full, waits for ever.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use pleiad_task::{Channel, PublishError, WhenFull};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let news = Channel::new("news");
    /// let mut reader = news.stream(10, WhenFull::Wait);
    /// let published = news.deliver("one").at_least(1).await?;
    /// assert_eq!(published.reached, 1);
    ///
    /// let late = news.deliver("two").at_least(2).timeout(Duration::from_millis(1)).await;
    /// assert!(matches!(late, Err(PublishError::TimedOut { reached: 0, wanted: 2, .. })));
    /// assert_eq!(reader.recv().await, Some("one"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`PublishError::Closed`], also when the channel is closed while it waits for subscribers;
    /// [`PublishError::TimedOut`] with a time-out; [`PublishError::TooFew`] with `at_least`, if
    /// subscribers end that it needs. With `at_least(n)`, it gives a success with less than `n` only
    /// if a transform has dropped the message.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it is ready, those who had room have the message, and others
    /// miss it.
    pub fn deliver(&self, message: T) -> Broadcast<'_, T> {
        Broadcast::new(&self.hub, message)
    }

    /// How many tasks and streams a message would go to at this moment, over all levels. Those with a
    /// full mailbox count too.
    pub fn subscribers(&self) -> usize {
        self.hub.reach(usize::MAX)
    }

    // ---- subscribers ----

    /// Subscribes a task that takes the channel's messages as they are. For others, see
    /// [`subscribe_as`](Self::subscribe_as).
    ///
    /// It gets what is published from now on, in its mailbox; when that is full, see
    /// [`WhenFull::Wait`]. A task has one subscription to a channel: to subscribe it again replaces
    /// the function and the policy, and loses nothing, except that a task that does not drop the
    /// oldest any more loses what waits in its ring. As long as it is subscribed, its mailbox stays
    /// open.
    ///
    /// # Errors
    ///
    /// [`SubscribeError`]: the channel or the mailbox is closed.
    pub fn subscribe(&self, task: &TaskRef<T>) -> Result<Subscription, SubscribeError> {
        self.subscribe_as(task, |message| message)
    }

    /// As [`subscribe`](Self::subscribe), for a task that takes other messages: `map` makes them.
    ///
    /// It runs in the publisher; if it panics, the task misses the message.
    ///
    /// ```
    /// # use pleiad_task::{Channel, Mailbox, spawn};
    /// enum Input {
    ///     Tick(u64),
    ///     Stop,
    /// }
    /// # async fn screen(mut mailbox: Mailbox<Input>) -> u64 {
    /// #     let mut last = 0;
    /// #     while let Some(Input::Tick(n)) = mailbox.recv().await { last = n }
    /// #     last
    /// # }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let clock = Channel::new("clock");
    /// let task = spawn(screen);
    /// clock.subscribe_as(&task, Input::Tick)?;
    /// clock.send(7)?;
    /// task.send(Input::Stop)?;
    /// assert_eq!(task.await?, 7);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`subscribe`](Self::subscribe).
    pub fn subscribe_as<M: Send + 'static>(
        &self,
        task: &TaskRef<M>,
        map: impl Fn(T) -> M + Send + Sync + 'static,
    ) -> Result<Subscription, SubscribeError> {
        self.subscribe_with(task, map, WhenFull::Wait)
    }

    /// As [`subscribe_as`](Self::subscribe_as), for a task that takes only some of the messages: those
    /// of which `map` makes one.
    ///
    /// ```
    /// # use pleiad_task::{Channel, Mailbox, spawn};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let lines = Channel::new("lines");
    /// let task = spawn(async |mut mailbox: Mailbox<u32>| mailbox.recv().await);
    /// lines.subscribe_some(&task, |line: &str| line.parse().ok())?;
    /// assert_eq!(lines.send("seven")?.filtered, 1);
    /// assert_eq!(lines.send("7")?.reached, 1);
    /// assert_eq!(task.await?, Some(7));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`subscribe`](Self::subscribe).
    pub fn subscribe_some<M: Send + 'static>(
        &self,
        task: &TaskRef<M>,
        map: impl Fn(T) -> Option<M> + Send + Sync + 'static,
    ) -> Result<Subscription, SubscribeError> {
        self.subscribe_direct(task, map, WhenFull::Wait, MAILBOX_MESSAGES)
    }

    /// As [`subscribe_as`](Self::subscribe_as), with another policy for a slow task.
    /// [`WhenFull::DropOldest`] keeps as many messages as the task's mailbox holds (at most
    /// [`MAILBOX_MESSAGES`], if it is unbounded); for another number, see
    /// [`subscribe_latest`](Self::subscribe_latest).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn subscribe_with<M: Send + 'static>(
        &self,
        task: &TaskRef<M>,
        map: impl Fn(T) -> M + Send + Sync + 'static,
        when_full: WhenFull,
    ) -> Result<Subscription, SubscribeError> {
        let capacity = match task.cell.queue.capacity() {
            UNBOUNDED => MAILBOX_MESSAGES,
            capacity => capacity as usize,
        };
        self.subscribe_direct(task, move |message| Some(map(message)), when_full, capacity)
    }

    /// Subscribes a task that wants the latest messages only, so many of them (at least one):
    /// [`WhenFull::DropOldest`].
    ///
    /// ```
    /// # use pleiad_task::{Channel, Mailbox, spawn};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let prices = Channel::new("prices");
    /// let task = spawn(async |mut mailbox: Mailbox<u32>| mailbox.recv().await);
    /// let subscription = prices.subscribe_latest(&task, |price| price, 1)?;
    /// for price in [99, 98, 97] {
    ///     prices.send(price)?;
    /// }
    /// assert_eq!(task.await?, Some(97));
    /// assert_eq!(subscription.missed(), 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`subscribe`](Self::subscribe).
    pub fn subscribe_latest<M: Send + 'static>(
        &self,
        task: &TaskRef<M>,
        map: impl Fn(T) -> M + Send + Sync + 'static,
        messages: usize,
    ) -> Result<Subscription, SubscribeError> {
        self.subscribe_direct(
            task,
            move |message| Some(map(message)),
            WhenFull::DropOldest,
            messages,
        )
    }

    /// Ends a task's subscription. Whether there was one.
    ///
    /// What is in its mailbox stays there; what is in the ring of [`WhenFull::DropOldest`] does not.
    /// A message that is published at the same time may still come.
    pub fn unsubscribe<M>(&self, task: &TaskRef<M>) -> bool {
        self.hub.unsubscribe(Key::Task(task.id())).is_some()
    }

    /// What is published from now on, as a [`Stream`](futures_core::Stream) that holds `capacity`
    /// messages (at least one) that are not read. It is unsubscribed when it is dropped.
    ///
    /// Of a closed channel, a stream that has ended.
    pub fn stream(&self, capacity: usize, when_full: WhenFull) -> Subscriber<T> {
        Subscriber::new(&self.hub, capacity, when_full)
    }

    /// Publishes on `child` too whatever is published here from now on. To subscribe it again changes
    /// nothing.
    ///
    /// The child is kept open, and keeps its own subscribers and transform. A task that is subscribed
    /// to both, or that messages reach in two ways, gets them twice, and counts twice. Channels may
    /// have at most
    /// [`CHANNEL_LEVELS_MAX`](pleiad_types::limits::CHANNEL_LEVELS_MAX) levels.
    ///
    /// ```
    /// # use pleiad_task::{Channel, WhenFull};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (world, europe) = (Channel::new("world"), Channel::new("europe"));
    /// world.subscribe_channel(&europe)?;
    /// let mut reader = europe.stream(10, WhenFull::Wait);
    /// assert_eq!(world.send("peace")?.reached, 1);
    /// assert_eq!(reader.try_recv()?, "peace");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`SubscribeChannelError::Cycle`] if a message would come back, also if another thread makes
    /// the other half of the cycle at the same time; others if one is closed, or there are too many
    /// levels.
    pub fn subscribe_channel(&self, child: &Self) -> Result<(), SubscribeChannelError> {
        self.subscribe_channel_with(child, |message| message)
    }

    /// As [`subscribe_channel`](Self::subscribe_channel), for a channel of other messages: `map` makes
    /// them. To subscribe it again replaces the function. If it panics, all below miss the message.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn subscribe_channel_with<U: Clone + Send + 'static>(
        &self,
        child: &Channel<U>,
        map: impl Fn(T) -> U + Send + Sync + 'static,
    ) -> Result<(), SubscribeChannelError> {
        let (above, below) = (self.hub.id, child.hub.id);
        // Whatever happens, it is dropped after the lock: that may run code of users.
        let entry = Arc::new(Nested { child: child.clone(), map });

        let mut links = hierarchy::lock();
        links.check(above, below).map_err(|forbidden| self.forbidden(child, forbidden))?;
        if child.is_closed() {
            return Err(SubscribeChannelError::Closed { channel: child.name().to_owned() });
        }
        let Ok(subscribed) = self.hub.subscribe(Key::Channel(below), |_| (entry.clone(), ()))
        else {
            return Err(SubscribeChannelError::Closed { channel: self.name().to_owned() });
        };
        links.add(above, below);
        drop(links);
        drop(subscribed);
        Ok(())
    }

    /// Ends the subscription of a channel. Whether there was one.
    pub fn unsubscribe_channel<U>(&self, child: &Channel<U>) -> bool {
        let mut links = hierarchy::lock();
        let removed = self.hub.unsubscribe(Key::Channel(child.hub.id));
        links.remove(self.hub.id, child.hub.id);
        drop(links);
        removed.is_some()
    }

    /// From now on, each message is what `transform` makes of it before it goes to the subscribers:
    /// it is given the channel's name and the message, and drops it by `None`.
    ///
    /// It runs in the publisher, once for each message. If it panics, the message is dropped, with an
    /// error in the log, and the next is transformed as ever.
    pub fn set_transform(&self, transform: impl Fn(&str, T) -> Option<T> + Send + Sync + 'static) {
        let transform: Arc<Transform<T>> = Arc::new(transform);
        self.hub.set_transform(Some(transform));
    }

    /// From now on, messages are published as they are.
    pub fn remove_transform(&self) {
        self.hub.set_transform(None);
    }

    // ---- name and end ----

    /// Lets others in this process find it by its name, until it is [closed](Self::close) or
    /// [unregistered](Self::unregister). Until then, it stays open without other handles.
    ///
    /// # Errors
    ///
    /// [`NameTaken`] if a task or another channel has the name, and [`NameTaken::Closed`]. It is no
    /// error if it has the name already.
    pub fn register(&self) -> Result<(), NameTaken> {
        let closed = || NameTaken::Closed(self.name().to_owned());
        if self.hub.set_registered(true).map_err(|_| closed())? {
            return Ok(());
        }
        if let Err(taken) = names::insert(self.name(), self) {
            let _ = self.hub.set_registered(false);
            return Err(taken);
        }
        if self.is_closed() {
            // It may have been closed before it had the name.
            names::forget_value(self.name(), self);
            return Err(closed());
        }
        Ok(())
    }

    /// Takes the name away again. Whether it was registered.
    pub fn unregister(&self) -> bool {
        let _ = self.hub.set_registered(false);
        names::forget_value(self.name(), self)
    }

    /// The channel that is [registered](Self::register) with this name.
    ///
    /// # Errors
    ///
    /// [`FindError`]: nothing has the name, or what has it is a task, or has other messages.
    pub fn find(name: &str) -> Result<Self, FindError> {
        names::find(name)
    }

    /// As [`find`](Self::find), but waits until the name appears. See [`Locate::timeout`].
    pub fn locate(name: &str) -> Locate<Self> {
        Locate::new(name)
    }

    /// Ends the channel for all who have it: subscriptions end, its name is free, and publishing is
    /// an error from now on. What subscribers have got, they can still read. Does nothing the second
    /// time.
    pub fn close(&self) {
        if self.hub.close() {
            names::forget_value(self.name(), self);
        }
    }

    fn subscribe_direct<M: Send + 'static>(
        &self,
        task: &TaskRef<M>,
        map: impl Fn(T) -> Option<M> + Send + Sync + 'static,
        when_full: WhenFull,
        capacity: usize,
    ) -> Result<Subscription, SubscribeError> {
        let queue = &task.cell.queue;
        if queue.is_closed() {
            let (channel, task) = (self.name().to_owned(), task.identity());
            return Err(SubscribeError::TaskClosed { channel, task });
        }
        let key = Key::Task(task.id());
        let wants_ring = when_full == WhenFull::DropOldest;
        let subscribed = self.hub.subscribe(key, |earlier| {
            let earlier = earlier.filter(|earlier| !earlier.is_over());
            let shared = earlier.and_then(|earlier| earlier.shared()).cloned().unwrap_or_default();
            let kept = earlier.and_then(|earlier| earlier.ring()?.downcast::<Ring<M>>().ok());
            let (ring, new_ring, old_ring, surplus) = match kept {
                Some(ring) if wants_ring && !ring.is_closed() => {
                    let surplus = ring.resize(capacity);
                    (Some(ring), None, None, surplus)
                }
                old if wants_ring => {
                    let ring = Arc::new(Ring::new(capacity));
                    (Some(ring.clone()), Some(ring), old, Default::default())
                }
                old => (None, None, old, Default::default()),
            };
            let end = task.clone();
            let entry = Direct { key, end, map, when_full, ring, shared: shared.clone() };
            (Arc::new(entry), (shared, new_ring, old_ring, surplus))
        });
        let Ok(((shared, new_ring, old_ring, surplus), displaced)) = subscribed else {
            return Err(SubscribeError::ChannelClosed { channel: self.name().to_owned() });
        };
        drop(displaced);
        if let Some(ring) = new_ring {
            queue.add_source(Box::new(Outlet(ring)));
            // What was published meanwhile has woken nobody.
            queue.wake();
        }
        shared.miss(surplus.len() + old_ring.map_or(0, |ring| ring.discard().len()));
        Ok(Subscription::new(shared))
    }

    fn forbidden<U>(&self, child: &Channel<U>, forbidden: Forbidden) -> SubscribeChannelError {
        let (parent, child) = (self.hub.name.to_string(), child.hub.name.to_string());
        match forbidden {
            Forbidden::Cycle => SubscribeChannelError::Cycle { parent, child },
            Forbidden::TooDeep => SubscribeChannelError::TooDeep { parent, child },
        }
    }
}

impl<T> Channel<T> {
    /// The channel's name.
    pub fn name(&self) -> &str {
        &self.hub.name
    }

    /// Whether it is [closed](Self::close).
    pub fn is_closed(&self) -> bool {
        self.hub.is_closed()
    }
}

impl<T: Clone + Send + 'static> sealed::Named for Channel<T> {
    fn holder(&self) -> (String, Option<TaskId>) {
        (format!("channel {:?}", self.name()), None)
    }

    fn is_over(&self) -> bool {
        self.is_closed()
    }
}

impl<T> Clone for Channel<T> {
    fn clone(&self) -> Self {
        Self { hub: self.hub.clone() }
    }
}

impl<T> PartialEq for Channel<T> {
    fn eq(&self, other: &Self) -> bool {
        self.hub.id == other.hub.id
    }
}

impl<T> Eq for Channel<T> {}

impl<T> Hash for Channel<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.hub.id.hash(state);
    }
}

impl<T> fmt::Display for Channel<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl<T> fmt::Debug for Channel<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "channel {:?}", self.name())
    }
}

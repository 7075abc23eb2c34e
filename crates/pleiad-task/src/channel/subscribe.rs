use std::sync::Arc;

use pleiad_types::limits::MAILBOX_MESSAGES;

use crate::channel::Channel;
use crate::channel::error::{SubscribeChannelError, SubscribeError};
use crate::channel::hierarchy::{self, Forbidden};
use crate::channel::ring::{Outlet, Ring};
use crate::channel::stream::Subscriber;
use crate::channel::subscription::{Direct, Key, Nested, Subscription, WhenFull};
use crate::queue::UNBOUNDED;
use crate::reference::TaskRef;

// Who is subscribed, and how.
impl<T: Clone + Send + 'static> Channel<T> {
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
        #[cfg(feature = "far")]
        let wants_ring = wants_ring && !queue.is_far();
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

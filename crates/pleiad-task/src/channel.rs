use std::fmt;
use std::hash::{Hash, Hasher};
use std::pin::pin;
use std::sync::Arc;

use crate::identity::TaskId;
use crate::names::{self, FindError, Locate, NameTaken, sealed};

use broadcast::Broadcast;
use error::PublishError;
use hub::{Hub, Transform};
use round::{Published, Round};

pub(crate) mod broadcast;
pub(crate) mod error;
mod hierarchy;
mod hub;
mod pending;
mod ring;
pub(crate) mod round;
pub(crate) mod stream;
mod subscribe;
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
///   that has no room, and this is counted: see [`WhenFull`](crate::WhenFull). Nothing is kept for
///   those who come later.
/// - *Independence*: a slow subscriber costs its own mailbox at most (with
///   [`DropOldest`](crate::WhenFull::DropOldest), as much again). One that has ended is taken out when
///   the next message finds that, or when the list of subscribers would grow.
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
    /// Subscribers that have no room miss it, or are taken out: see [`WhenFull`](crate::WhenFull). It is
    /// no error if nobody is subscribed, or if the [transform](Self::set_transform) drops the message.
    /// The message is cloned for all but one of the subscribers; a panic of the clone is the caller's.
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

    /// Waits until it is [closed](Self::close). This handle keeps it open meanwhile.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time.
    pub async fn closed(&self) {
        let end = self.hub.end.notified();
        let mut end = pin!(end);
        // From here on, it is not missed.
        end.as_mut().enable();
        if !self.is_closed() {
            end.await;
        }
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

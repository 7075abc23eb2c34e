use std::any::Any;
use std::fmt;
use std::future::IntoFuture;
use std::hash::{Hash, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use pleiad_task::{AskError, Channel, ExitReason, Published, Reply, TaskId, TaskRef, WhenFull};
use pleiad_types::limits::CHANNEL_ANSWER_GRACE;
use tokio::sync::oneshot;

use crate::channel::error::{RemotePublishError, RemoteSubscribeError};
use crate::channel::forward::{self, Forwards};
use crate::channel::request::{NotSubscribed, Request};
use crate::channel::stream::RemoteSubscriber;
use crate::mesh::Mesh;
use crate::message::Message;

/// A channel that was found by its name, of another node or of this one. A handle: cheap to clone,
/// compared and hashed by the channel; prints as `ticks@shop`.
///
/// ```
/// # use pleiad_net::Node;
/// # use pleiad_task::{Channel, Mailbox, spawn};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let home = tempfile::tempdir()?;
/// let shop = Node::builder().name("shop").home(home.path()).start().await?;
/// let ticks = Channel::<u64>::new("ticks");
/// shop.register_channel(&ticks)?;
///
/// // In another process.
/// let node = Node::builder().home(home.path()).start().await?;
/// let remote = node.channel::<u64>("ticks").await?;
/// let task = spawn(async |mut mailbox: Mailbox<u64>| mailbox.recv().await);
/// remote.subscribe(&task).await?;
///
/// assert_eq!(ticks.deliver(7).at_least(1).await?.reached, 1);
/// assert_eq!(task.await?, Some(7));
/// # Ok(())
/// # }
/// ```
///
/// # What is promised
///
/// As of a [`Channel`]: order for each publisher and subscriber, at most once, and a slow subscriber costs
/// nobody else anything but the wait of [`deliver`](Self::deliver). One of another node costs its mailbox
/// and its window on the way: [`STREAM_MESSAGES_MAX`](pleiad_types::limits::STREAM_MESSAGES_MAX), or
/// [`STREAM_BYTES_MAX`](pleiad_types::limits::STREAM_BYTES_MAX). When a subscriber ends, or its node is
/// lost, it is no subscriber any more.
///
/// # What differs from a `Channel`
///
/// - Everything goes by the channel's node, where its transform runs: also what is published and
///   subscribed to on a third one.
/// - [`send`](Self::send) does not say how many were reached.
/// - It may be [lost](RemotePublishError::Lost).
/// - It has no [close](Channel::close) and no [transform](Channel::set_transform): these are its node's.
/// - There is no hierarchy across nodes: two channels that are above each other on different nodes could
///   make a circle that neither sees, and what is below could not be counted in time. A task that is
///   subscribed to one and publishes on the other does it.
///
/// # How it ends
///
/// When the channel is closed, or its node closes or is lost: streams end when all is read, and everything
/// else is an error. See [`closed`](Self::closed). A handle keeps the channel open, as every other; so does
/// its name.
pub struct RemoteChannel<T> {
    mesh: Arc<Mesh>,
    name: Arc<str>,
    host: TaskRef<Request<T>>,
}

impl<T: Message + Clone> RemoteChannel<T> {
    pub(super) fn new(mesh: Arc<Mesh>, name: Arc<str>, host: TaskRef<Request<T>>) -> Self {
        Self { mesh, name, host }
    }

    // ---- publishing ----

    /// Publishes `message`, without ever waiting: to all who are subscribed when it comes to the channel.
    /// `Ok` says that it is on the way there.
    ///
    /// # Errors
    ///
    /// See [`RemotePublishError`]: nobody has got the message.
    pub fn send(&self, message: T) -> Result<(), RemotePublishError> {
        let sent = self.host.send(Request::Publish(message));
        sent.map_err(|error| RemotePublishError::unsent(self.channel(), &error))
    }

    /// Publishes `message`, and waits until it is in the mailboxes of all who are subscribed when it comes
    /// to the channel, on whatever nodes. See [`Channel::deliver`], and
    /// [`at_least`](RemoteBroadcast::at_least) to wait for subscribers first.
    ///
    /// # Errors
    ///
    /// See [`RemotePublishError`].
    ///
    /// # Cancel safety
    ///
    /// If it is dropped, nobody may have the message, or all, or those who had room.
    pub fn deliver(&self, message: T) -> RemoteBroadcast<'_, T> {
        RemoteBroadcast { channel: self, message, at_least: None, timeout: None }
    }

    // ---- subscribing ----

    /// Subscribes a task that takes the channel's messages as they are, of this node or of another. When
    /// this is ready, it gets all that is published from then on. See [`Channel::subscribe`].
    ///
    /// # Errors
    ///
    /// See [`RemoteSubscribeError`].
    ///
    /// # Cancel safety
    ///
    /// If it is dropped, the task may be subscribed or not.
    pub async fn subscribe(&self, task: &TaskRef<T>) -> Result<(), RemoteSubscribeError> {
        if let Some((forward, _)) = self.mesh.forwards.find::<T>((self.host.id(), task.id())) {
            // It goes on as it came, so that nothing is missed.
            let subscribed = forward.local.subscribe(task);
            return subscribed.map(drop).map_err(|_| self.task_closed(task));
        }
        if !task.is_alive() {
            return Err(self.task_closed(task));
        }
        self.subscribe_there(task.clone(), None).await.map_err(|error| self.of(task, error))
    }

    /// As [`subscribe`](Self::subscribe), for a task that takes other messages: `map` makes them, on this
    /// node. To subscribe it again replaces the function.
    ///
    /// The messages go by a task of this node, which passes them on: at most
    /// [`CHANNEL_FORWARDED_MAX`](pleiad_types::limits::CHANNEL_FORWARDED_MAX) may be
    /// [delivered](Self::deliver) and not be in the task's mailbox yet.
    ///
    /// # Errors
    ///
    /// See [`RemoteSubscribeError`].
    ///
    /// # Cancel safety
    ///
    /// If it is dropped, the task may be subscribed or not.
    pub async fn subscribe_as<M: Send + 'static>(
        &self,
        task: &TaskRef<M>,
        map: impl Fn(T) -> M + Send + Sync + 'static,
    ) -> Result<(), RemoteSubscribeError> {
        let key = (self.host.id(), task.id());
        let forwarding = match self.mesh.forwards.find::<T>(key) {
            Some((forward, forwarding)) => {
                forward.local.subscribe_as(task, map).map_err(|_| self.task_closed(task))?;
                forwarding
            }
            None => {
                let local = Channel::new(&self.name);
                local.subscribe_as(task, map).map_err(|_| self.task_closed(task))?;
                let end = task.ended();
                let gone = async move { drop(end.await) };
                let forwarding = forward::start(&self.mesh, local.clone(), gone);
                Forwards::insert(&self.mesh, key, local, &forwarding);
                forwarding
            }
        };
        let before = (task as &dyn Any).downcast_ref::<TaskRef<T>>().cloned();
        self.subscribe_there(forwarding, before).await.map_err(|error| self.of(task, error))
    }

    /// Ends a task's subscription. Whether there was one, made by this node or with the task as it is.
    /// Nothing comes from the channel when this is ready; what is in the mailbox stays there.
    ///
    /// # Errors
    ///
    /// See [`RemoteSubscribeError`].
    ///
    /// # Cancel safety
    ///
    /// If it is dropped, the task may still be subscribed.
    pub async fn unsubscribe<M: Send + 'static>(
        &self,
        task: &TaskRef<M>,
    ) -> Result<bool, RemoteSubscribeError> {
        let key = (self.host.id(), task.id());
        if let Some((forward, forwarding)) = self.mesh.forwards.find::<T>(key) {
            self.mesh.forwards.remove(key, forwarding.id());
            forward.local.close();
            return self.unsubscribe_there(forwarding).await;
        }
        match (task as &dyn Any).downcast_ref::<TaskRef<T>>() {
            Some(task) => self.unsubscribe_there(task.clone()).await,
            None => Ok(false),
        }
    }

    /// What is published from now on, as a stream that holds `capacity` messages (at least one) that are
    /// not read; `when_full` tells what happens when it holds so many. What is on the way comes on top of
    /// that: see [`subscribe_as`](Self::subscribe_as). It is unsubscribed when it is dropped.
    ///
    /// # Errors
    ///
    /// See [`RemoteSubscribeError`].
    ///
    /// # Cancel safety
    ///
    /// If it is dropped, nothing is subscribed.
    pub async fn stream(
        &self,
        capacity: usize,
        when_full: WhenFull,
    ) -> Result<RemoteSubscriber<T>, RemoteSubscribeError> {
        let local = Channel::new(&self.name);
        let messages = local.stream(capacity, when_full);
        let (reader, end) = oneshot::channel::<()>();
        let gone = async move { drop(end.await) };
        let forwarding = forward::start(&self.mesh, local, gone);
        let task = forwarding.identity();
        let subscribed = self.subscribe_there(forwarding, None).await;
        subscribed.map_err(|error| {
            error.unwrap_or(RemoteSubscribeError::TaskClosed { channel: self.channel(), task })
        })?;
        Ok(RemoteSubscriber::new(messages, reader))
    }

    // ---- the end ----

    /// The task that stands for it: its node is that of the channel, see
    /// [`Node::peer_of`](crate::Node::peer_of).
    pub fn id(&self) -> TaskId {
        self.host.id()
    }

    /// Whether the channel is closed or lost, as far as is known here.
    pub fn is_closed(&self) -> bool {
        !self.host.is_alive()
    }

    /// Waits until the channel is closed ([`ExitReason::Returned`]), or its node closes or is lost
    /// ([`ExitReason::Lost`]).
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time.
    pub async fn closed(&self) -> ExitReason {
        self.host.ended().await.reason
    }

    /// The channel's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    // ---- what the channel is told ----

    /// `Err(None)`: it is not the channel, but the task.
    async fn subscribe_there(
        &self,
        task: TaskRef<T>,
        instead_of: Option<TaskRef<T>>,
    ) -> Result<(), Option<RemoteSubscribeError>> {
        let question = |reply| Request::Subscribe { task, instead_of, reply };
        match self.ask(question).await? {
            Ok(()) => Ok(()),
            Err(NotSubscribed::TaskClosed) => Err(None),
            Err(NotSubscribed::ChannelClosed) => {
                Err(Some(RemoteSubscribeError::ChannelClosed { channel: self.channel() }))
            }
        }
    }

    async fn unsubscribe_there(&self, task: TaskRef<T>) -> Result<bool, RemoteSubscribeError> {
        self.ask(|reply| Request::Unsubscribe { task, reply }).await
    }

    async fn ask<A: Message>(
        &self,
        question: impl FnOnce(Reply<A>) -> Request<T>,
    ) -> Result<A, RemoteSubscribeError> {
        let answer = self.host.ask(question).await;
        answer.map_err(|error| RemoteSubscribeError::unasked(self.channel(), error))
    }

    fn of<M>(
        &self,
        task: &TaskRef<M>,
        error: Option<RemoteSubscribeError>,
    ) -> RemoteSubscribeError {
        error.unwrap_or_else(|| self.task_closed(task))
    }

    fn task_closed<M>(&self, task: &TaskRef<M>) -> RemoteSubscribeError {
        let (channel, task) = (self.channel(), task.identity());
        RemoteSubscribeError::TaskClosed { channel, task }
    }

    fn channel(&self) -> String {
        self.name.to_string()
    }
}

/// A message on its way to all subscribers: see [`RemoteChannel::deliver`].
#[must_use = "a message is delivered when this is awaited"]
pub struct RemoteBroadcast<'a, T> {
    channel: &'a RemoteChannel<T>,
    message: T,
    at_least: Option<usize>,
    timeout: Option<Duration>,
}

impl<T: Message + Clone> RemoteBroadcast<'_, T> {
    /// First waits, at the channel, until there are so many tasks and streams, on whatever nodes; then
    /// delivers to all that are there, and is ready as soon as so many have the message. Zero waits for
    /// nobody. See [`Broadcast::at_least`](pleiad_task::Broadcast::at_least).
    pub fn at_least(mut self, subscribers: usize) -> Self {
        self.at_least = Some(subscribers);
        self
    }

    /// Gives up after so long. The time is taken at the channel; its node has
    /// [`CHANNEL_ANSWER_GRACE`] more to tell what was reached. Default: never.
    pub fn timeout(mut self, after: Duration) -> Self {
        self.timeout = Some(after);
        self
    }

    async fn deliver(self) -> Result<Published, RemotePublishError> {
        let Self { channel, message, at_least, timeout } = self;
        let at_least = at_least.map(|subscribers| subscribers as u64);
        let question = |reply| Request::Deliver { message, at_least, timeout, reply };
        let ask = channel.host.ask(question);
        let answer = match timeout {
            Some(after) => ask.timeout(after.saturating_add(CHANNEL_ANSWER_GRACE)).await,
            None => ask.await,
        };
        let after = timeout.unwrap_or_default();
        match answer {
            Ok(Ok(counts)) => Ok(counts.into()),
            Ok(Err(why)) => Err(RemotePublishError::refused(channel.channel(), &why, after)),
            Err(AskError::TimedOut { .. }) => {
                Err(RemotePublishError::Unconfirmed { channel: channel.channel(), after })
            }
            Err(AskError::NotAsked { .. }) => {
                Err(RemotePublishError::Busy { channel: channel.channel() })
            }
            Err(error) => Err(RemotePublishError::unasked(channel.channel(), error)),
        }
    }
}

impl<'a, T: Message + Clone> IntoFuture for RemoteBroadcast<'a, T> {
    type Output = Result<Published, RemotePublishError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.deliver())
    }
}

impl<T> Clone for RemoteChannel<T> {
    fn clone(&self) -> Self {
        Self { mesh: self.mesh.clone(), name: self.name.clone(), host: self.host.clone() }
    }
}

impl<T> PartialEq for RemoteChannel<T> {
    fn eq(&self, other: &Self) -> bool {
        self.host == other.host
    }
}

impl<T> Eq for RemoteChannel<T> {}

impl<T> Hash for RemoteChannel<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.host.hash(state);
    }
}

impl<T> fmt::Display for RemoteChannel<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let identity = self.host.identity();
        let here = format!("{}/{}", identity.name(), identity.id().number());
        let whole = identity.to_string();
        write!(f, "{}{}", self.name, whole.strip_prefix(&here).unwrap_or_default())
    }
}

impl<T> fmt::Debug for RemoteChannel<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "channel {self}")
    }
}

impl<T> fmt::Debug for RemoteBroadcast<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "broadcast on {}", self.channel.name)
    }
}

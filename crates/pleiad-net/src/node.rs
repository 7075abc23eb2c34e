use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pleiad_task::{AnyTask, Channel, Mailbox, NoMessage, TaskId, TaskRef};
use pleiad_types::NodeId;
use pleiad_types::limits::GOODBYE_TIMEOUT;

use crate::addresses::Target;
use crate::builder::NodeBuilder;
use crate::channel::{self, locate::LocateChannel};
use crate::discovery::doctor::Facts;
use crate::error::{ConnectError, InviteError, LocateError, RegisterError, StartError};
use crate::files::Files;
use crate::find::Discovery;
use crate::greet;
use crate::kind::Kind;
use crate::link::Link;
use crate::locate::Locate;
use crate::mesh::{self, Mesh};
use crate::message::Message;
use crate::own::OwnThread;
use crate::peer::{Peer, PeerEvents};
use crate::registry::{Offer, is_reserved};
use crate::service::serve::{self, Serve};
use crate::service::{Service, locate::LocateService};
use crate::system::System;
use crate::trust::{DEFAULT_PORT, Fingerprint, Invitation, KeyError};

/// This process, as a part of the mesh: what other nodes find here, and the way to them.
///
/// Cheap to clone. A node ends with [`close`](Self::close), or when the last handle is dropped; others then
/// see it go offline.
#[derive(Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

/// What comes one after the other.
pub(crate) trait Events: Send + 'static {
    type Event: Send;

    /// The next, or none if there are no more.
    fn next_event(&mut self) -> impl Future<Output = Option<Self::Event>> + Send;
}

impl Events for PeerEvents {
    type Event = crate::PeerEvent;

    fn next_event(&mut self) -> impl Future<Output = Option<Self::Event>> + Send {
        self.next()
    }
}

struct Inner {
    mesh: Arc<Mesh>,
    own: OwnThread,
    discovery: Mutex<Discovery>,
    files: Arc<Files>,
}

impl Node {
    /// Starts a node with the usual choices: it listens on this machine only, belongs to the default
    /// cluster of this user, and finds the other nodes of that by itself. See [`builder`](Self::builder).
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub async fn start() -> Result<Self, StartError> {
        Self::builder().start().await
    }

    /// Another than the usual choices.
    pub fn builder() -> NodeBuilder {
        NodeBuilder::new()
    }

    pub(crate) fn new(
        mesh: Arc<Mesh>,
        own: OwnThread,
        discovery: Discovery,
        files: Arc<Files>,
    ) -> Self {
        Self { inner: Arc::new(Inner { mesh, own, discovery: Mutex::new(discovery), files }) }
    }

    fn discovery(&self) -> MutexGuard<'_, Discovery> {
        self.inner.discovery.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn mesh(&self) -> &Arc<Mesh> {
        &self.inner.mesh
    }

    pub(crate) fn files(&self) -> &Arc<Files> {
        &self.inner.files
    }

    /// Its number: another one for each start.
    pub fn id(&self) -> NodeId {
        self.mesh().me()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.mesh().hello().name
    }

    /// Where it can be dialled, best first.
    pub fn addresses(&self) -> &[String] {
        &self.mesh().hello().addresses
    }

    /// The cluster that it belongs to.
    pub fn cluster(&self) -> Fingerprint {
        self.mesh().member.cluster()
    }

    // ---- names ----

    /// Gives a task of this process a name, by which all nodes [locate](Self::locate) it, until it ends. A
    /// task may have several names. A name keeps its mailbox open. Names that begin with `^` are those of
    /// pleiad's own tasks.
    ///
    /// # Errors
    ///
    /// See [`RegisterError`].
    pub fn register<M: Message>(&self, name: &str, task: &TaskRef<M>) -> Result<(), RegisterError> {
        if is_reserved(name) {
            return Err(RegisterError::Reserved(name.to_owned()));
        }
        self.mesh().register(name, task, Offer::of_task(task))
    }

    /// Takes a name away again. Whether the task had it.
    pub fn unregister<M: Message>(&self, name: &str, task: &TaskRef<M>) -> bool {
        self.mesh().registry.remove(name, task.id())
    }

    /// Finds the task of this name: on this node, else on the first that has it; waits for it to
    /// appear. Only a task that takes messages of the type `M` is given: two types are the same if their
    /// definitions are.
    ///
    /// # Errors
    ///
    /// See [`LocateError`].
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time.
    pub fn locate<M: Message>(&self, name: &str) -> Locate<M> {
        Locate::new(self.mesh().clone(), name, Kind::of_task::<M>())
    }

    // ---- channels ----

    /// Lets all nodes find a channel of this one by its name, as a [`RemoteChannel`](crate::RemoteChannel), until it is closed or
    /// [unregistered](Self::unregister_channel). Until then, it stays open without other handles. It is no
    /// error if it has the name already.
    ///
    /// # Errors
    ///
    /// See [`RegisterError`]: tasks, channels and services of a node have different names.
    pub fn register_channel<T: Message + Clone>(
        &self,
        channel: &Channel<T>,
    ) -> Result<(), RegisterError> {
        channel::register(self.mesh(), channel)
    }

    /// Takes its name away again. Who has found it keeps it, and keeps it open. Whether it had the name.
    pub fn unregister_channel<T: Message + Clone>(&self, channel: &Channel<T>) -> bool {
        self.mesh().registry.remove_subject(channel.name(), channel)
    }

    /// Finds the [registered](Self::register_channel) channel of this name: of this node, else of the
    /// first that has it; waits for it to appear.
    ///
    /// # Errors
    ///
    /// See [`LocateError`](crate::LocateError): also if what has the name is a task or a service.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time.
    pub fn channel<T: Message + Clone>(&self, name: &str) -> LocateChannel<T> {
        LocateChannel::new(self.mesh(), name)
    }

    // ---- services ----

    /// Lets all nodes call `function` by the name of the service, and start it as a task: see
    /// [`Service`]. Served when it is awaited, until [`ServiceHandle::stop`](crate::ServiceHandle::stop), or
    /// until this node closes. See [`Serve`] for how many calls may run at once.
    ///
    /// Each call is a task of its own. A panic ends that task alone, and is told to the caller. When
    /// the caller does not wait any more, the function is dropped at the await where it is.
    ///
    /// # Errors
    ///
    /// See [`RegisterError`].
    pub fn serve<A, R, F, Fut>(&self, service: Service<A, R>, function: F) -> Serve<A, R, NoMessage>
    where
        A: Message,
        R: Message,
        F: Fn(A) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = R> + Send + 'static,
    {
        serve::plain(self.mesh(), service, function)
    }

    /// As [`serve`](Self::serve), for a function that returns a `Result`: if it is an error, the task
    /// has failed with its text, and the caller gets that.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn try_serve<A, R, E, F, Fut>(
        &self,
        service: Service<A, R>,
        function: F,
    ) -> Serve<A, R, NoMessage>
    where
        A: Message,
        R: Message,
        E: fmt::Display,
        F: Fn(A) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, E>> + Send + 'static,
    {
        serve::fallible(self.mesh(), service, function)
    }

    /// As [`serve`](Self::serve), for a function with a mailbox: see
    /// [`TaskService`](crate::TaskService). When it is asked to stop, it has its grace, as every task.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn serve_tasks<A, R, M, F, Fut>(
        &self,
        service: Service<A, R, M>,
        function: F,
    ) -> Serve<A, R, M>
    where
        A: Message,
        R: Message,
        M: Message,
        F: Fn(A, Mailbox<M>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = R> + Send + 'static,
    {
        serve::tasks(self.mesh(), service, function)
    }

    /// As [`serve_tasks`](Self::serve_tasks), for a function that returns a `Result`.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn try_serve_tasks<A, R, M, E, F, Fut>(
        &self,
        service: Service<A, R, M>,
        function: F,
    ) -> Serve<A, R, M>
    where
        A: Message,
        R: Message,
        M: Message,
        E: fmt::Display,
        F: Fn(A, Mailbox<M>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, E>> + Send + 'static,
    {
        serve::fallible_tasks(self.mesh(), service, function)
    }

    /// Finds a service: of this node, else of the first that has it; waits for it to appear.
    ///
    /// # Errors
    ///
    /// See [`LocateError`](crate::LocateError): also if what has the name has other arguments, another
    /// result or other messages, or is no service.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time.
    pub fn service<A: Message, R: Message, M: Message>(
        &self,
        service: Service<A, R, M>,
    ) -> LocateService<A, R, M> {
        LocateService::new(self.mesh(), service)
    }

    // ---- peers ----

    /// Connects to the node at an address: `host`, `host:port` or `[v6]:port`. All addresses of a name are
    /// tried. Is there already a connection, that counts.
    ///
    /// This tries once; [`NodeBuilder::peer`] goes on trying.
    ///
    /// # Errors
    ///
    /// See [`ConnectError`].
    ///
    /// # Cancel safety
    ///
    /// If it is dropped, there may be a connection or not.
    pub async fn connect(&self, address: &str) -> Result<Peer, ConnectError> {
        let target = Target::of_peer(address, DEFAULT_PORT)?;
        let mut failure = ConnectError::Closed;
        let mesh = self.mesh().clone();
        let dialled = self.inner.own.handle().spawn(async move {
            for address in target.resolve().await? {
                match greet::reach(&mesh, address).await {
                    Ok(Some(link)) => return Ok(link),
                    Ok(None) => failure = ConnectError::Itself(address),
                    Err(error) => failure = error,
                }
            }
            Err(failure)
        });
        dialled.await.map_err(|_| ConnectError::Closed)?.map(Peer::new)
    }

    /// The peers that are there, in the order in which they came.
    pub fn peers(&self) -> Vec<Peer> {
        self.mesh().online().into_iter().map(|(_, link)| Peer::new(link)).collect()
    }

    /// Waits until a peer of this name is there. Default time-out: none; see [`tokio::time::timeout`].
    /// `None` when the node has closed.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time.
    pub async fn peer(&self, name: &str) -> Option<Peer> {
        let mut changes = self.mesh().watch();
        loop {
            if self.mesh().is_finished() {
                return None;
            }
            if let Some(peer) = self.peers().into_iter().find(|peer| peer.name() == name) {
                return Some(peer);
            }
            changes.changed().await.ok()?;
        }
    }

    /// Waits until all nodes of this machine that were there when this one started are its peers, or do
    /// not answer. Others, on the network, come whenever they answer.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time.
    pub async fn greeted_neighbours(&self) {
        let greetings = self.discovery().greetings.clone();
        if let Some(mut greetings) = greetings {
            while greetings.changed().await.is_ok() {}
        }
    }

    /// The peer on which a task is. `None` if it is on this node, or its node is gone.
    pub fn peer_of(&self, task: TaskId) -> Option<Peer> {
        let link = self.mesh().link(task.node()?)?;
        (!link.is_over()).then(|| Peer::new(link))
    }

    /// Peers as they come and go: first those that are there.
    pub fn peer_events(&self) -> PeerEvents {
        PeerEvents::new(self.mesh().clone())
    }

    /// Tells a task of peers as they come and go: first of those that are there. `message` makes a
    /// message of an event. Ends with the task.
    pub fn watch_peers<M: Send + 'static>(
        &self,
        task: &TaskRef<M>,
        message: impl Fn(crate::PeerEvent) -> M + Send + 'static,
    ) {
        self.tell(self.peer_events(), task, message);
    }

    /// Tells a task of events as they come, until it ends or there are no more.
    pub(crate) fn tell<E: Events, M: Send + 'static>(
        &self,
        mut events: E,
        task: &TaskRef<M>,
        message: impl Fn(E::Event) -> M + Send + 'static,
    ) {
        let task = task.clone();
        self.mesh().spawn(async move {
            let ended = task.ended();
            tokio::pin!(ended);
            loop {
                let event = tokio::select! {
                    event = events.next_event() => event,
                    _ = &mut ended => return,
                };
                let Some(event) = event else { return };
                if task.deliver(message(event)).await.is_err() {
                    return;
                }
            }
        });
    }

    /// Asks again on the local network who is there. Those who were known to be there are not told again.
    pub fn discover(&self) {
        if let Some(network) = &self.discovery().network {
            network.refresh();
        }
    }

    /// What is known about why nobody is found: for
    /// [`why_nobody_is_found`](crate::why_nobody_is_found).
    pub fn facts(&self) -> Facts {
        self.discovery().facts(self.mesh())
    }

    /// The names that this node has given, in order, and who has them; without those of the system.
    pub fn names(&self) -> Vec<(String, AnyTask)> {
        let mut names = self.mesh().registry.list();
        names.retain(|(name, _)| !is_reserved(name));
        names
    }

    /// Asks a peer about itself: its tasks, names and peers; see [`System`]. Every node tells other members
    /// of its cluster, and nobody else.
    ///
    /// # Errors
    ///
    /// [`LocateError::WrongType`] if the peer has another release of pleiad; [`LocateError::PeerLost`].
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time.
    pub async fn system(&self, peer: &Peer) -> Result<System, LocateError> {
        System::of(self.mesh(), peer).await
    }

    // ---- members ----

    /// Invites `uses` machines into the cluster, each of which may use the invitation once within `age`.
    /// It holds as long as this node runs, and names the [best address](Self::addresses) of this node.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use pleiad_net::Node;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let home = tempfile::tempdir()?;
    /// let node = Node::builder().name("host").home(home.path().join("host")).start().await?;
    /// let invitation = node.invite(1, Duration::from_secs(60))?;
    ///
    /// // On another machine; it keeps its membership in its home.
    /// let guest = Node::builder()
    ///     .home(home.path().join("guest"))
    ///     .invitation(invitation.to_string().parse()?)
    ///     .start()
    ///     .await?;
    /// assert_eq!(guest.peer("host").await.map(|peer| peer.node()), Some(node.id()));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// See [`InviteError`].
    pub fn invite(&self, uses: u32, age: Duration) -> Result<Invitation, InviteError> {
        let mesh = self.mesh();
        if mesh.member.cluster_key().is_none() {
            return Err(InviteError::NoKey);
        }
        let address = self.addresses().first().and_then(|address| address.parse().ok());
        let address: SocketAddr = address.ok_or(InviteError::NoAddress)?;
        let secret = mesh.invitations().issue(uses, age, mesh::seconds_since_1970())?;
        let host = address.ip().to_string();
        Invitation::new(&host, address.port(), mesh.member.cluster(), secret)
            .map_err(|_| InviteError::NoAddress)
    }

    /// Takes the membership of this certificate away: it gets no connection to this node any more. Those
    /// that it has are ended.
    ///
    /// # Errors
    ///
    /// [`KeyError`], if that cannot be written down.
    pub fn revoke(&self, member: Fingerprint, note: &str) -> Result<(), KeyError> {
        self.mesh().member.revoked().revoke(member, note)?;
        self.mesh().end_revoked();
        Ok(())
    }

    // ---- the end ----

    /// Closes politely: what was sent before still arrives, all peers see this node go offline, and
    /// nothing comes in any more. Returns when that is so, after at most half a second. References to
    /// tasks of other nodes are [lost](pleiad_task::ExitReason::Lost) from then on.
    pub async fn close(&self) {
        let mesh = self.mesh();
        if mesh.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        let discovery = std::mem::take(&mut *self.discovery());
        discovery.stop().await;
        mesh.registry.clear();
        mesh.close_now();
        let links = mesh.links();
        links.iter().for_each(Link::goodbye);
        let all_gone = async {
            let mut changes = mesh.watch();
            while !mesh.links().is_empty() {
                if changes.changed().await.is_err() {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(GOODBYE_TIMEOUT + Duration::from_millis(200), all_gone).await;
        for link in links {
            link.end(pleiad_proto::Over::Closed);
        }
        mesh.finish();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.mesh.closed.store(true, Ordering::Release);
        self.mesh.registry.clear();
        self.mesh.close_now();
        for link in self.mesh.links() {
            link.goodbye();
            link.end(pleiad_proto::Over::Closed);
        }
        self.mesh.finish();
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.id())
    }
}

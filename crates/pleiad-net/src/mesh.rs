//! What all parts of a node share: who it is, its peers, what it has given names to.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};

use pleiad_proto::wire::{Attach, Hello, LaneKind, Refusal, Resume, Welcome};
use pleiad_proto::{Lookup, Membership, Met, Over, Session};
use pleiad_task::far::{Inlet, Reference};
use pleiad_types::{NodeId, Time};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{Notify, watch};

use crate::channel::forward::Forwards;
use crate::conn::Conn;
use crate::error::ConnectError;
use crate::link::{About, Link};
use crate::locate::Locates;
use crate::registry::Registry;
use crate::trust::{self, Fingerprint, Invitations, Member, Secret};

/// See the [module](self).
pub(crate) struct Mesh {
    hello: Hello,
    me: NodeId,
    pub(crate) member: Member,
    pub(crate) lost_after: Duration,
    started: Instant,
    near: Handle,
    own: Handle,
    state: Mutex<State>,
    membership: Mutex<Membership>,
    /// Tasks of this node that others have references to.
    inlets: Mutex<HashMap<u64, Weak<dyn Inlet>>>,
    pub(crate) registry: Registry,
    pub(crate) locates: Locates,
    pub(crate) forwards: Forwards,
    /// Rises when a peer comes or goes.
    changes: watch::Sender<u64>,
    /// Wakes the node's own thread: something is due earlier than it thinks.
    pub(crate) due: Notify,
    pub(crate) closed: AtomicBool,
    /// It is closed, and has no peers any more.
    finished: AtomicBool,
    closing: watch::Sender<bool>,
    pub(crate) facts: Mutex<KnownFacts>,
    invitations: Mutex<Invitations>,
    next_number: AtomicU64,
}

/// For those who ask why nobody is found.
#[derive(Debug, Default)]
pub(crate) struct KnownFacts {
    pub(crate) listeners: Vec<SocketAddr>,
    /// What went wrong the last time, by address.
    pub(crate) unreachable: BTreeMap<String, String>,
    pub(crate) refused: BTreeMap<String, String>,
}

/// Addresses of which it is remembered what went wrong.
const FACTS_MAX: usize = 256;

#[derive(Default)]
struct State {
    links: HashMap<NodeId, Entry>,
    /// Where other nodes are, as we have heard.
    known: HashMap<NodeId, About>,
    /// The same, in the order in which they became known.
    known_order: VecDeque<NodeId>,
    /// Lanes that are being connected from this side, and whose peer is known.
    dialling: HashSet<(NodeId, LaneKind)>,
}

struct Entry {
    link: Arc<Link>,
    fingerprint: Option<Fingerprint>,
    /// Its number, once there has been a connection.
    online: Option<u64>,
}

/// What a new connection is for.
pub(crate) struct Greeted {
    pub(crate) hello: Hello,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) lane: LaneKind,
    /// When the greeting began.
    pub(crate) since: Time,
}

/// Other nodes that are remembered, though there is no session with them. Beyond it, the oldest are
/// forgotten: most of them have ended.
const KNOWN_MAX: usize = 16_384;

impl Mesh {
    pub(crate) fn new(
        hello: Hello,
        member: Member,
        lost_after: Duration,
        near: Handle,
        own: Handle,
    ) -> Arc<Self> {
        Arc::new(Self {
            me: hello.node,
            hello,
            member,
            lost_after,
            started: Instant::now(),
            near,
            own,
            state: Mutex::default(),
            membership: Mutex::default(),
            inlets: Mutex::default(),
            registry: Registry::default(),
            locates: Locates::default(),
            forwards: Forwards::default(),
            changes: watch::Sender::new(0),
            due: Notify::new(),
            closed: AtomicBool::new(false),
            finished: AtomicBool::new(false),
            closing: watch::Sender::new(false),
            facts: Mutex::default(),
            invitations: Mutex::default(),
            next_number: AtomicU64::new(random()),
        })
    }

    pub(crate) fn me(&self) -> NodeId {
        self.me
    }

    pub(crate) fn hello(&self) -> &Hello {
        &self.hello
    }

    pub(crate) fn now(&self) -> Time {
        let nanos = self.started.elapsed().as_nanos();
        Time::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// The program's runtime.
    pub(crate) fn near(&self) -> &Handle {
        &self.near
    }

    /// Whether this runs on a thread that does not come to read and write connections by itself soon.
    pub(crate) fn is_elsewhere(&self) -> bool {
        match self.near.runtime_flavor() {
            RuntimeFlavor::CurrentThread => Handle::try_current().is_err(),
            // What is not in a task is in `block_on`, or no part of it.
            _ => tokio::task::try_id().is_none(),
        }
    }

    /// The node's own.
    pub(crate) fn own(&self) -> &Handle {
        &self.own
    }

    /// Runs something that may run code of users.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.near.spawn(future);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_number(&self) -> u64 {
        self.next_number.fetch_add(1, Ordering::Relaxed)
    }

    // ---- peers ----

    pub(crate) fn link(&self, node: NodeId) -> Option<Arc<Link>> {
        self.state().links.get(&node).map(|entry| entry.link.clone())
    }

    /// All links, whether they are connected or not.
    pub(crate) fn links(&self) -> Vec<Arc<Link>> {
        self.state().links.values().map(|entry| entry.link.clone()).collect()
    }

    /// Peers that are there: the number of their session, and the link.
    pub(crate) fn online(&self) -> Vec<(u64, Arc<Link>)> {
        let state = self.state();
        let mut online: Vec<_> = state
            .links
            .values()
            .filter_map(|entry| Some((entry.online?, entry.link.clone())))
            .collect();
        online.sort_unstable_by_key(|(number, _)| *number);
        online
    }

    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn notify(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// The link to a node that we may only have heard of. None: nothing is known of it.
    pub(crate) fn link_to(self: &Arc<Self>, node: NodeId) -> Option<Arc<Link>> {
        let mut state = self.state();
        if let Some(entry) = state.links.get(&node) {
            return Some(entry.link.clone());
        }
        let about = state.known.get(&node)?.clone();
        let session = Session::new(self.now(), self.next_number(), self.lost_after);
        let link = Link::new(self.clone(), node, about, session);
        let entry = Entry { link: link.clone(), fingerprint: None, online: None };
        state.links.insert(node, entry);
        drop(state);
        self.due.notify_one();
        self.clone().connect(&link, LaneKind::Messages);
        Some(link)
    }

    pub(crate) fn about(&self, node: NodeId) -> Option<Arc<About>> {
        let link = self.link(node);
        link.map(|link| link.about())
            .or_else(|| self.state().known.get(&node).cloned().map(Arc::new))
    }

    pub(crate) fn handle_introduced(&self, node: NodeId, about: About) {
        if node == self.me {
            return;
        }
        let mut state = self.state();
        if state.known.insert(node, about).is_none() {
            state.known_order.push_back(node);
        }
        if state.known.len() > KNOWN_MAX
            && let Some(oldest) = state.known_order.pop_front()
        {
            state.known.remove(&oldest);
        }
    }

    /// A peer is no more.
    pub(crate) fn handle_over(&self, link: &Arc<Link>) {
        let mut state = self.state();
        let is_current =
            state.links.get(&link.peer).is_some_and(|entry| Arc::ptr_eq(&entry.link, link));
        let entry = if is_current { state.links.remove(&link.peer) } else { None };
        drop(state);
        self.membership().handle_gone(self.now(), link.peer);
        self.due.notify_one();
        if entry.is_some_and(|entry| entry.online.is_some()) {
            self.notify();
        }
    }

    // ---- greetings ----

    /// What to say to a node that was dialled. None: it is connected already.
    pub(crate) fn plan_attach(self: &Arc<Self>, hello: &Hello, lane: LaneKind) -> Option<Attach> {
        let node = hello.node;
        let fresh = self.next_number();
        let mut state = self.state();
        // It is begun before it is said, so that it is known if the answer gets lost.
        let link = match state.links.get(&node) {
            Some(entry) => entry.link.clone(),
            None => self.new_link(&mut state, hello, None, fresh),
        };
        let attach = link.with_session(|session| {
            let session = (!session.is_over()).then_some(&*session);
            pleiad_proto::attach(&self.hello, session, lane, fresh)
        })?;
        state.dialling.insert((node, lane)).then_some(attach)
    }

    pub(crate) fn end_attach(&self, node: NodeId, lane: LaneKind) {
        self.state().dialling.remove(&(node, lane));
    }

    /// Answers a peer that has dialled: what it needs to know to go on, and the link.
    pub(crate) fn meet(
        self: &Arc<Self>,
        greeted: &Greeted,
        attach: &Attach,
    ) -> Result<(Resume, Arc<Link>, u64), Refusal> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Refusal::Closed);
        }
        let (node, lane) = (greeted.hello.node, greeted.lane);
        loop {
            let mut state = self.state();
            let is_dialling = state.dialling.contains(&(node, lane));
            let known = state.links.get(&node);
            if let Some(fingerprint) = known.and_then(|entry| entry.fingerprint)
                && fingerprint != greeted.fingerprint
            {
                let why = "another node with another key has the same number".to_owned();
                return Err(Refusal::NotAdmitted(why));
            }
            let link = known.map(|entry| entry.link.clone());
            // It has said this before it heard that we have reached it meanwhile.
            if attach.resume.is_none()
                && link.as_ref().is_some_and(|link| link.is_younger(greeted.since))
            {
                return Err(Refusal::Simultaneous);
            }
            let met = match &link {
                Some(link) => link.with_session(|session| {
                    let session = (!session.is_over()).then_some(session);
                    pleiad_proto::meet(self.me, session, is_dialling, attach)
                }),
                None => pleiad_proto::meet(self.me, None, is_dialling, attach),
            }?;
            match (met, link) {
                (Met::Known { received }, Some(link)) => {
                    drop(state);
                    link.cut(lane);
                    return Ok((link.resume(lane), link, received));
                }
                (_, Some(old)) => {
                    // What waits for the old one is told before the new one begins.
                    drop(state);
                    old.work();
                    if self.link(node).is_some_and(|link| Arc::ptr_eq(&link, &old)) {
                        self.drop_link(&old);
                    }
                }
                (Met::New { session } | Met::Known { received: session }, None) => {
                    let fingerprint = Some(greeted.fingerprint);
                    let link = self.new_link(&mut state, &greeted.hello, fingerprint, session);
                    drop(state);
                    return Ok((link.resume(lane), link, 0));
                }
            }
        }
    }

    /// A peer that was dialled has taken the connection: the link, and how many frames have come there.
    /// None: it is of no use, another was faster.
    pub(crate) fn handle_welcome(
        &self,
        greeted: &Greeted,
        attach: &Attach,
        welcome: &Welcome,
    ) -> Option<(Arc<Link>, u64)> {
        let link = {
            let state = self.state();
            let known = state.links.get(&greeted.hello.node)?;
            // Whoever goes on with a session is who has begun it.
            if known.fingerprint.is_some_and(|member| member != greeted.fingerprint) {
                return None;
            }
            known.link.clone()
        };
        let met = link.with_session(|session| {
            let session = (!session.is_over()).then_some(session)?;
            pleiad_proto::welcome(Some(session), attach, welcome)
        })?;
        match met {
            Met::Known { received } => Some((link, received)),
            // It has ended here meanwhile.
            Met::New { .. } => None,
        }
    }

    fn new_link(
        self: &Arc<Self>,
        state: &mut State,
        hello: &Hello,
        fingerprint: Option<Fingerprint>,
        session: u64,
    ) -> Arc<Link> {
        let session = Session::new(self.now(), session, self.lost_after);
        let link = Link::new(self.clone(), hello.node, About::default(), session);
        link.learn(hello);
        let entry = Entry { link: link.clone(), fingerprint, online: None };
        state.links.insert(hello.node, entry);
        link
    }

    fn drop_link(&self, link: &Arc<Link>) {
        let mut state = self.state();
        let is_current =
            state.links.get(&link.peer).is_some_and(|entry| Arc::ptr_eq(&entry.link, link));
        let entry = if is_current { state.links.remove(&link.peer) } else { None };
        drop(state);
        if entry.is_some_and(|entry| entry.online.is_some()) {
            self.notify();
        }
    }

    /// A connection is there: the link has it from now on.
    pub(crate) fn attach(
        self: &Arc<Self>,
        link: &Arc<Link>,
        greeted: &Greeted,
        conn: Conn,
        received: u64,
    ) {
        link.learn(&greeted.hello);
        let theirs = Duration::from_millis(u64::from(greeted.hello.lost_after_ms));
        let is_new = {
            let mut state = self.state();
            let number = self.next_number();
            let entry = state.links.get_mut(&link.peer);
            let entry = entry.filter(|entry| Arc::ptr_eq(&entry.link, link));
            entry.is_some_and(|entry| {
                entry.fingerprint = Some(greeted.fingerprint);
                entry.online.replace(entry.online.unwrap_or(number)).is_none()
            })
        };
        if is_new {
            tracing::info!(peer = %link.name(), node = %link.peer, "a peer is there");
            // Before anything that it says, so that nothing is missed.
            self.locates.ask(link);
        }
        link.attach(conn, received, theirs);
        self.due.notify_one();
        if is_new {
            self.notify();
        }
    }

    /// Peers that are no members any more are gone.
    pub(crate) fn end_revoked(&self) {
        let state = self.state();
        let is_revoked = |entry: &&Entry| {
            entry.fingerprint.is_some_and(|member| self.member.revoked().contains(&member))
        };
        let links: Vec<_> =
            state.links.values().filter(is_revoked).map(|entry| entry.link.clone()).collect();
        drop(state);
        for link in links {
            link.end(Over::Revoked);
        }
    }

    // ---- addresses ----

    pub(crate) fn membership(&self) -> MutexGuard<'_, Membership> {
        self.membership.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It was heard that somebody may be there.
    pub(crate) fn handle_heard(&self, address: SocketAddr) {
        if !self.closed.load(Ordering::Acquire) {
            self.membership().handle_heard(self.now(), address);
            self.due.notify_one();
        }
    }

    /// Has a lane of a link connected.
    pub(crate) fn connect(self: Arc<Self>, link: &Arc<Link>, lane: LaneKind) {
        let link = link.clone();
        self.own.clone().spawn(async move { crate::greet::connect(&self, &link, lane).await });
    }

    pub(crate) fn set_listeners(&self, listeners: Vec<SocketAddr>) {
        self.facts().listeners = listeners;
    }

    pub(crate) fn facts(&self) -> MutexGuard<'_, KnownFacts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody was reached there.
    pub(crate) fn handle_unreachable(&self, address: SocketAddr, error: &ConnectError) {
        let mut facts = self.facts();
        let is_refused =
            matches!(error, ConnectError::Handshake { .. } | ConnectError::Refused { .. });
        let facts = if is_refused { &mut facts.refused } else { &mut facts.unreachable };
        if facts.len() < FACTS_MAX {
            facts.insert(address.to_string(), with_sources(error));
        }
    }

    pub(crate) fn handle_unknown(&self, peer: &str, error: &dyn std::error::Error) {
        let mut facts = self.facts();
        if facts.unreachable.len() < FACTS_MAX {
            facts.unreachable.insert(peer.to_owned(), with_sources(error));
        }
    }

    // ---- the end ----

    /// Nothing new comes in from now on.
    pub(crate) fn close_now(&self) {
        self.closing.send_replace(true);
        self.due.notify_one();
    }

    /// It is closed: nobody comes any more.
    pub(crate) fn finish(&self) {
        self.locates.close();
        self.finished.store(true, Ordering::Release);
        self.notify();
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Acquire)
    }

    /// Waits until the node closes.
    pub(crate) async fn closing(&self) {
        let _ = self.closing.subscribe().wait_for(|closing| *closing).await;
    }

    // ---- admission ----

    /// Lets somebody with an invitation into the cluster, or not.
    pub(crate) async fn admit<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        address: SocketAddr,
    ) -> Result<(), ConnectError> {
        let Some(key) = self.member.cluster_key() else { return Err(ConnectError::Closed) };
        let take = |secret: &Secret| {
            let mut invitations = self.invitations();
            invitations.take(secret, address.ip(), seconds_since_1970())
        };
        match trust::admit(stream, key, take).await {
            Ok(admitted) => {
                tracing::info!(%address, member = %admitted.member, "a new member of the cluster");
            }
            Err(error) => {
                tracing::warn!(%address, error = with_sources(&error), "somebody was not admitted");
            }
        }
        Ok(())
    }

    pub(crate) fn invitations(&self) -> MutexGuard<'_, Invitations> {
        self.invitations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ---- what others may reach ----

    /// The one inlet of a task, by which other nodes reach it.
    pub(crate) fn share_inlet(&self, task: u64, inlet: Arc<dyn Inlet>) -> Arc<dyn Inlet> {
        let mut inlets = self.inlets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = inlets.get(&task).and_then(Weak::upgrade) {
            return known;
        }
        inlets.insert(task, Arc::downgrade(&inlet));
        if inlets.len().is_power_of_two() {
            inlets.retain(|_, inlet| inlet.strong_count() > 0);
        }
        inlet
    }

    /// The inlet of a task that others may reach.
    pub(crate) fn inlet(&self, task: u64) -> Option<Arc<dyn Inlet>> {
        let inlets = self.inlets.lock().unwrap_or_else(PoisonError::into_inner);
        inlets.get(&task).and_then(Weak::upgrade)
    }

    // ---- names ----

    /// A peer looks for a name.
    pub(crate) fn answer_lookup(&self, link: &Arc<Link>, lookup: &Lookup) {
        match self.registry.find(&lookup.name, lookup.shape) {
            None => (),
            Some(Ok(inlet)) => {
                link.give_here(inlet, |session, found| session.located(lookup.query, found));
            }
            Some(Err(text)) => link.with_session(|session| session.other_shape(lookup.query, text)),
        }
    }

    pub(crate) fn handle_located(&self, query: u64, link: &Arc<Link>, reference: Reference) {
        if self.locates.settle(query, Ok(reference)) {
            self.forget(query, Some(link));
        }
    }

    pub(crate) fn handle_other_shape(&self, query: u64, link: &Arc<Link>, text: String) {
        let peer = link.name().to_string();
        if self.locates.settle(query, Err((text, peer))) {
            self.forget(query, Some(link));
        }
    }

    /// Nobody looks for it any more.
    pub(crate) fn forget(&self, query: u64, except: Option<&Arc<Link>>) {
        for link in self.links() {
            if except.is_none_or(|except| !Arc::ptr_eq(except, &link)) {
                link.with_session(|session| session.forget(query));
                link.flush_soon(LaneKind::Messages, false);
            }
        }
    }
}

pub(crate) fn seconds_since_1970() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// An error and what has caused it, in one line.
pub(crate) fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// A random number, never 0.
pub(crate) fn random() -> u64 {
    loop {
        let mut bytes = [0; 8];
        if getrandom::fill(&mut bytes).is_err() {
            // There is no other source that would be any better.
            return std::process::id().into();
        }
        let number = u64::from_le_bytes(bytes);
        if number != 0 {
            return number;
        }
    }
}

impl std::fmt::Debug for Mesh {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "mesh of {}", self.me)
    }
}

//! Names that are looked for at other nodes.

use std::collections::HashMap;
use std::fmt;
use std::future::IntoFuture;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pleiad_proto::Lookup;
use pleiad_proto::wire::LaneKind;
use pleiad_task::TaskRef;
use pleiad_task::far::{self, Reference};
use pleiad_types::NodeId;
use pleiad_types::limits::{LOCATES_MAX, NAME_BYTES_MAX};
use tokio::sync::oneshot;

use crate::error::LocateError;
use crate::kind::Kind;
use crate::link::Link;
use crate::mesh::Mesh;
use crate::message::Message;
use crate::peer::Peer;

/// What a peer has answered: a task, or what else it has and its own name.
type Answer = Result<Reference, (String, String)>;

/// All that are under way.
#[derive(Default)]
pub(crate) struct Locates {
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, Waiting>>,
    /// Is set under the lock of the others.
    closed: AtomicBool,
}

struct Waiting {
    lookup: Lookup,
    /// Only there.
    on: Option<NodeId>,
    end: oneshot::Sender<Answer>,
}

impl Locates {
    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(feature = "testing")]
    pub(crate) fn len(&self) -> usize {
        self.waiting().len()
    }

    /// A peer is there: it is asked for all names that are looked for.
    pub(crate) fn ask(&self, link: &Arc<Link>) {
        let lookups: Vec<Lookup> = self
            .waiting()
            .values()
            .filter(|waiting| waiting.on.is_none_or(|on| on == link.peer))
            .map(|waiting| waiting.lookup.clone())
            .collect();
        link.with_session(|session| lookups.iter().for_each(|lookup| session.locate(lookup)));
        link.flush_soon(LaneKind::Messages, false);
    }

    /// A peer has answered. Whether somebody waited.
    pub(crate) fn settle(&self, query: u64, answer: Answer) -> bool {
        let waiting = self.waiting().remove(&query);
        waiting.is_some_and(|waiting| waiting.end.send(answer).is_ok())
    }

    /// Nobody will answer any more.
    pub(crate) fn close(&self) {
        let waiting = {
            let mut waiting = self.waiting();
            self.closed.store(true, Ordering::Release);
            std::mem::take(&mut *waiting)
        };
        drop(waiting);
    }

    fn start(
        &self,
        mesh: &Arc<Mesh>,
        lookup: impl FnOnce(u64) -> Lookup,
        on: Option<NodeId>,
    ) -> Result<(Looking, oneshot::Receiver<Answer>), LocateError> {
        let query = self.next.fetch_add(1, Ordering::Relaxed);
        let lookup = lookup(query);
        let (end, answer) = oneshot::channel();
        {
            let mut waiting = self.waiting();
            if self.closed.load(Ordering::Acquire) {
                return Err(LocateError::Closed);
            }
            if waiting.len() >= LOCATES_MAX {
                return Err(LocateError::TooMany);
            }
            waiting.insert(query, Waiting { lookup: lookup.clone(), on, end });
        }
        // A peer that comes between these two is asked twice, with one number: its session knows the
        // number, and says it once.
        for (_, link) in mesh.online() {
            if on.is_none_or(|on| on == link.peer) {
                link.with_session(|session| session.locate(&lookup));
                link.flush_soon(LaneKind::Messages, false);
            }
        }
        Ok((Looking { mesh: mesh.clone(), query }, answer))
    }
}

/// Stops looking when it is dropped.
struct Looking {
    mesh: Arc<Mesh>,
    query: u64,
}

impl Drop for Looking {
    fn drop(&mut self) {
        let waiting = self.mesh.locates.waiting().remove(&self.query);
        if waiting.is_some() {
            self.mesh.forget(self.query, None);
        }
    }
}

/// Waits for a name to appear on some node: see [`Node::locate`](crate::Node::locate).
#[must_use = "it is located when this is awaited"]
pub struct Locate<M> {
    mesh: Arc<Mesh>,
    name: String,
    kind: Kind,
    on: Option<Peer>,
    timeout: Option<Duration>,
    messages: PhantomData<fn(M)>,
}

impl<M: Message> Locate<M> {
    pub(crate) fn new(mesh: Arc<Mesh>, name: &str, kind: Kind) -> Self {
        Self { mesh, name: name.to_owned(), kind, on: None, timeout: None, messages: PhantomData }
    }

    /// Gives up after so long. Default: never.
    pub fn timeout(mut self, after: Duration) -> Self {
        self.timeout = Some(after);
        self
    }

    /// Only at this peer. The wait then ends with it.
    pub fn on(mut self, peer: &Peer) -> Self {
        self.on = Some(peer.clone());
        self
    }

    async fn locate(self) -> Result<TaskRef<M>, LocateError> {
        if self.name.is_empty() || self.name.len() > NAME_BYTES_MAX {
            return Err(LocateError::Length(self.name.len()));
        }
        if self.on.is_none()
            && let Some(found) = self.mesh.registry.find(&self.name, self.kind.hash)
        {
            let wrong = |found: String| LocateError::WrongType {
                name: self.name.clone(),
                wanted: self.kind.text.clone(),
                found,
                peer: self.mesh.hello().name.clone(),
            };
            return self.reference(Reference::Here(found.map_err(wrong)?));
        }
        let on = self.on.as_ref().map(Peer::node);
        let lookup = |query| Lookup {
            query,
            name: self.name.clone(),
            shape: self.kind.hash,
            text: self.kind.text.clone(),
        };
        let (_looking, answer) = self.mesh.locates.start(&self.mesh, lookup, on)?;
        let answer = async {
            match &self.on {
                None => answer.await.map_err(|_| LocateError::Closed),
                Some(peer) => tokio::select! {
                    answer = answer => answer.map_err(|_| LocateError::Closed),
                    _ = peer.gone() => Err(LocateError::PeerLost(peer.name().to_owned())),
                },
            }
        };
        let answer = match self.timeout {
            None => answer.await?,
            Some(after) => tokio::time::timeout(after, answer).await.map_err(|_| {
                let peers = self.mesh.online().len();
                LocateError::TimedOut { name: self.name.clone(), after, peers }
            })??,
        };
        match answer {
            Ok(reference) => self.reference(reference),
            Err((found, peer)) => Err(LocateError::WrongType {
                name: self.name.clone(),
                wanted: self.kind.text.clone(),
                found,
                peer,
            }),
        }
    }

    fn reference(&self, reference: Reference) -> Result<TaskRef<M>, LocateError> {
        far::task_ref(reference).map_err(|found| LocateError::WrongType {
            name: self.name.clone(),
            wanted: std::any::type_name::<M>().to_owned(),
            found,
            peer: self.mesh.hello().name.clone(),
        })
    }
}

impl<M: Message> IntoFuture for Locate<M> {
    type Output = Result<TaskRef<M>, LocateError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.locate())
    }
}

impl<M> fmt::Debug for Locate<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "locate {:?}", self.name)
    }
}

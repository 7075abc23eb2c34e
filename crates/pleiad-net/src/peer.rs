use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use pleiad_proto::wire::LaneKind;
use pleiad_types::NodeId;
use tokio::sync::watch;

use crate::link::Link;
use crate::mesh::Mesh;

/// Another node that this one talks to. Cheap to clone; prints its name.
#[derive(Clone)]
pub struct Peer {
    pub(crate) link: Arc<Link>,
    name: Arc<str>,
}

/// A peer has come or gone. See [`Node::peer_events`](crate::Node::peer_events).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerEvent {
    /// It is there.
    Online(Peer),
    /// It has closed, or is lost.
    Offline(Peer),
}

impl Peer {
    pub(crate) fn new(link: Arc<Link>) -> Self {
        let name = link.name();
        Self { link, name }
    }

    /// Its number: another one for each start.
    pub fn node(&self) -> NodeId {
        self.link.peer
    }

    /// Its name, which others may have too.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it says that it can be dialled, best first.
    pub fn addresses(&self) -> Vec<String> {
        self.link.about().addresses.clone()
    }

    /// Whether it has neither closed nor been lost, as far as is known here.
    pub fn is_online(&self) -> bool {
        !self.link.is_over()
    }

    /// Whether there is a connection at this moment. If not, there may be one again before the peer is
    /// taken for lost.
    pub fn is_connected(&self) -> bool {
        self.link.is_attached(LaneKind::Messages)
    }

    /// Waits until it has closed or is lost.
    pub async fn gone(&self) {
        let mut changes = self.link.mesh.watch();
        while self.is_online() {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Ends the connection politely: what was sent before still arrives, and both nodes see the other go
    /// offline. Returns when that is so, after at most half a second.
    pub async fn close(&self) {
        self.link.goodbye();
        self.gone().await;
    }
}

impl PartialEq for Peer {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.link, &other.link)
    }
}

impl Eq for Peer {}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.link.peer)
    }
}

/// Peers as they come and go: first those that are there, then each change. None is missed for good:
/// who reads slowly may miss a peer that came and went in between, but in the end knows who is there.
#[derive(Debug)]
pub struct PeerEvents {
    mesh: Arc<Mesh>,
    changes: watch::Receiver<u64>,
    /// Those that were told, by the number of their coming.
    known: BTreeMap<u64, Peer>,
}

impl PeerEvents {
    pub(crate) fn new(mesh: Arc<Mesh>) -> Self {
        let mut changes = mesh.watch();
        changes.mark_changed();
        Self { mesh, changes, known: BTreeMap::new() }
    }

    /// The next event. `None` when the node has closed, and all were told.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time: nothing is lost.
    pub async fn next(&mut self) -> Option<PeerEvent> {
        loop {
            let is_finished = self.mesh.is_finished();
            if let Some(event) = self.difference() {
                return Some(event);
            }
            if is_finished {
                return None;
            }
            self.changes.changed().await.ok()?;
            self.changes.borrow_and_update();
        }
    }

    fn difference(&mut self) -> Option<PeerEvent> {
        let online: BTreeMap<u64, Arc<Link>> = self.mesh.online().into_iter().collect();
        let gone = self.known.keys().find(|number| !online.contains_key(number)).copied();
        if let Some(peer) = gone.and_then(|number| self.known.remove(&number)) {
            return Some(PeerEvent::Offline(peer));
        }
        let (number, link) =
            online.into_iter().find(|(number, _)| !self.known.contains_key(number))?;
        let peer = Peer::new(link);
        self.known.insert(number, peer.clone());
        Some(PeerEvent::Online(peer))
    }
}

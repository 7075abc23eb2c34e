//! One peer, as this node sees it: the session with it, and everything here that has to do with it.
//!
//! There are two locks. The **core** is held for moments, by any thread that says something to the peer;
//! nothing of users runs under it. The **work** is held by the one thread that does what has come from
//! the peer, in order; whoever finds it taken leaves what there is to do to that thread.

mod answers;
mod core;
mod incoming;
mod outgoing;
mod over;
mod target;

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use pleiad_proto::wire::{Hello, LaneKind, Resume};
use pleiad_proto::{Over, Session};
use pleiad_types::{NodeId, Time};

use crate::conn::{Broken, Conn, ReadEnd};
use crate::mesh::Mesh;

use self::core::Core;
use incoming::{Event, Work};

pub(crate) use outgoing::cut;
pub(crate) use target::Target;

/// See the [module](self).
pub(crate) struct Link {
    pub(crate) mesh: Arc<Mesh>,
    pub(crate) peer: NodeId,
    about: RwLock<Arc<About>>,
    core: Mutex<Core>,
    work: Mutex<Work>,
    events: Mutex<Vec<Event>>,
    /// Whether there are questions whose answers nobody waits for any more.
    has_unwanted: AtomicBool,
    conns: [Mutex<Option<Arc<Conn>>>; 2],
    seen: Mutex<Seen>,
}

/// A connection is not given up for less silence: a busy machine is often silent for a while.
const SILENT_MIN: Duration = Duration::from_secs(1);

/// Of the connections that there have been.
#[derive(Debug)]
struct Seen {
    /// Since when the session has had one.
    since: Option<Time>,
    /// Where the peer was, the last time.
    at: Option<IpAddr>,
    /// When it was looked whether they are silent.
    looked: Time,
}

/// What is known of a peer.
#[derive(Debug, Clone, Default)]
pub(crate) struct About {
    pub(crate) name: Arc<str>,
    pub(crate) addresses: Vec<String>,
}

impl Link {
    pub(crate) fn new(mesh: Arc<Mesh>, peer: NodeId, about: About, session: Session) -> Arc<Self> {
        let seen = Seen { since: None, at: None, looked: mesh.now() };
        Arc::new(Self {
            mesh,
            peer,
            about: RwLock::new(Arc::new(about)),
            core: Mutex::new(Core::new(session)),
            work: Mutex::default(),
            events: Mutex::default(),
            has_unwanted: AtomicBool::new(false),
            conns: [Mutex::new(None), Mutex::new(None)],
            seen: Mutex::new(seen),
        })
    }

    pub(crate) fn about(&self) -> Arc<About> {
        self.about.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn name(&self) -> Arc<str> {
        self.about().name.clone()
    }

    /// What the peer has said of itself.
    pub(crate) fn learn(&self, hello: &Hello) {
        let about = About { name: hello.name.as_str().into(), addresses: hello.addresses.clone() };
        *self.about.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(about);
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says something to the peer, or asks the session.
    pub(crate) fn with_session<T>(&self, act: impl FnOnce(&mut Session) -> T) -> T {
        act(&mut self.core().session)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.core().session.is_over()
    }

    pub(crate) fn is_attached(&self, lane: LaneKind) -> bool {
        self.core().session.is_attached(lane)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what is remembered of this peer.
    #[cfg(feature = "testing")]
    pub(crate) fn count(&self, sum: crate::testing::Counts) -> crate::testing::Counts {
        self.core().count(sum)
    }

    /// Whether the peer had a connection from there. Who is found at another of its addresses may be
    /// anybody: many machines have, say, the same address for their containers.
    pub(crate) fn was_seen_at(&self, ip: IpAddr) -> bool {
        self.seen().at == Some(ip.to_canonical())
    }

    /// Whether the session has got its first connection after that.
    pub(crate) fn is_younger(&self, than: Time) -> bool {
        self.seen().since.is_some_and(|since| since >= than)
    }

    // ---- connections ----

    /// A connection for a lane is there, in place of the one before.
    pub(crate) fn attach(self: &Arc<Self>, conn: Conn, received: u64, theirs: Duration) {
        let (lane, conn) = (conn.lane, Arc::new(conn));
        let before = {
            let mut slot = self.conn_slot(lane);
            let mut core = self.core();
            if core.session.is_over() {
                // The peer is to see it, and not to wait for signs of life.
                conn.close();
                return;
            }
            core.session.attach(self.mesh.now(), lane, received, theirs);
            {
                let mut seen = self.seen();
                seen.since.get_or_insert(self.mesh.now());
                seen.at = conn.socket().peer_addr().ok().map(|at| at.ip().to_canonical());
            }
            slot.replace(conn.clone())
        };
        if let Some(before) = before {
            before.close();
        }
        crate::drive::drive(self.clone(), conn.clone());
        // What came with the greeting.
        self.read(&conn);
        self.work();
    }

    /// The connection of a lane is not used any more: another is about to come.
    pub(crate) fn cut(&self, lane: LaneKind) {
        let before = self.conn_slot(lane).take();
        if let Some(before) = before {
            before.close();
            self.core().session.detach(lane);
        }
    }

    /// Where the peer is to go on with a lane.
    pub(crate) fn resume(&self, lane: LaneKind) -> Resume {
        self.core().session.resume(lane)
    }

    fn conn_slot(&self, lane: LaneKind) -> MutexGuard<'_, Option<Arc<Conn>>> {
        self.conns[lane.index()].lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn conn(&self, lane: LaneKind) -> Option<Arc<Conn>> {
        self.conn_slot(lane).clone()
    }

    /// Reads what there is, and does it.
    pub(crate) fn read(self: &Arc<Self>, conn: &Arc<Conn>) -> ReadEnd {
        let read = conn.read(|frames| {
            let now = self.mesh.now();
            let mut core = self.core();
            // One that was replaced says nothing more.
            if conn.is_over() {
                return;
            }
            core.session.handle_bytes(now, conn.lane);
            for (kind, content) in frames.drain(..) {
                core.session.handle_frame(now, conn.lane, kind, content);
            }
            let is_idle = !core.session.has_output();
            drop(core);
            if !is_idle {
                self.work();
            }
        });
        let end = match read {
            Ok(ReadEnd::Over) => {
                self.handle_broken(conn, None);
                ReadEnd::Over
            }
            Ok(end) => {
                self.flush(conn);
                end
            }
            Err(broken) => {
                self.handle_broken(conn, Some(broken));
                ReadEnd::Over
            }
        };
        if conn.is_over() { ReadEnd::Over } else { end }
    }

    /// Writes what there is to write.
    pub(crate) fn flush(self: &Arc<Self>, conn: &Arc<Conn>) {
        if let Err(error) = conn.flush(|| self.core().session.poll_portion(conn.lane)) {
            self.handle_broken(conn, Some(Broken::Closed(error)));
        }
    }

    /// Has a lane written soon: when the task that runs here goes to wait; at once, if it runs on a thread
    /// that does not read and write connections, and has not just done so.
    pub(crate) fn flush_soon(self: &Arc<Self>, lane: LaneKind, is_large: bool) {
        let Some(conn) = self.conn(lane) else { return };
        if lane == LaneKind::Bulk || conn.blocked.load(Ordering::Acquire) {
            conn.write.notify_one();
        } else if is_large || self.mesh.is_elsewhere() && conn.is_rested(self.mesh.now()) {
            self.flush(&conn);
        } else {
            conn.write.notify_one();
        }
    }

    pub(super) fn handle_broken(self: &Arc<Self>, conn: &Arc<Conn>, broken: Option<Broken>) {
        let mut slot = self.conn_slot(conn.lane);
        let is_ours = slot.as_ref().is_some_and(|current| Arc::ptr_eq(current, conn));
        if !conn.close() || !is_ours {
            return;
        }
        *slot = None;
        let mut core = self.core();
        core.session.detach(conn.lane);
        if let Some(Broken::Violation(violation)) = &broken {
            core.session.handle_violation(violation.clone());
        }
        drop((core, slot));
        match broken {
            Some(Broken::Closed(error)) => {
                tracing::debug!(peer = %self.name(), lane = ?conn.lane, %error, "a connection broke");
            }
            Some(Broken::Violation(violation)) => {
                tracing::warn!(peer = %self.name(), %violation, "a peer is closed");
            }
            None => tracing::debug!(peer = %self.name(), lane = ?conn.lane, "a connection ended"),
        }
        self.work();
    }

    /// Gives up connections that have become silent, while there is still time for others: the peer may
    /// have another network, or we.
    fn cut_silent(self: &Arc<Self>) {
        let lost_after = self.mesh.lost_after;
        let was_late = {
            let (now, mut seen) = (self.mesh.now(), self.seen());
            let looked = std::mem::replace(&mut seen.looked, now);
            now.since(looked) > lost_after / 2
        };
        for conn in LaneKind::ALL.into_iter().filter_map(|lane| self.conn(lane)) {
            if was_late {
                // It was we who stood still.
                conn.forgive();
            } else if conn.silence() >= SILENT_MIN.max(lost_after / 2) {
                tracing::debug!(peer = %self.name(), lane = ?conn.lane, "a connection is silent");
                self.handle_broken(&conn, None);
            }
        }
    }

    /// It was tried to connect a lane, in vain. `is_gone`: nobody listens where the peer is. Its listener
    /// lives as long as its process.
    pub(crate) fn connect_failed(self: &Arc<Self>, lane: LaneKind, is_gone: bool) {
        let mut core = self.core();
        core.session.connect_failed(lane);
        if is_gone && !core.session.is_attached(lane) {
            core.session.end(Over::Gone);
        }
        drop(core);
        self.work();
    }

    /// Ends the session politely.
    pub(crate) fn goodbye(self: &Arc<Self>) {
        let now = self.mesh.now();
        self.with_session(|session| session.goodbye(now));
        if let Some(conn) = self.conn(LaneKind::Messages) {
            self.flush(&conn);
        }
        self.mesh.due.notify_one();
    }

    /// It is over, as is known from elsewhere.
    pub(crate) fn end(self: &Arc<Self>, over: Over) {
        self.core().session.end(over);
        self.work();
    }

    /// The peer is soon told which answers nobody waits for any more. Many that end at once are one look.
    pub(crate) fn look_for_unwanted(&self) {
        if !self.has_unwanted.swap(true, Ordering::AcqRel) {
            self.mesh.due.notify_one();
        }
    }

    /// The time has come that the session has asked for. Gives when the next comes.
    pub(crate) fn handle_timeout(self: &Arc<Self>) -> Option<Time> {
        // What has come is to be heard before it is said that nothing has.
        let mut has_found = false;
        for conn in LaneKind::ALL.into_iter().filter_map(|lane| self.conn(lane)) {
            has_found |= self.read(&conn) == ReadEnd::More;
        }
        self.cut_silent();
        let now = self.mesh.now();
        let (next, unwanted) = {
            let mut core = self.core();
            let mut unwanted = Vec::new();
            let is_due = core.session.poll_timeout().is_some_and(|at| at <= now);
            if is_due {
                core.session.handle_timeout(now);
            }
            // Before the look, so that what ends meanwhile is looked for again.
            if self.has_unwanted.swap(false, Ordering::AcqRel) || is_due {
                unwanted = core.forget_unwanted();
            }
            (core.session.poll_timeout(), unwanted)
        };
        drop(unwanted);
        self.work();
        for conn in LaneKind::ALL.into_iter().filter_map(|lane| self.conn(lane)) {
            self.flush(&conn);
        }
        if has_found { Some(now + crate::drive::STALLED_TURN) } else { next }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "link to {}", self.name())
    }
}

//! A node: one process that takes part in the mesh.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use pleiad_proto::wire::{Attach, LaneKind};
use pleiad_proto::{Membership, Place, Session, Ticket};
use pleiad_types::{NodeId, Time};

use crate::net::{ConnId, Side};
use crate::tasks::Task;

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) life: u64,
    pub(crate) lost_after: Duration,
    pub(crate) sessions: BTreeMap<NodeId, Peer>,
    pub(crate) membership: Membership,
    /// Where other nodes are.
    pub(crate) hosts: BTreeMap<NodeId, usize>,
    pub(crate) wake_at: Option<Time>,
    /// It has said goodbye to all.
    pub(crate) is_closing: bool,

    pub(crate) tasks: BTreeMap<u64, Task>,
    pub(crate) next_task: u64,
    pub(crate) names: BTreeMap<String, u64>,
    /// References to tasks of others, and who holds them: other nodes count as one each.
    pub(crate) holds: BTreeMap<Place, Hold>,
    /// To whom which tasks were given, anybody's.
    pub(crate) given: BTreeMap<Place, BTreeSet<NodeId>>,
    /// Tasks of others that have ended, as far as was told.
    pub(crate) ended: BTreeSet<Place>,
    pub(crate) next_number: u64,
    /// Questions of ours.
    pub(crate) asked: BTreeMap<u64, Asked>,
    pub(crate) tickets: BTreeMap<Ticket, (NodeId, u64)>,
    pub(crate) lookups: BTreeMap<u64, (NodeId, String)>,
    /// Tasks of others for which somebody waits for room.
    pub(crate) awaiting: BTreeSet<Place>,
}

/// The conversation with another node.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) session: Session,
    pub(crate) conns: [Option<(ConnId, Side)>; 2],
    pub(crate) dials: [Option<ConnId>; 2],
    pub(crate) introduced: BTreeSet<NodeId>,
}

/// A reference to a task of another node.
#[derive(Debug, Default)]
pub(crate) struct Hold {
    pub(crate) count: usize,
    /// When the oldest mention of it was sent.
    pub(crate) since: Time,
    /// Who has mentioned it.
    pub(crate) by: BTreeSet<NodeId>,
    pub(crate) is_adopting: bool,
}

/// A question of ours that waits for its answer.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) peer: NodeId,
    /// Whose answer it really is: a question that was passed on.
    pub(crate) relay: Option<Question>,
}

/// A question of somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) peer: NodeId,
    pub(crate) session: u64,
    pub(crate) number: u64,
}

/// One side of a connection.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) stage: Stage,
    pub(crate) input: BytesMut,
    pub(crate) output: VecDeque<Bytes>,
    /// It is closed when all is written.
    pub(crate) is_lingering: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AskedFor {
    pub(crate) peer: NodeId,
    pub(crate) lane: LaneKind,
    /// When the other side takes us for lost.
    pub(crate) theirs: Duration,
    /// What was said.
    pub(crate) attach: Attach,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Dialled; the other side is to say who it is. `wanted`: who it should be.
    Dialled {
        wanted: Option<NodeId>,
        lane: LaneKind,
    },
    /// It was said what we want.
    Asked(Box<AskedFor>),
    /// The other side has dialled.
    Accepted,
    Open {
        peer: NodeId,
        lane: LaneKind,
    },
    /// Only to be written to its end.
    Done,
}

impl Node {
    pub(crate) fn new(id: NodeId, life: u64, lost_after: Duration) -> Self {
        Self {
            id,
            life,
            lost_after,
            sessions: BTreeMap::new(),
            membership: Membership::default(),
            hosts: BTreeMap::new(),
            wake_at: None,
            is_closing: false,
            tasks: BTreeMap::new(),
            next_task: 1,
            names: BTreeMap::new(),
            holds: BTreeMap::new(),
            given: BTreeMap::new(),
            ended: BTreeSet::new(),
            next_number: 1,
            asked: BTreeMap::new(),
            tickets: BTreeMap::new(),
            lookups: BTreeMap::new(),
            awaiting: BTreeSet::new(),
        }
    }

    /// A number for a question, a ticket, or a look-up.
    pub(crate) fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }
}

impl End {
    pub(crate) fn new(stage: Stage) -> Self {
        Self { stage, input: BytesMut::new(), output: VecDeque::new(), is_lingering: false }
    }
}

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::task::Waker;

use pleiad_proto::{Place, Session, Ticket};
use pleiad_task::far::{FarRefusal, FarTarget, Hold, Inlet, Pending};
use pleiad_types::NodeId;
use tokio::sync::oneshot;

use crate::link::answers::Wanted;
use crate::link::{Link, Target};

/// What is known of the conversation with a peer, under one lock. Nothing that runs code of users is
/// called or dropped under it.
pub(super) struct Core {
    pub(super) session: Session,
    /// Who waits for the answers of the peer.
    questions: HashMap<u64, Box<dyn Pending>>,
    next_question: u64,
    /// Who waits for the acknowledgement of a message.
    tickets: HashMap<Ticket, oneshot::Sender<Result<(), FarRefusal>>>,
    next_ticket: u64,
    /// Who waits for room, by task.
    rooms: HashMap<u64, Vec<Waker>>,
    /// What the peer has references to.
    pub(super) given: HashMap<Place, Given>,
    /// Tasks of this node whose end the peer is told.
    pub(super) monitored: HashSet<u64>,
    /// Tasks of the peer to which there are references here.
    pub(super) imports: HashMap<u64, Weak<Target>>,
    /// Tasks of the peer that we are adopting, and who has told us of them.
    pub(super) handed: HashMap<u64, Vec<(Weak<Link>, Place)>>,
    /// Nodes that the peer knows where to find.
    pub(super) introduced: HashSet<NodeId>,
    /// Questions of the peer that are not answered.
    pub(super) asked: HashMap<u64, Arc<Wanted>>,
}

/// Keeps a task reachable, as long as it is not dropped.
pub(super) enum Given {
    Here(#[expect(dead_code, reason = "only to be held")] Arc<dyn Inlet>),
    Far(#[expect(dead_code, reason = "only to be held")] (Arc<dyn FarTarget>, Option<Hold>)),
}

impl Core {
    pub(super) fn new(session: Session) -> Self {
        Self {
            session,
            questions: HashMap::new(),
            next_question: 0,
            tickets: HashMap::new(),
            next_ticket: 0,
            rooms: HashMap::new(),
            given: HashMap::new(),
            monitored: HashSet::new(),
            imports: HashMap::new(),
            handed: HashMap::new(),
            introduced: HashSet::new(),
            asked: HashMap::new(),
        }
    }

    #[cfg(feature = "testing")]
    pub(super) fn count(&self, sum: crate::testing::Counts) -> crate::testing::Counts {
        crate::testing::Counts {
            given: sum.given + self.given.len(),
            imports: sum.imports + self.imports.len(),
            handed: sum.handed + self.handed.len(),
            questions: sum.questions + self.questions.len(),
            tickets: sum.tickets + self.tickets.len(),
            asked: sum.asked + self.asked.len(),
            ..sum
        }
    }

    pub(super) fn add_question(&mut self, pending: Box<dyn Pending>) -> u64 {
        self.next_question += 1;
        self.questions.insert(self.next_question, pending);
        self.next_question
    }

    pub(super) fn take_question(&mut self, question: u64) -> Option<Box<dyn Pending>> {
        self.questions.remove(&question)
    }

    pub(super) fn take_questions(&mut self) -> Vec<Box<dyn Pending>> {
        self.questions.drain().map(|(_, pending)| pending).collect()
    }

    pub(super) fn add_ticket(&mut self, end: oneshot::Sender<Result<(), FarRefusal>>) -> Ticket {
        self.next_ticket += 1;
        self.tickets.insert(Ticket(self.next_ticket), end);
        Ticket(self.next_ticket)
    }

    pub(super) fn take_ticket(
        &mut self,
        ticket: Ticket,
    ) -> Option<oneshot::Sender<Result<(), FarRefusal>>> {
        self.tickets.remove(&ticket)
    }

    pub(super) fn take_tickets(&mut self) -> Vec<oneshot::Sender<Result<(), FarRefusal>>> {
        self.tickets.drain().map(|(_, end)| end).collect()
    }

    pub(super) fn await_room(&mut self, task: u64, waker: &Waker) {
        let waiting = self.rooms.entry(task).or_default();
        if !waiting.iter().any(|known| known.will_wake(waker)) {
            waiting.push(waker.clone());
        }
    }

    pub(super) fn take_room(&mut self, task: u64) -> Vec<Waker> {
        self.rooms.remove(&task).unwrap_or_default()
    }

    pub(super) fn take_rooms(&mut self) -> Vec<Waker> {
        self.rooms.drain().flat_map(|(_, wakers)| wakers).collect()
    }

    /// Tells the peer which of its answers nobody waits for any more. Gives them, to be dropped.
    pub(super) fn forget_unwanted(&mut self) -> Vec<Box<dyn Pending>> {
        let unwanted: Vec<(u64, Box<dyn Pending>)> =
            self.questions.extract_if(|_, pending| !pending.is_wanted()).collect();
        unwanted.iter().for_each(|(question, _)| self.session.unwanted(*question));
        unwanted.into_iter().map(|(_, pending)| pending).collect()
    }
}

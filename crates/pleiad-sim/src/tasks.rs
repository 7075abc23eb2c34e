//! A small model of tasks: mailboxes with limited room, references, questions.

use std::collections::{BTreeMap, VecDeque};

use bytes::{BufMut, Bytes, BytesMut};
use pleiad_proto::Place;
use pleiad_proto::wire::{Mention, Reason, Why};
use pleiad_types::{NodeId, Time};

use crate::agenda::Event;
use crate::node::Question;
use crate::world::World;

/// Messages that a task reads in one go.
const READ_AT_ONCE: usize = 8;

#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) mailbox: VecDeque<Letter>,
    /// What has arrived and finds no room.
    pub(crate) backlog: VecDeque<Letter>,
    pub(crate) room: usize,
    pub(crate) is_shut: bool,
    /// References of its own node.
    pub(crate) handles: usize,
    /// Tasks of other nodes that it knows.
    pub(crate) refs: Vec<Place>,
    /// Questions that it has read, and not answered.
    pub(crate) questions: Vec<Question>,
    /// Messages that it has sent, by who gets them.
    pub(crate) sent: BTreeMap<Place, u64>,
    is_due: bool,
}

/// A message at the node of the task that gets it.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) message: u64,
    pub(crate) bytes: u64,
    pub(crate) from: NodeId,
    pub(crate) session: u64,
    pub(crate) holds: Vec<Place>,
    pub(crate) question: Option<Question>,
}

impl World {
    pub(crate) fn spawn(&mut self, host: usize) -> u64 {
        let room = self.random.between(1, self.scenario.room_max) as usize;
        let node = self.node(host);
        let number = node.next_task;
        node.next_task += 1;
        let task = Task {
            mailbox: VecDeque::new(),
            backlog: VecDeque::new(),
            room,
            is_shut: false,
            handles: 1,
            refs: Vec::new(),
            questions: Vec::new(),
            sent: BTreeMap::new(),
            is_due: false,
        };
        node.tasks.insert(number, task);
        number
    }

    pub(crate) fn register(&mut self, host: usize, task: u64, name: String) {
        let node = self.node(host);
        let peers: Vec<NodeId> = node.sessions.keys().copied().collect();
        for peer in &peers {
            if let Some(state) = node.sessions.get_mut(peer) {
                state.session.registered(&name);
            }
        }
        node.names.insert(name, task);
        self.dirty.extend(peers.into_iter().map(|peer| (host, peer)));
    }

    // ---- mailboxes ----

    /// Puts into the mailbox what there is room for.
    pub(crate) fn take(&mut self, host: usize, number: u64, is_forced: bool) {
        let node = self.node(host);
        let me = node.id;
        let Some(task) = node.tasks.get_mut(&number) else { return };
        // Per session: how many, and how many bytes.
        let mut taken: BTreeMap<(NodeId, u64), (u64, u64)> = BTreeMap::new();
        let (mut unreadable, mut passed) = (Vec::new(), Vec::new());
        while task.mailbox.len() < task.room || is_forced {
            let Some(letter) = task.backlog.pop_front() else { break };
            let (count, bytes) = taken.entry((letter.from, letter.session)).or_default();
            *count += 1;
            *bytes += letter.bytes;
            let is_readable = letter.message % 97 != 13;
            passed.push((letter.message, is_readable));
            if !is_readable {
                unreadable.push((letter, *count - 1));
            } else {
                task.mailbox.push_back(letter);
            }
        }
        for (message, is_readable) in passed {
            match is_readable {
                true => self.oracle.handle_in_mailbox(message, me),
                false => self.oracle.handle_unreadable(message),
            }
        }
        for (letter, behind) in unreadable {
            let peer = letter.from;
            if let Some(state) = self.node(host).sessions.get_mut(&peer)
                && state.session.number() == letter.session
            {
                state.session.unreadable(number, behind, "it is odd".to_owned());
            }
            self.drop_holds(host, letter.holds);
        }
        for ((peer, session), (count, bytes)) in taken {
            if let Some(state) = self.node(host).sessions.get_mut(&peer)
                && state.session.number() == session
            {
                state.session.taken(number, count, bytes);
                self.dirty.insert((host, peer));
            }
        }
        self.make_due(host, number);
    }

    pub(crate) fn make_due(&mut self, host: usize, number: u64) {
        let most = if self.is_calm { 2 } else { self.scenario.step_ms_max };
        let pause = self.random.millis(0, most);
        let node = self.node(host);
        let life = node.life;
        let Some(task) = node.tasks.get_mut(&number) else { return };
        let is_busy = !task.mailbox.is_empty() || !task.questions.is_empty();
        if is_busy && !std::mem::replace(&mut task.is_due, true) {
            self.agenda.after(pause, Event::Step { host, life, task: number });
        }
    }

    /// A task reads some of its messages.
    pub(crate) fn step(&mut self, host: usize, life: u64, number: u64) {
        let Some(node) = self.hosts[host].node.as_mut().filter(|node| node.life == life) else {
            return;
        };
        let Some(task) = node.tasks.get_mut(&number) else { return };
        task.is_due = false;
        let held = std::mem::take(&mut task.questions);
        for question in held {
            if self.is_calm || self.random.percent(50) {
                self.settle_question(host, number, question);
            } else if let Some(task) = self.node(host).tasks.get_mut(&number) {
                task.questions.push(question);
            }
        }
        for _ in 0..1 + self.random.below(READ_AT_ONCE) {
            let Some(task) = self.node(host).tasks.get_mut(&number) else { return };
            let Some(letter) = task.mailbox.pop_front() else { break };
            let is_kept = !self.is_calm && self.random.percent(60);
            if is_kept {
                let task = self.node(host).tasks.get_mut(&number);
                task.into_iter().for_each(|task| task.refs.extend(letter.holds.iter().copied()));
            } else {
                self.drop_holds(host, letter.holds);
            }
            if let Some(question) = letter.question {
                if self.random.percent(30)
                    && let Some(task) = self.node(host).tasks.get_mut(&number)
                {
                    task.questions.push(question);
                } else {
                    self.settle_question(host, number, question);
                }
            }
        }
        self.take(host, number, false);
        self.maybe_give_up(host, number);
    }

    // ---- questions ----

    /// A question is answered, dropped, or passed on.
    fn settle_question(&mut self, host: usize, number: u64, question: Question) {
        match self.random.below(10) {
            0 => self.fail_question(host, &question, Why::Dropped),
            1..3 if !self.is_calm => {
                let refs = self.node(host).tasks.get(&number).map(|task| task.refs.clone());
                let to = refs.and_then(|refs| self.random.pick(&refs).copied());
                let is_sent = to
                    .is_some_and(|to| self.send_message(host, number, to, Some(question.clone())));
                if !is_sent {
                    self.fail_question(host, &question, Why::Dropped);
                }
            }
            _ => {
                let mut attached = Vec::new();
                let peers = &self.node(host).sessions;
                let is_there = peers
                    .get(&question.peer)
                    .is_some_and(|state| state.session.number() == question.session);
                if is_there && self.random.percent(20) {
                    let me = self.node(host).id;
                    attached.extend(self.mention(host, question.peer, (me, number)));
                }
                let length = if self.random.percent(self.scenario.large_percent) {
                    self.random.between(65_537, 150_000)
                } else {
                    8
                };
                let body = body_of(question.number, length as usize);
                self.answer(host, &question, &attached, body);
            }
        }
    }

    pub(crate) fn answer(
        &mut self,
        host: usize,
        question: &Question,
        attached: &[Mention],
        body: Bytes,
    ) {
        let Some(state) = self.node(host).sessions.get_mut(&question.peer) else { return };
        if state.session.number() == question.session {
            state.session.answer(question.number, attached, body);
            self.dirty.insert((host, question.peer));
        }
    }

    pub(crate) fn fail_question(&mut self, host: usize, question: &Question, why: Why) {
        let Some(state) = self.node(host).sessions.get_mut(&question.peer) else { return };
        if state.session.number() == question.session {
            state.session.unanswered(question.number, why);
            self.dirty.insert((host, question.peer));
        }
    }

    // ---- ends ----

    /// A task takes no more messages.
    pub(crate) fn shut_task(&mut self, host: usize, number: u64) {
        let me = self.node(host).id;
        let Some(task) = self.node(host).tasks.get_mut(&number) else { return };
        if std::mem::replace(&mut task.is_shut, true) {
            return;
        }
        let backlog = std::mem::take(&mut task.backlog);
        self.oracle.handle_shut((me, number));
        for letter in backlog {
            // Who sent it hears of the shutting.
            self.drop_holds(host, letter.holds);
        }
        let peers: Vec<NodeId> = self.node(host).sessions.keys().copied().collect();
        for peer in peers {
            if let Some(state) = self.node(host).sessions.get_mut(&peer)
                && state.session.is_given((me, number))
            {
                state.session.shut(number);
                self.dirty.insert((host, peer));
            }
        }
    }

    pub(crate) fn end_task(&mut self, host: usize, number: u64, reason: Reason, is_given_up: bool) {
        let node = self.node(host);
        let place = (node.id, number);
        let Some(task) = node.tasks.remove(&number) else { return };
        node.names.retain(|_, named| *named != number);
        self.trace(|| format!("host {host} task {number} ends: {reason:?}"));
        self.oracle.handle_task_ended(place, &reason, is_given_up);
        for letter in task.mailbox {
            if let Some(question) = &letter.question {
                self.fail_question(host, question, Why::Unread { node: place.0, task: number });
            }
            self.drop_holds(host, letter.holds);
        }
        for question in &task.questions {
            self.fail_question(host, question, Why::Dropped);
        }
        let from: Vec<NodeId> = task.backlog.iter().map(|letter| letter.from).collect();
        for letter in task.backlog {
            self.drop_holds(host, letter.holds);
        }
        self.drop_holds(host, task.refs);
        self.node(host).given.remove(&place);
        let peers: Vec<NodeId> = self.node(host).sessions.keys().copied().collect();
        for peer in peers {
            if let Some(state) = self.node(host).sessions.get_mut(&peer)
                && (state.session.is_given(place) || from.contains(&peer))
            {
                state.session.ended(number, reason.clone());
                self.dirty.insert((host, peer));
            }
        }
    }

    /// A task that nobody can reach any more has nothing to do.
    pub(crate) fn maybe_give_up(&mut self, host: usize, number: u64) {
        let node = self.node(host);
        let place = (node.id, number);
        let Some(task) = node.tasks.get(&number) else { return };
        let is_needed = task.handles > 0
            || node.given.contains_key(&place)
            || !task.mailbox.is_empty()
            || !task.backlog.is_empty()
            || !task.questions.is_empty();
        if is_needed {
            return;
        }
        for other in 0..self.hosts.len() {
            let Some(node) = &self.hosts[other].node else { continue };
            if other != host
                && !node.ended.contains(&place)
                && let Some(hold) = node.holds.get(&place)
            {
                self.oracle.check_held(place, node.id, hold.since);
            }
        }
        let is_shut = self.node(host).tasks.get(&number).is_some_and(|task| task.is_shut);
        if !is_shut {
            self.oracle.check_all_came(place);
        }
        self.end_task(host, number, Reason::Returned, true);
    }

    // ---- references ----

    /// A reference has come.
    pub(crate) fn hold(&mut self, host: usize, place: Place, by: NodeId, since: Time) {
        let node = self.node(host);
        if place.0 == node.id {
            // Home again: it is not the peer who keeps it.
            if let Some(task) = node.tasks.get_mut(&place.1) {
                task.handles += 1;
            }
            self.release(host, by, place);
            return;
        }
        self.oracle.check_not_given_up(place, since);
        let node = self.node(host);
        let hold = node.holds.entry(place).or_default();
        hold.since = if hold.count == 0 { since } else { hold.since.min(since) };
        hold.count += 1;
        hold.by.insert(by);
        let is_at_home = hold.by.contains(&place.0);
        if is_at_home && by != place.0 {
            hold.by.remove(&by);
            self.release(host, by, place);
        } else if !is_at_home {
            self.adopt(host, place);
        }
    }

    /// Has the home of a task keep it for us, instead of whoever mentioned it.
    pub(crate) fn adopt(&mut self, host: usize, place: Place) {
        let node = self.node(host);
        if node.ended.contains(&place) {
            return;
        }
        let Some(hold) = node.holds.get_mut(&place) else { return };
        if std::mem::replace(&mut hold.is_adopting, true) {
            return;
        }
        match self.session_with(host, place.0) {
            Some(session) => session.adopt(place.1),
            None => {
                let hold = self.node(host).holds.get_mut(&place);
                hold.into_iter().for_each(|hold| hold.is_adopting = false);
            }
        }
    }

    pub(crate) fn drop_holds(&mut self, host: usize, places: Vec<Place>) {
        places.into_iter().for_each(|place| self.unhold(host, place));
    }

    pub(crate) fn unhold(&mut self, host: usize, place: Place) {
        let node = self.node(host);
        if place.0 == node.id {
            if let Some(task) = node.tasks.get_mut(&place.1) {
                task.handles -= 1;
                self.maybe_give_up(host, place.1);
            }
            return;
        }
        let Some(hold) = node.holds.get_mut(&place) else { return };
        hold.count -= 1;
        if hold.count > 0 {
            return;
        }
        if let Some(hold) = node.holds.remove(&place) {
            hold.by.into_iter().for_each(|by| self.release(host, by, place));
        }
    }

    pub(crate) fn release(&mut self, host: usize, peer: NodeId, place: Place) {
        if let Some(state) = self.node(host).sessions.get_mut(&peer) {
            state.session.release(place);
            self.dirty.insert((host, peer));
        }
    }

    /// Mentions a task to a peer: it is kept reachable.
    pub(crate) fn mention(&mut self, host: usize, peer: NodeId, place: Place) -> Option<Mention> {
        let node = self.node(host);
        let (me, there) = (node.id, node.hosts.get(&place.0).copied());
        let state = node.sessions.get_mut(&peer)?;
        if place.0 != me && place.0 != peer && state.introduced.insert(place.0) {
            let address = crate::world::address_of(there?).to_string();
            state.session.introduce(place.0, "third".to_owned(), vec![address]);
        }
        if state.session.give(place) {
            node.given.entry(place).or_default().insert(peer);
            if let Some(hold) = node.holds.get_mut(&place) {
                hold.count += 1;
            }
        }
        Some(Mention::Task { node: place.0, task: place.1, name: "task".to_owned() })
    }

    /// A mention did not go.
    pub(crate) fn unmention(&mut self, host: usize, peer: NodeId, place: Place) {
        let state = self.node(host).sessions.get_mut(&peer);
        if state.is_some_and(|state| state.session.take_back(place)) {
            self.ungive(host, peer, place);
        }
    }

    /// A peer needs a task no more.
    pub(crate) fn ungive(&mut self, host: usize, peer: NodeId, place: Place) {
        let node = self.node(host);
        let me = node.id;
        let Some(peers) = node.given.get_mut(&place) else { return };
        if !peers.remove(&peer) {
            return;
        }
        if peers.is_empty() {
            node.given.remove(&place);
        }
        if place.0 == me {
            self.maybe_give_up(host, place.1);
        } else {
            self.unhold(host, place);
        }
    }
}

/// The body of a message or answer: a number, and as much besides as is wanted.
pub(crate) fn body_of(number: u64, length: usize) -> Bytes {
    let mut body = BytesMut::with_capacity(length);
    body.put_u64_le(number);
    body.resize(length.max(8), number as u8);
    body.freeze()
}

/// The number in a body, if it is whole.
pub(crate) fn number_of(body: &[u8]) -> Option<u64> {
    let number = u64::from_le_bytes(*body.first_chunk()?);
    (body.len() == 8 || body.last() == Some(&(number as u8))).then_some(number)
}

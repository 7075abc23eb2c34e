//! What tasks and nodes do of their own accord.

use pleiad_proto::wire::{Mention, Reason, flags};
use pleiad_proto::{Lookup, Outbound, Place, Refused, Ticket};
use pleiad_types::NodeId;
use pleiad_types::limits::SMALL_BODY_BYTES;

use crate::agenda::Event;
use crate::faults::Fault;
use crate::node::{Asked, Question};
use crate::oracle::Sent;
use crate::scenario::Weather;
use crate::tasks::body_of;
use crate::world::World;

impl World {
    pub(crate) fn act_somebody(&mut self) {
        if self.is_calm {
            return;
        }
        let host = self.random.below(self.hosts.len());
        if self.is_running(host) && self.hosts[host].node.is_some() {
            self.act_somehow(host);
        }
        let most = self.scenario.act_every.as_micros() as u64;
        let pause = self.random.micros(0, 2 * most);
        self.agenda.after(pause, Event::Act);
    }

    fn act_somehow(&mut self, host: usize) {
        if self.node(host).is_closing {
            if self.node(host).sessions.is_empty() {
                self.kill(host, true);
                let pause = self.random.millis(0, 3000);
                self.agenda.after(pause, Event::Fault(Fault::Restart(host)));
            }
            return;
        }
        let tasks: Vec<u64> = self.node(host).tasks.keys().copied().collect();
        let Some(task) = self.random.pick(&tasks).copied() else {
            let task = self.spawn(host);
            let name = format!("h{host}-{}", self.random.below(4));
            self.register(host, task, name);
            return;
        };
        match self.random.below(100) {
            0..50 => self.burst(host, task),
            50..65 => self.locate(host),
            65..67 => self.forget(host),
            67..71 => {
                let task = self.spawn(host);
                let name = format!("h{host}-{}", self.random.below(4));
                self.register(host, task, name);
            }
            71..73 => {
                let failed =
                    Reason::Failed { message: "oh".into(), location: None, backtrace: None };
                self.end_task(host, task, failed, false);
            }
            73 => self.shut_task(host, task),
            74..77 => self.command(host, task),
            77..88 => {
                let state = self.node(host).tasks.get_mut(&task);
                if let Some(place) = state.and_then(|state| state.refs.pop()) {
                    self.unhold(host, place);
                }
            }
            88..92 => {
                let node = self.node(host);
                let me = node.id;
                let was_named = node.names.values().any(|named| *named == task);
                node.names.retain(|_, named| *named != task);
                if was_named {
                    self.unhold(host, (me, task));
                }
            }
            92..96 => self.give_up_question(host),
            96..98 if self.random.percent(20) => {
                let peers: Vec<NodeId> = self.node(host).sessions.keys().copied().collect();
                if let Some(peer) = self.random.pick(&peers).copied() {
                    self.goodbye(host, peer);
                }
            }
            98 if self.random.percent(20) => self.leave(host),
            _ => (),
        }
    }

    // ---- messages ----

    fn burst(&mut self, host: usize, task: u64) {
        let refs = self.node(host).tasks.get(&task).map(|task| task.refs.clone());
        let Some(to) = refs.and_then(|refs| self.random.pick(&refs).copied()) else { return };
        let most = *self.random.pick(&[1, 1, 3, 3, 20, 200]).unwrap_or(&1);
        for _ in 0..self.random.between(1, most) {
            if !self.send_message(host, task, to, None) {
                break;
            }
        }
    }

    /// Sends a message, with a question of somebody else's in it, if there is one.
    pub(crate) fn send_message(
        &mut self,
        host: usize,
        from: u64,
        to: Place,
        relay: Option<Question>,
    ) -> bool {
        let now = self.now();
        if self.node(host).ended.contains(&to) || self.session_with(host, to.0).is_none() {
            return false;
        }
        let is_large = self.random.percent(self.scenario.large_percent);
        let length = match is_large {
            true => self.random.between(65_537, self.scenario.body_bytes_max),
            false if self.random.percent(10) => self.random.between(8, 65_536),
            false => self.random.between(8, 100),
        };
        let message = self.oracle.next_message();
        let body = body_of(message, length as usize);
        let mut attached = Vec::new();
        let (mut mentioned, mut questions, mut since) = (None, Vec::new(), now);
        if self.random.percent(20) {
            let refs = self.node(host).tasks.get(&from).map(|task| task.refs.clone());
            let me = self.node(host).id;
            let third = refs.and_then(|refs| self.random.pick(&refs).copied());
            let place = third.filter(|_| self.random.percent(60)).unwrap_or((me, from));
            if let Some(hold) = self.node(host).holds.get(&place) {
                since = hold.since;
            }
            if !self.node(host).ended.contains(&place)
                && let Some(mention) = self.mention(host, to.0, place)
            {
                mentioned = Some(place);
                attached.push(mention);
            }
        }
        if relay.is_some() || self.random.percent(25) {
            let number = self.node(host).number();
            questions.push(number);
            attached.push(Mention::Question(number));
        }
        let is_confirmed = self.random.percent(30);
        let ticket = is_confirmed.then(|| Ticket(self.node(host).number()));
        let mut flags = if is_confirmed { flags::CONFIRM } else { 0 };
        if self.random.percent(5) && !is_large {
            flags |= flags::EXEMPT;
        }
        let outbound =
            Outbound { task: to.1, flags, attached: &attached, questions: &questions, ticket };
        let node = self.node(host);
        let me = node.id;
        let Some(state) = node.sessions.get_mut(&to.0) else { return false };
        let session = state.session.number();
        let sent = if body.len() > SMALL_BODY_BYTES {
            state.session.send_large(&outbound, &body)
        } else {
            state.session.send(&outbound, &body)
        };
        self.dirty.insert((host, to.0));
        if let Err(refused) = sent {
            mentioned.into_iter().for_each(|place| self.unmention(host, to.0, place));
            if refused == Refused::Full {
                self.node(host).awaiting.insert(to);
            }
            return false;
        }
        for number in questions {
            let asked = Asked { peer: to.0, relay: relay.clone() };
            self.node(host).asked.insert(number, asked);
        }
        if let Some(ticket) = ticket {
            self.node(host).tickets.insert(ticket, (to.0, message));
        }
        let Some(task) = self.node(host).tasks.get_mut(&from) else { return true };
        let next = task.sent.entry(to).or_default();
        *next += 1;
        let seq = *next;
        let length = length as usize;
        let attached = attached.len();
        self.oracle.handle_sent(Sent {
            from: (me, from),
            to,
            session,
            seq,
            length,
            attached,
            since,
        });
        true
    }

    pub(crate) fn handle_room(&mut self, host: usize, to: Place) {
        self.node(host).awaiting.remove(&to);
        let is_mine = |refs: &[Place]| refs.contains(&to);
        let node = self.node(host);
        let from = node.tasks.iter().find(|(_, task)| is_mine(&task.refs)).map(|(n, _)| *n);
        if let Some(from) = from
            && !self.is_calm
        {
            self.send_message(host, from, to, None);
        }
    }

    fn give_up_question(&mut self, host: usize) {
        let node = self.node(host);
        let me = node.id;
        let mine = node.asked.iter().filter(|(_, asked)| asked.relay.is_none());
        let mine: Vec<(u64, NodeId)> = mine.map(|(number, a)| (*number, a.peer)).collect();
        let Some((number, peer)) = self.random.pick(&mine).copied() else { return };
        let node = self.node(host);
        node.asked.remove(&number);
        if let Some(state) = node.sessions.get_mut(&peer) {
            state.session.unwanted(number);
            self.dirty.insert((host, peer));
        }
        self.oracle.handle_unwanted(me, number);
    }

    fn command(&mut self, host: usize, task: u64) {
        let refs = self.node(host).tasks.get(&task).map(|task| task.refs.clone());
        let Some((home, far)) = refs.and_then(|refs| self.random.pick(&refs).copied()) else {
            return;
        };
        let which = self.random.below(3);
        if self.node(host).ended.contains(&(home, far)) {
            return;
        }
        let Some(session) = self.session_with(host, home) else { return };
        match which {
            0 => session.stop(far, None),
            1 => session.kill(far),
            _ => session.close(far),
        }
    }

    // ---- names ----

    fn locate(&mut self, host: usize) {
        let peers: Vec<NodeId> = self.node(host).sessions.keys().copied().collect();
        let Some(peer) = self.random.pick(&peers).copied() else { return };
        let there = self.node(host).hosts.get(&peer).copied().unwrap_or(0);
        let name = format!("h{there}-{}", self.random.below(4));
        let shape = if self.random.percent(5) { 2 } else { 1 };
        let node = self.node(host);
        let query = node.number();
        let Some(state) = node.sessions.get_mut(&peer) else { return };
        let lookup = Lookup { query, name: name.clone(), shape, text: "u64".to_owned() };
        state.session.locate(&lookup);
        node.lookups.insert(query, (peer, name));
        self.dirty.insert((host, peer));
    }

    fn forget(&mut self, host: usize) {
        let node = self.node(host);
        let Some((query, (peer, _))) = node.lookups.pop_first() else { return };
        if let Some(state) = node.sessions.get_mut(&peer) {
            state.session.forget(query);
            self.dirty.insert((host, peer));
        }
    }

    // ---- goodbye ----

    fn goodbye(&mut self, host: usize, peer: NodeId) {
        let now = self.now();
        let me = self.node(host).id;
        let Some(state) = self.node(host).sessions.get_mut(&peer) else { return };
        let session = state.session.number();
        let is_connected = state.session.is_attached(pleiad_proto::wire::LaneKind::Messages);
        state.session.goodbye(now);
        self.dirty.insert((host, peer));
        self.trace(|| format!("host {host} says goodbye to {peer}"));
        if is_connected && self.scenario.weather == Weather::Calm {
            self.oracle.handle_goodbye(now, me, session);
        }
        self.rewake(host);
    }

    /// A node closes.
    fn leave(&mut self, host: usize) {
        self.node(host).is_closing = true;
        let peers: Vec<NodeId> = self.node(host).sessions.keys().copied().collect();
        peers.into_iter().for_each(|peer| self.goodbye(host, peer));
    }

    // ---- the end of a run ----

    /// Everybody lets go of everything.
    pub(crate) fn tidy(&mut self) {
        for host in 0..self.hosts.len() {
            if self.hosts[host].node.is_none() {
                continue;
            }
            let tasks: Vec<u64> = self.node(host).tasks.keys().copied().collect();
            for task in tasks {
                let state = self.node(host).tasks.get_mut(&task);
                let refs = state.map(|state| std::mem::take(&mut state.refs));
                self.drop_holds(host, refs.unwrap_or_default());
            }
        }
    }

    /// Nothing is pending, and nothing is left over.
    pub(crate) fn check_end(&mut self) {
        let Self { hosts, oracle, .. } = self;
        let alive: Vec<NodeId> = hosts.iter().flat_map(|h| &h.node).map(|node| node.id).collect();
        for node in hosts.iter().flat_map(|host| &host.node) {
            let me = node.id;
            let mut left = |what: &str, is_left: bool| {
                if is_left {
                    oracle.problem(format!("{me}: {what} at the end"));
                }
            };
            left(&format!("tickets {:?}", node.tickets), !node.tickets.is_empty());
            left(&format!("questions {:?}", node.asked), !node.asked.is_empty());
            left(
                &format!("senders {:?} that wait for room", node.awaiting),
                !node.awaiting.is_empty(),
            );
            left(&format!("references {:?}", node.holds), !node.holds.is_empty());
            left(&format!("tasks that are given {:?}", node.given), !node.given.is_empty());
            for task in node.tasks.values() {
                left("messages", !task.backlog.is_empty() || !task.mailbox.is_empty());
            }
            for peer in node.sessions.keys().filter(|peer| !alive.contains(peer)) {
                left("a session with one that is dead", *peer != me);
            }
            for (peer, name) in node.lookups.values() {
                let home = hosts.iter().flat_map(|host| &host.node).find(|home| home.id == *peer);
                left("a name", home.is_some_and(|home| home.names.contains_key(name)));
            }
        }
        self.oracle.check_end(&alive);
    }
}

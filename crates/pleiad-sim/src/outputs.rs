//! What a node does with what its sessions come to.

use bytes::Bytes;
use pleiad_proto::wire::{LaneKind, Mention, Reason, Why};
use pleiad_proto::{Arrival, Output, Over, Place, Undelivered};
use pleiad_types::{NodeId, Time};

use crate::net::Ending;
use crate::node::Question;
use crate::tasks::{Letter, body_of, number_of};
use crate::world::World;

impl World {
    /// Does one thing that a session wants done.
    pub(crate) fn act(&mut self, host: usize, peer: NodeId, output: Output) {
        let node = self.node(host);
        let me = node.id;
        let Some(state) = node.sessions.get_mut(&peer) else { return };
        let session = state.session.number();
        self.trace(|| {
            let text = format!("{output:?}");
            format!("host {host} from {peer}: {}", text.get(..200).unwrap_or(&text))
        });
        match output {
            Output::Arrived(arrival) => self.arrive(host, peer, session, arrival),
            Output::Finish(ticket, result) => {
                let Some((_, message)) = self.node(host).tickets.remove(&ticket) else {
                    self.oracle.problem(format!("{ticket:?} of {me} is finished twice"));
                    return;
                };
                match result {
                    Ok(()) => self.oracle.handle_taken(message),
                    Err(Undelivered::Closed) => self.oracle.handle_closed(message),
                    Err(Undelivered::Unreadable(_)) => self.oracle.handle_told_unreadable(message),
                }
            }
            Output::Answer { question, attached, body } => {
                self.handle_answer(host, peer, question, &attached, &body);
            }
            Output::Unanswered(question, why) => self.handle_unanswered(host, question, why),
            Output::Unwanted(question) => {
                let question = Question { peer, session, number: question };
                if self.random.percent(50) {
                    let tasks = self.node(host).tasks.values_mut();
                    tasks.for_each(|task| task.questions.retain(|held| *held != question));
                }
            }
            Output::Room(task) => self.handle_room(host, (peer, task)),
            Output::Ended(task, reason) => {
                let place = (peer, task);
                let node = self.node(host);
                node.ended.insert(place);
                node.awaiting.remove(&place);
                if let Some(hold) = node.holds.get_mut(&place) {
                    hold.is_adopting = false;
                }
                self.oracle.handle_end_told(me, place, session, &reason);
            }
            Output::Adopted(task) => self.handle_adopted(host, peer, task),
            Output::Adopt(task) => {
                let place = (me, task);
                let node = self.node(host);
                let Some(state) = node.sessions.get_mut(&peer) else { return };
                if node.tasks.contains_key(&task) {
                    state.session.give(place);
                    state.session.adopted(task);
                    node.given.entry(place).or_default().insert(peer);
                } else {
                    state.session.ended(task, Reason::NotFound);
                }
                self.dirty.insert((host, peer));
            }
            Output::Unneeded(place) => self.ungive(host, peer, place),
            Output::Stop(task, _) => self.end_task(host, task, Reason::Returned, false),
            Output::Kill(task) => self.end_task(host, task, Reason::Terminated, false),
            Output::Close(task) => self.shut_task(host, task),
            Output::Lookup(lookup) => {
                let node = self.node(host);
                let Some(&task) = node.names.get(&lookup.name) else { return };
                if lookup.shape != 1 {
                    let Some(state) = node.sessions.get_mut(&peer) else { return };
                    state.session.other_shape(lookup.query, "another".to_owned());
                } else if let Some(found) = self.mention(host, peer, (me, task)) {
                    let Some(state) = self.node(host).sessions.get_mut(&peer) else { return };
                    state.session.located(lookup.query, found);
                }
                self.dirty.insert((host, peer));
            }
            Output::Located(query, found) => {
                let was_wanted = self.node(host).lookups.remove(&query).is_some();
                if let Mention::Task { node: home, task, .. } = found {
                    self.hold(host, (home, task), peer, Time::ZERO);
                    if !was_wanted || self.is_calm || !self.keep(host, (home, task)) {
                        self.unhold(host, (home, task));
                    }
                }
            }
            Output::OtherShape(query, _) => {
                self.node(host).lookups.remove(&query);
            }
            Output::Introduced { node: third, addresses, .. } => {
                let address = addresses.first().and_then(|address| address.parse().ok());
                if let Some(address) = address {
                    self.node(host).hosts.insert(third, crate::world::host_of(address));
                }
            }
            Output::Connect(lane) => self.connect(host, peer, lane),
            Output::Disconnect(lane) => {
                let state = self.node(host).sessions.get_mut(&peer);
                if let Some((conn, side)) = state.and_then(|s| s.conns[lane.index()].take()) {
                    self.ends.remove(&(conn, side));
                    self.close(conn, side, Ending::Torn);
                }
            }
            Output::Over(over) => self.handle_over(host, peer, &over),
            other => self.oracle.problem(format!("an output that nobody knows: {other:?}")),
        }
    }

    /// Gives a reference that is held to some task.
    fn keep(&mut self, host: usize, place: Place) -> bool {
        let numbers: Vec<u64> = self.node(host).tasks.keys().copied().collect();
        let Some(number) = self.random.pick(&numbers).copied() else { return false };
        let task = self.node(host).tasks.get_mut(&number);
        task.into_iter().for_each(|task| task.refs.push(place));
        true
    }

    fn arrive(&mut self, host: usize, peer: NodeId, session: u64, arrival: Arrival) {
        let me = self.node(host).id;
        let Arrival { task, attached, body, .. } = arrival;
        let Some(message) = number_of(&body) else {
            self.oracle.problem(format!("a body that is not whole came to {me}"));
            return;
        };
        let to = (me, task);
        let Some(since) =
            self.oracle.handle_arrived(message, to, peer, session, &attached, body.len())
        else {
            return;
        };
        let mut letter = Letter {
            message,
            bytes: body.len() as u64,
            from: peer,
            session,
            holds: Vec::new(),
            question: None,
        };
        for mention in attached {
            match mention {
                Mention::Task { node, task, .. } => {
                    self.hold(host, (node, task), peer, since);
                    letter.holds.push((node, task));
                }
                Mention::Question(number) => {
                    letter.question = Some(Question { peer, session, number });
                }
            }
        }
        match self.node(host).tasks.get_mut(&task) {
            Some(state) if !state.is_shut => {
                state.backlog.push_back(letter);
                if self.random.percent(80) {
                    self.take(host, task, false);
                } else {
                    // As if it came later: its task has it taken when it reads.
                    self.take_later(host, task);
                }
            }
            Some(_) => {
                // It may not have been the peer's any more when it was shut.
                self.drop_holds(host, letter.holds);
                if let Some(state) = self.node(host).sessions.get_mut(&peer) {
                    state.session.shut(task);
                    self.dirty.insert((host, peer));
                }
            }
            None => {
                self.drop_holds(host, letter.holds);
                if let Some(state) = self.node(host).sessions.get_mut(&peer) {
                    state.session.ended(task, Reason::NotFound);
                    self.dirty.insert((host, peer));
                }
            }
        }
    }

    fn take_later(&mut self, host: usize, task: u64) {
        let pause = self.random.millis(0, self.scenario.step_ms_max);
        let life = self.node(host).life;
        self.agenda.after(pause, crate::agenda::Event::Step { host, life, task });
    }

    // ---- answers ----

    fn handle_answer(
        &mut self,
        host: usize,
        peer: NodeId,
        number: u64,
        attached: &[Mention],
        body: &Bytes,
    ) {
        let me = self.node(host).id;
        if number_of(body) != Some(number) {
            self.oracle.problem(format!("the answer to {number} of {me} is another's"));
        }
        let mut places = Vec::new();
        for mention in attached {
            if let Mention::Task { node, task, .. } = mention {
                self.hold(host, (*node, *task), peer, Time::ZERO);
                places.push((*node, *task));
            }
        }
        match self.node(host).asked.remove(&number) {
            None => self.oracle.handle_late_end(me, number),
            Some(asked) => {
                self.oracle.handle_answered(me, number);
                if let Some(question) = asked.relay {
                    let is_there = self
                        .node(host)
                        .sessions
                        .get(&question.peer)
                        .is_some_and(|state| state.session.number() == question.session);
                    if is_there {
                        let mentions = places.iter().copied();
                        let attached: Vec<Mention> = mentions
                            .filter_map(|place| self.mention(host, question.peer, place))
                            .collect();
                        let body = body_of(question.number, body.len());
                        self.answer(host, &question, &attached, body);
                    }
                }
            }
        }
        self.drop_holds(host, places);
    }

    fn handle_unanswered(&mut self, host: usize, number: u64, why: Why) {
        let me = self.node(host).id;
        match self.node(host).asked.remove(&number) {
            None => self.oracle.handle_late_end(me, number),
            Some(asked) => {
                self.oracle.handle_unanswered(me, number, &why);
                if let Some(question) = asked.relay {
                    self.fail_question(host, &question, why);
                }
            }
        }
    }

    // ---- references ----

    fn handle_adopted(&mut self, host: usize, peer: NodeId, task: u64) {
        let place = (peer, task);
        let node = self.node(host);
        let Some(state) = node.sessions.get_mut(&peer) else { return };
        state.session.handle_adopted(place);
        match node.holds.get_mut(&place) {
            Some(hold) => {
                hold.is_adopting = false;
                let others = std::mem::take(&mut hold.by);
                hold.by.insert(peer);
                for other in others.into_iter().filter(|other| *other != peer) {
                    self.release(host, other, place);
                }
            }
            None => self.release(host, peer, place),
        }
    }

    // ---- the end of a session ----

    fn handle_over(&mut self, host: usize, peer: NodeId, over: &Over) {
        let now = self.now();
        let node = self.node(host);
        let me = node.id;
        let Some(state) = node.sessions.get_mut(&peer) else { return };
        let session = state.session.number();
        if let Some(after) = state.session.poll_output() {
            self.oracle.problem(format!("{after:?} after a session was over"));
        }
        self.trace(|| format!("host {host}: session {session:x} with {peer} is over: {over}"));
        let weather = self.scenario.weather;
        self.oracle.handle_over(now, host, me, peer, session, over, weather);
        // What is written before the goodbye still goes.
        for lane in LaneKind::ALL {
            let Some(state) = self.node(host).sessions.get_mut(&peer) else { return };
            let Some((conn, side)) = state.conns[lane.index()].take() else { continue };
            if *over == Over::Closed {
                let mut portions = Vec::new();
                while let Some(portion) = state.session.poll_portion(lane) {
                    portions.extend([portion.head, portion.tail]);
                }
                if let Some(end) = self.ends.get_mut(&(conn, side)) {
                    end.output.extend(portions.into_iter().filter(|part| !part.is_empty()));
                }
                self.linger(conn, side);
            } else {
                self.ends.remove(&(conn, side));
                self.close(conn, side, Ending::Torn);
            }
        }
        let Some(state) = self.node(host).sessions.remove(&peer) else { return };
        for conn in state.dials.into_iter().flatten() {
            self.drop_conn(conn, crate::net::Side::Dialler, Ending::Orderly);
        }
        self.node(host).membership.handle_gone(now, peer);
        self.forget_peer(host, peer, session, *over == Over::Closed);
        self.rewake(host);
    }

    /// Tells everybody who waits for something of a peer that it is lost.
    fn forget_peer(&mut self, host: usize, peer: NodeId, session: u64, is_polite: bool) {
        let node = self.node(host);
        let me = node.id;
        let lost = || Reason::Lost("peer".to_owned());
        let tasks: Vec<u64> = node.tasks.keys().copied().collect();
        for number in tasks {
            if is_polite {
                self.take(host, number, true);
            }
            let Some(task) = self.node(host).tasks.get_mut(&number) else { continue };
            let (theirs, others) = task.backlog.drain(..).partition(|letter| letter.from == peer);
            task.backlog = others;
            let theirs: std::collections::VecDeque<Letter> = theirs;
            theirs.into_iter().for_each(|letter| self.drop_holds(host, letter.holds));
        }
        let node = self.node(host);
        node.tickets.retain(|_, (with, _)| *with != peer);
        node.lookups.retain(|_, (with, _)| *with != peer);
        node.awaiting.retain(|(home, _)| *home != peer);
        let asked: Vec<u64> =
            node.asked.iter().filter(|(_, a)| a.peer == peer).map(|(n, _)| *n).collect();
        for number in asked {
            self.handle_unanswered(host, number, Why::Lost("peer".to_owned()));
        }
        let node = self.node(host);
        let held: Vec<Place> = node.holds.keys().copied().collect();
        for place in held {
            let node = self.node(host);
            let Some(hold) = node.holds.get_mut(&place) else { continue };
            hold.by.remove(&peer);
            if place.0 == peer {
                hold.is_adopting = false;
                if node.ended.insert(place) {
                    self.oracle.handle_end_told(me, place, session, &lost());
                }
            }
        }
        // Two nodes may keep a task of a third for each other: when that is lost, they would for ever.
        let node = self.node(host);
        let vain: Vec<Place> = node.given.keys().filter(|place| place.0 == peer).copied().collect();
        for place in vain {
            let keepers = self.node(host).given.remove(&place).unwrap_or_default();
            keepers.into_iter().for_each(|_| self.unhold(host, place));
        }
        let given: Vec<Place> = self.node(host).given.keys().copied().collect();
        for place in given {
            self.ungive(host, peer, place);
        }
        // A reference that nobody keeps for us any more.
        let node = self.node(host);
        let loose = node.holds.iter().filter(|(place, hold)| hold.by.is_empty() && place.0 != peer);
        let loose: Vec<Place> = loose.map(|(place, _)| *place).collect();
        loose.into_iter().for_each(|place| self.adopt(host, place));
    }
}

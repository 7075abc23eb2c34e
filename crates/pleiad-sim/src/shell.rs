//! What runs the pure core in a node: connections, greetings, bytes, timers.

use std::time::Duration;

use bytes::BytesMut;
use pleiad_proto::wire::{
    Attach, Greeting, Hello, LaneKind, Part, Refusal, VERSION_NEWEST, VERSION_OLDEST, Welcome,
    read_part, split_frame, write_part,
};
use pleiad_proto::{Met, Over, Session, attach, meet};
use pleiad_types::{NodeId, Time};

use crate::agenda::Event;
use crate::net::{ConnId, Ending, Side};
use crate::node::{AskedFor, End, Peer, Stage};
use crate::world::{World, address_of, host_of};

/// How long it takes to find that nobody answers.
const DIAL_TIMEOUT: Duration = Duration::from_secs(2);

/// Portions that wait for room on a connection.
const AHEAD: usize = 2;

impl World {
    // ---- dialling ----

    pub(crate) fn dial(&mut self, host: usize, to: usize, wanted: Option<NodeId>, lane: LaneKind) {
        let conn = self.net.dial(host, to);
        self.trace(|| format!("host {host} dials {to} for {lane:?}: conn {conn}"));
        self.ends.insert((conn, Side::Dialler), End::new(Stage::Dialled { wanted, lane }));
        if let Some(peer) = wanted.and_then(|wanted| self.node(host).sessions.get_mut(&wanted)) {
            peer.dials[lane.index()] = Some(conn);
        }
        let is_cut = self.net.is_cut(host, to) || self.net.is_cut(to, host);
        if is_cut {
            self.agenda.after(DIAL_TIMEOUT, Event::Fail(conn));
        } else {
            let delay = self.scenario.delay;
            self.agenda.after(delay, Event::Knock(conn));
            let greeting = self.node(host).lost_after * 2 / 5;
            self.agenda.after(greeting, Event::Greet(conn, Side::Dialler));
        }
    }

    pub(crate) fn handle_knock(&mut self, conn: ConnId) {
        let host = self.net.host(conn, Side::Dialled);
        if self.hosts[host].node.is_none() {
            let delay = self.scenario.delay;
            self.agenda.after(delay, Event::Fail(conn));
            return;
        }
        if self.defer(host, || Event::Knock(conn)) || !self.net.is_open(conn, Side::Dialler) {
            return;
        }
        let mut end = End::new(Stage::Accepted);
        let mut bytes = BytesMut::new();
        write_part(&self.hello(host), &mut bytes);
        end.output.push_back(bytes.freeze());
        self.ends.insert((conn, Side::Dialled), end);
        let greeting = self.node(host).lost_after * 2 / 5;
        self.agenda.after(greeting, Event::Greet(conn, Side::Dialled));
        self.flush_conn(conn, Side::Dialled);
    }

    pub(crate) fn handle_failed_dial(&mut self, conn: ConnId) {
        let host = self.net.host(conn, Side::Dialler);
        if !self.defer(host, || Event::Fail(conn)) {
            self.drop_conn(conn, Side::Dialler, Ending::Torn);
        }
    }

    pub(crate) fn handle_greeting_timeout(&mut self, conn: ConnId, side: Side) {
        let host = self.net.host(conn, side);
        let Some(end) = self.ends.get(&(conn, side)) else { return };
        let is_greeting = matches!(
            end.stage,
            Stage::Dialled { .. } | Stage::Asked(_) | Stage::Accepted | Stage::Done
        );
        if is_greeting && !self.defer(host, || Event::Greet(conn, side)) {
            self.drop_conn(conn, side, Ending::Torn);
        }
    }

    fn hello(&mut self, host: usize) -> Hello {
        let node = self.node(host);
        Hello {
            versions: (VERSION_OLDEST, VERSION_NEWEST),
            node: node.id,
            name: format!("host-{host}"),
            addresses: vec![address_of(host).to_string()],
            lost_after_ms: node.lost_after.as_millis() as u32,
        }
    }

    // ---- reading ----

    /// A side reads what has come.
    pub(crate) fn read(&mut self, conn: ConnId, side: Side) {
        if !self.ends.contains_key(&(conn, side)) {
            return;
        }
        let host = self.net.host(conn, side);
        if self.defer(host, || Event::Read(conn, side)) {
            return;
        }
        let is_slow = self.hosts[host].slow_until > self.now();
        let most = if is_slow { 1 + self.random.below(3000) } else { usize::MAX };
        let (bytes, is_end) = self.net.read(conn, side, most);
        if is_slow && bytes.len() == most {
            let pause = self.random.millis(1, 30);
            self.agenda.after(pause, Event::Read(conn, side));
        }
        if !bytes.is_empty() {
            // The writer hears of the room.
            let delay = self.scenario.delay;
            self.agenda.after(delay, Event::Flush(conn, side.other()));
        }
        if let Some(end) = self.ends.get_mut(&(conn, side)) {
            if let Stage::Open { peer, lane } = end.stage
                && !bytes.is_empty()
                && let Some(node) = &mut self.hosts[host].node
                && let Some(state) = node.sessions.get_mut(&peer)
            {
                state.session.handle_bytes(self.agenda.now(), lane);
                self.oracle.handle_heard(self.agenda.now(), node.id, state.session.number());
            }
            end.input.unsplit(bytes);
        }
        while self.handle_input(conn, side, host) {}
        if is_end {
            self.drop_conn(conn, side, Ending::Torn);
        }
    }

    /// Takes one thing out of the input. True, if there may be more.
    fn handle_input(&mut self, conn: ConnId, side: Side, host: usize) -> bool {
        let Some(end) = self.ends.get_mut(&(conn, side)) else { return false };
        match end.stage.clone() {
            Stage::Dialled { wanted, lane } => match read_part::<Hello>(&mut end.input) {
                Ok(Some(hello)) => self.handle_hello(conn, host, wanted, lane, &hello),
                Ok(None) => return false,
                Err(violation) => self.oracle.problem(format!("hello: {violation}")),
            },
            Stage::Accepted => match read_part::<Attach>(&mut end.input) {
                Ok(Some(attach)) => self.handle_attach(conn, host, &attach),
                Ok(None) => return false,
                Err(violation) => self.oracle.problem(format!("attach: {violation}")),
            },
            Stage::Asked(asked) => match read_part::<Greeting>(&mut end.input) {
                Ok(Some(greeting)) => self.handle_greeting(conn, host, &asked, greeting),
                Ok(None) => return false,
                Err(violation) => self.oracle.problem(format!("greeting: {violation}")),
            },
            Stage::Open { peer, lane } => match split_frame(&mut end.input) {
                Ok(Some((kind, content))) => {
                    let now = self.now();
                    let Some(state) = self.node(host).sessions.get_mut(&peer) else { return false };
                    state.session.handle_frame(now, lane, kind, content);
                    self.dirty.insert((host, peer));
                    // What it comes to is done before the next frame, or after some.
                    if self.random.percent(50) {
                        self.pump();
                    }
                }
                Ok(None) => return false,
                Err(violation) => self.oracle.problem(format!("frame: {violation}")),
            },
            Stage::Done => {
                end.input.clear();
                return false;
            }
        }
        true
    }

    fn handle_hello(
        &mut self,
        conn: ConnId,
        host: usize,
        wanted: Option<NodeId>,
        lane: LaneKind,
        hello: &Hello,
    ) {
        let there = self.net.host(conn, Side::Dialled);
        if wanted.is_some_and(|wanted| wanted != hello.node) || hello.node == self.node(host).id {
            self.drop_conn(conn, Side::Dialler, Ending::Orderly);
            return;
        }
        let fresh = self.random.next();
        let mine = self.hello(host);
        let node = self.node(host);
        node.hosts.insert(hello.node, there);
        if node.is_closing && !node.sessions.contains_key(&hello.node) {
            self.drop_conn(conn, Side::Dialler, Ending::Orderly);
            return;
        }
        // It begins before it is asked for: the answer may get lost, and the other side go on with it.
        if !node.sessions.contains_key(&hello.node) {
            self.begin(host, hello.node, fresh);
        }
        let node = self.node(host);
        let session = node.sessions.get(&hello.node).map(|peer| &peer.session);
        let Some(attach) = attach(&mine, session, lane, fresh) else {
            // It is connected: that is also what was wanted of this address.
            node.membership.handle_reached(address_of(there), hello.node);
            self.ends.remove(&(conn, Side::Dialler));
            self.close(conn, Side::Dialler, Ending::Orderly);
            self.dial_failed(host, hello.node, lane, conn);
            return;
        };
        let is_dialling = node.sessions.get(&hello.node).and_then(|peer| peer.dials[lane.index()]);
        if is_dialling.is_some_and(|other| other != conn) {
            self.drop_conn(conn, Side::Dialler, Ending::Orderly);
            return;
        }
        if let Some(peer) = node.sessions.get_mut(&hello.node) {
            peer.dials[lane.index()] = Some(conn);
        }
        let theirs = Duration::from_millis(hello.lost_after_ms.into());
        let asked = AskedFor { peer: hello.node, lane, theirs, attach: attach.clone() };
        let stage = Stage::Asked(Box::new(asked));
        self.say(conn, Side::Dialler, &attach, stage);
    }

    fn handle_attach(&mut self, conn: ConnId, host: usize, attach: &Attach) {
        let now = self.now();
        let them = attach.hello.node;
        let lane = attach.lane;
        let is_dialling = self.ends.iter().any(|((other, side), end)| {
            *side == Side::Dialler
                && self.net.host(*other, *side) == host
                && matches!(&end.stage, Stage::Asked(a) if a.peer == them && a.lane == lane)
        });
        let node = self.node(host);
        let session = node.sessions.get_mut(&them).map(|peer| &mut peer.session);
        let met = if node.is_closing && session.is_none() && attach.resume.is_none() {
            Err(Refusal::Closed)
        } else {
            meet(node.id, session, is_dialling, attach)
        };
        self.trace(|| format!("host {host} meets {them} on conn {conn} {lane:?}: {met:?}"));
        let received = match met {
            Ok(Met::Known { received }) => received,
            Ok(Met::New { session }) => {
                self.dirty.insert((host, them));
                self.pump_one(host, them);
                self.begin(host, them, session);
                0
            }
            Err(refusal) => {
                let greeting: Greeting = Err(refusal);
                self.say(conn, Side::Dialled, &greeting, Stage::Done);
                self.linger(conn, Side::Dialled);
                return;
            }
        };
        let there = self.net.host(conn, Side::Dialler);
        self.node(host).hosts.insert(them, there);
        self.leave_old_conn(host, them, lane);
        let node = self.node(host);
        let Some(peer) = node.sessions.get_mut(&them) else { return };
        let resume = peer.session.resume(lane);
        peer.conns[lane.index()] = Some((conn, Side::Dialled));
        let theirs = Duration::from_millis(attach.hello.lost_after_ms.into());
        peer.session.attach(now, lane, received, theirs);
        let (me, number) = (node.id, resume.session);
        self.oracle.handle_attached(now, me, number);
        let greeting: Greeting = Ok(Welcome { version: VERSION_NEWEST, resume });
        self.say(conn, Side::Dialled, &greeting, Stage::Open { peer: them, lane });
        self.dirty.insert((host, them));
        self.rewake(host);
    }

    fn handle_greeting(&mut self, conn: ConnId, host: usize, asked: &AskedFor, greeting: Greeting) {
        let AskedFor { peer, lane, theirs, attach } = asked;
        let (peer, lane, theirs) = (*peer, *lane, *theirs);
        let resumed = attach.resume.map(|resume| resume.session);
        let now = self.now();
        let there = self.net.host(conn, Side::Dialled);
        self.trace(|| format!("host {host} conn {conn} {lane:?} is answered: {greeting:?}"));
        let welcome = match greeting {
            Ok(welcome) => welcome,
            Err(refusal) => {
                if refusal == Refusal::SessionOver
                    && let Some(state) = self.node(host).sessions.get_mut(&peer)
                    && resumed == Some(state.session.number())
                {
                    state.session.end(Over::Gone);
                    self.dirty.insert((host, peer));
                }
                self.drop_conn(conn, Side::Dialler, Ending::Orderly);
                return;
            }
        };
        let node = self.node(host);
        let session = node.sessions.get_mut(&peer).map(|peer| &mut peer.session);
        let met = match session {
            None if node.is_closing => None,
            session => pleiad_proto::welcome(session, attach, &welcome),
        };
        let received = welcome.resume.received;
        match met {
            Some(Met::Known { .. }) => (),
            Some(Met::New { session }) => self.begin(host, peer, session),
            None => {
                self.drop_conn(conn, Side::Dialler, Ending::Orderly);
                return;
            }
        }
        let session = welcome.resume.session;
        self.leave_old_conn(host, peer, lane);
        let node = self.node(host);
        let Some(state) = node.sessions.get_mut(&peer) else { return };
        state.dials[lane.index()] = None;
        state.conns[lane.index()] = Some((conn, Side::Dialler));
        state.session.attach(now, lane, received, theirs);
        node.membership.handle_reached(address_of(there), peer);
        let me = node.id;
        self.oracle.handle_attached(now, me, session);
        if let Some(end) = self.ends.get_mut(&(conn, Side::Dialler)) {
            end.stage = Stage::Open { peer, lane };
        }
        self.dirty.insert((host, peer));
        self.rewake(host);
    }

    /// A lane gets another connection than it has.
    fn leave_old_conn(&mut self, host: usize, peer: NodeId, lane: LaneKind) {
        let state = self.node(host).sessions.get_mut(&peer);
        if let Some((old, side)) = state.and_then(|state| state.conns[lane.index()].take()) {
            self.ends.remove(&(old, side));
            self.close(old, side, Ending::Torn);
        }
    }

    fn say<P: Part>(&mut self, conn: ConnId, side: Side, part: &P, stage: Stage) {
        let Some(end) = self.ends.get_mut(&(conn, side)) else { return };
        let mut bytes = BytesMut::new();
        write_part(part, &mut bytes);
        end.output.push_back(bytes.freeze());
        end.stage = stage;
        self.flush_conn(conn, side);
    }

    // ---- sessions ----

    /// A session begins.
    pub(crate) fn begin(&mut self, host: usize, peer: NodeId, number: u64) {
        let now = self.now();
        let node = self.node(host);
        let session = Session::new(now, number, node.lost_after);
        let introduced = Default::default();
        let state = Peer { session, conns: [None; 2], dials: [None; 2], introduced };
        node.sessions.insert(peer, state);
        node.ended.retain(|place| place.0 != peer || node.holds.contains_key(place));
        let me = node.id;
        self.oracle.handle_heard(now, me, number);
        self.trace(|| format!("host {host} ({me}) begins session {number:x} with {peer}"));
        self.rewake(host);
    }

    /// The session with a node; a new one begins, if there is none.
    pub(crate) fn session_with(&mut self, host: usize, peer: NodeId) -> Option<&mut Session> {
        if !self.node(host).sessions.contains_key(&peer) {
            if self.node(host).is_closing {
                return None;
            }
            let there = *self.node(host).hosts.get(&peer)?;
            let number = self.random.next();
            self.begin(host, peer, number);
            self.dial(host, there, Some(peer), LaneKind::Messages);
        }
        self.dirty.insert((host, peer));
        self.node(host).sessions.get_mut(&peer).map(|peer| &mut peer.session)
    }

    /// A lane is to be connected.
    pub(crate) fn connect(&mut self, host: usize, peer: NodeId, lane: LaneKind) {
        let node = self.node(host);
        let there = node.hosts.get(&peer).copied();
        let Some(state) = node.sessions.get_mut(&peer) else { return };
        if state.dials[lane.index()].is_some() {
            return;
        }
        match there {
            Some(there) => self.dial(host, there, Some(peer), lane),
            None => state.session.connect_failed(lane),
        }
    }

    // ---- writing ----

    /// Does all that sessions want done, and writes all that can be written.
    pub(crate) fn pump(&mut self) {
        while let Some((host, peer)) = self.dirty.pop_first() {
            self.pump_one(host, peer);
        }
    }

    pub(crate) fn pump_one(&mut self, host: usize, peer: NodeId) {
        while self.hosts[host].node.is_some()
            && let Some(state) = self.node(host).sessions.get_mut(&peer)
            && let Some(output) = state.session.poll_output()
        {
            self.act(host, peer, output);
        }
        for lane in LaneKind::ALL {
            self.flush_lane(host, peer, lane);
        }
        self.rewake(host);
    }

    fn flush_lane(&mut self, host: usize, peer: NodeId, lane: LaneKind) {
        let Some(node) = &self.hosts[host].node else { return };
        let Some(state) = node.sessions.get(&peer) else { return };
        if let Some((conn, side)) = state.conns[lane.index()] {
            self.flush_conn(conn, side);
        }
    }

    /// Writes what there is room for.
    pub(crate) fn flush_conn(&mut self, conn: ConnId, side: Side) {
        let host = self.net.host(conn, side);
        if !self.ends.contains_key(&(conn, side)) || self.defer(host, || Event::Flush(conn, side)) {
            return;
        }
        loop {
            let room = self.net.room(conn, side, &self.scenario);
            let Some(end) = self.ends.get_mut(&(conn, side)) else { return };
            if let Stage::Open { peer, lane } = end.stage
                && !end.is_lingering
                && end.output.len() < AHEAD
                && let Some(node) = &mut self.hosts[host].node
                && let Some(state) = node.sessions.get_mut(&peer)
                && state.session.has_portion(lane)
            {
                match state.session.poll_portion(lane) {
                    Some(portion) => {
                        let parts = [portion.head, portion.tail];
                        end.output.extend(parts.into_iter().filter(|part| !part.is_empty()));
                    }
                    None => self.oracle.problem("has_portion, but there is none".to_owned()),
                }
                self.dirty.insert((host, peer));
                continue;
            }
            let Some(first) = end.output.front_mut() else { break };
            if room == 0 {
                break;
            }
            let bytes = first.split_to(first.len().min(room));
            if first.is_empty() {
                end.output.pop_front();
            }
            let Self { net, scenario, agenda, random, .. } = self;
            net.write(conn, side, bytes, scenario, agenda, random);
        }
        let is_done =
            self.ends.get(&(conn, side)).is_some_and(|e| e.is_lingering && e.output.is_empty());
        if is_done {
            self.ends.remove(&(conn, side));
            self.close(conn, side, Ending::Orderly);
        }
    }

    /// It is closed when all is written.
    pub(crate) fn linger(&mut self, conn: ConnId, side: Side) {
        if let Some(end) = self.ends.get_mut(&(conn, side)) {
            (end.is_lingering, end.stage) = (true, Stage::Done);
            self.agenda.after(Duration::from_secs(2), Event::Greet(conn, side));
            self.flush_conn(conn, side);
        }
    }

    /// A side gives a connection up, or hears that it is gone.
    pub(crate) fn drop_conn(&mut self, conn: ConnId, side: Side, ending: Ending) {
        let now = self.now();
        let Some(end) = self.ends.remove(&(conn, side)) else { return };
        let host = self.net.host(conn, side);
        self.close(conn, side, ending);
        let there = self.net.host(conn, side.other());
        let Some(node) = &mut self.hosts[host].node else { return };
        match end.stage {
            Stage::Dialled { wanted, lane } => {
                node.membership.handle_failed(now, address_of(there));
                if let Some(peer) = wanted {
                    self.dial_failed(host, peer, lane, conn);
                }
            }
            Stage::Asked(asked) => {
                let AskedFor { peer, lane, .. } = *asked;
                node.membership.handle_failed(now, address_of(there));
                self.dial_failed(host, peer, lane, conn);
            }
            Stage::Open { peer, lane } => {
                if let Some(state) = node.sessions.get_mut(&peer)
                    && state.conns[lane.index()] == Some((conn, side))
                {
                    state.conns[lane.index()] = None;
                    state.session.detach(lane);
                    self.dirty.insert((host, peer));
                }
            }
            Stage::Accepted | Stage::Done => (),
        }
        self.trace(|| format!("host {host} has no conn {conn} any more"));
        self.rewake(host);
    }

    fn dial_failed(&mut self, host: usize, peer: NodeId, lane: LaneKind, conn: ConnId) {
        if let Some(state) = self.node(host).sessions.get_mut(&peer)
            && state.dials[lane.index()] == Some(conn)
        {
            state.dials[lane.index()] = None;
            state.session.connect_failed(lane);
        }
    }

    /// A side hears that a connection is gone.
    pub(crate) fn handle_gone(&mut self, conn: ConnId, side: Side) {
        let host = self.net.host(conn, side);
        if !self.defer(host, || Event::Gone(conn, side)) {
            self.drop_conn(conn, side, Ending::Torn);
        }
    }

    pub(crate) fn close(&mut self, conn: ConnId, side: Side, ending: Ending) {
        let Self { net, scenario, agenda, random, .. } = self;
        net.close(conn, side, ending, scenario, agenda, random);
    }

    // ---- timers ----

    /// Looks when a node is to be woken next.
    pub(crate) fn rewake(&mut self, host: usize) {
        self.dial_addresses(host);
        let late = self.random.micros(0, 3000);
        let Some(node) = &mut self.hosts[host].node else { return };
        let sessions = node.sessions.values().filter_map(|peer| peer.session.poll_timeout());
        let Some(next) = sessions.chain(node.membership.poll_timeout()).min() else { return };
        if node.wake_at.is_none_or(|at| next < at) {
            node.wake_at = Some(next);
            let life = node.life;
            self.agenda.at(next + late, Event::Wake { host, life });
        }
    }

    fn dial_addresses(&mut self, host: usize) {
        while let Some(node) = &mut self.hosts[host].node
            && let Some(address) = node.membership.poll_dial()
        {
            if node.is_closing {
                continue;
            }
            self.dial(host, host_of(address), None, LaneKind::Messages);
        }
    }

    pub(crate) fn wake(&mut self, host: usize, life: u64) {
        let now = self.now();
        let Some(node) = self.hosts[host].node.as_mut().filter(|node| node.life == life) else {
            return;
        };
        node.wake_at = None;
        node.membership.handle_timeout(now);
        let due = |at: Option<Time>| at.is_some_and(|at| at <= now);
        for (peer, state) in &mut node.sessions {
            if due(state.session.poll_timeout()) {
                state.session.handle_timeout(now);
                self.dirty.insert((host, *peer));
            }
        }
        self.rewake(host);
    }
}

//! The world: hosts, the net between them, and the loop.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use pleiad_types::{NodeId, Time};

use crate::agenda::{Agenda, Event};
use crate::net::{ConnId, Net, Side};
use crate::node::{End, Node};
use crate::oracle::Oracle;
use crate::random::Random;
use crate::run::Report;
use crate::scenario::Scenario;

/// After the last fault, everything that is pending comes to its end within this time.
const SETTLE: Duration = Duration::from_secs(60);

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) scenario: Scenario,
    pub(crate) random: Random,
    pub(crate) agenda: Agenda,
    pub(crate) net: Net,
    pub(crate) hosts: Vec<Host>,
    pub(crate) ends: BTreeMap<(ConnId, Side), End>,
    pub(crate) oracle: Oracle,
    /// Sessions that may have something to say or to do.
    pub(crate) dirty: BTreeSet<(usize, NodeId)>,
    /// Nothing is begun any more.
    pub(crate) is_calm: bool,
    pub(crate) lives: u64,
    trace: usize,
    last: VecDeque<String>,
    events: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Host {
    pub(crate) node: Option<Node>,
    /// Its process does not run until then.
    pub(crate) stopped_until: Option<Time>,
    pub(crate) slow_until: Time,
}

impl World {
    pub(crate) fn new(seed: u64, trace: usize) -> Self {
        let mut random = Random::new(seed);
        let scenario = Scenario::of(&mut random);
        let mut world = Self {
            hosts: (0..scenario.hosts).map(|_| Host::default()).collect(),
            scenario,
            random,
            agenda: Agenda::default(),
            net: Net::default(),
            ends: BTreeMap::new(),
            oracle: Oracle::default(),
            dirty: BTreeSet::new(),
            is_calm: false,
            lives: 0,
            trace,
            last: VecDeque::new(),
            events: 0,
        };
        for host in 0..world.hosts.len() {
            world.start(host);
        }
        let lasts = world.scenario.lasts;
        world.agenda.after(lasts, Event::Calm);
        world.agenda.after(Duration::ZERO, Event::Act);
        world.plan_fault();
        world
    }

    pub(crate) fn run(&mut self) {
        let until = Time::ZERO + self.scenario.lasts + SETTLE;
        while let Some(event) = self.agenda.next(until) {
            self.events += 1;
            self.handle(event);
            self.pump();
            if self.oracle.has_problem() {
                return;
            }
            if self.events.is_multiple_of(16) {
                self.check_books();
            }
        }
        self.check_books();
        self.check_end();
    }

    pub(crate) fn report(self) -> Report {
        let mut report = self.oracle.report();
        report.events = self.events;
        report.last = self.last.into();
        report
    }

    pub(crate) fn now(&self) -> Time {
        self.agenda.now()
    }

    /// Remembers what happens, if anybody wants to read it.
    pub(crate) fn trace(&mut self, text: impl FnOnce() -> String) {
        if self.trace > 0 {
            if self.last.len() == self.trace {
                self.last.pop_front();
            }
            self.last.push_back(format!("{:?} {}", self.agenda.now(), text()));
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Knock(conn) => self.handle_knock(conn),
            Event::Fail(conn) => self.handle_failed_dial(conn),
            Event::Carry(conn, from) => {
                let now = self.now();
                if self.net.carry(conn, from, now) {
                    self.read(conn, from.other());
                }
            }
            Event::Read(conn, side) => self.read(conn, side),
            Event::Flush(conn, side) => self.flush_conn(conn, side),
            Event::Gone(conn, side) => self.handle_gone(conn, side),
            Event::Greet(conn, side) => self.handle_greeting_timeout(conn, side),
            Event::Wake { host, life } => {
                if !self.defer(host, || Event::Wake { host, life }) {
                    self.wake(host, life);
                }
            }
            Event::Step { host, life, task } => {
                if !self.defer(host, || Event::Step { host, life, task }) {
                    self.step(host, life, task);
                }
            }
            Event::Act => self.act_somebody(),
            Event::Fault(fault) => self.handle_fault(fault),
            Event::Calm => self.calm(),
        }
    }

    /// True, if the host's process does not run: then it happens when it does.
    pub(crate) fn defer(&mut self, host: usize, event: impl FnOnce() -> Event) -> bool {
        match self.hosts[host].stopped_until {
            Some(until) if until > self.now() => {
                self.agenda.at(until, event());
                true
            }
            _ => false,
        }
    }

    pub(crate) fn is_running(&self, host: usize) -> bool {
        self.hosts[host].stopped_until.is_none_or(|until| until <= self.now())
    }

    /// The node of a host. Only to be called where there is one.
    pub(crate) fn node(&mut self, host: usize) -> &mut Node {
        self.hosts[host].node.as_mut().expect("there is a node on the host")
    }

    /// Starts a process on a host.
    pub(crate) fn start(&mut self, host: usize) {
        self.lives += 1;
        let id = NodeId(self.random.next());
        let lost_after = self.scenario.lost_after[host];
        let node = Node::new(id, self.lives, lost_after);
        self.hosts[host].node = Some(node);
        self.hosts[host].stopped_until = None;
        self.trace(|| format!("host {host} starts as {id}"));
        self.oracle.handle_start(host, id);
        for _ in 0..3 {
            let task = self.spawn(host);
            let name = format!("h{host}-{}", self.random.below(2));
            self.register(host, task, name);
        }
        let now = self.now();
        for other in (0..self.hosts.len()).filter(|other| *other != host) {
            if self.random.percent(60) || other == 0 {
                self.node(host).membership.want(now, address_of(other));
            }
        }
        self.rewake(host);
    }

    fn check_books(&self) {
        for host in &self.hosts {
            for peer in host.node.iter().flat_map(|node| node.sessions.values()) {
                peer.session.sanity_check();
            }
        }
    }
}

pub(crate) fn address_of(host: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, host as u8 + 1], 9000))
}

pub(crate) fn host_of(address: SocketAddr) -> usize {
    let SocketAddr::V4(address) = address else { return 0 };
    usize::from(address.ip().octets()[3]) - 1
}

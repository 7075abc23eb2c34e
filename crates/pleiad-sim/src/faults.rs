//! What goes wrong.

use std::time::Duration;

use pleiad_types::Time;

use crate::agenda::Event;
use crate::net::{ConnId, Ending, Side};
use crate::scenario::Weather;
use crate::world::World;

/// Time between the end of the faults and the moment at which everybody lets go of everything.
const TIDY_AFTER: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// One of those that follow, by chance.
    Any,
    Heal {
        from: usize,
        to: usize,
    },
    Unclog(ConnId),
    Restart(usize),
    /// Not a fault: references are dropped, so that it can be seen that they are given up.
    Tidy,
}

impl World {
    pub(crate) fn plan_fault(&mut self) {
        let most = self.scenario.fault_every.as_millis() as u64;
        let pause = self.random.millis(1, 2 * most);
        self.agenda.after(pause, Event::Fault(Fault::Any));
    }

    pub(crate) fn handle_fault(&mut self, fault: Fault) {
        match fault {
            Fault::Any => {
                if !self.is_calm {
                    self.strike();
                    self.plan_fault();
                }
            }
            Fault::Heal { from, to } => {
                self.trace(|| format!("the way from {from} to {to} heals"));
                self.net.heal(from, to);
                let Self { net, agenda, random, .. } = self;
                net.live().into_iter().for_each(|conn| net.go_on(conn, agenda, random));
            }
            Fault::Unclog(conn) => {
                self.net.clog(conn, false);
                let Self { net, agenda, random, .. } = self;
                net.go_on(conn, agenda, random);
            }
            Fault::Restart(host) => {
                if self.hosts[host].node.is_none() {
                    self.start(host);
                }
            }
            Fault::Tidy => self.tidy(),
        }
    }

    /// The faults are over.
    pub(crate) fn calm(&mut self) {
        self.trace(|| "calm".to_owned());
        self.is_calm = true;
        let Self { net, agenda, random, .. } = self;
        net.release(agenda, random);
        for host in 0..self.hosts.len() {
            self.hosts[host].slow_until = Time::ZERO;
        }
        self.agenda.after(TIDY_AFTER, Event::Fault(Fault::Tidy));
    }

    fn strike(&mut self) {
        let host = self.random.below(self.hosts.len());
        match (self.scenario.weather, self.random.below(20)) {
            (Weather::Calm, _) => (),
            (Weather::Rough, 0..14) | (Weather::Wild, 0..7) => self.break_conn(),
            (Weather::Rough, 14..16) | (Weather::Wild, 7..9) => {
                let pause = self.random.millis(10, 2000);
                self.hosts[host].slow_until = self.now() + pause;
            }
            (Weather::Rough, _) => {
                if (0..self.hosts.len()).all(|host| self.is_running(host)) {
                    self.stop_host(host, 100, 3000);
                }
            }
            (Weather::Wild, 9..11) => self.stop_host(host, 1000, 30_000),
            (Weather::Wild, 11..14) => self.cut(),
            (Weather::Wild, 14..17) => self.clog(),
            (Weather::Wild, _) => {
                let is_noticed = self.random.percent(60);
                self.kill(host, is_noticed);
                let pause = self.random.millis(0, 8000);
                self.agenda.after(pause, Event::Fault(Fault::Restart(host)));
            }
        }
    }

    fn break_conn(&mut self) {
        let live = self.net.live();
        let Some(conn) = self.random.pick(&live).copied() else { return };
        let first = if self.random.percent(50) { Side::Dialler } else { Side::Dialled };
        // In rough weather nobody may be lost, and each side that is not told costs seconds.
        let is_known = self.scenario.weather == Weather::Rough || self.random.percent(70);
        self.trace(|| format!("conn {conn} breaks at {first:?}, the other side knows: {is_known}"));
        // Who dials is told, sooner or later, that nobody is there: by its greeting's time.
        let ending = if is_known { Ending::Torn } else { Ending::Unnoticed };
        self.close(conn, first, ending);
        self.handle_gone(conn, first);
    }

    fn cut(&mut self) {
        let from = self.random.below(self.hosts.len());
        let to = (from + 1 + self.random.below(self.hosts.len() - 1)) % self.hosts.len();
        let ways =
            if self.random.percent(50) { vec![(from, to)] } else { vec![(from, to), (to, from)] };
        for (from, to) in ways {
            self.trace(|| format!("the way from {from} to {to} is cut"));
            self.net.cut(from, to);
            let pause = self.random.millis(100, 12_000);
            self.agenda.after(pause, Event::Fault(Fault::Heal { from, to }));
        }
    }

    /// Some connections stop, and go on in another order.
    fn clog(&mut self) {
        for conn in self.net.live() {
            if self.random.percent(50) {
                self.trace(|| format!("conn {conn} is clogged"));
                self.net.clog(conn, true);
                let pause = self.random.millis(10, 6000);
                self.agenda.after(pause, Event::Fault(Fault::Unclog(conn)));
            }
        }
    }

    fn stop_host(&mut self, host: usize, least_ms: u64, most_ms: u64) {
        if self.is_running(host) && self.hosts[host].node.is_some() {
            let until = self.now() + self.random.millis(least_ms, most_ms);
            self.trace(|| format!("host {host} is stopped until {until:?}"));
            self.hosts[host].stopped_until = Some(until);
            self.oracle.handle_stopped(host, until);
        }
    }

    /// The process of a host is gone at once.
    pub(crate) fn kill(&mut self, host: usize, is_noticed: bool) {
        let now = self.now();
        let Some(node) = self.hosts[host].node.take() else { return };
        self.trace(|| format!("host {host} is killed, noticed: {is_noticed}"));
        self.hosts[host].stopped_until = None;
        self.oracle.handle_death(now, node.id);
        for (conn, side) in self.net.of_host(host) {
            self.ends.remove(&(conn, side));
            self.close(conn, side, if is_noticed { Ending::Torn } else { Ending::Unnoticed });
        }
    }
}

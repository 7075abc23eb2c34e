//! Where to look for peers: which addresses are dialled, and when again.
//!
//! An address that the user has named is dialled until there is somebody, for ever, at growing intervals;
//! one that was heard of (by discovery, by another node) only when it is heard of.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use pleiad_types::{NodeId, Time};

/// First and longest time between two attempts.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// Two attempts at one address that was only heard of are at least so far apart.
const HEARD_EVERY: Duration = Duration::from_secs(1);

/// Addresses that are remembered. Whoever floods us with more makes us forget the oldest.
const HEARD_MAX: usize = 1024;

/// Which addresses are dialled, and when again.
#[derive(Debug, Default)]
pub struct Membership {
    places: BTreeMap<SocketAddr, PlaceState>,
    dials: VecDeque<SocketAddr>,
}

#[derive(Debug)]
struct PlaceState {
    /// Wanted by the user: it is tried again.
    is_wanted: bool,
    is_dialling: bool,
    /// Who is there, as far as is known.
    node: Option<NodeId>,
    tried: Time,
    /// When it is tried again.
    next: Option<Time>,
    pause: Duration,
}

impl Membership {
    /// The user wants the peer at this address.
    pub fn want(&mut self, now: Time, address: SocketAddr) {
        let place = self.place(now, address);
        place.is_wanted = true;
        if place.node.is_none() && !place.is_dialling {
            place.pause = RETRY_MIN;
            self.dial(now, address);
        }
    }

    /// The user does not want it any more.
    pub fn unwant(&mut self, address: SocketAddr) {
        if let Some(place) = self.places.get_mut(&address) {
            (place.is_wanted, place.next) = (false, None);
        }
    }

    /// It was heard that somebody may be there.
    pub fn handle_heard(&mut self, now: Time, address: SocketAddr) {
        if self.places.len() >= HEARD_MAX && !self.places.contains_key(&address) {
            let oldest = self.places.iter().filter(|(_, place)| place.is_idle());
            let oldest = oldest.min_by_key(|(_, place)| place.tried).map(|(address, _)| *address);
            let Some(oldest) = oldest else { return };
            self.places.remove(&oldest);
        }
        let is_new = !self.places.contains_key(&address);
        let place = self.place(now, address);
        let is_early = !is_new && now.since(place.tried) < HEARD_EVERY;
        if place.node.is_none() && !place.is_dialling && !is_early {
            self.dial(now, address);
        }
    }

    /// A peer was reached at this address.
    pub fn handle_reached(&mut self, address: SocketAddr, node: NodeId) {
        if let Some(place) = self.places.get_mut(&address) {
            place.is_dialling = false;
            place.node = Some(node);
            place.next = None;
            place.pause = RETRY_MIN;
        }
    }

    /// Nobody was reached there.
    pub fn handle_failed(&mut self, now: Time, address: SocketAddr) {
        if let Some(place) = self.places.get_mut(&address) {
            place.is_dialling = false;
            if place.is_wanted {
                place.next = Some(now + place.pause);
                place.pause = (place.pause * 2).min(RETRY_MAX);
            }
        }
    }

    /// A peer is lost, or has closed.
    pub fn handle_gone(&mut self, now: Time, node: NodeId) {
        let of_node = self.places.iter_mut().filter(|(_, place)| place.node == Some(node));
        for (_, place) in of_node {
            place.node = None;
            if place.is_wanted {
                place.pause = RETRY_MIN;
                place.next = Some(now + place.pause);
            }
        }
    }

    /// The time has come that [`poll_timeout`](Self::poll_timeout) said.
    pub fn handle_timeout(&mut self, now: Time) {
        let due = self.places.iter().filter(|(_, place)| place.next.is_some_and(|at| at <= now));
        let due: Vec<SocketAddr> = due.map(|(address, _)| *address).collect();
        due.into_iter().for_each(|address| self.dial(now, address));
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.places.values().filter_map(|place| place.next).min()
    }

    /// The next address to dial.
    pub fn poll_dial(&mut self) -> Option<SocketAddr> {
        self.dials.pop_front()
    }

    fn place(&mut self, now: Time, address: SocketAddr) -> &mut PlaceState {
        self.places.entry(address).or_insert(PlaceState {
            is_wanted: false,
            is_dialling: false,
            node: None,
            tried: now,
            next: None,
            pause: RETRY_MIN,
        })
    }

    fn dial(&mut self, now: Time, address: SocketAddr) {
        let place = self.place(now, address);
        (place.is_dialling, place.tried, place.next) = (true, now, None);
        self.dials.push_back(address);
    }
}

impl PlaceState {
    fn is_idle(&self) -> bool {
        !self.is_wanted && !self.is_dialling && self.node.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn a_wanted_peer_is_dialled_until_it_is_there_and_again_when_it_is_gone() {
        let mut membership = Membership::default();
        let mut now = Time::ZERO;
        membership.want(now, address(1));
        let mut pauses = Vec::new();
        for _ in 0..9 {
            assert_eq!(membership.poll_dial(), Some(address(1)));
            assert_eq!(membership.poll_dial(), None);
            membership.handle_failed(now, address(1));
            let next = membership.poll_timeout().unwrap();
            pauses.push((next - now).as_millis());
            now = next;
            membership.handle_timeout(now);
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert_eq!(membership.poll_dial(), Some(address(1)));
        membership.handle_reached(address(1), NodeId(7));
        assert_eq!(membership.poll_timeout(), None);
        membership.handle_gone(now, NodeId(7));
        assert_eq!(membership.poll_timeout(), Some(now + RETRY_MIN));
    }

    #[test]
    fn what_was_only_heard_of_is_tried_once_and_at_most_once_a_second() {
        let mut membership = Membership::default();
        membership.handle_heard(Time::ZERO, address(1));
        assert_eq!(membership.poll_dial(), Some(address(1)));
        membership.handle_heard(Time::from_millis(2000), address(1));
        assert_eq!(membership.poll_dial(), None, "it is being dialled");
        membership.handle_failed(Time::from_millis(2500), address(1));
        assert_eq!(membership.poll_timeout(), None);
        membership.handle_heard(Time::from_millis(2600), address(1));
        assert_eq!(membership.poll_dial(), Some(address(1)));
        membership.handle_failed(Time::from_millis(2700), address(1));
        membership.handle_heard(Time::from_millis(3599), address(1));
        assert_eq!(membership.poll_dial(), None);
    }

    #[test]
    fn what_is_heard_does_not_fill_the_memory() {
        let mut membership = Membership::default();
        for port in 1..=5000 {
            membership.handle_heard(Time::from_millis(u64::from(port)), address(port));
            membership.handle_failed(Time::from_millis(u64::from(port)), address(port));
        }
        assert_eq!(membership.places.len(), HEARD_MAX);
    }
}

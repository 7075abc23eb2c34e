//! What passes of all that is said on the network: pure, and bounded whatever is said.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::time::Instant;

use pleiad_types::NodeId;
use pleiad_types::limits::{
    ADDRESSES_MAX, CLUSTER_BYTES_MAX, FOUND_INTERVAL, FOUND_MEMORY, OTHER_CLUSTERS_MAX,
};

use super::{Found, is_name};
use crate::addresses::can_be_dialled;

/// Lets pass what is of our cluster and not of ourselves, each address at most once a second.
#[derive(Debug)]
pub(super) struct Sieve {
    me: NodeId,
    cluster: String,
    /// Whether somebody at a loopback address may be meant: on a network of that kind only.
    takes_loopback: bool,
    // Invariant: at most FOUND_MEMORY.
    given: HashMap<SocketAddr, Instant>,
    // Invariant: at most OTHER_CLUSTERS_MAX.
    other_clusters: BTreeSet<String>,
}

/// What somebody has said.
#[derive(Clone, Debug)]
pub(super) struct Said<'a> {
    pub(super) cluster: &'a str,
    /// In hexadecimal.
    pub(super) node: &'a str,
    pub(super) name: &'a str,
    pub(super) addresses: Vec<SocketAddr>,
}

impl Sieve {
    pub(super) fn new(me: NodeId, cluster: String, takes_loopback: bool) -> Self {
        let (given, other_clusters) = (HashMap::new(), BTreeSet::new());
        Self { me, cluster, takes_loopback, given, other_clusters }
    }

    /// Whom to tell of; nothing if nobody. The time must never go back.
    pub(super) fn pass(&mut self, now: Instant, said: &Said<'_>) -> Option<Found> {
        if said.cluster != self.cluster {
            self.note_other(said.cluster);
            return None;
        }
        let node =
            u64::from_str_radix(said.node, 16).ok().map(NodeId).filter(|node| *node != self.me)?;
        if !is_name(said.name) {
            return None;
        }
        let sensible = said.addresses.iter().take(ADDRESSES_MAX).filter(|a| self.may_give(a));
        let sensible: Vec<_> = sensible.copied().collect();
        let addresses: Vec<_> = sensible.into_iter().filter(|a| self.give(now, *a)).collect();
        (!addresses.is_empty()).then(|| Found { node, name: said.name.to_owned(), addresses })
    }

    /// How many other clusters have been heard of, up to a limit.
    pub(super) fn other_clusters(&self) -> usize {
        self.other_clusters.len()
    }

    fn note_other(&mut self, cluster: &str) {
        let fits = (1..=CLUSTER_BYTES_MAX).contains(&cluster.len());
        if fits && self.other_clusters.len() < OTHER_CLUSTERS_MAX {
            self.other_clusters.insert(cluster.to_owned());
        }
    }

    fn may_give(&self, address: &SocketAddr) -> bool {
        let is_loopback = address.ip().to_canonical().is_loopback();
        can_be_dialled(address) && (self.takes_loopback || !is_loopback)
    }

    /// Whether it may be given, and then notes that it is.
    fn give(&mut self, now: Instant, address: SocketAddr) -> bool {
        if self.given.len() == FOUND_MEMORY {
            self.given.retain(|_, given| now.duration_since(*given) < FOUND_INTERVAL);
        }
        let is_new = match self.given.get(&address) {
            Some(given) => now.duration_since(*given) >= FOUND_INTERVAL,
            None => self.given.len() < FOUND_MEMORY,
        };
        if is_new {
            self.given.insert(address, now);
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_passes_is_of_our_cluster_and_not_of_ourselves() {
        let (mut sieve, now) = (sieve(), Instant::now());
        let good = said(&["10.0.0.1:5", "[fd00::1]:5"]);
        let found =
            Found { node: NodeId(0x2a), name: "n".to_owned(), addresses: good.addresses.clone() };

        assert_eq!(sieve.pass(now, &Said { cluster: "theirs", ..good.clone() }), None);
        assert_eq!(sieve.pass(now, &Said { node: "1", ..good.clone() }), None);
        for node in ["", "x", "11111111111111111"] {
            assert_eq!(sieve.pass(now, &Said { node, ..good.clone() }), None);
        }
        for name in ["", "\u{1b}[2J", &"x".repeat(256)] {
            assert_eq!(sieve.pass(now, &Said { name, ..good.clone() }), None);
        }
        assert_eq!(sieve.pass(now, &good), Some(found));
        assert_eq!(sieve.other_clusters(), 1);
    }

    #[test]
    fn an_address_is_given_once_a_second_whoever_names_it() {
        let (mut sieve, start) = (sieve(), Instant::now());
        let mut pass = |ms, node, addresses: &[&str]| {
            let now = start + Duration::from_millis(ms);
            let found = sieve.pass(now, &Said { node, ..said(addresses) });
            found.map_or_else(Vec::new, |found| found.addresses)
        };
        assert_eq!(pass(0, "a", &["10.0.0.1:5", "10.0.0.1:5"]).len(), 1);
        assert_eq!(pass(0, "b", &["10.0.0.1:5"]), []);
        assert_eq!(pass(999, "a", &["10.0.0.1:5", "10.0.0.2:5"]).len(), 1);
        assert_eq!(pass(1000, "a", &["10.0.0.1:5", "10.0.0.2:5"]).len(), 1);
        assert_eq!(pass(1999, "a", &["10.0.0.1:5", "10.0.0.2:5"]).len(), 1);
    }

    #[test]
    fn addresses_that_are_nobody_elses_do_not_pass() {
        let odd = ["127.0.0.1:5", "[::1]:5", "0.0.0.0:5", "[::ffff:127.0.0.1]:5", "224.0.0.1:5"];
        assert_eq!(sieve().pass(Instant::now(), &said(&odd)), None);
    }

    #[test]
    fn memory_is_bounded_whatever_is_said() {
        let (mut sieve, start) = (sieve(), Instant::now());
        let mut given = 0;
        for n in 0..2_000_u32 {
            let addresses = vec![SocketAddr::from((n.to_be_bytes(), 5)); 3];
            let found = sieve.pass(start, &Said { addresses, ..said(&[]) });
            given += found.map_or(0, |found| found.addresses.len());
            sieve.pass(start, &Said { cluster: &format!("other {n}"), ..said(&[]) });
        }
        assert_eq!(given, FOUND_MEMORY);
        assert_eq!((sieve.given.len(), sieve.other_clusters()), (FOUND_MEMORY, OTHER_CLUSTERS_MAX));

        let later = start + FOUND_INTERVAL;
        assert!(sieve.pass(later, &said(&["10.0.0.1:5"])).is_some());
        assert_eq!(sieve.given.len(), 1);
        let many = Said { addresses: (1..=99).map(port_of_a_host).collect(), ..said(&[]) };
        assert_eq!(sieve.pass(later, &many).unwrap().addresses.len(), ADDRESSES_MAX);
    }

    fn sieve() -> Sieve {
        Sieve::new(NodeId(1), "ours".to_owned(), false)
    }

    fn said(addresses: &[&str]) -> Said<'static> {
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        Said { cluster: "ours", node: "2a", name: "n", addresses }
    }

    fn port_of_a_host(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 9], port))
    }
}

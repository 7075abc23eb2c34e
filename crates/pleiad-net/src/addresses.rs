//! Where a node listens, what it announces of that, and where its peers are.

use std::cmp::Reverse;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use pleiad_types::limits::ADDRESSES_MAX;

pub use error::AddressError;
pub(crate) use interface::Interface;
pub(crate) use target::Target;

mod error;
mod interface;
mod target;

/// The addresses at which a node with these listeners can be reached, the best first, each once.
///
/// A listener on all addresses (`0.0.0.0`, `::`) can be reached at those of all interfaces that are
/// up; `::` takes IPv4 too. Loopback addresses are given only for a listener on just that address.
/// Link-local ones are given only if there is nothing else. At most
/// [`ADDRESSES_MAX`].
pub(crate) fn reachable(listeners: &[SocketAddr], interfaces: &[Interface]) -> Vec<SocketAddr> {
    let mut ranked = Vec::new();
    for &listener in listeners {
        if !listener.ip().is_unspecified() {
            ranked.push((rank(&listener.ip(), false), listener));
            continue;
        }
        for interface in interfaces.iter().filter(|i| i.is_up && !i.is_loopback) {
            let taken = interface.addresses.iter().filter(|ip| is_taken_by(ip, &listener));
            ranked.extend(taken.map(|ip| {
                let address = with_scope(*ip, listener.port(), interface.index);
                (rank(ip, interface.is_bridge()), address)
            }));
        }
    }
    // Stable: within a rank, the order of the listeners and interfaces.
    ranked.sort_by_key(|(rank, _)| Reverse(*rank));
    if ranked.iter().any(|(rank, _)| *rank > Rank::LinkLocal) {
        ranked.retain(|(rank, address)| *rank != Rank::LinkLocal || listeners.contains(address));
    }
    let mut addresses = Vec::new();
    for (_, address) in ranked {
        if addresses.len() < ADDRESSES_MAX && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

/// Whether an address that somebody gave us makes sense for a connection.
pub(crate) fn can_be_dialled(address: &SocketAddr) -> bool {
    let ip = address.ip().to_canonical();
    let is_broadcast = ip == IpAddr::V4(Ipv4Addr::BROADCAST);
    address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !is_broadcast
}

/// A link-local address is nothing without its interface.
pub(crate) fn with_scope(ip: IpAddr, port: u16, interface: u32) -> SocketAddr {
    match ip {
        IpAddr::V6(ip) if ip.is_unicast_link_local() => {
            SocketAddr::V6(SocketAddrV6::new(ip, port, 0, interface))
        }
        _ => SocketAddr::new(ip, port),
    }
}

/// How likely an address is to work from another machine; more is better.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Rank {
    Loopback,
    LinkLocal,
    /// Of a bridge for containers or virtual machines: often the same on every machine.
    Bridge,
    V6Private,
    V6,
    V4,
}

fn rank(ip: &IpAddr, is_on_bridge: bool) -> Rank {
    match ip {
        _ if ip.is_loopback() => Rank::Loopback,
        IpAddr::V4(ip) if ip.is_link_local() => Rank::LinkLocal,
        IpAddr::V6(ip) if ip.is_unicast_link_local() => Rank::LinkLocal,
        _ if is_on_bridge => Rank::Bridge,
        IpAddr::V4(_) => Rank::V4,
        IpAddr::V6(ip) if ip.is_unique_local() => Rank::V6Private,
        IpAddr::V6(_) => Rank::V6,
    }
}

fn is_taken_by(ip: &IpAddr, listener: &SocketAddr) -> bool {
    let listens_on_all_v6 = listener.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    listens_on_all_v6 || ip.is_ipv4()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_one_address_is_reached_there() {
        let here = interfaces_of_a_laptop();
        assert_eq!(reach(&["192.168.1.5:7"], &here), ["192.168.1.5:7"]);
        assert_eq!(reach(&["127.0.0.1:7"], &here), ["127.0.0.1:7"]);
        assert_eq!(reach(&["127.0.0.1:7", "10.0.0.9:7"], &here), ["10.0.0.9:7", "127.0.0.1:7"]);
    }

    #[test]
    fn a_listener_on_all_is_reached_at_each_interface_that_is_up_the_best_first() {
        let here = interfaces_of_a_laptop();
        let v4 = ["192.168.1.5:7", "10.9.0.2:7", "172.17.0.1:7"];
        assert_eq!(reach(&["0.0.0.0:7"], &here), v4);
        let all = ["192.168.1.5:7", "10.9.0.2:7", "[2001:db8::5]:7", "[fd00::5]:7", "172.17.0.1:7"];
        assert_eq!(reach(&["[::]:7"], &here), all);
        assert_eq!(reach(&["0.0.0.0:7", "[::]:7"], &here), all);
        let two = reach(&["0.0.0.0:7", "0.0.0.0:8"], &here);
        assert_eq!(two[..4], ["192.168.1.5:7", "10.9.0.2:7", "192.168.1.5:8", "10.9.0.2:8"]);
    }

    #[test]
    fn link_local_addresses_are_for_need_and_know_their_interface() {
        let mut here = interfaces_of_a_laptop();
        here.truncate(2);
        here[1].addresses = ips(&["fe80::5", "169.254.3.4"]);
        assert_eq!(reach(&["[::]:7"], &here), ["[fe80::5%2]:7", "169.254.3.4:7"]);
        here[1].addresses.extend(ips(&["fd00::5"]));
        assert_eq!(reach(&["[::]:7"], &here), ["[fd00::5]:7"]);
        assert_eq!(reach(&["[fe80::5%2]:7", "[fd00::5]:7"], &here).len(), 2);
    }

    #[test]
    fn nothing_is_reached_without_a_network() {
        let here = interfaces_of_a_laptop();
        assert_eq!(reach(&["0.0.0.0:7"], &here[..1]), [""; 0]);
        assert_eq!(reach(&[], &here), [""; 0]);
    }

    #[test]
    fn more_addresses_than_the_limit_leave_out_the_worst() {
        let mut here = interfaces_of_a_laptop();
        let many: Vec<IpAddr> = (0..40).map(|n| IpAddr::V4(Ipv4Addr::new(10, 0, 0, n))).collect();
        here[1].addresses.splice(0..0, many);
        let reached = reach(&["[::]:7"], &here);
        assert_eq!(reached.len(), ADDRESSES_MAX);
        assert!(reached.iter().all(|address| address.starts_with("10.0.0.")));
    }

    #[test]
    fn addresses_that_mean_nobody_are_not_dialled() {
        for address in ["0.0.0.0:1", "[::]:1", "224.0.0.251:1", "[ff02::fb]:1", "1.2.3.4:0"] {
            assert!(!can_be_dialled(&address.parse().unwrap()), "{address}");
        }
        for address in ["255.255.255.255:1", "[::ffff:224.0.0.1]:1", "[::ffff:0.0.0.0]:1"] {
            assert!(!can_be_dialled(&address.parse().unwrap()), "{address}");
        }
        for address in ["127.0.0.1:1", "[::1]:1", "192.0.2.2:65535", "[fe80::1%2]:1"] {
            assert!(can_be_dialled(&address.parse().unwrap()), "{address}");
        }
    }

    fn reach(listeners: &[&str], interfaces: &[Interface]) -> Vec<String> {
        let listeners: Vec<_> = listeners.iter().map(|text| text.parse().unwrap()).collect();
        reachable(&listeners, interfaces).iter().map(SocketAddr::to_string).collect()
    }

    fn interfaces_of_a_laptop() -> Vec<Interface> {
        let wlan = ["fe80::5", "fd00::5", "2001:db8::5", "192.168.1.5"];
        let mut here = vec![
            interface("lo", 1, &["127.0.0.1", "::1"]),
            interface("wlan0", 2, &wlan),
            interface("docker0", 3, &["172.17.0.1"]),
            interface("eth0", 4, &["10.1.1.1"]),
            interface("tun0", 5, &["10.9.0.2"]),
        ];
        here[0].is_loopback = true;
        here[3].is_up = false;
        here
    }

    fn interface(name: &str, index: u32, addresses: &[&str]) -> Interface {
        let name = name.to_owned();
        let addresses = ips(addresses);
        Interface { name, index, addresses, is_up: true, is_loopback: false, is_multicast: true }
    }

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }
}

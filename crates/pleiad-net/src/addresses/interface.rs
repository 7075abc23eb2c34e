//! The network interfaces of this machine.

use std::io;
use std::net::IpAddr;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::{InterfaceFlags, if_nametoindex};

/// What begins the names of bridges for containers and virtual machines.
const BRIDGES: &[&str] = &["docker", "br-", "virbr", "veth", "cni", "podman", "lxcbr", "lxdbr"];

/// A network interface of this machine.
#[derive(Clone, Debug)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) index: u32,
    pub(crate) addresses: Vec<IpAddr>,
    /// Up, and its cable is in.
    pub(crate) is_up: bool,
    pub(crate) is_loopback: bool,
    pub(crate) is_multicast: bool,
}

impl Interface {
    /// All interfaces of this machine, in the system's order; also those without addresses.
    ///
    /// # Errors
    ///
    /// If the system does not tell.
    pub(crate) fn all() -> io::Result<Vec<Self>> {
        let mut interfaces: Vec<Self> = Vec::new();
        for entry in getifaddrs()? {
            let known = interfaces.iter().position(|known| known.name == entry.interface_name);
            let place = known.unwrap_or_else(|| {
                interfaces.push(Self::new(entry.interface_name, entry.flags));
                interfaces.len() - 1
            });
            let storage = entry.address.as_ref();
            let v4 = storage.and_then(|a| a.as_sockaddr_in()).map(|a| IpAddr::V4(a.ip()));
            let v6 = storage.and_then(|a| a.as_sockaddr_in6()).map(|a| IpAddr::V6(a.ip()));
            interfaces[place].addresses.extend(v4.or(v6));
        }
        Ok(interfaces)
    }

    fn new(name: String, flags: InterfaceFlags) -> Self {
        Self {
            // It may have gone since.
            index: if_nametoindex(name.as_str()).unwrap_or(0),
            name,
            addresses: Vec::new(),
            is_up: flags.contains(InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING),
            is_loopback: flags.contains(InterfaceFlags::IFF_LOOPBACK),
            is_multicast: flags.contains(InterfaceFlags::IFF_MULTICAST),
        }
    }

    /// Whether it leads to containers or virtual machines only, as its name says.
    pub(crate) fn is_bridge(&self) -> bool {
        BRIDGES.iter().any(|start| self.name.starts_with(start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_loopback_interface() {
        let here = Interface::all().unwrap();
        let loopback = here.iter().find(|interface| interface.is_loopback).unwrap();
        assert!(loopback.is_up && loopback.index > 0);
        assert!(loopback.addresses.contains(&IpAddr::from([127, 0, 0, 1])));
    }

    #[test]
    fn each_interface_is_there_once() {
        let here = Interface::all().unwrap();
        let mut names: Vec<_> = here.iter().map(|interface| &interface.name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), here.len());
    }
}

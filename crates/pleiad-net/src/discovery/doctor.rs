//! Why nobody is found: from facts to sentences.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::addresses::Interface;

/// What is known about a node that finds nobody, or not all. See [`why_nobody_is_found`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Facts {
    /// How many peers are connected.
    pub peers: usize,
    /// Whether it looks for others on the network.
    pub discovery: DiscoveryState,
    /// Where it listens.
    pub listeners: Vec<SocketAddr>,
    /// The network interfaces of the machine.
    pub interfaces: Vec<InterfaceFacts>,
    /// How many other clusters it has heard of on the network.
    pub other_clusters: usize,
    /// Nodes that were there, but with which no connection came about.
    pub refused: Vec<Refused>,
    /// Peers that the user has named, and that are not there.
    pub unreachable: Vec<Unreachable>,
}

/// Whether a node looks for others on the network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DiscoveryState {
    /// The user does not want it.
    Off,
    /// It does.
    #[default]
    On,
    /// It does, but something goes wrong.
    Failing(String),
}

/// A network interface, as far as it matters here.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InterfaceFacts {
    /// As the system calls it.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Whether it is up and its cable is in.
    pub is_up: bool,
    /// Whether it leads to this machine only.
    pub is_loopback: bool,
    /// Whether it can carry multicast, by which others are found.
    pub is_multicast: bool,
}

impl From<Interface> for InterfaceFacts {
    fn from(interface: Interface) -> Self {
        let Interface { name, addresses, is_up, is_loopback, is_multicast, .. } = interface;
        Self { name, addresses, is_up, is_loopback, is_multicast }
    }
}

/// A node with which no connection came about.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Refused {
    /// The name that it gave, or its address.
    pub node: String,
    /// Why, in words that fit behind "because".
    pub why: String,
}

/// A peer that the user has named, and that is not there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Unreachable {
    /// As the user wrote it.
    pub peer: String,
    /// The error.
    pub error: String,
}

/// One reason why others are not found. Prints as two sentences.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How it is.
    pub what: String,
    /// What to do.
    pub advice: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.what, self.advice)
    }
}

/// The reasons that are seen from here why nobody is found, or not all: the surest first. Nothing if
/// peers are connected and nothing is wrong.
pub fn why_nobody_is_found(facts: &Facts) -> Vec<Finding> {
    let mut findings: Vec<Finding> = facts.unreachable.iter().map(unreachable).collect();
    findings.extend(facts.refused.iter().map(refused));
    findings.extend(listening(facts));
    findings.extend(network(facts));
    if facts.peers > 0 {
        return findings;
    }
    findings.extend(other_clusters(facts.other_clusters));
    if findings.is_empty() {
        findings.push(finding(
            "Nothing is wrong here, but nobody has answered.",
            "Look whether other machines run a node of this cluster and are on the same network. \
             Many WLANs, clouds and container networks, and all routers, keep back what it takes to \
             be found, UDP port 5353: there, name a peer as host:port.",
        ));
    }
    findings
}

fn unreachable(Unreachable { peer, error }: &Unreachable) -> Finding {
    finding(
        format!("The peer {peer} cannot be reached: {error}."),
        "Look whether it runs, whether its address and port are right, and whether a firewall is in \
         between.",
    )
}

fn refused(Refused { node, why }: &Refused) -> Finding {
    finding(
        format!("{node} was found, but there is no connection, because {why}."),
        "If it belongs to your cluster, let it join by an invitation, and use the same release of \
         pleiad.",
    )
}

fn listening(facts: &Facts) -> Option<Finding> {
    if facts.listeners.is_empty() {
        let what = "This node listens nowhere, so others cannot reach it.";
        return Some(finding(what, "Give it an address to listen at, as in 0.0.0.0:9705."));
    }
    let is_here_only = facts.listeners.iter().all(|listener| listener.ip().is_loopback());
    is_here_only.then(|| {
        finding(
            "This node listens on loopback only, so other machines cannot reach it.",
            "If they are to, let it listen on the network, as at 0.0.0.0:9705.",
        )
    })
}

fn network(facts: &Facts) -> Option<Finding> {
    let error = match &facts.discovery {
        DiscoveryState::Off => {
            let what = "Discovery is off, so nobody is looked for on the network.";
            return Some(finding(what, "Turn it on, or name a peer as host:port."));
        }
        DiscoveryState::Failing(error) => Some(error),
        DiscoveryState::On => None,
    };
    let mut up = facts.interfaces.iter().filter(|i| i.is_up && !i.is_loopback).peekable();
    if up.peek().is_none() {
        let what = "This machine has no network: no interface is up except loopback.";
        return Some(finding(what, "Connect it to the network of the others."));
    }
    let names: Vec<&str> = up.clone().map(|interface| interface.name.as_str()).collect();
    if !up.any(|interface| interface.is_multicast && !interface.addresses.is_empty()) {
        return Some(finding(
            format!("No interface can find others ({}): none has multicast and an address.", {
                names.join(", ")
            }),
            "Name a peer as host:port.",
        ));
    }
    error.map(|error| {
        finding(
            format!(
                "Looking for others on the network ({}) goes wrong: {error}.",
                names.join(", ")
            ),
            "Look whether a firewall lets UDP port 5353 pass, or name a peer as host:port.",
        )
    })
}

fn other_clusters(count: usize) -> Option<Finding> {
    let what = match count {
        0 => return None,
        1 => "There is another cluster on the network.".to_owned(),
        _ => format!("There are {count} other clusters on the network."),
    };
    Some(finding(what, "If it is yours, this node has to join it first, by an invitation."))
}

fn finding(what: impl Into<String>, advice: impl Into<String>) -> Finding {
    Finding { what: what.into(), advice: advice.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_said_if_all_is_well() {
        assert_eq!(said(&Facts { peers: 1, ..good() }), "");
        // Others' clusters are no reason once there are peers.
        assert_eq!(said(&Facts { peers: 1, other_clusters: 3, ..good() }), "");
    }

    #[test]
    fn silence_is_explained_by_what_networks_keep_back() {
        let said = said(&good());
        assert!(said.starts_with("Nothing is wrong here, but nobody has answered. Look"), "{said}");
        assert!(said.contains("UDP port 5353") && said.contains("host:port"), "{said}");
    }

    #[test]
    fn each_fact_has_its_sentence_and_what_to_do() {
        let loopback: Vec<SocketAddr> = vec!["127.0.0.1:9705".parse().unwrap()];
        let failing = DiscoveryState::Failing("permission denied".to_owned());
        let cases = [
            (
                Facts { discovery: DiscoveryState::Off, ..good() },
                "Discovery is off, so nobody is looked for on the network. Turn it on",
            ),
            (Facts { discovery: failing, ..good() }, "(eth0) goes wrong: permission denied. Look"),
            (Facts { listeners: loopback, ..good() }, "listens on loopback only"),
            (Facts { listeners: Vec::new(), ..good() }, "This node listens nowhere"),
            (Facts { interfaces: Vec::new(), ..good() }, "This machine has no network"),
            (Facts { other_clusters: 1, ..good() }, "There is another cluster on the network. If"),
            (Facts { other_clusters: 2, ..good() }, "There are 2 other clusters"),
        ];
        for (facts, sentence) in cases {
            let said = said(&facts);
            assert!(said.contains(sentence), "{said:?} does not say {sentence:?}");
            assert_eq!(why_nobody_is_found(&facts).len(), 1, "{said}");
        }
    }

    #[test]
    fn interfaces_that_cannot_carry_multicast_are_named() {
        let mut facts = good();
        facts.interfaces[1].is_multicast = false;
        let expected = "No interface can find others (eth0): none has multicast and an address. Name a \
                        peer as host:port.";
        assert_eq!(said(&facts), expected);
        facts.interfaces[1].is_multicast = true;
        facts.interfaces[1].addresses.clear();
        assert_eq!(said(&facts), expected);
        facts.interfaces[1].is_up = false;
        assert!(said(&facts).starts_with("This machine has no network"));
    }

    #[test]
    fn what_the_user_named_comes_first_and_also_if_there_are_peers() {
        let facts = Facts {
            peers: 4,
            unreachable: vec![Unreachable {
                peer: "lab:9705".to_owned(),
                error: "connection refused".to_owned(),
            }],
            refused: vec![Refused {
                node: "node m7".to_owned(),
                why: "it speaks version 2 only".to_owned(),
            }],
            ..good()
        };
        let findings = why_nobody_is_found(&facts);
        assert_eq!(findings.len(), 2);
        assert_eq!(findings[0].what, "The peer lab:9705 cannot be reached: connection refused.");
        let refused =
            "node m7 was found, but there is no connection, because it speaks version 2 only.";
        assert_eq!(findings[1].what, refused);
    }

    fn said(facts: &Facts) -> String {
        let findings = why_nobody_is_found(facts);
        findings.iter().map(Finding::to_string).collect::<Vec<_>>().join("\n")
    }

    /// Nothing is wrong, but nobody is there.
    fn good() -> Facts {
        let interface = |name: &str, address: &str, is_loopback| InterfaceFacts {
            name: name.to_owned(),
            addresses: vec![address.parse().unwrap()],
            is_up: true,
            is_loopback,
            is_multicast: true,
        };
        Facts {
            listeners: vec!["0.0.0.0:9705".parse().unwrap()],
            interfaces: vec![
                interface("lo", "127.0.0.1", true),
                interface("eth0", "192.0.2.2", false),
            ],
            ..Facts::default()
        }
    }
}

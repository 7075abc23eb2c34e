//! Who may be where. What is found is never trusted: it is dialled, and then has to show who it is.
//!
//! Nodes of one user on one machine meet in a directory ([`here`]), those of other machines on the
//! local network ([`network`]); across networks, they are told of each other.

use std::net::SocketAddr;

use pleiad_types::NodeId;
use pleiad_types::limits::NAME_BYTES_MAX;

use crate::addresses::{AddressError, Interface, Target, reachable};
use crate::trust::DEFAULT_PORT;

pub(crate) mod doctor;
pub(crate) mod here;
pub(crate) mod network;
mod sieve;

/// What a node tells others about itself.
#[derive(Clone, Debug)]
pub(crate) struct Announcement {
    pub(crate) node: NodeId,
    pub(crate) name: String,
    pub(crate) cluster: String,
    /// Oldest and newest version of the protocol that it speaks; the handshake settles which.
    pub(crate) versions: (u16, u16),
    pub(crate) reached: Reached,
}

/// Where a node can be reached.
#[derive(Clone, Debug)]
pub(crate) enum Reached {
    /// At this port of every interface, also of those that come later.
    Everywhere(u16),
    /// There only.
    At(Vec<SocketAddr>),
}

impl Reached {
    /// Where a node with these listeners is reached: there, or where the user says (`host`,
    /// `host:port`) because others have to use other addresses. Names are resolved.
    ///
    /// # Errors
    ///
    /// [`AddressError`].
    pub(crate) async fn of(
        listeners: &[SocketAddr],
        announce: &[String],
    ) -> Result<Self, AddressError> {
        let port = listeners.first().map_or(DEFAULT_PORT, SocketAddr::port);
        if !announce.is_empty() {
            let targets = announce.iter().map(|text| Target::of_peer(text, port));
            let mut addresses = Vec::new();
            for target in targets.collect::<Result<Vec<_>, _>>()? {
                addresses.extend(target.resolve().await?);
            }
            return Ok(Self::At(addresses));
        }
        let is_everywhere = |l: &SocketAddr| l.ip().is_unspecified() && l.port() == port;
        if !listeners.is_empty() && listeners.iter().all(is_everywhere) {
            return Ok(Self::Everywhere(port));
        }
        let interfaces = Interface::all().map_err(AddressError::Interfaces)?;
        Ok(Self::At(reachable(listeners, &interfaces)))
    }
}

/// Somebody who says that a node of our cluster is at these addresses. One node may come in several
/// pieces: its addresses are heard of one after the other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Found {
    pub(crate) node: NodeId,
    pub(crate) name: String,
    /// Those that were not given within the last second; never empty.
    pub(crate) addresses: Vec<SocketAddr>,
}

/// Whether it can be the name of a node, and printed as it is.
fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_node_is_reached_where_it_listens_or_where_the_user_says() {
        assert_eq!(of(&["0.0.0.0:7"], &[]).await, "everywhere at 7");
        assert_eq!(of(&["0.0.0.0:7", "[::]:7"], &[]).await, "everywhere at 7");
        assert_eq!(of(&["192.0.2.9:7", "127.0.0.1:8"], &[]).await, "192.0.2.9:7 127.0.0.1:8");
        assert_eq!(of(&[], &[]).await, "");
        let announce = ["198.51.100.1", "198.51.100.2:80"];
        assert_eq!(of(&["0.0.0.0:7"], &announce).await, "198.51.100.1:7 198.51.100.2:80");
    }

    #[tokio::test]
    async fn a_wrong_address_to_announce_is_an_error() {
        let error = Reached::of(&[], &["here:".to_owned()]).await.unwrap_err();
        assert!(matches!(error, AddressError::BadPort { .. }), "{error}");
    }

    async fn of(listeners: &[&str], announce: &[&str]) -> String {
        let listeners: Vec<_> = listeners.iter().map(|text| text.parse().unwrap()).collect();
        let announce: Vec<_> = announce.iter().map(|&text| text.to_owned()).collect();
        match Reached::of(&listeners, &announce).await.unwrap() {
            Reached::Everywhere(port) => format!("everywhere at {port}"),
            Reached::At(all) => all.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(" "),
        }
    }
}

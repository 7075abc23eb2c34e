//! For the tests of this crate, and for nobody else.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use crate::node::Node;
use crate::trust::{Fingerprint, Member, server_name};

/// How much a node remembers. What belongs to nobody any more is to be in none of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Sessions with other nodes.
    pub links: usize,
    /// Names that are looked for.
    pub locates: usize,
    /// Tasks that are kept reachable for peers.
    pub given: usize,
    /// Tasks of peers to which there are references here.
    pub imports: usize,
    /// Tasks of peers that came from others, and are not adopted.
    pub handed: usize,
    /// Answers that are expected here.
    pub questions: usize,
    /// Deliveries that are not acknowledged.
    pub tickets: usize,
    /// Questions of peers that are not answered.
    pub asked: usize,
}

/// How much the node remembers at this moment.
pub fn counts(node: &Node) -> Counts {
    let links = node.mesh().links();
    let start =
        Counts { links: links.len(), locates: node.mesh().locates.len(), ..Counts::default() };
    links.iter().fold(start, |sum, link| link.count(sum))
}

/// How a member of a cluster dials another, for peers that do not behave.
pub fn tls(member: &Member) -> (Arc<ClientConfig>, ServerName<'static>) {
    (member.client_config(), server_name())
}

/// Which member a node is.
pub fn fingerprint(node: &Node) -> Fingerprint {
    node.mesh().member.fingerprint()
}

//! Tasks that talk across processes and machines. For users, this is a part of the crate `pleiad`.

#![warn(clippy::print_stdout, clippy::print_stderr, missing_debug_implementations)]

mod addresses;
#[cfg_attr(not(test), expect(dead_code, reason = "for the node, which is not there yet"))]
mod discovery;
mod trust;

pub use addresses::AddressError;
pub use discovery::doctor::{
    DiscoveryState, Facts, Finding, InterfaceFacts, Refused, Unreachable, why_nobody_is_found,
};
pub use discovery::here::HereError;
pub use discovery::network::NetworkError;
pub use trust::{
    ClusterKey, DEFAULT_PORT, Fingerprint, HandshakeError, Home, Invitation, Invitations,
    IssueError, Issued, JoinError, KeyError, Member, ParseFingerprintError, ParseInvitationError,
    Pki, Revoked, Secret, TakeError, join,
};

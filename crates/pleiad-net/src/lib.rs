//! Tasks that talk across processes and machines. For users, this is a part of the crate `pleiad`.

#![warn(clippy::print_stdout, clippy::print_stderr, missing_debug_implementations)]

mod trust;

pub use trust::{
    ClusterKey, DEFAULT_PORT, Fingerprint, HandshakeError, Home, Invitation, Invitations,
    IssueError, Issued, JoinError, KeyError, Member, ParseFingerprintError, ParseInvitationError,
    Pki, Revoked, Secret, TakeError, join,
};

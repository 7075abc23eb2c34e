//! Who belongs to a cluster, and how a machine gets in.
//!
//! A cluster is a certificate authority: whoever has its [`ClusterKey`] may admit others. A
//! [`Member`] is a node with a key of its own and a certificate of the authority, and talks TLS 1.3
//! with other members only. An [`Invitation`] lets one more machine in. The cryptography is that of
//! rustls and ring; nothing here invents any.

mod admission;
mod certificates;
mod cluster_key;
mod exchange;
mod files;
mod fingerprint;
mod handshake;
mod home;
mod invitation;
mod invitations;
mod join;
mod key_error;
mod member;
mod pki;
mod revoked;
#[cfg(test)]
mod tests;
mod tls;
mod verifier;

pub(crate) use admission::admit;
pub use cluster_key::ClusterKey;
pub use fingerprint::{Fingerprint, ParseFingerprintError};
pub use handshake::HandshakeError;
pub(crate) use handshake::{Greeted, check_server, greet};
pub use home::Home;
pub use invitation::{DEFAULT_PORT, Invitation, ParseInvitationError, Secret};
pub use invitations::{Invitations, IssueError, Issued, TakeError};
pub use join::{JoinError, join};
pub use key_error::KeyError;
pub use member::Member;
pub use pki::Pki;
pub use revoked::Revoked;
pub(crate) use tls::server_name;

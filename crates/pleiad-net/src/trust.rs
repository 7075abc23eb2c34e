//! Who belongs to a cluster, and how a machine gets in.
//!
//! A cluster is a certificate authority: whoever has its [`ClusterKey`] may admit others. A
//! [`Member`] is a node with a key of its own and a certificate of the authority, and talks TLS 1.3
//! with other members only. The cryptography is that of
//! rustls and ring; nothing here invents any.

mod certificates;
mod cluster_key;
mod files;
mod fingerprint;
mod handshake;
mod home;
mod key_error;
mod member;
mod pki;
mod revoked;
#[cfg(test)]
mod tests;
mod tls;
mod verifier;

pub use cluster_key::ClusterKey;
pub use fingerprint::{Fingerprint, ParseFingerprintError};
pub use handshake::HandshakeError;
#[cfg_attr(
    not(test),
    expect(unused_imports, reason = "for the listener, which is not there yet")
)]
pub(crate) use handshake::{Greeted, check_server, greet};
pub use home::Home;
pub use key_error::KeyError;
pub use member::Member;
pub use pki::Pki;
pub use revoked::Revoked;
#[cfg_attr(
    not(test),
    expect(unused_imports, reason = "for the dialler, which is not there yet")
)]
pub(crate) use tls::server_name;

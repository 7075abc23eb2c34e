use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::NoServerSessionStorage;
use rustls::version::TLS13;
use rustls::{ClientConfig, Error, ServerConfig};

use super::certificates::NODE_NAME;
use super::fingerprint::Fingerprint;
use super::revoked::Revoked;
use super::verifier::{Anonymous, Pinned, Verifier, provider};

/// The protocol of members among themselves.
pub(super) const MESH: &[u8] = b"pleiad/1";

/// The protocol by which one gets in; the only one that needs no certificate.
pub(super) const JOIN: &[u8] = b"pleiad-join/1";

/// What a node shows, and whom it believes.
#[derive(Debug)]
pub(super) struct Identity {
    /// The node's certificate first, then those above it.
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
    pub(super) authority: Vec<CertificateDer<'static>>,
}

/// For those who connect to us. Only a node that can admit others lets strangers speak
/// [`JOIN`]. Sessions are not resumed: whoever connects is checked, so a revocation works at once.
pub(super) fn server_config(
    identity: &Identity,
    revoked: Revoked,
    anonymous: Anonymous,
) -> Result<ServerConfig, Error> {
    let verifier = Verifier::new(identity.authority.clone())?.revoked(revoked).anonymous(anonymous);
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_single_cert(identity.chain.clone(), identity.key.clone_key())?;
    config.alpn_protocols = match anonymous {
        Anonymous::Refused => vec![MESH.to_vec()],
        Anonymous::MayJoin => vec![MESH.to_vec(), JOIN.to_vec()],
    };
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// For those to whom we connect.
pub(super) fn client_config(identity: &Identity, revoked: Revoked) -> Result<ClientConfig, Error> {
    let verifier = Verifier::new(identity.authority.clone())?.revoked(revoked);
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())?;
    config.alpn_protocols = vec![MESH.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    Ok(config)
}

/// For who wants to join the cluster with this authority.
pub(super) fn joiner_config(authority: Fingerprint) -> Result<ClientConfig, Error> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned::new(authority)))
        .with_no_client_auth();
    config.alpn_protocols = vec![JOIN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    Ok(config)
}

/// The name to give to rustls for any peer. It is not sent, and not compared.
pub(crate) fn server_name() -> ServerName<'static> {
    ServerName::try_from(NODE_NAME).expect("it is a DNS name")
}

use std::io;

use rustls::{
    AlertDescription, CertificateError, ClientConnection, CommonState, Error, PeerIncompatible,
    ServerConnection,
};

use super::fingerprint::Fingerprint;
use super::tls::{JOIN, MESH};

/// Why two nodes do not talk. Nothing was exchanged; only the first one is worth another try.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The connection broke.
    #[error("the connection was lost during the handshake: try again")]
    Lost(#[source] io::Error),
    /// Each of the two is in a cluster of its own.
    #[error("the peer is in another cluster: invite one of the two nodes into the other's cluster")]
    OtherCluster,
    /// The peer's certificate is over, or one of the clocks is wrong.
    #[error(
        "the certificate of the peer is not valid now: compare the clocks, or let it join again"
    )]
    PeerExpired,
    /// Our certificate is over, or one of the clocks is wrong.
    #[error("the peer finds our certificate not valid now: compare the clocks, or join again")]
    WeExpired,
    /// The peer is no longer trusted.
    #[error("the peer was revoked: it must join again with a new invitation")]
    PeerRevoked,
    /// We are no longer trusted.
    #[error("this node was revoked: it must join again with a new invitation")]
    WeRevoked,
    /// The peer has shown no certificate, and may do nothing but join.
    #[error("the peer shows no certificate: it must join first with an invitation")]
    NoCertificate,
    /// The peer wants a certificate.
    #[error("the peer wants a certificate: join its cluster first with an invitation")]
    CertificateWanted,
    /// The peer is no pleiad node, or too old or too new a one.
    #[error("the peer has no protocol in common with us: it needs a matching version of pleiad")]
    OtherProtocol,
    /// The peer speaks TLS 1.2 or older only.
    #[error("the peer does not speak TLS 1.3: update it")]
    OldTls,
    /// What came is not TLS.
    #[error("the peer does not speak TLS: is this the address of a pleiad node?")]
    NotTls,
    /// Something else, in the words of the library.
    #[error("the handshake failed: {0}")]
    Other(String),
}

impl HandshakeError {
    /// What an error means that came from connecting, accepting, or the first reading: with TLS
    /// 1.3, a client hears only then that it was refused.
    pub fn explain(error: io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(tls) => Self::of(tls.clone()),
            None => Self::Lost(error),
        }
    }

    pub(super) fn of(error: Error) -> Self {
        use CertificateError as C;
        match error {
            Error::InvalidCertificate(C::UnknownIssuer | C::BadSignature)
            | Error::AlertReceived(AlertDescription::UnknownCA | AlertDescription::DecryptError) => {
                Self::OtherCluster
            }
            Error::InvalidCertificate(
                C::Expired
                | C::ExpiredContext { .. }
                | C::NotValidYet
                | C::NotValidYetContext { .. },
            ) => Self::PeerExpired,
            Error::AlertReceived(AlertDescription::CertificateExpired) => Self::WeExpired,
            Error::InvalidCertificate(C::Revoked) => Self::PeerRevoked,
            Error::AlertReceived(AlertDescription::CertificateRevoked) => Self::WeRevoked,
            Error::NoCertificatesPresented => Self::NoCertificate,
            Error::AlertReceived(AlertDescription::CertificateRequired) => Self::CertificateWanted,
            Error::NoApplicationProtocol
            | Error::AlertReceived(AlertDescription::NoApplicationProtocol) => Self::OtherProtocol,
            Error::PeerIncompatible(
                PeerIncompatible::SupportedVersionsExtensionRequired
                | PeerIncompatible::Tls12NotOfferedOrEnabled
                | PeerIncompatible::Tls13RequiredForQuic
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
            )
            | Error::AlertReceived(AlertDescription::ProtocolVersion) => Self::OldTls,
            Error::InvalidMessage(_) => Self::NotTls,
            other => Self::Other(other.to_string()),
        }
    }
}

/// Who has connected, once the handshake is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Greeted {
    /// A member with a certificate of this fingerprint, which speaks the protocol of the mesh.
    Member(Fingerprint),
    /// Somebody who wants to join, to be given to [`admit`](super::admit). Nothing is known of it.
    Joiner,
}

/// Says who has connected to us. To be called before the first byte is read.
pub(crate) fn greet(connection: &ServerConnection) -> Result<Greeted, HandshakeError> {
    match connection.alpn_protocol() {
        Some(MESH) => peer(connection).map(Greeted::Member),
        Some(JOIN) => Ok(Greeted::Joiner),
        _ => Err(HandshakeError::OtherProtocol),
    }
}

/// Says to whom we have connected. To be called before the first byte is written.
pub(crate) fn check_server(connection: &ClientConnection) -> Result<Fingerprint, HandshakeError> {
    match connection.alpn_protocol() {
        Some(MESH) => peer(connection),
        _ => Err(HandshakeError::OtherProtocol),
    }
}

fn peer(connection: &CommonState) -> Result<Fingerprint, HandshakeError> {
    let leaf = connection.peer_certificates().and_then(<[_]>::first);
    leaf.map(Fingerprint::of).ok_or(HandshakeError::NoCertificate)
}

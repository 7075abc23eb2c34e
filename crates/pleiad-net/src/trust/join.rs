use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pleiad_types::limits;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;

use super::certificates::new_key;
use super::cluster_key::check_name;
use super::exchange::{Answer, ReadError, Request, read, write};
use super::fingerprint::Fingerprint;
use super::handshake::HandshakeError;
use super::invitation::Invitation;
use super::key_error::KeyError;
use super::member::Member;
use super::revoked::Revoked;
use super::tls::{joiner_config, server_name};

/// Why a machine did not get in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The name of the host is not known. The invitation can be used again.
    #[error("host {host} is not known: check the name, or use an invitation with an address")]
    NoSuchHost {
        /// The name.
        host: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Nobody answers. The invitation can be used again.
    #[error("cannot reach {address}: check that the inviting node runs and no firewall is between")]
    Unreachable {
        /// The last address that was tried.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Somebody else answers, or somebody is in between. The secret was not sent.
    #[error("who answers there is not of the cluster of the invitation: check host and port")]
    WrongCluster,
    /// The node is of the right cluster, but has no key to admit others with. The secret was not
    /// sent.
    #[error("that node cannot admit others: use an invitation of a node that has the cluster key")]
    CannotAdmit,
    /// No common language. The secret was not sent.
    #[error("the handshake with the inviting node failed")]
    Handshake(#[source] HandshakeError),
    /// The node said no, and why.
    #[error("the inviting node refuses: {reason}")]
    Refused {
        /// Its words.
        reason: String,
    },
    /// The connection broke, or took longer than 10 s. The invitation may be used up.
    #[error("no answer came: the invitation may be used up; try again, or ask for a new one")]
    AnswerLost(#[source] io::Error),
    /// The node's answer makes no sense. The invitation is used up.
    #[error("the answer makes no sense ({what}): update the older of the two nodes")]
    Garbage {
        /// What is wrong with it.
        what: String,
    },
    /// No key can be made here. The invitation can be used again.
    #[error("this machine cannot make itself a key")]
    Key(#[source] KeyError),
}

impl JoinError {
    /// Whether another address of the same host is worth a try: the secret was not sent.
    fn is_of_this_address(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. } | Self::WrongCluster | Self::CannotAdmit | Self::Handshake(_)
        )
    }
}

/// Uses an invitation: makes a key, and gets a certificate for it from the inviting node.
///
/// All addresses of the host are tried, 5 s each to connect and 10 s for the rest. The secret is
/// sent to a node of the cluster of the invitation only. The membership is in memory; to be still
/// there after a restart it must be [saved](Member::save).
///
/// # Errors
///
/// [`JoinError`]; each says whether the invitation may be used again. A one-time invitation is used
/// up as soon as the inviting node has made the certificate, even if the answer gets lost: ask for
/// another one then.
///
/// # Cancel safety
///
/// Not cancel-safe: the invitation may be used up.
pub async fn join(invitation: &Invitation, revoked: Revoked) -> Result<Member, JoinError> {
    let no_such_host =
        |source| JoinError::NoSuchHost { host: invitation.host().to_owned(), source };
    let addresses =
        lookup_host((invitation.host(), invitation.port())).await.map_err(no_such_host)?;
    let mut last = no_such_host(io::ErrorKind::NotFound.into());
    for address in addresses {
        match join_at(address, invitation, revoked.clone()).await {
            Err(error) if error.is_of_this_address() => last = error,
            other => return other,
        }
    }
    Err(last)
}

async fn join_at(
    address: SocketAddr,
    invitation: &Invitation,
    revoked: Revoked,
) -> Result<Member, JoinError> {
    let stream = timeout(CONNECT_TIME_MAX, TcpStream::connect(address))
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        .map_err(|source| JoinError::Unreachable { address, source })?;
    join_over(stream, invitation, revoked).await
}

const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// As [`join`], on a connection that stands.
pub(super) async fn join_over<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    invitation: &Invitation,
    revoked: Revoked,
) -> Result<Member, JoinError> {
    let deadline = Instant::now() + limits::ADMISSION_TIME_MAX;
    let key = new_key().map_err(JoinError::Key)?;
    let config = joiner_config(invitation.cluster())
        .map_err(|error| JoinError::Handshake(HandshakeError::of(error)))?;
    let connecting = TlsConnector::from(Arc::new(config)).connect(server_name(), stream);
    let mut stream = timeout_at(deadline, connecting)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        .map_err(refused_handshake)?;
    let mut request = Request { secret: *invitation.secret().as_bytes(), public_key: [0; 32] };
    request.public_key.copy_from_slice(key.public_key_raw());
    let asking = async {
        write(&mut stream, &request).await?;
        read(&mut stream).await
    };
    let answer = match timeout_at(deadline, asking).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(ReadError::Link(error))) => return Err(JoinError::AnswerLost(error)),
        Ok(Err(error)) => return Err(JoinError::Garbage { what: error.to_string() }),
        Err(_) => return Err(JoinError::AnswerLost(io::ErrorKind::TimedOut.into())),
    };
    let (certificate, authority, name) = match answer {
        Answer::Admitted { certificate, authority, cluster_name } => {
            (CertificateDer::from(certificate), CertificateDer::from(authority), cluster_name)
        }
        Answer::Refused(reason) => {
            let reason = reason.chars().filter(|c| !c.is_control()).take(500).collect();
            return Err(JoinError::Refused { reason });
        }
    };
    let garbage = |what: String| JoinError::Garbage { what };
    if Fingerprint::of(&authority) != invitation.cluster() {
        return Err(garbage("the certificate is of another authority".to_owned()));
    }
    check_name(&name).map_err(|error| garbage(error.to_string()))?;
    Member::joined(&key, certificate, authority, name, revoked)
        .map_err(|error| garbage(error.to_string()))
}

fn refused_handshake(error: io::Error) -> JoinError {
    match HandshakeError::explain(error) {
        HandshakeError::OtherCluster => JoinError::WrongCluster,
        HandshakeError::OtherProtocol => JoinError::CannotAdmit,
        other => JoinError::Handshake(other),
    }
}

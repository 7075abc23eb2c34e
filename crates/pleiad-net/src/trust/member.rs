use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rcgen::KeyPair;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{CertificateError, ClientConfig, Error, ServerConfig};

use super::certificates::new_key;
use super::cluster_key::{ClusterKey, name_in};
use super::files::{Present, read_secret, seal, to_pem, unseal, write_secret};
use super::fingerprint::Fingerprint;
use super::key_error::KeyError;
use super::pki::Pki;
use super::revoked::Revoked;
use super::tls::{Identity, client_config, server_config};
use super::verifier::{Anonymous, Verifier};

/// What makes a node a part of a cluster: its own key, and a certificate for it.
///
/// Members talk TLS 1.3 with each other, both sides show their certificates, and whoever is
/// [revoked](Revoked) or of another cluster is refused during the handshake.
pub struct Member {
    identity: Identity,
    origin: Origin,
    revoked: Revoked,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

enum Origin {
    Cluster(Arc<ClusterKey>),
    Joined { cluster_name: String },
    Pki,
}

impl Member {
    /// A node that has the cluster's key, and so may admit others. Its own key lives in memory.
    ///
    /// # Errors
    ///
    /// [`KeyError::Crypto`].
    pub fn of(cluster: Arc<ClusterKey>, revoked: Revoked) -> Result<Self, KeyError> {
        let key = new_key()?;
        let identity = Identity {
            chain: vec![cluster.sign(&key)?, cluster.certificate().clone()],
            key: private_key(&key),
            authority: vec![cluster.certificate().clone()],
        };
        Self::new(identity, Origin::Cluster(cluster), revoked)
    }

    /// A node of a machine that has [joined](crate::join), from the file that [`save`](Self::save)
    /// has written.
    ///
    /// # Errors
    ///
    /// [`KeyError::OpenToOthers`] if anybody else may read the file; [`KeyError::NotOurs`],
    /// [`CutOff`](KeyError::CutOff) or [`Damaged`](KeyError::Damaged) if it is not, or no longer,
    /// what was written; [`KeyError::Certificate`] if the membership is over;
    /// [`KeyError::File`] if it is not there.
    pub fn load(path: &Path, revoked: Revoked) -> Result<Self, KeyError> {
        Self::load_if_there(path, revoked)?.ok_or_else(|| KeyError::not_there(path))
    }

    /// A node with a certificate of the operator's own authority.
    ///
    /// # Errors
    ///
    /// [`KeyError::OpenToOthers`] if others may read the key or change the certificates;
    /// [`KeyError::Missing`] if a file holds not what it should; [`KeyError::Certificate`] if the
    /// certificate is over, or not of this key or authority; [`KeyError::File`].
    pub fn from_pki(pki: &Pki, revoked: Revoked) -> Result<Self, KeyError> {
        Self::new(pki.read()?, Origin::Pki, revoked)
    }

    /// Keeps a membership: writes key and certificates to a file of mode 0600, and replaces one that
    /// is there. The file is whole or not there.
    ///
    /// # Errors
    ///
    /// [`KeyError::NotJoined`] if this node has not [joined](crate::join); [`KeyError::File`].
    pub fn save(&self, path: &Path) -> Result<(), KeyError> {
        let Origin::Joined { cluster_name } = &self.origin else { return Err(KeyError::NotJoined) };
        let key = to_pem("PRIVATE KEY", self.identity.key.secret_der());
        let mut body = format!("cluster: {cluster_name}\n{key}");
        for certificate in &self.identity.chain {
            body.push_str(&to_pem("CERTIFICATE", certificate));
        }
        write_secret(path, &seal(TITLE, &body), Present::Replace)
    }

    /// The id of the cluster: the fingerprint of its authority's certificate.
    pub fn cluster(&self) -> Fingerprint {
        Fingerprint::of(&self.identity.authority[0])
    }

    /// The name of the cluster; an own PKI gives none.
    pub fn cluster_name(&self) -> Option<&str> {
        match &self.origin {
            Origin::Cluster(key) => Some(key.name()),
            Origin::Joined { cluster_name } => Some(cluster_name),
            Origin::Pki => None,
        }
    }

    /// The fingerprint of this node's certificate, by which it may be revoked.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.identity.chain[0])
    }

    /// The cluster's key, if this node has it: then it may invite and admit others.
    pub fn cluster_key(&self) -> Option<&Arc<ClusterKey>> {
        match &self.origin {
            Origin::Cluster(key) => Some(key),
            _ => None,
        }
    }

    /// Who is refused.
    pub fn revoked(&self) -> &Revoked {
        &self.revoked
    }

    /// For connections that come in. See [`greet`](super::greet).
    pub(crate) fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }

    /// For connections that go out. See [`check_server`](super::check_server).
    pub(crate) fn client_config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.client)
    }

    pub(super) fn joined(
        key: &KeyPair,
        certificate: CertificateDer<'static>,
        authority: CertificateDer<'static>,
        cluster_name: String,
        revoked: Revoked,
    ) -> Result<Self, KeyError> {
        let identity = Identity {
            chain: vec![certificate, authority.clone()],
            key: private_key(key),
            authority: vec![authority],
        };
        Self::new(identity, Origin::Joined { cluster_name }, revoked)
    }

    pub(super) fn load_if_there(path: &Path, revoked: Revoked) -> Result<Option<Self>, KeyError> {
        let Some(text) = read_secret(path)? else { return Ok(None) };
        let body = unseal(path, &text, TITLE, "membership")?;
        let damaged =
            |what: &str| KeyError::Damaged { path: path.to_owned(), what: what.to_owned() };
        let cluster_name = name_in(body).ok_or_else(|| damaged("no name"))?.to_owned();
        let key = PrivateKeyDer::from_pem_slice(body.as_bytes()).map_err(|_| damaged("no key"))?;
        let chain: Vec<_> = CertificateDer::pem_slice_iter(body.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|_| damaged("no certificate"))?;
        let [_, authority] = &chain[..] else { return Err(damaged("not two certificates")) };
        let authority = vec![authority.clone()];
        let identity = Identity { chain, key, authority };
        Self::new(identity, Origin::Joined { cluster_name }, revoked).map(Some)
    }

    fn new(identity: Identity, origin: Origin, revoked: Revoked) -> Result<Self, KeyError> {
        let anonymous = match origin {
            Origin::Cluster(_) => Anonymous::MayJoin,
            _ => Anonymous::Refused,
        };
        let configs = || {
            Verifier::new(identity.authority.clone())?
                .verify(&identity.chain[0], &identity.chain[1..])?;
            let server = server_config(&identity, revoked.clone(), anonymous)?;
            Ok((server, client_config(&identity, revoked.clone())?))
        };
        let (server, client) =
            configs().map_err(|error| KeyError::Certificate { why: own_problem(&error) })?;
        Ok(Self { identity, origin, revoked, server: Arc::new(server), client: Arc::new(client) })
    }

    #[cfg(test)]
    pub(super) fn joined_for_tests(cluster: &ClusterKey) -> Self {
        let key = new_key().unwrap();
        let certificate = cluster.sign(&key).unwrap();
        let authority = cluster.certificate().clone();
        let name = cluster.name().to_owned();
        Self::joined(&key, certificate, authority, name, Revoked::default()).unwrap()
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member")
            .field("cluster", &self.cluster())
            .field("fingerprint", &self.fingerprint())
            .field("may_admit", &self.cluster_key().is_some())
            .finish_non_exhaustive()
    }
}

const TITLE: &str = "pleiad membership, version 1. Keep it secret: it is the key of this machine.";

fn private_key(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()))
}

/// What is wrong with a node's own certificate, and what to do.
fn own_problem(error: &Error) -> String {
    use CertificateError as C;
    match error {
        Error::InvalidCertificate(C::Expired | C::ExpiredContext { .. }) => {
            "it has expired: join again with a new invitation, or issue another".to_owned()
        }
        Error::InvalidCertificate(C::NotValidYet | C::NotValidYetContext { .. }) => {
            "it is not valid yet: set the clock of this machine".to_owned()
        }
        Error::InvalidCertificate(C::UnknownIssuer | C::BadSignature) => {
            "it is not signed by the given authority: give the certificate of the one that did"
                .to_owned()
        }
        Error::InvalidCertificate(C::InvalidPurpose | C::InvalidPurposeContext { .. }) => {
            "it is not for both servers and clients: issue one with both purposes".to_owned()
        }
        Error::InconsistentKeys(_) => {
            "it is for another key: give the key that belongs to it".to_owned()
        }
        other if other.to_string().contains("CaUsedAsEndEntity") => {
            "it is an authority's: issue one for this node with it".to_owned()
        }
        other => other.to_string(),
    }
}

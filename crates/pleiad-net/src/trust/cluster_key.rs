use std::fmt;
use std::path::Path;

use pleiad_types::limits;
use rcgen::{Issuer, KeyPair, PKCS_ED25519, PublicKeyData};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use super::certificates::{authority_params, new_key, sign_authority, sign_member};
use super::files::{Present, read_secret, seal, to_pem, unseal, write_secret};
use super::fingerprint::Fingerprint;
use super::key_error::KeyError;
use super::verifier::Verifier;

/// The key of a cluster: whoever has it is in, and may admit others.
///
/// It is an Ed25519 certificate authority, kept in one file of mode 0600. Copying that file to
/// another machine makes that machine an equal part of the cluster; it cannot be revoked. If the
/// key got into wrong hands, make a new cluster.
pub struct ClusterKey {
    name: String,
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

impl ClusterKey {
    /// Makes a new cluster, in memory. The name is for people; it need not be unique.
    ///
    /// # Errors
    ///
    /// [`KeyError::Name`] if the name is empty, longer than 64 bytes, or has control characters;
    /// [`KeyError::Crypto`] if the system gives no random numbers.
    pub fn create(name: &str) -> Result<Self, KeyError> {
        check_name(name)?;
        let key = new_key()?;
        let certificate = sign_authority(name, &key)?.der().clone();
        Ok(Self::new(name, key, certificate))
    }

    /// Reads the key of a cluster from its file.
    ///
    /// # Errors
    ///
    /// [`KeyError::OpenToOthers`] if anybody else may read the file; [`KeyError::NotOurs`],
    /// [`CutOff`](KeyError::CutOff) or [`Damaged`](KeyError::Damaged) if it is not, or no longer,
    /// what [`save`](Self::save) has written; [`KeyError::File`] if it is not there.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        Self::load_if_there(path)?.ok_or_else(|| KeyError::not_there(path))
    }

    /// Writes the key to a new file of mode 0600. The file is whole or not there.
    ///
    /// # Errors
    ///
    /// [`KeyError::Exists`] if the file is there: a key is never replaced. [`KeyError::File`].
    pub fn save(&self, path: &Path) -> Result<(), KeyError> {
        write_secret(path, &seal(TITLE, &self.to_body()), Present::Keep)
    }

    /// The id of the cluster: the fingerprint of its authority's certificate.
    pub fn id(&self) -> Fingerprint {
        Fingerprint::of(&self.certificate)
    }

    /// The name that it was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn load_if_there(path: &Path) -> Result<Option<Self>, KeyError> {
        let Some(text) = read_secret(path)? else { return Ok(None) };
        let body = unseal(path, &text, TITLE, "cluster key")?;
        Self::from_body(body)
            .map(Some)
            .map_err(|what| KeyError::Damaged { path: path.to_owned(), what })
    }

    pub(super) fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// A member's certificate for this public key.
    pub(super) fn sign(
        &self,
        key: &impl PublicKeyData,
    ) -> Result<CertificateDer<'static>, KeyError> {
        Ok(sign_member(key, &self.issuer)?.der().clone())
    }

    #[cfg(test)]
    pub(super) fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }

    fn new(name: &str, key: KeyPair, certificate: CertificateDer<'static>) -> Self {
        let issuer = Issuer::new(authority_params(name, &key), key);
        Self { name: name.to_owned(), issuer, certificate }
    }

    fn to_body(&self) -> String {
        let key = self.issuer.key().serialize_pem();
        format!("cluster: {}\n{key}{}", self.name, to_pem("CERTIFICATE", &self.certificate))
    }

    fn from_body(body: &str) -> Result<Self, String> {
        let name = name_in(body).ok_or("no name")?;
        let key = PrivatePkcs8KeyDer::from_pem_slice(body.as_bytes()).map_err(|e| e.to_string())?;
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_ED25519)
            .map_err(|error| error.to_string())?;
        let certificate =
            CertificateDer::from_pem_slice(body.as_bytes()).map_err(|error| error.to_string())?;
        let this = Self::new(name, key, certificate);
        this.check().map_err(|_| "its key and certificate do not belong together")?;
        Ok(this)
    }

    /// Signs a certificate and checks it: key, name and authority belong together.
    fn check(&self) -> Result<(), String> {
        let leaf = self.sign(self.issuer.key()).map_err(|error| error.to_string())?;
        let verifier =
            Verifier::new(vec![self.certificate.clone()]).map_err(|error| error.to_string())?;
        verifier.verify(&leaf, &[]).map_err(|error| error.to_string())
    }
}

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterKey")
            .field("name", &self.name)
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}

const TITLE: &str = "pleiad cluster key, version 1. Keep it secret: it admits machines.";

pub(super) fn check_name(name: &str) -> Result<(), KeyError> {
    let fits = (1..=limits::CLUSTER_NAME_BYTES_MAX).contains(&name.len());
    if fits && !name.contains(char::is_control) { Ok(()) } else { Err(KeyError::Name) }
}

/// The name of the cluster in the body of one of our files.
pub(super) fn name_in(body: &str) -> Option<&str> {
    let name = body.strip_prefix("cluster: ")?.split('\n').next()?;
    check_name(name).is_ok().then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saved_key_is_loaded_as_the_same_cluster_and_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cluster.key");
        let key = ClusterKey::create("höme 1").unwrap();
        key.save(&path).unwrap();

        let loaded = ClusterKey::load(&path).unwrap();
        assert_eq!((loaded.id(), loaded.name()), (key.id(), "höme 1"));
        let error = ClusterKey::create("other").unwrap().save(&path).unwrap_err();
        assert!(matches!(error, KeyError::Exists { .. }), "{error}");
        assert_eq!(ClusterKey::load(&path).unwrap().id(), key.id());
    }

    #[test]
    fn a_name_that_does_not_fit_is_refused() {
        for name in ["", "two\nlines", &"x".repeat(65)] {
            assert!(matches!(ClusterKey::create(name).unwrap_err(), KeyError::Name), "{name:?}");
        }
        ClusterKey::create(&"x".repeat(64)).unwrap();
    }

    #[test]
    fn a_file_that_is_not_a_cluster_key_is_told_from_a_broken_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cluster.key");
        let load = |text: &[u8]| {
            write_secret(&path, text, Present::Replace).unwrap();
            ClusterKey::load(&path).unwrap_err()
        };
        let one = ClusterKey::create("one").unwrap();
        let two = ClusterKey::create("two").unwrap();
        let whole = seal(TITLE, &one.to_body());

        let missing = ClusterKey::load(&dir.path().join("none")).unwrap_err();
        assert!(matches!(missing, KeyError::File { .. }), "{missing}");
        assert!(matches!(load(b"PNG or so"), KeyError::NotOurs { .. }));
        assert!(matches!(load(&[0xff; 200]), KeyError::NotOurs { .. }));
        assert!(matches!(load(&whole[..whole.len() / 2]), KeyError::CutOff { .. }));
        assert!(matches!(load(b""), KeyError::CutOff { .. }));
        let key = one.issuer.key().serialize_pem();
        let mixed = format!("cluster: one\n{key}{}", to_pem("CERTIFICATE", &two.certificate));
        let renamed = one.to_body().replace("cluster: one", "cluster: two");
        for body in [mixed, renamed] {
            let text = load(&seal(TITLE, &body)).to_string();
            assert!(text.contains("do not belong together"), "{text}");
        }
        for body in ["cluster: \n", "cluster: one\n", "", &one.to_body()[..150]] {
            let error = load(&seal(TITLE, body));
            assert!(matches!(error, KeyError::Damaged { .. }), "{error}");
        }
    }

    #[test]
    fn what_is_printed_for_debugging_holds_no_key() {
        let key = ClusterKey::create("home").unwrap();
        let text = format!("{key:?}");
        assert_eq!(text, format!("ClusterKey {{ name: \"home\", id: {}, .. }}", key.id()));
    }
}

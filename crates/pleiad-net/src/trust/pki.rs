use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::files::{read_secret, read_trusted};
use super::key_error::KeyError;
use super::tls::Identity;

/// The files of an operator's own authority, in PEM format. Several of the three may be one file.
///
/// Everybody with a certificate of that authority is a member, whatever name is in it: use an
/// authority, or an intermediate one, that signs for this cluster only. There are no invitations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pki {
    /// This node's certificate, and then those between it and the authority.
    pub cert: PathBuf,
    /// Its private key; nobody else may read the file.
    pub key: PathBuf,
    /// The certificates of the authority. If this is the same file as `cert`, all but the first, or
    /// the only one.
    pub ca: PathBuf,
}

impl Pki {
    pub(super) fn read(&self) -> Result<Identity, KeyError> {
        let key = PrivateKeyDer::from_pem_slice(&there(&self.key, read_secret)?)
            .map_err(|_| KeyError::Missing { path: self.key.clone(), what: "private key" })?;
        let chain = certificates(&self.cert)?;
        let mut authority = certificates(&self.ca)?;
        if self.ca == self.cert && authority.len() > 1 {
            authority.remove(0);
        }
        Ok(Identity { chain, key, authority })
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, KeyError> {
    let missing = || KeyError::Missing { path: path.to_owned(), what: "certificate" };
    let text = there(path, read_trusted)?;
    let found: Vec<_> =
        CertificateDer::pem_slice_iter(&text).collect::<Result<_, _>>().map_err(|_| missing())?;
    if found.is_empty() { Err(missing()) } else { Ok(found) }
}

fn there(
    path: &Path,
    read: impl Fn(&Path) -> Result<Option<Vec<u8>>, KeyError>,
) -> Result<Vec<u8>, KeyError> {
    read(path)?.ok_or_else(|| KeyError::not_there(path))
}

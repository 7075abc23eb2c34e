use std::io;
use std::path::{Path, PathBuf};

/// Why a key or a certificate could not be made, read or kept. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The operating system refused.
    #[error("cannot {what} {}", path.display())]
    File {
        /// What was tried: read, write, …
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// Others may read a secret, or replace it.
    #[error(
        "others may use {} (mode {mode:04o}): run `chmod {wanted:04o} {}`, and if somebody else \
         had access, make a new key",
        path.display(), path.display()
    )]
    OpenToOthers {
        /// The file or directory.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// The mode that it should have.
        wanted: u32,
    },
    /// There is already a file, and it is not to be replaced.
    #[error("{} is already there: remove it first if it is no longer needed", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file is something else.
    #[error("{} is not a {expected}: name another file", path.display())]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// What was to be there.
        expected: &'static str,
    },
    /// The end of the file is missing.
    #[error("{} is cut off: restore it from a copy, or remove it and start again", path.display())]
    CutOff {
        /// The file.
        path: PathBuf,
    },
    /// The file was changed after it was written.
    #[error(
        "{} is damaged ({what}): restore it from a copy, or remove it and start again",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The file of an own PKI lacks something.
    #[error("{} holds no {what} in PEM format", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// The certificate is over, not yet valid, of another authority, or not for this key.
    #[error("the certificate of this node is of no use: {why}")]
    Certificate {
        /// What is wrong, and what to do.
        why: String,
    },
    /// The name of a cluster is empty, too long, or has control characters.
    #[error("a cluster's name has 1 to 64 bytes and no control characters: choose another")]
    Name,
    /// Only a node that has joined with an invitation has something to keep.
    #[error("this node did not join with an invitation: there is no membership to save")]
    NotJoined,
    /// The list of revoked certificates is full.
    #[error("too many certificates are revoked: make a new cluster")]
    TooManyRevoked,
    /// There is no home directory, so there is no place for the user's keys.
    #[error("this user has no home directory: set PLEIAD_HOME to a directory for the keys")]
    NoHome,
    /// The cryptographic library refused, or the system gives no random numbers.
    #[error("cannot make a key or certificate: {what}")]
    Crypto {
        /// What it said.
        what: String,
    },
}

impl KeyError {
    pub(super) fn file(what: &'static str, path: &Path, source: io::Error) -> Self {
        Self::File { what, path: path.to_owned(), source }
    }

    pub(super) fn not_there(path: &Path) -> Self {
        Self::file("read", path, io::ErrorKind::NotFound.into())
    }

    pub(super) fn crypto(what: impl ToString) -> Self {
        Self::Crypto { what: what.to_string() }
    }
}

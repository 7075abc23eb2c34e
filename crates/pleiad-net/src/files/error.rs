use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::error::LocateError;
use crate::files::messages::FileRefusal;
use crate::files::path::FilePathError;
use crate::files::send::Unsent;

/// Why a file was not sent, fetched or deleted. Unless it says otherwise, nothing is under its final name
/// that was not there before.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FileError {
    /// The file here cannot be read.
    #[error("cannot read {path}: is it a file?", path = path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The name of the file here cannot be used there.
    #[error("the name of {} is no text: say what it is to be there, by `to`", .0.display())]
    Name(PathBuf),
    /// The file was changed while it was sent. Try again when it is finished.
    #[error("{} was changed while it was sent", .0.display())]
    Changed(PathBuf),
    /// The file cannot be written here.
    #[error("cannot write {path}", path = path.display())]
    Unwritable {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file is not taken here.
    #[error("{path} is not written: {why}", path = path.display())]
    NotTaken {
        /// Where.
        path: PathBuf,
        /// Why not.
        why: FileRefusal,
    },
    /// The path can be no name of a file there.
    #[error(transparent)]
    Path(#[from] FilePathError),
    /// The peer does not do it.
    #[error("{peer} refuses {path:?}: {why}")]
    Refused {
        /// Who.
        peer: String,
        /// Where the file is there.
        path: String,
        /// Why.
        why: FileRefusal,
    },
    /// The peer was lost. What was sent or fetched is kept for a day: do the same again, also when the
    /// peer has started anew, and it goes on from there. If all had been sent, the file may be there.
    #[error("{peer} was lost: {why}")]
    Lost {
        /// Who.
        peer: String,
        /// How.
        why: String,
    },
    /// There was no progress for so long. As after a loss, the same may be done again.
    #[error("there was no progress with {peer} for {after:?}")]
    TimedOut {
        /// Who.
        peer: String,
        /// How long.
        after: Duration,
    },
    /// The peer does not keep to what nodes have agreed, or is of another version.
    #[error("{peer} cannot be understood: {what}")]
    Misunderstood {
        /// Who.
        peer: String,
        /// What is wrong.
        what: String,
    },
    /// The node has closed.
    #[error("the node has closed")]
    Closed,
}

impl FileError {
    pub(super) fn of_locate(error: LocateError, peer: &str) -> Self {
        let peer = peer.to_owned();
        match error {
            LocateError::Closed => Self::Closed,
            LocateError::PeerLost(_) => Self::Lost { peer, why: error.to_string() },
            LocateError::TimedOut { after, .. } => Self::TimedOut { peer, after },
            _ => Self::Misunderstood { peer, what: error.to_string() },
        }
    }

    pub(super) fn of_unsent(unsent: Unsent, peer: &str, from: &std::path::Path, to: &str) -> Self {
        let peer = peer.to_owned();
        match unsent {
            Unsent::Refused(why) => Self::Refused { peer, path: to.to_owned(), why },
            Unsent::Lost(why) => Self::Lost { peer, why },
            Unsent::TimedOut(after) => Self::TimedOut { peer, after },
            Unsent::Changed => Self::Changed(from.to_owned()),
            Unsent::Disk(source) => Self::Unreadable { path: from.to_owned(), source },
            Unsent::Violation(what) => Self::Misunderstood { peer, what },
        }
    }
}

//! What nodes say to each other about files. It travels in messages, as all between tasks does.

use pleiad_task::{Reply, TaskRef};
use pleiad_types::limits::FILE_BYTES_MAX;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The task of a node that takes files, and gives and deletes them.
pub(crate) const FILES: &str = "^files";

/// A BLAKE3 hash.
pub(super) type Hash = [u8; 32];

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Somebody has a file to send.
    Offer(Offer, Reply<Answer>),
    /// Somebody wants a file, and has a task that takes it, by an offer.
    Fetch(Fetch, Reply<Result<(), FileRefusal>>),
    /// Somebody wants a file to be gone.
    Delete(String, Reply<Result<(), FileRefusal>>),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Offer {
    /// The number of the node that sends.
    pub(super) from: u64,
    pub(super) path: String,
    pub(super) bytes: u64,
    /// Permissions, as on Unix.
    pub(super) mode: u32,
    /// When it was changed: seconds and nanoseconds since 1970.
    pub(super) modified: (i64, u32),
    /// Whether it may take the place of another file.
    pub(super) overwrite: bool,
    /// Its hash, once it is wanted.
    pub(super) hash: Option<Hash>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Fetch {
    pub(super) path: String,
    pub(super) taker: TaskRef<Request>,
}

/// The answer to an offer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Refused(FileRefusal),
    /// There may be the same file: its hash will tell.
    Hash,
    /// The same file is there already.
    Same,
    /// The file is to be sent there.
    Send {
        writer: TaskRef<Part>,
        /// So many bytes are there, from an earlier time.
        offset: u64,
        /// And this is their hash.
        hash: Hash,
    },
}

/// What the task is told that writes a file.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Part {
    /// Somebody waits for the end of it, good or bad.
    Watch(Reply<Result<(), FileRefusal>>),
    /// What is there is of another file: it begins at zero.
    Again,
    Chunk {
        offset: u64,
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
    /// That was all.
    End(Hash),
}

/// Why a node does not do what it was asked with a file.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum FileRefusal {
    /// It has no directory for files of others.
    #[error("it has no directory for files: it needs `NodeBuilder::files`")]
    NoDirectory,
    /// The path does not name a file in its directory.
    #[error("{0}")]
    Path(String),
    /// A name on the way is that of a file, or of a link, which are not followed.
    #[error("the path leads through something that is no directory, or through a link")]
    Way,
    /// There is no such file.
    #[error("there is no such file")]
    NotFound,
    /// There is something else than a file: a directory, a link, a device.
    #[error("there is something of that name that is not a regular file")]
    NotRegular,
    /// There is another file of that name.
    #[error("another file of that name is there: allow it to be overwritten, or use another name")]
    Exists,
    /// The file is too large.
    #[error("it takes files of up to {max} bytes (by default {FILE_BYTES_MAX})")]
    TooLarge {
        /// What it takes.
        max: u64,
    },
    /// Its directory would be too large.
    #[error("all its files together may have {max} bytes, and with this they would have more")]
    NoRoom {
        /// What they may have.
        max: u64,
    },
    /// Its disk has not so much room. Nothing is left of the file.
    #[error("its disk is full")]
    DiskFull,
    /// It is taking so many files that it takes no further one. Try again later.
    #[error("it is busy with too many files: try again later")]
    Busy,
    /// Somebody is sending a file of that name. Try again later.
    #[error("a file of that name is on its way there already: try again later")]
    UnderWay,
    /// The file is not what was sent. Nothing is left of it.
    #[error("the file has not come as it was sent: its hash is wrong")]
    Hash,
    /// What was sent was not what was offered. Nothing is left of it.
    #[error("the sender does not keep to its offer: {0}")]
    Offer(String),
    /// The file was changed while it was sent.
    #[error("the file was changed while it was sent")]
    Changed,
    /// Nothing more has come of the file.
    #[error("the sender is silent")]
    Silent,
    /// Its disk has failed, or it may not do that.
    #[error("its disk says: {0}")]
    Disk(String),
    /// It could not send what it was asked for.
    #[error("it could not send the file: {0}")]
    Unsent(String),
}

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use pleiad_proto::wire::Refusal;
use pleiad_task::Identity;
use pleiad_types::limits::{LOCATES_MAX, NAME_BYTES_MAX};
use thiserror::Error;

use crate::addresses::AddressError;
use crate::trust::{HandshakeError, IssueError, JoinError, KeyError};

/// Why a node did not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// There is no tokio runtime here.
    #[error("a node starts on a tokio runtime: call this in async code")]
    NoRuntime,
    /// The cluster's keys are not to be had.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// An address makes no sense.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// It cannot listen where it should.
    #[error("cannot listen on {address}: is it taken? Port 0 takes any that is free")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// Its thread was not started.
    #[error("cannot start the node's thread")]
    Thread(#[source] io::Error),
    /// It was not let into the cluster.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// The directory for files is not to be had.
    #[error("cannot use {path} for files", path = path.display())]
    Files {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Its name is empty, or longer than the limit.
    #[error("a node's name has 1 to {NAME_BYTES_MAX} bytes, and this has {0}")]
    NameLength(usize),
    /// Its own tasks have got no names.
    #[error("the node's own tasks did not start")]
    System(#[source] RegisterError),
}

/// Why a name was not given.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// Another task of this node has it; also one that stands for a channel or a service.
    #[error("the name {name:?} is taken by {holder}")]
    Taken {
        /// The name.
        name: String,
        /// Who has it.
        holder: Identity,
    },
    /// The task has ended.
    #[error("{0} has ended, and cannot have a name")]
    Ended(Identity),
    /// The channel is closed.
    #[error("channel {0:?} is closed, and cannot have a name")]
    Closed(String),
    /// The task is of another node.
    #[error("{0} is a task of another node: only that can give it a name")]
    Far(Identity),
    /// It is for the system's own.
    #[error("names that begin with ^ are the system's, and {0:?} does: use another")]
    Reserved(String),
    /// It is empty, or longer than the limit.
    #[error("a name has 1 to {NAME_BYTES_MAX} bytes, and this has {0}")]
    Length(usize),
}

/// Why nothing was found by a name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LocateError {
    /// What has the name takes other messages: also if it is a channel or a service. They are the same if their definitions are: names of
    /// fields and variants, their order and their types.
    #[error("{name:?} on {peer} takes {found}, not {wanted}")]
    WrongType {
        /// The name.
        name: String,
        /// What was asked for.
        wanted: String,
        /// What it takes.
        found: String,
        /// The node.
        peer: String,
    },
    /// Nothing of the name has appeared in time.
    #[error("nothing with the name {name:?} has appeared within {after:?} on {}", Where(*peers))]
    TimedOut {
        /// The name.
        name: String,
        /// How long it was waited.
        after: Duration,
        /// How many peers there were at the end. If none: `pleiad doctor` says why.
        peers: usize,
    },
    /// Nothing has such a name: it is empty, or longer than the limit.
    #[error("a name has 1 to {NAME_BYTES_MAX} bytes, and this has {0}")]
    Length(usize),
    /// This node looks for too many names at once.
    #[error("{LOCATES_MAX} names are looked for at this moment: wait for some of them")]
    TooMany,
    /// The peer where it was looked for is gone.
    #[error("{0} was lost while a name was looked for there")]
    PeerLost(String),
    /// The node has closed.
    #[error("the node has closed")]
    Closed,
}

/// Where it was looked for a name.
struct Where(usize);

impl fmt::Display for Where {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("this node, and there is no other: `pleiad doctor` says why"),
            1 => f.write_str("this node and its peer"),
            peers => write!(f, "this node and {peers} peers"),
        }
    }
}

/// Why there is no connection.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Where it is makes no sense.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// There is nobody, or the network has failed.
    #[error("cannot talk to {address}")]
    Unreachable {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The sides do not trust each other.
    #[error("{address} is not trusted, or does not trust this node")]
    Handshake {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: HandshakeError,
    },
    /// The other side does not take the connection.
    #[error("{address} does not take the connection: {refusal}")]
    Refused {
        /// Where.
        address: SocketAddr,
        /// Why not.
        refusal: Refusal,
    },
    /// It took too long.
    #[error("{address} has not answered within {after:?}")]
    TimedOut {
        /// Where.
        address: SocketAddr,
        /// How long it was waited.
        after: Duration,
    },
    /// It is this node itself.
    #[error("{0} is this node itself")]
    Itself(SocketAddr),
    /// The node has closed.
    #[error("the node has closed")]
    Closed,
}

/// Why there is no invitation.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InviteError {
    /// This node is a member of the cluster, but cannot make others one.
    #[error(
        "only a node that has the cluster's key can invite: do it on the machine that made the cluster"
    )]
    NoKey,
    /// This node cannot be dialled from anywhere.
    #[error(
        "this node listens nowhere that others could dial: say where it listens, or announce an address"
    )]
    NoAddress,
    /// There are too many.
    #[error(transparent)]
    Issue(#[from] IssueError),
}

impl ConnectError {
    pub(crate) fn handshake(address: SocketAddr, error: io::Error) -> Self {
        Self::Handshake { address, source: HandshakeError::explain(error) }
    }
}

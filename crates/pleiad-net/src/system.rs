//! What every node tells other members of its cluster about itself, and does for them: the task
//! `^system`. It is what the command line of pleiad asks.

mod info;
pub(crate) mod json;
mod serve;
#[cfg(test)]
mod tests;
pub(crate) mod wire;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use pleiad_task::{AskError, Reply, TaskRef};
use pleiad_types::limits::SYSTEM_JSON_BYTES_MAX;
use thiserror::Error;

use crate::error::LocateError;
use crate::kind::Kind;
use crate::locate::Locate;
use crate::mesh::Mesh;
use crate::peer::Peer;
use wire::{Refusal, SystemMessage};

pub use info::{NameInfo, NodeInfo, PeerInfo, TaskList, TaskSummary};
pub(crate) use serve::serve;

/// The name of the task.
const NAME: &str = "^system";

/// How long a node has for an answer, unless it is [said](System::timeout).
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// What a peer tells of itself, and does for other members of the cluster: see
/// [`Node::system`](crate::Node::system). Cheap to clone.
#[derive(Clone)]
pub struct System {
    task: TaskRef<SystemMessage>,
    peer: Peer,
    timeout: Duration,
}

/// Why a peer has not done it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SystemError {
    /// It has given no task or service this name.
    #[error("{peer} has no {what} with the name {name:?}")]
    NoSuchName {
        /// Whom.
        peer: String,
        /// A task or a service.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// What has the name there takes no JSON.
    #[error("{name:?} on {peer} cannot be reached so: {why}")]
    NoJson {
        /// The name.
        name: String,
        /// Whom.
        peer: String,
        /// Why not, and what to do.
        why: String,
    },
    /// The text is no JSON, or not what the task or service takes. Nothing was done.
    #[error("this is not what {name:?} on {peer} takes: {why}")]
    Json {
        /// The name.
        name: String,
        /// Whom.
        peer: String,
        /// What is wrong.
        why: String,
    },
    /// The text is too long. Nothing was done.
    #[error("the JSON has {0} bytes, and {SYSTEM_JSON_BYTES_MAX} are the most")]
    TooLong(usize),
    /// The task has no room, or there are too many calls. Nothing was done; try again later.
    #[error("{name:?} on {peer} does not keep up: try again later")]
    Busy {
        /// The name.
        name: String,
        /// Whom.
        peer: String,
    },
    /// The service has failed.
    #[error("{name:?} on {peer} has failed: {why}")]
    Failed {
        /// The name.
        name: String,
        /// Whom.
        peer: String,
        /// Its words.
        why: String,
    },
    /// There is no answer in time. It may have been done or not.
    #[error("{peer} has given no answer within {after:?}")]
    TimedOut {
        /// Whom.
        peer: String,
        /// How long it was waited.
        after: Duration,
    },
    /// The peer is gone, or the node has closed. It may have been done or not.
    #[error("{0} was lost before it has answered")]
    Lost(String),
}

impl System {
    pub(crate) async fn of(mesh: &Arc<Mesh>, peer: &Peer) -> Result<Self, LocateError> {
        let task =
            Locate::new(mesh.clone(), NAME, Kind::of_task::<SystemMessage>()).on(peer).await?;
        Ok(Self { task, peer: peer.clone(), timeout: ANSWER_TIMEOUT })
    }

    /// How long the peer has for an answer. Default: 10 s.
    pub fn timeout(mut self, after: Duration) -> Self {
        self.timeout = after;
        self
    }

    /// Whose it is.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Who it is.
    ///
    /// # Errors
    ///
    /// [`SystemError::TimedOut`] and [`SystemError::Lost`].
    pub async fn info(&self) -> Result<NodeInfo, SystemError> {
        self.ask(SystemMessage::Info).await
    }

    /// Its tasks.
    ///
    /// # Errors
    ///
    /// [`SystemError::TimedOut`] and [`SystemError::Lost`].
    pub async fn tasks(&self) -> Result<TaskList, SystemError> {
        self.ask(SystemMessage::Tasks).await
    }

    /// The names that it has given to its tasks, in order.
    ///
    /// # Errors
    ///
    /// [`SystemError::TimedOut`] and [`SystemError::Lost`].
    pub async fn names(&self) -> Result<Vec<NameInfo>, SystemError> {
        self.ask(SystemMessage::Names).await
    }

    /// Its peers, in the order in which they came.
    ///
    /// # Errors
    ///
    /// [`SystemError::TimedOut`] and [`SystemError::Lost`].
    pub async fn peers(&self) -> Result<Vec<PeerInfo>, SystemError> {
        self.ask(SystemMessage::Peers).await
    }

    /// Puts a message made of JSON into the mailbox of the task of this name. It is read as serde does: an
    /// enum is `"Variant"`, `{"Variant": value}` or `{"Variant": {"field": value}}`. A message with a
    /// reply or a reference in it cannot be made of JSON.
    ///
    /// # Errors
    ///
    /// See [`SystemError`].
    ///
    /// # Cancel safety
    ///
    /// If it is dropped, the message may arrive or not.
    pub async fn send_json(&self, name: &str, json: &str) -> Result<(), SystemError> {
        check_length(json)?;
        let (to, json) = (name.to_owned(), json.to_owned());
        let sent = self.ask(|reply| SystemMessage::Send { name: to, json, reply }).await?;
        sent.map_err(|refusal| self.refused("task", name, refusal))
    }

    /// Calls the service of this name with arguments made of JSON; its result comes as JSON. If this is
    /// dropped, so is the call.
    ///
    /// # Errors
    ///
    /// See [`SystemError`].
    pub async fn call_json(&self, service: &str, json: &str) -> Result<String, SystemError> {
        check_length(json)?;
        let (to, json) = (service.to_owned(), json.to_owned());
        let called = self.ask(|reply| SystemMessage::Call { service: to, json, reply }).await?;
        called.map_err(|refusal| self.refused("service", service, refusal))
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(Reply<T>) -> SystemMessage,
    ) -> Result<T, SystemError> {
        self.task.ask(question).timeout(self.timeout).await.map_err(|error| match error {
            AskError::TimedOut { after, .. } | AskError::NotAsked { after, .. } => {
                SystemError::TimedOut { peer: self.peer.name().to_owned(), after }
            }
            _ => SystemError::Lost(self.peer.name().to_owned()),
        })
    }

    fn refused(&self, what: &'static str, name: &str, refusal: Refusal) -> SystemError {
        let (peer, name) = (self.peer.name().to_owned(), name.to_owned());
        match refusal {
            Refusal::NoSuchName => SystemError::NoSuchName { peer, what, name },
            Refusal::NoJson(why) => SystemError::NoJson { name, peer, why },
            Refusal::Json(why) => SystemError::Json { name, peer, why },
            Refusal::TooLong(bytes) => SystemError::TooLong(bytes),
            Refusal::Busy => SystemError::Busy { name, peer },
            Refusal::Failed(why) => SystemError::Failed { name, peer, why },
        }
    }
}

fn check_length(json: &str) -> Result<(), SystemError> {
    match json.len() {
        0..=SYSTEM_JSON_BYTES_MAX => Ok(()),
        bytes => Err(SystemError::TooLong(bytes)),
    }
}

impl fmt::Debug for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "system of {}", self.peer)
    }
}

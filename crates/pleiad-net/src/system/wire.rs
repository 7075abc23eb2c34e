//! What is said between nodes.

use pleiad_task::Reply;
use serde::{Deserialize, Serialize};

use crate::system::info::{NameInfo, NodeInfo, PeerInfo, TaskList};

/// What the task `^system` takes.
#[derive(Serialize, Deserialize)]
pub(crate) enum SystemMessage {
    Info(Reply<NodeInfo>),
    Tasks(Reply<TaskList>),
    Names(Reply<Vec<NameInfo>>),
    Peers(Reply<Vec<PeerInfo>>),
    /// A message for the task of this name.
    Send {
        name: String,
        json: String,
        reply: Reply<Result<(), Refusal>>,
    },
    /// A call of the service of this name.
    Call {
        service: String,
        json: String,
        reply: Reply<Result<String, Refusal>>,
    },
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Refusal {
    NoSuchName,
    /// What has the name takes no JSON.
    NoJson(String),
    /// It is not what is taken.
    Json(String),
    TooLong(usize),
    Busy,
    Failed(String),
}

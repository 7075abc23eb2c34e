//! What a node tells of itself.

use pleiad_task::{AnyTask, TaskInfo};
use serde::{Deserialize, Serialize};

/// Who a node is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NodeInfo {
    /// Its name.
    pub name: String,
    /// Its number, another one for each start, as it is printed: `node-1f3a`.
    pub node: String,
    /// The release of pleiad that it is built with.
    pub version: String,
    /// Its program, without the directory.
    pub program: String,
    /// The number of its process.
    pub process: u32,
    /// Where it says that it can be dialled, best first.
    pub addresses: Vec<String>,
    /// Seconds since its start.
    pub age_seconds: f64,
    /// How many peers it has.
    pub peers: u64,
}

/// Tasks of a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TaskList {
    /// In the order of their starts.
    pub tasks: Vec<TaskSummary>,
    /// Whether these are all: a node that does not [watch its tasks](pleiad_task::watch_tasks) knows only
    /// those with names.
    pub is_watched: bool,
    /// Those that are left out, since there are too many.
    pub left_out: u64,
}

/// What a task does at this moment. See [`TaskInfo`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TaskSummary {
    /// Its number on its node.
    pub task: u64,
    /// The name of its function, or the one that it was given at its start.
    pub function: String,
    /// The names by which other nodes find it, in order.
    pub names: Vec<String>,
    /// `receiving`, `busy` or `stopping`.
    pub state: String,
    /// Messages in its mailbox.
    pub queued: u64,
    /// How many it holds; `None`: as many as there come.
    pub capacity: Option<u64>,
    /// Messages that it has taken out of its mailbox, if its node watches its tasks.
    pub received: Option<u64>,
    /// Seconds since its start, if its node watches its tasks.
    pub age_seconds: Option<f64>,
    /// Whether the end of the program does not wait for it.
    pub daemon: bool,
}

impl TaskSummary {
    pub(super) fn of(task: &AnyTask, names: Vec<String>) -> Self {
        let TaskInfo { task, state, queued, capacity, received, age, daemon, .. } = task.info();
        Self {
            task: task.id().number(),
            function: task.name().to_owned(),
            names,
            state: state.to_string(),
            queued: queued as u64,
            capacity: capacity.map(|capacity| capacity as u64),
            received,
            age_seconds: age.map(|age| age.as_secs_f64()),
            daemon,
        }
    }
}

/// A name that a node has given to a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NameInfo {
    /// The name.
    pub name: String,
    /// The number of the task on its node.
    pub task: u64,
    /// What it takes, as far as it can be shown.
    pub takes: String,
    /// Whether it is a service.
    pub is_service: bool,
}

impl NameInfo {
    pub(super) fn new(name: String, task: &AnyTask, takes: String, is_service: bool) -> Self {
        Self { name, task: task.id().number(), takes, is_service }
    }
}

/// A peer, as a node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PeerInfo {
    /// Its name.
    pub name: String,
    /// Its number, as it is printed: `node-1f3a`.
    pub node: String,
    /// Where it says that it can be dialled, best first.
    pub addresses: Vec<String>,
    /// Whether there is a connection at this moment.
    pub is_connected: bool,
}

use std::path::PathBuf;
use std::sync::Arc;

use pleiad_types::NodeId;
use tokio::sync::broadcast::{self, error::RecvError};

use crate::mesh::Mesh;
use crate::node::Events;

/// A file of another node has come into the directory for them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileArrived {
    /// Where it is.
    pub path: PathBuf,
    /// Where it is in the directory for files.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// The name of the node that says to have sent it. All nodes of a cluster are trusted to say who
    /// they are.
    pub from: String,
    /// The number of that node.
    pub node: NodeId,
    /// The same file was there before, and was left as it was.
    pub was_there: bool,
}

/// What happens with files of other nodes. See [`Node::file_events`](crate::Node::file_events).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileEvent {
    /// A file is there, whole.
    Arrived(FileArrived),
    /// So many events were missed here, the oldest: they were not read in time.
    Missed(u64),
}

/// Files of other nodes, as they arrive. Up to [`EVENTS_MAX`](pleiad_types::limits::EVENTS_MAX) wait to be
/// read; beyond it the oldest are missed, and that is told.
#[derive(Debug)]
pub struct FileEvents {
    mesh: Arc<Mesh>,
    arrivals: broadcast::Receiver<FileArrived>,
}

impl FileEvents {
    pub(super) fn new(mesh: Arc<Mesh>, arrivals: broadcast::Receiver<FileArrived>) -> Self {
        Self { mesh, arrivals }
    }

    /// The next event. `None` when the node has closed, and all were told.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time: nothing is lost.
    pub async fn next(&mut self) -> Option<FileEvent> {
        let received = tokio::select! {
            biased;
            received = self.arrivals.recv() => received,
            () = self.mesh.closing() => return None,
        };
        match received {
            Ok(arrived) => Some(FileEvent::Arrived(arrived)),
            Err(RecvError::Lagged(missed)) => Some(FileEvent::Missed(missed)),
            Err(RecvError::Closed) => None,
        }
    }
}

impl Events for FileEvents {
    type Event = FileEvent;

    fn next_event(&mut self) -> impl Future<Output = Option<FileEvent>> + Send {
        self.next()
    }
}

//! References to tasks that are not there.

use std::sync::Arc;
use std::time::Duration;

use pleiad_task::far::{
    self, Attached, Encoded, FarRefusal, FarTarget, FarTask, How, Submission, task_id,
};
use pleiad_task::{ExitReason, WeakAnyTask};
use pleiad_types::NodeId;

/// The way to a task that has ended, or never was.
pub(crate) struct DeadTarget;

impl DeadTarget {
    /// A reference to it.
    pub(crate) fn task(node: NodeId, task: u64, name: &str) -> FarTask {
        // Numbers that no task has are shown as the last ones.
        let last = || task_id(NodeId(u64::MAX), u64::MAX).expect("these are numbers");
        FarTask {
            id: task_id(node, task).unwrap_or_else(last),
            name: name.into(),
            node_name: node.to_string().into(),
            target: Arc::new(Self),
            known: None,
        }
    }
}

impl FarTarget for DeadTarget {
    fn send(&self, _: &[u8], _: &mut Vec<Attached>, _: How) -> Result<(), FarRefusal> {
        Err(FarRefusal::Closed)
    }

    fn submit(&self, encoded: Encoded, _: How, _: bool) -> Submission {
        Box::pin(async move { Err((FarRefusal::Closed, encoded.attached)) })
    }

    fn stop(&self, _: Option<Duration>) {}

    fn kill(&self) {}

    fn close(&self) {}

    fn queued(&self) -> usize {
        0
    }

    fn capacity(&self) -> u32 {
        0
    }

    fn bind(&self, task: WeakAnyTask) {
        if let Some(task) = task.upgrade() {
            far::end(&task, ExitReason::NotFound);
        }
    }

    fn deserted(&self) {}
}

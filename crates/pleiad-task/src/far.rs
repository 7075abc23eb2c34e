//! References to tasks of other nodes: for pleiad-net, and for nobody else.
//!
//! This crate knows nothing of links. It turns messages into bytes and back, and talks to what
//! pleiad-net implements: a [`FarTarget`] for each task of another node to which there are references
//! here, a [`Pending`] or [`Answerer`] for each reply that travels. In the other direction, an
//! [`Inlet`] puts what comes from other nodes into a mailbox here.
//!
//! In the bytes of a message, each reference and each reply is only an index into what is attached to
//! it. So the bytes do not depend on who reads them, and a forged message can name nothing but what
//! was sent with it.

mod codec;
mod end;
mod inlet;
mod reference;
mod reply;
pub mod shape;
mod target;

use std::sync::Arc;

use pleiad_types::NodeId;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::any::AnyTask;
use crate::exit::{Exit, ExitReason, Failure};
use crate::identity::TaskId;
use crate::monitor::Monitor;
use crate::reference::TaskRef;
use crate::reply::Reply;

pub use crate::reply::Unanswered;
pub use codec::{EncodeError, encode, restore};
pub(crate) use end::{FarDelivery, FarEnd, refusal_detail};
pub use inlet::{Accepted, Arrival, Inlet, Refused, Stopped};
pub use reply::Answered;
pub(crate) use reply::FarReply;
pub use target::{
    Answerer, Arrived, Attached, Encoded, FarRefusal, FarTarget, FarTask, Hold, How, Pending,
    Reference, Submission,
};

/// The number of a task of the node `node`. `None` if one of them is 0, which none is.
pub fn task_id(node: NodeId, number: u64) -> Option<TaskId> {
    TaskId::far(node, number)
}

/// A reference to a task of another node that takes messages of the type `M`. Uses the cell that is
/// [known](FarTask::known) again, if that takes the same; else makes one and [binds](FarTarget::bind)
/// it.
pub fn reference<M>(task: FarTask) -> TaskRef<M>
where
    M: Serialize + DeserializeOwned + Send + 'static,
{
    reference::of_far(task)
}

/// A task that there is not, or not any more: references to it have ended as `NotFound`.
pub fn nobody(node: NodeId, number: u64, name: &str) -> FarTask {
    reference::nobody(node, number, name)
}

/// A reference that has come, if it is for messages of the type `M`; else why not.
pub fn task_ref<M>(reference: Reference) -> Result<TaskRef<M>, String>
where
    M: Serialize + DeserializeOwned + Send + 'static,
{
    reference::typed(reference)
}

/// Where messages of other nodes to `task` come in. Keeps its mailbox open.
pub fn inlet<M>(task: &TaskRef<M>) -> Arc<dyn Inlet>
where
    M: Serialize + DeserializeOwned + Send + 'static,
{
    inlet::of(task)
}

/// What `task` is to be sent as: where it is, for those of this process; where it goes, for those of
/// another node.
pub fn travelling<M>(task: &TaskRef<M>) -> Reference
where
    M: Serialize + DeserializeOwned + Send + 'static,
{
    reference::travelling(task)
}

/// Keeps a task of another node from being [deserted](FarTarget::deserted), as a reference does. It
/// may have been: then it is no more.
///
/// Of what comes in with a message, it is to be made under the same lock under which the target looks
/// whether it [is deserted](is_deserted): so no reference is given away that is given up at the same
/// time.
pub fn hold(task: &AnyTask) -> Hold {
    Hold::new(task.cell().clone())
}

/// Whether nobody has a reference to the task any more.
pub fn is_deserted(task: &AnyTask) -> bool {
    task.cell().is_deserted()
}

/// A task of another node has ended: its monitors are told, whoever waits for its end goes on, and
/// nothing more can be sent to it. Whether it was the first time: only that counts. Does nothing for a
/// task of this process.
pub fn end(task: &AnyTask, reason: ExitReason) -> bool {
    task.cell().finish_far(reason)
}

/// `tell` hears of the end of the task, after all that the task has sent: at once, if it has been.
/// Runs in the task, at its end, and is not to wait for anything.
pub fn monitor(task: &AnyTask, tell: impl FnOnce(Exit) + Send + 'static) -> Monitor {
    Monitor::of(task.cell(), Box::new(tell))
}

/// A reply to be sent in a message, and the answer to come, for questions that are not
/// [asked](TaskRef::ask): it has gone with the message to `task`, or is dropped with it.
pub fn reply<M, T>(task: &TaskRef<M>) -> (Reply<T>, Answered<M, T>) {
    reply::expected(task)
}

/// What made a task of another node fail.
pub fn failure(message: String, location: Option<String>, backtrace: Option<String>) -> Failure {
    Failure { message, location, backtrace }
}

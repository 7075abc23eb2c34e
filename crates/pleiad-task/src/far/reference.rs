//! References, as they travel.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;
use std::{any, fmt};

use pleiad_types::NodeId;
use serde::de::{DeserializeOwned, Error as _, Visitor};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::any::{AnyTask, WeakAnyTask};
use crate::cell::{AnyCell, TaskCell};
use crate::exit::ExitReason;
use crate::far::codec;
use crate::far::end::FarEnd;
use crate::far::inlet;
use crate::far::shape;
use crate::far::target::{
    Arrived, Attached, Encoded, FarRefusal, FarTarget, FarTask, Hold, How, Reference, Submission,
};
use crate::identity::{TaskId, plain_type};
use crate::reference::TaskRef;

/// Travels in messages of tasks, also to other nodes, and in nothing else: it is written as a place in
/// what is sent with the message. Where the task is, it becomes one of this process again.
impl<M> Serialize for TaskRef<M>
where
    M: Serialize + DeserializeOwned + Send + 'static,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let index = codec::attach(|| Ok(Attached::Task(travelling(self))), drop);
        serializer.serialize_newtype_struct("TaskRef", &index.map_err(S::Error::custom)?)
    }
}

impl<'de, M> Deserialize<'de> for TaskRef<M>
where
    M: Serialize + DeserializeOwned + Send + 'static,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit<M>(PhantomData<fn() -> M>);

        impl<'de, M> Visitor<'de> for Visit<M>
        where
            M: Serialize + DeserializeOwned + Send + 'static,
        {
            type Value = TaskRef<M>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a task reference")
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(
                self,
                deserializer: D,
            ) -> Result<TaskRef<M>, D::Error> {
                if shape::is_tracing() {
                    // Two references are alike if what they are for is.
                    let _ = M::deserialize(deserializer);
                    return Ok(dead());
                }
                let index = u32::deserialize(deserializer).map_err(codec::not_an_index)?;
                match codec::arrived(index).map_err(D::Error::custom)? {
                    Arrived::Task(reference) => typed(reference)
                        .or_else(|why| codec::problem(&*why).map_err(D::Error::custom)),
                    Arrived::Reply(answerer) => {
                        // Whoever waits for an answer hears of it with all others.
                        drop(codec::put_aside(answerer));
                        codec::problem("it has a reply instead of a reference")
                            .map_err(D::Error::custom)
                    }
                }
            }
        }

        deserializer.deserialize_newtype_struct("TaskRef", Visit(PhantomData))
    }
}

pub(super) fn travelling<M>(task: &TaskRef<M>) -> Reference
where
    M: Serialize + DeserializeOwned + Send + 'static,
{
    match task.cell.queue.far() {
        None => Reference::Here(inlet::of(task)),
        Some(far) => {
            let known = Some(Hold::new(task.cell.clone()));
            Reference::Far(FarTask { known, ..far.task() })
        }
    }
}

pub(super) fn typed<M>(reference: Reference) -> Result<TaskRef<M>, String>
where
    M: Serialize + DeserializeOwned + Send + 'static,
{
    match reference {
        Reference::Far(task) => Ok(of_far(task)),
        Reference::Here(inlet) => of_here(&*inlet),
    }
}

pub(super) fn of_far<M>(task: FarTask) -> TaskRef<M>
where
    M: Serialize + DeserializeOwned + Send + 'static,
{
    if let Some(known) = &task.known
        && let Some(cell) = cell_of::<M>(known.cell().clone())
    {
        cell.queue.add_sender();
        return TaskRef::adopt(cell);
    }
    let target = task.target.clone();
    let cell = Arc::new(TaskCell::of_far(Arc::new(FarEnd::new(task))));
    let reference = TaskRef::adopt(cell.clone());
    target.bind(AnyTask::new(cell).downgrade());
    reference
}

/// A task of this process, to which a reference comes home.
fn of_here<M: Send + 'static>(inlet: &dyn inlet::Inlet) -> Result<TaskRef<M>, String> {
    let Some(cell) = cell_of::<M>(inlet.any().cell().clone()) else {
        let (found, wanted) = (plain_type(inlet.type_name()), plain_type(any::type_name::<M>()));
        return Err(format!("{} takes messages of the type {found}, not {wanted}", inlet.any()));
    };
    // There is one more as long as there is the inlet.
    cell.queue.add_sender();
    Ok(TaskRef::adopt(cell))
}

fn cell_of<M: Send + 'static>(cell: Arc<dyn AnyCell>) -> Option<Arc<TaskCell<M>>> {
    cell.into_any().downcast().ok()
}

/// A reference to a task that there is not.
fn dead<M>() -> TaskRef<M>
where
    M: Serialize + DeserializeOwned + Send + 'static,
{
    of_far(nobody(NodeId(u64::MAX), u64::MAX, "nobody"))
}

pub(super) fn nobody(node: NodeId, number: u64, name: &str) -> FarTask {
    // Numbers that no task has are shown as the last ones.
    let last = || TaskId::far(NodeId(u64::MAX), u64::MAX).expect("these are numbers");
    FarTask {
        id: TaskId::far(node, number).unwrap_or_else(last),
        name: name.into(),
        node_name: node.to_string().into(),
        target: Arc::new(Nowhere),
        known: None,
    }
}

/// The way to a task that has ended, or never was.
struct Nowhere;

impl FarTarget for Nowhere {
    fn send(&self, _: &[u8], _: &mut Vec<Attached>, _: How) -> Result<(), FarRefusal> {
        Err(FarRefusal::Closed)
    }

    fn submit(&self, encoded: Encoded, _: How, _: bool) -> Submission {
        Box::pin(std::future::ready(Err((FarRefusal::Closed, encoded.attached))))
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
            task.cell().finish_far(ExitReason::NotFound);
        }
    }

    fn deserted(&self) {}
}

//! Names that this node has given to its tasks, for all nodes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pleiad_task::far::{self, Inlet, Reference, shape::shape_of};
use pleiad_task::{AnyTask, TaskId, TaskRef};
use pleiad_types::limits::NAME_BYTES_MAX;

use crate::error::RegisterError;
use crate::mesh::Mesh;
use crate::message::Message;

/// Gives a task of this process a name, also one of the system's own, and tells those who look for it.
pub(crate) fn register<M: Message>(
    mesh: &Arc<Mesh>,
    name: &str,
    task: &TaskRef<M>,
) -> Result<(), RegisterError> {
    let Reference::Here(inlet) = far::travelling(task) else {
        return Err(RegisterError::Far(task.identity()));
    };
    let id = task.id();
    let inlet = mesh.share_inlet(id.number(), inlet);
    let shape = shape_of::<M>();
    let registered = Registered { inlet, shape: shape.hash, text: shape.text.clone() };
    mesh.registry.insert(name, registered)?;
    let (weak, owned) = (Arc::downgrade(mesh), name.to_owned());
    far::monitor(&task.any(), move |_| {
        if let Some(mesh) = weak.upgrade() {
            mesh.registry.remove(&owned, id);
        }
    });
    for link in mesh.links() {
        link.with_session(|session| session.registered(name));
        link.work();
    }
    Ok(())
}

#[derive(Default)]
pub(crate) struct Registry {
    names: Mutex<HashMap<String, Registered>>,
}

/// Who has a name.
pub(crate) struct Registered {
    pub(crate) inlet: Arc<dyn Inlet>,
    pub(crate) shape: u64,
    /// What it takes, for people.
    pub(crate) text: String,
}

impl Registry {
    fn names(&self) -> MutexGuard<'_, HashMap<String, Registered>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn insert(&self, name: &str, registered: Registered) -> Result<(), RegisterError> {
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(RegisterError::Length(name.len()));
        }
        let task = registered.inlet.any();
        if task.exit().is_some() {
            return Err(RegisterError::Ended(task.identity()));
        }
        let mut names = self.names();
        if let Some(holder) = names.get(name).map(|known| known.inlet.any())
            && holder != task
            && holder.exit().is_none()
        {
            let (name, holder) = (name.to_owned(), holder.identity());
            return Err(RegisterError::Taken { name, holder });
        }
        let before = names.insert(name.to_owned(), registered);
        drop(names);
        drop(before);
        Ok(())
    }

    /// Takes a name away, if this task has it. Whether it had.
    pub(crate) fn remove(&self, name: &str, task: TaskId) -> bool {
        let mut names = self.names();
        let is_it = names.get(name).is_some_and(|known| known.inlet.any().id() == task);
        let removed = if is_it { names.remove(name) } else { None };
        drop(names);
        removed.is_some()
    }

    /// The task of this name, if it takes such messages; else what it takes.
    pub(crate) fn find(&self, name: &str, shape: u64) -> Option<Result<Arc<dyn Inlet>, String>> {
        let names = self.names();
        let known = names.get(name).filter(|known| known.inlet.any().exit().is_none())?;
        let fits = known.shape == shape;
        Some(if fits { Ok(known.inlet.clone()) } else { Err(known.text.clone()) })
    }

    /// All names, in order, and who has them.
    pub(crate) fn list(&self) -> Vec<(String, AnyTask)> {
        let names = self.names();
        let mut list: Vec<_> =
            names.iter().map(|(name, known)| (name.clone(), known.inlet.any())).collect();
        drop(names);
        list.sort_by(|a, b| a.0.cmp(&b.0));
        list
    }

    /// All names are free again.
    pub(crate) fn clear(&self) {
        let names = std::mem::take(&mut *self.names());
        drop(names);
    }
}

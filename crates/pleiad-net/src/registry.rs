//! Names that this node has given to its tasks, for all nodes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pleiad_task::far::{self, Inlet, Reference, shape::shape_of};
use pleiad_task::{AnyTask, TaskId, TaskRef};
use pleiad_types::limits::NAME_BYTES_MAX;

use crate::error::RegisterError;
use crate::mesh::Mesh;
use crate::message::Message;
use crate::system::json::Json;

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
    /// For those who have nothing but JSON.
    pub(crate) json: Json,
}

/// Names that begin so are those of pleiad's own tasks.
const RESERVED: char = '^';

/// Whether no user may give this name.
pub(crate) fn is_reserved(name: &str) -> bool {
    name.starts_with(RESERVED)
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

    /// How JSON comes to what has this name.
    pub(crate) fn json(&self, name: &str) -> Option<Json> {
        self.names().get(name).map(|known| known.json.clone())
    }

    /// All names, in order, and who has them.
    pub(crate) fn list(&self) -> Vec<(String, AnyTask)> {
        self.sorted(|name, known| (name.to_owned(), known.inlet.any()))
    }

    /// The names that users have given, in order; who has them, what it takes, and whether it is a
    /// service.
    pub(crate) fn describe(&self) -> Vec<(String, AnyTask, String, bool)> {
        let mut list = self.sorted(|name, known| {
            let is_service = matches!(known.json, Json::Call(_));
            (name.to_owned(), known.inlet.any(), known.text.clone(), is_service)
        });
        list.retain(|(name, ..)| !is_reserved(name));
        list
    }

    fn sorted<T>(&self, show: impl Fn(&str, &Registered) -> T) -> Vec<T> {
        let names = self.names();
        let mut names: Vec<_> = names.iter().collect();
        names.sort_unstable_by_key(|(name, _)| *name);
        names.into_iter().map(|(name, known)| show(name, known)).collect()
    }

    /// All names are free again.
    pub(crate) fn clear(&self) {
        let names = std::mem::take(&mut *self.names());
        drop(names);
    }
}

/// Gives a task of this process a name, also one of the system's own, and tells those who look for it.
/// `json`: what becomes of JSON for it.
pub(crate) fn register<M: Message>(
    mesh: &Arc<Mesh>,
    name: &str,
    task: &TaskRef<M>,
    json: Json,
) -> Result<(), RegisterError> {
    let Reference::Here(inlet) = far::travelling(task) else {
        return Err(RegisterError::Far(task.identity()));
    };
    let id = task.id();
    let inlet = mesh.share_inlet(id.number(), inlet);
    let shape = shape_of::<M>();
    let registered = Registered { inlet, shape: shape.hash, text: shape.text.clone(), json };
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

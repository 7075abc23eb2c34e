//! Names that this node has given to its tasks, for all nodes.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pleiad_task::far::{self, Inlet, Reference};
use pleiad_task::{AnyTask, TaskId, TaskRef};
use pleiad_types::limits::NAME_BYTES_MAX;

use crate::error::RegisterError;
use crate::kind::Kind;
use crate::mesh::Mesh;
use crate::message::Message;
use crate::system::json::{self, Json};

#[derive(Default)]
pub(crate) struct Registry {
    names: Mutex<HashMap<String, Registered>>,
}

/// Who has a name.
struct Registered {
    inlet: Arc<dyn Inlet>,
    offer: Offer,
}

/// What stands behind a name, beside the task.
pub(crate) struct Offer {
    pub(crate) kind: Kind,
    /// What becomes of JSON for it.
    pub(crate) json: Json,
    /// What it stands for, if it is more than a task.
    pub(crate) subject: Option<Subject>,
}

/// What a task stands for: a channel.
pub(crate) type Subject = Box<dyn Any + Send + Sync>;

/// Names that begin so are those of pleiad's own tasks.
const RESERVED: char = '^';

/// Whether no user may give this name.
pub(crate) fn is_reserved(name: &str) -> bool {
    name.starts_with(RESERVED)
}

impl Offer {
    /// A task of a user.
    pub(crate) fn of_task<M: Message>(task: &TaskRef<M>) -> Self {
        let json = Json::Message(json::inlet(task));
        Self { kind: Kind::of_task::<M>(), json, subject: None }
    }

    /// A task of pleiad's own.
    pub(crate) fn of_system<M: Message>() -> Self {
        Self { kind: Kind::of_task::<M>(), json: Json::None("a task of the node"), subject: None }
    }
}

impl Mesh {
    /// Gives a task of this node a name until it ends, and tells all who look for it.
    pub(crate) fn register<M: Message>(
        self: &Arc<Self>,
        name: &str,
        task: &TaskRef<M>,
        offer: Offer,
    ) -> Result<(), RegisterError> {
        let Reference::Here(inlet) = far::travelling(task) else {
            return Err(RegisterError::Far(task.identity()));
        };
        let id = task.id();
        let inlet = self.share_inlet(id.number(), inlet);
        self.registry.insert(name, Registered { inlet, offer })?;
        let (mesh, owned) = (Arc::downgrade(self), name.to_owned());
        far::monitor(&task.any(), move |_| {
            if let Some(mesh) = mesh.upgrade() {
                mesh.registry.remove(&owned, id);
            }
        });
        for link in self.links() {
            link.with_session(|session| session.registered(name));
            link.work();
        }
        Ok(())
    }
}

impl Registry {
    fn names(&self) -> MutexGuard<'_, HashMap<String, Registered>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&self, name: &str, registered: Registered) -> Result<(), RegisterError> {
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
        self.remove_if(name, |known| known.inlet.any().id() == task)
    }

    /// As [`remove`](Self::remove), if whoever has it stands for this.
    pub(crate) fn remove_subject<S: PartialEq + 'static>(&self, name: &str, subject: &S) -> bool {
        self.remove_if(name, |known| known.stands_for(subject))
    }

    /// Whether this has the name.
    pub(crate) fn has_subject<S: PartialEq + 'static>(&self, name: &str, subject: &S) -> bool {
        let names = self.names();
        let known = names.get(name).filter(|known| known.inlet.any().exit().is_none());
        known.is_some_and(|known| known.stands_for(subject))
    }

    fn remove_if(&self, name: &str, is_it: impl FnOnce(&Registered) -> bool) -> bool {
        let mut names = self.names();
        let is_it = names.get(name).is_some_and(is_it);
        let removed = if is_it { names.remove(name) } else { None };
        drop(names);
        removed.is_some()
    }

    /// The task of this name, if it takes such messages; else what it takes.
    pub(crate) fn find(&self, name: &str, shape: u64) -> Option<Result<Arc<dyn Inlet>, String>> {
        let names = self.names();
        let known = names.get(name).filter(|known| known.inlet.any().exit().is_none())?;
        let fits = known.offer.kind.hash == shape;
        Some(if fits { Ok(known.inlet.clone()) } else { Err(known.offer.kind.text.clone()) })
    }

    /// How JSON comes to what has this name.
    pub(crate) fn json(&self, name: &str) -> Option<Json> {
        self.names().get(name).map(|known| known.offer.json.clone())
    }

    /// All names, in order, and who has them.
    pub(crate) fn list(&self) -> Vec<(String, AnyTask)> {
        self.sorted(|name, known| (name.to_owned(), known.inlet.any()))
    }

    /// The names that users have given, in order; who has them, what it takes, and whether it is a
    /// service.
    pub(crate) fn describe(&self) -> Vec<(String, AnyTask, String, bool)> {
        let mut list = self.sorted(|name, known| {
            let is_service = matches!(known.offer.json, Json::Call(_));
            (name.to_owned(), known.inlet.any(), known.offer.kind.text.clone(), is_service)
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

impl Registered {
    fn stands_for<S: PartialEq + 'static>(&self, subject: &S) -> bool {
        let known = self.offer.subject.as_ref().and_then(|known| known.downcast_ref::<S>());
        known.is_some_and(|known| known == subject)
    }
}

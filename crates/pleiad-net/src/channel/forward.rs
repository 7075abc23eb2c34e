//! Messages of a channel of another node, for subscribers here that do not take them as they are.
//!
//! A task here is subscribed there, and passes on what it gets to a channel of its own, of which there is
//! one subscriber: so that function, policy and room are as those of every other channel.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pleiad_task::{Channel, Mailbox, TaskBuilder, TaskId, TaskRef, WeakTaskRef, far};
use pleiad_types::limits::CHANNEL_FORWARDED_MAX;

use crate::mesh::Mesh;
use crate::message::Message;

/// Those of tasks, so that a task has one for a channel.
#[derive(Default)]
pub(crate) struct Forwards(Mutex<HashMap<Key, Entry>>);

/// The task that stands for a channel, and a subscriber.
pub(super) type Key = (TaskId, TaskId);

struct Entry {
    /// The one that passes on.
    task: TaskId,
    forward: Arc<dyn Any + Send + Sync>,
}

/// See the [module](self).
pub(super) struct Forward<T> {
    pub(super) local: Channel<T>,
    task: WeakTaskRef<T>,
}

/// Starts one, for the only subscriber of `local`. It ends when nobody gives it messages any more, and when
/// the subscriber is `gone`.
pub(super) fn start<T: Message + Clone>(
    mesh: &Mesh,
    local: Channel<T>,
    gone: impl Future<Output = ()> + Send + 'static,
) -> TaskRef<T> {
    let builder = TaskBuilder::new().name(local.name()).daemon(true).on(mesh.near());
    let builder = builder.capacity(CHANNEL_FORWARDED_MAX);
    let pass_on = async move |mut mailbox: Mailbox<T>, local: Channel<T>| {
        while let Some(message) = mailbox.recv().await {
            // Its only subscriber has closed its mailbox, or was disconnected.
            if local.deliver(message).await.is_err() || local.subscribers() == 0 {
                return;
            }
        }
    };
    let task = builder.spawn(move |mailbox| async move {
        tokio::select! {
            biased;
            () = gone => (),
            () = pass_on(mailbox, local) => (),
        }
    });
    task.detach()
}

impl Forwards {
    fn entries(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one that there is, and its task, as long as it passes on.
    pub(super) fn find<T: Message + Clone>(
        &self,
        key: Key,
    ) -> Option<(Arc<Forward<T>>, TaskRef<T>)> {
        let found = self.entries().get(&key).map(|entry| entry.forward.clone());
        let forward = found?.downcast::<Forward<T>>().ok()?;
        let task = forward.task.upgrade().filter(TaskRef::is_alive)?;
        Some((forward, task))
    }

    /// Remembers one, until its task ends.
    pub(super) fn insert<T: Message + Clone>(
        mesh: &Arc<Mesh>,
        key: Key,
        local: Channel<T>,
        task: &TaskRef<T>,
    ) {
        let forward = Arc::new(Forward { local, task: task.downgrade() });
        let entry = Entry { task: task.id(), forward };
        let before = mesh.forwards.entries().insert(key, entry);
        drop(before);
        let (mesh, task) = (Arc::downgrade(mesh), task.any());
        let id = task.id();
        far::monitor(&task, move |_| {
            if let Some(mesh) = mesh.upgrade() {
                mesh.forwards.remove(key, id);
            }
        });
    }

    /// Forgets the one of this task.
    pub(super) fn remove(&self, key: Key, task: TaskId) {
        let mut entries = self.entries();
        let is_it = entries.get(&key).is_some_and(|entry| entry.task == task);
        let removed = if is_it { entries.remove(&key) } else { None };
        drop(entries);
        drop(removed);
    }
}

//! Names of tasks and channels in this process.

use std::any::{Any, type_name};
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use pleiad_types::limits::NAME_BYTES_MAX;

use crate::deadline::Deadline;
use crate::identity::{Identity, TaskId, plain_type};
use crate::queue::bits;
use crate::reference::TaskRef;

static NAMES: LazyLock<Mutex<HashMap<Arc<str>, Entry>>> = LazyLock::new(Mutex::default);
static CHANGED: LazyLock<Arc<Notify>> = LazyLock::new(Arc::default);

struct Entry {
    /// A `TaskRef<M>` or a `Channel<T>`.
    value: Box<dyn Any + Send>,
    /// What it is, for errors.
    kind: &'static str,
    holder: String,
    task: Option<TaskId>,
    /// Whether the value has come to its end. The name is then free, even if it is not taken away yet.
    is_over: fn(&(dyn Any + Send)) -> bool,
}

impl Entry {
    fn is_over(&self) -> bool {
        (self.is_over)(&*self.value)
    }
}

/// What can have a name: a [`TaskRef`] or a [`Channel`](crate::Channel).
pub trait Named: sealed::Named {}

impl<V: sealed::Named> Named for V {}

pub(crate) mod sealed {
    use crate::identity::TaskId;

    pub trait Named: Clone + Send + 'static {
        /// Who it is, for errors; and its number, if it is a task.
        fn holder(&self) -> (String, Option<TaskId>);

        /// Whether it has come to its end. Then nobody finds it, and its name is free.
        fn is_over(&self) -> bool;
    }
}

impl<M: Send + 'static> sealed::Named for TaskRef<M> {
    fn holder(&self) -> (String, Option<TaskId>) {
        (self.to_string(), Some(self.id()))
    }

    fn is_over(&self) -> bool {
        !self.is_alive()
    }
}

/// A name was not given.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NameTaken {
    /// Somebody else has it.
    #[error("the name {name:?} is taken by {holder}")]
    Taken {
        /// The name.
        name: String,
        /// Who has it.
        holder: String,
    },
    /// The task has ended.
    #[error("{0} has ended, and cannot have a name")]
    Ended(Identity),
    /// The channel is closed.
    #[error("channel {0:?} is closed, and cannot have a name")]
    Closed(String),
    /// It is empty, or longer than the limit.
    #[error("a name has 1 to {NAME_BYTES_MAX} bytes, and this has {0}")]
    Length(usize),
}

/// Why nothing was found by a name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FindError {
    /// Nothing has the name.
    #[error("nothing has the name {0:?}")]
    NotFound(String),
    /// What has the name is of another type: it takes other messages, or is a channel and no task.
    #[error("{name:?} is a {found}, not a {wanted}")]
    WrongType {
        /// The name.
        name: String,
        /// What was asked for.
        wanted: String,
        /// What it is.
        found: String,
    },
    /// Nothing with the name has appeared in time.
    #[error("nothing with the name {name:?} has appeared within {after:?}")]
    TimedOut {
        /// The name.
        name: String,
        /// How long it was waited.
        after: Duration,
    },
}

fn names() -> MutexGuard<'static, HashMap<Arc<str>, Entry>> {
    NAMES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives a task a name until it ends.
pub(crate) fn register<M: Send + 'static>(name: &str, task: &TaskRef<M>) -> Result<(), NameTaken> {
    if names().get(name).is_some_and(|entry| entry.task == Some(task.id())) {
        // It has it already.
        return Ok(());
    }
    let key = insert(name, task)?;
    let known = task.cell.queue.life_mut(|life, attention| {
        let alive = attention & bits::ENDED == 0;
        if alive {
            life.registered.push(key);
        }
        alive
    });
    if !known {
        forget(name, task.id());
        return Err(NameTaken::Ended(task.identity()));
    }
    Ok(())
}

/// Gives `value` a name.
pub(crate) fn insert<V: Named>(name: &str, value: &V) -> Result<Arc<str>, NameTaken> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(NameTaken::Length(name.len()));
    }
    let (holder, task) = value.holder();
    let key: Arc<str> = name.into();
    let entry = Entry {
        value: Box::new(value.clone()),
        kind: type_name::<V>(),
        holder,
        task,
        is_over: |value| value.downcast_ref::<V>().is_some_and(sealed::Named::is_over),
    };
    let mut names = names();
    if let Some(taken) = names.get(name)
        && !taken.is_over()
    {
        let holder = taken.holder.clone();
        drop(names);
        return Err(NameTaken::Taken { name: name.to_owned(), holder });
    }
    // The key too, which is that of the task.
    let over = names.remove_entry(name);
    names.insert(key.clone(), entry);
    drop(names);
    drop(over);
    CHANGED.notify_waiters();
    Ok(key)
}

/// Takes a name away from the task, if it has it.
pub(crate) fn forget(name: &str, task: TaskId) -> bool {
    remove(name, |entry| entry.task == Some(task))
}

/// Takes a name away from a channel, if it has it.
pub(crate) fn forget_value<V: Named + PartialEq>(name: &str, value: &V) -> bool {
    remove(name, |entry| entry.value.downcast_ref::<V>() == Some(value))
}

fn remove(name: &str, is_it: impl FnOnce(&Entry) -> bool) -> bool {
    let mut names = names();
    let removed = names.get(name).is_some_and(is_it).then(|| names.remove(name));
    drop(names);
    removed.is_some()
}

pub(crate) fn find<V: Named>(name: &str) -> Result<V, FindError> {
    let names = names();
    let entry = names.get(name).filter(|entry| !entry.is_over());
    let entry = entry.ok_or_else(|| FindError::NotFound(name.to_owned()))?;
    entry.value.downcast_ref::<V>().cloned().ok_or_else(|| FindError::WrongType {
        name: name.to_owned(),
        wanted: plain_type(type_name::<V>()),
        found: plain_type(entry.kind),
    })
}

/// Waits for a name to appear: see [`TaskRef::locate`].
#[must_use = "it is located when this is awaited"]
pub struct Locate<V> {
    name: String,
    changed: Pin<Box<OwnedNotified>>,
    deadline: Deadline,
    wanted: PhantomData<fn() -> V>,
}

impl<V: Named> Locate<V> {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            changed: Box::pin(CHANGED.clone().notified_owned()),
            deadline: Deadline::None,
            wanted: PhantomData,
        }
    }

    /// Gives up after so long. Default: never.
    pub fn timeout(mut self, after: Duration) -> Self {
        self.deadline = Deadline::Later(after);
        self
    }
}

impl<V: Named> Future for Locate<V> {
    type Output = Result<V, FindError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            // From here on nothing is missed.
            this.changed.as_mut().enable();
            match find(&this.name) {
                Err(FindError::NotFound(_)) => (),
                found => return Poll::Ready(found),
            }
            if this.changed.as_mut().poll(cx).is_pending() {
                break;
            }
            this.changed.set(CHANGED.clone().notified_owned());
        }
        let Poll::Ready(after) = this.deadline.poll(cx) else { return Poll::Pending };
        Poll::Ready(Err(FindError::TimedOut { name: this.name.clone(), after }))
    }
}

impl<V> fmt::Debug for Locate<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "locate {:?}", self.name)
    }
}

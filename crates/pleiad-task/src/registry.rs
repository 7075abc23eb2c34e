//! All live tasks, for whoever wants to look. Costs nothing as long as nobody does.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::any::AnyTask;
use crate::cell::{AnyCell, TaskCell};
use crate::identity::{Identity, TaskId};
use crate::life::Watch;
use crate::queue::bits;

static ON: AtomicBool = AtomicBool::new(false);
static TASKS: LazyLock<Mutex<Tasks>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Tasks {
    known: HashMap<TaskId, Weak<dyn AnyCell>>,
    /// Ended ones are swept out when there are as many as this.
    sweep_at: usize,
}

/// What a task does at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaskInfo {
    /// Which task.
    pub task: Identity,
    /// What it does.
    pub state: TaskState,
    /// Messages in its mailbox.
    pub queued: usize,
    /// How many it holds; `None`: as many as there come.
    pub capacity: Option<usize>,
    /// Messages that it has taken out of its mailbox. `None` if it began before
    /// [`watch_tasks`](crate::watch_tasks).
    pub received: Option<u64>,
    /// Time since its start. `None` if it began before [`watch_tasks`](crate::watch_tasks).
    pub age: Option<Duration>,
    /// Whether the end of the program does not wait for it.
    pub daemon: bool,
}

/// See [`TaskInfo::state`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TaskState {
    /// It waits for a message.
    Receiving,
    /// It works, or waits for something else than a message.
    Busy,
    /// It was asked to stop.
    Stopping,
    /// It has ended.
    Ended,
}

/// From now on (or no more), tasks that are spawned are known to [`tasks`]. Off at first.
///
/// While it is on, a spawn costs some 100 ns more, and a task some 150 bytes.
pub fn watch_tasks(on: bool) {
    ON.store(on, Ordering::Release);
}

/// All live tasks that were spawned since [`watch_tasks`], in the order of their spawns.
pub fn tasks() -> Vec<AnyTask> {
    let cells: Vec<_> = lock().known.values().filter_map(Weak::upgrade).collect();
    let mut live: Vec<_> =
        cells.into_iter().filter(|cell| cell.exit().is_none()).map(AnyTask::new).collect();
    live.sort_by_key(AnyTask::id);
    live
}

/// Whether [`tasks`] knows of tasks that are spawned: see [`watch_tasks`].
#[inline]
pub fn tasks_are_watched() -> bool {
    ON.load(Ordering::Acquire)
}

pub(crate) fn watch() -> Watch {
    Watch { born: Instant::now(), taken: 0 }
}

pub(crate) fn add(cell: Arc<dyn AnyCell>) {
    let mut tasks = lock();
    if tasks.known.len() >= tasks.sweep_at {
        // Dropping a cell takes no lock that we hold: only the memory is left of it.
        tasks.known.retain(|_, cell| cell.strong_count() > 0);
        tasks.sweep_at = (2 * tasks.known.len()).max(64);
    }
    tasks.known.insert(cell.id(), Arc::downgrade(&cell));
}

pub(crate) fn info<M>(cell: &TaskCell<M>) -> TaskInfo {
    let attention = cell.queue.attention();
    let watched =
        cell.queue.life(|life| life?.watch.as_ref().map(|watch| (watch.taken, watch.born)));
    let state = if attention & bits::ENDED != 0 {
        TaskState::Ended
    } else if attention & bits::STOPPED != 0 {
        TaskState::Stopping
    } else if cell.queue.is_receiving() {
        TaskState::Receiving
    } else {
        TaskState::Busy
    };
    let capacity = cell.queue.capacity();
    TaskInfo {
        task: cell.identity(),
        state,
        queued: cell.queue.len(),
        capacity: (capacity != crate::queue::UNBOUNDED).then_some(capacity as usize),
        received: watched.map(|(taken, _)| taken.saturating_sub(cell.queue.unread() as u64)),
        age: watched.map(|(_, born)| born.elapsed()),
        daemon: attention & bits::DAEMON != 0,
    }
}

fn lock() -> std::sync::MutexGuard<'static, Tasks> {
    TASKS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Receiving => "receiving",
            Self::Busy => "busy",
            Self::Stopping => "stopping",
            Self::Ended => "ended",
        })
    }
}

/// One line: `counter/12 receiving, 0 of 1024 messages, 31 received, 2.5s`.
impl fmt::Display for TaskInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}, {}", self.task, self.state, self.queued)?;
        match self.capacity {
            Some(capacity) => write!(f, " of {capacity} messages")?,
            None => f.write_str(" messages")?,
        }
        if let Some(received) = self.received {
            write!(f, ", {received} received")?;
        }
        if let Some(age) = self.age {
            write!(f, ", {:.1}s", age.as_secs_f64())?;
        }
        if self.daemon { f.write_str(", daemon") } else { Ok(()) }
    }
}

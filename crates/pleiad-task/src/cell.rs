//! What all who know a task share: its queue, its identity, and how it ended.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use pleiad_types::limits;

use crate::exit::{Exit, ExitReason, Failure};
use crate::identity::{Identity, TaskId};
use crate::life::{Life, Tell};
use crate::queue::{Queue, Remains, bits};
use crate::{live, names};

pub(crate) struct TaskCell<M> {
    pub(crate) queue: Queue<M>,
    /// With its node, which few have, it is the [`TaskId`].
    number: NonZeroU64,
    function: fn() -> &'static str,
}

/// How a task ended, before anybody has heard of it.
pub(crate) enum End {
    Returned,
    Failed(Box<Failure>),
    Terminated,
}

impl<M> TaskCell<M> {
    pub(crate) fn new(capacity: u32, function: fn() -> &'static str) -> Self {
        Self { queue: Queue::new(capacity), number: TaskId::next().non_zero(), function }
    }

    /// Stands for a task of another node.
    #[cfg(feature = "far")]
    pub(crate) fn of_far(end: Arc<crate::far::FarEnd<M>>) -> Self {
        let number = end.id().non_zero();
        Self { queue: Queue::to_far(end), number, function: || "far" }
    }

    #[inline]
    pub(crate) fn id(&self) -> TaskId {
        #[cfg(feature = "far")]
        if let Some(far) = self.queue.far() {
            return far.id();
        }
        TaskId::here(self.number)
    }

    pub(crate) fn identity(&self) -> Identity {
        #[cfg(feature = "far")]
        if let Some(far) = self.queue.far() {
            return far.identity();
        }
        let own = self.queue.life(|life| life.and_then(|life| life.name.clone()));
        Identity::new(TaskId::here(self.number), self.function, own)
    }

    /// The task has ended: everybody who waits for it is told. Only the first call counts.
    pub(crate) fn finish(&self, end: End) {
        let (how, failure) = match end {
            End::Returned => (bits::RETURNED, None),
            End::Failed(failure) => {
                tracing::warn!(task = %self.identity(), %failure, "a task has failed");
                (bits::FAILED, Some(Arc::from(failure)))
            }
            End::Terminated => (bits::TERMINATED, None),
        };
        let (is_first, remains) = self.queue.end(how, failure);
        if let Some(remains) = remains {
            self.settle(*remains);
        }
        if is_first && self.queue.attention() & bits::DAEMON == 0 {
            live::one_less();
        }
    }

    /// A task of another node has ended. Whether that was not known.
    #[cfg(feature = "far")]
    pub(crate) fn finish_far(&self, reason: ExitReason) -> bool {
        let is_first = self.queue.far().is_some_and(|far| far.end(reason));
        if is_first && let (_, Some(remains)) = self.queue.end(0, None) {
            self.settle(*remains);
        }
        is_first
    }

    #[cold]
    fn settle(&self, mut remains: Remains<M>) {
        remains.wake();
        let life = remains.life.take();
        if let Some(failure) = remains.discard(self.id()) {
            tracing::error!(task = %self.identity(), %failure, "a message has failed to be dropped");
        }
        if let Some(life) = life {
            self.tell(life);
        }
    }

    /// As [`finish`](Self::finish); gives how it ended.
    #[cold]
    pub(crate) fn fail(&self, end: End) -> Exit {
        self.finish(end);
        self.exit().unwrap_or_else(|| Exit::new(self.identity(), ExitReason::Terminated))
    }

    fn tell(&self, mut life: Life) {
        for name in life.registered.drain(..) {
            names::forget(&name, self.id());
        }
        if let Some(exit) = self.exit() {
            life.tell(&exit);
        }
    }

    /// How it ended, if it has.
    pub(crate) fn exit(&self) -> Option<Exit> {
        let attention = self.queue.attention();
        if attention & bits::ENDED == 0 {
            return None;
        }
        #[cfg(feature = "far")]
        if let Some(far) = self.queue.far() {
            return Some(far.exit());
        }
        let reason = if attention & bits::RETURNED != 0 {
            ExitReason::Returned
        } else if attention & bits::TERMINATED != 0 {
            ExitReason::Terminated
        } else {
            let failure = self.queue.life(|life| life.and_then(|life| life.failure.clone()));
            ExitReason::Failed(failure.unwrap_or_else(|| {
                Arc::new(Failure { message: String::new(), location: None, backtrace: None })
            }))
        };
        Some(Exit::new(self.identity(), reason))
    }

    /// Time between the request to stop and the end by force.
    pub(crate) fn grace(&self) -> Duration {
        self.queue.life(|life| life.and_then(|life| life.grace)).unwrap_or(limits::STOP_GRACE)
    }

    /// Asks the task to stop. `grace`: instead of the one that it was spawned with.
    pub(crate) fn stop(&self, grace: Option<Duration>) {
        #[cfg(feature = "far")]
        if let Some(far) = self.queue.far() {
            return far.target().stop(grace);
        }
        if grace.is_some() {
            self.queue.life_mut(|life, _| life.grace = grace);
        }
        self.queue.stop(bits::STOPPED);
    }

    /// Ends the task at its next await.
    pub(crate) fn kill(&self) {
        #[cfg(feature = "far")]
        if let Some(far) = self.queue.far() {
            return far.target().kill();
        }
        self.queue.stop(bits::KILLED);
    }

    /// `tell` hears of the end: at once, if it has been. Gives a number for
    /// [`unmonitor`](Self::unmonitor).
    pub(crate) fn monitor(&self, tell: Tell) -> Option<u64> {
        let mut late = None;
        let number = self.queue.life_mut(|life, attention| {
            if attention & bits::ENDED != 0 {
                late = Some(tell);
                return None;
            }
            Some(life.add_monitor(tell))
        });
        if let Some(late) = late
            && let Some(exit) = self.exit()
        {
            late(exit);
        }
        number
    }

    /// Whether it was still to be told.
    pub(crate) fn unmonitor(&self, number: u64) -> bool {
        let removed = self.queue.life_mut(|life, _| life.remove_monitor(number));
        removed.is_some()
    }

    /// Whether the program waits for this task at its end. It never does for one of another node.
    pub(crate) fn set_daemon(&self, daemon: bool) {
        #[cfg(feature = "far")]
        if self.queue.is_far() {
            return;
        }
        if !daemon {
            // First, so that an end in between is never counted before it is waited for.
            live::one_back();
        }
        let before = self.queue.mark_unless(bits::ENDED, bits::DAEMON, daemon);
        let changed = before.is_some_and(|before| (before & bits::DAEMON != 0) != daemon);
        if changed == daemon {
            live::one_less();
        }
    }
}

/// A [`TaskCell`], whatever its messages are.
pub(crate) trait AnyCell: Send + Sync {
    fn id(&self) -> TaskId;
    fn identity(&self) -> Identity;
    fn exit(&self) -> Option<Exit>;
    fn stop(&self, grace: Option<Duration>);
    fn kill(&self);
    fn monitor(&self, tell: Tell) -> Option<u64>;
    fn unmonitor(&self, number: u64) -> bool;
    fn info(&self) -> crate::TaskInfo;
    #[cfg(feature = "far")]
    fn into_any(self: Arc<Self>) -> Arc<dyn std::any::Any + Send + Sync>;
    #[cfg(feature = "far")]
    fn add_sender(&self);
    #[cfg(feature = "far")]
    fn remove_sender(&self);
    #[cfg(feature = "far")]
    fn is_deserted(&self) -> bool;
    #[cfg(feature = "far")]
    fn is_far(&self) -> bool;
    #[cfg(feature = "far")]
    fn finish_far(&self, reason: ExitReason) -> bool;
}

impl<M: Send + 'static> AnyCell for TaskCell<M> {
    fn id(&self) -> TaskId {
        self.id()
    }

    fn identity(&self) -> Identity {
        self.identity()
    }

    fn exit(&self) -> Option<Exit> {
        self.exit()
    }

    fn stop(&self, grace: Option<Duration>) {
        self.stop(grace);
    }

    fn kill(&self) {
        self.kill();
    }

    fn monitor(&self, tell: Tell) -> Option<u64> {
        self.monitor(tell)
    }

    fn unmonitor(&self, number: u64) -> bool {
        self.unmonitor(number)
    }

    fn info(&self) -> crate::TaskInfo {
        crate::registry::info(self)
    }

    #[cfg(feature = "far")]
    fn into_any(self: Arc<Self>) -> Arc<dyn std::any::Any + Send + Sync> {
        self
    }

    #[cfg(feature = "far")]
    fn add_sender(&self) {
        self.queue.add_sender();
    }

    #[cfg(feature = "far")]
    fn remove_sender(&self) {
        self.queue.remove_sender();
    }

    #[cfg(feature = "far")]
    fn is_deserted(&self) -> bool {
        self.queue.is_deserted()
    }

    #[cfg(feature = "far")]
    fn is_far(&self) -> bool {
        self.queue.is_far()
    }

    #[cfg(feature = "far")]
    fn finish_far(&self, reason: ExitReason) -> bool {
        self.finish_far(reason)
    }
}

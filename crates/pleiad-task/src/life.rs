//! What is known of a task beyond its queue. Most tasks have none of it, and no memory for it.

use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::current;
use crate::exit::{Exit, Failure};

#[derive(Default)]
pub(crate) struct Life {
    /// A name of its own, instead of that of its function.
    pub(crate) name: Option<Arc<str>>,
    /// Who is told of the end. Their numbers ascend.
    monitors: Vec<Monitor>,
    /// Of monitors: the number of the next.
    next_monitor: u64,
    /// Why it has failed.
    pub(crate) failure: Option<Arc<Failure>>,
    /// How long it may go on when it is asked to stop.
    pub(crate) grace: Option<Duration>,
    /// Those in the task that wait to be asked to stop.
    pub(crate) stop_waiters: StopWaiters,
    /// Counts for whoever looks at the tasks, if somebody does.
    pub(crate) watch: Option<Watch>,
    /// Names by which it is found, to be given back.
    pub(crate) registered: Vec<Arc<str>>,
}

/// Who is told of an end: a number, to be able to cancel it, and how.
struct Monitor {
    number: u64,
    tell: Tell,
}

/// Hears of an end.
pub(crate) type Tell = Box<dyn FnOnce(Exit) + Send>;

/// Who waits to be asked to stop: each with its number.
#[derive(Default)]
pub(crate) struct StopWaiters {
    next_number: u64,
    waiting: Vec<(u64, Waker)>,
}

impl StopWaiters {
    /// `number`: of the one who waits, if it has one already. Gives a waker that is to be dropped
    /// outside of the lock.
    pub(crate) fn wait(&mut self, number: &mut Option<u64>, waker: &Waker) -> Option<Waker> {
        if let Some((_, known)) = self.waiting.iter_mut().find(|(other, _)| Some(*other) == *number)
        {
            return (!known.will_wake(waker)).then(|| std::mem::replace(known, waker.clone()));
        }
        *number = Some(self.next_number);
        self.waiting.push((self.next_number, waker.clone()));
        self.next_number += 1;
        None
    }

    /// It does not wait any more.
    pub(crate) fn leave(&mut self, number: u64) -> Option<Waker> {
        let index = self.waiting.iter().position(|(other, _)| *other == number)?;
        Some(self.waiting.swap_remove(index).1)
    }

    /// Those who are to be woken.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = Waker> + use<> {
        std::mem::take(&mut self.waiting).into_iter().map(|(_, waker)| waker)
    }
}

pub(crate) struct Watch {
    pub(crate) born: Instant,
    /// Messages that the receiver has taken out of the queue.
    pub(crate) taken: u64,
}

impl Life {
    /// `tell` will be told of the end.
    pub(crate) fn add_monitor(&mut self, tell: Tell) -> u64 {
        let number = self.next_monitor;
        self.next_monitor += 1;
        self.monitors.push(Monitor { number, tell });
        number
    }

    /// Gives what is to be dropped outside of the lock, if it was still there.
    pub(crate) fn remove_monitor(&mut self, number: u64) -> Option<Tell> {
        let index = self.monitors.binary_search_by_key(&number, |monitor| monitor.number).ok()?;
        Some(self.monitors.remove(index).tell)
    }

    /// What is to be told, given back and dropped at the end; the name and the failure stay.
    pub(crate) fn at_end(&mut self) -> Self {
        Self {
            monitors: std::mem::take(&mut self.monitors),
            registered: std::mem::take(&mut self.registered),
            ..Self::default()
        }
    }

    /// Tells all monitors.
    pub(crate) fn tell(&mut self, exit: &Exit) {
        for monitor in self.monitors.drain(..) {
            let exit = exit.clone();
            // One that panics, in the function that makes a message of it, is not to stop the others.
            if let Err(failure) = current::catch(|| (monitor.tell)(exit)) {
                tracing::error!(%failure, "a monitor has panicked");
            }
        }
    }
}

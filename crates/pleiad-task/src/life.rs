//! What is known of a task beyond its queue. Most tasks have none of it, and no memory for it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::exit::{Exit, Failure};

#[derive(Default)]
pub(crate) struct Life {
    /// A name of its own, instead of that of its function.
    pub(crate) name: Option<Arc<str>>,
    /// Who is told of the end.
    monitors: Vec<Monitor>,
    /// Of monitors: the number of the next.
    next_monitor: u64,
    /// Why it has failed.
    pub(crate) failure: Option<Arc<Failure>>,
    /// How long it may go on when it is asked to stop.
    pub(crate) grace: Option<Duration>,
    /// Of those in the task that wait to be asked to stop.
    pub(crate) stop_wakers: Vec<Waker>,
    /// Counts for whoever looks at the tasks, if somebody does.
    pub(crate) watch: Option<Watch>,
    /// Names by which it is found, to be given back.
    pub(crate) registered: Vec<Arc<str>>,
}

/// Who is told of an end: a number, to be able to cancel it, and how.
struct Monitor {
    number: u64,
    tell: Box<dyn Tell>,
}

/// Somebody who wants to know of an end.
pub(crate) trait Tell: Send {
    fn tell(self: Box<Self>, exit: Exit);

    /// Whether it would be for nobody.
    fn is_in_vain(&self) -> bool {
        false
    }
}

impl<F: FnOnce(Exit) + Send> Tell for F {
    fn tell(self: Box<Self>, exit: Exit) {
        self(exit);
    }
}

pub(crate) struct Watch {
    pub(crate) born: Instant,
    /// Messages that the receiver has taken out of the queue.
    pub(crate) taken: u64,
}

impl Life {
    /// `tell` will be told of the end.
    pub(crate) fn add_monitor(&mut self, tell: Box<dyn Tell>) -> u64 {
        if self.monitors.len() == self.monitors.capacity() {
            // Those who only waited for a time must not fill the memory.
            self.monitors.retain(|monitor| !monitor.tell.is_in_vain());
        }
        let number = self.next_monitor;
        self.next_monitor += 1;
        self.monitors.push(Monitor { number, tell });
        number
    }

    /// Gives what is to be dropped outside of the lock, if it was still there.
    pub(crate) fn remove_monitor(&mut self, number: u64) -> Option<Box<dyn Tell>> {
        let index = self.monitors.iter().position(|monitor| monitor.number == number)?;
        Some(self.monitors.remove(index).tell)
    }

    /// What is to be told, given back and dropped at the end; the name and the failure stay.
    pub(crate) fn at_end(&mut self) -> Self {
        Self {
            monitors: std::mem::take(&mut self.monitors),
            stop_wakers: std::mem::take(&mut self.stop_wakers),
            registered: std::mem::take(&mut self.registered),
            ..Self::default()
        }
    }

    /// Tells all monitors.
    pub(crate) fn tell(&mut self, exit: &Exit) {
        for monitor in self.monitors.drain(..) {
            let exit = exit.clone();
            // One that panics, in the function that makes a message of it, is not to stop the others.
            let told = catch_unwind(AssertUnwindSafe(|| monitor.tell.tell(exit)));
            if told.is_err() {
                tracing::error!("a monitor has panicked");
            }
        }
    }
}

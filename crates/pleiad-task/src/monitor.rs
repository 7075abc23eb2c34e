use std::sync::{Arc, Weak};

use thiserror::Error;

use crate::cell::AnyCell;
use crate::exit::Exit;
use crate::identity::Identity;
use crate::life::Tell;
use crate::reference::TaskRef;

/// A monitor, to be able to cancel it. Dropping this changes nothing.
#[derive(Debug)]
pub struct Monitor {
    observed: Weak<dyn AnyCell>,
    /// None: it has been told already.
    number: Option<u64>,
}

/// Why [`TaskRef::monitor`] monitors nothing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MonitorError {
    /// A task cannot be told of its own end.
    #[error("{0} cannot monitor itself")]
    Itself(Identity),
    /// The task that was to be told takes no more messages.
    #[error("{0} takes no more messages, and so cannot be told of an end")]
    Closed(Identity),
}

impl Monitor {
    pub(crate) fn new<M: Send + 'static>(
        monitor: &TaskRef<M>,
        observed: Arc<dyn AnyCell>,
        message: impl FnOnce(Exit) -> M + Send + 'static,
    ) -> Result<Self, MonitorError> {
        if observed.id() == monitor.id() {
            return Err(MonitorError::Itself(monitor.identity()));
        }
        if monitor.cell.queue.is_shut() {
            return Err(MonitorError::Closed(monitor.identity()));
        }
        let monitor = monitor.clone();
        let tell = move |exit: Exit| {
            // A monitor that has ended meanwhile does not want to know.
            let _ = monitor.cell.queue.push_exempt(message(exit));
        };
        let number = observed.monitor(lasting(&observed, tell));
        Ok(Self { observed: Arc::downgrade(&observed), number })
    }

    /// `tell` hears of the end of `observed`.
    #[cfg(feature = "far")]
    pub(crate) fn of(observed: &Arc<dyn AnyCell>, tell: Tell) -> Self {
        let number = observed.monitor(lasting(observed, tell));
        Self { observed: Arc::downgrade(observed), number }
    }

    /// Stops monitoring. Whether that came in time: if not, the message is there, or on its way.
    pub fn cancel(self) -> bool {
        let observed = self.observed.upgrade();
        self.number.zip(observed).is_some_and(|(number, cell)| cell.unmonitor(number))
    }
}

/// What stands here for a task of another node lasts as long as somebody is to be told of its end, though
/// there is no reference any more: nothing else keeps it.
#[cfg_attr(not(feature = "far"), expect(unused_variables, reason = "there are no others"))]
fn lasting(observed: &Arc<dyn AnyCell>, tell: impl FnOnce(Exit) + Send + 'static) -> Tell {
    #[cfg(feature = "far")]
    if observed.is_far() {
        let observed = observed.clone();
        return Box::new(move |exit| {
            tell(exit);
            drop(observed);
        });
    }
    Box::new(tell)
}

impl std::fmt::Debug for dyn AnyCell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.identity(), f)
    }
}

use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval_at, sleep};

use crate::reference::TaskRef;

/// A message to come: see [`TaskRef::send_after`]. Dropping this changes nothing.
#[derive(Debug, Clone)]
pub struct Timer(AbortHandle);

impl Timer {
    /// Sends nothing more, but what is being sent at this moment. A message that is in the mailbox
    /// already stays there.
    pub fn cancel(&self) {
        self.0.abort();
    }

    /// Whether nothing will be sent any more.
    pub fn is_over(&self) -> bool {
        self.0.is_finished()
    }
}

impl<M: Send + 'static> TaskRef<M> {
    /// Sends `message` after this time, to the millisecond. Does not keep the mailbox open; waits for
    /// room, if there is none. If nobody else keeps it open then, or the task has ended, the message is
    /// dropped.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn send_after(&self, delay: Duration, message: M) -> Timer {
        let task = self.downgrade();
        let timer = tokio::spawn(async move {
            sleep(delay).await;
            if let Some(task) = task.upgrade() {
                // A task that takes no more messages needs no timer.
                let _ = task.deliver(message).await;
            }
        });
        Timer(timer.abort_handle())
    }

    /// Sends a message again and again, the first after one period, until the task ends. A task that
    /// does not keep up gets no heap of them: as long as there is no room, none is made.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime, and if the period is zero.
    pub fn send_every(
        &self,
        period: Duration,
        mut message: impl FnMut() -> M + Send + 'static,
    ) -> Timer {
        let task = self.downgrade();
        let mut ticks = interval_at(tokio::time::Instant::now() + period, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let timer = tokio::spawn(async move {
            loop {
                ticks.tick().await;
                let Some(task) = task.upgrade() else { return };
                if task.deliver(message()).await.is_err() {
                    return;
                }
            }
        });
        Timer(timer.abort_handle())
    }
}

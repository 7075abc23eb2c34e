use std::task::{Context, Poll};

/// What became of a message that was published: numbers of tasks and streams, over all levels of
/// channels. One that is subscribed in two ways counts twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct Published {
    /// Who has it in the mailbox.
    pub reached: usize,
    /// Who has not got it: there was no room, or the function that makes the subscriber's message of
    /// it has panicked.
    pub missed: usize,
    /// How many of those who missed it are no subscribers any more, by
    /// [`WhenFull::Disconnect`](crate::WhenFull::Disconnect).
    pub disconnected: usize,
    /// Channels whose [transform](crate::Channel::set_transform) has dropped it.
    pub filtered: usize,
}

/// One message on its way to all.
#[derive(Default)]
pub(super) struct Round {
    /// Whether it waits where there is no room; else that is missed.
    pub(super) waits: bool,
    pub(super) published: Published,
    pub(super) pending: Vec<Box<dyn Waits>>,
}

/// A subscriber for whose room a message waits.
pub(super) trait Waits: Send {
    /// Whether it is in: if not, the subscriber has ended.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<bool>;

    /// Whether the subscription has ended.
    fn is_over(&self) -> bool;

    /// Waits no longer. Whether it has been in vain.
    fn take_back(&mut self) -> bool;
}

impl Round {
    /// Gives the message to those who have room meanwhile.
    pub(super) fn poll_pending(&mut self, cx: &mut Context<'_>) {
        let published = &mut self.published;
        self.pending.retain_mut(|pending| match pending.poll(cx) {
            Poll::Ready(is_in) => {
                published.reached += usize::from(is_in);
                false
            }
            Poll::Pending if pending.is_over() => {
                count(&mut **pending, published);
                false
            }
            Poll::Pending => true,
        });
    }

    /// Who has no room yet has missed it.
    pub(super) fn give_up(&mut self) {
        for mut pending in self.pending.drain(..) {
            count(&mut *pending, &mut self.published);
        }
    }
}

fn count(pending: &mut dyn Waits, published: &mut Published) {
    if pending.take_back() {
        published.missed += 1;
    } else {
        published.reached += 1;
    }
}

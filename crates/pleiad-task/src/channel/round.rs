use std::task::Context;

use crate::channel::pending::Pending;

/// What became of a message that was published: numbers of tasks and streams, over all levels of
/// channels. One that is subscribed in two ways counts twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct Published {
    /// Who has it in the mailbox. With [`send`](crate::Channel::send), and for tasks of other nodes that
    /// are not waited for by [`WhenFull::Wait`](crate::WhenFull::Wait): on the way there.
    pub reached: usize,
    /// Who has not got it: there was no room, or the function that makes the subscriber's message of
    /// it has panicked. A task of another node counts too if it has not acknowledged the message when
    /// [enough](crate::Broadcast::at_least) others have: it may still get it.
    pub missed: usize,
    /// How many of those who missed it are no subscribers any more, by
    /// [`WhenFull::Disconnect`](crate::WhenFull::Disconnect).
    pub disconnected: usize,
    /// Channels whose [transform](crate::Channel::set_transform) has dropped it, and tasks whose
    /// [function](crate::Channel::subscribe_some) has.
    pub filtered: usize,
}

/// One message on its way to all.
#[derive(Default)]
pub(super) struct Round {
    /// Whether it waits where there is no room; else that is missed.
    pub(super) waits: bool,
    pub(super) published: Published,
    pub(super) pending: Pending,
}

impl Round {
    /// Gives the message to those who have room meanwhile.
    pub(super) fn poll_pending(&mut self, cx: &mut Context<'_>) {
        self.pending.poll(&mut self.published, cx);
    }

    /// Does not wait any more for those whose subscription has ended.
    pub(super) fn give_up_ended(&mut self) {
        self.pending.give_up_ended(&mut self.published);
    }

    /// Who has no room yet has missed it.
    pub(super) fn give_up(&mut self) {
        self.pending.give_up(&mut self.published);
    }
}

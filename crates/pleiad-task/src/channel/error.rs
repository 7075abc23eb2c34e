use std::time::Duration;

use pleiad_types::limits::CHANNEL_LEVELS_MAX;
use thiserror::Error;

use crate::identity::Identity;

/// Why a message was not published to a [`Channel`](crate::Channel).
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The channel is closed. Nobody has got the message; do not try again.
    #[error("channel {channel:?} is closed")]
    Closed {
        /// The channel's name.
        channel: String,
    },
    /// Only from [`deliver`](crate::Channel::deliver): there were too few subscribers, or no room in
    /// their mailboxes, in time. Those who were reached have the message, others never get it:
    /// publishing it again reaches some of them twice.
    #[error("within {after:?}, a message on channel {channel:?} has reached {reached} of {wanted}")]
    TimedOut {
        /// The channel's name.
        channel: String,
        /// Tasks and streams that have got the message.
        reached: usize,
        /// How many should have.
        wanted: usize,
        /// How long it was waited.
        after: Duration,
    },
    /// Only from [`deliver`](crate::Channel::deliver): subscribers have gone while it was waited for
    /// their room, so that too few were left. Those who were reached have the message.
    #[error(
        "a message on channel {channel:?} has reached {reached} of {wanted}, and the others are gone"
    )]
    TooFew {
        /// The channel's name.
        channel: String,
        /// Tasks and streams that have got the message.
        reached: usize,
        /// How many should have.
        wanted: usize,
    },
}

/// Why a task was not subscribed to a [`Channel`](crate::Channel).
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The channel is closed. Do not try again.
    #[error("channel {channel:?} is closed, and takes no more subscribers")]
    ChannelClosed {
        /// The channel's name.
        channel: String,
    },
    /// The task has ended, or has closed or dropped its mailbox. Do not try again.
    #[error("{task} takes no more messages, and cannot subscribe to channel {channel:?}")]
    TaskClosed {
        /// The channel's name.
        channel: String,
        /// The task that should have subscribed.
        task: Identity,
    },
}

/// Why a channel was not subscribed to another.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SubscribeChannelError {
    /// One of both is closed. Do not try again.
    #[error("channel {channel:?} is closed, and can be no part of a hierarchy")]
    Closed {
        /// Its name.
        channel: String,
    },
    /// A message would come back to where it was, without end. Unsubscribe one of the channels in
    /// between first.
    #[error(
        "channel {child:?} cannot subscribe to {parent:?}: it is the same, or has {parent:?} below it"
    )]
    Cycle {
        /// The name of the channel that was to be above.
        parent: String,
        /// The name of the channel that was to be below.
        child: String,
    },
    /// There would be too many channels above each other.
    #[error(
        "channel {child:?} cannot subscribe to {parent:?}: \
         a hierarchy has at most {CHANNEL_LEVELS_MAX} levels"
    )]
    TooDeep {
        /// The name of the channel that was to be above.
        parent: String,
        /// The name of the channel that was to be below.
        child: String,
    },
}

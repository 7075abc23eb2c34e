use std::time::Duration;

use pleiad_task::{AskError, Identity, SendError};
use thiserror::Error;

use crate::channel::request::{NotDelivered, size};

/// Why a message was not published to a [`RemoteChannel`](crate::RemoteChannel).
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RemotePublishError {
    /// The channel is closed. Nobody has got the message; do not try again.
    #[error("channel {channel:?} is closed")]
    Closed {
        /// The channel's name.
        channel: String,
    },
    /// There is no room on the way to the channel, or too many messages wait there for subscribers.
    /// Nobody has got the message; try again later.
    #[error("channel {channel:?} does not keep up: try again later")]
    Busy {
        /// The channel's name.
        channel: String,
    },
    /// There were too few subscribers, or no room in their mailboxes, in time. Those who were reached have
    /// the message, others never get it: publishing it again reaches some of them twice.
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
    /// Subscribers have gone while it was waited for their room, so that too few were left. Those who were
    /// reached have the message.
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
    /// The channel's node has said nothing in time: subscribers may or may not have the message, or may
    /// still get it.
    #[error("the node of channel {channel:?} has not answered within {after:?}")]
    Unconfirmed {
        /// The channel's name.
        channel: String,
        /// How long it was waited.
        after: Duration,
    },
    /// The channel's node has closed or is lost: subscribers may or may not have the message.
    #[error("channel {channel:?} was lost with {peer}")]
    Lost {
        /// The channel's name.
        channel: String,
        /// Who was lost, and why.
        peer: String,
    },
    /// The message cannot be sent, or not be read there. Do not try again.
    #[error("the message cannot be sent to channel {channel:?}: {why}")]
    Unsendable {
        /// The channel's name.
        channel: String,
        /// What is wrong with it.
        why: String,
    },
}

/// Why a task was not subscribed to a [`RemoteChannel`](crate::RemoteChannel), or not unsubscribed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RemoteSubscribeError {
    /// The channel is closed. Do not try again.
    #[error("channel {channel:?} is closed, and takes no more subscribers")]
    ChannelClosed {
        /// The channel's name.
        channel: String,
    },
    /// The task has ended, or takes no more messages. Do not try again.
    #[error("{task} takes no more messages, and cannot subscribe to channel {channel:?}")]
    TaskClosed {
        /// The channel's name.
        channel: String,
        /// The task that should have subscribed.
        task: Identity,
    },
    /// The channel's node has closed or is lost.
    #[error("channel {channel:?} was lost with {peer}")]
    Lost {
        /// The channel's name.
        channel: String,
        /// Who was lost, and why.
        peer: String,
    },
    /// The two nodes do not understand each other.
    #[error("the node of channel {channel:?} was not understood: {why}")]
    Unreadable {
        /// The channel's name.
        channel: String,
        /// What is wrong.
        why: String,
    },
}

impl RemotePublishError {
    /// It was not sent.
    pub(super) fn unsent<M>(channel: String, error: &SendError<M>) -> Self {
        match error {
            SendError::Full { .. } => Self::Busy { channel },
            SendError::Lost { peer, .. } => Self::Lost { channel, peer: peer.clone() },
            SendError::Unsendable { why, .. } => Self::Unsendable { channel, why: why.clone() },
            _ => Self::Closed { channel },
        }
    }

    /// The channel has not answered.
    pub(super) fn unasked(channel: String, error: AskError) -> Self {
        match error {
            AskError::Lost { peer, .. } => Self::Lost { channel, peer },
            AskError::Unsendable { why, .. } | AskError::Undecodable { why, .. } => {
                Self::Unsendable { channel, why }
            }
            _ => Self::Closed { channel },
        }
    }

    /// The channel has refused it.
    pub(super) fn refused(channel: String, why: &NotDelivered, after: Duration) -> Self {
        match *why {
            NotDelivered::Closed => Self::Closed { channel },
            NotDelivered::Busy => Self::Busy { channel },
            NotDelivered::TimedOut { reached, wanted } => {
                let (reached, wanted) = (size(reached), size(wanted));
                Self::TimedOut { channel, reached, wanted, after }
            }
            NotDelivered::TooFew { reached, wanted } => {
                Self::TooFew { channel, reached: size(reached), wanted: size(wanted) }
            }
        }
    }
}

impl RemoteSubscribeError {
    /// The channel has not answered.
    pub(super) fn unasked(channel: String, error: AskError) -> Self {
        match error {
            AskError::Lost { peer, .. } => Self::Lost { channel, peer },
            AskError::Unsendable { why, .. } | AskError::Undecodable { why, .. } => {
                Self::Unreadable { channel, why }
            }
            _ => Self::ChannelClosed { channel },
        }
    }
}

//! What two nodes say to each other besides messages.

use pleiad_types::NodeId;
use pleiad_types::limits::TEXT_BYTES_MAX;
use serde::{Deserialize, Serialize};

/// One thing that is said. New variants come at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Control {
    // ---- messages to tasks ----
    /// How many messages to this task of mine, and bytes in them, I have taken, all together.
    Taken {
        /// The task.
        task: u64,
        /// Messages.
        count: u64,
        /// Bytes in them.
        bytes: u64,
    },
    /// I could not read this message to a task of mine: it is counted as taken, and gone.
    Unreadable {
        /// The task.
        task: u64,
        /// The message: how many came before it.
        index: u64,
        /// For people.
        why: String,
    },
    /// This task of mine takes no more messages; those after the first `count` are gone.
    Shut {
        /// The task.
        task: u64,
        /// How many it has taken.
        count: u64,
    },

    // ---- answers ----
    /// There will be no answer to this question of yours.
    Unanswered {
        /// The question.
        question: u64,
        /// Why not.
        why: Why,
    },
    /// Nobody waits any more for the answer to this question of mine.
    Unwanted {
        /// The question.
        question: u64,
    },

    // ---- references ----
    /// You mentioned this task `count` times; I need it no more.
    Release {
        /// The node where it is.
        #[serde(with = "crate::wire::node_id")]
        node: NodeId,
        /// The task.
        task: u64,
        /// How often it was mentioned to me.
        count: u64,
    },
    /// I have got a reference to this task of yours from somebody else.
    Adopt {
        /// The task.
        task: u64,
    },
    /// The task that you wanted to adopt is there.
    Adopted {
        /// The task.
        task: u64,
    },
    /// A task of mine has ended, or was never there.
    Ended {
        /// The task.
        task: u64,
        /// How.
        reason: Reason,
    },
    /// Ask this task of yours to stop.
    Stop {
        /// The task.
        task: u64,
        /// Its grace in milliseconds, instead of its own.
        grace_ms: Option<u64>,
    },
    /// End this task of yours at its next await.
    Kill {
        /// The task.
        task: u64,
    },
    /// Have this task of yours take no more messages.
    Close {
        /// The task.
        task: u64,
    },

    // ---- names ----
    /// Which task of yours has this name? If there is none, tell me when there is.
    Locate {
        /// The number of the question.
        query: u64,
        /// The name.
        name: String,
        /// What its messages must be like.
        shape: u64,
        /// The same, for people.
        text: String,
    },
    /// I do not look for it any more.
    Forget {
        /// The number of the question.
        query: u64,
    },
    /// This task of mine has the name.
    Located {
        /// The number of the question.
        query: u64,
        /// The task.
        found: Mention,
    },
    /// Something of mine has the name, but takes other messages.
    OtherShape {
        /// The number of the question.
        query: u64,
        /// What it takes, for people.
        text: String,
    },

    // ---- peers ----
    /// A node that you may hear of in messages, and where it is.
    Introduce {
        /// Which.
        #[serde(with = "crate::wire::node_id")]
        node: NodeId,
        /// Its name.
        name: String,
        /// Where it can be dialled.
        addresses: Vec<String>,
    },
    /// I close. Nothing comes after this.
    Goodbye,
}

/// A reference or a reply in a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mention {
    /// A task.
    Task {
        /// The node where it is.
        #[serde(with = "crate::wire::node_id")]
        node: NodeId,
        /// Its number there.
        task: u64,
        /// Its name, for people.
        name: String,
    },
    /// Where an answer goes: to this node, under this number.
    Question(u64),
}

/// How a task has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// Its function has returned.
    Returned,
    /// It has failed.
    Failed {
        /// The text of the panic or error.
        message: String,
        /// Where.
        location: Option<String>,
        /// The way there.
        backtrace: Option<String>,
    },
    /// It was terminated.
    Terminated,
    /// There is no such task.
    NotFound,
    /// It was lost, with this node.
    Lost(String),
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Why {
    /// The question was dropped, or whoever had it has ended.
    Dropped,
    /// A task has ended before it read the question.
    Unread {
        /// The node of the task.
        #[serde(with = "crate::wire::node_id")]
        node: NodeId,
        /// The task.
        task: u64,
    },
    /// Whoever was asked takes no more messages.
    Refused,
    /// Whoever had the question was lost, with this node.
    Lost(String),
    /// Question or answer could not be read.
    Unreadable(String),
}

impl Reason {
    /// Its texts cut to what may be sent.
    pub(crate) fn trimmed(self) -> Self {
        match self {
            Self::Failed { message, location, backtrace } => Self::Failed {
                message: trim(message),
                location: location.map(trim),
                backtrace: backtrace.map(trim),
            },
            Self::Lost(peer) => Self::Lost(trim(peer)),
            Self::Returned | Self::Terminated | Self::NotFound => self,
        }
    }
}

impl Why {
    /// Its text cut to what may be sent.
    pub(crate) fn trimmed(self) -> Self {
        match self {
            Self::Lost(peer) => Self::Lost(trim(peer)),
            Self::Unreadable(why) => Self::Unreadable(trim(why)),
            Self::Dropped | Self::Unread { .. } | Self::Refused => self,
        }
    }
}

/// Cuts a text for people to what may be sent.
pub(crate) fn trim(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    text
}

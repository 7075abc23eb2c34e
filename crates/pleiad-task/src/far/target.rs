//! What pleiad-net implements, and what it is given.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;

use crate::any::{AnyTask, WeakAnyTask};
use crate::cell::AnyCell;
use crate::far::inlet::Inlet;
use crate::identity::TaskId;
use crate::reply::Unanswered;

/// The way to a task of another node. Is called outside of all locks of this crate, by any thread, and
/// never waits.
///
/// When it is dropped, nothing here refers to the task any more, and nothing ever will by this one.
pub trait FarTarget: Any + Send + Sync {
    /// Sends a message, if there is room for it on the way. It takes what is `attached`, and only if it
    /// gives `Ok`.
    fn send(&self, body: &[u8], attached: &mut Vec<Attached>, how: How) -> Result<(), FarRefusal>;

    /// The same for a message of more than 64 KiB, which needs not be copied.
    fn send_large(
        &self,
        body: &Bytes,
        attached: &mut Vec<Attached>,
        how: How,
    ) -> Result<(), FarRefusal> {
        self.send(body, attached, how)
    }

    /// Sends a message when there is room. If `acknowledged`, the future is ready when the message is in
    /// the mailbox there; if it is dropped before, that may or may not happen. If not, it is ready when
    /// the message is on its way; if it is dropped before, nothing is sent. What is attached comes back
    /// with an error.
    fn submit(&self, encoded: Encoded, how: How, acknowledged: bool) -> Submission;

    /// Asks the task to stop, with this grace or its own.
    fn stop(&self, grace: Option<Duration>);

    /// Ends the task.
    fn kill(&self);

    /// Has the task take no more messages. What is sent after this is refused.
    fn close(&self);

    /// Of questions that went this way, there is one whose answer is not [wanted](Pending::is_wanted) any
    /// more: it is worth a look.
    fn unwanted(&self) {}

    /// Messages that are on their way.
    fn queued(&self) -> usize;

    /// How many messages can be on their way; `u32::MAX` is no limit.
    fn capacity(&self) -> u32;

    /// This stands for the task here: to be [ended](fn@crate::far::end) with it, and
    /// [used again](FarTask::known). There may be several: when it is needed twice at once, or with
    /// different types of messages. If the task has ended already, it is to be ended at once.
    fn bind(&self, task: WeakAnyTask);

    /// Of one of those that are bound, the last reference was dropped. Meanwhile it may have got a new
    /// one: see [`is_deserted`](crate::far::is_deserted) and [`hold`](crate::far::hold).
    fn deserted(&self);
}

/// See [`FarTarget::submit`].
pub type Submission = Pin<Box<dyn Future<Output = Result<(), (FarRefusal, Vec<Attached>)>> + Send>>;

/// Why a message was not sent to another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FarRefusal {
    /// There is no room on the way.
    Full,
    /// The task has ended, or takes no more messages.
    Closed,
    /// The node was lost: this one. After [`FarTarget::submit`], the message may have come.
    Lost(String),
    /// It can never be sent, or not be read there, and why.
    Unsendable(String),
}

/// Which messages a message overtakes, and which room it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum How {
    /// None; that of the mailbox.
    Normal,
    /// All that are not urgent; that for urgent ones.
    Urgent,
    /// None; none. The end of a task, told to a monitor.
    Exempt,
}

/// A message, or an answer, as it travels.
#[derive(Debug, Default)]
pub struct Encoded {
    /// Its bytes.
    pub body: Vec<u8>,
    /// Its references and replies.
    pub attached: Vec<Attached>,
}

/// What leaves with a message.
pub enum Attached {
    /// A reference.
    Task(Reference),
    /// A place where an answer goes.
    Reply(Box<dyn Pending>),
}

/// What has come with a message.
pub enum Arrived {
    /// A reference.
    Task(Reference),
    /// A place where an answer goes.
    Reply(Box<dyn Answerer>),
}

/// A reference that travels, without the type of its messages.
pub enum Reference {
    /// To a task of this process.
    Here(Arc<dyn Inlet>),
    /// To a task of another node.
    Far(FarTask),
}

/// A task of another node.
pub struct FarTask {
    /// Its node and number.
    pub id: TaskId,
    /// Its name.
    pub name: Arc<str>,
    /// The name of its node.
    pub node_name: Arc<str>,
    /// The way there.
    pub target: Arc<dyn FarTarget>,
    /// What stands for it here, if something does.
    pub known: Option<Hold>,
}

/// Keeps a task from being deserted, as a [`TaskRef`](crate::TaskRef) does.
pub struct Hold(Arc<dyn AnyCell>);

/// The place of an answer that is expected here, while the reply is on another node. If it is dropped
/// instead, the reply was.
pub trait Pending: Any + Send {
    /// The answer has come.
    fn answer(self: Box<Self>, body: &[u8], attached: Vec<Arrived>);

    /// None will.
    fn fail(self: Box<Self>, why: Unanswered);

    /// Whether somebody still waits.
    fn is_wanted(&self) -> bool;

    /// Ready when nobody waits any more.
    fn poll_unwanted(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

/// The way back to whoever waits for an answer on another node. If it is dropped instead, the reply
/// was.
pub trait Answerer: Send {
    /// Sends the answer.
    fn answer(self: Box<Self>, encoded: Encoded);

    /// There will be none.
    fn fail(self: Box<Self>, why: Unanswered);

    /// Whether somebody still waits, as far as is known here.
    fn is_wanted(&self) -> bool;

    /// Ready when nobody waits any more.
    fn poll_unwanted(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

impl Hold {
    pub(super) fn new(cell: Arc<dyn AnyCell>) -> Self {
        cell.add_sender();
        Self(cell)
    }

    /// Which task.
    pub fn task(&self) -> AnyTask {
        AnyTask::new(self.0.clone())
    }

    pub(super) fn cell(&self) -> &Arc<dyn AnyCell> {
        &self.0
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.remove_sender();
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hold of {}", self.0.identity())
    }
}

impl fmt::Debug for FarTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{}", self.name, self.id.number(), self.node_name)
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here(inlet) => fmt::Debug::fmt(&inlet.any(), f),
            Self::Far(task) => fmt::Debug::fmt(task, f),
        }
    }
}

impl fmt::Debug for Attached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Task(task) => fmt::Debug::fmt(task, f),
            Self::Reply(_) => f.write_str("reply"),
        }
    }
}

impl fmt::Debug for Arrived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Task(task) => fmt::Debug::fmt(task, f),
            Self::Reply(_) => f.write_str("reply"),
        }
    }
}

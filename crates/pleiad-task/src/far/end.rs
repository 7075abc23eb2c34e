//! What a queue has instead of messages when its task is on another node.

use std::cell::Cell;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use serde::Serialize;

use crate::exit::{Exit, ExitReason};
use crate::far::codec::{self, EncodeError};
use crate::far::target::{Attached, Encoded, FarRefusal, FarTarget, FarTask, How, Submission};
use crate::identity::{FarName, Identity, TaskId};
use crate::queue::Refusal;

thread_local! {
    /// Of the last [`Refusal`] of this thread.
    static DETAIL: Cell<Option<String>> = const { Cell::new(None) };
}

/// What a [`Refusal`] does not say: the peer that was lost, or why a message cannot be sent. Only right
/// after the refusal, and only once.
pub(crate) fn refusal_detail() -> String {
    DETAIL.take().unwrap_or_default()
}

pub(crate) struct FarEnd<M> {
    id: TaskId,
    name: Arc<FarName>,
    target: Arc<dyn FarTarget>,
    /// How the task has ended. Set before the queue says that it has.
    ended: OnceLock<ExitReason>,
    encode: fn(&M, &mut Vec<u8>) -> Result<Vec<Attached>, EncodeError>,
    restore: fn(&M, Vec<Attached>),
}

/// A message on its way to another node.
pub(crate) struct FarDelivery<M> {
    message: M,
    restore: fn(&M, Vec<Attached>),
    /// The lock only lets the delivery be shared by threads; nobody needs it.
    submission: Mutex<Submission>,
}

impl<M> FarEnd<M> {
    pub(super) fn new(task: FarTask) -> Self
    where
        M: Serialize,
    {
        let FarTask { id, name, node_name, target, known: _ } = task;
        let name = Arc::new(FarName { task: name, node: node_name });
        let (encode, restore) = (codec::encode_into::<M>, codec::restore::<M>);
        Self { id, name, target, ended: OnceLock::new(), encode, restore }
    }

    /// Sends `message`, if there is room on the way.
    pub(crate) fn send(&self, message: M, how: How) -> Result<(), (Refusal, M)> {
        self.check(message).and_then(|message| {
            let mut body = codec::scratch();
            let (refusal, attached) = match (self.encode)(&message, &mut body) {
                Err(error) => return Err((error.into(), message)),
                Ok(mut attached) => {
                    match self.send_body(body.take_large(), &body, &mut attached, how) {
                        Ok(()) => return Ok(()),
                        Err(refusal) => (refusal, attached),
                    }
                }
            };
            (self.restore)(&message, attached);
            Err((refusal.into(), message))
        })
    }

    /// Begins to send `message`, and to wait until it is in the mailbox there.
    pub(crate) fn deliver(&self, message: M) -> Result<Option<FarDelivery<M>>, (Refusal, M)> {
        self.check(message).and_then(|message| {
            let mut body = codec::scratch();
            match (self.encode)(&message, &mut body) {
                Err(error) => Err((error.into(), message)),
                Ok(attached) => {
                    let body = body.take_large().map_or_else(|| body.to_vec(), Vec::from);
                    Ok(Some(self.submit(message, body, attached, true)))
                }
            }
        })
    }

    /// Sends `message`, or begins to wait for room on the way.
    pub(crate) fn send_or_wait(&self, message: M) -> Result<Option<FarDelivery<M>>, (Refusal, M)> {
        self.check(message).and_then(|message| {
            let mut body = codec::scratch();
            let mut attached = match (self.encode)(&message, &mut body) {
                Err(error) => return Err((error.into(), message)),
                Ok(attached) => attached,
            };
            let large = body.take_large();
            match self.send_body(large.clone(), &body, &mut attached, How::Normal) {
                Ok(()) => Ok(None),
                Err(FarRefusal::Full) => {
                    let body = large.map_or_else(|| body.to_vec(), Vec::from);
                    Ok(Some(self.submit(message, body, attached, false)))
                }
                Err(refusal) => {
                    (self.restore)(&message, attached);
                    Err((refusal.into(), message))
                }
            }
        })
    }

    /// Whether nobody has said so before.
    pub(crate) fn end(&self, reason: ExitReason) -> bool {
        self.ended.set(reason).is_ok()
    }

    /// How the task has ended, if it has.
    pub(crate) fn exit(&self) -> Exit {
        let reason = self.ended.get().cloned().unwrap_or(ExitReason::NotFound);
        Exit::new(self.identity(), reason)
    }

    pub(crate) fn target(&self) -> &dyn FarTarget {
        &*self.target
    }

    pub(crate) fn id(&self) -> TaskId {
        self.id
    }

    pub(crate) fn identity(&self) -> Identity {
        Identity::far(self.id, self.name.clone())
    }

    pub(super) fn task(&self) -> FarTask {
        FarTask {
            id: self.id,
            name: self.name.task.clone(),
            node_name: self.name.node.clone(),
            target: self.target.clone(),
            known: None,
        }
    }

    #[inline]
    fn check(&self, message: M) -> Result<M, (Refusal, M)> {
        match self.ended.get() {
            None => Ok(message),
            Some(ExitReason::Lost { peer }) => {
                Err((FarRefusal::Lost(peer.clone()).into(), message))
            }
            Some(_) => Err((Refusal::Closed, message)),
        }
    }

    /// `large`: the body, if it is large; then `small` is empty.
    fn send_body(
        &self,
        large: Option<Bytes>,
        small: &[u8],
        attached: &mut Vec<Attached>,
        how: How,
    ) -> Result<(), FarRefusal> {
        match large {
            Some(large) => self.target.send_large(&large, attached, how),
            None => self.target.send(small, attached, how),
        }
    }

    fn submit(
        &self,
        message: M,
        body: Vec<u8>,
        attached: Vec<Attached>,
        acknowledged: bool,
    ) -> FarDelivery<M> {
        let encoded = Encoded { body, attached };
        let submission = Mutex::new(self.target.submit(encoded, How::Normal, acknowledged));
        FarDelivery { message, restore: self.restore, submission }
    }
}

impl<M> FarDelivery<M> {
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), (FarRefusal, Vec<Attached>)>> {
        let submission = self.submission.get_mut().unwrap_or_else(PoisonError::into_inner);
        submission.as_mut().poll(cx)
    }

    /// The message, without what has gone with it.
    pub(crate) fn into_message(self) -> M {
        self.message
    }

    /// The message, with what has come back.
    pub(crate) fn restored(self, attached: Vec<Attached>) -> M {
        (self.restore)(&self.message, attached);
        self.message
    }
}

impl From<FarRefusal> for Refusal {
    fn from(refusal: FarRefusal) -> Self {
        match refusal {
            FarRefusal::Full => Self::Full,
            FarRefusal::Closed => Self::Closed,
            FarRefusal::Lost(peer) => {
                DETAIL.set(Some(peer));
                Self::Lost
            }
            FarRefusal::Unsendable(why) => {
                DETAIL.set(Some(why));
                Self::Unsendable
            }
        }
    }
}

impl From<EncodeError> for Refusal {
    fn from(error: EncodeError) -> Self {
        FarRefusal::Unsendable(error.to_string()).into()
    }
}

//! Replies that came from the peer: the way back for answers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use pleiad_proto::wire::Why;
use pleiad_task::far::{self, Answerer, Encoded, Unanswered};
use pleiad_types::NodeId;

use crate::link::Link;
use crate::link::outgoing::cut;

/// Whether the peer still waits for an answer.
#[derive(Default)]
pub(super) struct Wanted {
    is_over: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Wanted {
    /// Nobody waits any more.
    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Release);
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Answers one question of the peer.
pub(super) struct FarAnswerer {
    link: Arc<Link>,
    question: u64,
    wanted: Arc<Wanted>,
    is_settled: bool,
}

impl FarAnswerer {
    pub(super) fn new(link: Arc<Link>, question: u64, wanted: Arc<Wanted>) -> Self {
        Self { link, question, wanted, is_settled: false }
    }
}

impl Answerer for FarAnswerer {
    fn answer(mut self: Box<Self>, encoded: Encoded) {
        self.is_settled = true;
        self.link.answer(self.question, encoded);
    }

    fn fail(mut self: Box<Self>, why: Unanswered) {
        self.is_settled = true;
        self.link.unanswered(self.question, why_of(self.link.mesh.me(), why));
    }

    fn is_wanted(&self) -> bool {
        !self.wanted.is_over.load(Ordering::Acquire)
    }

    fn poll_unwanted(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        *self.wanted.waker.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(cx.waker().clone());
        if self.is_wanted() { Poll::Pending } else { Poll::Ready(()) }
    }
}

impl Drop for FarAnswerer {
    fn drop(&mut self) {
        if !self.is_settled {
            self.link.unanswered(self.question, Why::Dropped);
        }
    }
}

fn why_of(me: NodeId, why: Unanswered) -> Why {
    match why {
        Unanswered::Dropped => Why::Dropped,
        Unanswered::Unread(task) => {
            Why::Unread { node: task.node().unwrap_or(me), task: task.number() }
        }
        Unanswered::Closed => Why::Refused,
        Unanswered::Lost(peer) => Why::Lost(cut(&peer)),
        Unanswered::Undecodable(why) => Why::Unreadable(cut(&why)),
    }
}

pub(super) fn unanswered_of(why: Why) -> Unanswered {
    match why {
        Why::Dropped => Unanswered::Dropped,
        Why::Unread { node, task } => {
            far::task_id(node, task).map_or(Unanswered::Dropped, Unanswered::Unread)
        }
        Why::Refused => Unanswered::Closed,
        Why::Lost(peer) => Unanswered::Lost(peer),
        Why::Unreadable(why) => Unanswered::Undecodable(why),
    }
}

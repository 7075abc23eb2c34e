//! What goes to the peer: messages, and what they refer to.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

use bytes::Bytes;
use pleiad_proto::wire::Reason;
use pleiad_proto::wire::{LaneKind, Mention, flags};
use pleiad_proto::{Outbound, Place, Refused};
use pleiad_task::far::{
    self, Attached, Encoded, FarRefusal, FarTask, How, Inlet, Reference, Unanswered,
};
use pleiad_task::{AnyTask, ExitReason, Failure};
use pleiad_types::NodeId;
use pleiad_types::limits::{ATTACHED_MAX, MESSAGE_BYTES_MAX, NAME_BYTES_MAX, SMALL_BODY_BYTES};
use tokio::sync::oneshot;

use crate::link::core::{Core, Given};
use crate::link::incoming::Event;
use crate::link::{About, Link};

/// Bytes that wait to be written, after which a sender writes them itself.
const WRITE_NOW_BYTES: usize = 64 << 10;

/// A message on its way out.
struct Letter<'a> {
    task: u64,
    body: &'a [u8],
    how: How,
    /// The same as `body`, if it is large.
    large: Option<&'a Bytes>,
    waker: Option<&'a Waker>,
}

/// What is to be done when the core is let go.
#[derive(Default)]
pub(super) struct Aftermath {
    /// Tasks whose ends the peer is to be told.
    monitors: Vec<AnyTask>,
    /// References that were held already.
    garbage: Vec<Given>,
}

impl Link {
    /// Sends a message, if there is room.
    pub(super) fn send(
        self: &Arc<Self>,
        task: u64,
        body: &[u8],
        attached: &mut Vec<Attached>,
        how: How,
    ) -> Result<(), FarRefusal> {
        if body.len() > SMALL_BODY_BYTES {
            return self.send_large(task, &Bytes::copy_from_slice(body), attached, how);
        }
        self.send_letter(&Letter { task, body, how, large: None, waker: None }, attached, None)
    }

    /// Sends a message, which is not copied, if there is room.
    pub(super) fn send_large(
        self: &Arc<Self>,
        task: u64,
        body: &Bytes,
        attached: &mut Vec<Attached>,
        how: How,
    ) -> Result<(), FarRefusal> {
        let large = (body.len() > SMALL_BODY_BYTES).then_some(body);
        self.send_letter(&Letter { task, body, how, large, waker: None }, attached, None)
    }

    /// Sends a message when there is room; waits until it is in the mailbox, if it is to be
    /// `acknowledged`.
    pub(super) async fn submit(
        self: Arc<Self>,
        task: u64,
        encoded: Encoded,
        how: How,
        acknowledged: bool,
    ) -> Result<(), (FarRefusal, Vec<Attached>)> {
        let Encoded { body, mut attached } = encoded;
        let body = Bytes::from(body);
        let large = (body.len() > SMALL_BODY_BYTES).then_some(&body);
        let sent = poll_fn(|cx| {
            let letter = Letter { task, body: &body, how, large, waker: Some(cx.waker()) };
            let (end, told) = acknowledged.then(oneshot::channel).unzip();
            match self.send_letter(&letter, &mut attached, end) {
                Ok(()) => Poll::Ready(Ok(told)),
                Err(FarRefusal::Full) => Poll::Pending,
                Err(refusal) => Poll::Ready(Err(refusal)),
            }
        });
        match sent.await {
            Err(refusal) => Err((refusal, attached)),
            Ok(None) => Ok(()),
            Ok(Some(told)) => {
                drop(body);
                let lost = || Err(FarRefusal::Lost(self.name().to_string()));
                told.await.unwrap_or_else(|_| lost()).map_err(|refusal| (refusal, Vec::new()))
            }
        }
    }

    fn send_letter(
        self: &Arc<Self>,
        letter: &Letter<'_>,
        attached: &mut Vec<Attached>,
        end: Option<oneshot::Sender<Result<(), FarRefusal>>>,
    ) -> Result<(), FarRefusal> {
        self.check(letter.body.len(), attached)?;
        let flags = flags_of(letter.how) | if end.is_some() { flags::CONFIRM } else { 0 };
        let introductions = self.introductions(attached);
        let mut core = self.core();
        if let Err(refused) = core.session.admit(letter.task, flags, letter.large.is_some()) {
            if let (Refused::Full, Some(waker)) = (refused, letter.waker) {
                core.await_room(letter.task, waker);
            }
            drop(core);
            return Err(match refused {
                Refused::Full => FarRefusal::Full,
                Refused::Closed => FarRefusal::Closed,
                Refused::Over => FarRefusal::Lost(self.lost_name()),
                Refused::TooMuch => {
                    let why = "it refers to more than a message can hold";
                    FarRefusal::Unsendable(why.to_owned())
                }
            });
        }
        introduce(&mut core, introductions);
        let mut aftermath = Aftermath::default();
        let mut questions = Vec::new();
        let mentions = self.mention_all(&mut core, attached, &mut questions, &mut aftermath);
        let ticket = end.map(|end| core.add_ticket(end));
        let before = core.session.waiting_bytes(LaneKind::Messages);
        let outbound = Outbound {
            task: letter.task,
            flags,
            attached: &mentions,
            questions: &questions,
            ticket,
        };
        match letter.large {
            Some(large) => core.session.post_large(&outbound, large),
            None => core.session.post(&outbound, letter.body),
        }
        let after = core.session.waiting_bytes(LaneKind::Messages);
        drop(core);
        self.settle_aftermath(aftermath);
        if letter.large.is_some() {
            self.flush_soon(LaneKind::Bulk, false);
            self.work();
        }
        if before == 0 || after >= WRITE_NOW_BYTES {
            self.flush_soon(LaneKind::Messages, after >= WRITE_NOW_BYTES);
        }
        Ok(())
    }

    /// Answers a question of the peer.
    pub(super) fn answer(self: &Arc<Self>, question: u64, encoded: Encoded) {
        let Encoded { body, mut attached } = encoded;
        if let Err(FarRefusal::Unsendable(why)) = self.check(body.len(), &attached) {
            return self.unanswered(question, pleiad_proto::wire::Why::Unreadable(why));
        }
        let is_large = body.len() > SMALL_BODY_BYTES;
        let introductions = self.introductions(&attached);
        let mut core = self.core();
        core.asked.remove(&question);
        if core.session.is_over() {
            drop(core);
            return self.fail_replies(attached);
        }
        introduce(&mut core, introductions);
        let (mut aftermath, mut questions) = (Aftermath::default(), Vec::new());
        let mentions = self.mention_all(&mut core, &mut attached, &mut questions, &mut aftermath);
        core.session.answer(question, &mentions, body.into());
        let waiting = core.session.waiting_bytes(LaneKind::Messages);
        drop(core);
        self.settle_aftermath(aftermath);
        if is_large {
            self.flush_soon(LaneKind::Bulk, false);
            self.work();
        }
        self.flush_soon(LaneKind::Messages, waiting >= WRITE_NOW_BYTES);
    }

    /// What is attached to an answer that does not go: those who wait for replies in it are told.
    fn fail_replies(&self, attached: Vec<Attached>) {
        for attached in attached {
            if let Attached::Reply(pending) = attached {
                pending.fail(Unanswered::Lost(self.lost_name()));
            }
        }
    }

    /// There will be no answer to a question of the peer.
    pub(super) fn unanswered(self: &Arc<Self>, question: u64, why: pleiad_proto::wire::Why) {
        let mut core = self.core();
        core.asked.remove(&question);
        core.session.unanswered(question, why);
        drop(core);
        self.flush_soon(LaneKind::Messages, false);
    }

    fn check(&self, bytes: usize, attached: &[Attached]) -> Result<(), FarRefusal> {
        if bytes > MESSAGE_BYTES_MAX {
            return Err(FarRefusal::Unsendable(format!(
                "it has {bytes} bytes, and {MESSAGE_BYTES_MAX} are allowed: send it in parts, or as a file"
            )));
        }
        if attached.len() > ATTACHED_MAX {
            return Err(FarRefusal::Unsendable(format!(
                "it has {} references and replies, and {ATTACHED_MAX} are allowed",
                attached.len()
            )));
        }
        Ok(())
    }

    // ---- references ----

    /// Nodes of which the peer hears in this message, and where they are.
    fn introductions(&self, attached: &[Attached]) -> Vec<(NodeId, Arc<About>)> {
        let mut nodes = Vec::new();
        if attached.is_empty() {
            return nodes;
        }
        for attached in attached {
            if let Attached::Task(Reference::Far(task)) = attached
                && let Some(node) = task.id.node()
                && node != self.peer
                && node != self.mesh.me()
                && let Some(about) = self.mesh.about(node)
            {
                nodes.push((node, about));
            }
        }
        nodes
    }

    /// What stands for the references and replies of a message on the wire.
    fn mention_all(
        self: &Arc<Self>,
        core: &mut Core,
        attached: &mut Vec<Attached>,
        questions: &mut Vec<u64>,
        aftermath: &mut Aftermath,
    ) -> Vec<Mention> {
        if attached.is_empty() {
            return Vec::new();
        }
        let mention = |attached| match attached {
            Attached::Reply(pending) => {
                let question = core.add_question(pending);
                questions.push(question);
                Mention::Question(question)
            }
            Attached::Task(Reference::Here(inlet)) => self.mention_here(core, inlet, aftermath),
            Attached::Task(Reference::Far(task)) => self.mention_far(core, task, aftermath),
        };
        attached.drain(..).map(mention).collect()
    }

    /// Mentions a task of this node.
    pub(super) fn mention_here(
        &self,
        core: &mut Core,
        inlet: Arc<dyn Inlet>,
        aftermath: &mut Aftermath,
    ) -> Mention {
        let task = inlet.any();
        let number = task.id().number();
        let place = (self.mesh.me(), number);
        let inlet = self.mesh.share_inlet(number, inlet);
        aftermath.hold(core, place, Given::Here(inlet));
        if core.monitored.insert(number) {
            aftermath.monitors.push(task.clone());
        }
        let name = short_name(task.identity().name());
        Mention::Task { node: place.0, task: number, name }
    }

    /// Mentions a task of another node.
    fn mention_far(&self, core: &mut Core, task: FarTask, aftermath: &mut Aftermath) -> Mention {
        let FarTask { id, name, target, known, .. } = task;
        let node = id.node().unwrap_or(self.mesh.me());
        let place: Place = (node, id.number());
        aftermath.hold(core, place, Given::Far((target, known)));
        Mention::Task { node, task: place.1, name: short_name(&name) }
    }

    /// To be called without the core.
    pub(super) fn settle_aftermath(self: &Arc<Self>, aftermath: Aftermath) {
        for task in &aftermath.monitors {
            let (link, number) = (Arc::downgrade(self), task.id().number());
            far::monitor(task, move |exit| {
                if let Some(link) = link.upgrade() {
                    link.push_event(Event::Ended(number, reason_of(&exit.reason)));
                }
            });
        }
    }

    /// Lets the peer know of a task of this node, as an answer to something.
    pub(crate) fn give_here(
        self: &Arc<Self>,
        inlet: Arc<dyn Inlet>,
        say: impl FnOnce(&mut pleiad_proto::Session, Mention),
    ) {
        let mut aftermath = Aftermath::default();
        let mut core = self.core();
        if core.session.is_over() {
            return;
        }
        let mention = self.mention_here(&mut core, inlet, &mut aftermath);
        say(&mut core.session, mention);
        drop(core);
        self.settle_aftermath(aftermath);
        self.flush_soon(LaneKind::Messages, false);
    }
}

impl Aftermath {
    /// Keeps a task reachable for the peer.
    fn hold(&mut self, core: &mut Core, place: Place, given: Given) {
        if core.session.give(place) {
            self.garbage.extend(core.given.insert(place, given));
        } else {
            self.garbage.push(given);
        }
    }
}

fn introduce(core: &mut Core, nodes: Vec<(NodeId, Arc<About>)>) {
    for (node, about) in nodes {
        if core.introduced.insert(node) {
            core.session.introduce(node, about.name.to_string(), about.addresses.clone());
        }
    }
}

fn flags_of(how: How) -> u8 {
    match how {
        How::Normal => 0,
        How::Urgent => flags::URGENT,
        How::Exempt => flags::EXEMPT,
    }
}

pub(super) fn how_of(flags: u8) -> How {
    if flags & flags::EXEMPT != 0 {
        How::Exempt
    } else if flags & flags::URGENT != 0 {
        How::Urgent
    } else {
        How::Normal
    }
}

fn short_name(name: &str) -> String {
    name[..name.floor_char_boundary(NAME_BYTES_MAX)].to_owned()
}

/// How a task has ended, for the peer.
pub(crate) fn reason_of(reason: &ExitReason) -> Reason {
    match reason {
        ExitReason::Returned => Reason::Returned,
        ExitReason::Failed(failure) => Reason::Failed {
            message: cut(&failure.message),
            location: failure.location.as_deref().map(cut),
            backtrace: failure.backtrace.as_deref().map(cut),
        },
        ExitReason::Terminated => Reason::Terminated,
        ExitReason::Lost { peer } => Reason::Lost(cut(peer)),
        _ => Reason::NotFound,
    }
}

/// So much of a text that it fits into a frame with two others.
pub(crate) fn cut(text: &str) -> String {
    const TEXT_BYTES_MAX: usize = 64 << 10;
    text[..text.floor_char_boundary(TEXT_BYTES_MAX)].to_owned()
}

/// The other way.
pub(crate) fn exit_reason_of(reason: Reason) -> ExitReason {
    match reason {
        Reason::Returned => ExitReason::Returned,
        Reason::Failed { message, location, backtrace } => {
            let failure: Failure = far::failure(message, location, backtrace);
            ExitReason::Failed(Arc::new(failure))
        }
        Reason::Terminated => ExitReason::Terminated,
        Reason::NotFound => ExitReason::NotFound,
        Reason::Lost(peer) => ExitReason::Lost { peer },
    }
}

//! The trusted conversation of two nodes: the sum of its parts.
//!
//! A session begins when one node wants to talk to another, before there is a connection, and outlives its
//! connections. It ends once, by a goodbye, by silence, or by a violation; then everything that waited for
//! something is told by whoever runs it.
//!
//! Commands and what has arrived go in, with the time; what is to be done comes out of
//! [`poll_output`](Session::poll_output), what is to be written out of [`poll_portion`](Session::poll_portion),
//! and when to come back out of [`poll_timeout`](Session::poll_timeout). Nothing in here waits, and nothing
//! decodes what users send.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use pleiad_types::limits::{
    ADDRESSES_MAX, ATTACHED_MAX, FRAME_BYTES_MAX, GOODBYE_TIMEOUT, NAME_BYTES_MAX, SMALL_BODY_BYTES,
};
use pleiad_types::{NodeId, Time};

use crate::blobs::{Blobs, Purpose};
use crate::delivery::{Arrival, Delivery, Outcome, Refused, Ticket, Undelivered};
use crate::lane::{Lane, Portion};
use crate::liveness::{Liveness, Turn};
use crate::names::{Lookup, Names};
use crate::references::{Place, References};
use crate::wire::{
    Control, Frame, FrameKind, LaneKind, Mention, Reason, Resume, Violation, Why, WriteFrame, trim,
};

/// Bytes on the way on the lane of large bodies, after which no further pieces are cut.
const BULK_AHEAD_BYTES: usize = 4 << 20;

/// The most that a mention takes besides its name: three numbers and what tells its kind.
const MENTION_BYTES: usize = 32;

/// The most that a message takes besides its body and its mentions.
const HEAD_BYTES: usize = 64;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Output {
    /// Put this into the mailbox of a task of ours, and say [`Session::taken`].
    Arrived(Arrival),
    /// Tell who waits for this delivery how it ended.
    Finish(Ticket, Result<(), Undelivered>),
    /// This is the answer to a question of ours.
    Answer {
        /// Which question.
        question: u64,
        /// What the answer refers to.
        attached: Vec<Mention>,
        /// The answer.
        body: Bytes,
    },
    /// There will be no answer to a question of ours.
    Unanswered(u64, Why),
    /// Nobody waits any more for the answer to a question that we have.
    Unwanted(u64),
    /// Who was [refused](Refused::Full) a message to this task may try again.
    Room(u64),
    /// A task of the peer has ended.
    Ended(u64, Reason),
    /// A task that we [adopted](Session::adopt) is there.
    Adopted(u64),
    /// The peer has a reference to this task of ours, from somebody else.
    Adopt(u64),
    /// The peer needs this task no more.
    Unneeded(Place),
    /// The peer asks a task of ours to stop.
    Stop(u64, Option<Duration>),
    /// The peer ends a task of ours.
    Kill(u64),
    /// The peer has a task of ours take no more messages.
    Close(u64),
    /// Look whether a task of ours has this name, now or later: [`Session::located`].
    Lookup(Lookup),
    /// A task of the peer has the name that we look for.
    Located(u64, Mention),
    /// Something else of the peer has the name.
    OtherShape(u64, String),
    /// Where another node is.
    Introduced {
        /// Which.
        node: NodeId,
        /// Its name.
        name: String,
        /// Where it can be dialled.
        addresses: Vec<String>,
    },
    /// Connect this lane.
    Connect(LaneKind),
    /// Close the connection of this lane: it is dead, though nobody has said so. It counts as
    /// [gone](Session::detach).
    Disconnect(LaneKind),
    /// The session is over. This is the last output.
    Over(Over),
}

/// Why a session is over.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Over {
    /// One of both has said goodbye.
    Closed,
    /// There was no sign of life for so long.
    Silent(Duration),
    /// The peer's process has ended, or has given this node up.
    Gone,
    /// It has done what it may not.
    Violation(Violation),
    /// It does not read what is sent to it.
    Stalled,
    /// It is no member of the cluster any more.
    Revoked,
}

impl std::fmt::Display for Over {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed => f.write_str("closed"),
            Self::Silent(after) => write!(f, "no sign of life for {after:?}"),
            Self::Gone => f.write_str("its process has ended, or has given this node up"),
            Self::Violation(violation) => write!(f, "{violation}"),
            Self::Stalled => f.write_str("it does not read what is sent to it"),
            Self::Revoked => f.write_str("it is no member of the cluster any more"),
        }
    }
}

/// A message that goes.
#[derive(Debug)]
pub struct Outbound<'a> {
    /// The task of the peer.
    pub task: u64,
    /// See [`flags`](crate::wire::flags).
    pub flags: u8,
    /// What it refers to.
    pub attached: &'a [Mention],
    /// The numbers of the questions among that.
    pub questions: &'a [u64],
    /// Who waits to hear that it was taken.
    pub ticket: Option<Ticket>,
}

/// The trusted conversation of two nodes, which outlives its connections.
#[derive(Debug)]
pub struct Session {
    number: u64,
    was_attached: bool,
    phase: Phase,
    has_said_goodbye: bool,
    /// The peer has said goodbye.
    has_left: bool,
    liveness: Liveness,
    lanes: [Lane; 2],
    /// What was wanted of whoever runs it: each lane once, until it is attached.
    connecting: [bool; 2],
    delivery: Delivery,
    blobs: Blobs,
    references: References,
    /// Tasks that the peer needs no more, of which nobody has been told.
    unneeded: BTreeSet<Place>,
    /// Those of them to which something is still on its way.
    parting: Vec<Place>,
    names: Names,
    outputs: VecDeque<Output>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Open,
    /// One of both has said goodbye: until then there is time for what is on the way.
    Closing(Time),
    Over,
}

impl Session {
    /// `number`: chosen by the side that begins it. `lost_after`: ours.
    pub fn new(now: Time, number: u64, lost_after: Duration) -> Self {
        Self {
            number,
            was_attached: false,
            phase: Phase::Open,
            has_said_goodbye: false,
            has_left: false,
            liveness: Liveness::new(now, lost_after, lost_after),
            lanes: [Lane::new(), Lane::new()],
            connecting: [false; 2],
            delivery: Delivery::default(),
            blobs: Blobs::default(),
            references: References::default(),
            unneeded: BTreeSet::new(),
            parting: Vec::new(),
            names: Names::default(),
            outputs: VecDeque::new(),
        }
    }

    /// Its number.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Whether it is over.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Whether it has never had a connection.
    pub fn is_untouched(&self) -> bool {
        !self.was_attached
    }

    /// Takes another number, as long as it is [untouched](Self::is_untouched).
    pub(crate) fn renumber(&mut self, number: u64) {
        debug_assert!(self.is_untouched());
        self.number = number;
    }

    /// Whether a lane has a connection.
    pub fn is_attached(&self, lane: LaneKind) -> bool {
        self.lanes[lane.index()].is_attached()
    }

    /// What the greeting of a connection says about this side.
    pub fn resume(&self, lane: LaneKind) -> Resume {
        Resume { session: self.number, received: self.lanes[lane.index()].received() }
    }

    // ---- messages ----

    /// Sends a message of at most [`SMALL_BODY_BYTES`].
    ///
    /// # Errors
    ///
    /// [`Refused`]; nothing was sent.
    #[inline]
    pub fn send(&mut self, message: &Outbound<'_>, body: &[u8]) -> Result<(), Refused> {
        self.admit_whole(message, false)?;
        self.post(message, body);
        Ok(())
    }

    /// The same for one that was [admitted](Self::admit).
    #[inline]
    pub fn post(&mut self, message: &Outbound<'_>, body: &[u8]) {
        debug_assert!(body.len() <= SMALL_BODY_BYTES);
        let &Outbound { task, flags, attached, questions, ticket } = message;
        self.delivery.count_sent(task, body.len(), ticket, questions);
        self.push(LaneKind::Messages, |to| to.put_message(task, flags, attached, body));
    }

    /// Sends a larger one.
    ///
    /// # Errors
    ///
    /// [`Refused`]; nothing was sent.
    pub fn send_large(&mut self, message: &Outbound<'_>, body: &Bytes) -> Result<(), Refused> {
        self.admit_whole(message, true)?;
        self.post_large(message, body);
        Ok(())
    }

    /// The same for one that was [admitted](Self::admit).
    pub fn post_large(&mut self, message: &Outbound<'_>, body: &Bytes) {
        let &Outbound { task, flags, attached, questions, ticket } = message;
        let bytes = body.len();
        self.delivery.count_sent(task, bytes, ticket, questions);
        let blob = self.blobs.send(body.clone());
        self.push(LaneKind::Messages, |to| to.put_large(task, flags, attached, blob, bytes));
        self.want(LaneKind::Bulk);
    }

    fn admit_whole(&mut self, message: &Outbound<'_>, is_large: bool) -> Result<(), Refused> {
        if !message.attached.is_empty() && !Self::fits(message.attached) {
            return Err(Refused::TooMuch);
        }
        self.admit(message.task, message.flags, is_large)
    }

    /// Whether a message or an answer can hold all that. What is [posted](Self::post) must.
    pub fn fits(attached: &[Mention]) -> bool {
        let bytes = |mention: &Mention| match mention {
            Mention::Task { name, .. } => MENTION_BYTES + name.len(),
            Mention::Question(_) => MENTION_BYTES,
        };
        attached.len() <= ATTACHED_MAX
            && attached.iter().map(bytes).sum::<usize>()
                <= FRAME_BYTES_MAX - SMALL_BODY_BYTES - HEAD_BYTES
    }

    /// Whether a message to a task of the peer may go at this moment.
    ///
    /// # Errors
    ///
    /// [`Refused`].
    pub fn admit(&mut self, task: u64, flags: u8, is_large: bool) -> Result<(), Refused> {
        if self.phase != Phase::Open {
            return Err(Refused::Over);
        }
        self.delivery.admit(task, flags)?;
        if self.lanes[LaneKind::Messages.index()].is_full() || is_large && !self.blobs.has_room() {
            self.delivery.await_room(task);
            return Err(Refused::Full);
        }
        Ok(())
    }

    /// Messages to a task of the peer that are on the way.
    pub fn on_the_way(&self, task: u64) -> u64 {
        self.delivery.on_the_way(task)
    }

    /// The mailbox of a task of ours has taken `count` more messages, of so many bytes.
    pub fn taken(&mut self, task: u64, count: u64, bytes: u64) {
        self.delivery.taken(task, count, bytes);
        self.settle();
    }

    /// One of those that are taken next, after `behind` others, cannot be read.
    pub fn unreadable(&mut self, task: u64, behind: u64, why: String) {
        self.delivery.unreadable(task, behind, trim(why));
        self.settle();
    }

    /// A task of ours takes no more messages.
    pub fn shut(&mut self, task: u64) {
        self.delivery.shut(task);
        self.settle();
    }

    // ---- answers ----

    /// Answers a question of the peer.
    ///
    /// If it refers to more than a message can hold, there [is none](Self::unanswered), and those whom it
    /// refers to are [taken back](Self::take_back) here: [`Output::Unneeded`].
    pub fn answer(&mut self, question: u64, attached: &[Mention], body: Bytes) {
        if self.phase == Phase::Over {
            return;
        }
        if !Self::fits(attached) {
            let why = "the answer refers to more than a message can hold".to_owned();
            self.unanswered(question, Why::Unreadable(why));
            attached.iter().for_each(|mention| self.take_mention_back(mention));
            return;
        }
        if body.len() <= SMALL_BODY_BYTES {
            self.push(LaneKind::Messages, |to| to.put_answer(question, attached, &body));
            return;
        }
        let bytes = body.len();
        let blob = self.blobs.send(body);
        let announce =
            |to: &mut _| WriteFrame::put_large_answer(to, question, attached, blob, bytes);
        self.push(LaneKind::Messages, announce);
        self.want(LaneKind::Bulk);
    }

    /// There will be no answer to a question of the peer.
    pub fn unanswered(&mut self, question: u64, why: Why) {
        self.say(&Control::Unanswered { question, why: why.trimmed() });
    }

    /// Nobody waits for the answer to a question of ours.
    pub fn unwanted(&mut self, question: u64) {
        self.say(&Control::Unwanted { question });
    }

    // ---- references ----

    /// A task is about to be mentioned to the peer: keep it reachable. True, the first time.
    pub fn give(&mut self, place: Place) -> bool {
        // Whoever was not told that it is unneeded still keeps it.
        self.references.give(place) && !self.unneeded.remove(&place)
    }

    /// The message for which a task was [given](Self::give) does not go. True, if the task need not be
    /// kept reachable for the peer any more.
    pub fn take_back(&mut self, place: Place) -> bool {
        self.references.take_back(place)
    }

    /// A task that the peer has mentioned is needed no more.
    pub fn release(&mut self, place: Place) {
        let (node, task) = place;
        if let Some(count) = self.references.release(place) {
            self.say(&Control::Release { node, task, count });
        }
    }

    /// A reference to a task of the peer has come from somebody else. It is told whether the task is
    /// there: [`Output::Adopted`] or [`Output::Ended`].
    pub fn adopt(&mut self, task: u64) {
        self.say(&Control::Adopt { task });
    }

    /// A task of ours that the peer adopts is there, and was [given](Self::give).
    pub fn adopted(&mut self, task: u64) {
        self.say(&Control::Adopted { task });
    }

    /// A reference to a task of the peer is needed as if the peer had mentioned it.
    pub fn handle_adopted(&mut self, place: Place) {
        self.references.handle_got(place);
    }

    /// A task of ours has ended, or was never there.
    pub fn ended(&mut self, task: u64, reason: Reason) {
        self.delivery.end(task, reason.trimmed());
        self.settle();
    }

    /// Whether a task of ours is known to the peer.
    pub fn is_given(&self, place: Place) -> bool {
        self.references.is_given(place)
    }

    /// Ask a task of the peer to stop.
    pub fn stop(&mut self, task: u64, grace: Option<Duration>) {
        let grace_ms = grace.map(|grace| u64::try_from(grace.as_millis()).unwrap_or(u64::MAX));
        self.say(&Control::Stop { task, grace_ms });
    }

    /// End a task of the peer.
    pub fn kill(&mut self, task: u64) {
        self.say(&Control::Kill { task });
    }

    /// Have a task of the peer take no more messages.
    pub fn close(&mut self, task: u64) {
        self.say(&Control::Close { task });
    }

    // ---- names ----

    /// Looks for a name at the peer, now and later. The second time, it does nothing.
    pub fn locate(&mut self, lookup: &Lookup) {
        if !self.names.locate(lookup.query) {
            return;
        }
        let Lookup { query, name, shape, text } = lookup.clone();
        self.say(&Control::Locate { query, name, shape, text });
    }

    /// Does not look for it any more.
    pub fn forget(&mut self, query: u64) {
        if self.names.forget(query) {
            self.say(&Control::Forget { query });
        }
    }

    /// Who waits for this name is to be looked after again.
    pub fn registered(&mut self, name: &str) {
        if self.phase == Phase::Over {
            return;
        }
        self.outputs.extend(self.names.waiting_for(name).cloned().map(Output::Lookup));
    }

    /// A task of ours has the name that the peer looks for; it was [given](Self::give). If the peer does not
    /// look for it any more, that is taken back here: [`Output::Unneeded`].
    pub fn located(&mut self, query: u64, found: Mention) {
        if self.names.settle(query) {
            self.say(&Control::Located { query, found });
        } else {
            self.take_mention_back(&found);
        }
    }

    /// Something else of ours has the name.
    pub fn other_shape(&mut self, query: u64, text: String) {
        if self.names.settle(query) {
            self.say(&Control::OtherShape { query, text: trim(text) });
        }
    }

    // ---- peers ----

    /// Tells the peer where another node is.
    pub fn introduce(&mut self, node: NodeId, name: String, addresses: Vec<String>) {
        self.say(&Control::Introduce { node, name, addresses });
    }

    /// Ends the session politely: what was sent before still arrives.
    pub fn goodbye(&mut self, now: Time) {
        if self.phase == Phase::Open {
            self.say_goodbye();
            self.phase = Phase::Closing(now + GOODBYE_TIMEOUT);
        }
    }

    /// Ends it at once.
    pub fn end(&mut self, over: Over) {
        if self.phase != Phase::Over {
            self.phase = Phase::Over;
            // Who has said goodbye is not lost, even if something of it did not come.
            let is_closed = self.has_left && matches!(over, Over::Gone | Over::Silent(_));
            self.outputs.push_back(Output::Over(if is_closed { Over::Closed } else { over }));
            self.lanes.iter_mut().for_each(Lane::detach);
        }
    }

    // ---- connections ----

    /// A lane has a connection: the peer has got so many of its frames, and takes us for lost after
    /// `theirs`.
    pub fn attach(&mut self, now: Time, lane: LaneKind, received: u64, theirs: Duration) {
        if self.phase == Phase::Over {
            return;
        }
        self.liveness.handle_theirs(now, theirs);
        self.liveness.handle_heard(now, lane);
        self.connecting[lane.index()] = false;
        self.was_attached = true;
        let state = &mut self.lanes[lane.index()];
        let was_full = state.is_full();
        let attached = state.attach(received);
        let has_room = was_full && !state.is_full();
        if let Err(violation) = attached {
            self.end(Over::Violation(violation));
        } else if has_room {
            self.delivery.lane_has_room();
            self.settle();
        }
    }

    /// The connection of a lane is gone.
    pub fn detach(&mut self, lane: LaneKind) {
        self.lanes[lane.index()].detach();
        let is_needed = lane == LaneKind::Messages
            || self.blobs.is_sending()
            || !self.lanes[lane.index()].is_settled();
        if is_needed && self.phase != Phase::Over {
            self.want(lane);
        }
    }

    /// It was tried to connect a lane, in vain: it may be wanted again.
    pub fn connect_failed(&mut self, lane: LaneKind) {
        self.connecting[lane.index()] = false;
    }

    /// Something has come on the connection of a lane, if only a part of a frame: on a slow link, a large
    /// frame takes longer than a peer may be silent.
    pub fn handle_bytes(&mut self, now: Time, lane: LaneKind) {
        self.liveness.handle_heard(now, lane);
    }

    /// A frame has arrived on a lane.
    pub fn handle_frame(&mut self, now: Time, lane: LaneKind, kind: FrameKind, content: Bytes) {
        if self.phase == Phase::Over {
            return;
        }
        self.liveness.handle_heard(now, lane);
        if kind != FrameKind::Beat {
            self.lanes[lane.index()].count_arrival(content.len() + 4);
        }
        let handled = Frame::read(kind, content).and_then(|frame| self.handle(lane, frame));
        match handled {
            // The usual: a message, and nothing else comes of it.
            Ok(()) if self.delivery.is_settled() && self.parting.is_empty() => self.leave(),
            Ok(()) => {
                self.settle();
                self.leave();
            }
            Err(violation) => self.end(Over::Violation(violation)),
        }
    }

    /// The bytes of a connection made no sense.
    pub fn handle_violation(&mut self, violation: Violation) {
        self.end(Over::Violation(violation));
    }

    /// The time has come that [`poll_timeout`](Self::poll_timeout) said, or later.
    pub fn handle_timeout(&mut self, now: Time) {
        if let Phase::Closing(until) = self.phase
            && now >= until
        {
            self.say_goodbye();
            self.end(Over::Closed);
        }
        if self.phase == Phase::Over {
            return;
        }
        match self.liveness.handle_timeout(now) {
            Turn::Nothing => (),
            Turn::Lost => self.end(Over::Silent(self.liveness.lost_after())),
            Turn::Beat => {
                self.blobs.rest();
                for lane in LaneKind::ALL {
                    if self.is_attached(lane) && self.liveness.is_silent(now, lane) {
                        self.outputs.push_back(Output::Disconnect(lane));
                        self.detach(lane);
                    }
                }
                self.lanes.iter_mut().filter(|lane| lane.is_attached()).for_each(Lane::want_beat);
                let is_left = |lane: &&LaneKind| {
                    let state = &self.lanes[lane.index()];
                    !state.is_attached()
                        && (**lane == LaneKind::Messages
                            || !state.is_settled()
                            || self.blobs.is_sending())
                };
                let left: Vec<LaneKind> = LaneKind::ALL.iter().filter(is_left).copied().collect();
                left.into_iter().for_each(|lane| self.want(lane));
            }
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called.
    pub fn poll_timeout(&self) -> Option<Time> {
        match self.phase {
            Phase::Open => Some(self.liveness.poll_timeout()),
            Phase::Closing(until) => Some(until.min(self.liveness.poll_timeout())),
            Phase::Over => None,
        }
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<Output> {
        let output = loop {
            match self.outputs.pop_front()? {
                // It was given again meanwhile.
                Output::Unneeded(place) if !self.unneeded.remove(&place) => (),
                output => break output,
            }
        };
        self.count_mentions_of(&output);
        Some(output)
    }

    /// Mentions count from when somebody can give them back.
    fn count_mentions_of(&mut self, output: &Output) {
        match output {
            Output::Arrived(Arrival { attached, .. }) | Output::Answer { attached, .. } => {
                self.count_mentions(attached);
            }
            Output::Located(_, found) => self.count_mentions(std::slice::from_ref(found)),
            _ => (),
        }
    }

    /// The same for all that there is, into an empty list.
    pub fn take_outputs(&mut self, into: &mut VecDeque<Output>) {
        debug_assert!(into.is_empty());
        std::mem::swap(&mut self.outputs, into);
        if !self.unneeded.is_empty() {
            into.retain(|output| match output {
                Output::Unneeded(place) => self.unneeded.remove(place),
                _ => true,
            });
        }
        for output in into {
            self.count_mentions_of(output);
        }
    }

    /// Whether there is something to be done.
    pub fn has_output(&self) -> bool {
        !self.outputs.is_empty()
    }

    /// What is to be written next on a lane's connection.
    pub fn poll_portion(&mut self, lane: LaneKind) -> Option<Portion> {
        if lane == LaneKind::Bulk {
            self.cut_pieces();
        }
        self.lanes[lane.index()].poll_portion()
    }

    /// Whether there is something to write.
    pub fn has_portion(&self, lane: LaneKind) -> bool {
        let state = &self.lanes[lane.index()];
        state.has_portion()
            || (lane == LaneKind::Bulk
                && state.is_attached()
                && self.blobs.is_sending()
                && state.bytes() < BULK_AHEAD_BYTES)
    }

    /// Bytes that wait to be written, about: more than a portion counts as one.
    pub fn waiting_bytes(&self, lane: LaneKind) -> usize {
        self.lanes[lane.index()].waiting_bytes()
    }

    /// Compares the books: for tests.
    pub fn sanity_check(&self) {
        self.delivery.sanity_check();
        self.blobs.sanity_check();
        self.lanes.iter().for_each(Lane::sanity_check);
        let is_last = |at: usize, output: &Output| {
            !matches!(output, Output::Over(_)) || at + 1 == self.outputs.len()
        };
        assert!(self.outputs.iter().enumerate().all(|(at, output)| is_last(at, output)));
    }

    /// Whether the peer has said that it has more frames of a lane than so many.
    pub(crate) fn has_confirmed(&self, lane: LaneKind, received: u64) -> bool {
        self.lanes[lane.index()].has_confirmed(received)
    }

    fn cut_pieces(&mut self) {
        let bulk = &mut self.lanes[LaneKind::Bulk.index()];
        let was_full = !self.blobs.has_room();
        while bulk.bytes() < BULK_AHEAD_BYTES
            && let Some((blob, piece)) = self.blobs.poll_piece()
        {
            let length = piece.len();
            bulk.push_with(piece, |to| to.put_chunk_header(blob, length));
        }
        if was_full && self.blobs.has_room() {
            self.delivery.lane_has_room();
            self.settle();
        }
    }

    fn push(&mut self, lane: LaneKind, write: impl FnOnce(&mut bytes::BytesMut)) {
        let state = &mut self.lanes[lane.index()];
        state.push(write);
        if state.is_hopeless() {
            self.end(Over::Stalled);
        }
    }

    fn say(&mut self, control: &Control) {
        if self.phase != Phase::Over {
            self.push(LaneKind::Messages, |to| to.put_control(control));
        }
    }

    fn want(&mut self, lane: LaneKind) {
        let index = lane.index();
        if !self.lanes[index].is_attached() && !std::mem::replace(&mut self.connecting[index], true)
        {
            self.outputs.push_back(Output::Connect(lane));
        }
    }

    // ---- what the peer says ----

    fn handle(&mut self, lane: LaneKind, frame: Frame) -> Result<(), Violation> {
        let is_small = lane == LaneKind::Messages;
        match frame {
            Frame::Beat { received } => {
                let state = &mut self.lanes[lane.index()];
                let was_full = state.is_full();
                state.handle_confirmed(received)?;
                if was_full && !state.is_full() {
                    self.delivery.lane_has_room();
                }
                Ok(())
            }
            Frame::Message { task, flags, attached, body } if is_small => {
                let bytes = body.len();
                let arrival = Arrival { task, flags, attached, body };
                // Nothing is left there of what came before it: its order is kept.
                let passed = self.delivery.handle_arrival(arrival, bytes)?;
                self.outputs.extend(passed.map(Output::Arrived));
                Ok(())
            }
            Frame::Large { task, flags, attached, blob, bytes } if is_small => {
                let arrival = Arrival { task, flags, attached, body: Bytes::new() };
                let is_wanted = self.delivery.handle_large(arrival, blob, bytes)?;
                let purpose = if is_wanted { Purpose::Message(task) } else { Purpose::Nothing };
                let whole = self.blobs.handle_announced(blob, bytes, purpose)?;
                self.handle_whole(blob, whole)
            }
            Frame::Chunk { blob, piece } if !is_small => {
                let whole = self.blobs.handle_piece(blob, &piece)?;
                self.handle_whole(blob, whole)
            }
            Frame::Answer { question, attached, body } if is_small => {
                self.outputs.push_back(Output::Answer { question, attached, body });
                Ok(())
            }
            Frame::LargeAnswer { question, attached, blob, bytes } if is_small => {
                let purpose = Purpose::Answer { question, attached };
                let whole = self.blobs.handle_announced(blob, bytes, purpose)?;
                self.handle_whole(blob, whole)
            }
            Frame::Control(control) if is_small => self.handle_control(control),
            _ => Err(Violation::OutOfPlace("a frame on the wrong lane")),
        }
    }

    fn handle_whole(
        &mut self,
        blob: u64,
        whole: Option<(Purpose, Bytes)>,
    ) -> Result<(), Violation> {
        match whole {
            Some((Purpose::Message(task), body)) => self.delivery.handle_body(task, blob, body),
            Some((Purpose::Answer { question, attached }, body)) => {
                self.outputs.push_back(Output::Answer { question, attached, body });
            }
            Some((Purpose::Nothing, _)) | None => (),
        }
        Ok(())
    }

    fn handle_control(&mut self, control: Control) -> Result<(), Violation> {
        let output = match control {
            Control::Taken { task, count, bytes } => {
                return self.delivery.handle_taken(task, count, bytes);
            }
            Control::Unreadable { task, index, why } => {
                self.delivery.handle_unreadable(task, index, &why);
                return Ok(());
            }
            Control::Shut { task, count } => {
                self.delivery.handle_shut(task, Some(count));
                return Ok(());
            }
            Control::Ended { task, reason } => {
                return self.delivery.handle_ended(task, reason);
            }
            Control::Unanswered { question, why } => Output::Unanswered(question, why),
            Control::Unwanted { question } => Output::Unwanted(question),
            Control::Release { node, task, count } => {
                if self.references.handle_released((node, task), count)? {
                    self.unneeded.insert((node, task));
                    self.parting.push((node, task));
                }
                return Ok(());
            }
            Control::Adopt { task } => Output::Adopt(task),
            Control::Adopted { task } => Output::Adopted(task),
            Control::Stop { task, grace_ms } => {
                Output::Stop(task, grace_ms.map(Duration::from_millis))
            }
            Control::Kill { task } => Output::Kill(task),
            Control::Close { task } => Output::Close(task),
            Control::Locate { query, name, shape, text } => {
                let lookup = Lookup { query, name, shape, text };
                self.names.handle_lookup(&lookup)?;
                Output::Lookup(lookup)
            }
            Control::Forget { query } => {
                self.names.settle(query);
                return Ok(());
            }
            Control::Located { query, found } => {
                // Also if nobody looks for it any more: the reference is to be given back.
                self.names.handle_answer(query);
                Output::Located(query, found)
            }
            Control::OtherShape { query, text } => {
                self.names.handle_answer(query);
                Output::OtherShape(query, text)
            }
            Control::Introduce { node, name, addresses } => {
                if addresses.len() > ADDRESSES_MAX
                    || addresses.iter().chain([&name]).any(|text| text.len() > NAME_BYTES_MAX)
                {
                    return Err(Violation::BeyondLimit("addresses of another node"));
                }
                Output::Introduced { node, name, addresses }
            }
            Control::Goodbye => {
                self.has_left = true;
                if self.phase == Phase::Open {
                    self.phase = Phase::Closing(self.liveness.heard() + GOODBYE_TIMEOUT);
                }
                return Ok(());
            }
        };
        self.outputs.push_back(output);
        Ok(())
    }

    fn count_mentions(&mut self, attached: &[Mention]) {
        for mention in attached {
            if let Mention::Task { node, task, .. } = mention {
                self.references.handle_got((*node, *task));
            }
        }
    }

    /// Passes on what the parts have come to. Nothing comes after the end.
    fn settle(&mut self) {
        while let Some(control) = self.delivery.poll_control() {
            self.say(&control);
        }
        while let Some(outcome) = self.delivery.poll_outcome() {
            match outcome {
                _ if self.phase == Phase::Over => (),
                Outcome::Dropped(attached) => self.give_back(&attached),
                outcome => self.outputs.extend(output_of(outcome)),
            }
        }
        if !self.parting.is_empty() && self.phase != Phase::Over {
            self.settle_unneeded();
        }
    }

    /// A large message to a task may still be on its way when the peer needs the task no more.
    fn settle_unneeded(&mut self) {
        let Self { parting, delivery, outputs, .. } = self;
        parting.retain(|place| {
            let is_waiting = delivery.is_waiting(place.1);
            if !is_waiting {
                outputs.push_back(Output::Unneeded(*place));
            }
            is_waiting
        });
    }

    /// Gives back what messages referred to that nobody was handed.
    fn give_back(&mut self, attached: &[Mention]) {
        for mention in attached {
            if let Mention::Task { node, task, .. } = mention {
                self.say(&Control::Release { node: *node, task: *task, count: 1 });
            }
        }
    }

    /// A mention was given, and does not go.
    fn take_mention_back(&mut self, mention: &Mention) {
        if let Mention::Task { node, task, .. } = mention
            && self.take_back((*node, *task))
            && self.phase != Phase::Over
        {
            self.unneeded.insert((*node, *task));
            self.outputs.push_back(Output::Unneeded((*node, *task)));
        }
    }

    fn say_goodbye(&mut self) {
        if !std::mem::replace(&mut self.has_said_goodbye, true) {
            self.say(&Control::Goodbye);
        }
    }

    /// If the peer has said goodbye, and all has come that it had sent before, it is over. What we have
    /// said until now can still be written.
    fn leave(&mut self) {
        if self.has_left && self.phase != Phase::Over && !self.blobs.is_awaiting() {
            self.say_goodbye();
            if self.phase != Phase::Over {
                self.phase = Phase::Over;
                self.outputs.push_back(Output::Over(Over::Closed));
            }
        }
    }
}

fn output_of(outcome: Outcome) -> Option<Output> {
    Some(match outcome {
        Outcome::Arrived(arrival) => Output::Arrived(arrival),
        Outcome::Finish(ticket, result) => Output::Finish(ticket, result),
        Outcome::Unanswered(question, why) => Output::Unanswered(question, why),
        Outcome::Room(task) => Output::Room(task),
        Outcome::Ended(task, reason) => Output::Ended(task, reason),
        Outcome::Dropped(_) => return None,
    })
}

#[cfg(test)]
mod tests;

//! Messages to tasks: in order, at most once, no more than there is room for.
//!
//! All messages from one node to one task of the other are a **stream**. The sender counts what it has sent,
//! the receiver says how much it has taken: the difference is limited, so that a task that does not read
//! costs its own senders their room, and nobody else anything. That something was taken is also the
//! acknowledgement for those who wait for one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use pleiad_types::limits::{MESSAGE_BYTES_MAX, STREAM_BYTES_MAX, STREAM_MESSAGES_MAX};

use crate::wire::{Control, Mention, Reason, Violation, Why, flags};

/// Ends of tasks that may wait for one task to take them: they are not asked to wait their turn.
const EXEMPT_MAX: u64 = 1 << 20;

/// Their size, with that of the messages before them, the last of which may be of any size.
const EXEMPT_BYTES_MAX: u64 = 2 * MESSAGE_BYTES_MAX as u64;

/// Ends of the peer's tasks that may wait to be told.
const ENDS_MAX: usize = 1 << 20;

/// Names a delivery for whoever waits for its end. Chosen by the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Why a message was not taken for sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Too much is on the way. [`Output::Room`](crate::Output::Room) will tell when it may be tried again.
    Full,
    /// The task takes no more messages.
    Closed,
    /// The session is over.
    Over,
    /// What it refers to is more than a message can hold: it will never go.
    TooMuch,
}

/// How a delivery did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undelivered {
    /// The task takes no more messages: this one is gone.
    Closed,
    /// It could not be read there: it is gone.
    Unreadable(String),
}

/// A message that has arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// To which task.
    pub task: u64,
    /// See [`flags`].
    pub flags: u8,
    /// What it refers to.
    pub attached: Vec<Mention>,
    /// The message.
    pub body: Bytes,
}

/// What comes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Arrived(Arrival),
    Finish(Ticket, Result<(), Undelivered>),
    Unanswered(u64, Why),
    Room(u64),
    Ended(u64, Reason),
    /// What a message referred to that is gone before it was handed out.
    Dropped(Vec<Mention>),
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Delivery {
    outgoing: BTreeMap<u64, Outgoing>,
    incoming: BTreeMap<u64, Incoming>,
    /// Streams of which something has arrived and is not taken.
    busy: BTreeSet<u64>,
    /// Ends of the peer's tasks that wait until what came before them is taken.
    ends: VecDeque<End>,
    outcomes: VecDeque<Outcome>,
    /// What is to be said to the peer.
    controls: VecDeque<Control>,
}

/// Messages to a task of the peer.
#[derive(Debug, Default)]
struct Outgoing {
    sent: u64,
    sent_bytes: u64,
    taken: u64,
    taken_bytes: u64,
    /// Messages of which somebody wants to hear, oldest first.
    pending: VecDeque<Pending>,
    /// Somebody was refused, and waits for room.
    is_awaited: bool,
    is_closed: bool,
}

#[derive(Debug)]
struct Pending {
    index: u64,
    ticket: Option<Ticket>,
    questions: Vec<u64>,
}

/// Messages of the peer to a task of ours.
#[derive(Debug, Default)]
struct Incoming {
    /// Messages that have come, and those that were handed on.
    come: u64,
    come_bytes: u64,
    passed: u64,
    taken: u64,
    taken_bytes: u64,
    /// How much of that the peer knows of.
    told: u64,
    told_bytes: u64,
    confirm: bool,
    is_shut: bool,
    /// Those behind one whose body has not arrived.
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
enum Waiting {
    Whole(Arrival),
    Large { blob: u64, arrival: Arrival },
}

#[derive(Debug)]
struct End {
    task: u64,
    reason: Reason,
    /// Streams, and up to where they must be taken.
    after: Vec<(u64, u64)>,
}

impl Waiting {
    fn into_arrival(self) -> Arrival {
        match self {
            Self::Whole(arrival) | Self::Large { arrival, .. } => arrival,
        }
    }
}

impl Outgoing {
    fn has_room(&self) -> bool {
        self.sent == self.taken
            || (self.sent - self.taken < STREAM_MESSAGES_MAX
                && self.sent_bytes - self.taken_bytes < STREAM_BYTES_MAX)
    }
}

impl Incoming {
    /// Tells how much is taken, if the peer does not know.
    fn tell(&mut self, task: u64) -> Option<Control> {
        (self.told, self.told_bytes) = (self.taken, self.taken_bytes);
        Some(Control::Taken { task, count: self.taken, bytes: self.taken_bytes })
    }
}

impl Delivery {
    // ---- messages that go ----

    /// Whether a message to `task` may go. The end of a task may always, if the stream is open.
    pub(crate) fn admit(&mut self, task: u64, flags: u8) -> Result<(), Refused> {
        let stream = self.outgoing.entry(task).or_default();
        if stream.is_closed {
            return Err(Refused::Closed);
        }
        if flags & flags::EXEMPT == 0 && !stream.has_room() {
            stream.is_awaited = true;
            return Err(Refused::Full);
        }
        Ok(())
    }

    /// Somebody waits for room, though the stream itself has some.
    pub(crate) fn await_room(&mut self, task: u64) {
        self.outgoing.entry(task).or_default().is_awaited = true;
    }

    /// A message that was admitted goes.
    pub(crate) fn count_sent(
        &mut self,
        task: u64,
        bytes: usize,
        ticket: Option<Ticket>,
        questions: &[u64],
    ) {
        let stream = self.outgoing.entry(task).or_default();
        if ticket.is_some() || !questions.is_empty() {
            let index = stream.sent;
            stream.pending.push_back(Pending { index, ticket, questions: questions.to_vec() });
        }
        stream.sent += 1;
        stream.sent_bytes += bytes as u64;
    }

    /// Messages on the way to `task`.
    pub(crate) fn on_the_way(&self, task: u64) -> u64 {
        self.outgoing.get(&task).map_or(0, |stream| stream.sent - stream.taken)
    }

    /// All that wait for room may try again, whatever their stream.
    pub(crate) fn lane_has_room(&mut self) {
        let awaited =
            self.outgoing.iter_mut().filter(|(_, stream)| stream.is_awaited && stream.has_room());
        for (task, stream) in awaited {
            stream.is_awaited = false;
            self.outcomes.push_back(Outcome::Room(*task));
        }
    }

    pub(crate) fn handle_taken(
        &mut self,
        task: u64,
        count: u64,
        bytes: u64,
    ) -> Result<(), Violation> {
        // One that has ended meanwhile is not known any more.
        let Some(stream) = self.outgoing.get_mut(&task) else { return Ok(()) };
        if stream.is_closed {
            return Ok(());
        }
        if count > stream.sent || bytes > stream.sent_bytes || count < stream.taken {
            return Err(Violation::OutOfPlace("it has taken messages that were not sent"));
        }
        (stream.taken, stream.taken_bytes) = (count, bytes);
        while let Some(pending) = stream.pending.pop_front_if(|oldest| oldest.index < count) {
            self.outcomes.extend(pending.ticket.map(|ticket| Outcome::Finish(ticket, Ok(()))));
        }
        if stream.is_awaited && stream.has_room() {
            stream.is_awaited = false;
            self.outcomes.push_back(Outcome::Room(task));
        }
        Ok(())
    }

    pub(crate) fn handle_unreadable(&mut self, task: u64, index: u64, why: &str) {
        let Some(stream) = self.outgoing.get_mut(&task) else { return };
        let Some(at) = stream.pending.iter().position(|pending| pending.index == index) else {
            return;
        };
        let Some(pending) = stream.pending.remove(at) else { return };
        let undelivered = Undelivered::Unreadable(why.to_owned());
        let finish = pending.ticket.map(|ticket| Outcome::Finish(ticket, Err(undelivered)));
        self.outcomes.extend(finish);
        let unreadable = |question| Outcome::Unanswered(question, Why::Unreadable(why.to_owned()));
        self.outcomes.extend(pending.questions.into_iter().map(unreadable));
    }

    /// The task takes no more; `count`: what it has taken, if that is known.
    pub(crate) fn handle_shut(&mut self, task: u64, count: Option<u64>) {
        let Some(stream) = self.outgoing.get_mut(&task) else { return };
        stream.is_closed = true;
        let count = count.unwrap_or(stream.taken);
        for pending in stream.pending.drain(..) {
            let is_taken = pending.index < count;
            let result = if is_taken { Ok(()) } else { Err(Undelivered::Closed) };
            self.outcomes.extend(pending.ticket.map(|ticket| Outcome::Finish(ticket, result)));
            if !is_taken {
                let refused = |question| Outcome::Unanswered(question, Why::Refused);
                self.outcomes.extend(pending.questions.into_iter().map(refused));
            }
        }
        (stream.taken, stream.taken_bytes) = (stream.sent, stream.sent_bytes);
        if std::mem::take(&mut stream.is_awaited) {
            // They find it closed.
            self.outcomes.push_back(Outcome::Room(task));
        }
    }

    // ---- messages that come ----

    /// Gives it back if it is the next of its stream; then it is to be handed on.
    pub(crate) fn handle_arrival(
        &mut self,
        arrival: Arrival,
        bytes: usize,
    ) -> Result<Option<Arrival>, Violation> {
        let Some(stream) = self.count_arrival(&arrival, bytes)? else {
            self.drop_mentions([arrival]);
            return Ok(None);
        };
        if stream.waiting.is_empty() {
            stream.passed += 1;
            return Ok(Some(arrival));
        }
        stream.waiting.push_back(Waiting::Whole(arrival));
        Ok(None)
    }

    /// One whose body is still to come, as `blob`. Gives false if nobody wants the body.
    pub(crate) fn handle_large(
        &mut self,
        arrival: Arrival,
        blob: u64,
        bytes: usize,
    ) -> Result<bool, Violation> {
        let Some(stream) = self.count_arrival(&arrival, bytes)? else {
            self.drop_mentions([arrival]);
            return Ok(false);
        };
        stream.waiting.push_back(Waiting::Large { blob, arrival });
        Ok(true)
    }

    /// None: the stream is shut, and the peer knows, or is about to.
    fn count_arrival(
        &mut self,
        arrival: &Arrival,
        bytes: usize,
    ) -> Result<Option<&mut Incoming>, Violation> {
        let stream = self.incoming.entry(arrival.task).or_default();
        if stream.is_shut {
            // It had never sent anything to this task when it was told.
            let is_news = stream.come == 0;
            self.controls.extend(is_news.then_some(Control::Shut { task: arrival.task, count: 0 }));
            return Ok(None);
        }
        let is_exempt = arrival.flags & flags::EXEMPT != 0;
        let open = stream.come - stream.taken;
        // What is exempt counts too, so that the next may find less room than its sender thought.
        let (open_max, bytes_max) = match is_exempt {
            true => (EXEMPT_MAX, EXEMPT_BYTES_MAX),
            false => (2 * STREAM_MESSAGES_MAX, 2 * STREAM_BYTES_MAX),
        };
        if open >= open_max || open > 0 && stream.come_bytes - stream.taken_bytes >= bytes_max {
            return Err(Violation::BeyondLimit("messages to one task, which does not take them"));
        }
        if open == 0 {
            self.busy.insert(arrival.task);
        }
        stream.come += 1;
        stream.come_bytes += bytes as u64;
        stream.confirm |= arrival.flags & flags::CONFIRM != 0;
        Ok(Some(stream))
    }

    /// The body of a large message is there.
    pub(crate) fn handle_body(&mut self, task: u64, wanted: u64, body: Bytes) {
        let Some(stream) = self.incoming.get_mut(&task) else { return };
        let mut whole = Some(body);
        for waiting in &mut stream.waiting {
            if let Waiting::Large { blob, arrival } = waiting
                && *blob == wanted
                && let Some(body) = whole.take()
            {
                let (flags, attached) = (arrival.flags, std::mem::take(&mut arrival.attached));
                *waiting = Waiting::Whole(Arrival { task, flags, attached, body });
            }
        }
        while let Some(Waiting::Whole(arrival)) =
            stream.waiting.pop_front_if(|first| matches!(first, Waiting::Whole(_)))
        {
            stream.passed += 1;
            self.outcomes.push_back(Outcome::Arrived(arrival));
        }
    }

    /// The task's mailbox has taken so many more messages, of so many bytes, in the order in which they
    /// were handed out.
    pub(crate) fn taken(&mut self, task: u64, count: u64, bytes: u64) {
        let Some(stream) = self.incoming.get_mut(&task) else { return };
        stream.taken += count;
        stream.taken_bytes += bytes;
        debug_assert!(stream.taken <= stream.passed, "no more is taken than was handed out");
        let untold = stream.taken - stream.told;
        let is_all = stream.taken == stream.come;
        if untold > 0
            && (stream.confirm
                || untold >= STREAM_MESSAGES_MAX / 4
                || stream.taken_bytes - stream.told_bytes >= STREAM_BYTES_MAX / 4)
        {
            // Those who wait for it have heard when all is taken that came until now.
            stream.confirm &= !is_all;
            self.controls.extend(stream.tell(task));
        }
        if is_all {
            self.busy.remove(&task);
        }
        self.settle_ends();
    }

    /// One that was handed out could not be read; it is counted as taken besides. `behind`: how many
    /// that were handed out, and not yet reported as taken, came before it.
    pub(crate) fn unreadable(&mut self, task: u64, behind: u64, why: String) {
        let Some(stream) = self.incoming.get(&task) else { return };
        self.controls.push_back(Control::Unreadable { task, index: stream.taken + behind, why });
    }

    /// The task takes no more: what was handed out and not taken is gone.
    pub(crate) fn shut(&mut self, task: u64) {
        let stream = self.incoming.entry(task).or_default();
        if std::mem::replace(&mut stream.is_shut, true) {
            return;
        }
        self.controls.push_back(Control::Shut { task, count: stream.taken });
        stream.told = stream.come;
        (stream.taken, stream.taken_bytes) = (stream.come, stream.come_bytes);
        stream.passed = stream.come;
        let waiting = std::mem::take(&mut stream.waiting);
        self.drop_mentions(waiting.into_iter().map(Waiting::into_arrival));
        self.busy.remove(&task);
        self.settle_ends();
    }

    // ---- ends ----

    /// A task of ours has ended, or was never there: what it has not taken is gone. The peer is told.
    pub(crate) fn end(&mut self, task: u64, reason: Reason) {
        if let Some(stream) = self.incoming.remove(&task) {
            if !stream.is_shut {
                self.controls.push_back(Control::Shut { task, count: stream.taken });
            }
            self.drop_mentions(stream.waiting.into_iter().map(Waiting::into_arrival));
        }
        self.busy.remove(&task);
        self.controls.push_back(Control::Ended { task, reason });
        self.settle_ends();
    }

    /// A task of the peer has ended: that is told after all that came before it.
    pub(crate) fn handle_ended(&mut self, task: u64, reason: Reason) -> Result<(), Violation> {
        if self.ends.len() >= ENDS_MAX {
            return Err(Violation::BeyondLimit("ends of tasks that wait to be told"));
        }
        self.outgoing.entry(task).or_default();
        self.handle_shut(task, None);
        let mark = |task: &u64| self.incoming.get(task).map(|stream| (*task, stream.come));
        let after = self.busy.iter().filter_map(mark).collect();
        self.ends.push_back(End { task, reason, after });
        self.settle_ends();
        Ok(())
    }

    /// Tells the ends whose turn it is. What an end waits for, the next waits for too, if it is still
    /// open: so only the first is to be looked at.
    fn settle_ends(&mut self) {
        while let Some(first) = self.ends.front_mut() {
            let incoming = &self.incoming;
            let is_open = |(task, mark): &(u64, u64)| {
                incoming.get(task).is_some_and(|stream| stream.taken < *mark)
            };
            first.after.retain(is_open);
            if !first.after.is_empty() {
                break;
            }
            if let Some(End { task, reason, .. }) = self.ends.pop_front() {
                // Until it is told, whoever sends finds the stream closed. Its number never comes again.
                self.outgoing.remove(&task);
                self.outcomes.push_back(Outcome::Ended(task, reason));
            }
        }
    }

    /// Messages of the peer are gone that nobody was handed.
    fn drop_mentions(&mut self, arrivals: impl IntoIterator<Item = Arrival>) {
        let attached = arrivals.into_iter().map(|arrival| arrival.attached);
        let mentioned = attached.filter(|attached| !attached.is_empty());
        self.outcomes.extend(mentioned.map(Outcome::Dropped));
    }

    /// Whether messages to a task of ours have come in part.
    pub(crate) fn is_waiting(&self, task: u64) -> bool {
        self.incoming.get(&task).is_some_and(|stream| !stream.waiting.is_empty())
    }

    // ---- what comes of it ----

    pub(crate) fn poll_outcome(&mut self) -> Option<Outcome> {
        self.outcomes.pop_front()
    }

    /// Whether nothing has come of anything that was not polled.
    pub(crate) fn is_settled(&self) -> bool {
        self.outcomes.is_empty() && self.controls.is_empty()
    }

    pub(crate) fn poll_control(&mut self) -> Option<Control> {
        self.controls.pop_front()
    }

    /// Compares the books: for tests.
    pub(crate) fn sanity_check(&self) {
        for (task, stream) in &self.outgoing {
            assert!(stream.taken <= stream.sent, "task {task}");
            assert!(stream.pending.iter().all(|p| p.index < stream.sent), "task {task}");
        }
        for (task, stream) in &self.incoming {
            assert!(stream.told <= stream.taken, "task {task}");
            assert!(stream.taken <= stream.passed && stream.passed <= stream.come, "task {task}");
            let is_busy = stream.taken < stream.come;
            assert_eq!(self.busy.contains(task), is_busy, "task {task}");
            assert_eq!(stream.waiting.len() as u64, stream.come - stream.passed, "task {task}");
        }
    }
}

#[cfg(test)]
mod tests;

//! Who knows everything: compares what nodes are told with what is true.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pleiad_proto::wire::{Mention, Reason, Why};
use pleiad_proto::{Over, Place};
use pleiad_types::{NodeId, Time};

use crate::run::Report;
use crate::scenario::Weather;

/// How much later than it should a timer may be in here, and a byte.
const LATE: Duration = Duration::from_millis(500);

/// A message that was sent.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) from: Place,
    pub(crate) to: Place,
    pub(crate) session: u64,
    /// How many its sender has sent to this task, with this one.
    pub(crate) seq: u64,
    pub(crate) length: usize,
    pub(crate) attached: usize,
    /// Since when what it mentions has been kept.
    pub(crate) since: Time,
}

#[derive(Debug)]
struct Message {
    sent: Sent,
    has_arrived: bool,
    is_in_mailbox: bool,
    is_unreadable: bool,
    /// Its sender was told that it is gone.
    is_told_gone: bool,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    problem: Option<String>,
    report: Report,
    messages: Vec<Message>,
    /// The messages of one task to another in one session that are not in the mailbox, oldest first.
    missing: BTreeMap<(Place, Place, u64), BTreeSet<u64>>,
    /// The newest message of one task to another that is in its mailbox.
    newest: BTreeMap<(Place, Place), u64>,
    /// Who has said that a session is over, and who was part of it.
    overs: BTreeMap<u64, BTreeSet<NodeId>>,
    members: BTreeMap<u64, BTreeSet<NodeId>>,
    /// Who is to say that it is over, because somebody else has.
    owed: BTreeMap<u64, BTreeSet<NodeId>>,
    /// Sessions that were closed by a goodbye.
    closed: BTreeSet<u64>,
    last_over: Option<Time>,
    deaths: BTreeMap<NodeId, Time>,
    stops: BTreeMap<usize, Time>,
    /// When a node has heard something in a session.
    heard: BTreeMap<(NodeId, u64), Time>,
    /// Tasks that have ended or were shut.
    ended: BTreeMap<Place, Reason>,
    shut: BTreeSet<Place>,
    given_up: BTreeSet<Place>,
    /// Ends that were told to a node in a session.
    told: BTreeMap<(NodeId, Place, u64), Reason>,
    /// Questions that have had their end.
    settled: BTreeSet<(NodeId, u64)>,
    unwanted: BTreeSet<(NodeId, u64)>,
    goodbyes: BTreeMap<(NodeId, u64), (Time, usize)>,
}

impl Oracle {
    pub(crate) fn problem(&mut self, problem: String) {
        self.problem.get_or_insert(problem);
    }

    pub(crate) fn has_problem(&self) -> bool {
        self.problem.is_some()
    }

    pub(crate) fn report(self) -> Report {
        Report { problem: self.problem, sent: self.messages.len() as u64, ..self.report }
    }

    // ---- messages ----

    pub(crate) fn next_message(&self) -> u64 {
        self.messages.len() as u64
    }

    pub(crate) fn handle_sent(&mut self, sent: Sent) {
        let key = (sent.from, sent.to, sent.session);
        self.missing.entry(key).or_default().insert(sent.seq);
        self.messages.push(Message {
            sent,
            has_arrived: false,
            is_in_mailbox: false,
            is_unreadable: false,
            is_told_gone: false,
        });
    }

    /// A node was handed a message. Gives since when what it mentions was kept; nothing, if there is a
    /// problem.
    pub(crate) fn handle_arrived(
        &mut self,
        number: u64,
        to: Place,
        from: NodeId,
        session: u64,
        attached: &[Mention],
        length: usize,
    ) -> Option<Time> {
        let Some(message) = self.messages.get_mut(number as usize) else {
            self.problem(format!("message {number} was never sent"));
            return None;
        };
        let sent = &message.sent;
        let is_right = sent.to == to
            && sent.from.0 == from
            && sent.session == session
            && sent.attached == attached.len()
            && sent.length == length;
        let since = sent.since;
        if !is_right {
            let text = format!("message {number}: {sent:?} came to {to:?} in session {session:x}");
            self.problem(text);
            return None;
        }
        if std::mem::replace(&mut message.has_arrived, true) {
            self.problem(format!("message {number} came twice"));
            return None;
        }
        Some(since)
    }

    pub(crate) fn handle_in_mailbox(&mut self, number: u64, me: NodeId) {
        self.report.arrived += 1;
        let message = &mut self.messages[number as usize];
        message.is_in_mailbox = true;
        let Sent { from, to, session, seq, .. } = message.sent;
        if message.is_told_gone {
            self.problem(format!("message {number} is in the mailbox, and was told to be gone"));
        }
        if self.told.contains_key(&(me, from, session)) {
            self.problem(format!("message {number} came after the end of its sender {from:?}"));
        }
        self.pass(number, from, to, session, seq);
        let newest = self.newest.entry((from, to)).or_default();
        if seq <= *newest {
            self.problem(format!("message {number} came after a newer one"));
        } else {
            *newest = seq;
        }
    }

    pub(crate) fn handle_unreadable(&mut self, number: u64) {
        let message = &mut self.messages[number as usize];
        message.is_unreadable = true;
        let Sent { from, to, session, seq, .. } = message.sent;
        self.pass(number, from, to, session, seq);
    }

    /// A message has come; none before it may be missing.
    fn pass(&mut self, number: u64, from: Place, to: Place, session: u64, seq: u64) {
        let missing = self.missing.entry((from, to, session)).or_default();
        let first = missing.pop_first();
        if first != Some(seq) {
            self.problem(format!("before message {number}, {first:?} of {from:?} is missing"));
        }
    }

    /// A ticket was told that its message was taken.
    pub(crate) fn handle_taken(&mut self, number: u64) {
        if !self.messages[number as usize].is_in_mailbox {
            self.problem(format!("message {number} was told to have been taken, and is not there"));
        }
    }

    pub(crate) fn handle_told_unreadable(&mut self, number: u64) {
        if !self.messages[number as usize].is_unreadable {
            self.problem(format!("message {number} was told to be unreadable"));
        }
    }

    /// A ticket was told that its message is gone.
    pub(crate) fn handle_closed(&mut self, number: u64) {
        let message = &mut self.messages[number as usize];
        message.is_told_gone = true;
        let Sent { to, .. } = message.sent;
        if message.is_in_mailbox {
            self.problem(format!("message {number} was told to be gone, and is in the mailbox"));
        } else if !self.ended.contains_key(&to) && !self.shut.contains(&to) {
            self.problem(format!(
                "message {number} was told to be gone from {to:?}, which is open"
            ));
        }
    }

    // ---- questions ----

    pub(crate) fn handle_answered(&mut self, me: NodeId, number: u64) {
        self.report.answered += 1;
        self.settle(me, number);
    }

    pub(crate) fn handle_unanswered(&mut self, me: NodeId, number: u64, _why: &Why) {
        self.settle(me, number);
    }

    pub(crate) fn handle_unwanted(&mut self, me: NodeId, number: u64) {
        self.settle(me, number);
        self.unwanted.insert((me, number));
    }

    fn settle(&mut self, me: NodeId, number: u64) {
        if !self.settled.insert((me, number)) {
            self.problem(format!("question {number} of {me} has two ends"));
        }
    }

    /// An end of a question that has had one.
    pub(crate) fn handle_late_end(&mut self, me: NodeId, number: u64) {
        if !self.unwanted.remove(&(me, number)) {
            self.problem(format!("question {number} of {me} has an end too many"));
        }
    }

    // ---- tasks ----

    pub(crate) fn handle_shut(&mut self, place: Place) {
        self.shut.insert(place);
    }

    pub(crate) fn handle_task_ended(&mut self, place: Place, reason: &Reason, is_given_up: bool) {
        self.ended.insert(place, reason.clone());
        if is_given_up {
            self.report.given_up += 1;
            self.given_up.insert(place);
        }
    }

    pub(crate) fn handle_end_told(
        &mut self,
        me: NodeId,
        place: Place,
        session: u64,
        reason: &Reason,
    ) {
        let is_true = match reason {
            Reason::Lost(_) => true,
            Reason::NotFound => self.ended.contains_key(&place),
            reason => self.ended.get(&place) == Some(reason),
        };
        if !is_true {
            self.problem(format!("{me} was told that {place:?} has ended: {reason:?}"));
        }
        let before = self.told.insert((me, place, session), reason.clone());
        if before.is_some() && *reason != Reason::NotFound {
            self.problem(format!("{me} was told twice that {place:?} has ended: {reason:?}"));
        }
    }

    /// A task is given up though a node holds it.
    pub(crate) fn check_held(&mut self, place: Place, by: NodeId, since: Time) {
        if self.last_over.is_none_or(|over| over < since) {
            self.problem(format!("{place:?} is given up, and {by} holds it since {since:?}"));
        }
    }

    /// Nobody needs a task any more: all has come that was sent to it.
    pub(crate) fn check_all_came(&mut self, place: Place) {
        let missing = self.missing.iter().find(|((_, to, session), missing)| {
            *to == place && !missing.is_empty() && !self.overs.contains_key(session)
        });
        if let Some(((from, ..), missing)) = missing {
            let text = format!("{place:?} is given up, and {missing:?} of {from:?} are on the way");
            self.problem(text);
        }
    }

    /// A reference comes that was kept since then.
    pub(crate) fn check_not_given_up(&mut self, place: Place, since: Time) {
        if self.given_up.contains(&place) && self.last_over.is_none_or(|over| over < since) {
            self.problem(format!("a reference to {place:?} came, which is given up"));
        }
    }

    // ---- sessions ----

    pub(crate) fn handle_start(&mut self, host: usize, _node: NodeId) {
        self.stops.remove(&host);
    }

    pub(crate) fn handle_stopped(&mut self, host: usize, until: Time) {
        self.stops.insert(host, until);
    }

    pub(crate) fn handle_death(&mut self, now: Time, node: NodeId) {
        self.deaths.insert(node, now);
        self.last_over = Some(now);
    }

    pub(crate) fn handle_heard(&mut self, now: Time, me: NodeId, session: u64) {
        self.heard.insert((me, session), now);
    }

    pub(crate) fn handle_attached(&mut self, now: Time, me: NodeId, session: u64) {
        self.handle_heard(now, me, session);
        self.members.entry(session).or_default().insert(me);
    }

    pub(crate) fn handle_goodbye(&mut self, now: Time, me: NodeId, session: u64) {
        let sent = self.messages.len();
        self.goodbyes.entry((me, session)).or_insert((now, sent));
    }

    #[expect(clippy::too_many_arguments, reason = "everything about it")]
    pub(crate) fn handle_over(
        &mut self,
        now: Time,
        host: usize,
        me: NodeId,
        peer: NodeId,
        session: u64,
        over: &Over,
        weather: Weather,
    ) {
        self.report.over += 1;
        self.last_over = Some(now);
        // Who has not been part of it until now has lost nothing: it begins with the same number.
        let members = self.members.remove(&session).unwrap_or_default();
        let was_member =
            members.contains(&me) || self.owed.get(&session).is_some_and(|owed| owed.contains(&me));
        self.owed.entry(session).or_insert(members);
        self.overs.entry(session).or_default().insert(me);
        if *over == Over::Closed {
            self.closed.insert(session);
        } else if weather != Weather::Wild
            && !self.closed.contains(&session)
            && was_member
            && !self.deaths.contains_key(&peer)
        {
            self.problem(format!("{me} has lost {peer} for nothing: {over}"));
        }
        if let Over::Silent(after) = over
            && let Some(heard) = self.heard.get(&(me, session)).copied()
            && self.stops.get(&host).is_none_or(|until| *until < heard)
        {
            let silence = now.since(heard);
            if silence < *after || silence > *after + *after / 5 + LATE {
                self.problem(format!("{me} lost {peer} after {silence:?} without a sign of life"));
            }
        }
        if matches!(over, Over::Violation(_) | Over::Stalled) {
            self.problem(format!("{me} accuses {peer}: {over}"));
        }
        let goodbye = self.goodbyes.get(&(me, session)).copied();
        // If both say it, what crosses it comes later, or not.
        if let Some((at, sent)) = goodbye
            && !self.goodbyes.contains_key(&(peer, session))
            && now.since(at) < Duration::from_millis(499)
        {
            let lost = self.messages[..sent].iter().position(|message| {
                message.sent.session == session
                    && message.sent.from.0 == me
                    && !message.has_arrived
                    && !self.ended.contains_key(&message.sent.to)
                    && !self.shut.contains(&message.sent.to)
            });
            if let Some(lost) = lost {
                self.problem(format!("message {lost} was lost in a goodbye"));
            }
        }
    }

    // ---- the end ----

    pub(crate) fn check_end(&mut self, alive: &[NodeId]) {
        for (session, said) in &self.overs {
            let mut members = self.owed.get(session).into_iter().flatten();
            let silent = members.find(|node| alive.contains(node) && !said.contains(node));
            if let Some(silent) = silent {
                self.problem.get_or_insert(format!(
                    "session {session:x} is over for {said:?}, and {silent} was never told"
                ));
            }
        }
        for (number, message) in self.messages.iter().enumerate() {
            let Sent { from, to, session, .. } = &message.sent;
            let is_excused = message.is_in_mailbox
                || message.is_unreadable
                || self.overs.contains_key(session)
                || !alive.contains(&from.0)
                || self.ended.contains_key(to)
                || self.shut.contains(to);
            if !is_excused {
                self.problem.get_or_insert(format!("message {number} is missing: {message:?}"));
            }
        }
    }
}

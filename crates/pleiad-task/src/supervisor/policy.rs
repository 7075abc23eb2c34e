//! The pure core of a supervisor: who is stopped and started, when, and when to give up.
//!
//! No clock, no task: ends and the time go in, things to do come out. Children are told apart by
//! numbers, which are their order; each start has an attempt number, so that the end of an older
//! incarnation changes nothing.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use pleiad_types::{Attempt, Backoff, Time};

use crate::supervisor::{Restart, Strategy};

/// A child of one supervisor; later children have higher numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ChildId(pub(crate) u32);

/// How an incarnation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Returned,
    Failed,
    Terminated,
    /// It could not be started. The answer to [`Output::Start`], at once.
    NotStarted,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    pub(crate) strategy: Strategy,
    /// Restarts within `period` beyond which the supervisor gives up.
    pub(crate) restarts: u32,
    pub(crate) period: Duration,
    pub(crate) backoff: Backoff,
}

/// What to do next; from [`Policy::poll_output`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// Start the child; then call [`Policy::handle_started`], or [`Policy::handle_ended`] with
    /// [`End::NotStarted`].
    Start { child: ChildId, attempt: Attempt },
    /// Ask it to stop, then end it by force; call [`Policy::handle_ended`] in any case.
    Stop { child: ChildId, attempt: Attempt },
    /// Nothing to do: it will be started after `wait`, and those that go with it. `restarts`: of the
    /// supervisor within its period, with this one.
    Restart { child: ChildId, wait: Duration, restarts: u32 },
    /// Nothing to do: the child has ended and stays so, until it is restarted by hand.
    Rest { child: ChildId },
    /// The child is forgotten: as was asked, or because its very first start went wrong.
    Removed { child: ChildId },
    /// Nothing to do: this child failed once too often and stays so; all will be stopped.
    GiveUp { child: ChildId },
    /// Every child has ended, and nothing more will happen.
    Finish,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Ended, or never started; stays so.
    Resting,
    /// To be started as soon as its strategy allows.
    Due,
    /// To be started then.
    BackingOff { until: Time },
    /// `since` is set by [`Policy::handle_started`].
    Running { since: Option<Time> },
    /// Runs, and will be asked to stop when all after it have ended.
    Doomed(Then),
    /// Was asked to stop.
    Stopping(Then),
}

/// What becomes of a child that is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    Start,
    Rest,
    Remove,
}

struct Child {
    restart: Restart,
    state: State,
    /// Of its latest start; 0 if there was none.
    attempt: Attempt,
    /// It has run. The first start of others is not repeated.
    proven: bool,
    /// Restarts without a calm period in between.
    row: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    Stopping,
    Finished,
}

pub(crate) struct Policy {
    options: Options,
    children: BTreeMap<ChildId, Child>,
    next: u32,
    phase: Phase,
    /// When the latest restarts were, oldest first. Invariant: at most `options.restarts` entries.
    restarts: VecDeque<Time>,
    /// What has been decided and not told. Starts and stops are decided when they are polled.
    outputs: VecDeque<Output>,
}

impl Policy {
    pub(crate) fn new(options: Options) -> Self {
        Self {
            options,
            children: BTreeMap::new(),
            next: 0,
            phase: Phase::Running,
            restarts: VecDeque::new(),
            outputs: VecDeque::new(),
        }
    }

    /// A child more, after all others, to be started unless all are stopped.
    pub(crate) fn add(&mut self, restart: Restart) -> ChildId {
        let id = ChildId(self.next);
        self.next += 1;
        let state = if self.phase == Phase::Running { State::Due } else { State::Resting };
        let child = Child { restart, state, attempt: Attempt(0), proven: false, row: 0 };
        self.children.insert(id, child);
        id
    }

    /// Stops a child, which then rests.
    pub(crate) fn stop_child(&mut self, id: ChildId) {
        self.end_child(id, Then::Rest);
    }

    /// Stops a child and forgets it.
    pub(crate) fn remove_child(&mut self, id: ChildId) {
        self.end_child(id, Then::Remove);
    }

    /// Starts a child, after it was stopped if it runs. Is no restart in the sense of the limit.
    pub(crate) fn restart_child(&mut self, id: ChildId) {
        if self.phase != Phase::Running {
            return;
        }
        let Some(child) = self.children.get_mut(&id) else { return };
        child.row = 0;
        match &mut child.state {
            State::Running { .. } => {
                child.state = State::Stopping(Then::Start);
                let attempt = child.attempt;
                self.outputs.push_back(Output::Stop { child: id, attempt });
            }
            State::Doomed(then) | State::Stopping(then) => {
                if *then != Then::Remove {
                    *then = Then::Start;
                }
            }
            State::Resting | State::Due | State::BackingOff { .. } => child.state = State::Due,
        }
    }

    /// Stops all children, the last first, and starts none any more.
    pub(crate) fn stop(&mut self) {
        if self.phase != Phase::Running {
            return;
        }
        self.phase = Phase::Stopping;
        for child in self.children.values_mut() {
            match &mut child.state {
                State::Running { .. } => child.state = State::Doomed(Then::Rest),
                State::Doomed(then) | State::Stopping(then) => {
                    if *then == Then::Start {
                        *then = Then::Rest;
                    }
                }
                State::Due | State::BackingOff { .. } => child.state = State::Resting,
                State::Resting => (),
            }
        }
    }

    /// The child runs: the answer to [`Output::Start`].
    pub(crate) fn handle_started(&mut self, now: Time, id: ChildId, attempt: Attempt) {
        let Some(child) = self.children.get_mut(&id).filter(|child| child.attempt == attempt)
        else {
            return;
        };
        child.proven = true;
        if let State::Running { since } = &mut child.state {
            *since = Some(now);
        }
    }

    /// This incarnation of the child has ended.
    pub(crate) fn handle_ended(&mut self, now: Time, id: ChildId, attempt: Attempt, end: End) {
        let Some(child) = self.children.get_mut(&id).filter(|child| child.attempt == attempt)
        else {
            return;
        };
        match child.state {
            State::Running { .. } if end == End::NotStarted && !child.proven => self.forget(id),
            State::Running { since } if child.restart.is_due(end) => self.failed(now, id, since),
            State::Running { .. } => self.rest(id),
            // It was to end anyway: however it did is right.
            State::Doomed(then) | State::Stopping(then) => match then {
                Then::Start => child.state = State::Due,
                Then::Rest => self.rest(id),
                Then::Remove => self.forget(id),
            },
            State::Resting | State::Due | State::BackingOff { .. } => (),
        }
    }

    /// Time has passed.
    pub(crate) fn handle_timeout(&mut self, now: Time) {
        for child in self.children.values_mut() {
            if matches!(child.state, State::BackingOff { until } if until <= now) {
                child.state = State::Due;
            }
        }
    }

    /// What to do next, until `None`.
    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front().or_else(|| match self.phase {
            Phase::Running => self.next_stop().or_else(|| self.next_start()),
            Phase::Stopping => self.next_stop().or_else(|| self.finish()),
            Phase::Finished => None,
        })
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        let waits = self.children.values().filter_map(|child| match child.state {
            State::BackingOff { until } => Some(until),
            _ => None,
        });
        waits.min()
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.phase != Phase::Running
    }

    pub(crate) fn state(&self, id: ChildId) -> Option<State> {
        self.children.get(&id).map(|child| child.state)
    }

    fn end_child(&mut self, id: ChildId, goal: Then) {
        if self.phase == Phase::Finished {
            return;
        }
        let Some(child) = self.children.get_mut(&id) else { return };
        match &mut child.state {
            State::Running { .. } => {
                child.state = State::Stopping(goal);
                let attempt = child.attempt;
                self.outputs.push_back(Output::Stop { child: id, attempt });
            }
            State::Doomed(then) | State::Stopping(then) => {
                if *then != Then::Remove {
                    *then = goal;
                }
            }
            State::Resting | State::Due | State::BackingOff { .. } => {
                if goal == Then::Remove {
                    self.forget(id);
                } else {
                    self.rest(id);
                }
            }
        }
    }

    /// A child that runs has to be started again, if the limit allows.
    fn failed(&mut self, now: Time, id: ChildId, since: Option<Time>) {
        let Options { restarts: limit, period, backoff, .. } = self.options;
        while self.restarts.front().is_some_and(|&restart| now.since(restart) > period) {
            self.restarts.pop_front();
        }
        if self.restarts.len() >= limit as usize {
            self.outputs.push_back(Output::GiveUp { child: id });
            self.stop();
            self.set_resting(id);
            return;
        }
        self.restarts.push_back(now);
        let restarts = self.restarts.len() as u32;

        let child = self.children.get_mut(&id).expect("a child that runs has a record");
        if since.is_some_and(|since| now.since(since) > period) {
            child.row = 0;
        }
        let wait = if child.row == 0 { Duration::ZERO } else { backoff.wait(child.row) };
        child.row = child.row.saturating_add(1);
        child.state =
            if wait.is_zero() { State::Due } else { State::BackingOff { until: now + wait } };
        self.outputs.push_back(Output::Restart { child: id, wait, restarts });
        self.doom_the_group(id);
    }

    /// Those that go with a child that has failed are to be stopped.
    fn doom_the_group(&mut self, failed: ChildId) {
        let strategy = self.options.strategy;
        for (&id, child) in &mut self.children {
            let goes_too = match strategy {
                Strategy::OneForOne => false,
                Strategy::OneForAll => true,
                Strategy::RestForOne => id > failed,
            };
            if goes_too && matches!(child.state, State::Running { .. }) {
                let never = child.restart == Restart::Never;
                child.state = State::Doomed(if never { Then::Rest } else { Then::Start });
            }
        }
    }

    /// Asks the last that is doomed to stop, unless one after it has not ended yet.
    fn next_stop(&mut self) -> Option<Output> {
        for (&id, child) in self.children.iter_mut().rev() {
            match child.state {
                State::Doomed(then) => {
                    child.state = State::Stopping(then);
                    return Some(Output::Stop { child: id, attempt: child.attempt });
                }
                State::Stopping(_) => return None,
                _ => (),
            }
        }
        None
    }

    fn next_start(&mut self) -> Option<Output> {
        if self.options.strategy != Strategy::OneForOne && self.is_group_held() {
            return None;
        }
        let strategy = self.options.strategy;
        for (&id, child) in &mut self.children {
            match child.state {
                State::Due => {
                    child.attempt = Attempt(child.attempt.0 + 1);
                    child.state = State::Running { since: None };
                    return Some(Output::Start { child: id, attempt: child.attempt });
                }
                // Those after it need it.
                State::BackingOff { .. } if strategy == Strategy::RestForOne => return None,
                _ => (),
            }
        }
        None
    }

    /// Whether a group has to wait, before any of it starts.
    fn is_group_held(&self) -> bool {
        let all = self.options.strategy == Strategy::OneForAll;
        self.children.values().any(|child| match child.state {
            State::Doomed(_) | State::Stopping(_) => true,
            State::BackingOff { .. } => all,
            _ => false,
        })
    }

    fn finish(&mut self) -> Option<Output> {
        let ends = |child: &Child| matches!(child.state, State::Doomed(_) | State::Stopping(_));
        if self.children.values().any(ends) {
            return None;
        }
        self.phase = Phase::Finished;
        Some(Output::Finish)
    }

    fn rest(&mut self, id: ChildId) {
        self.set_resting(id);
        self.outputs.push_back(Output::Rest { child: id });
    }

    fn set_resting(&mut self, id: ChildId) {
        if let Some(child) = self.children.get_mut(&id) {
            child.state = State::Resting;
        }
    }

    fn forget(&mut self, id: ChildId) {
        if self.children.remove(&id).is_some() {
            self.outputs.push_back(Output::Removed { child: id });
        }
    }
}

impl Restart {
    fn is_due(self, end: End) -> bool {
        match self {
            Self::Always => true,
            Self::OnFailure => end != End::Returned,
            Self::Never => false,
        }
    }
}

#[cfg(test)]
mod tests;

//! The one loop in which the policy meets tasks, requests and the clock.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use pleiad_types::{Attempt, Time};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use crate::any::AnyTask;
use crate::cell::AnyCell;
use crate::exit::{Exit, ExitReason};
use crate::identity::Identity;
use crate::mailbox::Mailbox;
use crate::reply::Reply;
use crate::supervisor::child::Child;
use crate::supervisor::handle::{
    ChildError, ChildInfo, ChildStartError, ChildState, Request, SupervisorMessage,
};
use crate::supervisor::policy::{ChildId, End, Options, Output, Policy, State};

/// Who waits for the first start.
pub(crate) type Started = oneshot::Sender<Result<(), ChildStartError>>;

/// Runs a supervisor until it is to end. An error is how it failed.
pub(crate) async fn run(
    options: Options,
    children: Vec<Child>,
    mut mailbox: Mailbox<SupervisorMessage>,
    mut started: Option<Started>,
) -> Result<(), String> {
    let mut shell = Shell::new(options, mailbox.identity());
    shell.add_first(children);
    let mut finished = shell.act();
    shell.has_begun = true;
    if shell.not_started.is_none() {
        tell(started.take(), Ok(()));
    }
    let mut stops = Vec::new();
    while !finished {
        match shell.next(&mut mailbox).await {
            Event::Ended(child, attempt, exit) => shell.ended(child, attempt, exit),
            Event::Timeout => shell.policy.handle_timeout(shell.now()),
            Event::Request(Some(Request::Stop(reply))) => {
                stops.push(reply);
                shell.policy.stop();
            }
            Event::Request(Some(request)) => shell.handle(request),
            Event::Request(None) => shell.policy.stop(),
        }
        finished = shell.act();
    }

    mailbox.close();
    if let Some(error) = shell.not_started.take() {
        let text = chain(&error);
        tell(started, Err(error));
        return Err(text);
    }
    if let Some(failure) = shell.failure.take() {
        return Err(failure);
    }
    while let Ok(SupervisorMessage(request)) = mailbox.try_recv() {
        if let Request::Stop(reply) = request {
            stops.push(reply);
        }
    }
    let children = shell.infos();
    stops.into_iter().for_each(|reply| reply.send(children.clone()));
    Ok(())
}

struct Shell {
    identity: Identity,
    options: Options,
    policy: Policy,
    records: BTreeMap<ChildId, Record>,
    // Invariant: at most one end for each start. An incarnation is told before the next is started.
    ends: mpsc::UnboundedReceiver<(ChildId, Attempt, Exit)>,
    tell_end: mpsc::UnboundedSender<(ChildId, Attempt, Exit)>,
    epoch: Instant,
    /// All children were started once.
    has_begun: bool,
    /// Why the supervisor itself was not started.
    not_started: Option<ChildStartError>,
    /// Why it gives up.
    failure: Option<String>,
}

struct Record {
    child: Child,
    running: Option<Running>,
    exit: Option<Exit>,
    restarts: u64,
    /// Who waits for its start.
    on_start: Vec<OnStart>,
    /// Who waits until it has ended.
    on_end: Vec<Reply<Result<ChildInfo, ChildError>>>,
}

struct Running {
    attempt: Attempt,
    cell: Arc<dyn AnyCell>,
}

enum OnStart {
    Added(Reply<Result<(), ChildStartError>>),
    Restarted(Reply<Result<(), ChildError>>),
}

enum Event {
    Ended(ChildId, Attempt, Exit),
    Request(Option<Request>),
    Timeout,
}

impl Shell {
    fn new(options: Options, identity: Identity) -> Self {
        let (tell_end, ends) = mpsc::unbounded_channel();
        Self {
            identity,
            options,
            policy: Policy::new(options),
            records: BTreeMap::new(),
            ends,
            tell_end,
            epoch: Instant::now(),
            has_begun: false,
            not_started: None,
            failure: None,
        }
    }

    fn add_first(&mut self, children: Vec<Child>) {
        for child in children {
            if self.find(&child.name).is_some() {
                self.not_started = Some(ChildStartError::Exists { child: child.name.to_string() });
                self.policy.stop();
                return;
            }
            self.add(child, None);
        }
    }

    fn add(&mut self, child: Child, on_start: Option<OnStart>) {
        let id = self.policy.add(child.restart);
        let on_start = on_start.into_iter().collect();
        let record =
            Record { child, running: None, exit: None, restarts: 0, on_start, on_end: Vec::new() };
        self.records.insert(id, record);
    }

    /// Waits for what is next. Ends come first, new work last.
    async fn next(&mut self, mailbox: &mut Mailbox<SupervisorMessage>) -> Event {
        let deadline = self.policy.poll_timeout();
        let deadline = deadline.map(|at| self.epoch + Duration::from_nanos(at.as_nanos()));
        let mut timer = deadline.map(|at| Box::pin(sleep_until(at)));
        let is_stopping = self.policy.is_stopping();
        poll_fn(|cx| {
            if let Poll::Ready(Some((child, attempt, exit))) = self.ends.poll_recv(cx) {
                return Poll::Ready(Event::Ended(child, attempt, exit));
            }
            if let Some(timer) = &mut timer
                && timer.as_mut().poll(cx).is_ready()
            {
                return Poll::Ready(Event::Timeout);
            }
            if !is_stopping && let Poll::Ready(message) = mailbox.poll_recv(cx) {
                return Poll::Ready(Event::Request(message.map(|message| message.0)));
            }
            Poll::Pending
        })
        .await
    }

    /// Does what the policy wants. True if all is over. Nothing in here waits.
    fn act(&mut self) -> bool {
        while let Some(output) = self.policy.poll_output() {
            match output {
                Output::Start { child, attempt } => self.start(child, attempt),
                Output::Stop { child, attempt } => self.stop(child, attempt),
                Output::Restart { child, wait, restarts } => {
                    self.log_restart(child, wait, restarts);
                }
                Output::Rest { child } => self.rests(child),
                Output::Removed { child } => self.removed(child),
                Output::GiveUp { child } => self.give_up(child),
                Output::Finish => return true,
            }
        }
        false
    }

    fn start(&mut self, id: ChildId, attempt: Attempt) {
        let now = self.now();
        let Some(record) = self.records.get_mut(&id) else { return };
        match record.child.start() {
            Ok(cell) => {
                let ends = self.tell_end.clone();
                cell.monitor(Box::new(move |exit| {
                    // A supervisor that has ended does not want to know.
                    let _ = ends.send((id, attempt, exit));
                }));
                record.restarts = u64::from(attempt.0) - 1;
                record.running = Some(Running { attempt, cell });
                record.started(&Ok(()));
                self.policy.handle_started(now, id, attempt);
            }
            Err(not_started) => {
                record.exit = Some(not_started.exit);
                let error = not_started.cause.into_error(&record.child.name);
                record.started(&Err(error.clone()));
                self.policy.handle_ended(now, id, attempt, End::NotStarted);
                if !self.has_begun {
                    self.not_started = Some(error);
                    self.policy.stop();
                }
            }
        }
    }

    fn stop(&mut self, id: ChildId, attempt: Attempt) {
        let running = self.records.get(&id).and_then(|record| record.running.as_ref());
        if let Some(running) = running.filter(|running| running.attempt == attempt) {
            running.cell.stop(None);
        }
    }

    fn ended(&mut self, id: ChildId, attempt: Attempt, exit: Exit) {
        let end = match exit.reason {
            ExitReason::Returned => End::Returned,
            ExitReason::Terminated => End::Terminated,
            _ => End::Failed,
        };
        if let Some(record) = self.records.get_mut(&id)
            && record.running.as_ref().is_some_and(|running| running.attempt == attempt)
        {
            record.running = None;
            record.exit = Some(exit);
            record.ended();
        }
        self.policy.handle_ended(self.now(), id, attempt, end);
    }

    fn handle(&mut self, request: Request) {
        match request {
            Request::Add(child, reply) => {
                if self.find(&child.name).is_some() {
                    reply.send(Err(ChildStartError::Exists { child: child.name.to_string() }));
                } else {
                    self.add(child, Some(OnStart::Added(reply)));
                }
            }
            Request::StopChild(name, reply) => self.end_child(name, reply, Policy::stop_child),
            Request::RemoveChild(name, reply) => self.end_child(name, reply, Policy::remove_child),
            Request::RestartChild(name, reply) => match self.find(&name) {
                None => reply.send(Err(ChildError::NoSuchChild(name))),
                Some((id, record)) => {
                    record.on_start.push(OnStart::Restarted(reply));
                    self.policy.restart_child(id);
                }
            },
            Request::Children(reply) => reply.send(self.infos()),
            Request::Stop(_) => unreachable!("the loop keeps these"),
        }
    }

    fn end_child(
        &mut self,
        name: String,
        reply: Reply<Result<ChildInfo, ChildError>>,
        end: fn(&mut Policy, ChildId),
    ) {
        match self.find(&name) {
            None => reply.send(Err(ChildError::NoSuchChild(name))),
            Some((id, record)) => {
                record.on_end.push(reply);
                end(&mut self.policy, id);
            }
        }
    }

    fn log_restart(&self, id: ChildId, wait: Duration, restarts: u32) {
        let Some(record) = self.records.get(&id) else { return };
        let reason = record.exit.as_ref().map(|exit| tracing::field::display(&exit.reason));
        tracing::warn!(
            supervisor = %self.identity,
            child = %record.child.name,
            reason,
            restarts,
            wait_ms = wait.as_millis() as u64,
            "child is restarted"
        );
    }

    fn rests(&mut self, id: ChildId) {
        let Some(record) = self.records.get_mut(&id) else { return };
        if let Some(exit) = record.exit.as_ref().filter(|exit| exit.reason.is_failed()) {
            tracing::warn!(
                supervisor = %self.identity,
                child = %record.child.name,
                reason = %exit.reason,
                "child has failed and is not restarted"
            );
        }
        record.will_not_start();
        record.ended();
    }

    fn removed(&mut self, id: ChildId) {
        if let Some(mut record) = self.records.remove(&id) {
            record.will_not_start();
            record.ended();
        }
    }

    fn give_up(&mut self, id: ChildId) {
        let Some(record) = self.records.get(&id) else { return };
        let Options { restarts, period, .. } = self.options;
        let child = &record.child.name;
        let reason = record.exit.as_ref().map_or_else(String::new, |exit| exit.reason.to_string());
        tracing::error!(
            supervisor = %self.identity,
            %child,
            reason,
            restarts,
            period_ms = period.as_millis() as u64,
            "supervisor gives up"
        );
        self.failure = Some(format!(
            "child {child:?} has ended, and the limit of restarts ({restarts} within {period:?}) is \
             reached: it {reason}"
        ));
    }

    /// By its name.
    fn find(&mut self, name: &str) -> Option<(ChildId, &mut Record)> {
        let mut records = self.records.iter_mut();
        let (&id, record) = records.find(|(_, record)| *record.child.name == *name)?;
        Some((id, record))
    }

    fn infos(&self) -> Vec<ChildInfo> {
        let infos = self.records.iter().map(|(&id, record)| {
            record.info(match self.policy.state(id) {
                Some(State::Running { .. }) => ChildState::Running,
                Some(State::Doomed(_) | State::Stopping(_)) => ChildState::Stopping,
                Some(State::Due | State::BackingOff { .. }) => ChildState::Waiting,
                Some(State::Resting) | None => ChildState::Ended,
            })
        });
        infos.collect()
    }

    fn now(&self) -> Time {
        Time::ZERO + self.epoch.elapsed()
    }
}

/// The emergency exit: what the supervisor has not stopped must not outlive it.
impl Drop for Shell {
    fn drop(&mut self) {
        let running = self.records.values().rev().filter_map(|record| record.running.as_ref());
        running.for_each(|running| running.cell.kill());
    }
}

impl Record {
    fn started(&mut self, result: &Result<(), ChildStartError>) {
        for waiter in self.on_start.drain(..) {
            let result = result.clone();
            match waiter {
                OnStart::Added(reply) => reply.send(result),
                OnStart::Restarted(reply) => reply.send(result.map_err(ChildError::NotStarted)),
            }
        }
    }

    fn will_not_start(&mut self) {
        if !self.on_start.is_empty() {
            self.started(&Err(ChildStartError::Stopped { child: self.child.name.to_string() }));
        }
    }

    fn ended(&mut self) {
        if !self.on_end.is_empty() {
            let info = self.info(ChildState::Ended);
            self.on_end.drain(..).for_each(|reply| reply.send(Ok(info.clone())));
        }
    }

    fn info(&self, state: ChildState) -> ChildInfo {
        ChildInfo {
            name: self.child.name.clone(),
            state,
            task: self.running.as_ref().map(|running| AnyTask::new(running.cell.clone())),
            exit: self.exit.clone(),
            restarts: self.restarts,
        }
    }
}

fn tell(started: Option<Started>, result: Result<(), ChildStartError>) {
    if let Some(started) = started {
        // Nobody waits if the supervisor was not wanted any more.
        let _ = started.send(result);
    }
}

/// The error and its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

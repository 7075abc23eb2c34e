//! The engine of a private cluster: one thread that holds the scheduler's books and this machine's
//! agent, and the loop between them and the program that uses them.

mod command;
mod owners;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use pleiad_sched::{CancelResult, Failure, MachineSpec, Outcome, Output, Scheduler, Table};
use pleiad_types::limits::JOB_MESSAGES_MAX;
use pleiad_types::{Attempt, JobId, LaneId, MachineId, Time};
use tokio::sync::{broadcast, mpsc, oneshot};

pub(crate) use command::{Command, Computation, ProgramWork, Setup, Submission, Work, WorkersMode};
pub(crate) use owners::{Done, JobShared, One, Owner, PrintedValue, Report, SetId, SetShared};

use crate::agent::{Agent, AgentEvent, AgentOptions, News};
use crate::context::JobSendError;
use crate::error::{JobError, JobErrorKind, StartError, SubmitError};
use crate::events::{Event, EventKind};
use crate::launcher::LauncherEvent;
use crate::queue::push_newest;
use crate::status::Status;
use owners::Sets;

/// Everything that can come to the engine from other tasks and threads.
pub(crate) enum Inbound {
    Command(Command),
    Agent(AgentEvent),
}

/// How an engine is to be.
pub(crate) struct EngineOptions {
    pub(crate) machine: MachineSpec,
    pub(crate) agent: AgentOptions,
}

/// Starts the engine in a thread of its own; it runs until every sender is gone or it is closed.
pub(crate) async fn start(
    options: EngineOptions,
) -> Result<(mpsc::UnboundedSender<Inbound>, broadcast::WeakSender<Event>), StartError> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let (events, _) = broadcast::channel(pleiad_types::limits::EVENTS_MAX);
    let (started, is_started) = oneshot::channel();
    let (weak, weak_events) = (sender.downgrade(), events.downgrade());
    thread::Builder::new()
        .name("pleiad engine".to_owned())
        .spawn(move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(e) => return drop(started.send(Err(StartError::Thread(e)))),
            };
            runtime.block_on(async move {
                let agent = match Agent::start(options.agent, weak) {
                    Ok(agent) => agent,
                    Err(e) => return drop(started.send(Err(StartError::Launcher(e)))),
                };
                let engine = Engine::new(options.machine, agent, events);
                let _ = started.send(Ok(()));
                engine.run(receiver).await;
            });
        })
        .map_err(StartError::Thread)?;
    let never = |_| StartError::Thread(std::io::Error::other("the engine's thread has ended"));
    is_started.await.map_err(never)??;
    Ok((sender, weak_events))
}

struct Entry {
    work: Work,
    owner: Owner,
}

struct Engine {
    began: Instant,
    /// The time of this turn of the loop.
    now: Time,
    scheduler: Scheduler<Report>,
    machine: MachineId,
    agent: Agent,
    jobs: Table<Entry>,
    sets: Sets,
    events: broadcast::Sender<Event>,
    /// Whether anybody reads the events.
    watched: bool,
    /// Messages for jobs that have not begun.
    early: HashMap<JobId, VecDeque<Bytes>>,
    /// Why jobs did not succeed for which others may wait.
    causes: HashMap<JobId, Arc<str>>,
    /// Those of the causes that are not needed any more when all outputs are done.
    causes_to_forget: Vec<JobId>,
    idle_waiters: Vec<oneshot::Sender<()>>,
    closing: Option<Closing>,
}

/// What woke the engine.
enum Turn {
    Launcher(LauncherEvent),
    Inbound(usize),
    Timeout,
}

enum Closing {
    /// No new jobs; those accepted are finished first.
    Finishing(Vec<oneshot::Sender<()>>),
    /// The workers clean up and end.
    WorkersEnd(Vec<oneshot::Sender<()>>),
}

impl Engine {
    fn new(machine: MachineSpec, agent: Agent, events: broadcast::Sender<Event>) -> Self {
        let mut scheduler = Scheduler::new();
        let machine = scheduler.machine_joined(Time::ZERO, machine);
        Self {
            began: Instant::now(),
            now: Time::ZERO,
            scheduler,
            machine,
            agent,
            jobs: Table::new(),
            sets: Sets::default(),
            events,
            watched: false,
            early: HashMap::new(),
            causes: HashMap::new(),
            causes_to_forget: Vec::new(),
            idle_waiters: Vec::new(),
            closing: None,
        }
    }

    async fn run(mut self, mut inbound: mpsc::UnboundedReceiver<Inbound>) {
        const BATCH: usize = 64;
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            self.settle();
            if self.is_over() {
                return;
            }
            let deadline = self.deadline();
            let turn = tokio::select! {
                biased;
                event = self.agent.launcher_event() => Turn::Launcher(event),
                count = inbound.recv_many(&mut batch, BATCH) => Turn::Inbound(count),
                () = tokio::time::sleep_until(deadline.into()) => Turn::Timeout,
            };
            self.now = Time::from_nanos(nanos(self.began.elapsed()));
            self.watched = self.events.receiver_count() > 0;
            match turn {
                Turn::Launcher(event) => self.agent.handle_launcher(self.now, event),
                // Nobody can ask for anything any more: the launcher, which sees its socket close,
                // ends what runs.
                Turn::Inbound(0) => return,
                Turn::Inbound(_) => {
                    for message in batch.drain(..) {
                        match message {
                            Inbound::Command(command) => self.handle_command(command),
                            Inbound::Agent(event) => self.agent.handle(event),
                        }
                    }
                }
                Turn::Timeout => {}
            }
            // In each turn: those who always have something to say must not hold up what is due.
            if self.next_timeout().is_some_and(|time| time <= self.now) {
                self.scheduler.handle_timeout(self.now);
                self.agent.handle_timeout(self.now);
            }
        }
    }

    /// Does all that is to be done now. Nothing in here waits.
    fn settle(&mut self) {
        loop {
            while let Some(output) = self.scheduler.poll_output() {
                self.act(output);
            }
            let Some(news) = self.agent.poll_news() else { break };
            self.handle_news(news);
        }
        for job in self.causes_to_forget.drain(..) {
            self.causes.remove(&job);
        }
        self.agent.flush();
        self.sets.flush();
        if self.scheduler.counts().unfinished() == 0 {
            for waiter in self.idle_waiters.drain(..) {
                let _ = waiter.send(());
            }
        }
    }

    fn is_over(&mut self) -> bool {
        if self.scheduler.counts().unfinished() == 0
            && let Some(Closing::Finishing(replies)) = &mut self.closing
        {
            let replies = std::mem::take(replies);
            self.agent.close(self.now);
            self.closing = Some(Closing::WorkersEnd(replies));
            self.agent.flush();
        }
        if self.agent.has_ended()
            && let Some(Closing::WorkersEnd(replies)) = &mut self.closing
        {
            for reply in replies.drain(..) {
                let _ = reply.send(());
            }
            return true;
        }
        false
    }

    fn deadline(&self) -> Instant {
        const FAR: Duration = Duration::from_secs(3600);
        let due = |time: Time| self.began + time.since(Time::ZERO);
        self.next_timeout().map_or_else(|| Instant::now() + FAR, due)
    }

    fn next_timeout(&self) -> Option<Time> {
        let times = [self.scheduler.poll_timeout(), self.agent.poll_timeout()];
        times.into_iter().flatten().min()
    }

    fn act(&mut self, output: Output<Report>) {
        match output {
            Output::Run { lane, job, attempt, class, deaths, .. } => {
                let Some(entry) = self.jobs.get_mut(job.0) else { return };
                let Some(class) = self.scheduler.class_of(class) else { return };
                self.agent.run(self.now, lane, (job, attempt), class, deaths > 0, &entry.work);
                self.pass_early(lane);
                self.announce(|| EventKind::Assigned { job, attempt });
            }
            Output::CloseLane { lane, .. } => self.agent.close_lane(lane),
            Output::Recall { lane, job, attempt, .. } => self.agent.recall(lane, (job, attempt)),
            Output::Stop { lane, job, attempt, .. } => {
                self.agent.stop(self.now, lane, (job, attempt));
            }
            Output::Retry { job, attempt, failure, wait } => {
                self.announce(|| {
                    let why = self.error(job, Some(attempt), failure).kind.to_string();
                    EventKind::Retrying { job, attempt, why, wait }
                });
            }
            Output::Finish { job, attempt, outcome } => self.finish(job, attempt, outcome),
        }
    }

    fn finish(&mut self, job: JobId, attempt: Option<Attempt>, outcome: Outcome<Report>) {
        let result = match outcome {
            Outcome::Succeeded(report) => Ok(report),
            Outcome::Failed(failure) => Err(self.error(job, attempt, failure)),
            Outcome::Cancelled => Err(JobError::new(job, attempt, JobErrorKind::Cancelled)),
        };
        let entry = self.jobs.remove(job.0);
        if let Err(error) = &result
            && let Some(Entry { owner: Owner::One(one), .. }) = &entry
        {
            self.note_cause(job, error, one.released);
        }
        self.announce(|| match &result {
            Ok(_) => EventKind::Succeeded { job },
            Err(e) if matches!(e.kind, JobErrorKind::Cancelled) => EventKind::Cancelled { job },
            Err(e) => EventKind::Failed { job, why: e.kind.to_string() },
        });
        if !self.early.is_empty() {
            self.early.remove(&job);
        }
        let Some(Entry { owner, .. }) = entry else { return };
        let attempt = attempt.unwrap_or(Attempt(0));
        match owner {
            Owner::Set { set, index } => {
                self.scheduler.release(job);
                self.sets.done(set, Done { index, job, attempt, result });
            }
            Owner::One(one) => {
                if one.released {
                    self.scheduler.release(job);
                }
                one.finish(job, attempt, result);
            }
        }
    }

    /// Remembers why a job did not succeed, for those that wait for it: while somebody may hand in
    /// another one, or, if nobody can, until all that waited have been told.
    fn note_cause(&mut self, job: JobId, error: &JobError, released: bool) {
        let cause = match &error.kind {
            JobErrorKind::Dependency { cause, .. } => cause.clone(),
            _ => Arc::from(error.to_string()),
        };
        self.causes.insert(job, cause);
        if released {
            self.causes_to_forget.push(job);
        }
    }

    fn error(&self, job: JobId, attempt: Option<Attempt>, failure: Failure<Report>) -> JobError {
        let unknown = || JobErrorKind::Unreadable("it failed without a reason".to_owned());
        let kind = match failure {
            Failure::Failed(report) | Failure::Impossible(report) | Failure::Poison(report) => {
                report.into_error().unwrap_or_else(unknown)
            }
            Failure::LimitReached(report) => {
                let view = self.scheduler.job(job);
                let class = view.and_then(|view| self.scheduler.class_of(view.class));
                JobErrorKind::LimitReached {
                    limit: class.and_then(|class| class.limit).unwrap_or_default(),
                    output: report.into_output(),
                }
            }
            Failure::LostOnce => JobErrorKind::LostOnce,
            Failure::Dependency(on) => {
                let cause = self.causes.get(&on).cloned();
                JobErrorKind::Dependency { on, cause: cause.unwrap_or_else(|| Arc::from("")) }
            }
        };
        let entry = self.jobs.get(job.0);
        let name = entry.and_then(|entry| entry.owner.name().or_else(|| entry.work.name()));
        JobError { name, ..JobError::new(job, attempt, kind) }
    }

    fn handle_news(&mut self, news: News) {
        match news {
            News::Ended { lane, run: (job, attempt), ran, end } => {
                let now = self.now;
                self.scheduler.handle_ended(now, self.machine, lane, job, attempt, ran, end);
                self.pass_early(lane);
            }
            News::Began { lane } => self.pass_early(lane),
            News::Message { job, body } => {
                if let Some(entry) = self.jobs.get(job.0) {
                    self.sets.message(&entry.owner, job, body);
                    self.announce(|| EventKind::Message { job });
                }
            }
            News::Progress { job, done, total } => {
                if let Some(Entry { owner: Owner::One(one), .. }) = self.jobs.get(job.0) {
                    one.shared.set_progress(done, total);
                }
                self.announce(|| EventKind::Progress { job, done, total });
            }
            News::Event(kind) => self.announce(|| kind),
        }
    }

    fn handle_command(&mut self, command: Command) {
        let now = self.now;
        match command {
            Command::Submit { submission, reply } => {
                let result = self.submit(now, *submission);
                if let Some(reply) = reply {
                    let _ = reply.send(result);
                }
            }
            Command::OpenSet { set, class, shared, done } => {
                let class = self.scheduler.class(*class);
                self.sets.open(set, class, shared, done);
            }
            Command::SubmitSet { set, works, first_index } => {
                self.submit_set(now, set, works, first_index);
            }
            Command::CancelSet { set } => self.cancel_set(now, set),
            Command::FinishSetEarly { set } => {
                for job in self.jobs_of(set) {
                    self.scheduler.finish_early(now, job);
                }
            }
            Command::CloseSet { set } => {
                self.cancel_set(now, set);
                if let Some(class) = self.sets.close(set) {
                    self.scheduler.release_class(class);
                }
            }
            Command::Cancel { job, reply } => {
                let _ = reply.send(self.scheduler.cancel(now, job));
            }
            Command::FinishEarly { job, reply } => {
                let _ = reply.send(self.scheduler.finish_early(now, job));
            }
            Command::CancelQuietly { job } => {
                self.scheduler.cancel(now, job);
            }
            Command::CancelAll { kill } => {
                let all: Vec<_> = self.jobs.iter().map(|(job, _)| JobId(job)).collect();
                // The latest first, so that nothing starts in the room that others leave.
                for job in all.into_iter().rev() {
                    self.scheduler.cancel(now, job);
                }
                if kill {
                    self.settle();
                    self.agent.kill_all();
                }
            }
            Command::Kill { job } => {
                if let CancelResult::Stopping = self.scheduler.cancel(now, job) {
                    self.settle();
                    self.agent.kill(job);
                }
            }
            Command::Release { job } => match self.jobs.get_mut(job.0) {
                // It may still be cancelled, with all others.
                Some(entry) => entry.owner.release(),
                None => {
                    self.scheduler.release(job);
                    self.causes.remove(&job);
                }
            },
            Command::Send { job, body, reply } => {
                let _ = reply.send(self.send(job, body));
            }
            Command::Explain { job, reply } => {
                let _ = reply.send(self.scheduler.explain(job));
            }
            Command::Status { reply } => {
                let _ = reply.send(Status::new(
                    self.scheduler.counts(),
                    self.scheduler.machines().collect(),
                    self.agent.workers(),
                    self.began.elapsed(),
                ));
            }
            Command::Open { computation, reply } => {
                let _ = reply.send(self.agent.open(*computation));
            }
            Command::WaitIdle { reply } => self.idle_waiters.push(reply),
            Command::Close { reply } => match &mut self.closing {
                None => self.closing = Some(Closing::Finishing(vec![reply])),
                Some(Closing::Finishing(replies) | Closing::WorkersEnd(replies)) => {
                    replies.push(reply);
                }
            },
        }
    }

    fn submit(&mut self, now: Time, submission: Submission) -> Result<JobId, SubmitError> {
        let Submission { class, work, after, owner } = submission;
        let refuse = |owner: Owner, error: SubmitError| {
            if let Owner::One(one) = owner {
                one.refuse(error.clone());
            }
            Err(error)
        };
        if self.closing.is_some() {
            return refuse(owner, SubmitError::Closed);
        }
        let class = self.scheduler.class(class);
        let after: Vec<JobId> = after.iter().map(|record| record.job).collect();
        let accepted = self.scheduler.submit(now, class, &after);
        self.scheduler.release_class(class);
        match accepted {
            Ok(job) => {
                let wanted = match &owner {
                    Owner::One(one) => one.shared.accepted(job),
                    Owner::Set { .. } => true,
                };
                self.jobs.insert(job.0, Entry { work, owner });
                self.announce(|| EventKind::Accepted { job });
                if !wanted {
                    self.scheduler.cancel(now, job);
                }
                Ok(job)
            }
            Err(pleiad_sched::SubmitError::NoSuchDependency(on)) => {
                refuse(owner, SubmitError::NoSuchDependency(on))
            }
            Err(e) => refuse(owner, SubmitError::Invalid(e.to_string())),
        }
    }

    fn cancel_set(&mut self, now: Time, set: SetId) {
        for job in self.jobs_of(set) {
            self.scheduler.cancel(now, job);
        }
    }

    /// The set's jobs that are not final, the latest first, so that nothing starts in the room that
    /// others leave when they are ended one by one.
    fn jobs_of(&self, set: SetId) -> Vec<JobId> {
        let is_in = |owner: &Owner| matches!(owner, Owner::Set { set: other, .. } if *other == set);
        let found = self.jobs.iter().filter(|(_, entry)| is_in(&entry.owner));
        let found = found.map(|(job, _)| JobId(job)).take(self.sets.unfinished(set));
        let mut jobs: Vec<JobId> = found.collect();
        jobs.reverse();
        jobs
    }

    /// Passes a message on to a job, or keeps it until that has begun.
    fn send(&mut self, job: JobId, body: Bytes) -> Result<(), JobSendError> {
        match self.jobs.get(job.0) {
            None => return Err(JobSendError::Final),
            Some(Entry { work: Work::Program(_), .. }) => return Err(JobSendError::Program),
            Some(Entry { work: Work::Call { .. }, .. }) => {}
        }
        // In order: not past those that are still kept.
        let kept = self.early.contains_key(&job);
        if let Err(body) = if kept { Err(body) } else { self.agent.send(job, body) } {
            push_newest(self.early.entry(job).or_default(), body, JOB_MESSAGES_MAX);
        }
        Ok(())
    }

    /// Hands the job that runs in a lane what was kept for it.
    fn pass_early(&mut self, lane: LaneId) {
        if self.early.is_empty() {
            return;
        }
        let Some(job) = self.agent.running_in(lane) else { return };
        for body in self.early.remove(&job).unwrap_or_default() {
            let _ = self.agent.send(job, body);
        }
    }

    fn submit_set(&mut self, now: Time, set: SetId, works: Vec<Work>, first_index: usize) {
        let Some(class) = self.sets.class(set) else { return };
        for (index, work) in (first_index..).zip(works) {
            if self.closing.is_some() {
                let error = JobError::from(SubmitError::Closed);
                let job = JobId(0);
                self.sets.tell(set, Done { index, job, attempt: Attempt(0), result: Err(error) });
                continue;
            }
            let Ok(job) = self.scheduler.submit(now, class, &[]) else { continue };
            self.jobs.insert(job.0, Entry { work, owner: Owner::Set { set, index } });
            self.sets.add(set);
            self.announce(|| EventKind::Accepted { job });
        }
    }

    fn announce(&self, kind: impl FnOnce() -> EventKind) {
        if self.watched {
            let _ = self.events.send(Event { at: SystemTime::now(), kind: kind() });
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

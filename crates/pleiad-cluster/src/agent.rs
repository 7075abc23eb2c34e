//! This machine's side: lanes in which jobs run, the workers and programs in them.
//!
//! The agent never looks into arguments and results. It does what the scheduler has decided, and
//! answers with [`News`]. Nothing in here waits: what takes time runs in tasks that report back
//! with an [`AgentEvent`].

mod capture;
mod kept;
mod programs;
mod socket;
mod workers;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pleiad_sched::{Class, End};
use pleiad_types::limits::DEATHS_MAX;
use pleiad_types::{Attempt, ComputationId, JobId, LaneId, Time};
use tokio::sync::mpsc;

use crate::engine::{Computation, Inbound, Report, Work};
use crate::error::JobErrorKind;
use crate::events::EventKind;
use crate::init;
use crate::launcher::{LaunchId, Launcher, LauncherEvent, Stage, StopHow};
use crate::worker::wire::FromWorker;
use programs::{Finished, RunningProgram};
use workers::{Worker, WorkerId};

/// Which try of which job.
pub(crate) type Run = (JobId, Attempt);

/// How an agent is to be.
#[derive(Debug, Clone)]
pub(crate) struct AgentOptions {
    /// The machine's name.
    pub(crate) machine: Arc<str>,
    /// Between the polite request to stop and the end by force.
    pub(crate) grace: Duration,
    /// Workers that may be kept without work.
    pub(crate) idle_workers_max: usize,
    /// Whether processes will be needed, so that the launcher should be started now.
    pub(crate) processes: bool,
}

/// What tasks of the agent report.
pub(crate) enum AgentEvent {
    Frames(WorkerId, Vec<FromWorker>),
    /// The socket of a worker has ended; with the reason if that is not simply its end.
    WorkerClosed(WorkerId, Option<String>),
    Captured(LaunchId, Box<capture::BothCaptured>),
}

/// What the engine is to know.
pub(crate) enum News {
    Ended {
        lane: LaneId,
        run: Run,
        ran: Duration,
        end: End<Report>,
    },
    /// The worker of this lane has been set up, and begins with its first job.
    Began {
        lane: LaneId,
    },
    Message {
        job: JobId,
        body: Bytes,
    },
    Progress {
        job: JobId,
        done: u64,
        total: u64,
    },
    Event(EventKind),
}

/// One lane: jobs that run one after the other, the first of them now.
struct Lane {
    kind: LaneKind,
    /// Those that have not ended, in order.
    queue: VecDeque<Run>,
}

enum LaneKind {
    /// In this slot of this worker; `None`: the worker has died, and the next job needs another.
    Worker {
        at: Option<(WorkerId, u16)>,
    },
    Program(Box<ProgramLane>),
}

/// Programs run one at a time; the works behind the first wait here.
struct ProgramLane {
    works: VecDeque<crate::engine::ProgramWork>,
    memory: Option<u64>,
    running: Option<RunningProgram>,
}

/// What a launched process is for.
enum Launched {
    Worker(WorkerId),
    Program(LaneId),
}

pub(crate) struct Agent {
    options: AgentOptions,
    launcher: Option<Launcher>,
    launched: BTreeMap<LaunchId, Launched>,
    /// Those of them that are not known to run.
    unstarted: BTreeSet<LaunchId>,
    /// Launchers that have died since anything was started.
    launchers_lost: u32,
    sender: mpsc::WeakUnboundedSender<Inbound>,
    computations: BTreeMap<ComputationId, Opened>,
    latest_computation: u32,
    lanes: BTreeMap<LaneId, Lane>,
    workers: BTreeMap<WorkerId, Worker>,
    latest_worker: u32,
    /// Workers without a lane, the longest idle first.
    idle: VecDeque<WorkerId>,
    /// Workers with frames that have not been sent.
    unsent: Vec<WorkerId>,
    /// When something is to be ended by force, or given up.
    deadlines: Vec<(Time, Deadline)>,
    news: VecDeque<News>,
    closing: bool,
}

struct Opened {
    computation: Arc<Computation>,
    /// Why no worker of it can run: all its jobs fail with this.
    failed: Option<String>,
    /// How often workers have died while they were set up, since one was.
    setup_deaths: u32,
    /// Of those that lived at such a death, only that one is counted: all may have had one cause.
    counted_up_to: WorkerId,
}

enum Deadline {
    /// The job was asked to stop by then.
    Stop(LaneId, Run),
    /// The worker was to be set up by then.
    SetUp(WorkerId),
    /// The output of a program that has ended was to end by then.
    Output(LaneId, LaunchId),
    /// The workers were to be gone by then.
    Close,
}

impl Agent {
    /// Starts the agent; to be called in the runtime of the engine.
    pub(crate) fn start(
        options: AgentOptions,
        sender: mpsc::WeakUnboundedSender<Inbound>,
    ) -> io::Result<Self> {
        let launcher = options.processes.then(start_launcher).transpose()?;
        Ok(Self {
            options,
            launcher,
            launched: BTreeMap::new(),
            unstarted: BTreeSet::new(),
            launchers_lost: 0,
            sender,
            computations: BTreeMap::new(),
            latest_computation: PROGRAMS.0,
            lanes: BTreeMap::new(),
            workers: BTreeMap::new(),
            latest_worker: 0,
            idle: VecDeque::new(),
            unsent: Vec::new(),
            deadlines: Vec::new(),
            news: VecDeque::new(),
            closing: false,
        })
    }

    /// Gives a computation its number.
    pub(crate) fn open(&mut self, computation: Computation) -> ComputationId {
        self.latest_computation += 1;
        let id = ComputationId(self.latest_computation);
        let opened = Opened {
            computation: Arc::new(computation),
            failed: None,
            setup_deaths: 0,
            counted_up_to: WorkerId(0),
        };
        self.computations.insert(id, opened);
        id
    }

    /// Puts a job at the end of a lane.
    pub(crate) fn run(
        &mut self,
        now: Time,
        lane: LaneId,
        run: Run,
        class: &Class,
        alone: bool,
        work: &Work,
    ) {
        match work {
            Work::Call { place, args } => {
                self.run_call(now, lane, run, class, alone, *place, args);
            }
            Work::Program(work) => self.run_program(lane, run, class, work),
        }
    }

    /// The lane has no job and gets none; its worker is free for another.
    pub(crate) fn close_lane(&mut self, lane: LaneId) {
        if let Some(Lane { kind: LaneKind::Worker { at: Some((worker, slot)) }, .. }) =
            self.lanes.remove(&lane)
        {
            self.leave_slot(worker, slot);
        }
    }

    /// Gives the job back if it has not begun.
    pub(crate) fn recall(&mut self, lane: LaneId, run: Run) {
        let Some(found) = self.lanes.get_mut(&lane) else { return };
        match &mut found.kind {
            LaneKind::Worker { at: Some((worker, slot)) } => {
                let (worker, slot) = (*worker, *slot);
                self.recall_from(worker, slot, run);
            }
            LaneKind::Program(_) => self.take_waiting_program(lane, run),
            // It was given back when the worker died.
            LaneKind::Worker { at: None } => {}
        }
    }

    /// Ends the job: politely now, by force after the grace.
    pub(crate) fn stop(&mut self, now: Time, lane: LaneId, run: Run) {
        let Some(found) = self.lanes.get_mut(&lane) else { return };
        match &mut found.kind {
            LaneKind::Worker { at: Some((worker, slot)) } => {
                let (worker, slot) = (*worker, *slot);
                self.ask_to_stop(worker, slot, run);
                self.deadlines.push((now + self.options.grace, Deadline::Stop(lane, run)));
            }
            LaneKind::Program(_) => self.stop_program(lane, run, StopHow::Polite),
            LaneKind::Worker { at: None } => {}
        }
    }

    /// Ends the job by force, if it runs.
    pub(crate) fn kill(&mut self, job: JobId) {
        let runs = |lane: &Lane| lane.queue.front().filter(|run| run.0 == job).copied();
        let found = self.lanes.iter().find_map(|(id, lane)| Some((*id, runs(lane)?)));
        if let Some((lane, run)) = found {
            self.force(lane, run);
        }
    }

    /// Ends everything that runs by force.
    pub(crate) fn kill_all(&mut self) {
        let launched: Vec<_> = self.launched.keys().copied().collect();
        if let Some(launcher) = &mut self.launcher {
            for id in launched {
                launcher.stop(id, StopHow::Kill);
            }
        }
    }

    fn force(&mut self, lane: LaneId, run: Run) {
        let Some(found) = self.lanes.get(&lane) else { return };
        if found.queue.front() != Some(&run) {
            return;
        }
        match &found.kind {
            LaneKind::Worker { at: Some((worker, _)) } => self.kill_worker(*worker, Some(run)),
            LaneKind::Program(_) => self.stop_program(lane, run, StopHow::Kill),
            LaneKind::Worker { at: None } => {}
        }
    }

    /// Passes a message on to a job that runs; gives it back if it does not.
    pub(crate) fn send(&mut self, job: JobId, body: Bytes) -> Result<(), Bytes> {
        let found = self.lanes.values().find_map(|lane| {
            let (run, worker, slot) = self.call_in(lane)?;
            (run.0 == job).then_some((run, worker, slot))
        });
        let Some((run, worker, slot)) = found else { return Err(body) };
        self.pass_message(worker, slot, run, body);
        Ok(())
    }

    /// The job whose function runs in this lane, as far as is known here.
    pub(crate) fn running_in(&self, lane: LaneId) -> Option<JobId> {
        self.call_in(self.lanes.get(&lane)?).map(|(run, ..)| run.0)
    }

    /// The call that runs in a lane, and where. Those behind it may be given back, and so may the
    /// first one while its worker is set up.
    fn call_in(&self, lane: &Lane) -> Option<(Run, WorkerId, u16)> {
        let LaneKind::Worker { at: Some((worker, slot)) } = lane.kind else { return None };
        let run = *lane.queue.front()?;
        self.workers.get(&worker).filter(|worker| worker.is_ready())?;
        Some((run, worker, slot))
    }

    /// What a task of the agent has to report.
    pub(crate) fn handle(&mut self, event: AgentEvent) {
        match event {
            AgentEvent::Frames(worker, frames) => {
                for frame in frames {
                    self.handle_frame(worker, frame);
                }
            }
            AgentEvent::WorkerClosed(worker, why) => self.handle_worker_closed(worker, why),
            AgentEvent::Captured(id, captured) => self.handle_captured(id, *captured),
        }
    }

    /// The next thing the launcher has to say; waits for ever without a launcher. Cancel-safe.
    pub(crate) async fn launcher_event(&mut self) -> LauncherEvent {
        match &mut self.launcher {
            Some(launcher) => launcher.next_event().await,
            None => std::future::pending().await,
        }
    }

    pub(crate) fn handle_launcher(&mut self, now: Time, event: LauncherEvent) {
        match event {
            LauncherEvent::Started { id, .. } => {
                self.unstarted.remove(&id);
                self.launchers_lost = 0;
            }
            LauncherEvent::NotStarted { id, stage, error } => {
                let is_missing = error.kind() == io::ErrorKind::NotFound;
                let why = if is_missing && stage == Stage::Program && self.lacks_interpreter(id) {
                    "the interpreter that its first line names is missing".to_owned()
                } else {
                    programs::why_not_started(stage, &error)
                };
                let transient = !matches!(
                    error.kind(),
                    io::ErrorKind::NotFound
                        | io::ErrorKind::PermissionDenied
                        | io::ErrorKind::NotADirectory
                        | io::ErrorKind::InvalidInput
                        | io::ErrorKind::ArgumentListTooLong
                );
                self.handle_not_started(id, why, transient);
            }
            LauncherEvent::Ended { id, status, usage } => {
                self.handle_launched_end(now, id, Finished::Ended { status, usage: usage.into() });
            }
            LauncherEvent::Lost { id } => self.handle_launched_end(now, id, Finished::Lost),
            LauncherEvent::LauncherEnded => {
                self.launcher = None;
                self.launchers_lost += 1;
                // What no launcher lives to start is given up in the end.
                let excused = self.launchers_lost < DEATHS_MAX;
                let all: Vec<_> = self.launched.keys().copied().collect();
                for id in all {
                    let never_ran = excused && self.unstarted.contains(&id);
                    let how = if never_ran { Finished::NeverStarted } else { Finished::Lost };
                    self.handle_launched_end(now, id, how);
                }
            }
        }
    }

    fn handle_not_started(&mut self, id: LaunchId, why: String, transient: bool) {
        self.unstarted.remove(&id);
        match self.launched.remove(&id) {
            Some(Launched::Worker(worker)) => self.worker_not_started(worker, &why),
            Some(Launched::Program(lane)) => self.program_not_started(lane, why, transient),
            None => {}
        }
    }

    fn handle_launched_end(&mut self, now: Time, id: LaunchId, how: Finished) {
        self.unstarted.remove(&id);
        match self.launched.get(&id) {
            Some(Launched::Worker(worker)) => {
                let worker = *worker;
                self.launched.remove(&id);
                self.handle_worker_exit(worker, how);
            }
            Some(Launched::Program(lane)) => {
                let lane = *lane;
                self.program_finished(now, id, lane, how);
            }
            None => {}
        }
    }

    /// The launcher, started again if it has died.
    fn launcher(&mut self) -> io::Result<&mut Launcher> {
        match &mut self.launcher {
            Some(launcher) => Ok(launcher),
            none => Ok(none.insert(start_launcher()?)),
        }
    }

    pub(crate) fn poll_news(&mut self) -> Option<News> {
        self.news.pop_front()
    }

    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        self.deadlines.iter().map(|(at, _)| *at).min()
    }

    pub(crate) fn handle_timeout(&mut self, now: Time) {
        let all = std::mem::take(&mut self.deadlines).into_iter();
        let (due, later): (Vec<_>, Vec<_>) = all.partition(|(at, _)| *at <= now);
        self.deadlines = later;
        for (_, deadline) in due {
            match deadline {
                Deadline::Stop(lane, run) => self.force(lane, run),
                Deadline::SetUp(worker) => self.set_up_too_slow(worker),
                Deadline::Output(lane, launch) => self.give_up_output(lane, launch),
                Deadline::Close => {
                    self.kill_all();
                    self.launched.clear();
                    self.unstarted.clear();
                    self.workers.clear();
                }
            }
        }
    }

    /// Ends the workers in good order; see [`has_ended`](Self::has_ended).
    pub(crate) fn close(&mut self, now: Time) {
        const CLOSE_MAX: Duration = Duration::from_secs(60);
        self.closing = true;
        let workers: Vec<_> = self.workers.keys().copied().collect();
        for worker in workers {
            self.close_worker(worker);
        }
        self.deadlines.push((now + CLOSE_MAX, Deadline::Close));
    }

    /// Whether all workers are gone after [`close`](Self::close).
    pub(crate) fn has_ended(&self) -> bool {
        self.closing && self.workers.is_empty() && self.launched.is_empty()
    }

    /// How many workers there are.
    pub(crate) fn workers(&self) -> usize {
        self.workers.len()
    }

    fn ended(&mut self, lane: LaneId, run: Run, ran: Duration, end: End<Report>) {
        self.news.push_back(News::Ended { lane, run, ran, end });
    }

    fn fail(&mut self, lane: LaneId, run: Run, end: fn(Report) -> End<Report>, kind: JobErrorKind) {
        self.ended(lane, run, Duration::ZERO, end(Report::Error(Box::new(kind))));
    }
}

/// Starts the launcher from this program, or, in a test, which cannot be its own launcher, from
/// the program `pleiad`.
fn start_launcher() -> io::Result<Launcher> {
    if init::was_called() {
        return Launcher::start();
    }
    Launcher::start_from("pleiad".as_ref()).map_err(|e| {
        let why = "this program cannot be its own launcher: call `pleiad::init()` first thing in \
                   `main`, or, in a test, have the program `pleiad` in `PATH`";
        if e.kind() == io::ErrorKind::NotFound { io::Error::new(e.kind(), why) } else { e }
    })
}

/// The computation of all programs.
pub(crate) const PROGRAMS: ComputationId = ComputationId(0);

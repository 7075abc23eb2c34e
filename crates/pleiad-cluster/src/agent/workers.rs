//! Workers: starting, the frames to and from them, and their ends.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use pleiad_sched::{Class, End};
use pleiad_types::limits::{DEATHS_MAX, STDERR_TAIL_BYTES};
use pleiad_types::{ComputationId, LaneId, LastBytes, Time};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::kept::{KeptOutput, OutputFile};
use super::programs::Finished;
use super::socket::{pass_on_stderr, read_frames, write_frames};
use super::{Agent, Deadline, Lane, LaneKind, Launched, News, Run};
use crate::engine::{Computation, PrintedValue, Report, WorkersMode};
use crate::error::JobErrorKind;
use crate::events::EventKind;
use crate::launcher::{Launch, LaunchId, ProcessLimits, StopHow};
use crate::program::Captured;
use crate::worker::wire::{self, FromWorker, ToWorker};
use crate::worker::{self, Fault, Kind};

/// Arguments from this size on are not copied on their way.
const LARGE_ARGS_BYTES: usize = 16 << 10;

/// What a worker takes beside the memory that its job asks for: code, stacks, buffers.
const WORKER_MEMORY_BYTES: u64 = 64 << 20;

/// Lanes that share a process, at most.
const SLOTS_MAX: usize = 4096;

/// The number of a worker, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WorkerId(pub(super) u32);

/// Jobs of equal keys may follow one another in a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PoolKey {
    computation: ComputationId,
    memory: u64,
    /// For one job that may have killed a worker: never shared, never used again.
    alone: bool,
}

pub(super) struct Worker {
    key: PoolKey,
    computation: Arc<Computation>,
    slots: Vec<Option<LaneId>>,
    frames: BytesMut,
    sender: mpsc::UnboundedSender<Bytes>,
    launch: Option<LaunchId>,
    /// It has been set up, or needs no setup.
    ready: bool,
    /// Its process never was.
    never_started: bool,
    /// It has been told to end.
    closing: bool,
    /// It is to die, because of this job.
    killed_for: Option<Option<Run>>,
    stderr: Option<Arc<Mutex<LastBytes>>>,
    kept: Option<KeptOutput>,
    /// Its socket has ended.
    closed: bool,
    /// How its process ended; of a worker without a process, how it ended.
    exited: Option<String>,
}

impl Agent {
    #[expect(clippy::too_many_arguments, reason = "one job, spelt out")]
    pub(super) fn run_call(
        &mut self,
        now: Time,
        lane: LaneId,
        run: Run,
        class: &Class,
        alone: bool,
        place: i64,
        args: &Bytes,
    ) {
        let key = PoolKey { computation: class.computation, memory: class.resources.memory, alone };
        if let Some(why) = self.why_impossible(key.computation) {
            return self.fail(lane, run, End::Impossible, why);
        }
        let new = || Lane { kind: LaneKind::Worker { at: None }, queue: Default::default() };
        let kind = &self.lanes.entry(lane).or_insert_with(new).kind;
        let at = match kind {
            LaneKind::Worker { at: Some(at) } => *at,
            _ => match self.take_slot(now, key, lane) {
                Ok(at) => at,
                Err(e) => {
                    let why = format!("a worker cannot be started: {e}");
                    return self.fail(lane, run, End::Failed, JobErrorKind::NotStarted(why));
                }
            },
        };
        if let Some(lane) = self.lanes.get_mut(&lane) {
            lane.kind = LaneKind::Worker { at: Some(at) };
            lane.queue.push_back(run);
        }
        let (id, slot) = at;
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if worker.frames.is_empty() {
            self.unsent.push(id);
        }
        let frame_run = wire::Run::new(slot, run);
        if args.len() < LARGE_ARGS_BYTES {
            wire::encode_run(&mut worker.frames, frame_run, place, args);
        } else {
            wire::run_header(&mut worker.frames, frame_run, place, args.len());
            let _ = worker.sender.send(worker.frames.split().freeze());
            let _ = worker.sender.send(args.clone());
        }
    }

    fn why_impossible(&self, computation: ComputationId) -> Option<JobErrorKind> {
        match self.computations.get(&computation) {
            None => Some(JobErrorKind::NotStarted("its computation is not known here".to_owned())),
            Some(opened) => opened.failed.clone().map(JobErrorKind::SetupFailed),
        }
    }

    /// A free slot in a worker of this kind, which is started if there is none.
    fn take_slot(&mut self, now: Time, key: PoolKey, lane: LaneId) -> io::Result<(WorkerId, u16)> {
        let opened = self.computations.get(&key.computation);
        let computation = opened.map(|opened| opened.computation.clone());
        let computation = computation.ok_or(io::ErrorKind::NotFound)?;
        let shared = computation.mode == WorkersMode::SharedProcess && !key.alone;
        let usable = |worker: &Worker| {
            let free = worker.slots.iter().any(Option::is_none);
            worker.key == key
                && !key.alone
                && !worker.closing
                && worker.killed_for.is_none()
                && !worker.closed
                && (free || (shared && worker.slots.len() < SLOTS_MAX))
        };
        let mut found = self.idle.iter().rev().copied().find(|id| usable(&self.workers[id]));
        if found.is_none() && shared {
            found = self.workers.iter().find(|(_, w)| usable(w)).map(|(id, _)| *id);
        }
        let id = match found {
            Some(id) => id,
            None => self.start_worker(now, key, computation)?,
        };
        self.idle.retain(|idle| *idle != id);
        let Some(worker) = self.workers.get_mut(&id) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let slot = worker.slots.iter().position(Option::is_none).unwrap_or_else(|| {
            worker.slots.push(None);
            worker.slots.len() - 1
        });
        worker.slots[slot] = Some(lane);
        Ok((id, u16::try_from(slot).expect("slots are limited")))
    }

    fn start_worker(
        &mut self,
        now: Time,
        key: PoolKey,
        computation: Arc<Computation>,
    ) -> io::Result<WorkerId> {
        let (ours, theirs) = StdUnixStream::pair()?;
        let mut parts = Parts::default();
        if computation.mode == WorkersMode::InProcess {
            let machine = self.options.machine.clone();
            thread::Builder::new()
                .name("pleiad worker".to_owned())
                .spawn(move || worker::serve(theirs, Kind::Threads, &machine))?;
        } else {
            parts = self.launch_worker(key, &computation, theirs)?;
        }
        self.latest_worker += 1;
        let id = WorkerId(self.latest_worker);
        ours.set_nonblocking(true)?;
        let (reader, writer) = UnixStream::from_std(ours)?.into_split();
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(write_frames(writer, receiver));
        tokio::spawn(read_frames(id, reader, parts.stderr_task.take(), self.sender.clone()));
        let mut worker = Worker {
            key,
            slots: Vec::new(),
            frames: BytesMut::new(),
            sender,
            launch: parts.launch,
            ready: computation.setup.is_none(),
            never_started: false,
            closing: false,
            killed_for: None,
            stderr: parts.stderr,
            kept: parts.kept,
            closed: false,
            exited: parts.launch.is_none().then(|| "its thread has ended".to_owned()),
            computation,
        };
        if let Some(setup) = &worker.computation.setup {
            let args = setup.args.clone();
            ToWorker::Setup { setup: setup.place, args, cleanup: setup.cleanup }
                .encode(&mut worker.frames);
            self.unsent.push(id);
            let limit = worker.computation.setup_limit;
            self.deadlines.push((now + limit, Deadline::SetUp(id)));
        }
        if let Some(launch) = worker.launch {
            self.launched.insert(launch, Launched::Worker(id));
            self.unstarted.insert(launch);
        }
        self.workers.insert(id, worker);
        self.news.push_back(News::Event(EventKind::WorkerStarted { worker: id.0 }));
        Ok(id)
    }

    /// Starts this very program as a worker.
    fn launch_worker(
        &mut self,
        key: PoolKey,
        computation: &Computation,
        socket: StdUnixStream,
    ) -> io::Result<Parts> {
        let mut parts = Parts::default();
        let (stdout, stderr): (OwnedFd, OwnedFd) = if computation.keeps_output {
            let (stdout, stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
            let theirs = (stdout.try_clone()?.into(), stderr.try_clone()?.into());
            parts.kept = Some(KeptOutput {
                stdout: OutputFile::new(stdout),
                stderr: OutputFile::new(stderr),
                printed: None,
            });
            theirs
        } else {
            let (reader, writer) = io::pipe()?;
            let tail = Arc::new(Mutex::new(LastBytes::new(STDERR_TAIL_BYTES)));
            parts.stderr = Some(tail.clone());
            parts.stderr_task = Some(tokio::spawn(pass_on_stderr(reader.into(), tail)));
            (io::stdout().as_fd().try_clone_to_owned()?, writer.into())
        };
        let keeps = if computation.keeps_output { "keep" } else { "pass" };
        let memory = (key.memory > 0).then(|| key.memory.saturating_add(WORKER_MEMORY_BYTES));
        let launch = Launch {
            program: crate::launcher::OWN_PROGRAM.into(),
            args: vec![
                crate::init::WORKER_ROLE.into(),
                self.options.machine.to_string().into(),
                keeps.into(),
            ],
            arg0: std::env::args_os().next(),
            env: Vec::new(),
            env_clear: false,
            workdir: None,
            limits: ProcessLimits { memory, ..ProcessLimits::default() },
            stdin: File::open("/dev/null")?.into(),
            stdout,
            stderr,
            extra: Some(socket.into()),
            grace: self.options.grace,
        };
        parts.launch = Some(self.launcher()?.launch(launch));
        Ok(parts)
    }

    pub(super) fn recall_from(&mut self, id: WorkerId, slot: u16, run: Run) {
        self.add_frame(id, &ToWorker::Recall(wire::Run::new(slot, run)));
    }

    pub(super) fn ask_to_stop(&mut self, id: WorkerId, slot: u16, run: Run) {
        self.add_frame(id, &ToWorker::Stop(wire::Run::new(slot, run)));
    }

    pub(super) fn pass_message(&mut self, id: WorkerId, slot: u16, run: Run, body: Bytes) {
        self.add_frame(id, &ToWorker::Message { run: wire::Run::new(slot, run), body });
    }

    pub(super) fn close_worker(&mut self, id: WorkerId) {
        self.idle.retain(|idle| *idle != id);
        self.add_frame(id, &ToWorker::Close);
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.closing = true;
        }
    }

    fn add_frame(&mut self, id: WorkerId, frame: &ToWorker) {
        if let Some(worker) = self.workers.get_mut(&id) {
            if worker.frames.is_empty() {
                self.unsent.push(id);
            }
            frame.encode(&mut worker.frames);
        }
    }

    /// Sends the frames that have gathered.
    pub(crate) fn flush(&mut self) {
        for id in self.unsent.drain(..) {
            if let Some(worker) = self.workers.get_mut(&id)
                && !worker.frames.is_empty()
            {
                let _ = worker.sender.send(worker.frames.split().freeze());
            }
        }
    }

    /// Ends a worker by force, because of this job or all of them.
    pub(super) fn kill_worker(&mut self, id: WorkerId, because_of: Option<Run>) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if worker.killed_for.is_some() {
            return;
        }
        worker.killed_for = Some(because_of);
        match worker.launch {
            Some(launch) => {
                if let Some(launcher) = &mut self.launcher {
                    launcher.stop(launch, StopHow::Kill);
                }
            }
            // A thread cannot be ended. It is left to itself; its jobs are given up.
            None => {
                worker.closed = true;
                self.settle_worker(id);
            }
        }
    }

    pub(super) fn leave_slot(&mut self, id: WorkerId, slot: u16) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.slots[usize::from(slot)] = None;
        if worker.closing || worker.slots.iter().any(Option::is_some) {
            return;
        }
        if worker.key.alone {
            return self.close_worker(id);
        }
        self.idle.push_back(id);
        if self.idle.len() > self.options.idle_workers_max
            && let Some(oldest) = self.idle.pop_front()
        {
            self.close_worker(oldest);
        }
    }

    pub(super) fn handle_frame(&mut self, id: WorkerId, frame: FromWorker) {
        match frame {
            FromWorker::Done { run, nanos, result } => {
                let Some(lane) = self.take_out(id, run) else { return };
                let ran = Duration::from_nanos(nanos);
                let printed =
                    self.workers.get_mut(&id).and_then(|w| w.kept.as_mut()?.printed.take());
                let report = match printed {
                    None => Report::Value { bytes: result, ran },
                    Some((stdout, stderr)) => Report::Printed(Box::new(PrintedValue {
                        bytes: result,
                        ran,
                        stdout,
                        stderr,
                    })),
                };
                self.ended(lane, (run.job, run.attempt), ran, End::Succeeded(report));
            }
            FromWorker::Failed { run, nanos, fault } => {
                let Some(lane) = self.take_out(id, run) else { return };
                if let Some(kept) = self.workers.get_mut(&id).and_then(|w| w.kept.as_mut()) {
                    kept.printed = None;
                }
                let end = match fault {
                    Fault::NoSuchFunction(_) => End::Impossible,
                    _ => End::Failed,
                };
                let report = Report::Error(Box::new(fault.into()));
                let ran = Duration::from_nanos(nanos);
                self.ended(lane, (run.job, run.attempt), ran, end(report));
            }
            FromWorker::NotStarted(run) => {
                if let Some(lane) = self.take_out(id, run) {
                    self.ended(lane, (run.job, run.attempt), Duration::ZERO, End::NotStarted);
                }
            }
            FromWorker::Message { run, body } => {
                if self.runs(id, run) {
                    self.news.push_back(News::Message { job: run.job, body });
                }
            }
            FromWorker::Progress { run, done, total } => {
                if self.runs(id, run) {
                    self.news.push_back(News::Progress { job: run.job, done, total });
                }
            }
            FromWorker::Printed { stdout, stderr, .. } => {
                if let Some(kept) = self.workers.get_mut(&id).and_then(|w| w.kept.as_mut()) {
                    kept.read_up_to(stdout, stderr);
                }
            }
            FromWorker::Ready => {
                if let Some(worker) = self.workers.get_mut(&id) {
                    worker.ready = true;
                    let lanes = worker.slots.iter().flatten();
                    self.news.extend(lanes.map(|lane| News::Began { lane: *lane }));
                    if let Some(opened) = self.computations.get_mut(&worker.key.computation) {
                        opened.setup_deaths = 0;
                    }
                }
            }
            FromWorker::SetupFailed(why) => self.setup_failed(id, why),
        }
    }

    /// The lane of a job in that slot, from which it is taken. `None`: it is not there.
    fn take_out(&mut self, id: WorkerId, run: wire::Run) -> Option<LaneId> {
        let lane = self.lane_at(id, run.slot)?;
        let queue = &mut self.lanes.get_mut(&lane)?.queue;
        let run = (run.job, run.attempt);
        if queue.front() == Some(&run) {
            queue.pop_front();
        } else {
            let position = queue.iter().rposition(|queued| *queued == run)?;
            queue.remove(position);
        }
        Some(lane)
    }

    fn runs(&self, id: WorkerId, run: wire::Run) -> bool {
        let lane = self.lane_at(id, run.slot).and_then(|lane| self.lanes.get(&lane));
        lane.is_some_and(|lane| lane.queue.contains(&(run.job, run.attempt)))
    }

    fn lane_at(&self, id: WorkerId, slot: u16) -> Option<LaneId> {
        *self.workers.get(&id)?.slots.get(usize::from(slot))?
    }

    fn setup_failed(&mut self, id: WorkerId, why: String) {
        let Some(worker) = self.workers.get(&id) else { return };
        let lanes: Vec<LaneId> = worker.slots.iter().flatten().copied().collect();
        if let Some(opened) = self.computations.get_mut(&worker.key.computation) {
            opened.failed = Some(why.clone());
        }
        for lane in lanes {
            let queue = self.lanes.get_mut(&lane).map(|lane| std::mem::take(&mut lane.queue));
            for run in queue.unwrap_or_default() {
                self.fail(lane, run, End::Impossible, JobErrorKind::SetupFailed(why.clone()));
            }
        }
        self.kill_worker(id, None);
    }

    pub(super) fn set_up_too_slow(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers.get(&id)
            && !worker.ready
        {
            let limit = worker.computation.setup_limit;
            self.setup_failed(id, format!("it did not end within its limit of {limit:?}"));
        }
    }

    pub(super) fn worker_not_started(&mut self, id: WorkerId, why: &str) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.launch = None;
            worker.exited = Some(format!("it could not be started: {why}"));
            worker.closed = true;
            self.settle_worker(id);
        }
    }

    pub(super) fn handle_worker_closed(&mut self, id: WorkerId, why: Option<String>) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.closed = true;
        if let Some(why) = why {
            tracing::warn!(worker = id.0, why, "a worker talks nonsense and is ended");
        }
        // A worker that has closed its socket cannot be used any more.
        if worker.exited.is_none()
            && !worker.closing
            && let (Some(launch), Some(launcher)) = (worker.launch, &mut self.launcher)
        {
            launcher.stop(launch, StopHow::Kill);
        }
        self.settle_worker(id);
    }

    pub(super) fn handle_worker_exit(&mut self, id: WorkerId, how: Finished) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.exited = Some(match how {
            Finished::Ended { status, .. } => status.to_string(),
            Finished::Lost => Finished::LOST.to_owned(),
            Finished::NeverStarted => {
                worker.never_started = true;
                "the launcher was killed before it could start it".to_owned()
            }
        });
        self.settle_worker(id);
    }

    /// Tells the ends of a worker's jobs once all that it has ever said is known.
    fn settle_worker(&mut self, id: WorkerId) {
        if !self.workers.get(&id).is_some_and(|w| w.closed && w.exited.is_some()) {
            return;
        }
        let Some(worker) = self.workers.remove(&id) else { return };
        self.idle.retain(|idle| *idle != id);
        let how = worker.exited.clone().unwrap_or_default();
        let stderr = worker.stderr_text();
        if !worker.ready
            && !worker.never_started
            && worker.killed_for.is_none()
            && !worker.closing
            && let Some(opened) = self.computations.get_mut(&worker.key.computation)
            && id > opened.counted_up_to
        {
            opened.counted_up_to = WorkerId(self.latest_worker);
            opened.setup_deaths += 1;
            if opened.setup_deaths >= DEATHS_MAX {
                let why = format!("the worker ended before it was set up: {how}");
                opened.failed =
                    Some(if stderr.is_empty() { why } else { format!("{why}\n{stderr}") });
            }
        }
        for lane in worker.slots.iter().flatten() {
            let Some(found) = self.lanes.get_mut(lane) else { continue };
            found.kind = LaneKind::Worker { at: None };
            for (i, run) in std::mem::take(&mut found.queue).into_iter().enumerate() {
                let end = match (i, worker.killed_for) {
                    (1.., _) => End::NotStarted,
                    (_, Some(Some(guilty))) if guilty == run => End::Stopped(Report::Stopped(None)),
                    (_, Some(_)) => End::Interrupted,
                    (_, None) => match self.why_impossible(worker.key.computation) {
                        Some(why) => End::Impossible(Report::Error(Box::new(why))),
                        None if !worker.ready || worker.never_started => End::NotStarted,
                        None => End::Died(Report::Error(Box::new(JobErrorKind::WorkerDied {
                            how: how.clone(),
                            stderr: stderr.clone(),
                        }))),
                    },
                };
                self.ended(*lane, run, Duration::ZERO, end);
            }
        }
        self.news.push_back(News::Event(EventKind::WorkerEnded { worker: id.0, how }));
    }
}

/// What comes with a worker in a process of its own.
#[derive(Default)]
struct Parts {
    launch: Option<LaunchId>,
    stderr: Option<Arc<Mutex<LastBytes>>>,
    stderr_task: Option<JoinHandle<()>>,
    kept: Option<KeptOutput>,
}

impl Worker {
    pub(super) fn is_ready(&self) -> bool {
        self.ready
    }

    fn stderr_text(&self) -> String {
        if let Some(tail) = &self.stderr {
            let tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
            return String::from_utf8_lossy(tail.last()).into_owned();
        }
        let Some(kept) = &self.kept else { return String::new() };
        let length = kept.stderr.length();
        let from = length.saturating_sub(STDERR_TAIL_BYTES as u64).max(kept.stderr.read);
        let tail = Captured::part(kept.stderr.file.clone(), from, length.saturating_sub(from));
        tail.text().unwrap_or_default()
    }
}

impl From<Fault> for JobErrorKind {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Panicked { message, location, backtrace } => {
                Self::Panicked { message, location, backtrace }
            }
            Fault::Returned(message) => Self::Returned(message),
            Fault::Unreadable(message) => Self::Unreadable(message),
            Fault::NoSuchFunction(message) => Self::NotStarted(message),
        }
    }
}

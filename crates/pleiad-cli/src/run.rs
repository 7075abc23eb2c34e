//! `pleiad run`: reads values, keeps jobs running, and puts what they leave where it belongs.

use std::future::Future;
use std::io::{self, Write};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};
use pleiad::{Cluster, JobError, ProgramOutput};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant as Timer, MissedTickBehavior, interval_at, sleep_until};

use crate::args::Run;
use crate::interrupt::Interrupts;
use crate::joblog::{Ended, Joblog, JoblogError, Resume};
use crate::kept::Keeper;
use crate::order::Reorder;
use crate::plan::Plan;
use crate::problem::Problem;
use crate::progress::Counts;
use crate::report::Tally;
use crate::results::Results;
use crate::screen::{Fault, Faults, Message, Screen, SharedLog, Show, Shown};
use crate::source::{SourceError, Values};

mod dry;
mod end;
mod finish;
mod setup;
mod start;

/// Jobs handed in beyond those that run: as many as have ended in this time, within these bounds.
/// Tiny jobs never wait for the next one, and few long ones are handed in before their time.
const READY_FOR: Duration = Duration::from_millis(100);
const READY_MAX: u64 = 512;

/// Results that may wait for one job ahead of them. Beyond, nothing new starts until it ends.
const AHEAD_MAX: u64 = 1_000_000;

/// Values looked at in one turn, when they need no job.
const VALUES_A_TURN: usize = 256;

/// After a second Ctrl-C, the time until nothing more is waited for.
const KILL_PATIENCE: Duration = Duration::from_secs(2);

/// Runs the program once for each value.
pub(crate) fn run(args: &Run) -> Result<u8, Problem> {
    let plan = Arc::new(Plan::new(args).map_err(Problem::usage)?);
    if args.dry_run {
        return dry::run(args, &plan);
    }
    let log = args.joblog.as_deref().map(|path| Joblog::open(path, resume(args))).transpose();
    let log = log.map_err(Problem::usage)?;
    let results = args.results.as_deref().map(Results::open).transpose();
    let results = results.map_err(Problem::usage)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Problem::failure)?;
    runtime.block_on(async {
        let runner = Runner::start(args, plan, log, results).await?;
        runner.run().await
    })
}

fn resume(args: &Run) -> Resume {
    match (args.resume, args.resume_failed) {
        (true, _) => Resume::Ended,
        (_, true) => Resume::Succeeded,
        _ => Resume::No,
    }
}

/// The run, from the first value to the last result.
struct Runner<'a> {
    args: &'a Run,
    plan: Arc<Plan>,
    cluster: Cluster,
    /// Jobs that run at once, if nothing but processors and memory limits them.
    slots: u64,
    screen: Screen,
    faults: Faults,
    log: Option<SharedLog>,
    results: Option<Results>,
    interrupts: Interrupts,
    values: Option<mpsc::Receiver<Result<Values, SourceError>>>,
    total: Option<oneshot::Receiver<Option<u64>>>,
    running: FuturesUnordered<Pin<Box<dyn Future<Output = Finished> + Send>>>,
    order: Reorder<Option<Box<Waiting>>>,
    keeper: Keeper,
    /// Set before all jobs are cancelled, so that none is handed in afterwards.
    is_stopping: Arc<AtomicBool>,
    stop: Option<Stop>,
    error: Option<anyhow::Error>,
    /// When to wait for nothing more.
    give_up: Option<Timer>,
    counts: Counts,
    tally: Tally,
    pace: Pace,
    /// Jobs that were started.
    places: u64,
    /// Those of them that are over.
    ended: u64,
    /// Values that were read.
    numbers: u64,
    began: Instant,
}

/// Why no more jobs are started.
enum Stop {
    /// By `--fail-fast`.
    FirstFailure,
    /// By this signal.
    Interrupted(i32),
    /// Nobody reads the output any more.
    ClosedPipe,
    /// It makes no sense to go on, see [`Runner::error`].
    Broken,
}

/// A job whose turn to be shown has not come.
struct Waiting {
    shown: Shown,
    log: Option<Box<Ended>>,
}

/// How fast jobs end.
struct Pace {
    /// Jobs to have ready for when others end.
    ready: u64,
    ended: u64,
    since: Instant,
}

struct Job {
    /// From 0 in the order of starting.
    place: u64,
    number: u64,
    values: Values,
}

struct Finished {
    job: Job,
    /// `None` if it was not handed in, because the run was stopping.
    result: Option<Result<ProgramOutput, JobError>>,
}

impl<'a> Runner<'a> {
    async fn start(
        args: &'a Run,
        plan: Arc<Plan>,
        log: Option<Joblog>,
        results: Option<Results>,
    ) -> Result<Self, Problem> {
        let began = Instant::now();
        let cluster = setup::start_cluster(args).await?;
        let slots = setup::slots(args, &cluster)?;
        setup::open_files(args, slots)?;
        let interrupts = Interrupts::listen().map_err(Problem::failure)?;
        let show = if args.quiet || args.no_progress { Show::OutputOnly } else { Show::Progress };
        if let Some(damaged) = log.as_ref().map(Joblog::damaged).filter(|&damaged| damaged > 0) {
            let text = format!("pleiad: {damaged} damaged lines of the job log are ignored\n");
            let _ = io::stderr().write_all(text.as_bytes());
        }
        let log = log.map(|log| Arc::new(Mutex::new(log)));
        let (screen, faults) = Screen::start(show, log.clone()).map_err(Problem::failure)?;
        let values = setup::read_values(&plan.source).map_err(Problem::usage)?;
        let total = plan.source.total();
        let counting =
            (total.is_none() && screen.has_bar()).then(|| setup::count(Arc::clone(&plan)));
        Ok(Self {
            args,
            plan,
            cluster,
            slots,
            screen,
            faults,
            log,
            results,
            interrupts,
            values: Some(values),
            total: counting,
            running: FuturesUnordered::new(),
            order: Reorder::new(),
            keeper: Keeper::new(),
            is_stopping: Arc::new(AtomicBool::new(false)),
            stop: None,
            error: None,
            give_up: None,
            counts: Counts { total, ..Counts::default() },
            tally: Tally::default(),
            pace: Pace { ready: slots, ended: 0, since: began },
            places: 0,
            ended: 0,
            numbers: 0,
            began,
        })
    }

    async fn run(mut self) -> Result<u8, Problem> {
        let period = self.screen.tick();
        let mut ticks = interval_at(Timer::now() + period, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            self.show_in_order();
            let may_start = self.may_start();
            if self.is_over() {
                break;
            }
            tokio::select! {
                biased;
                signal = self.interrupts.next() => self.interrupt(signal),
                fault = self.faults.next() => self.fail(fault),
                () = until(self.give_up) => break,
                Some(finished) = self.running.next(), if !self.running.is_empty() => {
                    self.finish(finished);
                }
                () = self.screen.until_room(), if self.order.is_ready() => {}
                total = known(&mut self.total) => self.count_total(total),
                _ = ticks.tick() => self.show_progress(),
                value = next_value(&mut self.values), if may_start => self.take_values(value),
            }
        }
        self.end().await
    }

    /// Starts nothing while an early job holds up too many results.
    fn may_start(&self) -> bool {
        self.values.is_some()
            && self.stop.is_none()
            && (self.running.len() as u64) < self.slots + self.pace.ready
            && self.places - self.order.next_place() < AHEAD_MAX
    }

    fn is_over(&self) -> bool {
        let is_read = self.values.is_none() || self.stop.is_some();
        is_read && self.running.is_empty() && !self.order.is_ready()
    }

    /// Whether what jobs leave is shown in the order of their values, or as they end.
    fn keeps_order(&self) -> bool {
        self.args.json || !(self.args.line_buffer || self.results.is_some())
    }

    fn count_total(&mut self, total: Option<u64>) {
        let total = total.map(|total| total.saturating_sub(self.tally.left_out));
        self.counts.total = self.counts.total.or(total);
    }

    fn take_values(&mut self, first: Option<Result<Values, SourceError>>) {
        let mut next = first;
        for turn in 1..=VALUES_A_TURN {
            match next {
                None => {
                    self.values = None;
                    self.counts.total = Some(self.numbers - self.tally.left_out);
                    return;
                }
                Some(Ok(values)) => {
                    self.numbers += 1;
                    self.take_value(self.numbers, values);
                }
                Some(Err(error @ SourceError::Directory { .. })) => {
                    self.screen.note(format!("{:#}", anyhow::Error::from(error)));
                }
                Some(Err(error)) => {
                    // What came before it is run.
                    self.error.get_or_insert(error.into());
                    self.values = None;
                    return;
                }
            }
            // A value that was received must be taken: at the end of the turn it waits where it is.
            if turn == VALUES_A_TURN || !self.may_start() {
                return;
            }
            let Some(values) = &mut self.values else { return };
            next = match values.try_recv() {
                Ok(value) => Some(value),
                Err(mpsc::error::TryRecvError::Disconnected) => None,
                Err(mpsc::error::TryRecvError::Empty) => return,
            };
        }
    }

    fn take_value(&mut self, number: u64, values: Values) {
        match self.is_left_out(number, &values) {
            Ok(true) => {
                self.tally.left_out += 1;
                if let Some(total) = &mut self.counts.total {
                    *total = total.saturating_sub(1);
                }
            }
            Ok(false) => match self.start_job(number, values) {
                Ok(()) => {}
                Err(error) => self.break_off(error),
            },
            Err(error) => self.break_off(error.into()),
        }
    }

    fn is_left_out(&self, number: u64, values: &Values) -> Result<bool, JoblogError> {
        let Some(log) = &self.log else { return Ok(false) };
        let log = log.lock().unwrap_or_else(PoisonError::into_inner);
        if log.past() == 0 {
            return Ok(false);
        }
        log.leaves_out(number, &self.plan.show(number, values))
    }

    fn show_in_order(&mut self) {
        while self.order.is_ready() {
            let Some(room) = self.screen.room() else { return };
            match self.order.take() {
                Some(Some(waiting)) => room.send(released(&mut self.keeper, *waiting)),
                Some(None) => {}
                None => return,
            }
        }
    }

    fn show_progress(&mut self) {
        let outstanding = self.running.len() as u64;
        self.counts.running = outstanding.min(self.slots);
        self.counts.queued = outstanding - self.counts.running;
        if let Some(room) = self.screen.room() {
            room.send(Message::Progress(self.counts));
        }
    }

    fn interrupt(&mut self, signal: i32) {
        if self.give_up.is_some() {
            self.give_up = Some(Timer::now());
        } else if matches!(self.stop, Some(Stop::Interrupted(_))) {
            self.screen.note("ending the jobs at once".into());
            self.cluster.kill_all();
            self.give_up = Some(Timer::now() + KILL_PATIENCE);
        } else {
            let again = if signal == 2 { "Ctrl-C again" } else { "the signal again" };
            let how = match self.running.is_empty() {
                true => "stopping".to_owned(),
                false => format!("asking the running jobs to stop; {again} ends them at once"),
            };
            self.screen.note(how);
            self.stop = Some(Stop::Interrupted(signal));
            self.cancel_all();
        }
    }

    fn fail(&mut self, fault: Fault) {
        match fault {
            Fault::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.stop.get_or_insert(Stop::ClosedPipe);
                self.is_stopping.store(true, Ordering::Relaxed);
                self.cluster.kill_all();
            }
            fault @ Fault::Output(_) => {
                self.break_off(fault.into());
                self.cancel_all();
            }
            fault @ Fault::Log(_) => self.break_off(fault.into()),
        }
    }

    /// Starts nothing more. What runs may end.
    fn break_off(&mut self, error: anyhow::Error) {
        self.is_stopping.store(true, Ordering::Relaxed);
        self.stop.get_or_insert(Stop::Broken);
        self.error.get_or_insert(error);
    }

    fn cancel_all(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        self.cluster.cancel_all();
    }
}

impl Pace {
    fn job_ended(&mut self, slots: u64) {
        self.ended += 1;
        let elapsed = self.since.elapsed();
        if elapsed >= READY_FOR || self.ended >= READY_MAX {
            let ready = self.ended as f64 * READY_FOR.div_duration_f64(elapsed);
            // A number that is too large for the type becomes the largest, and then the bound.
            self.ready = (ready as u64).clamp(slots, READY_MAX.max(slots));
            self.ended = 0;
            self.since = Instant::now();
        }
    }
}

fn released(keeper: &mut Keeper, waiting: Waiting) -> Message {
    if let Shown::Output { stdout, stderr, .. }
    | Shown::Json { output: Some((stdout, stderr)), .. } = &waiting.shown
    {
        keeper.release(stdout);
        keeper.release(stderr);
    }
    Message::Job { shown: waiting.shown, log: waiting.log }
}

async fn next_value(
    values: &mut Option<mpsc::Receiver<Result<Values, SourceError>>>,
) -> Option<Result<Values, SourceError>> {
    match values {
        Some(values) => values.recv().await,
        None => std::future::pending().await,
    }
}

/// The number of all jobs, once it is counted.
async fn known(total: &mut Option<oneshot::Receiver<Option<u64>>>) -> Option<u64> {
    let counted = match total {
        Some(counting) => counting.await,
        None => std::future::pending().await,
    };
    *total = None;
    counted.ok().flatten()
}

async fn until(time: Option<Timer>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

//! What goes into the scheduler and what comes out of it.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use pleiad_types::{
    Attempt, Backoff, ComputationId, JobId, LaneId, MachineId, Resources, Shortage, Time,
};

/// What jobs of one kind have in common. Jobs of equal classes share lanes.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Class {
    /// Which workers may run them.
    pub computation: ComputationId,
    /// What one of them takes while it runs.
    pub resources: Resources,
    /// How long one attempt may run. Default: for ever.
    pub limit: Option<Duration>,
    /// How often a failed job is tried again. Lost and killed workers are counted apart.
    pub retries: u32,
    /// How long to wait before a retry.
    pub backoff: Backoff,
    /// Never run such a job twice: what was lost while it ran is lost, and what failed has failed,
    /// whatever [`retries`](Self::retries) says.
    pub once: bool,
    /// Higher goes first. Default 0.
    pub priority: i32,
    /// Where they may run.
    pub placement: Placement,
    /// Jobs that a lane holds at most, the running one included; 0 counts as 1. Take 1 for programs,
    /// which are slow to start.
    pub lane_jobs_max: usize,
    /// Lanes of this class at once, over all machines.
    pub lanes_max: Option<u32>,
}

impl Class {
    /// The class of jobs that take one processor and ask for nothing special.
    pub fn new(computation: ComputationId) -> Self {
        Self {
            computation,
            resources: Resources::one_cpu(),
            limit: None,
            retries: 0,
            backoff: Backoff::default(),
            once: false,
            priority: 0,
            placement: Placement::default(),
            lane_jobs_max: pleiad_types::limits::LANE_JOBS_MAX,
            lanes_max: None,
        }
    }
}

/// Where jobs may run. The default is everywhere.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Placement {
    /// Only these machines; empty means any.
    pub only_on: BTreeSet<MachineId>,
    /// Only machines that have all of these tags.
    pub tags: BTreeSet<String>,
}

/// A number for an equal [`Class`], given by [`Scheduler::class`](crate::Scheduler::class).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ClassId(pub u32);

/// A machine that lends its resources.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MachineSpec {
    /// For people.
    pub name: String,
    /// All that it lends.
    pub resources: Resources,
    /// For [`Placement::tags`].
    pub tags: BTreeSet<String>,
}

/// How an attempt ended, as told by the machine. `P` is what the shell wants to have passed on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End<P> {
    /// The job gave its result.
    Succeeded(P),
    /// The job ran to an end that is no success: a panic, an exit status.
    Failed(P),
    /// The worker ended while it ran this job.
    Died(P),
    /// It was ended because of [`Output::Stop`].
    Stopped(P),
    /// It never ran: recalled, or its lane ended before its turn came. Costs it nothing.
    NotStarted,
    /// It ran, but was ended for a reason that is not its own, such as the end of a neighbour in
    /// the same worker. It runs again at no cost, unless it is `once`.
    Interrupted,
    /// It cannot run at all, here or elsewhere, and must not be tried again: no such program,
    /// a setup that fails.
    Impossible(P),
}

/// How a job ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome<P> {
    /// With its result.
    Succeeded(P),
    /// Without; the failure says why.
    Failed(Failure<P>),
    /// It was cancelled before it gave a result.
    Cancelled,
}

/// Why a job failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure<P> {
    /// Its last attempt failed, after all its retries.
    Failed(P),
    /// Its last attempt ran longer than its limit.
    LimitReached(P),
    /// It was on a worker that died [`DEATHS_MAX`](pleiad_types::limits::DEATHS_MAX) times.
    Poison(P),
    /// It may run only once, and was lost while it ran.
    LostOnce,
    /// It can never run.
    Impossible(P),
    /// A job that it waits for did not succeed.
    Dependency(JobId),
}

/// Why an attempt is to be ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StopCause {
    /// Somebody cancelled the job: whatever it gives is dropped.
    Cancelled,
    /// Somebody wants what it has so far: a result that it still gives is taken.
    Early,
    /// It has run as long as it may.
    Limit,
}

/// What to do next; from [`Scheduler::poll_output`](crate::Scheduler::poll_output).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output<P> {
    /// Put this job at the end of this lane. A lane that is new begins with it.
    Run {
        /// Where.
        machine: MachineId,
        /// In which of its lanes; numbers are never used again.
        lane: LaneId,
        /// What.
        job: JobId,
        /// Which try.
        attempt: Attempt,
        /// Of which class.
        class: ClassId,
        /// How often this job was on a worker that died. Above 0 it must run alone in a worker
        /// of its own.
        deaths: u32,
    },
    /// This lane gets no more jobs and has none.
    CloseLane {
        /// Where.
        machine: MachineId,
        /// Which.
        lane: LaneId,
    },
    /// Give this job back, if it has not started: answer [`End::NotStarted`]. If it has, nothing.
    Recall {
        /// Where.
        machine: MachineId,
        /// In which lane.
        lane: LaneId,
        /// What.
        job: JobId,
        /// Which try.
        attempt: Attempt,
    },
    /// End this attempt, politely first, then by force. Answer with its [`End`], whatever it is.
    Stop {
        /// Where.
        machine: MachineId,
        /// In which lane.
        lane: LaneId,
        /// What.
        job: JobId,
        /// Which try.
        attempt: Attempt,
        /// Why.
        cause: StopCause,
    },
    /// The job is to be tried again.
    Retry {
        /// What.
        job: JobId,
        /// The attempt that did not succeed.
        attempt: Attempt,
        /// How that ended; [`Failure::Poison`] if its worker died.
        failure: Failure<P>,
        /// How long until it may start again.
        wait: Duration,
    },
    /// The job is final. Comes exactly once for each accepted job.
    Finish {
        /// What.
        job: JobId,
        /// The last attempt, unless it never ran.
        attempt: Option<Attempt>,
        /// How.
        outcome: Outcome<P>,
    },
}

/// Why a job was not accepted. Nothing was changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// The scheduler has no such class.
    #[error("no such class: {0:?}")]
    NoSuchClass(ClassId),
    /// It was to wait for a job that was never submitted or has been released.
    #[error("cannot wait for {0}: no such job")]
    NoSuchDependency(JobId),
}

/// What came of a request to cancel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CancelResult {
    /// It had not started, and is final now.
    Cancelled,
    /// It runs and has been told to stop; its end follows. A result that arrives is dropped.
    Stopping,
    /// It was final already; nothing has changed.
    AlreadyFinal,
    /// There is no such job, or nobody may ask for it any more.
    NoSuchJob,
}

/// Where a job stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JobState {
    /// It waits for so many other jobs.
    Blocked {
        /// How many.
        on: u32,
    },
    /// It waits for its next attempt until then.
    BackingOff {
        /// When.
        until: Time,
    },
    /// It could start.
    Waiting,
    /// It is in a lane, behind another.
    Queued {
        /// Where.
        machine: MachineId,
        /// In which lane.
        lane: LaneId,
    },
    /// It runs.
    Running {
        /// Where.
        machine: MachineId,
        /// In which lane.
        lane: LaneId,
        /// Since when.
        since: Time,
    },
    /// It has been told to stop.
    Stopping {
        /// Where.
        machine: MachineId,
        /// In which lane.
        lane: LaneId,
        /// Why.
        cause: StopCause,
    },
    /// It gave its result.
    Succeeded,
    /// It failed.
    Failed,
    /// It was cancelled.
    Cancelled,
}

/// In a person's words.
impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blocked { on: 1 } => f.write_str("it waits for another job"),
            Self::Blocked { on } => write!(f, "it waits for {on} other jobs"),
            Self::BackingOff { .. } => f.write_str("it has failed and waits to be tried again"),
            Self::Waiting => f.write_str("it waits"),
            Self::Queued { machine, .. } => write!(f, "it is next in a lane of {machine}"),
            Self::Running { machine, .. } => write!(f, "it runs on {machine}"),
            Self::Stopping { machine, .. } => write!(f, "it has been told to stop on {machine}"),
            Self::Succeeded => f.write_str("it has succeeded"),
            Self::Failed => f.write_str("it has failed"),
            Self::Cancelled => f.write_str("it was cancelled"),
        }
    }
}

impl JobState {
    /// Whether nothing will change any more.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

/// All that is known of a job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct JobView {
    /// Where it stands.
    pub state: JobState,
    /// Its class.
    pub class: ClassId,
    /// The latest attempt; 0 if there was none.
    pub attempts: u32,
    /// Failed attempts.
    pub failures: u32,
    /// Attempts that ended with the worker.
    pub deaths: u32,
}

/// How many jobs are in which state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// They wait for other jobs.
    pub blocked: u64,
    /// They could start, or wait for a retry, or stand in a lane behind another.
    pub waiting: u64,
    /// They run or have been told to stop.
    pub running: u64,
    /// They gave their result, since the start.
    pub succeeded: u64,
    /// They failed, since the start.
    pub failed: u64,
    /// They were cancelled, since the start.
    pub cancelled: u64,
}

impl Counts {
    /// Jobs that are not final.
    pub fn unfinished(&self) -> u64 {
        self.blocked + self.waiting + self.running
    }
}

/// A machine as the books have it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MachineView {
    /// Which.
    pub id: MachineId,
    /// What it lends.
    pub spec: MachineSpec,
    /// What is free now.
    pub free: Resources,
    /// Whether it takes no new jobs.
    pub draining: bool,
    /// What runs there.
    pub lanes: Vec<LaneView>,
    /// Jobs that succeeded there.
    pub succeeded: u64,
    /// Attempts that did not succeed there.
    pub failed: u64,
    /// Time that jobs have run there, as measured by the workers.
    pub ran: Duration,
}

/// A lane as the books have it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LaneView {
    /// Which.
    pub id: LaneId,
    /// Its class.
    pub class: ClassId,
    /// The first one runs since the given time.
    pub since: Time,
    /// The jobs in it; the first runs.
    pub jobs: Vec<JobId>,
}

/// Why a job does not run, or what it does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Explanation {
    /// There is no such job (any more).
    NoSuchJob,
    /// It is final, runs, waits for a retry or in a lane: the state says it.
    State(JobState),
    /// It waits for these jobs first (at most 10 of them are named).
    WaitsForJobs(Vec<JobId>),
    /// As many lanes of its class as allowed are in use.
    LanesMax(u32),
    /// Per machine, in order, the first reason why it does not start there. An empty list: there
    /// is no machine.
    Machines(Vec<(MachineId, Obstacle)>),
}

/// In a person's words, on one line.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchJob => f.write_str("there is no such job any more"),
            Self::State(state) => state.fmt(f),
            Self::WaitsForJobs(jobs) => {
                f.write_str("it waits for ")?;
                for (i, job) in jobs.iter().enumerate() {
                    write!(f, "{}{job}", if i == 0 { "" } else { ", " })?;
                }
                Ok(())
            }
            Self::LanesMax(max) => write!(f, "{max} of its kind run, and no more may at once"),
            Self::Machines(machines) if machines.is_empty() => f.write_str("there is no machine"),
            Self::Machines(machines) => {
                for (i, (machine, obstacle)) in machines.iter().enumerate() {
                    write!(f, "{}{machine}: {obstacle}", if i == 0 { "" } else { "; " })?;
                }
                Ok(())
            }
        }
    }
}

/// Why a job does not start on a machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Obstacle {
    /// It may not run there: not among the machines it is bound to.
    NotAmongOnlyOn,
    /// It may not run there: a tag is missing.
    MissingTag(String),
    /// The machine is smaller than the job, even when empty.
    TooSmall(Shortage),
    /// The machine takes no new jobs.
    Draining,
    /// Too little is free now.
    Busy(Shortage),
    /// There is room, but it is kept for another job that has waited longer.
    ReservedFor(JobId),
    /// There is room; others are before it in line.
    Behind {
        /// How many jobs of its own class are before it, if that is known cheaply.
        ahead: u64,
    },
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAmongOnlyOn => f.write_str("the job is bound to other machines"),
            Self::MissingTag(tag) => write!(f, "the machine lacks the tag `{tag}`"),
            Self::TooSmall(s) => write!(f, "the machine is too small: {s}"),
            Self::Draining => f.write_str("the machine takes no new jobs"),
            Self::Busy(s) => write!(f, "the machine is busy: {s} free"),
            Self::ReservedFor(job) => write!(f, "room is kept for {job}, which has waited longer"),
            Self::Behind { ahead } => write!(f, "{ahead} jobs are before it"),
        }
    }
}

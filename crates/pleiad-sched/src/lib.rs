//! Which job runs where, and what happens when something is lost.
//!
//! [`Scheduler`] is a pure state machine: facts and the time go in, things to do come out. It has
//! no I/O, no clock, no thread and no randomness; the same calls give the same answers.
//!
//! Its words: a **class** is everything that jobs have in common (computation, resources, limit,
//! retries, priority, where they may run); a **lane** is a share of a machine, as large as the
//! class asks for, in which jobs of one class run one after the other. Tiny jobs are given to a
//! lane ahead of time, so that a core never waits for the way there and back.
//!
//! Who is next: higher priority first, then the job that was submitted first, over all classes.
//! Two exceptions keep cores busy. A lane goes on with its class for
//! [`LANE_WORK_MAX`](pleiad_types::limits::LANE_WORK_MAX) though an older job of the same priority
//! waits in another class. And who does not fit is overtaken, whatever its priority, by those that
//! do; after [`OVERTAKES_MAX`](pleiad_types::limits::OVERTAKES_MAX) starts since its class last
//! started a job, the machine of the last of them is kept for it: there, nothing of the same or a
//! lower priority starts before it.
//!
//! What a machine owes the scheduler: exactly one [`End`] for each [`Output::Run`], also after a
//! recall or stop, until it is lost. Everything else that it says is counted and dropped.

#![warn(clippy::print_stdout, clippy::print_stderr)]

mod classes;
mod dependencies;
mod explain;
mod job;
mod machine;
mod placement;
mod queue;
mod recovery;
mod sanity;
mod scheduler;
mod spec;
mod table;
mod timers;

pub use pleiad_types::Backoff;
pub use scheduler::Scheduler;
pub use spec::{
    CancelResult, Class, ClassId, Counts, End, Explanation, Failure, JobState, JobView, LaneView,
    MachineSpec, MachineView, Obstacle, Outcome, Output, Placement, StopCause, SubmitError,
};
pub use table::Table;

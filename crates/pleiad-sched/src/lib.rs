//! Which job runs where, and what happens when something is lost.
//!
//! [`Scheduler`] is a pure state machine: facts and the time go in, things to do come out. It has
//! no I/O, no clock, no thread and no randomness; the same calls give the same answers.
//!
//! Its words: a **class** is everything that jobs have in common (computation, resources, limit,
//! retries, priority, where they may run); a **lane** is a share of a machine, as large as the
//! class asks for, in which jobs of one class run one after the other. Tiny jobs are given to a
//! lane ahead of time, so that a core never waits for the way there and back.

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

pub use scheduler::Scheduler;
pub use spec::{
    Backoff, CancelResult, Class, ClassId, Counts, End, Explanation, Failure, JobState, JobView,
    LaneView, MachineSpec, MachineView, Obstacle, Outcome, Output, Placement, StopCause,
    SubmitError,
};
pub use table::Table;

//! Clients, agents, workers and the launcher of pleiad, around its pure scheduler.
//!
//! Most programs use this crate through `pleiad`, which exports the same names.
//!
//! A **job** is one call of a Rust function, or one run of a program. It is handed to a
//! [`Cluster`], whose scheduler gives it to a worker: a process of this very program (which is why
//! `main` must begin with [`init`]), or the program itself. Its result comes back, whatever
//! happens on the way: a panic, an exit status or the end of a worker is the error of that job
//! alone.
//!
//! What is promised, and what is not: a cluster of this kind is private and lives in the program
//! that started it. Nothing is written to disk, and when that program ends, so does everything it
//! has started.

#![warn(clippy::print_stdout, clippy::print_stderr)]

#[cfg(not(unix))]
compile_error!("pleiad runs jobs on Unix systems only, so far");

mod agent;
mod cluster;
mod computation;
mod context;
mod engine;
mod error;
mod events;
mod function;
mod init;
mod job;
mod launcher;
mod map;
mod message;
mod program;
mod queue;
mod status;
mod submit;
mod worker;

pub use cluster::{Cluster, ClusterBuilder};
pub use computation::{ComputationBuilder, Workers};
pub use context::{JobContext, JobSendError, MessageError};
pub use error::{JobError, JobErrorKind, StartError, SubmitError};
pub use events::{Event, EventKind, Events};
pub use function::{CleanupFn, JobFn, Plain, TryJobFn, WithContext};
pub use init::{init, raise_open_files_limit};
pub use job::{Job, Messages};
#[doc(hidden)]
pub use launcher::testing as launcher_testing;
pub use launcher::{ForegroundEnd, ProcessLimits, launch_foreground};
pub use map::{InOrder, Map, Results, SetMessage, SetMessages};
pub use pleiad_sched::{
    Backoff, CancelResult, Counts, Explanation, JobState, JobView, LaneView, MachineSpec,
    MachineView, Obstacle, StopCause,
};
pub use pleiad_types::{
    Attempt, Cpus, ExitStatus, JobId, LaneId, MachineId, Resources, Shortage, Time, limits,
    signal_name,
};
pub use program::{Captured, Chunk, Program, ProgramOutput, Stream, Usage};
pub use status::Status;
pub use submit::{Completed, Submit};

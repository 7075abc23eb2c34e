//! Light tasks that talk by messages, and jobs on every core you own.
//!
//! Today pleiad has jobs: Rust functions and programs, on the cores of this machine. The words:
//!
//! - A **job** is one call of a function, or one run of a program. [`Cluster::submit`] and
//!   [`Cluster::run`] hand in one, [`Cluster::map`] and [`Cluster::run_all`] many.
//! - A **worker** is a process that runs jobs: a copy of your program. That is why `main` begins
//!   with [`init`], and why a job can do no harm to another.
//! - An **attempt** is one try of a job. What fails may be tried again
//!   ([`retries`](Submit::retries)); what loses its worker is.
//! - A **computation** is what jobs have in common: the data that their workers share
//!   ([`Cluster::computation`]).
//!
//! ```no_run
//! use pleiad::Cluster;
//!
//! /// Any function will do: no macro, no registration.
//! fn square(n: u64) -> u64 {
//!     n * n
//! }
//!
//! #[tokio::main]
//! async fn main() -> pleiad::Result<()> {
//!     pleiad::init();
//!     let cluster = Cluster::local().await?;
//!
//!     let one = cluster.submit(square, (7,)).await?;
//!     println!("one job: {one}");
//!
//!     let mut results = cluster.map(square, 0..1_000).retries(2).as_completed();
//!     while let Some(job) = results.next().await {
//!         match job.result {
//!             Ok(value) => println!("item {}: {value}", job.index),
//!             Err(e) => eprintln!("{e}"),
//!         }
//!     }
//!
//!     cluster.close().await;
//!     Ok(())
//! }
//! ```
//!
//! # Streams
//!
//! What tokio leaves to its users when tasks talk to programs and to other computers: pipelines of
//! programs, whole messages on a stream of bytes, lines and chunks, each with a limit. It is the
//! module `io`, with the feature `io`, which is a default. Sockets themselves are tokio's.

#![warn(clippy::print_stdout, clippy::print_stderr)]

#[cfg(feature = "cluster")]
mod jobs {
    pub use pleiad_cluster::{
        Attempt, Backoff, CancelResult, Captured, Chunk, CleanupFn, Cluster, ClusterBuilder,
        Completed, ComputationBuilder, Counts, Cpus, Event, EventKind, Events, ExitStatus,
        Explanation, ForegroundEnd, InOrder, Job, JobContext, JobError, JobErrorKind, JobFn, JobId,
        JobSendError, JobState, LaneView, MachineId, MachineSpec, MachineView, Map, MessageError,
        Messages, Obstacle, ProcessLimits, Program, ProgramOutput, Resources, Results, SetMessage,
        SetMessages, Shortage, StartError, Status, Stream, Submit, SubmitError, TryJobFn, Usage,
        Workers, init, launch_foreground, raise_open_files_limit, signal_name,
    };
}

#[cfg(feature = "cluster")]
pub use jobs::*;

mod error;

pub use error::{Error, Result};
#[cfg(feature = "io")]
pub use pleiad_io as io;
pub use pleiad_task::{
    AnyTask, Ask, AskError, AtExit, Deliver, DeliverError, Ended, Exit, ExitReason, Failure,
    FindError, Flow, HotSwap, Identity, Join, JoinAll, JoinAllError, Locate, Mailbox, Monitor,
    MonitorError, NameTaken, Named, NoMessage, Offer, Recipient, RecipientError, RecvMatchingError,
    RecvTimeoutError, Reply, SendError, Successor, SwapError, SwapEvent, SwapMailbox, SwapRef,
    SwapTask, Task, TaskBuilder, TaskId, TaskInfo, TaskRef, TaskState, Timer, TryRecvError,
    WeakTaskRef, at_exit, current, join_all, limits, run_at_exit, spawn, spawn_blocking,
    spawn_future, spawn_local, spawn_swappable, tasks, try_spawn, watch_tasks,
};

/// The program of the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

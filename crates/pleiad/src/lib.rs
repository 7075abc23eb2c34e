//! Light tasks that talk by messages, and jobs on every core you own.
//!
//! # Tasks
//!
//! Always there, and all that is there without default features. They run on the tokio runtime of
//! the program.
//!
//! - A **task** is an async function with a [`Mailbox`], where **messages** of one type arrive;
//!   [`spawn`] starts it.
//! - A [`TaskRef`] is how others reach it: to **send** (never waits), to **deliver** (waits for
//!   room) and to **ask** (waits for an answer).
//! - A **monitor** is told of the end of a task by a message: an [`Exit`] says how it ended.
//! - A **channel** passes on what is published there to all who are subscribed: [`Channel`].
//! - A **supervisor** starts again what has failed: [`Supervisor`].
//!
//! ```
//! use pleiad::{Mailbox, Reply, spawn};
//!
//! enum Count {
//!     Add(u64),
//!     Get(Reply<u64>),
//! }
//!
//! async fn counter(mut mailbox: Mailbox<Count>) {
//!     let mut n = 0;
//!     while let Some(message) = mailbox.recv().await {
//!         match message {
//!             Count::Add(k) => n += k,
//!             Count::Get(reply) => reply.send(n),
//!         }
//!     }
//! }
//!
//! #[tokio::main]
//! async fn main() -> pleiad::Result<()> {
//!     let task = spawn(counter);
//!     task.send(Count::Add(2))?;
//!     task.send(Count::Add(40))?;
//!     assert_eq!(task.ask(Count::Get).await?, 42);
//!     Ok(())
//! }
//! ```
//!
//! # Jobs
//!
//! Rust functions and programs, on the cores of this machine; with the feature `cluster`, which is a
//! default.
//!
//! - A **job** is one call of a function, or one run of a program. `Cluster::submit` and
//!   `Cluster::run` hand in one, `Cluster::map` and `Cluster::run_all` many.
//! - A **worker** is a process that runs jobs: a copy of your program. That is why `main` begins
//!   with `init`, and why a job can do no harm to another.
//! - An **attempt** is one try of a job. What fails may be tried again (`Submit::retries`); what loses
//!   its worker is.
//! - A **computation** is what jobs have in common: the data that their workers share
//!   (`Cluster::computation`).
//!
#![cfg_attr(feature = "cluster", doc = "```no_run")]
#![cfg_attr(not(feature = "cluster"), doc = "```ignore")]
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
//! # Nodes
//!
//! With the feature `net`, a program may be a **node**: its tasks are found by name and reached from other
//! processes and machines, over TLS, as if they were here. `Node::start` begins it. Messages are then what
//! serde can write and read, and may contain references and replies as ever. Files go from node to node by
//! `Node::send_file` and `Node::fetch_file`.
//!
//! - `Node::register` and `Node::locate`: tasks. `Node::register_channel` and `Node::channel`: channels.
//! - A **service** is a function that other nodes may call, or start as a task: `Node::serve` and
//!   `Node::service`.
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
        Attempt, CancelResult, Captured, Chunk, CleanupFn, Cluster, ClusterBuilder, Completed,
        ComputationBuilder, Counts, Cpus, Event, EventKind, Events, ExitStatus, Explanation,
        ForegroundEnd, InOrder, Job, JobContext, JobError, JobErrorKind, JobFn, JobId,
        JobSendError, JobState, LaneView, MachineId, MachineSpec, MachineView, Map, MessageError,
        Messages, Obstacle, ProcessLimits, Program, ProgramOutput, Resources, Results, SetMessage,
        SetMessages, Shortage, StartError, Status, Stream, Submit, SubmitError, TryJobFn, Usage,
        Workers, init, launch_foreground, raise_open_files_limit, signal_name,
    };
}

#[cfg(feature = "cluster")]
pub use jobs::*;

#[cfg(feature = "net")]
mod mesh {
    pub use pleiad_net::{
        CallError, ConnectError, FetchFile, FileArrived, FileError, FileEvent, FileEvents,
        FileFetched, FilePathError, FileProgress, FileRefusal, FileSent, InviteError, LocateError,
        Message, Node, NodeBuilder, NodeId, Peer, PeerEvent, PeerEvents, RegisterError,
        RemoteChannel, RemotePublishError, RemoteService, RemoteSubscribeError, RemoteSubscriber,
        RemoteTask, SendFile, Service, ServiceHandle, StartError as NodeStartError, TaskService,
        WhenBusy,
    };
}

#[cfg(feature = "net")]
pub use mesh::*;

mod error;

pub use error::{Context, Error, Result};
#[cfg(feature = "io")]
pub use pleiad_io as io;
/// Nodes: everything about them; what is used most is also one level above.
#[cfg(feature = "net")]
pub use pleiad_net as net;
pub use pleiad_task::{
    AnyTask, Ask, AskError, AtExit, Backoff, Broadcast, Channel, Child, ChildError, ChildInfo,
    ChildStartError, ChildState, Deliver, DeliverError, Ended, Exit, ExitReason, Failure,
    FindError, Flow, HotSwap, Identity, Join, JoinAll, JoinAllError, Locate, Mailbox, Monitor,
    MonitorError, NameTaken, Named, NamedAskError, NamedRef, NamedSendError, NoMessage, Offer,
    PublishError, Published, Recipient, RecipientError, RecvMatchingError, RecvTimeoutError, Reply,
    Restart, SendError, Strategy, SubscribeChannelError, SubscribeError, Subscriber, Subscription,
    Successor, Supervisor, SupervisorMessage, SupervisorRef, SwapError, SwapEvent, SwapMailbox,
    SwapRef, SwapTask, Task, TaskBuilder, TaskId, TaskInfo, TaskRef, TaskState, Timer,
    TryRecvError, WeakTaskRef, WhenFull, at_exit, current, join_all, limits, run_at_exit, spawn,
    spawn_blocking, spawn_future, spawn_local, spawn_swappable, tasks, tasks_are_watched,
    try_spawn, try_spawn_future, watch_tasks,
};

/// The programs of the README compile.
#[cfg(all(doctest, feature = "cluster", feature = "net"))]
#[doc = include_str!("../README.md")]
struct Readme;

/// So do those of the page for people who come from pycos.
#[cfg(all(doctest, feature = "cluster", feature = "io", feature = "net"))]
#[doc = include_str!("../../../docs/from-pycos.md")]
struct FromPycos;

//! Tasks of one process that talk by messages. For users, this is a part of the crate `pleiad`.
//!
//! # Tasks and messages
//!
//! A **task** is an async function with a [`Mailbox`]. [`spawn`] starts it on the tokio runtime that is
//! there, and gives a [`Task`]: a [`TaskRef`], by which it is reached, and its result, by awaiting it.
//! [`spawn_future`] starts a task without a mailbox, [`spawn_blocking`] one that may block its thread,
//! [`TaskBuilder`] one with other than the usual choices.
//!
//! | to say | waits | if the mailbox is full |
//! |---|---|---|
//! | [`send`](TaskRef::send) | never | an error, with the message |
//! | [`deliver`](TaskRef::deliver) | for room | waits its turn |
//! | [`ask`](TaskRef::ask) | for room, then for the answer | waits its turn |
//!
//! What one task sends to another arrives in order, at most once. A mailbox holds 1,024 messages unless
//! its task wants another number: who sends too fast is told, or waits.
//!
//! # The end
//!
//! A task ends when its function does; when it panics, which ends it alone; or when it is
//! [terminated](TaskRef::terminate): asked, given time, then dropped. Whoever [monitors](TaskRef::monitor)
//! it gets an [`Exit`] by a message, also afterwards; whoever asked it something is told at once. A task
//! that nobody can send to any more gets `None` from its mailbox.
//!
//! # What it needs
//!
//! A tokio runtime, of either kind. Whatever takes time (time limits, timers, the grace of a task that is
//! asked to stop) needs its timers: `enable_time`, which `#[tokio::main]` and `#[tokio::test]` have.
//!
//! # More
//!
//! - [`TaskRef::register`] and [`TaskRef::locate`]: names. [`TaskRef::send_after`]: timers.
//! - [`TaskRef::recipient`]: for senders that know only a part of what a task takes.
//! - [`Channel`]: one publishes, many get it. [`Supervisor`]: what fails is started again.
//! - [`spawn_swappable`]: functions that are changed for others while their task runs.
//! - [`join_all`], [`at_exit`]: the end of the program. [`watch_tasks`], [`tasks`]: what goes on.

#![warn(clippy::print_stdout, clippy::print_stderr, missing_debug_implementations)]

mod any;
mod ask;
mod block;
mod cell;
mod channel;
mod current;
mod deadline;
mod exit;
#[cfg(feature = "far")]
#[doc(hidden)]
pub mod far;
mod handle;
mod identity;
mod life;
mod live;
mod mailbox;
mod monitor;
mod names;
mod process;
mod queue;
mod recipient;
mod reference;
mod registry;
mod reply;
mod runner;
mod send;
mod spawn;
mod supervisor;
mod swap;
mod sync;
mod timer;

pub use any::{AnyTask, Ended, WeakAnyTask};
pub use ask::{Ask, AskError};
pub use channel::Channel;
pub use channel::broadcast::Broadcast;
pub use channel::error::{PublishError, SubscribeChannelError, SubscribeError};
pub use channel::round::Published;
pub use channel::stream::Subscriber;
pub use channel::subscription::{Subscription, WhenFull};
pub use current::current;
pub use exit::{Exit, ExitReason, Failure};
pub use handle::{Join, Task};
pub use identity::{Identity, TaskId};
pub use mailbox::{Mailbox, RecvMatchingError, RecvTimeoutError, TryRecvError};
pub use monitor::{Monitor, MonitorError};
pub use names::{FindError, Locate, NameTaken, Named};
pub use pleiad_types::{Backoff, NodeId, limits};
pub use process::{AtExit, JoinAll, JoinAllError, at_exit, join_all, run_at_exit};
pub use recipient::{Recipient, RecipientError};
pub use reference::{TaskRef, WeakTaskRef};
pub use registry::{TaskInfo, TaskState, tasks, tasks_are_watched, watch_tasks};
pub use reply::Reply;
pub use send::{Deliver, DeliverError, SendError};
pub use spawn::{
    NoMessage, TaskBuilder, spawn, spawn_blocking, spawn_future, spawn_local, try_spawn,
    try_spawn_future,
};
pub use supervisor::{
    Child, ChildError, ChildInfo, ChildStartError, ChildState, NamedAskError, NamedRef,
    NamedSendError, Restart, Strategy, Supervisor, SupervisorMessage, SupervisorRef,
};
pub use swap::{
    Flow, HotSwap, Offer, Successor, SwapError, SwapEvent, SwapMailbox, SwapRef, SwapTask,
    spawn_swappable,
};
pub use timer::Timer;

//! Tasks of one process that talk by messages.
//!
//! A **task** is an async function with a [`Mailbox`]; [`spawn`] starts it on the tokio runtime that
//! is there, and gives a [`TaskRef`] to send it messages.

#![warn(clippy::print_stdout, clippy::print_stderr)]

mod any;
mod ask;
mod block;
mod cell;
mod channel;
mod current;
mod exit;
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
mod runner;
mod send;
mod spawn;
mod supervisor;
mod swap;
mod sync;
mod timer;

pub use any::{AnyTask, Ended};
pub use ask::{Ask, AskError, Reply};
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
pub use pleiad_types::{Backoff, limits};
pub use process::{AtExit, JoinAll, JoinAllError, at_exit, join_all, run_at_exit};
pub use recipient::{Recipient, RecipientError};
pub use reference::{TaskRef, WeakTaskRef};
pub use registry::{TaskInfo, TaskState, tasks, watch_tasks};
pub use send::{Deliver, DeliverError, SendError};
pub use spawn::{
    NoMessage, TaskBuilder, spawn, spawn_blocking, spawn_future, spawn_local, try_spawn,
};
pub use supervisor::{
    Child, ChildError, ChildInfo, ChildState, NamedAskError, NamedRef, NamedSendError, Restart,
    StartError, Strategy, Supervisor, SupervisorMessage, SupervisorRef,
};
pub use swap::{
    Flow, HotSwap, Offer, Successor, SwapError, SwapEvent, SwapMailbox, SwapRef, SwapTask,
    spawn_swappable,
};
pub use timer::Timer;

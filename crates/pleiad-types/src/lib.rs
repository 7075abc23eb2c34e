//! Plain data that two or more crates of pleiad share: ids, time, resources, exit status, limits.
//!
//! Nothing in here does anything: no I/O, no clock, no thread, no dependency.

#![warn(clippy::print_stdout, clippy::print_stderr)]

mod backoff;
mod backtrace;
mod exit;
mod id;
mod last_bytes;
pub mod limits;
mod resources;
mod time;

pub use backoff::Backoff;
pub use backtrace::backtrace_of;
pub use exit::{ExitStatus, signal_name};
pub use id::{Attempt, ComputationId, JobId, LaneId, MachineId, NodeId, SetId};
pub use last_bytes::LastBytes;
pub use resources::{Cpus, ParseCpusError, Resources, Shortage};
pub use time::Time;

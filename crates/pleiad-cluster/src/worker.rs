//! A worker: a process (in tests: some threads) that runs the jobs of one computation.
//!
//! The agent and a worker talk over a unix socket, in the frames of [`wire`]. Arguments and results
//! are bytes to the agent; only a worker looks into them.

mod output;
mod panics;
mod serve;
pub(crate) mod wire;

pub(crate) use output::Outbox;
pub(crate) use serve::{Inbox, Kind, serve};

/// Why a job function gave no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It panicked.
    Panicked { message: String, location: String, backtrace: String },
    /// It returned an `Err`.
    Returned(String),
    /// Arguments or result could not be turned from or into bytes.
    Unreadable(String),
    /// There is no such function in this program.
    NoSuchFunction(String),
}

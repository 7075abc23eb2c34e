//! A simulated world of nodes, links and faults, in which `pleiad-proto` is tested.
//!
//! Everything that happens in a run follows from one number, its seed: the nodes and their tasks, the links
//! and their faults, and when each byte arrives. An oracle that knows all of it compares what the nodes are
//! told with what is true. For tests only.

#![warn(clippy::print_stdout, clippy::print_stderr, missing_debug_implementations)]

mod actions;
mod agenda;
mod faults;
mod net;
mod node;
mod oracle;
mod outputs;
mod random;
mod run;
mod scenario;
mod shell;
mod tasks;
mod world;

pub use run::{Report, run};

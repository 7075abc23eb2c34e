//! The conversations between two nodes, and every byte that they exchange.
//!
//! Pure: no socket, no clock, no thread, no chance. Commands, frames and the time go into a [`Session`];
//! what is to be done and what is to be written come out. `pleiad-net` runs it over TLS, `pleiad-sim` in a
//! simulated world.

#![warn(clippy::print_stdout, clippy::print_stderr, missing_debug_implementations)]

mod blobs;
mod delivery;
mod lane;
mod liveness;
mod meet;
mod membership;
mod names;
mod references;
mod session;
pub mod wire;

pub use delivery::{Arrival, Refused, Ticket, Undelivered};
pub use lane::Portion;
pub use meet::{Met, attach, meet, welcome};
pub use membership::Membership;
pub use names::Lookup;
pub use references::Place;
pub use session::{Outbound, Output, Over, Session};

//! The mesh under fire: nodes over real sockets, and what the world does to them.

#![expect(clippy::unwrap_used, reason = "these are tests, also what they share")]

mod common;
mod hostile;
mod limits;
mod loss;
mod namespaces;
mod network;
mod third_party;
mod trust;

/// Does nothing, but in a process that a test has started.
#[test]
fn as_a_child() {
    common::child::run();
}

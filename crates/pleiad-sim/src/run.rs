//! One run.

use crate::world::World;

/// What a run came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Things that happened.
    pub events: u64,
    /// Messages that were sent, and those that arrived in a mailbox.
    pub sent: u64,
    /// See `sent`.
    pub arrived: u64,
    /// Sessions that were over, on either side.
    pub over: u64,
    /// Questions that had an answer.
    pub answered: u64,
    /// References that were given up when nobody needed them any more.
    pub given_up: u64,
    /// What was not as it must be. The run has ended there.
    pub problem: Option<String>,
    /// The last events before, if they were asked for.
    pub last: Vec<String>,
}

/// Runs the world of a seed. `trace`: remember the last so many events.
///
/// # Panics
///
/// If the books of a session do not agree.
pub fn run(seed: u64, trace: usize) -> Report {
    let mut world = World::new(seed, trace);
    world.run();
    world.report()
}

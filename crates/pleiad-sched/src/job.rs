//! What the books keep of a job.

use pleiad_types::{Attempt, JobId, LaneId, MachineId, Time};

use crate::spec::{ClassId, Counts, StopCause};

/// The record of a job. A million of them may wait, so it is small; what few have is boxed.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) state: State,
    pub(crate) links: Option<Box<Links>>,
    pub(crate) class: ClassId,
    /// The latest attempt; 0 if there was none.
    pub(crate) attempts: u32,
    pub(crate) failures: u32,
    pub(crate) deaths: u8,
    /// Nobody asks for it any more: the record goes at the end.
    pub(crate) released: bool,
}

/// Who waits for a job, and for whom it waits.
#[derive(Debug, Default)]
pub(crate) struct Links {
    /// May name jobs that are final or gone: they were cancelled.
    pub(crate) dependents: Vec<JobId>,
    /// Empty unless the job is blocked.
    pub(crate) dependencies: Vec<JobId>,
}

/// Where a job stands; [`JobState`](crate::JobState) without what its lane knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    Blocked { on: u32 },
    BackingOff { until: Time },
    Waiting,
    Queued(Place),
    Running(Place),
    Stopping(Place, StopCause),
    Succeeded,
    Failed,
    Cancelled,
}

/// A lane of a machine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Place {
    pub(crate) machine: MachineId,
    pub(crate) lane: LaneId,
}

impl Job {
    pub(crate) fn new(class: ClassId) -> Self {
        Self {
            state: State::Blocked { on: 0 },
            links: None,
            class,
            attempts: 0,
            failures: 0,
            deaths: 0,
            released: false,
        }
    }

    /// Changes the state, here and in the sums.
    pub(crate) fn set_state(&mut self, counts: &mut Counts, state: State) {
        *self.state.count(counts) -= 1;
        *state.count(counts) += 1;
        self.state = state;
    }

    /// The latest attempt, if there was one.
    pub(crate) fn attempt(&self) -> Option<Attempt> {
        (self.attempts > 0).then_some(Attempt(self.attempts))
    }

    /// Whether it must have a worker of its own.
    pub(crate) fn is_alone(&self) -> bool {
        self.deaths > 0
    }
}

impl State {
    pub(crate) fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }

    /// The sum in which a job of this state is counted.
    pub(crate) fn count(self, counts: &mut Counts) -> &mut u64 {
        match self {
            Self::Blocked { .. } => &mut counts.blocked,
            Self::BackingOff { .. } | Self::Waiting | Self::Queued(_) => &mut counts.waiting,
            Self::Running(_) | Self::Stopping(..) => &mut counts.running,
            Self::Succeeded => &mut counts.succeeded,
            Self::Failed => &mut counts.failed,
            Self::Cancelled => &mut counts.cancelled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_of_a_job_is_small() {
        assert_eq!(size_of::<Option<Job>>(), 40);
    }
}

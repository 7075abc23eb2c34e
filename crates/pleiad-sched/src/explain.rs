//! Views of the books for people: where a job stands, and why it does not run.

use pleiad_types::{JobId, Shortage, limits};

use crate::classes::ClassEntry;
use crate::job::{Job, State};
use crate::machine::Machine;
use crate::scheduler::Scheduler;
use crate::spec::{ClassId, Explanation, JobState, JobView, LaneView, MachineView, Obstacle};

/// Jobs that an explanation names.
const NAMED_MAX: usize = 10;

impl<P> Scheduler<P> {
    pub(crate) fn view_job(&self, job: &Job) -> JobView {
        JobView {
            state: self.view_state(job.state),
            class: job.class,
            attempts: job.attempts,
            failures: job.failures,
            deaths: job.deaths.into(),
        }
    }

    fn view_state(&self, state: State) -> JobState {
        match state {
            State::Blocked { on } => JobState::Blocked { on },
            State::BackingOff { until } => JobState::BackingOff { until },
            State::Waiting => JobState::Waiting,
            State::Queued(place) => JobState::Queued { machine: place.machine, lane: place.lane },
            State::Running(place) => {
                let lane = self.machines.get(place.machine).lanes.get(&place.lane);
                let since = lane.expect("a job runs in an open lane").since;
                JobState::Running { machine: place.machine, lane: place.lane, since }
            }
            State::Stopping(place, cause) => {
                JobState::Stopping { machine: place.machine, lane: place.lane, cause }
            }
            State::Succeeded => JobState::Succeeded,
            State::Failed => JobState::Failed,
            State::Cancelled => JobState::Cancelled,
        }
    }

    pub(crate) fn explain_job(&self, id: JobId) -> Explanation {
        let Some(job) = self.jobs.get(id.0) else { return Explanation::NoSuchJob };
        match job.state {
            State::Blocked { .. } => Explanation::WaitsForJobs(self.unmet_dependencies(job)),
            State::Waiting => {
                let entry = self.classes.get(job.class);
                if let Some(max) = entry.class.lanes_max.filter(|_| !entry.has_lane_left()) {
                    return Explanation::LanesMax(max);
                }
                let ahead = entry.queue.ahead(id) as u64;
                let machines = self.machines.iter();
                let reason = |m: &Machine| (m.id, self.obstacle(m, job.class, entry, ahead));
                Explanation::Machines(machines.map(reason).collect())
            }
            state => Explanation::State(self.view_state(state)),
        }
    }

    fn unmet_dependencies(&self, job: &Job) -> Vec<JobId> {
        let all = job.links.iter().flat_map(|links| &links.dependencies).copied();
        let is_met = |id: JobId| self.jobs.get(id.0).is_none_or(|job| job.state.is_final());
        all.filter(|&id| !is_met(id)).take(NAMED_MAX).collect()
    }

    fn obstacle(&self, m: &Machine, id: ClassId, entry: &ClassEntry, ahead: u64) -> Obstacle {
        let class = &entry.class;
        let placement = &class.placement;
        if !placement.only_on.is_empty() && !placement.only_on.contains(&m.id) {
            return Obstacle::NotAmongOnlyOn;
        }
        if let Some(tag) = placement.tags.difference(&m.spec.tags).next() {
            return Obstacle::MissingTag(tag.clone());
        }
        if let Some(shortage) = class.resources.shortage(&m.spec.resources) {
            return Obstacle::TooSmall(shortage);
        }
        if m.draining {
            return Obstacle::Draining;
        }
        if let Some(shortage) = class.resources.shortage(&m.free) {
            return Obstacle::Busy(shortage);
        }
        if m.in_debt {
            // What it needs is free, but the machine has lent more of something than it has.
            if let Some(shortage) = m.used(&self.classes).shortage(&m.spec.resources) {
                return Obstacle::Busy(shortage);
            }
        }
        if m.lanes.len() >= limits::MACHINE_LANES_MAX {
            return Obstacle::Busy(Shortage { what: "lanes".to_owned(), needed: 1, free: 0 });
        }
        match m.reserved {
            Some((kept_for, _)) if !m.is_open_to(id, class.priority) => {
                let head = self.classes.get(kept_for).queue.first();
                head.map_or(Obstacle::Behind { ahead }, Obstacle::ReservedFor)
            }
            _ => Obstacle::Behind { ahead },
        }
    }
}

impl Machine {
    pub(crate) fn view(&self) -> MachineView {
        let lanes = self.lanes.iter().map(|(&id, lane)| LaneView {
            id,
            class: lane.class,
            since: lane.since,
            jobs: lane.jobs.iter().map(|entry| entry.job).collect(),
        });
        MachineView {
            id: self.id,
            spec: self.spec.clone(),
            free: self.free.clone(),
            draining: self.draining,
            lanes: lanes.collect(),
            succeeded: self.succeeded,
            failed: self.failed,
            ran: self.ran,
        }
    }
}

//! Compares all books with each other. For tests.

use std::collections::{BTreeMap, BTreeSet};

use pleiad_types::{JobId, limits};

use crate::classes::ClassEntry;
use crate::job::{Job, Place, State};
use crate::machine::{Lane, Machine, less};
use crate::scheduler::Scheduler;
use crate::spec::{ClassId, Counts};
use crate::timers::Timer;

impl<P> Scheduler<P> {
    pub(crate) fn check(&self) {
        assert!(self.ended.is_empty() && self.freed.is_empty() && self.arrived.is_empty());
        self.check_jobs();
        self.check_dependencies();
        self.check_timers();
        self.machines.check_list();
        for machine in self.machines.iter() {
            self.check_machine(machine);
        }
        let mut jobs: BTreeMap<ClassId, Vec<(JobId, &Job)>> = BTreeMap::new();
        for (id, job) in self.jobs.iter() {
            jobs.entry(job.class).or_default().push((JobId(id), job));
        }
        for (id, entry) in self.classes.iter() {
            self.check_class(id, entry, jobs.get(&id).map_or(&[], |jobs| jobs));
        }
        let in_line = self.classes.iter().filter(|(_, entry)| entry.turn.is_some()).count();
        assert_eq!(self.classes.line_lens(), (in_line, in_line), "the line of classes is wrong");
    }

    fn check_jobs(&self) {
        let mut counts = Counts::default();
        for (id, job) in self.jobs.iter() {
            *job.state.count(&mut counts) += 1;
            assert!(id <= self.last_job, "job-{id} has not been submitted");
            assert!(!(job.released && job.state.is_final()), "job-{id} should be forgotten");
            assert!(self.classes.find(job.class).is_some(), "job-{id} has no class");
            self.check_job(JobId(id), job);
        }
        let now = |c: &Counts| (c.blocked, c.waiting, c.running);
        assert_eq!(now(&counts), now(&self.counts), "(blocked, waiting, running) is wrong");
        let sums = &self.counts;
        assert!(counts.succeeded <= sums.succeeded && counts.failed <= sums.failed);
        assert_eq!(
            sums.unfinished() + sums.succeeded + sums.failed + sums.cancelled,
            self.last_job,
            "each job is in one state"
        );
    }

    fn check_job(&self, id: JobId, job: &Job) {
        match job.state {
            State::Queued(place) => {
                let index = self.position(id, job, place);
                assert!(index > 0, "{id} is first in its lane and does not run");
            }
            State::Running(place) | State::Stopping(place, _) => {
                assert_eq!(self.position(id, job, place), 0, "{id} runs and is not first");
            }
            State::BackingOff { until } => {
                assert!(self.timers.contains(until, Timer::Retry(id)), "{id} has no timer");
            }
            _ => {}
        }
    }

    fn position(&self, id: JobId, job: &Job, place: Place) -> usize {
        let lane = self.machines.find(place.machine).and_then(|m| m.lanes.get(&place.lane));
        let lane = lane.unwrap_or_else(|| panic!("{id} is in {place:?}, which does not exist"));
        let attempt = job.attempt().unwrap_or_else(|| panic!("{id} is in a lane without attempt"));
        lane.position(id, attempt).unwrap_or_else(|| panic!("{id} is not in {place:?}"))
    }

    fn check_dependencies(&self) {
        let mut waits_for: BTreeMap<JobId, BTreeSet<JobId>> = BTreeMap::new();
        for (id, job) in self.jobs.iter() {
            for dependent in job.links.iter().flat_map(|links| &links.dependents) {
                let blocked = self.jobs.get(dependent.0).map(|job| job.state);
                if let Some(State::Blocked { .. }) = blocked {
                    assert!(!job.state.is_final(), "{dependent} waits for job-{id}, which ended");
                    waits_for.entry(*dependent).or_default().insert(JobId(id));
                }
            }
        }
        for (id, job) in self.jobs.iter() {
            let on = waits_for.get(&JobId(id)).map_or(0, BTreeSet::len);
            match job.state {
                State::Blocked { on: known } => assert_eq!(known as usize, on, "job-{id} waits"),
                _ => assert_eq!(on, 0, "job-{id} is not blocked, but in lists of dependents"),
            }
            let Some(waits_for) = waits_for.get(&JobId(id)) else { continue };
            let listed = job.links.as_ref().map(|links| &links.dependencies);
            let listed = listed.expect("a blocked job knows its dependencies");
            assert!(
                waits_for.iter().all(|id| listed.contains(id)),
                "job-{id} has lost a dependency"
            );
        }
    }

    fn check_timers(&self) {
        let mut timers = 0;
        for machine in self.machines.iter() {
            for (&lane_id, lane) in &machine.lanes {
                let place = Place { machine: machine.id, lane: lane_id };
                if let Some(at) = lane.timer {
                    assert!(self.timers.contains(at, Timer::Lane(place)), "{place:?}: timer");
                    timers += 1;
                }
                let deadline = lane.deadline(self.classes.get(lane.class).class.limit);
                let is_late = deadline.is_some_and(|at| lane.timer.is_none_or(|timer| timer > at));
                assert!(!is_late, "{place:?} will not be looked at in time");
            }
        }
        let backing_off = |job: &Job| matches!(job.state, State::BackingOff { .. });
        timers += self.jobs.iter().filter(|(_, job)| backing_off(job)).count();
        assert_eq!(self.timers.len(), timers, "there are timers for nothing");
    }

    fn check_machine(&self, machine: &Machine) {
        let id = machine.id;
        let (used, total) = (machine.used(&self.classes), &machine.spec.resources);
        let in_debt = used.shortage(total).is_some();
        assert_eq!(machine.in_debt, in_debt, "{id}: debt");
        assert_eq!(machine.free, less(total, &used), "{id}: free resources");
        assert!(machine.lanes.len() <= limits::MACHINE_LANES_MAX, "{id}: too many lanes");
        if let Some((class, priority)) = machine.reserved {
            let entry = self.classes.get(class);
            assert_eq!(entry.reserved, Some(id), "{id} is kept for {class:?}");
            assert_eq!(entry.class.priority, priority);
            assert!(machine.suits(&entry.class), "{id} is kept for {class:?} in vain");
        }
        for (&lane_id, lane) in &machine.lanes {
            self.check_lane(Place { machine: id, lane: lane_id }, lane);
        }
    }

    fn check_lane(&self, place: Place, lane: &Lane) {
        assert!(!lane.jobs.is_empty(), "{place:?} is empty and open");
        assert!(lane.jobs.len() <= limits::LANE_JOBS_MAX, "{place:?} holds too many jobs");
        assert!(!lane.alone || lane.jobs.len() == 1, "{place:?} is for one job alone");
        for (index, entry) in lane.jobs.iter().enumerate() {
            let job = self.jobs.get(entry.job.0);
            if entry.ghost {
                assert!(job.is_none_or(|job| job.state.is_final()), "{} is no ghost", entry.job);
                assert!(index > 0 || lane.stopped, "{} runs on, cancelled", entry.job);
                continue;
            }
            let job = job.unwrap_or_else(|| panic!("{} in {place:?} has no record", entry.job));
            assert_eq!(job.class, lane.class, "{} is in a lane of another class", entry.job);
            assert_eq!(job.is_alone(), lane.alone, "{} is (not) alone", entry.job);
            let stands_here = match job.state {
                State::Queued(at) => at == place && index > 0,
                State::Running(at) => at == place && index == 0 && !lane.stopped,
                State::Stopping(at, _) => at == place && index == 0 && lane.stopped,
                _ => false,
            };
            assert!(stands_here, "{} is at {index} of {place:?}: {:?}", entry.job, job.state);
        }
    }

    fn check_class(&self, id: ClassId, entry: &ClassEntry, jobs: &[(JobId, &Job)]) {
        assert_eq!(entry.jobs, jobs.len() as u64, "{id:?}: jobs");
        let lanes = self.machines.iter().flat_map(|machine| machine.lanes.values());
        let lanes = lanes.filter(|lane| lane.class == id).count();
        assert_eq!(entry.lanes as usize, lanes, "{id:?}: lanes");
        assert!(entry.handles > 0 || entry.jobs > 0 || lanes > 0, "{id:?} should be forgotten");
        let capacity = self.machines.iter().map(|machine| machine.lanes_possible(&entry.class));
        assert_eq!(entry.capacity, capacity.sum::<u64>(), "{id:?}: capacity");

        let waits = |id: JobId| self.jobs.get(id.0).is_some_and(|job| job.state == State::Waiting);
        let queued: BTreeSet<_> = entry.queue.iter(waits).collect();
        let waiting = jobs.iter().filter(|(_, job)| job.state == State::Waiting);
        assert!(queued.iter().eq(waiting.map(|(id, _)| id)), "{id:?}: queue");
        assert_eq!(entry.queue.len(), queued.len(), "{id:?}: length of the queue");
        assert_eq!(entry.queue.first(), queued.first().copied(), "{id:?}: head of the queue");

        let head = queued.first().filter(|_| entry.capacity > 0);
        assert_eq!(entry.turn.map(|turn| turn.head), head.copied(), "{id:?}: place in line");
        if entry.queue.is_empty() {
            assert_eq!((entry.overtaken, entry.reserved), (0, None), "{id:?}: nobody waits");
        }
        if let Some(machine) = entry.reserved {
            let kept = self.machines.find(machine).and_then(|machine| machine.reserved);
            assert_eq!(kept, Some((id, entry.class.priority)), "{id:?}: {machine} is not kept");
        }
        if entry.turn.is_some() && entry.has_lane_left() {
            let room = self.machines.iter().find(|machine| machine.has_room(id, entry));
            assert!(room.is_none(), "{id:?} waits, but could start on {:?}", room.map(|m| m.id));
        }
    }
}

//! Who starts where, and when.
//!
//! Between two calls of the scheduler, no class in line could start a job in a new lane anywhere.
//! So only what has changed is tried: a machine on which there is more room than before, with all
//! classes in line; and a class that has got its first waiting job, on all machines.

use std::cmp::Reverse;
use std::ops::Bound;
use std::sync::Arc;

use pleiad_types::{Attempt, JobId, LaneId, MachineId, Time, limits};

use crate::classes::Turn;
use crate::job::{Job, Place, State};
use crate::machine::{LaneJob, Machine, fits_with};
use crate::scheduler::Scheduler;
use crate::spec::{ClassId, Output};
use crate::timers::Timer;

impl<P> Scheduler<P> {
    /// Draws all conclusions from what a call has changed. The last step of each call.
    pub(crate) fn settle(&mut self, now: Time) {
        self.tell_dependents();
        loop {
            if let Some(machine) = self.freed.pop() {
                self.place_on(now, machine);
                continue;
            }
            let classes = &self.classes;
            let turn = |id: &ClassId| classes.find(*id).and_then(|entry| entry.turn);
            self.arrived.sort_by_key(|id| Reverse(turn(id)));
            let Some(class) = self.arrived.pop() else { break };
            self.place_class(now, class);
        }
    }

    /// Makes a job one that waits.
    pub(crate) fn enqueue(&mut self, job_id: JobId) {
        let job = self.jobs.get_mut(job_id.0).expect("a job that comes to wait has a record");
        job.set_state(&mut self.counts, State::Waiting);
        let class = job.class;
        let entry = self.classes.get_mut(class);
        if entry.queue.is_empty() {
            self.arrived.push(class);
        }
        entry.queue.push(job_id);
        if entry.queue.first() == Some(job_id) {
            self.classes.update_turn(class);
        }
    }

    /// Corrects what depends on who waits in a class, after some have left it.
    pub(crate) fn queue_changed(&mut self, class: ClassId) {
        self.classes.update_turn(class);
        if self.classes.get(class).queue.is_empty() {
            self.unreserve(class);
        }
    }

    /// Gives the lane more jobs if it needs and may have them, closes it if it has none.
    pub(crate) fn refill(&mut self, now: Time, place: Place) {
        if let Some(count) = self.refill_count(now, place) {
            self.fill(now, place, count);
        }
        let machine = self.machines.get_mut(place.machine);
        let lane = machine.lanes.get(&place.lane).expect("only open lanes are refilled");
        if lane.jobs.is_empty() {
            self.close_lane(place);
        } else {
            self.set_timer(place);
        }
    }

    /// Asks back all jobs that stand behind the first; the lane closes when it is done.
    pub(crate) fn recall(&mut self, place: Place) {
        let machine = self.machines.get_mut(place.machine);
        let lane = machine.lanes.get_mut(&place.lane).expect("only open lanes are recalled");
        lane.closing = true;
        lane.recalled = true;
        for entry in lane.jobs.iter_mut().skip(1).filter(|entry| !entry.recalled) {
            entry.recalled = true;
            let LaneJob { job, attempt, .. } = *entry;
            let Place { machine, lane } = place;
            self.outputs.push_back(Output::Recall { machine, lane, job, attempt });
        }
    }

    /// Sees to it that the lane is looked at in time.
    pub(crate) fn set_timer(&mut self, place: Place) {
        let machine = self.machines.get_mut(place.machine);
        let lane = machine.lanes.get_mut(&place.lane).expect("only open lanes have timers");
        let Some(deadline) = lane.deadline(self.classes.get(lane.class).class.limit) else {
            return;
        };
        if lane.timer.is_some_and(|timer| timer <= deadline) {
            return;
        }
        if let Some(timer) = lane.timer.replace(deadline) {
            self.timers.remove(timer, Timer::Lane(place));
        }
        self.timers.insert(deadline, Timer::Lane(place));
    }

    /// Gives up the machine that is kept for a class, and forgets how often it was overtaken.
    pub(crate) fn unreserve(&mut self, class: ClassId) {
        let entry = self.classes.get_mut(class);
        entry.overtaken = 0;
        if let Some(id) = entry.reserved.take() {
            self.machines.get_mut(id).reserved = None;
            self.freed.push(id);
        }
    }

    /// Starts what can start on a machine with more room than before.
    fn place_on(&mut self, now: Time, id: MachineId) {
        // Who stands before this place in line does not fit, and will not: room only shrinks.
        let mut from = Bound::Unbounded;
        while let Some(machine) = self.machines.find(id) {
            let is_full = self.classes.cpus_min().is_none_or(|min| machine.free.cpus < min);
            if is_full || !machine.takes_lanes() {
                break;
            }
            let next = self.classes.line(from).find(|turn| {
                let entry = self.classes.get(turn.class);
                entry.has_lane_left() && machine.has_room(turn.class, entry)
            });
            let Some(turn) = next else { break };
            // Unless the machine was kept for this class: now others may have it, too.
            let was_kept = machine.reserved.is_some_and(|(class, _)| class == turn.class);
            from = if was_kept { Bound::Unbounded } else { Bound::Excluded(turn) };
            self.open_lane(now, id, turn.class);
        }
    }

    /// Starts as many jobs of a class as can start anywhere.
    fn place_class(&mut self, now: Time, class: ClassId) {
        while let Some(machine) = self.find_room(class) {
            self.open_lane(now, machine, class);
        }
    }

    /// A machine on which a waiting job of this class can start; the one with most free
    /// processors, and of those the oldest.
    fn find_room(&self, class: ClassId) -> Option<MachineId> {
        let entry = self.classes.find(class)?;
        if entry.turn.is_none() || !entry.has_lane_left() {
            return None;
        }
        let has_room = |machine: &&Machine| machine.has_room(class, entry);
        let only_on = &entry.class.placement.only_on;
        let found = if only_on.is_empty() {
            self.machines.with_free(entry.class.resources.cpus).find(has_room)
        } else {
            let bound = only_on.iter().filter_map(|&id| self.machines.find(id));
            bound.filter(has_room).min_by_key(|machine| (Reverse(machine.free.cpus), machine.id))
        };
        found.map(|machine| machine.id)
    }

    /// Opens a lane for a class with waiting jobs on a machine with room, and fills it.
    fn open_lane(&mut self, now: Time, machine: MachineId, class: ClassId) {
        let entry = self.classes.get_mut(class);
        let head = entry.queue.first().expect("lanes are opened for waiting jobs");
        let alone = self.jobs.get(head.0).expect("a waiting job has a record").is_alone();
        let depth = if alone { 1 } else { entry.depth() };
        entry.lanes += 1;
        let lane = self.machines.open_lane(now, machine, (class, &entry.class), alone);
        let place = Place { machine, lane };
        self.fill(now, place, depth);
        self.set_timer(place);
    }

    fn close_lane(&mut self, place: Place) {
        let lane = self.machines.close_lane(place.machine, place.lane, &self.classes);
        if let Some(timer) = lane.timer {
            self.timers.remove(timer, Timer::Lane(place));
        }
        let Place { machine, lane: lane_id } = place;
        self.outputs.push_back(Output::CloseLane { machine, lane: lane_id });
        self.freed.push(machine);
        self.lane_is_gone(lane.class);
    }

    /// Counts a lane of this class that is there no more.
    pub(crate) fn lane_is_gone(&mut self, class: ClassId) {
        let entry = self.classes.get_mut(class);
        if !entry.has_lane_left() {
            self.arrived.push(class);
        }
        entry.lanes -= 1;
        self.classes.forget_unused(class);
    }

    /// How many jobs the lane is to get now.
    fn refill_count(&self, now: Time, place: Place) -> Option<usize> {
        let machine = self.machines.get(place.machine);
        let lane = machine.lanes.get(&place.lane)?;
        if lane.closing || lane.alone || !machine.takes_jobs() {
            return None;
        }
        let entry = self.classes.get(lane.class);
        let turn = entry.turn?;
        let (held, depth) = (lane.jobs.len(), entry.depth());
        if held * 2 > depth || self.jobs.get(turn.head.0).is_some_and(Job::is_alone) {
            return None;
        }
        let is_old = now.since(lane.opened) >= limits::LANE_WORK_MAX;
        let is_its_turn = self.is_turn(machine, turn, is_old);
        is_its_turn.then(|| depth - held)
    }

    /// Whether a lane of this class may go on with more jobs: nobody with more right to the room
    /// waits for it.
    ///
    /// An older job of the same priority in another class has more right to it only if the lane
    /// `is_old`: lanes that change classes for each job of a microsecond would do little else.
    fn is_turn(&self, machine: &Machine, turn: Turn, is_old: bool) -> bool {
        if !machine.is_open_to(turn.class, turn.priority.0) {
            return false;
        }
        let own = &self.classes.get(turn.class).class.resources;
        !self.classes.before(turn).any(|other| {
            let class = &other.class;
            (is_old || class.priority > turn.priority.0)
                && other.has_lane_left()
                && fits_with(&class.resources, &machine.free, own)
                && machine.admits(&class.placement)
                && other.turn.is_some_and(|t| machine.is_open_to(t.class, class.priority))
        })
    }

    /// Puts waiting jobs of its class at the end of a lane: `count`, or as many as there are.
    fn fill(&mut self, now: Time, place: Place, count: usize) {
        let machine = self.machines.get_mut(place.machine);
        let lane = machine.lanes.get_mut(&place.lane).expect("only open lanes are filled");
        let class = lane.class;
        let entry = self.classes.get_mut(class);
        let turn = entry.turn.expect("a class with waiting jobs that may run here is in line");
        let mut started = 0;
        while started < count {
            let Some(head) = entry.queue.first() else { break };
            let job = self.jobs.get(head.0).expect("a waiting job has a record");
            if job.is_alone() != lane.alone {
                break;
            }
            let jobs = &self.jobs;
            entry.queue.pop(|id| jobs.get(id.0).is_some_and(|job| job.state == State::Waiting));
            let job = self.jobs.get_mut(head.0).expect("a waiting job has a record");
            job.attempts += 1;
            if lane.jobs.is_empty() {
                lane.since = now;
                lane.stopped = false;
                job.set_state(&mut self.counts, State::Running(place));
            } else {
                job.set_state(&mut self.counts, State::Queued(place));
            }
            let attempt = Attempt(job.attempts);
            lane.jobs.push_back(LaneJob { job: head, attempt, recalled: false, ghost: false });
            self.outputs.push_back(Output::Run {
                machine: place.machine,
                lane: place.lane,
                job: head,
                attempt,
                class,
                deaths: job.deaths.into(),
            });
            started += 1;
        }
        self.count_overtaken(turn, place.machine, started);
        self.classes.update_turn(class);
        self.unreserve(class);
    }

    /// Counts starts on a machine for those who stand before in line and found no room there. Who
    /// has been overtaken too often gets the machine for itself: it is one on which it would fit.
    fn count_overtaken(&mut self, turn: Turn, machine: MachineId, starts: usize) {
        let machine = self.machines.get_mut(machine);
        let own = Arc::clone(&self.classes.get(turn.class).class);
        self.classes.for_each_before(turn, |id, entry| {
            let class = &entry.class;
            if id == turn.class
                || !entry.has_lane_left()
                || !machine.suits(class)
                || fits_with(&class.resources, &machine.free, &own.resources)
            {
                return;
            }
            let starts = u32::try_from(starts).unwrap_or(u32::MAX);
            entry.overtaken = entry.overtaken.saturating_add(starts);
            if entry.overtaken >= limits::OVERTAKES_MAX
                && entry.reserved.is_none()
                && machine.reserved.is_none()
            {
                entry.reserved = Some(machine.id);
                machine.reserved = Some((id, class.priority));
            }
        });
    }

    /// The lanes of a machine, if there is such a machine.
    pub(crate) fn lane_ids(&self, machine: MachineId) -> Vec<LaneId> {
        self.machines.find(machine).map_or_else(Vec::new, |m| m.lanes.keys().copied().collect())
    }
}

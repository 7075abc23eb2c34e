//! How attempts end, and what comes after: retries, losses, lanes that stall.

use std::time::Duration;

use pleiad_types::{Attempt, JobId, MachineId, Time, limits};

use crate::job::{Place, State};
use crate::scheduler::Scheduler;
use crate::spec::{End, Failure, Outcome, Output, StopCause};
use crate::timers::Timer;

impl<P> Scheduler<P> {
    /// Takes note of the end of an attempt. False if it is not in that lane (any more).
    pub(crate) fn attempt_ended(
        &mut self,
        now: Time,
        place: Place,
        (job, attempt): (JobId, Attempt),
        ran: Duration,
        end: End<P>,
    ) -> bool {
        let Some(machine) = self.machines.find_mut(place.machine) else { return false };
        let Some(lane) = machine.lanes.get_mut(&place.lane) else { return false };
        let Some(index) = lane.position(job, attempt) else { return false };
        let entry = lane.jobs.remove(index).expect("the position is in the lane");
        let has_run = !matches!(end, End::NotStarted);
        if has_run {
            machine.ran += ran;
        } else if !entry.ghost {
            lane.closing = true;
        }
        if matches!(end, End::Succeeded(_) | End::Failed(_)) {
            self.classes.get_mut(lane.class).measure(ran);
        }
        if entry.ghost {
            self.stale += u64::from(has_run);
        } else {
            let succeeded = self.judge(now, job, end);
            let machine = self.machines.get_mut(place.machine);
            machine.succeeded += u64::from(succeeded);
            machine.failed += u64::from(has_run && !succeeded);
        }
        if index == 0 {
            self.next_runs(now, place);
        }
        self.refill(now, place);
        true
    }

    /// Decides what becomes of a job after an attempt, which is out of its lane already. True if
    /// it has succeeded.
    fn judge(&mut self, now: Time, job_id: JobId, end: End<P>) -> bool {
        let job = self.jobs.get_mut(job_id.0).expect("a job in a lane has a record");
        let stop = if let State::Stopping(_, cause) = job.state { Some(cause) } else { None };
        if matches!(end, End::NotStarted) {
            job.attempts -= 1;
        }
        if stop == Some(StopCause::Cancelled) {
            self.finish(job_id, Outcome::Cancelled);
            return false;
        }
        if stop == Some(StopCause::Early) && !matches!(end, End::Succeeded(_)) {
            self.finish(job_id, Outcome::Cancelled);
            return false;
        }
        let once = self.classes.get(job.class).class.once;
        let limit = stop == Some(StopCause::Limit);
        match end {
            End::Succeeded(result) => {
                self.finish(job_id, Outcome::Succeeded(result));
                return true;
            }
            End::NotStarted => self.enqueue(job_id),
            End::Impossible(why) => self.fail(job_id, Failure::Impossible(why)),
            End::Failed(why) | End::Died(why) | End::Stopped(why) if limit => {
                self.retry(now, job_id, Failure::LimitReached(why));
            }
            End::Interrupted | End::Died(_) if once => self.fail(job_id, Failure::LostOnce),
            End::Interrupted => self.enqueue(job_id),
            End::Failed(why) | End::Stopped(why) => self.retry(now, job_id, Failure::Failed(why)),
            End::Died(why) => self.died(job_id, why),
        }
        false
    }

    /// Retries a job that has failed, if it may; else it is final.
    fn retry(&mut self, now: Time, job_id: JobId, failure: Failure<P>) {
        let job = self.jobs.get_mut(job_id.0).expect("a job that fails has a record");
        job.failures += 1;
        let (attempt, failures) = (Attempt(job.attempts), job.failures);
        let class = &self.classes.get(job.class).class;
        if class.once || failures > class.retries.min(limits::RETRIES_MAX) {
            self.fail(job_id, failure);
            return;
        }
        let wait = class.backoff.wait(failures);
        self.outputs.push_back(Output::Retry { job: job_id, attempt, failure, wait });
        if wait.is_zero() {
            self.enqueue(job_id);
        } else {
            let until = now + wait;
            job.set_state(&mut self.counts, State::BackingOff { until });
            self.timers.insert(until, Timer::Retry(job_id));
        }
    }

    /// Counts a worker that died while it ran this job, which is not `once`.
    fn died(&mut self, job_id: JobId, why: P) {
        let job = self.jobs.get_mut(job_id.0).expect("a job whose worker died has a record");
        job.deaths = job.deaths.saturating_add(1);
        let failure = Failure::Poison(why);
        if u32::from(job.deaths) >= limits::DEATHS_MAX {
            self.fail(job_id, failure);
            return;
        }
        let attempt = Attempt(job.attempts);
        self.outputs.push_back(Output::Retry {
            job: job_id,
            attempt,
            failure,
            wait: Duration::ZERO,
        });
        self.enqueue(job_id);
    }

    fn fail(&mut self, job_id: JobId, failure: Failure<P>) {
        self.finish(job_id, Outcome::Failed(failure));
    }

    /// The first job of the lane has ended: the machine has begun with the next one.
    fn next_runs(&mut self, now: Time, place: Place) {
        let machine = self.machines.get_mut(place.machine);
        let lane = machine.lanes.get_mut(&place.lane).expect("its lane is open");
        lane.since = now;
        lane.stopped = false;
        let Some(first) = lane.jobs.front().copied() else { return };
        if first.ghost {
            self.stop(place, StopCause::Cancelled);
        } else {
            let job = self.jobs.get_mut(first.job.0).expect("a job in a lane has a record");
            job.set_state(&mut self.counts, State::Running(place));
        }
    }

    /// Has the first job of a lane stopped.
    pub(crate) fn stop(&mut self, place: Place, cause: StopCause) {
        let machine = self.machines.get_mut(place.machine);
        let lane = machine.lanes.get_mut(&place.lane).expect("its lane is open");
        lane.stopped = true;
        let first = lane.jobs.front().copied().expect("a lane that runs has a first job");
        if !first.ghost {
            let job = self.jobs.get_mut(first.job.0).expect("a job in a lane has a record");
            job.set_state(&mut self.counts, State::Stopping(place, cause));
        }
        self.outputs.push_back(Output::Stop {
            machine: place.machine,
            lane: place.lane,
            job: first.job,
            attempt: first.attempt,
            cause,
        });
    }

    /// Looks at a lane whose timer has rung.
    pub(crate) fn look_at(&mut self, now: Time, place: Place) {
        let machine = self.machines.get_mut(place.machine);
        let lane = machine.lanes.get_mut(&place.lane).expect("a closed lane has no timer");
        lane.timer = None;
        let entry = self.classes.get_mut(lane.class);
        let ran = now.since(lane.since);
        let stalled = lane.jobs.len() > 1 && !lane.recalled && ran >= limits::LANE_STALL;
        let over_limit = !lane.stopped && entry.class.limit.is_some_and(|limit| ran >= limit);
        if stalled {
            entry.measure_stall(ran);
            self.recall(place);
        }
        if over_limit {
            self.stop(place, StopCause::Limit);
        }
        self.set_timer(place);
    }

    /// Takes a machine out of the books, with all that was in its lanes.
    pub(crate) fn lose_machine(&mut self, id: MachineId) {
        let Some(machine) = self.machines.find(id) else { return };
        self.classes.remove_machine(machine);
        let Some(machine) = self.machines.remove(id) else { return };
        if let Some((class, _)) = machine.reserved {
            self.classes.get_mut(class).reserved = None;
        }
        for (lane_id, lane) in machine.lanes {
            let place = Place { machine: id, lane: lane_id };
            if let Some(timer) = lane.timer {
                self.timers.remove(timer, Timer::Lane(place));
            }
            let once = self.classes.get(lane.class).class.once;
            for entry in lane.jobs.iter().filter(|entry| !entry.ghost) {
                let job = self.jobs.get(entry.job.0).expect("a job in a lane has a record");
                if matches!(job.state, State::Stopping(_, StopCause::Cancelled)) {
                    self.finish(entry.job, Outcome::Cancelled);
                } else if once {
                    // Those behind the first may have begun, too: the books are behind the times.
                    self.fail(entry.job, Failure::LostOnce);
                } else {
                    self.enqueue(entry.job);
                }
            }
            self.lane_is_gone(lane.class);
        }
    }
}

use std::collections::VecDeque;
use std::time::Duration;

use pleiad_types::{Attempt, JobId, LaneId, MachineId, Resources, Time};

use crate::classes::Classes;
use crate::job::{Job, Place, State};
use crate::machine::{Machine, Machines};
use crate::spec::{
    CancelResult, Class, ClassId, Counts, End, Explanation, JobView, MachineSpec, MachineView,
    Outcome, Output, StopCause, SubmitError,
};
use crate::table::Table;
use crate::timers::{Timer, Timers};

/// The books of a cluster, and the one who decides. See the [crate's page](crate).
///
/// After each call that takes the time, take all [outputs](Self::poll_output), in order; and call
/// [`handle_timeout`](Self::handle_timeout) at the time of [`poll_timeout`](Self::poll_timeout).
/// The time must never go back.
///
/// No call costs more for more waiting jobs. What a call costs grows with the number of classes
/// that wait before the one concerned, and with the size of one machine; only where it says so
/// with the number of machines.
#[derive(Debug)]
pub struct Scheduler<P> {
    pub(crate) jobs: Table<Job>,
    pub(crate) last_job: u64,
    pub(crate) classes: Classes,
    pub(crate) machines: Machines,
    pub(crate) timers: Timers,
    pub(crate) counts: Counts,
    pub(crate) stale: u64,
    pub(crate) outputs: VecDeque<Output<P>>,
    // What `settle` has to look at; all three are empty between two calls.
    /// Final jobs for which others wait, or which are to be forgotten.
    pub(crate) ended: VecDeque<JobId>,
    /// Machines with more room than before.
    pub(crate) freed: Vec<MachineId>,
    /// Classes that may start jobs where they could not before.
    pub(crate) arrived: Vec<ClassId>,
}

impl<P> Scheduler<P> {
    /// A cluster without machines and jobs.
    pub fn new() -> Self {
        Self {
            jobs: Table::new(),
            last_job: 0,
            classes: Classes::default(),
            machines: Machines::default(),
            timers: Timers::default(),
            counts: Counts::default(),
            stale: 0,
            outputs: VecDeque::new(),
            ended: VecDeque::new(),
            freed: Vec::new(),
            arrived: Vec::new(),
        }
    }

    /// Gives the number of this class; equal classes have equal numbers. It stays valid until
    /// [`release_class`](Self::release_class) has been called as often as this, and no job has it.
    ///
    /// Named resources of which it takes 0 are left out. For a new class the cost grows with the
    /// number of machines.
    pub fn class(&mut self, class: Class) -> ClassId {
        self.classes.intern(class, self.machines.iter())
    }

    /// Says once that a number given by [`class`](Self::class) is no longer needed.
    pub fn release_class(&mut self, class: ClassId) {
        self.classes.release(class);
    }

    /// The class of this number, while that is valid.
    pub fn class_of(&self, class: ClassId) -> Option<&Class> {
        self.classes.find(class).map(|entry| &*entry.class)
    }

    /// Accepts a job that starts after all of `after` have succeeded.
    ///
    /// If one of them does not succeed, or has not, the job fails with
    /// [`Failure::Dependency`](crate::Failure::Dependency). Its record is kept until
    /// [`release`](Self::release). If its class has no other waiting jobs, the search for a machine
    /// may look at all that have enough free processors.
    ///
    /// # Errors
    ///
    /// If there is no such class, or one of `after` is unknown or released. Nothing is changed.
    pub fn submit(
        &mut self,
        now: Time,
        class: ClassId,
        after: &[JobId],
    ) -> Result<JobId, SubmitError> {
        if self.classes.find(class).is_none() {
            return Err(SubmitError::NoSuchClass(class));
        }
        let after = self.known_dependencies(after)?;
        self.last_job += 1;
        let job = JobId(self.last_job);
        self.jobs.insert(job.0, Job::new(class));
        self.counts.blocked += 1;
        self.classes.get_mut(class).jobs += 1;
        if after.is_empty() {
            self.enqueue(job);
        } else {
            self.block(job, after);
        }
        self.settle(now);
        Ok(job)
    }

    /// Ends a job as [`Outcome::Cancelled`], whatever it is doing.
    ///
    /// After this, no result of it is handed over: a result on its way comes too late. Jobs that
    /// wait for it fail. To cancel twice does no harm.
    pub fn cancel(&mut self, now: Time, job_id: JobId) -> CancelResult {
        let job = match self.jobs.get_mut(job_id.0) {
            Some(job) if !job.released => job,
            _ => return CancelResult::NoSuchJob,
        };
        let result = match job.state {
            State::Succeeded | State::Failed | State::Cancelled => CancelResult::AlreadyFinal,
            State::Running(place) => {
                self.stop(place, StopCause::Cancelled);
                CancelResult::Stopping
            }
            State::Stopping(place, _) => {
                job.state = State::Stopping(place, StopCause::Cancelled);
                CancelResult::Stopping
            }
            State::Queued(place) => {
                self.cancel_queued(job_id, place);
                CancelResult::Cancelled
            }
            State::Blocked { .. } => {
                self.finish(job_id, Outcome::Cancelled);
                CancelResult::Cancelled
            }
            State::BackingOff { until } => {
                self.timers.remove(until, Timer::Retry(job_id));
                self.finish(job_id, Outcome::Cancelled);
                CancelResult::Cancelled
            }
            State::Waiting => {
                let class = job.class;
                self.finish(job_id, Outcome::Cancelled);
                let jobs = &self.jobs;
                let waits = |id: JobId| jobs.get(id.0).is_some_and(|j| j.state == State::Waiting);
                self.classes.get_mut(class).queue.remove(job_id, waits);
                self.queue_changed(class);
                CancelResult::Cancelled
            }
        };
        self.settle(now);
        result
    }

    /// Asks a job for what it has so far. If it runs it is told to stop, and the result that it
    /// still gives is taken; any other end, and any job that does not run, is
    /// [`Outcome::Cancelled`].
    pub fn finish_early(&mut self, now: Time, job_id: JobId) -> CancelResult {
        let Some(job) = self.jobs.get(job_id.0).filter(|job| !job.released) else {
            return CancelResult::NoSuchJob;
        };
        match job.state {
            State::Running(place) => {
                self.stop(place, StopCause::Early);
                self.settle(now);
                CancelResult::Stopping
            }
            // Its limit gives it the same chance.
            State::Stopping(..) => CancelResult::Stopping,
            _ => self.cancel(now, job_id),
        }
    }

    /// Nobody will ask for this job again or wait for it: its record goes once it is final.
    ///
    /// It runs all the same, and jobs that wait for it already still do.
    pub fn release(&mut self, job_id: JobId) {
        let Some(job) = self.jobs.get_mut(job_id.0) else { return };
        job.released = true;
        if job.state.is_final() {
            self.forget(job_id);
        }
    }

    /// Takes a machine in, and gives it jobs. Numbers are given from 1 on, and not again.
    pub fn machine_joined(&mut self, now: Time, spec: MachineSpec) -> MachineId {
        let id = self.machines.join(spec);
        self.classes.add_machine(self.machines.get(id));
        self.freed.push(id);
        self.settle(now);
        id
    }

    /// Says what a machine lends from now on.
    ///
    /// If that is less than its lanes take, they go on with the jobs they have, and no job starts
    /// there until the lanes that are left fit.
    pub fn set_resources(&mut self, now: Time, machine: MachineId, resources: Resources) {
        self.change_machine(now, machine, |machine, classes| {
            machine.spec.resources = resources;
            machine.count_free(classes);
        });
    }

    /// Says whether a machine is to take no new jobs. Those that run go on; those that stand
    /// behind them are asked back.
    pub fn drain(&mut self, now: Time, machine: MachineId, draining: bool) {
        if draining {
            for lane in self.lane_ids(machine) {
                self.recall(Place { machine, lane });
            }
        }
        self.change_machine(now, machine, |machine, _| machine.draining = draining);
    }

    /// A machine is gone, with all that ran there. What it still says is late news.
    ///
    /// Its jobs are tried again elsewhere, without blame. Those that are
    /// [`once`](Class::once) are lost, also those that the books have behind another job: they may
    /// have begun.
    pub fn machine_lost(&mut self, now: Time, machine: MachineId) {
        self.lose_machine(machine);
        self.settle(now);
    }

    /// Takes note of how an attempt ended; `ran` is how long it ran, as measured there.
    ///
    /// A machine must say this exactly once for each [`Output::Run`], in the order in which the
    /// jobs of a lane end. With its first [`End::NotStarted`] for a job that is not cancelled, a
    /// lane gets no more jobs. Late news (of another attempt or lane) is counted and dropped.
    #[expect(clippy::too_many_arguments, reason = "it is one message")]
    pub fn handle_ended(
        &mut self,
        now: Time,
        machine: MachineId,
        lane: LaneId,
        job: JobId,
        attempt: Attempt,
        ran: Duration,
        end: End<P>,
    ) {
        let place = Place { machine, lane };
        if self.attempt_ended(now, place, (job, attempt), ran, end) {
            self.settle(now);
        } else {
            self.stale += 1;
        }
    }

    /// Does what is due: limits, retries, lanes that stall. Harmless at any time.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some(timer) = self.timers.pop(now) {
            match timer {
                Timer::Lane(place) => self.look_at(now, place),
                Timer::Retry(job) => self.enqueue(job),
            }
        }
        self.settle(now);
    }

    /// When to call [`handle_timeout`](Self::handle_timeout); that may turn out to be too early.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.timers.next()
    }

    /// What to do next, until `None`. All jobs that a lane gets at once come one after the other.
    pub fn poll_output(&mut self) -> Option<Output<P>> {
        self.outputs.pop_front()
    }

    /// What is known of a job, until it is final and released.
    pub fn job(&self, job: JobId) -> Option<JobView> {
        self.jobs.get(job.0).map(|job| self.view_job(job))
    }

    /// All jobs that have a record, in the order of submission.
    pub fn jobs(&self) -> impl Iterator<Item = (JobId, JobView)> + '_ {
        self.jobs.iter().map(|(id, job)| (JobId(id), self.view_job(job)))
    }

    /// Why a job does not run. The cost grows with the number of machines, and of jobs of its class
    /// that came back to wait again.
    pub fn explain(&self, job: JobId) -> Explanation {
        self.explain_job(job)
    }

    /// How many jobs are in which state.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// All machines, in the order in which they joined.
    pub fn machines(&self) -> impl Iterator<Item = MachineView> + '_ {
        self.machines.iter().map(Machine::view)
    }

    /// One machine, until it is lost.
    pub fn machine(&self, machine: MachineId) -> Option<MachineView> {
        self.machines.find(machine).map(Machine::view)
    }

    /// Late messages dropped.
    pub fn stale(&self) -> u64 {
        self.stale
    }

    /// Compares all books. For tests; the cost grows with all that is in them.
    ///
    /// # Panics
    ///
    /// If they contradict each other.
    pub fn sanity_check(&self) {
        self.check();
    }

    /// Cancels a job that stands behind another in a lane. The machine may have begun with it, so
    /// it stays in the lane until the machine has said what became of it.
    fn cancel_queued(&mut self, job_id: JobId, place: Place) {
        let job = self.jobs.get_mut(job_id.0).expect("a queued job has a record");
        let attempt = Attempt(job.attempts);
        job.attempts -= 1;
        self.finish(job_id, Outcome::Cancelled);
        let Place { machine, lane: lane_id } = place;
        let lane = self.machines.get_mut(machine).lanes.get_mut(&lane_id);
        let entry = lane.and_then(|l| l.jobs.iter_mut().find(|entry| entry.job == job_id));
        let entry = entry.expect("a queued job is in its lane");
        entry.ghost = true;
        if !entry.recalled {
            entry.recalled = true;
            self.outputs.push_back(Output::Recall { machine, lane: lane_id, job: job_id, attempt });
        }
    }

    /// Changes what a machine may take; its reservation goes if it is in vain after that.
    fn change_machine(
        &mut self,
        now: Time,
        id: MachineId,
        change: impl FnOnce(&mut Machine, &Classes),
    ) {
        let Some(machine) = self.machines.find_mut(id) else { return };
        self.classes.remove_machine(machine);
        change(machine, &self.classes);
        self.classes.add_machine(machine);
        if let Some((class, _)) = machine.reserved
            && !machine.suits(&self.classes.get(class).class)
        {
            machine.reserved = None;
            self.classes.get_mut(class).reserved = None;
        }
        self.machines.list(id);
        self.freed.push(id);
        self.settle(now);
    }
}

impl<P> Default for Scheduler<P> {
    fn default() -> Self {
        Self::new()
    }
}

//! A cluster in virtual time: machines that do what they are told, and that tests can have do
//! anything else.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use pleiad_sched::{
    CancelResult, Class, ClassId, End, Explanation, JobState, MachineSpec, Outcome, Output,
    Scheduler, StopCause,
};
use pleiad_types::{Attempt, ComputationId, Cpus, JobId, LaneId, MachineId, Resources, Time};

/// The scheduler, and machines that obey at once but end jobs only when told so.
pub(crate) struct World {
    pub(crate) sched: Scheduler<&'static str>,
    pub(crate) now: Time,
    /// The jobs in each lane, as the machines have them.
    pub(crate) lanes: BTreeMap<(MachineId, LaneId), VecDeque<(JobId, Attempt)>>,
    /// All outputs so far.
    pub(crate) log: Vec<Output<&'static str>>,
    /// Machines answer recalls by themselves. Default: yes.
    pub(crate) answers_recalls: bool,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            sched: Scheduler::new(),
            now: Time::from_millis(1_000),
            lanes: BTreeMap::new(),
            log: Vec::new(),
            answers_recalls: true,
        }
    }

    /// A world with one machine of so many processors.
    pub(crate) fn with_cpus(cpus: u32) -> (Self, MachineId) {
        let mut world = Self::new();
        let machine = world.join(cpus);
        (world, machine)
    }

    pub(crate) fn join(&mut self, cpus: u32) -> MachineId {
        self.join_spec(Resources { cpus: cpus.into(), ..Resources::default() }, &[])
    }

    pub(crate) fn join_spec(&mut self, resources: Resources, tags: &[&str]) -> MachineId {
        let tags = tags.iter().map(|&tag| tag.to_owned()).collect();
        let spec = MachineSpec { name: "m".to_owned(), resources, tags };
        let id = self.sched.machine_joined(self.now, spec);
        self.pump();
        id
    }

    pub(crate) fn class(&mut self, class: Class) -> ClassId {
        self.sched.class(class)
    }

    pub(crate) fn submit(&mut self, class: ClassId) -> JobId {
        self.submit_after(class, &[])
    }

    pub(crate) fn submit_after(&mut self, class: ClassId, after: &[JobId]) -> JobId {
        let job = self.sched.submit(self.now, class, after).unwrap();
        self.pump();
        job
    }

    pub(crate) fn submit_many(&mut self, class: ClassId, count: usize) -> Vec<JobId> {
        let submit = |_| self.sched.submit(self.now, class, &[]).unwrap();
        let jobs = (0..count).map(submit).collect();
        self.pump();
        jobs
    }

    pub(crate) fn cancel(&mut self, job: JobId) -> CancelResult {
        let result = self.sched.cancel(self.now, job);
        self.pump();
        result
    }

    pub(crate) fn finish_early(&mut self, job: JobId) -> CancelResult {
        let result = self.sched.finish_early(self.now, job);
        self.pump();
        result
    }

    pub(crate) fn lose(&mut self, machine: MachineId) {
        self.lanes.retain(|(id, _), _| *id != machine);
        self.sched.machine_lost(self.now, machine);
        self.pump();
    }

    pub(crate) fn drain(&mut self, machine: MachineId, draining: bool) {
        self.sched.drain(self.now, machine, draining);
        self.pump();
    }

    /// Ends a job that is in a lane, after it has run for a second.
    pub(crate) fn end(&mut self, job: JobId, end: End<&'static str>) {
        self.end_after(job, Duration::from_secs(1), end);
    }

    pub(crate) fn end_after(&mut self, job: JobId, ran: Duration, end: End<&'static str>) {
        let (&(machine, lane), jobs) = self
            .lanes
            .iter_mut()
            .find(|(_, jobs)| jobs.iter().any(|&(id, _)| id == job))
            .unwrap_or_else(|| panic!("{job} is in no lane"));
        let index = jobs.iter().position(|&(id, _)| id == job).unwrap();
        let (_, attempt) = jobs.remove(index).unwrap();
        self.tell(machine, lane, job, attempt, ran, end);
    }

    pub(crate) fn succeed(&mut self, job: JobId) {
        self.end(job, End::Succeeded("ok"));
    }

    /// A message to the scheduler, whether it is true or not.
    pub(crate) fn tell(
        &mut self,
        machine: MachineId,
        lane: LaneId,
        job: JobId,
        attempt: Attempt,
        ran: Duration,
        end: End<&'static str>,
    ) {
        self.sched.handle_ended(self.now, machine, lane, job, attempt, ran, end);
        self.pump();
    }

    /// Lets time pass; the scheduler is woken when it wants to be.
    pub(crate) fn advance(&mut self, millis: u64) {
        let end = self.now + Duration::from_millis(millis);
        while let Some(at) = self.sched.poll_timeout().filter(|&at| at <= end) {
            self.now = self.now.max(at);
            self.sched.handle_timeout(self.now);
            self.pump();
        }
        self.now = end;
    }

    /// Ends all running jobs well, lane by lane, until nothing runs; each has run for `ran`, one
    /// millisecond after the other. Gives the order in which they ended.
    pub(crate) fn run_all(&mut self, ran: Duration) -> Vec<JobId> {
        let mut order = Vec::new();
        while let Some(job) = self.lanes.values().find_map(|jobs| jobs.front()) {
            let job = job.0;
            self.advance(1);
            self.end_after(job, ran, End::Succeeded("ok"));
            order.push(job);
        }
        order
    }

    /// Ends running jobs well, the oldest first, until this one runs. Gives how many.
    pub(crate) fn run_until_running(&mut self, job: JobId) -> usize {
        let mut ended = 0;
        while !self.is_running(job) {
            let oldest = self.oldest_running();
            self.succeed(oldest);
            ended += 1;
        }
        ended
    }

    pub(crate) fn oldest_running(&self) -> JobId {
        self.lanes.values().filter_map(|jobs| jobs.front()).min().unwrap().0
    }

    pub(crate) fn free(&self, machine: MachineId) -> Cpus {
        self.sched.machine(machine).unwrap().free.cpus
    }

    pub(crate) fn state(&self, job: JobId) -> JobState {
        self.sched.job(job).unwrap().state
    }

    pub(crate) fn is_running(&self, job: JobId) -> bool {
        matches!(self.state(job), JobState::Running { .. })
    }

    pub(crate) fn place(&self, job: JobId) -> (MachineId, LaneId) {
        match self.state(job) {
            JobState::Queued { machine, lane }
            | JobState::Running { machine, lane, .. }
            | JobState::Stopping { machine, lane, .. } => (machine, lane),
            state => panic!("{job} is in no lane: {state:?}"),
        }
    }

    /// How a job ended; panics if it did not, or more than once.
    pub(crate) fn outcome(&self, job: JobId) -> Outcome<&'static str> {
        let of_job = self.log.iter().filter_map(|output| match output {
            Output::Finish { job: id, outcome, .. } if *id == job => Some(outcome.clone()),
            _ => None,
        });
        let all: Vec<_> = of_job.collect();
        assert_eq!(all.len(), 1, "{job}: {all:?}");
        all[0].clone()
    }

    pub(crate) fn explain(&self, job: JobId) -> Explanation {
        self.sched.explain(job)
    }

    /// The last attempt of a final job.
    pub(crate) fn finished_attempt(&self, job: JobId) -> Option<Attempt> {
        let of_job = self.log.iter().find_map(|output| match output {
            Output::Finish { job: id, attempt, .. } if *id == job => Some(*attempt),
            _ => None,
        });
        of_job.expect("it is final")
    }

    /// The jobs in the order in which they were started.
    pub(crate) fn started(&self) -> Vec<JobId> {
        self.starts().into_iter().map(|(job, _)| job).collect()
    }

    /// The starts in the order in which they were told, since the log was cleared.
    pub(crate) fn starts(&self) -> Vec<(JobId, Attempt)> {
        let starts = self.log.iter().filter_map(|output| match output {
            Output::Run { job, attempt, .. } => Some((*job, *attempt)),
            _ => None,
        });
        starts.collect()
    }

    pub(crate) fn stops(&self) -> Vec<(JobId, StopCause)> {
        let stops = self.log.iter().filter_map(|output| match output {
            Output::Stop { job, cause, .. } => Some((*job, *cause)),
            _ => None,
        });
        stops.collect()
    }

    pub(crate) fn recalls(&self) -> Vec<JobId> {
        let recalls = self.log.iter().filter_map(|output| match output {
            Output::Recall { job, .. } => Some(*job),
            _ => None,
        });
        recalls.collect()
    }

    /// Nothing is open, runs or waits.
    pub(crate) fn assert_idle(&self) {
        assert_eq!(self.sched.counts().unfinished(), 0);
        assert!(self.sched.machines().all(|machine| machine.lanes.is_empty()));
        assert!(self.lanes.is_empty(), "{:?}", self.lanes);
        assert_eq!(self.sched.poll_timeout(), None);
    }

    /// Does what the scheduler wants, until it wants nothing more.
    fn pump(&mut self) {
        loop {
            let mut not_started = Vec::new();
            while let Some(output) = self.sched.poll_output() {
                self.act(&output, &mut not_started);
                self.log.push(output);
            }
            self.sched.sanity_check();
            if not_started.is_empty() {
                break;
            }
            for (machine, lane, job, attempt) in not_started {
                let ran = Duration::ZERO;
                let end = End::NotStarted;
                self.sched.handle_ended(self.now, machine, lane, job, attempt, ran, end);
            }
        }
    }

    fn act(
        &mut self,
        output: &Output<&'static str>,
        not_started: &mut Vec<(MachineId, LaneId, JobId, Attempt)>,
    ) {
        match *output {
            Output::Run { machine, lane, job, attempt, .. } => {
                self.lanes.entry((machine, lane)).or_default().push_back((job, attempt));
            }
            Output::CloseLane { machine, lane } => {
                let jobs = self.lanes.remove(&(machine, lane)).expect("only open lanes are closed");
                assert!(jobs.is_empty(), "{lane} is closed with {jobs:?} in it");
            }
            Output::Recall { machine, lane, job, attempt } if self.answers_recalls => {
                let jobs = self.lanes.get_mut(&(machine, lane)).unwrap();
                let index = jobs.iter().position(|&entry| entry == (job, attempt)).unwrap();
                if index > 0 {
                    jobs.remove(index);
                    not_started.push((machine, lane, job, attempt));
                }
            }
            _ => {}
        }
    }
}

/// The class of jobs that take one processor, of computation 1.
pub(crate) fn plain() -> Class {
    Class::new(ComputationId(1))
}

/// Jobs of so many processors.
pub(crate) fn cpus(cpus: u32) -> Class {
    Class { resources: cpus_only(cpus), ..plain() }
}

pub(crate) fn cpus_only(cpus: u32) -> Resources {
    Resources { cpus: cpus.into(), ..Resources::default() }
}

pub(crate) fn tags(tags: &[&str]) -> BTreeSet<String> {
    tags.iter().map(|&tag| tag.to_owned()).collect()
}

//! A cluster in which everything that can go wrong does.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use pleiad_sched::{
    Backoff, Class, ClassId, End, JobState, JobView, MachineSpec, Outcome, Output, Placement,
    Scheduler,
};
use pleiad_types::{Attempt, ComputationId, Cpus, JobId, LaneId, MachineId, Resources, Time};

use crate::Step;

/// The scheduler and machines with their links: what either side says waits until it is read.
pub(crate) struct Sim {
    sched: Scheduler<u32>,
    now: Time,
    classes: Vec<ClassId>,
    machines: BTreeMap<MachineId, Machine>,
    /// Made-up messages may claim that a job has started or ended that has not: `once` cannot be
    /// promised then, and machines are told to do what makes no sense to them.
    with_stray_messages: bool,
    /// Compare all books after each step.
    with_checks: bool,
    log: Vec<Output<u32>>,
    accepted: u64,
    last_attempts: BTreeMap<JobId, Attempt>,
    returned: BTreeSet<JobId>,
    placed: BTreeSet<(LaneId, JobId, Attempt)>,
    finished: BTreeMap<JobId, Outcome<u32>>,
    once: BTreeSet<JobId>,
    begun: BTreeMap<JobId, u32>,
    said: Vec<Said>,
}

#[derive(Default)]
struct Machine {
    cpus: u32,
    /// What the scheduler has opened here.
    open: BTreeMap<LaneId, ClassId>,
    unread: VecDeque<Output<u32>>,
    lanes: BTreeMap<LaneId, VecDeque<(JobId, Attempt)>>,
    saying: VecDeque<Said>,
}

#[derive(Clone)]
struct Said {
    machine: MachineId,
    lane: LaneId,
    job: JobId,
    attempt: Attempt,
    ran: Duration,
    end: End<u32>,
}

impl Sim {
    pub(crate) fn new(with_stray_messages: bool, with_checks: bool) -> Self {
        let mut sched = Scheduler::new();
        let classes = classes().into_iter().map(|class| sched.class(class)).collect();
        let mut sim = Self {
            sched,
            now: Time::ZERO,
            classes,
            machines: BTreeMap::new(),
            with_stray_messages,
            with_checks,
            log: Vec::new(),
            accepted: 0,
            last_attempts: BTreeMap::new(),
            returned: BTreeSet::new(),
            placed: BTreeSet::new(),
            finished: BTreeMap::new(),
            once: BTreeSet::new(),
            begun: BTreeMap::new(),
            said: Vec::new(),
        };
        sim.step(&Step::Join { cpus: 2, tagged: false });
        sim
    }

    pub(crate) fn step(&mut self, step: &Step) {
        match *step {
            Step::Submit { class, count, ref after } => self.submit(class, count, after),
            Step::Cancel(job) => {
                self.sched.cancel(self.now, self.nth_job(job));
            }
            Step::FinishEarly(job) => {
                self.sched.finish_early(self.now, self.nth_job(job));
            }
            Step::Release(job) => {
                // Not those that may wait for ever: they could not be cancelled at the end.
                let job = self.nth_job(job);
                let view = self.sched.job(job);
                let may_hang = |view: JobView| {
                    matches!(view.state, JobState::Blocked { .. }) || self.is_bound(view.class)
                };
                if !view.is_some_and(may_hang) {
                    self.sched.release(job);
                }
            }
            Step::Join { cpus, tagged } => self.join(cpus, tagged),
            Step::Lose(machine) => {
                if let Some(id) = self.nth_machine(machine) {
                    self.machines.remove(&id);
                    self.sched.machine_lost(self.now, id);
                }
            }
            Step::SetCpus(machine, cpus) => {
                if let Some(id) = self.nth_machine(machine) {
                    self.machines.get_mut(&id).unwrap().cpus = cpus;
                    self.sched.set_resources(self.now, id, resources(cpus));
                }
            }
            Step::Drain(machine, yes) => {
                if let Some(id) = self.nth_machine(machine) {
                    self.sched.drain(self.now, id, yes);
                }
            }
            Step::Advance(millis) => self.advance(Duration::from_millis(millis)),
            Step::Receive(machine, count) => {
                if let Some(id) = self.nth_machine(machine) {
                    self.receive(id, count);
                }
            }
            Step::Work { machine, lane, ran, end } => {
                if let Some(id) = self.nth_machine(machine) {
                    let lane = nth(self.machines[&id].lanes.keys(), lane).copied();
                    if let Some(lane) = lane {
                        self.work(id, lane, Duration::from_micros(ran), end);
                    }
                }
            }
            Step::WorkHard(machine, count) => {
                if let Some(id) = self.nth_machine(machine) {
                    (0..count).for_each(|_| self.work_well(id));
                }
            }
            Step::Deliver(machine, count) => {
                if let Some(id) = self.nth_machine(machine) {
                    self.deliver(id, count);
                }
            }
            Step::Repeat(n) => {
                if let Some(said) = nth(self.said.iter(), n).cloned() {
                    let stale = self.sched.stale();
                    self.tell(&said);
                    assert_eq!(self.sched.stale(), stale + 1, "it was heard twice");
                }
            }
            Step::Stray { machine, lane, job, attempt } if self.with_stray_messages => {
                let (machine, lane) = (MachineId(machine), LaneId(lane));
                let (job, attempt) = (JobId(job), Attempt(attempt));
                let (ran, end) = (Duration::ZERO, End::Failed(0));
                self.tell(&Said { machine, lane, job, attempt, ran, end });
            }
            Step::Stray { .. } => {}
        }
        self.read_outputs();
        self.check();
    }

    fn check(&self) {
        if self.with_checks {
            self.sched.sanity_check();
        }
    }

    pub(crate) fn into_log(self) -> Vec<Output<u32>> {
        self.log
    }

    fn submit(&mut self, class: usize, count: usize, after: &[usize]) {
        let class = self.classes[class % self.classes.len()];
        for _ in 0..count {
            let back = |&n: &usize| JobId(self.accepted.saturating_sub(n as u64).max(1));
            let after: Vec<_> = after.iter().map(back).collect();
            let Ok(job) = self.sched.submit(self.now, class, &after) else { continue };
            self.accepted += 1;
            assert_eq!(job, JobId(self.accepted));
            if self.sched.class_of(class).unwrap().once {
                self.once.insert(job);
            }
        }
    }

    fn join(&mut self, cpus: u32, tagged: bool) {
        let tags = tagged.then(|| "fast".to_owned()).into_iter().collect();
        let spec = MachineSpec { name: String::new(), resources: resources(cpus), tags };
        let id = self.sched.machine_joined(self.now, spec);
        self.machines.insert(id, Machine { cpus, ..Machine::default() });
    }

    fn advance(&mut self, by: Duration) {
        self.now = self.now + by;
        self.sched.handle_timeout(self.now);
        assert!(self.sched.poll_timeout().is_none_or(|at| at > self.now));
    }

    /// Checks what the scheduler says, and sends it to the machines.
    fn read_outputs(&mut self) {
        while let Some(output) = self.sched.poll_output() {
            match output {
                Output::Run { machine, lane, job, attempt, class, .. } => {
                    self.check_run(lane, job, attempt);
                    self.open(machine, lane, class);
                    self.send(machine, &output);
                }
                Output::CloseLane { machine, lane } => {
                    let machine_state = self.machines.get_mut(&machine).unwrap();
                    assert!(machine_state.open.remove(&lane).is_some(), "{lane} is not open");
                    self.send(machine, &output);
                }
                Output::Recall { machine, .. } | Output::Stop { machine, .. } => {
                    self.send(machine, &output);
                }
                Output::Retry { job, attempt, .. } => {
                    assert!(!self.finished.contains_key(&job));
                    assert_eq!(self.last_attempts[&job], attempt);
                }
                Output::Finish { job, ref outcome, .. } => {
                    let before = self.finished.insert(job, outcome.clone());
                    assert_eq!(before, None, "{job} is final twice");
                }
            }
            self.log.push(output);
        }
    }

    fn check_run(&mut self, lane: LaneId, job: JobId, attempt: Attempt) {
        assert!(!self.finished.contains_key(&job), "{job} is final and runs");
        assert!(self.placed.insert((lane, job, attempt)), "{job} {attempt} was in {lane} before");
        let last = self.last_attempts.insert(job, attempt);
        let was_returned = self.returned.remove(&job);
        match last {
            None => assert_eq!(attempt, Attempt::FIRST),
            Some(last) if was_returned => assert!(attempt >= last),
            Some(last) => assert!(attempt > last, "{job}: {attempt} after {last}"),
        }
    }

    /// A lane is open from its first job on; it must fit when it is opened.
    fn open(&mut self, machine: MachineId, lane: LaneId, class: ClassId) {
        let machine = self.machines.get_mut(&machine).unwrap();
        if machine.open.insert(lane, class).is_some() {
            return;
        }
        let cpus = |class: &ClassId| self.sched.class_of(*class).unwrap().resources.cpus;
        let used: u32 = machine.open.values().map(|class| cpus(class).as_tenths()).sum();
        assert!(used <= Cpus::whole(machine.cpus).as_tenths(), "over-committed");
    }

    fn send(&mut self, machine: MachineId, output: &Output<u32>) {
        self.machines.get_mut(&machine).unwrap().unread.push_back(output.clone());
    }

    /// The machine obeys.
    fn receive(&mut self, id: MachineId, count: usize) {
        let machine = self.machines.get_mut(&id).unwrap();
        for _ in 0..count {
            let Some(output) = machine.unread.pop_front() else { break };
            match output {
                Output::Run { lane, job, attempt, .. } => {
                    let jobs = machine.lanes.entry(lane).or_default();
                    jobs.push_back((job, attempt));
                    if jobs.len() == 1 {
                        *self.begun.entry(job).or_default() += 1;
                    }
                }
                Output::CloseLane { lane, .. } => {
                    let jobs = machine.lanes.remove(&lane).unwrap_or_default();
                    assert!(jobs.is_empty() || self.with_stray_messages, "closed with {jobs:?}");
                }
                Output::Recall { lane, job, attempt, .. } => {
                    let Some(jobs) = machine.lanes.get_mut(&lane) else { continue };
                    if let Some(n) = jobs.iter().position(|&entry| entry == (job, attempt))
                        && n > 0
                    {
                        jobs.remove(n);
                        let (ran, end) = (Duration::ZERO, End::NotStarted);
                        machine.saying.push_back(Said {
                            machine: id,
                            lane,
                            job,
                            attempt,
                            ran,
                            end,
                        });
                    }
                }
                _ => {}
            }
        }
    }

    /// The first job of a lane ends in some way, and the next begins.
    fn work(&mut self, id: MachineId, lane: LaneId, ran: Duration, end: u32) {
        let machine = self.machines.get_mut(&id).unwrap();
        let jobs = machine.lanes.get_mut(&lane).unwrap();
        let Some((job, attempt)) = jobs.pop_front() else { return };
        let mut say = |job, attempt, ran, end| {
            machine.saying.push_back(Said { machine: id, lane, job, attempt, ran, end });
        };
        match end {
            0 | 1 => say(job, attempt, ran, End::Failed(end)),
            2 => {
                say(job, attempt, ran, End::Died(end));
                for (job, attempt) in jobs.drain(..) {
                    say(job, attempt, Duration::ZERO, End::NotStarted);
                }
            }
            3 => say(job, attempt, ran, End::Died(end)),
            4 => say(job, attempt, ran, End::Stopped(end)),
            5 => say(job, attempt, ran, End::Interrupted),
            6 => say(job, attempt, ran, End::Impossible(end)),
            _ => say(job, attempt, ran, End::Succeeded(end)),
        }
        if let Some((job, _)) = jobs.front() {
            *self.begun.entry(*job).or_default() += 1;
        }
    }

    fn work_well(&mut self, id: MachineId) {
        self.receive(id, usize::MAX);
        let lanes: Vec<_> = self.machines[&id].lanes.keys().copied().collect();
        for lane in lanes {
            self.work(id, lane, Duration::from_micros(10), 100);
        }
        self.deliver(id, usize::MAX);
        self.read_outputs();
        self.check();
    }

    fn deliver(&mut self, id: MachineId, count: usize) {
        for _ in 0..count {
            let Some(said) = self.machines.get_mut(&id).unwrap().saying.pop_front() else { break };
            if said.end == End::NotStarted {
                self.returned.insert(said.job);
            }
            self.tell(&said);
            self.said.push(said);
            self.read_outputs();
        }
    }

    fn tell(&mut self, said: &Said) {
        let Said { machine, lane, job, attempt, ran, end } = said.clone();
        self.sched.handle_ended(self.now, machine, lane, job, attempt, ran, end);
    }

    /// No more faults, and a machine on which everything can run. Then nothing may be left over.
    pub(crate) fn come_to_an_end(&mut self) {
        let ids: Vec<_> = self.machines.keys().copied().collect();
        for id in ids {
            self.sched.drain(self.now, id, false);
        }
        self.step(&Step::Join { cpus: 8, tagged: true });
        for _ in 0..3 {
            self.run_dry();
            // Jobs that are bound to a machine that is gone wait for ever.
            for n in 1..=self.accepted {
                let Some(view) = self.sched.job(JobId(n)) else { continue };
                if !view.state.is_final() && !self.with_stray_messages {
                    let unmet = matches!(view.state, JobState::Blocked { .. });
                    assert!(unmet || self.is_bound(view.class), "job-{n} hangs: {view:?}");
                }
                self.sched.cancel(self.now, JobId(n));
            }
            self.read_outputs();
        }
        self.run_dry();
        self.check_the_end();
    }

    fn is_bound(&self, class: ClassId) -> bool {
        !self.sched.class_of(class).unwrap().placement.only_on.is_empty()
    }

    fn run_dry(&mut self) {
        for _ in 0..2_000 {
            let ids: Vec<_> = self.machines.keys().copied().collect();
            let before = self.log.len();
            for &id in &ids {
                self.work_well(id);
            }
            if let Some(at) = self.sched.poll_timeout() {
                self.advance(at.since(self.now));
                self.read_outputs();
            } else if self.log.len() == before {
                return;
            }
        }
        panic!("it does not come to an end: {:?}", self.sched.counts());
    }

    fn check_the_end(&mut self) {
        if !self.with_stray_messages {
            assert_eq!(self.finished.len() as u64, self.accepted, "a job was never final");
            assert_eq!(self.sched.counts().unfinished(), 0);
            assert!(self.sched.machines().all(|machine| machine.lanes.is_empty()));
            assert_eq!(self.sched.poll_timeout(), None);
            for job in &self.once {
                assert!(self.begun.get(job).is_none_or(|&n| n <= 1), "{job} ran more than once");
            }
            for n in 1..=self.accepted {
                self.sched.release(JobId(n));
            }
            for class in std::mem::take(&mut self.classes) {
                self.sched.release_class(class);
                assert_eq!(self.sched.class_of(class), None);
            }
            assert_eq!(self.sched.jobs().count(), 0);
        }
        self.sched.sanity_check();
        assert_eq!(self.sched.poll_output(), None, "nothing else happened");
    }

    fn nth_job(&self, n: usize) -> JobId {
        JobId(n as u64 % (self.accepted + 1))
    }

    fn nth_machine(&self, n: usize) -> Option<MachineId> {
        nth(self.machines.keys(), n).copied()
    }
}

fn nth<I: ExactSizeIterator>(mut items: I, n: usize) -> Option<I::Item> {
    let len = items.len();
    (len > 0).then(|| items.nth(n % len)).flatten()
}

fn resources(cpus: u32) -> Resources {
    Resources { cpus: cpus.into(), ..Resources::default() }
}

/// Everything in which classes can differ.
fn classes() -> Vec<Class> {
    let plain = Class::new(ComputationId(1));
    let ms = Duration::from_millis;
    let only_on = BTreeSet::from([MachineId(1), MachineId(3)]);
    let tags = BTreeSet::from(["fast".to_owned()]);
    vec![
        plain.clone(),
        Class { resources: resources(2), ..plain.clone() },
        Class { resources: resources(4), retries: 1, ..plain.clone() },
        Class { resources: resources(0), lanes_max: Some(5), ..plain.clone() },
        Class { priority: 1, retries: 3, backoff: Backoff::NONE, ..plain.clone() },
        Class { priority: 2, resources: resources(3), ..plain.clone() },
        Class { priority: -1, once: true, ..plain.clone() },
        Class { once: true, retries: 2, limit: Some(ms(30)), ..plain.clone() },
        Class { limit: Some(ms(20)), retries: 2, ..plain.clone() },
        Class {
            lanes_max: Some(1),
            backoff: Backoff { first: ms(5), max: ms(8) },
            ..plain.clone()
        },
        Class { lane_jobs_max: 1, retries: 1, ..plain.clone() },
        Class { placement: Placement { only_on, ..Placement::default() }, ..plain.clone() },
        Class { placement: Placement { tags, ..Placement::default() }, ..plain },
    ]
}

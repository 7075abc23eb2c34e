//! What the books cost: time per job and memory per waiting job, for few and for many that wait.
//!
//! `cargo bench -p pleiad-sched`. The numbers of the three rows should be about the same.

use std::time::{Duration, Instant};

use pleiad_sched::{Class, End, MachineSpec, Output, Scheduler};
use pleiad_types::{Attempt, ComputationId, JobId, LaneId, MachineId, Resources, Time};

const MACHINES: u32 = 16;
const CPUS: u32 = 16;
const MEASURED: u64 = 1_000_000;

fn main() {
    println!("{MACHINES} machines of {CPUS} processors, one class, jobs of 20 µs and of 20 ms\n");
    println!("    waiting   submit  run+finish (batched)  run+finish (one by one)  memory");
    for waiting in [1_000, 100_000, 1_000_000] {
        measure(waiting);
    }
    println!("\na job that arrives, runs and ends on an idle cluster, one at a time:");
    for machines in [1, 100, 10_000] {
        measure_serial(machines);
    }
    println!("\na job that ends while all machines are full and 100,000 wait:");
    for machines in [1, 100, 10_000] {
        measure_full(machines);
    }
}

/// Fills the queue, then keeps it at that length while jobs run and new ones come.
fn measure(waiting: u64) {
    let mut sched = cluster(MACHINES);
    let class = sched.class(Class::new(ComputationId(1)));
    let mut running = Vec::new();

    let before = memory();
    let submits = Instant::now();
    let now = Time::ZERO;
    for _ in 0..waiting {
        submit(&mut sched, now, class);
    }
    let submits = submits.elapsed();
    let memory = memory().saturating_sub(before) / waiting;
    read(&mut sched, &mut running);

    let batched = cycle(&mut sched, &mut running, class, Duration::from_micros(20));
    let single = cycle(&mut sched, &mut running, class, Duration::from_millis(20));
    println!(
        "{waiting:>11}  {:>4} ns  {:>17} ns  {:>20} ns  {memory:>4} B",
        submits.as_nanos() / u128::from(waiting),
        batched.as_nanos() / u128::from(MEASURED),
        single.as_nanos() / u128::from(MEASURED),
    );
}

/// Ends running jobs and submits as many, so that the number that waits stays the same.
fn cycle(
    sched: &mut Scheduler<()>,
    running: &mut Vec<Run>,
    class: pleiad_sched::ClassId,
    ran: Duration,
) -> Duration {
    let mut ended = 0;
    let mut now = Time::from_millis(1);
    let mut batch = Vec::new();
    let start = Instant::now();
    while ended < MEASURED {
        std::mem::swap(&mut batch, running);
        for (machine, lane, job, attempt) in batch.drain(..) {
            now = now + Duration::from_nanos(100);
            sched.handle_ended(now, machine, lane, job, attempt, ran, End::Succeeded(()));
            sched.release(job);
            submit(sched, now, class);
            read(sched, running);
            ended += 1;
        }
    }
    start.elapsed() * u32::try_from(MEASURED).unwrap_or(1) / u32::try_from(ended).unwrap_or(1)
}

fn measure_serial(machines: u32) {
    let mut sched = cluster(machines);
    let class = sched.class(Class::new(ComputationId(1)));
    let mut running = Vec::new();
    let jobs = 300_000;
    let start = Instant::now();
    for _ in 0..jobs {
        submit(&mut sched, Time::ZERO, class);
        read(&mut sched, &mut running);
        end_all(&mut sched, &mut running);
    }
    println!("{machines:>11} machines  {:>4} ns", start.elapsed().as_nanos() / jobs);
}

fn measure_full(machines: u32) {
    let mut sched = cluster(machines);
    let class = sched.class(Class::new(ComputationId(1)));
    let mut running = Vec::new();
    for _ in 0..machines * CPUS + 100_000 {
        submit(&mut sched, Time::ZERO, class);
    }
    read(&mut sched, &mut running);
    let mut ended = 0;
    let start = Instant::now();
    while ended < 300_000 {
        for run in std::mem::take(&mut running) {
            finish(&mut sched, run);
            submit(&mut sched, Time::ZERO, class);
            read(&mut sched, &mut running);
            ended += 1;
        }
    }
    println!("{machines:>11} machines  {:>4} ns", start.elapsed().as_nanos() / ended);
}

type Run = (MachineId, LaneId, JobId, Attempt);

fn cluster(machines: u32) -> Scheduler<()> {
    let mut sched = Scheduler::new();
    for _ in 0..machines {
        let resources = Resources { cpus: CPUS.into(), ..Resources::default() };
        let spec = MachineSpec { name: String::new(), resources, tags: [].into() };
        sched.machine_joined(Time::ZERO, spec);
    }
    sched
}

fn submit(sched: &mut Scheduler<()>, now: Time, class: pleiad_sched::ClassId) {
    sched.submit(now, class, &[]).expect("the class is there");
}

fn read(sched: &mut Scheduler<()>, running: &mut Vec<Run>) {
    while let Some(output) = sched.poll_output() {
        if let Output::Run { machine, lane, job, attempt, .. } = output {
            running.push((machine, lane, job, attempt));
        }
    }
}

fn end_all(sched: &mut Scheduler<()>, running: &mut Vec<Run>) {
    while let Some(run) = running.pop() {
        finish(sched, run);
        while sched.poll_output().is_some() {}
    }
}

fn finish(sched: &mut Scheduler<()>, (machine, lane, job, attempt): Run) {
    let ran = Duration::from_millis(20);
    sched.handle_ended(Time::ZERO, machine, lane, job, attempt, ran, End::Succeeded(()));
    sched.release(job);
}

/// Bytes of memory that this process has in use; 0 where that is not known.
fn memory() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|n| n.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}

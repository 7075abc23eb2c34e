//! Machines that are lost, and messages that come too late.

use std::time::Duration;

use pleiad_sched::{Class, End, Failure, Outcome};
use pleiad_types::{Attempt, JobId, LaneId, MachineId};

use crate::world::{World, plain};

const TINY: Duration = Duration::from_micros(10);

#[test]
fn jobs_of_a_lost_machine_run_elsewhere_without_blame() {
    let (mut world, lost) = World::with_cpus(1);
    let class = world.class(plain());
    let jobs = world.submit_many(class, 9);
    world.end_after(jobs[0], TINY, End::Succeeded("ok"));
    let old_place = world.place(jobs[1]);
    world.lose(lost);
    assert_eq!(world.sched.counts().waiting, 8);
    let other = world.join(1);
    assert_ne!(lost, other, "numbers are not used again");
    assert!(world.is_running(jobs[1]), "it is first again");
    let view = world.sched.job(jobs[1]).unwrap();
    assert_eq!((view.attempts, view.failures, view.deaths), (2, 0, 0));

    // What the lost machine still says changes nothing.
    world.tell(lost, old_place.1, jobs[1], Attempt(1), TINY, End::Succeeded("late"));
    assert_eq!(world.sched.stale(), 1);
    world.run_all(TINY);
    assert_eq!(world.outcome(jobs[1]), Outcome::Succeeded("ok"));
    assert_eq!(world.sched.counts().succeeded, 9);
    world.assert_idle();
}

/// Goal: a `once` job is never run twice, not even one that the books have behind another: the
/// machine may have begun it before it was lost.
#[test]
fn once_jobs_of_a_lost_machine_are_lost() {
    let (mut world, machine) = World::with_cpus(1);
    let class = world.class(Class { once: true, ..plain() });
    let jobs = world.submit_many(class, 9);
    world.end_after(jobs[0], TINY, End::Succeeded("ok"));
    let held: Vec<_> = world.lanes.values().flatten().map(|&(job, _)| job).collect();
    assert_eq!(held, jobs[1..5]);
    world.lose(machine);
    for job in held {
        assert_eq!(world.outcome(job), Outcome::Failed(Failure::LostOnce));
    }
    world.join(1);
    world.run_all(TINY);
    assert_eq!(world.sched.counts().succeeded, 5);
    world.assert_idle();
}

#[test]
fn a_job_that_was_to_be_stopped_is_cancelled_when_its_machine_is_lost() {
    let (mut world, machine) = World::with_cpus(1);
    let class = world.class(plain());
    let job = world.submit(class);
    world.cancel(job);
    world.lose(machine);
    assert_eq!(world.outcome(job), Outcome::Cancelled);
    world.assert_idle();
}

#[test]
fn late_news_is_counted_and_dropped() {
    let (mut world, machine) = World::with_cpus(1);
    let class = world.class(Class { retries: 1, ..plain() });
    let job = world.submit(class);
    let (_, lane) = world.place(job);
    let first = Attempt::FIRST;
    let ok = End::Succeeded("late");
    world.tell(machine, lane, job, first.next(), TINY, ok.clone());
    world.tell(machine, LaneId(99), job, first, TINY, ok.clone());
    world.tell(machine, lane, JobId(99), first, TINY, ok.clone());
    world.tell(MachineId(99), lane, job, first, TINY, ok.clone());
    assert_eq!(world.sched.stale(), 4);
    assert!(world.is_running(job));
    world.end(job, End::Failed("no"));
    world.advance(100);
    world.tell(machine, lane, job, first, TINY, ok.clone());
    assert_eq!(world.sched.stale(), 5);
    world.succeed(job);
    world.tell(machine, lane, job, first.next(), TINY, ok);
    assert_eq!(world.sched.stale(), 6);
    assert_eq!(world.outcome(job), Outcome::Succeeded("ok"));
    world.assert_idle();
}

#[test]
fn a_class_limited_to_one_lane_goes_on_after_a_loss() {
    let (mut world, machine) = World::with_cpus(1);
    let other = world.join(1);
    let class = world.class(Class { lanes_max: Some(1), ..plain() });
    let jobs = world.submit_many(class, 2);
    assert_eq!(world.place(jobs[0]).0, machine);
    world.lose(machine);
    assert_eq!(world.place(jobs[0]).0, other);
}

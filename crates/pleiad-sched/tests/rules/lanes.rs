//! How jobs are given to lanes ahead of time, and taken back.

use std::time::Duration;

use pleiad_sched::{Class, End, Explanation, JobState, Output};
use pleiad_types::{Attempt, limits};

use crate::world::{World, cpus, plain};

const TINY: Duration = Duration::from_micros(10);

#[test]
fn nothing_is_given_ahead_before_it_is_known_how_long_jobs_run() {
    let (mut world, _) = World::with_cpus(1);
    let class = world.class(plain());
    world.submit_many(class, 1_000);
    assert_eq!(world.starts().len(), 1);
}

#[test]
fn tiny_jobs_are_given_ahead_in_one_go() {
    let (mut world, machine) = World::with_cpus(2);
    let class = world.class(plain());
    let jobs = world.submit_many(class, 10_000);
    world.log.clear();
    world.end_after(jobs[0], TINY, End::Succeeded("ok"));
    assert!(matches!(world.log[0], Output::Finish { .. }));
    let runs = world.log[1..].iter();
    let runs = runs.map(|output| matches!(output, Output::Run { machine: m, .. } if *m == machine));
    assert_eq!(runs.collect::<Vec<_>>(), [true; 1_000], "10 ms of work in one go");
    assert!(matches!(world.state(jobs[2]), JobState::Running { .. }));
    assert!(matches!(world.state(jobs[3]), JobState::Queued { .. }));
}

#[test]
fn long_jobs_are_not_given_ahead() {
    let (mut world, _) = World::with_cpus(1);
    let class = world.class(plain());
    let jobs = world.submit_many(class, 100);
    world.end_after(jobs[0], Duration::from_millis(20), End::Succeeded("ok"));
    assert_eq!(world.starts().len(), 2);
}

#[test]
fn a_class_can_forbid_to_give_ahead() {
    let (mut world, _) = World::with_cpus(1);
    let class = world.class(Class { lane_jobs_max: 1, ..plain() });
    let jobs = world.submit_many(class, 100);
    world.end_after(jobs[0], TINY, End::Succeeded("ok"));
    assert_eq!(world.starts().len(), 2);
}

/// Goal: at the end of a large set, no lane holds work while others have none.
#[test]
fn the_last_jobs_are_spread_over_all_lanes() {
    let (mut world, _) = World::with_cpus(4);
    let class = world.class(plain());
    let jobs = world.submit_many(class, 100);
    for &job in &jobs[..4] {
        world.end_after(job, TINY, End::Succeeded("ok"));
    }
    let held: Vec<_> = world.lanes.values().map(std::collections::VecDeque::len).collect();
    assert_eq!(held, [12, 11, 10, 8], "an eighth each of 96, 84, 73, 63");
}

#[test]
fn a_lane_is_filled_up_when_half_of_it_is_done() {
    let (mut world, _) = World::with_cpus(1);
    let class = world.class(Class { lane_jobs_max: 10, ..plain() });
    let jobs = world.submit_many(class, 1_000);
    world.end_after(jobs[0], TINY, End::Succeeded("ok"));
    assert_eq!(world.starts().len(), 11);
    for &job in &jobs[1..=4] {
        world.end_after(job, TINY, End::Succeeded("ok"));
    }
    assert_eq!(world.starts().len(), 11);
    world.end_after(jobs[5], TINY, End::Succeeded("ok"));
    assert_eq!(world.starts().len(), 16);
}

#[test]
fn a_lane_without_jobs_is_closed_and_its_room_used_by_others() {
    let (mut world, _) = World::with_cpus(2);
    let small = world.class(plain());
    let large = world.class(cpus(2));
    let jobs = world.submit_many(small, 2);
    let waits = world.submit(large);
    world.succeed(jobs[0]);
    assert!(!world.is_running(waits));
    world.succeed(jobs[1]);
    assert!(world.is_running(waits));
    world.succeed(waits);
    world.assert_idle();
}

/// Goal: a long job among tiny ones must not hold those behind it.
#[test]
fn a_lane_that_stalls_gives_its_jobs_back() {
    let (mut world, _) = World::with_cpus(2);
    let class = world.class(plain());
    let jobs = world.submit_many(class, 41);
    world.end_after(jobs[0], TINY, End::Succeeded("ok"));
    let long = jobs[2];
    let (_, lane) = world.place(long);
    let behind: Vec<_> =
        world.lanes.iter().find(|((_, id), _)| *id == lane).unwrap().1.clone().into();
    assert_eq!(behind.len(), 10);

    world.advance(49);
    assert!(world.recalls().is_empty());
    world.advance(1);
    let expected: Vec<_> = behind[1..].iter().map(|&(job, _)| job).collect();
    assert_eq!(world.recalls(), expected);
    assert_eq!(world.state(behind[1].0), JobState::Waiting);

    // They are before all others, one by one, with the number of the attempt that never was.
    world.log.clear();
    world.succeed(jobs[1]);
    assert_eq!(world.starts(), [(behind[1].0, Attempt(1))]);
    world.succeed(behind[1].0);
    assert_eq!(world.starts(), [(behind[1].0, Attempt(1)), (behind[2].0, Attempt(1))]);
    world.run_all(TINY);
    world.assert_idle();
    assert_eq!(world.sched.counts().succeeded, 41);
}

#[test]
fn a_recalled_job_that_has_begun_simply_ends() {
    let (mut world, _) = World::with_cpus(1);
    world.answers_recalls = false;
    let class = world.class(plain());
    let jobs = world.submit_many(class, 5);
    world.end_after(jobs[0], TINY, End::Succeeded("ok"));
    world.advance(limits::LANE_STALL.as_millis() as u64);
    assert_eq!(world.recalls(), [jobs[2]]);
    world.succeed(jobs[1]);
    assert!(world.is_running(jobs[2]));
    world.succeed(jobs[2]);
    world.run_all(TINY);
    world.assert_idle();
    assert_eq!(world.sched.stale(), 0);
}

#[test]
fn a_class_has_no_more_lanes_than_it_asks_for() {
    let (mut world, _) = World::with_cpus(4);
    world.join(4);
    let class = world.class(Class { lanes_max: Some(2), ..plain() });
    let jobs = world.submit_many(class, 6);
    assert_eq!(world.lanes.len(), 2);
    assert_eq!(world.explain(jobs[5]), Explanation::LanesMax(2));
    world.run_all(Duration::from_secs(1));
    assert_eq!(world.sched.counts().succeeded, 6);
    world.assert_idle();
}

#[test]
fn jobs_that_take_no_processor_are_limited_by_lanes_only() {
    let (mut world, machine) = World::with_cpus(0);
    let class = world.class(cpus(0));
    world.sched.sanity_check();
    for _ in 0..=limits::MACHINE_LANES_MAX {
        world.sched.submit(world.now, class, &[]).unwrap();
    }
    let view = world.sched.machine(machine).unwrap();
    assert_eq!(view.lanes.len(), limits::MACHINE_LANES_MAX);
    let last = pleiad_types::JobId(limits::MACHINE_LANES_MAX as u64 + 1);
    let Explanation::Machines(why) = world.explain(last) else { panic!() };
    assert_eq!(why[0].1.to_string(), "the machine is busy: needs 1 lanes, has 0 free");
}

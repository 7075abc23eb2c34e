//! Who is next.

use std::time::Duration;

use pleiad_sched::{Class, End, Explanation, Obstacle, Placement};
use pleiad_types::{ComputationId, limits};

use crate::world::{World, cpus, cpus_only, plain, tags};

fn other() -> Class {
    Class::new(ComputationId(2))
}

#[test]
fn jobs_of_one_class_run_in_the_order_of_submission() {
    let (mut world, _) = World::with_cpus(2);
    let class = world.class(plain());
    let jobs = world.submit_many(class, 6);
    assert!(world.is_running(jobs[0]) && world.is_running(jobs[1]));
    assert!(!world.is_running(jobs[2]));
    world.run_all(Duration::from_secs(1));
    assert_eq!(world.started(), jobs);
    world.assert_idle();
}

#[test]
fn long_jobs_of_all_classes_run_in_the_order_of_submission() {
    let (mut world, _) = World::with_cpus(1);
    let classes = [world.class(plain()), world.class(other())];
    let jobs: Vec<_> = (0..8).map(|n| world.submit(classes[n % 2])).collect();
    for &job in &jobs {
        world.advance(1_000);
        world.succeed(job);
    }
    assert_eq!(world.started(), jobs);
    world.assert_idle();
}

/// Goal: jobs of a microsecond do not make lanes open and close all the time, and yet an older job
/// of another class waits no longer than a lane's share of work.
#[test]
fn tiny_jobs_overtake_an_older_one_for_ten_milliseconds_at_most() {
    let (mut world, _) = World::with_cpus(1);
    let tiny = world.class(Class { lane_jobs_max: 1, ..plain() });
    let older = world.class(other());
    world.submit(tiny);
    let waits = world.submit(older);
    world.submit_many(tiny, 100);
    let mut overtaken = 0;
    while !world.is_running(waits) {
        let job = world.lanes.values().next().unwrap()[0].0;
        world.advance(1);
        world.end_after(job, Duration::from_micros(1), End::Succeeded("ok"));
        overtaken += 1;
    }
    assert_eq!(overtaken, limits::LANE_WORK_MAX.as_millis());
}

#[test]
fn a_more_urgent_job_gets_the_next_room_and_a_busy_lane_is_not_filled_up() {
    let (mut world, _) = World::with_cpus(1);
    let normal = world.class(plain());
    let urgent = world.class(Class { priority: 1, ..plain() });
    let first = world.submit_many(normal, 3);
    let hurry = world.submit(urgent);
    world.succeed(first[0]);
    assert!(world.is_running(hurry));
    world.succeed(hurry);
    world.run_all(Duration::from_secs(1));
    assert_eq!(world.started(), [first[0], hurry, first[1], first[2]]);
}

#[test]
fn a_more_urgent_job_that_does_not_fit_does_not_stop_others_at_first() {
    let (mut world, _) = World::with_cpus(2);
    let normal = world.class(plain());
    let urgent = world.class(Class { priority: 1, ..cpus(2) });
    let jobs = world.submit_many(normal, 4);
    let hurry = world.submit(urgent);
    world.succeed(jobs[0]);
    assert!(world.is_running(jobs[2]) && !world.is_running(hurry));
}

/// Goal: a large job gets its room after it has been overtaken `OVERTAKES_MAX` times.
#[test]
fn room_is_kept_for_a_job_that_was_overtaken_too_often() {
    for priority in [0, 1] {
        let (mut world, machine) = World::with_cpus(2);
        let small = world.class(plain());
        let large = world.class(Class { priority, ..cpus(2) });
        world.submit(small);
        let waits = world.submit(large);
        world.submit_many(small, 300);
        let ended = world.run_until_running(waits);
        let max = limits::OVERTAKES_MAX as usize;
        assert!((max - 1..=max + 3).contains(&ended), "overtaken by {ended}");
        let next = world.submit(small);
        let shortage = cpus_only(1).shortage(&cpus_only(0)).unwrap();
        let busy = Explanation::Machines(vec![(machine, Obstacle::Busy(shortage))]);
        assert_eq!(world.explain(next), busy);
        world.succeed(waits);
        world.run_all(Duration::from_secs(1));
        world.assert_idle();
    }
}

#[test]
fn who_may_not_use_kept_room_is_told_for_whom_it_is_kept() {
    let (mut world, machine) = World::with_cpus(2);
    let small = world.class(plain());
    let urgent = world.class(Class { priority: 5, ..plain() });
    let large = world.class(cpus(2));
    world.submit(small);
    let waits = world.submit(large);
    let jobs = world.submit_many(small, 300);
    while world.sched.machine(machine).unwrap().lanes.len() > 1 {
        let oldest = world.oldest_running();
        world.succeed(oldest);
    }
    let kept = Explanation::Machines(vec![(machine, Obstacle::ReservedFor(waits))]);
    assert_eq!(world.explain(jobs[299]), kept);
    let hurry = world.submit(urgent);
    assert!(world.is_running(hurry), "it is kept from those of the same or lower priority only");
    world.cancel(waits);
    world.succeed(hurry);
    assert_eq!(world.sched.machine(machine).unwrap().lanes.len(), 2, "kept for nobody");
}

#[test]
fn jobs_spread_over_machines() {
    let mut world = World::new();
    let machines = [world.join(2), world.join(4), world.join(2)];
    let class = world.class(plain());
    let jobs = world.submit_many(class, 5);
    let places: Vec<_> = jobs.iter().map(|&job| world.place(job).0).collect();
    let [a, b, c] = machines;
    assert_eq!(places, [b, b, a, b, c]);
}

#[test]
fn jobs_run_only_where_they_may() {
    let mut world = World::new();
    let slow = world.join(4);
    let fast = world.join_spec(cpus_only(1), &["fast", "big"]);
    let only_on = Placement { only_on: [fast].into(), ..Placement::default() };
    let tagged = Placement { tags: tags(&["fast"]), ..Placement::default() };
    let bound = world.class(Class { placement: only_on, ..plain() });
    let tagged = world.class(Class { placement: tagged, ..plain() });
    let first = world.submit(bound);
    let second = world.submit(tagged);
    assert_eq!(world.place(first).0, fast);
    assert!(!world.is_running(second));
    let Explanation::Machines(why) = world.explain(second) else { panic!() };
    assert_eq!(why[0], (slow, Obstacle::MissingTag("fast".to_owned())));
    assert_eq!(why[1].1.to_string(), "the machine is busy: needs 1 cpus, has 0 free");
    let third = world.submit(bound);
    let Explanation::Machines(why) = world.explain(third) else { panic!() };
    assert_eq!(why[0], (slow, Obstacle::NotAmongOnlyOn));
    world.advance(1_000);
    world.succeed(first);
    assert_eq!(world.place(second).0, fast, "it is older");
}

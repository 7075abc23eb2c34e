//! Machines that come, change and are drained, and the classes that use them.

use std::time::Duration;

use pleiad_sched::{End, Explanation, JobState, MachineView, Obstacle, Output};
use pleiad_types::{Cpus, Resources};

use crate::world::{World, cpus, cpus_only, plain};

const TINY: Duration = Duration::from_micros(10);

#[test]
fn jobs_wait_until_a_machine_joins() {
    let mut world = World::new();
    let class = world.class(plain());
    let job = world.submit(class);
    assert_eq!(world.explain(job), Explanation::Machines(vec![]));
    world.join(1);
    assert!(world.is_running(job));
}

#[test]
fn a_job_larger_than_every_machine_waits_and_says_why() {
    let (mut world, machine) = World::with_cpus(2);
    let class = world.class(cpus(4));
    let job = world.submit(class);
    let shortage = cpus_only(4).shortage(&cpus_only(2)).unwrap();
    let why = vec![(machine, Obstacle::TooSmall(shortage))];
    assert_eq!(world.explain(job), Explanation::Machines(why));
    world.sched.set_resources(world.now, machine, cpus_only(4));
    assert!(world.is_running(job));
}

/// Goal: a machine that becomes smaller goes on with what runs, and starts nothing until that fits.
#[test]
fn a_machine_that_has_lent_more_than_it_has_starts_nothing() {
    let (mut world, machine) = World::with_cpus(4);
    let class = world.class(plain());
    let jobs = world.submit_many(class, 8);
    world.sched.set_resources(world.now, machine, cpus_only(2));
    world.sched.sanity_check();
    assert_eq!(world.free(machine), Cpus::ZERO);
    for &job in &jobs[..2] {
        world.succeed(job);
        assert_eq!(world.starts().len(), 4);
    }
    world.succeed(jobs[2]);
    assert!(world.is_running(jobs[4]), "two lanes fit");
    world.sched.set_resources(world.now, machine, cpus_only(0));
    let why = vec![(machine, Obstacle::TooSmall(cpus_only(1).shortage(&cpus_only(0)).unwrap()))];
    assert_eq!(world.explain(jobs[7]), Explanation::Machines(why));
}

#[test]
fn a_machine_that_owes_memory_is_busy_for_all() {
    let mut world = World::new();
    let resources = |memory| Resources { cpus: 4.into(), memory, ..Resources::default() };
    let machine = world.join_spec(resources(100), &[]);
    let hungry = world.class(pleiad_sched::Class {
        resources: Resources { memory: 80, ..Resources::one_cpu() },
        ..plain()
    });
    let class = world.class(plain());
    let owes = world.submit(hungry);
    world.sched.set_resources(world.now, machine, resources(50));
    let waits = world.submit(class);
    let Explanation::Machines(why) = world.explain(waits) else { panic!() };
    let Obstacle::Busy(shortage) = &why[0].1 else { panic!("{why:?}") };
    assert_eq!((shortage.what.as_str(), shortage.needed, shortage.free), ("memory", 80, 50));
    world.succeed(owes);
    assert!(world.is_running(waits));
}

#[test]
fn a_drained_machine_ends_what_runs_and_gives_back_the_rest() {
    let (mut world, machine) = World::with_cpus(1);
    let class = world.class(plain());
    let jobs = world.submit_many(class, 9);
    world.end_after(jobs[0], TINY, End::Succeeded("ok"));
    world.drain(machine, true);
    assert_eq!(world.recalls(), jobs[2..5]);
    assert_eq!(world.state(jobs[2]), JobState::Waiting);
    let why = vec![(machine, Obstacle::Draining)];
    assert_eq!(world.explain(jobs[8]), Explanation::Machines(why));
    world.succeed(jobs[1]);
    assert!(world.lanes.is_empty());
    let other = world.join(1);
    assert_eq!(world.place(jobs[2]).0, other);
    world.drain(machine, false);
    assert_eq!(world.place(jobs[3]).0, machine);
    world.run_all(TINY);
    world.assert_idle();
    assert_eq!(world.sched.counts().succeeded, 9);
}

#[test]
fn a_machine_knows_what_it_has_done() {
    let (mut world, machine) = World::with_cpus(2);
    let class = world.class(plain());
    let jobs = world.submit_many(class, 3);
    world.end_after(jobs[0], Duration::from_secs(2), End::Succeeded("ok"));
    world.end_after(jobs[1], Duration::from_secs(3), End::Failed("no"));
    let MachineView { succeeded, failed, ran, lanes, free, .. } =
        world.sched.machine(machine).unwrap();
    assert_eq!((succeeded, failed, ran), (1, 1, Duration::from_secs(5)));
    assert_eq!(lanes.iter().map(|lane| lane.jobs.clone()).collect::<Vec<_>>(), [[jobs[2]]]);
    assert_eq!(free, cpus_only(1));
    assert_eq!(world.sched.machines().count(), 1);
}

#[test]
fn named_resources_are_counted() {
    let licence = |n| [("licence".to_owned(), n)].into();
    let need = |n| Resources { named: licence(n), ..Resources::one_cpu() };
    let mut world = World::new();
    world.join_spec(Resources { cpus: 8.into(), named: licence(3), ..Resources::default() }, &[]);
    let two = world.class(pleiad_sched::Class { resources: need(2), ..plain() });
    let none = world.class(pleiad_sched::Class { resources: need(0), ..plain() });
    assert_eq!(none, world.class(plain()), "none of it is the same as not to need it");
    let jobs = world.submit_many(two, 2);
    assert!(world.is_running(jobs[0]) && !world.is_running(jobs[1]));
    world.succeed(jobs[0]);
    assert!(world.is_running(jobs[1]));
}

#[test]
fn a_class_is_forgotten_when_nothing_uses_it() {
    let (mut world, _) = World::with_cpus(1);
    let class = world.class(plain());
    let job = world.submit(class);
    world.sched.release_class(class);
    assert_eq!(world.sched.class_of(class), Some(&plain()));
    world.succeed(job);
    assert!(world.sched.class_of(class).is_some(), "the record of the job has it");
    world.sched.release(job);
    assert_eq!(world.sched.class_of(class), None);
    assert!(matches!(world.log.last(), Some(Output::CloseLane { .. })));
}

//! What follows from how an attempt ended.

use std::time::Duration;

use pleiad_sched::{Backoff, Class, End, Failure, JobState, Outcome, Output, StopCause};
use pleiad_types::{Attempt, limits};

use crate::world::{World, plain};

#[test]
fn a_failed_job_is_tried_again_after_a_wait_that_doubles() {
    let (mut world, _) = World::with_cpus(1);
    let class = world.class(Class { retries: 2, ..plain() });
    let job = world.submit(class);
    for (attempt, wait) in [(1, 100), (2, 200)] {
        world.end(job, End::Failed("no"));
        let retry = world.log.iter().rev().find(|output| matches!(output, Output::Retry { .. }));
        let wait = Duration::from_millis(wait);
        let (attempt, failure) = (Attempt(attempt), Failure::Failed("no"));
        assert_eq!(retry, Some(&Output::Retry { job, attempt, failure, wait }));
        let until = world.now + wait;
        assert_eq!(world.state(job), JobState::BackingOff { until });
        world.advance(wait.as_millis() as u64 - 1);
        assert!(!world.is_running(job));
        world.advance(1);
        assert!(world.is_running(job));
    }
    world.end(job, End::Failed("still no"));
    assert_eq!(world.outcome(job), Outcome::Failed(Failure::Failed("still no")));
    assert_eq!(world.starts().last(), Some(&(job, Attempt(3))));
    world.assert_idle();
}

#[test]
fn a_retry_without_wait_is_at_once_and_before_younger_jobs() {
    let (mut world, _) = World::with_cpus(1);
    let class = world.class(Class { retries: 1, backoff: Backoff::NONE, ..plain() });
    let jobs = world.submit_many(class, 3);
    world.end(jobs[0], End::Failed("no"));
    assert!(world.is_running(jobs[0]));
    world.run_all(Duration::from_secs(1));
    assert_eq!(world.started(), [jobs[0], jobs[0], jobs[1], jobs[2]]);
}

#[test]
fn a_job_that_kills_its_worker_runs_alone_and_fails_the_third_time() {
    let (mut world, machine) = World::with_cpus(1);
    let class = world.class(plain());
    let jobs = world.submit_many(class, 10);
    world.end_after(jobs[0], Duration::from_micros(10), End::Succeeded("ok"));
    let killer = jobs[1];
    for deaths in 1..limits::DEATHS_MAX {
        world.log.clear();
        world.end(killer, End::Died("signal 11"));
        world.run_until_running(killer);
        let (_, lane) = world.place(killer);
        assert_eq!(world.lanes[&(machine, lane)].len(), 1, "nothing stands behind it");
        let told = world.log.iter().any(|output| {
            matches!(output, Output::Run { job, deaths: d, .. } if *job == killer && *d == deaths)
        });
        assert!(told, "the machine knows that it is dangerous");
    }
    world.end(killer, End::Died("signal 11"));
    assert_eq!(world.outcome(killer), Outcome::Failed(Failure::Poison("signal 11")));
    assert_eq!(world.sched.job(killer).unwrap().failures, 0, "deaths are no failures");
    world.run_all(Duration::from_secs(1));
    assert_eq!(world.sched.counts().succeeded, 9);
    world.assert_idle();
}

#[test]
fn jobs_behind_one_that_killed_the_worker_run_again_without_blame() {
    let (mut world, _) = World::with_cpus(1);
    let class = world.class(plain());
    let jobs = world.submit_many(class, 9);
    world.end_after(jobs[0], Duration::from_micros(10), End::Succeeded("ok"));
    let behind: Vec<_> = jobs[2..5].to_vec();
    world.end(jobs[1], End::Died("signal 9"));
    for &job in &behind {
        world.end(job, End::NotStarted);
    }
    assert!(behind.iter().all(|&job| world.sched.job(job).unwrap().deaths == 0));
    world.run_all(Duration::from_secs(1));
    assert_eq!(world.sched.counts().succeeded, 9);
    world.assert_idle();
}

#[test]
fn an_interrupted_job_runs_again_at_no_cost() {
    let (mut world, _) = World::with_cpus(1);
    let class = world.class(plain());
    let job = world.submit(class);
    world.end(job, End::Interrupted);
    assert_eq!(world.starts(), [(job, Attempt(1)), (job, Attempt(2))]);
    let view = world.sched.job(job).unwrap();
    assert_eq!((view.failures, view.deaths), (0, 0));
}

#[test]
fn an_impossible_job_is_not_tried_again() {
    let (mut world, _) = World::with_cpus(1);
    let class = world.class(Class { retries: 9, ..plain() });
    let job = world.submit(class);
    world.end(job, End::Impossible("no such program"));
    assert_eq!(world.outcome(job), Outcome::Failed(Failure::Impossible("no such program")));
    world.assert_idle();
}

#[test]
fn a_once_job_never_runs_twice() {
    let ends = [
        (End::Failed("no"), Failure::Failed("no")),
        (End::Died("signal 9"), Failure::LostOnce),
        (End::Interrupted, Failure::LostOnce),
    ];
    for (end, failure) in ends {
        let (mut world, _) = World::with_cpus(1);
        let class = world.class(Class { once: true, retries: 5, ..plain() });
        let job = world.submit(class);
        world.end(job, end);
        assert_eq!(world.outcome(job), Outcome::Failed(failure));
        world.assert_idle();
    }
}

#[test]
fn a_once_job_that_never_began_may_begin() {
    let (mut world, _) = World::with_cpus(1);
    let class = world.class(Class { once: true, ..plain() });
    let job = world.submit(class);
    let (_, lane) = world.place(job);
    world.end(job, End::NotStarted);
    assert_eq!(world.starts(), [(job, Attempt(1)), (job, Attempt(1))]);
    assert_ne!(world.place(job).1, lane, "one lane never gets the same attempt twice");
    world.succeed(job);
    assert_eq!(world.outcome(job), Outcome::Succeeded("ok"));
}

#[test]
fn a_job_over_its_limit_is_stopped_and_tried_again() {
    let (mut world, _) = World::with_cpus(1);
    let limit = Some(Duration::from_millis(30));
    let class = world.class(Class { limit, retries: 1, backoff: Backoff::NONE, ..plain() });
    let job = world.submit(class);
    world.advance(29);
    assert!(world.stops().is_empty());
    world.advance(1);
    assert_eq!(world.stops(), [(job, StopCause::Limit)]);
    assert!(matches!(world.state(job), JobState::Stopping { cause: StopCause::Limit, .. }));
    world.end(job, End::Stopped("late"));
    assert!(world.is_running(job));
    world.advance(100);
    world.end(job, End::Died("killed"));
    assert_eq!(world.outcome(job), Outcome::Failed(Failure::LimitReached("killed")));
    assert_eq!(world.sched.job(job).unwrap().deaths, 0);
    world.assert_idle();
}

#[test]
fn a_job_that_makes_it_while_it_is_stopped_has_made_it() {
    let (mut world, _) = World::with_cpus(1);
    let class = world.class(Class { limit: Some(Duration::from_millis(30)), ..plain() });
    let job = world.submit(class);
    world.advance(30);
    world.succeed(job);
    assert_eq!(world.outcome(job), Outcome::Succeeded("ok"));
}

/// Goal: the limit is that of an attempt, not of a lane, and timers do not pile up.
#[test]
fn each_job_of_a_lane_has_the_whole_limit() {
    let (mut world, _) = World::with_cpus(1);
    let class = world.class(Class { limit: Some(Duration::from_millis(30)), ..plain() });
    let jobs = world.submit_many(class, 20);
    for &job in &jobs {
        assert!(world.is_running(job));
        world.advance(25);
        world.end_after(job, Duration::from_micros(10), End::Succeeded("ok"));
    }
    assert!(world.stops().is_empty());
    world.assert_idle();
}

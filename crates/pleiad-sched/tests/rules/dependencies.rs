//! Jobs that wait for others.

use std::time::Duration;

use pleiad_sched::{
    CancelResult, ClassId, End, Explanation, Failure, JobState, Outcome, SubmitError,
};
use pleiad_types::JobId;

use crate::world::{World, plain};

#[test]
fn a_job_starts_after_all_that_it_waits_for_have_succeeded() {
    let (mut world, _) = World::with_cpus(4);
    let class = world.class(plain());
    let a = world.submit(class);
    let b = world.submit(class);
    let c = world.submit_after(class, &[a, b, a]);
    assert_eq!(world.state(c), JobState::Blocked { on: 2 });
    assert_eq!(world.explain(c), Explanation::WaitsForJobs(vec![a, b]));
    assert_eq!(world.sched.counts().blocked, 1);
    world.succeed(b);
    assert_eq!(world.explain(c), Explanation::WaitsForJobs(vec![a]));
    world.succeed(a);
    assert!(world.is_running(c));
    world.succeed(c);
    world.assert_idle();
}

#[test]
fn a_job_whose_dependency_has_succeeded_already_need_not_wait() {
    let (mut world, _) = World::with_cpus(1);
    let class = world.class(plain());
    let a = world.submit(class);
    world.succeed(a);
    let b = world.submit_after(class, &[a]);
    assert!(world.is_running(b));
}

#[test]
fn jobs_fail_with_what_they_wait_for_down_the_line() {
    let (mut world, _) = World::with_cpus(2);
    let class = world.class(plain());
    let a = world.submit(class);
    let b = world.submit_after(class, &[a]);
    let c = world.submit_after(class, &[b]);
    let free = world.submit(class);
    let d = world.submit_after(class, &[free, c]);
    world.end(a, End::Failed("no"));
    for (job, on) in [(b, a), (c, b), (d, c)] {
        assert_eq!(world.outcome(job), Outcome::Failed(Failure::Dependency(on)));
    }
    let after_all = world.submit_after(class, &[c]);
    assert_eq!(world.outcome(after_all), Outcome::Failed(Failure::Dependency(c)));
    assert!(world.is_running(free));
    world.succeed(free);
    world.assert_idle();
}

#[test]
fn cancelling_a_job_fails_those_that_wait_for_it() {
    let (mut world, _) = World::with_cpus(1);
    let class = world.class(plain());
    let a = world.submit(class);
    let b = world.submit_after(class, &[a]);
    let c = world.submit_after(class, &[b]);
    assert_eq!(world.cancel(b), CancelResult::Cancelled);
    assert_eq!(world.outcome(c), Outcome::Failed(Failure::Dependency(b)));
    world.succeed(a);
    world.assert_idle();
}

#[test]
fn nobody_can_wait_for_an_unknown_or_released_job() {
    let (mut world, _) = World::with_cpus(1);
    let class = world.class(plain());
    let a = world.submit(class);
    let mut refused = |on| {
        let counts = world.sched.counts();
        let result = world.sched.submit(world.now, class, &[a, on]);
        assert_eq!(world.sched.counts(), counts, "nothing was changed");
        result
    };
    assert_eq!(refused(JobId(2)), Err(SubmitError::NoSuchDependency(JobId(2))), "not even itself");
    world.sched.release(a);
    let error = Err(SubmitError::NoSuchDependency(a));
    assert_eq!(world.sched.submit(world.now, class, &[a]), error);
    let error = Err(SubmitError::NoSuchClass(ClassId(99)));
    assert_eq!(world.sched.submit(world.now, ClassId(99), &[]), error);
    let b = world.submit(class);
    assert_eq!(b, JobId(2), "a refused job has no number");
}

#[test]
fn releasing_a_job_does_not_break_those_that_wait_for_it() {
    let (mut world, _) = World::with_cpus(1);
    let class = world.class(plain());
    let a = world.submit(class);
    let b = world.submit_after(class, &[a]);
    world.sched.release(a);
    assert_eq!(world.explain(b), Explanation::WaitsForJobs(vec![a]));
    world.succeed(a);
    assert_eq!(world.sched.job(a), None);
    assert!(world.is_running(b));
}

/// Goal: long chains and wide fans cost neither the stack nor time.
#[test]
fn a_chain_of_a_hundred_thousand_jobs_fails_at_once() {
    let mut world = World::new();
    let class = world.class(plain());
    let mut last = world.sched.submit(world.now, class, &[]).unwrap();
    let first = last;
    for _ in 0..100_000 {
        last = world.sched.submit(world.now, class, &[last]).unwrap();
    }
    world.cancel(first);
    assert_eq!(world.sched.counts().failed, 100_000);
    assert_eq!(world.outcome(last), Outcome::Failed(Failure::Dependency(JobId(last.0 - 1))));
}

#[test]
fn cancelled_jobs_that_waited_for_a_long_one_leave_nothing_behind() {
    let (mut world, _) = World::with_cpus(1);
    let class = world.class(plain());
    let long = world.submit(class);
    for _ in 0..1_000 {
        let job = world.submit_after(class, &[long]);
        world.cancel(job);
        world.sched.release(job);
    }
    let waits = world.submit_after(class, &[long]);
    world.succeed(long);
    assert!(world.is_running(waits));
    assert_eq!(world.run_all(Duration::ZERO), [waits]);
}

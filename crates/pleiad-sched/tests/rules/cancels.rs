//! After `cancelled` no result is handed over.

use std::time::Duration;

use pleiad_sched::{CancelResult, Class, End, JobState, Outcome, StopCause};
use pleiad_types::{Attempt, JobId};

use crate::world::{World, plain};

const TINY: Duration = Duration::from_micros(10);

/// A world whose only lane holds the jobs from the second to the fifth, of nine; the second runs.
fn with_full_lane(answers_recalls: bool) -> (World, Vec<JobId>) {
    let (mut world, _) = World::with_cpus(1);
    world.answers_recalls = answers_recalls;
    let class = world.class(plain());
    let jobs = world.submit_many(class, 9);
    world.end_after(jobs[0], TINY, End::Succeeded("ok"));
    assert!(matches!(world.state(jobs[4]), JobState::Queued { .. }));
    assert_eq!(world.state(jobs[5]), JobState::Waiting);
    (world, jobs)
}

#[test]
fn a_job_that_waits_is_cancelled_at_once() {
    let (mut world, _) = World::with_cpus(1);
    let class = world.class(Class { retries: 1, ..plain() });
    let jobs = world.submit_many(class, 3);
    let blocked = world.submit_after(class, &[jobs[2]]);
    world.end(jobs[0], End::Failed("no"));
    for job in [jobs[0], blocked, jobs[2]] {
        assert_eq!(world.cancel(job), CancelResult::Cancelled);
        assert_eq!(world.outcome(job), Outcome::Cancelled);
        assert_eq!(world.cancel(job), CancelResult::AlreadyFinal);
    }
    world.succeed(jobs[1]);
    world.assert_idle();
    assert_eq!(world.started(), jobs[..2]);
}

#[test]
fn a_running_job_is_stopped_and_no_result_of_it_counts() {
    let ends = [End::Succeeded("ok"), End::Failed("no"), End::Died("x"), End::Stopped("x")];
    for end in ends.into_iter().chain([End::NotStarted, End::Interrupted, End::Impossible("x")]) {
        let (mut world, machine) = World::with_cpus(1);
        let class = world.class(Class { retries: 5, ..plain() });
        let job = world.submit(class);
        assert_eq!(world.cancel(job), CancelResult::Stopping);
        assert_eq!(world.cancel(job), CancelResult::Stopping);
        assert_eq!(world.stops(), [(job, StopCause::Cancelled)]);
        world.end(job, end);
        assert_eq!(world.outcome(job), Outcome::Cancelled);
        assert_eq!(world.sched.machine(machine).unwrap().succeeded, 0);
        world.assert_idle();
    }
}

#[test]
fn a_job_asked_to_finish_early_may_still_give_its_result() {
    let (mut world, _) = World::with_cpus(1);
    let class = world.class(Class { retries: 5, ..plain() });
    let job = world.submit(class);
    assert_eq!(world.finish_early(job), CancelResult::Stopping);
    assert_eq!(world.stops(), [(job, StopCause::Early)]);
    world.succeed(job);
    assert_eq!(world.outcome(job), Outcome::Succeeded("ok"));
    world.assert_idle();
}

#[test]
fn a_job_asked_to_finish_early_is_cancelled_if_it_gives_nothing() {
    for end in [End::Failed("no"), End::Died("x"), End::Stopped("x"), End::Interrupted] {
        let (mut world, _) = World::with_cpus(1);
        let class = world.class(Class { retries: 5, ..plain() });
        let jobs = world.submit_many(class, 2);
        assert_eq!(world.finish_early(jobs[1]), CancelResult::Cancelled, "it does not run");
        assert_eq!(world.finish_early(jobs[0]), CancelResult::Stopping);
        world.end(jobs[0], end);
        assert_eq!(world.outcome(jobs[0]), Outcome::Cancelled);
        assert_eq!(world.finish_early(jobs[0]), CancelResult::AlreadyFinal);
        world.assert_idle();
    }
}

#[test]
fn a_job_stopped_for_its_limit_can_still_be_cancelled() {
    let (mut world, _) = World::with_cpus(1);
    let class = world.class(Class { limit: Some(TINY), retries: 5, ..plain() });
    let job = world.submit(class);
    world.advance(1);
    assert_eq!(world.cancel(job), CancelResult::Stopping);
    world.succeed(job);
    assert_eq!(world.outcome(job), Outcome::Cancelled);
    assert_eq!(world.stops().len(), 1, "once is enough");
}

#[test]
fn a_job_behind_another_is_final_at_once_and_taken_back() {
    let (mut world, jobs) = with_full_lane(true);
    assert_eq!(world.cancel(jobs[3]), CancelResult::Cancelled);
    assert_eq!(world.outcome(jobs[3]), Outcome::Cancelled);
    assert_eq!(world.recalls(), [jobs[3]]);
    world.run_all(TINY);
    assert_eq!(world.sched.counts().succeeded, 8);
    assert_eq!(world.sched.stale(), 0);
    world.assert_idle();
}

/// Goal: a cancelled job that the machine had begun is stopped, and its end does no harm.
#[test]
fn a_job_that_began_before_it_could_be_taken_back_is_stopped() {
    let (mut world, jobs) = with_full_lane(false);
    world.cancel(jobs[2]);
    world.sched.release(jobs[2]);
    world.succeed(jobs[1]);
    assert_eq!(world.stops(), [(jobs[2], StopCause::Cancelled)]);
    assert_eq!(world.sched.stale(), 0);
    world.succeed(jobs[2]);
    assert_eq!(world.sched.stale(), 1, "its result came too late");
    assert!(world.is_running(jobs[3]));
    world.run_all(TINY);
    assert_eq!(world.outcome(jobs[2]), Outcome::Cancelled);
    assert_eq!(world.sched.counts().succeeded, 8);
    world.assert_idle();
}

#[test]
fn who_has_released_a_job_cannot_cancel_it() {
    let (mut world, _) = World::with_cpus(1);
    let class = world.class(plain());
    let job = world.submit(class);
    world.sched.release(job);
    assert_eq!(world.cancel(job), CancelResult::NoSuchJob);
    assert_eq!(world.cancel(JobId(77)), CancelResult::NoSuchJob);
    world.succeed(job);
    assert_eq!(world.outcome(job), Outcome::Succeeded("ok"));
    assert_eq!(world.sched.job(job), None);
}

#[test]
fn the_end_of_a_job_says_which_attempt_was_the_last() {
    let (mut world, jobs) = with_full_lane(true);
    world.cancel(jobs[4]);
    world.cancel(jobs[8]);
    world.cancel(jobs[1]);
    world.end(jobs[1], End::Stopped("x"));
    let attempt = |job| world.finished_attempt(job);
    assert_eq!(attempt(jobs[4]), None, "it never ran");
    assert_eq!(attempt(jobs[8]), None);
    assert_eq!(attempt(jobs[1]), Some(Attempt(1)));
}

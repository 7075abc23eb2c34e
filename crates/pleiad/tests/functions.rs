//! Functions as jobs, with workers in processes of their own.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed, and some jobs print"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{
    SOON, begun, builder, cluster, eventually, folder, hold, note, notes, nothing_left,
    processes_with,
};
use pleiad::{
    Backoff, CancelResult, Cluster, Cpus, EventKind, Explanation, Job, JobContext, JobError,
    JobErrorKind, JobId, JobSendError, JobState, Obstacle, Program, StartError, SubmitError,
    Workers,
};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

fn main() -> ExitCode {
    pleiad::init();
    common::run(trials())
}

common::tests![
    functions_run_in_other_processes,
    functions_may_be_generic,
    closures_that_capture_nothing_are_functions,
    functions_take_from_none_to_eight_arguments,
    functions_see_their_context,
    results_come_in_the_order_of_items,
    results_come_as_completed,
    an_err_is_a_failure_if_it_is_to_be_one,
    the_first_failure_ends_an_awaited_map,
    a_panic_tells_its_text_its_place_and_its_functions,
    errors_say_which_job_and_what,
    large_values_travel,
    arguments_that_do_not_serialise_are_refused,
    an_item_that_does_not_serialise_fails_alone,
    arguments_that_do_not_deserialise_fail_the_job,
    results_that_cannot_be_bytes_fail_the_job,
    messages_travel_both_ways_in_order,
    a_message_of_another_type_is_an_error_and_the_next_one_is_fine,
    a_slow_reader_is_told_how_many_it_missed,
    a_slow_job_loses_the_oldest_messages,
    messages_may_be_sent_before_the_job_begins_but_not_after_its_end,
    the_jobs_of_a_map_say_which_item_they_have,
    progress_is_seen,
    a_job_that_stops_when_asked_keeps_its_worker,
    a_waiting_job_is_cancelled_at_once,
    a_second_cancel_changes_nothing,
    a_job_that_has_ended_cannot_be_cancelled,
    a_cancel_that_races_an_end_says_which_won,
    a_killed_job_has_no_grace,
    cancel_all_leaves_a_working_cluster,
    dropping_the_future_cancels_the_job,
    dropping_a_job_lets_it_run,
    dropping_results_cancels_the_rest,
    a_cancelled_map_tells_every_end,
    failed_jobs_are_tried_again_after_growing_waits,
    a_job_without_retries_is_tried_once,
    a_once_job_that_loses_its_worker_is_not_run_again,
    a_job_that_ends_politely_at_its_limit_keeps_its_result,
    a_job_that_ignores_its_limit_is_ended_after_the_grace,
    the_limit_counts_for_each_attempt,
    higher_priorities_go_first,
    a_job_waits_for_others,
    a_failure_fails_all_that_wait_for_it,
    a_job_may_wait_for_one_that_has_ended,
    a_job_may_wait_for_one_whose_handle_is_gone,
    a_job_that_is_asked_to_finish_early_gives_what_it_has,
    jobs_share_processors,
    jobs_share_memory_and_are_held_to_it,
    jobs_share_whatever_is_counted,
    a_job_that_is_too_large_is_refused,
    what_can_never_be_is_refused,
    at_once_limits_jobs_of_one_kind,
    setup_makes_data_that_jobs_share,
    a_setup_that_fails_fails_its_jobs_only,
    cleanup_runs_when_the_cluster_closes,
    a_shared_process_shares_data,
    what_each_job_prints_is_kept_with_its_result,
    the_events_of_a_job_come_in_order,
    status_counts_jobs,
    wait_returns_when_nothing_is_left_to_do,
    close_finishes_what_was_accepted,
    dropping_the_cluster_ends_everything,
    a_map_over_an_endless_iterator_takes_what_it_needs,
    two_hundred_thousand_jobs_run_exactly_once,
    many_threads_use_one_cluster,
    one_program_has_two_clusters,
    explain_says_why_a_job_does_not_run,
];

// Functions and their arguments.

fn square(n: u64) -> u64 {
    n * n
}

fn process_id() -> u32 {
    std::process::id()
}

async fn functions_run_in_other_processes() {
    let (builder, marker) = builder(2);
    let cluster = builder.start().await.unwrap();

    assert_eq!(cluster.submit(square, (7,)).await.unwrap(), 49);
    assert_ne!(cluster.submit(process_id, ()).await.unwrap(), std::process::id());

    cluster.close().await;
    nothing_left(&marker).await;
}

fn largest<T: Ord + Clone>(items: Vec<T>) -> Option<T> {
    items.iter().max().cloned()
}

async fn functions_may_be_generic() {
    let cluster = cluster(1).await;
    let numbers = cluster.submit(largest::<u8>, (vec![3, 9, 1],)).await.unwrap();
    let words = ["a", "c", "b"].map(ToOwned::to_owned).to_vec();
    let words = cluster.submit(largest::<String>, (words,)).await.unwrap();
    assert_eq!((numbers, words.as_deref()), (Some(9), Some("c")));
}

async fn closures_that_capture_nothing_are_functions() {
    const FACTOR: u64 = 3;
    let cluster = cluster(1).await;
    assert_eq!(cluster.submit(|n: u64| n * FACTOR, (5,)).await.unwrap(), 15);
    let attempt = cluster.submit(|job: &JobContext, n: u32| job.attempt().0 + n, (1,));
    assert_eq!(attempt.await.unwrap(), 2);
    assert_eq!(cluster.map(|text: String| text.len(), [String::new()]).await.unwrap(), [0]);
}

async fn functions_take_from_none_to_eight_arguments() {
    type N = u16;
    let cluster = cluster(2).await;
    let got = [
        cluster.submit(|| -> N { 0 }, ()).await.unwrap(),
        cluster.submit(|a: N| a, (1,)).await.unwrap(),
        cluster.submit(|a: N, b: N| a + b, (1, 1)).await.unwrap(),
        cluster.submit(|a: N, b: N, c: N| a + b + c, (1, 1, 1)).await.unwrap(),
        cluster.submit(|a: N, b: N, c: N, d: N| a + b + c + d, (1, 1, 1, 1)).await.unwrap(),
        cluster
            .submit(|a: N, b: N, c: N, d: N, e: N| a + b + c + d + e, (1, 1, 1, 1, 1))
            .await
            .unwrap(),
        cluster
            .submit(|a: N, b: N, c: N, d: N, e: N, f: N| a + b + c + d + e + f, (1, 1, 1, 1, 1, 1))
            .await
            .unwrap(),
        cluster
            .submit(
                |a: N, b: N, c: N, d: N, e: N, f: N, g: N| a + b + c + d + e + f + g,
                (1, 1, 1, 1, 1, 1, 1),
            )
            .await
            .unwrap(),
        cluster
            .submit(
                |a: N, b: N, c: N, d: N, e: N, f: N, g: N, h: N| a + b + c + d + e + f + g + h,
                (1, 1, 1, 1, 1, 1, 1, 1),
            )
            .await
            .unwrap(),
    ];
    assert_eq!(got, [0, 1, 2, 3, 4, 5, 6, 7, 8]);
}

fn who(job: &JobContext) -> (u64, u32, String) {
    (job.job().0, job.attempt().0, job.machine().to_owned())
}

#[expect(clippy::too_many_arguments, reason = "that is what is tested")]
fn eight_and_context(
    job: &JobContext,
    (a, b): (u8, char),
    c: Option<bool>,
    d: f64,
    e: String,
    f: BTreeMap<u8, u8>,
    g: (),
    h: [u8; 2],
    i: PathBuf,
) -> String {
    format!("{} {a} {b} {c:?} {d} {e} {f:?} {g:?} {h:?} {}", job.attempt(), i.display())
}

async fn functions_see_their_context() {
    let cluster = Cluster::builder().cpus(1).name("here").start().await.unwrap();
    let job = cluster.submit(who, ()).start().await.unwrap();
    let id = job.id();
    assert_eq!(job.await.unwrap(), (id.0, 1, "here".to_owned()));
    let args = (
        (1, 'b'),
        Some(true),
        0.5,
        "e".to_owned(),
        BTreeMap::from([(1, 2)]),
        (),
        [7, 8],
        "/tmp".into(),
    );
    let text = cluster.submit(eight_and_context, args).await.unwrap();
    assert_eq!(text, "attempt 1 1 b Some(true) 0.5 e {1: 2} () [7, 8] /tmp");
}

// Results.

/// Items that come first take longest.
fn slower_first(n: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(60_u64.saturating_sub(n * 10)));
    n
}

async fn results_come_in_the_order_of_items() {
    let cluster = cluster(4).await;
    let mut results = cluster.map(slower_first, 0..10).in_order();
    for n in 0..10 {
        let done = results.next().await.unwrap();
        assert_eq!((done.index as u64, done.result.unwrap()), (n, n));
    }
    assert!(results.next().await.is_none());
    let all = cluster.map(square, (0..3_000).rev()).await.unwrap();
    assert!(all.into_iter().eq((0..3_000).rev().map(square)));
}

async fn results_come_as_completed() {
    let cluster = cluster(2).await;
    let mut results = cluster.map(square, 0..3_000).as_completed();
    let mut seen = BTreeSet::new();
    while let Some(done) = results.next().await {
        assert_eq!(done.result.unwrap(), square(done.index as u64));
        assert!(seen.insert(done.index), "{} came twice", done.index);
    }
    assert_eq!(seen.len(), 3_000);
    assert!(results.next().await.is_none());
    assert_eq!(cluster.map(square, 0..0).await.unwrap(), [0; 0]);
}

fn even_only(n: u64) -> Result<u64, String> {
    if n.is_multiple_of(2) { Ok(n) } else { Err(format!("{n} is odd")) }
}

async fn an_err_is_a_failure_if_it_is_to_be_one() {
    let cluster = cluster(1).await;
    assert_eq!(cluster.submit(even_only, (3,)).await.unwrap(), Err("3 is odd".to_owned()));
    assert_eq!(cluster.try_submit(even_only, (4,)).await.unwrap(), 4);
    let error = cluster.try_submit(even_only, (3,)).await.unwrap_err();
    assert!(matches!(&error.kind, JobErrorKind::Returned(text) if text == "3 is odd"), "{error}");

    let mut results = cluster.try_map(even_only, 0..4).in_order();
    let mut texts = Vec::new();
    while let Some(done) = results.next().await {
        texts.push(done.result.map_err(|e| e.kind.to_string()));
    }
    let odd = |n| Err(format!("{n} is odd"));
    assert_eq!(texts, [Ok(0), odd(1), Ok(2), odd(3)]);
}

async fn the_first_failure_ends_an_awaited_map() {
    let cluster = cluster(1).await;
    let error = cluster.try_map(even_only, 1..).await.unwrap_err();
    assert_eq!(error.kind.to_string(), "1 is odd");
    cluster.wait().await;
    assert_eq!(cluster.submit(square, (2,)).await.unwrap(), 4, "the cluster goes on");
}

// Errors.

#[inline(never)]
fn divide_badly(n: u32) -> u32 {
    assert!(n > 100, "cannot divide {n}");
    n
}

async fn a_panic_tells_its_text_its_place_and_its_functions() {
    let cluster = cluster(1).await;
    let error = cluster.submit(divide_badly, (7,)).await.unwrap_err();
    let JobErrorKind::Panicked { message, location, backtrace } = &error.kind else {
        panic!("{error}")
    };
    assert_eq!(message, "cannot divide 7");
    assert!(location.contains("functions.rs:"), "{location}");
    assert!(backtrace.contains("divide_badly"), "{backtrace}");
    assert!(!backtrace.contains("pleiad_cluster"), "{backtrace}");
    assert_eq!(error.backtrace(), Some(backtrace.as_str()));

    let odd = cluster.submit(|| -> u8 { std::panic::panic_any(7_u8) }, ()).await.unwrap_err();
    assert!(odd.to_string().contains("a panic without a text"), "{odd}");
    assert_eq!(cluster.submit(square, (2,)).await.unwrap(), 4, "the cluster goes on");
}

async fn errors_say_which_job_and_what() {
    let cluster = cluster(1).await;
    let named = cluster.try_submit(even_only, (3,)).name("halve").retries(1).backoff(Backoff::NONE);
    let job = named.start().await.unwrap();
    let id = job.id();
    let error = job.await.unwrap_err();
    assert_eq!(error.to_string(), format!("{id} (halve), attempt 2: 3 is odd"));

    let refused = cluster.submit(square, (1,)).cpus(9).await.unwrap_err();
    let text = refused.to_string();
    assert!(text.starts_with("job: not accepted: too large for "), "{text}");
}

fn doubled(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.iter_mut().for_each(|byte| *byte = byte.wrapping_mul(2));
    bytes
}

async fn large_values_travel() {
    let cluster = cluster(2).await;
    let large: Vec<u8> = (0..8_u32 << 20).map(|n| (n % 251) as u8).collect();
    let back = cluster.submit(doubled, (large.clone(),)).await.unwrap();
    assert!(back == doubled(large.clone()));

    // Through the chunks of a map, too, between small ones.
    let items = [vec![1], large[..3 << 20].to_vec(), vec![2], large[..3 << 20].to_vec()];
    let back = cluster.map(doubled, items.clone()).await.unwrap();
    assert!(back == items.map(doubled));
}

/// A number; some numbers cannot be written, others not be read.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Moody(u8);

const UNWRITABLE: u8 = 200;
const UNREADABLE: u8 = 201;

impl Serialize for Moody {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 == UNWRITABLE {
            return Err(S::Error::custom("not today"));
        }
        serializer.serialize_u8(self.0)
    }
}

impl<'de> Deserialize<'de> for Moody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u8::deserialize(deserializer)? {
            UNREADABLE => Err(D::Error::custom("not this one")),
            n => Ok(Self(n)),
        }
    }
}

fn same(moody: Moody) -> Moody {
    moody
}

async fn arguments_that_do_not_serialise_are_refused() {
    let cluster = cluster(1).await;
    let error = cluster.submit(same, (Moody(UNWRITABLE),)).start().await.unwrap_err();
    assert!(matches!(error, SubmitError::Unserialisable(_)), "{error}");
    assert!(error.to_string().starts_with("the arguments do not serialise"), "{error}");
    let error = cluster.submit(same, (Moody(UNWRITABLE),)).await.unwrap_err();
    assert!(matches!(error.kind, JobErrorKind::NotAccepted(_)), "{error}");
    assert_eq!(error.job, None);
    assert_eq!(cluster.submit(same, (Moody(1),)).await.unwrap(), Moody(1));
}

async fn an_item_that_does_not_serialise_fails_alone() {
    let cluster = cluster(1).await;
    let items = [1, UNWRITABLE, 2, UNWRITABLE, UNWRITABLE, 3, UNWRITABLE].map(Moody);
    let mut results = cluster.map(same, items).in_order();
    for (index, item) in items.into_iter().enumerate() {
        let done = results.next().await.unwrap();
        assert_eq!(done.index, index);
        match done.result {
            Ok(same) => assert_eq!(same, item),
            Err(e) => {
                assert_eq!(item, Moody(UNWRITABLE));
                let kind = &e.kind;
                assert!(
                    matches!(kind, JobErrorKind::NotAccepted(SubmitError::Unserialisable(_))),
                    "{e}"
                );
            }
        }
    }
    assert!(results.next().await.is_none());
    let all = cluster.map(same, [UNWRITABLE].map(Moody)).await;
    assert!(all.is_err());
    assert_eq!(cluster.submit(same, (Moody(1),)).await.unwrap(), Moody(1));
}

async fn arguments_that_do_not_deserialise_fail_the_job() {
    let cluster = cluster(1).await;
    let error = cluster.submit(same, (Moody(UNREADABLE),)).await.unwrap_err();
    assert!(matches!(error.kind, JobErrorKind::Unreadable(_)), "{error}");
    assert!(error.to_string().contains("the arguments do not deserialise"), "{error}");

    let mut results = cluster.map(same, [1, UNREADABLE, 2].map(Moody)).in_order();
    let mut fine = Vec::new();
    while let Some(done) = results.next().await {
        fine.push(done.result.is_ok());
    }
    assert_eq!(fine, [true, false, true]);
}

async fn results_that_cannot_be_bytes_fail_the_job() {
    let cluster = cluster(1).await;
    let error = cluster.submit(|| Moody(UNWRITABLE), ()).await.unwrap_err();
    assert!(matches!(error.kind, JobErrorKind::Unreadable(_)), "{error}");
    assert!(error.to_string().contains("the result does not serialise"), "{error}");

    let error = cluster.submit(|| Moody(UNREADABLE), ()).await.unwrap_err();
    assert!(matches!(error.kind, JobErrorKind::Unreadable(_)), "{error}");
    assert!(error.to_string().contains("its result is no `functions::Moody`"), "{error}");

    assert_eq!(cluster.submit(same, (Moody(1),)).await.unwrap(), Moody(1));
}

// Messages and progress.

fn echo(job: &JobContext) -> u32 {
    let mut count = 0;
    while let Some(text) = job.recv::<String>(SOON).unwrap() {
        if text == "end" {
            break;
        }
        job.send(&(count, text)).unwrap();
        count += 1;
    }
    count
}

async fn messages_travel_both_ways_in_order() {
    let cluster = cluster(1).await;
    let job = cluster.submit(echo, ()).start().await.unwrap();
    until_running(&cluster, job.id()).await;
    for n in 0..100_u32 {
        job.send(&format!("message {n}")).await.unwrap();
    }
    let mut messages = job.messages::<(u32, String)>();
    for n in 0..100 {
        assert_eq!(messages.next().await.unwrap(), Ok((n, format!("message {n}"))));
    }
    job.send(&"end".to_owned()).await.unwrap();
    assert_eq!(job.await.unwrap(), 100);
    assert!(messages.next().await.is_none(), "no message follows the end");
}

fn mixed(job: &JobContext) -> String {
    job.send(&7_u8).unwrap();
    job.send(&"seven".to_owned()).unwrap();
    let wrong = job.recv::<u64>(SOON).unwrap_err().to_string();
    let right = job.recv::<String>(SOON).unwrap().unwrap();
    format!("{wrong}; {right}")
}

async fn a_message_of_another_type_is_an_error_and_the_next_one_is_fine() {
    let cluster = cluster(1).await;
    let job = cluster.submit(mixed, ()).start().await.unwrap();
    let mut messages = job.messages::<String>();
    let error = messages.next().await.unwrap().unwrap_err().to_string();
    assert!(error.contains("alloc::string::String") && error.contains("another type"), "{error}");
    assert_eq!(messages.next().await.unwrap().unwrap(), "seven");

    job.send(&Moody(UNWRITABLE)).await.unwrap_err();
    job.send(&"a text".to_owned()).await.unwrap();
    job.send(&"another".to_owned()).await.unwrap();
    let answer = job.await.unwrap();
    assert!(answer.contains("`u64`") && answer.ends_with("; another"), "{answer}");
}

fn flood(job: &JobContext, count: u32) {
    (0..count).for_each(|n| job.send(&n).unwrap());
}

async fn a_slow_reader_is_told_how_many_it_missed() {
    let cluster = cluster(1).await;
    let mut job = cluster.submit(flood, (3_000,)).start().await.unwrap();
    let mut messages = job.messages::<u32>();
    job.completed().await.result.unwrap();

    let missed = messages.next().await.unwrap().unwrap_err().to_string();
    assert!(missed.contains("1976 messages were read too slowly"), "{missed}");
    for n in 1_976..3_000 {
        assert_eq!(messages.next().await.unwrap(), Ok(n));
    }
    assert!(messages.next().await.is_none());
}

/// Takes its messages when it is to stop, which it is told behind them.
fn late(job: &JobContext) {
    job.send(&"begun".to_owned()).unwrap();
    assert!(job.wait_for_stop(SOON));
    let messages: Vec<u32> = std::iter::from_fn(|| job.try_recv().unwrap()).collect();
    job.send(&(messages.len(), messages[0])).unwrap();
}

async fn a_slow_job_loses_the_oldest_messages() {
    let cluster = cluster(1).await;
    let job = cluster.submit(late, ()).start().await.unwrap();
    // In the worker, too: before that, it would be taken back instead of told to stop.
    begun(&job).await;
    for n in 0..1_030_u32 {
        job.send(&n).await.unwrap();
    }
    assert_eq!(job.cancel().await, CancelResult::Stopping);
    let mut messages = job.messages::<(usize, u32)>();
    assert_eq!(messages.next().await.unwrap(), Ok((1_024, 6)));
    assert!(job.await.is_err());
}

async fn messages_may_be_sent_before_the_job_begins_but_not_after_its_end() {
    let cluster = cluster(1).await;
    let first = cluster.submit(hold, ()).start().await.unwrap();
    begun(&first).await;
    let mut second = cluster.submit(hold, ()).start().await.unwrap();
    second.send(&2_u32).await.unwrap();
    first.send(&1_u32).await.unwrap();
    assert_eq!(second.completed().await.result.unwrap(), 2);
    assert_eq!(second.send(&3_u32).await, Err(JobSendError::Final));
    assert_eq!(first.await.unwrap(), 1);

    let program = cluster.run(Program::new("sleep").arg("60")).start().await.unwrap();
    assert_eq!(program.send(&1_u32).await, Err(JobSendError::Program));
    program.kill();
}

fn tell(job: &JobContext, n: u64) -> u64 {
    job.send(&(n * 10)).unwrap();
    n
}

async fn the_jobs_of_a_map_say_which_item_they_have() {
    let cluster = cluster(2).await;
    let mut results = cluster.map(tell, 0..500).as_completed();
    let mut messages = results.messages::<u64>();
    while results.next().await.is_some() {}
    let mut told = BTreeMap::new();
    while let Some(message) = messages.next().await {
        let message = message.unwrap();
        assert_eq!(told.insert(message.index, message.message), None);
    }
    assert!(told.into_iter().eq((0..500).map(|n| (n, n as u64 * 10))));
}

fn walk(job: &JobContext) {
    job.progress(3, 10);
    hold(job);
    job.progress(10, 10);
}

async fn progress_is_seen() {
    let cluster = cluster(1).await;
    let mut job = cluster.submit(walk, ()).start().await.unwrap();
    assert_eq!(job.progress(), None);
    eventually("it tells how far it is", || job.progress() == Some((3, 10))).await;
    job.send(&0_u32).await.unwrap();
    job.completed().await.result.unwrap();
    assert_eq!(job.progress(), Some((10, 10)));
}

// Cancelling.

/// Runs until it should stop; notes how it has learnt of it, and its process.
fn until_stopped(job: &JobContext, log: PathBuf, looks: bool) -> u32 {
    if looks {
        job.send(&"begun".to_owned()).unwrap();
        while !job.should_stop() {
            std::thread::sleep(Duration::from_millis(1));
        }
    } else {
        let early = job.wait_for_stop(Duration::from_millis(1));
        job.send(&"begun".to_owned()).unwrap();
        assert!(job.wait_for_stop(SOON) && !early);
    }
    note(&log, if looks { "looked" } else { "waited" });
    process_id()
}

async fn a_job_that_stops_when_asked_keeps_its_worker() {
    let cluster = cluster(1).await;
    let (_dir, path) = folder();
    let log = path.join("log");
    let worker = cluster.submit(process_id, ()).await.unwrap();
    for looks in [true, false] {
        let job = cluster.submit(until_stopped, (log.clone(), looks)).start().await.unwrap();
        begun(&job).await;
        assert_eq!(job.cancel().await, CancelResult::Stopping);
        assert!(matches!(job.await.unwrap_err().kind, JobErrorKind::Cancelled));
    }
    assert_eq!(notes(&log), ["looked", "waited"]);
    assert_eq!(cluster.submit(process_id, ()).await.unwrap(), worker);
}

async fn a_waiting_job_is_cancelled_at_once() {
    let cluster = cluster(1).await;
    let first = cluster.submit(hold, ()).start().await.unwrap();
    begun(&first).await;
    let (_dir, path) = folder();
    let log = path.join("log");
    let waiting = cluster.submit(write_note, (log.clone(), 1)).start().await.unwrap();
    assert_eq!(waiting.cancel().await, CancelResult::Cancelled);
    assert!(matches!(waiting.await.unwrap_err().kind, JobErrorKind::Cancelled));
    first.send(&5_u32).await.unwrap();
    assert_eq!(first.await.unwrap(), 5);
    cluster.close().await;
    assert!(notes(&log).is_empty());
}

async fn a_second_cancel_changes_nothing() {
    let cluster = Cluster::builder().cpus(1).start().await.unwrap();
    let mut job = cluster.submit(hold, ()).start().await.unwrap();
    begun(&job).await;
    assert_eq!(job.cancel().await, CancelResult::Stopping);
    let again = job.cancel().await;
    assert!(matches!(again, CancelResult::Stopping | CancelResult::AlreadyFinal), "{again:?}");
    assert!(matches!(job.completed().await.result.unwrap_err().kind, JobErrorKind::Cancelled));
    assert_eq!(job.cancel().await, CancelResult::AlreadyFinal);
}

async fn a_job_that_has_ended_cannot_be_cancelled() {
    let cluster = cluster(1).await;
    let mut job = cluster.submit(square, (3,)).start().await.unwrap();
    let state = || async { job.explain().await };
    until_final(state).await;
    assert_eq!(job.cancel().await, CancelResult::AlreadyFinal);
    assert_eq!(job.completed().await.result.unwrap(), 9, "its result is still there");
    let again = job.completed().await.result.unwrap_err();
    assert!(again.to_string().contains("taken before"), "{again}");
}

async fn a_cancel_that_races_an_end_says_which_won() {
    let cluster = cluster(2).await;
    let mut won = BTreeMap::<bool, u32>::new();
    for n in 0..300 {
        let job = cluster.submit(square, (n,)).start().await.unwrap();
        for _ in 0..n % 7 {
            tokio::task::yield_now().await;
        }
        let too_late = job.cancel().await == CancelResult::AlreadyFinal;
        match job.await {
            Ok(value) => assert!(too_late && value == n * n),
            Err(e) => assert!(!too_late && matches!(e.kind, JobErrorKind::Cancelled), "{e}"),
        }
        *won.entry(too_late).or_default() += 1;
    }
    assert!(won.contains_key(&false), "{won:?}");
    assert_eq!(cluster.status().await.unwrap().jobs.unfinished(), 0);
}

/// Does not look whether it should stop.
fn sleep(job: &JobContext, millis: u64) -> u64 {
    job.send(&"begun".to_owned()).unwrap();
    std::thread::sleep(Duration::from_millis(millis));
    millis
}

async fn a_killed_job_has_no_grace() {
    let cluster = cluster(1).await;
    let job = cluster.submit(sleep, (60_000,)).start().await.unwrap();
    begun(&job).await;
    let began = Instant::now();
    job.kill();
    assert!(matches!(job.await.unwrap_err().kind, JobErrorKind::Cancelled));
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert_eq!(cluster.submit(square, (2,)).await.unwrap(), 4);
}

async fn cancel_all_leaves_a_working_cluster() {
    let cluster = cluster(2).await;
    let mut results = cluster.map(sleep, [5; 200]).as_completed();
    results.begin();
    let job = cluster.submit(hold, ()).start().await.unwrap();
    cluster.cancel_all();
    assert!(job.await.is_err());
    while results.next().await.is_some() {}
    let held = cluster.submit(sleep, (60_000,)).start().await.unwrap();
    begun(&held).await;
    cluster.kill_all();
    assert!(matches!(held.await.unwrap_err().kind, JobErrorKind::Cancelled));
    cluster.wait().await;
    assert_eq!(cluster.submit(square, (2,)).await.unwrap(), 4);
}

async fn dropping_the_future_cancels_the_job() {
    let cluster = cluster(1).await;
    let (_dir, path) = folder();
    let log = path.join("log");
    let running = cluster.submit(until_stopped, (log.clone(), false)).into_future();
    let running = tokio::spawn(running);
    let jobs = || async { cluster.status().await.unwrap().jobs };
    while jobs().await.running < 1 {}
    let waiting = tokio::spawn(cluster.submit(write_note, (log.clone(), 1)).into_future());
    while jobs().await.unfinished() < 2 {}
    waiting.abort();
    while jobs().await.unfinished() > 1 {}
    running.abort();
    cluster.wait().await;
    assert_eq!(jobs().await.cancelled, 2);
    // It has been told, or was so early that it was taken back.
    assert!(notes(&log).iter().all(|line| line == "waited"), "{:?}", notes(&log));
}

fn write_note(log: PathBuf, n: u64) -> u64 {
    note(&log, &n.to_string());
    n
}

async fn dropping_a_job_lets_it_run() {
    let cluster = cluster(1).await;
    let (_dir, path) = folder();
    let log = path.join("log");
    let first = cluster.submit(hold, ()).start().await.unwrap();
    begun(&first).await;
    drop(cluster.submit(write_note, (log.clone(), 7)).start().await.unwrap());
    first.send(&0_u32).await.unwrap();
    drop(first);
    cluster.wait().await;
    assert_eq!(notes(&log), ["7"]);
    assert_eq!(cluster.status().await.unwrap().jobs.succeeded, 2);
}

async fn dropping_results_cancels_the_rest() {
    let cluster = cluster(1).await;
    let mut results = cluster.map(sleep, [2; 400]).as_completed();
    for _ in 0..3 {
        results.next().await.unwrap().result.unwrap();
    }
    drop(results);
    cluster.wait().await;
    let jobs = cluster.status().await.unwrap().jobs;
    assert_eq!(jobs.succeeded + jobs.cancelled, 400);
    assert!(jobs.cancelled > 100, "{jobs:?}");
}

async fn a_cancelled_map_tells_every_end() {
    let cluster = cluster(1).await;
    let mut results = cluster.map(sleep, [2; 400]).as_completed();
    results.next().await.unwrap().result.unwrap();
    results.cancel();
    let mut ends = [1, 0];
    while let Some(done) = results.next().await {
        match done.result {
            Ok(_) => ends[0] += 1,
            Err(e) => {
                assert!(matches!(e.kind, JobErrorKind::Cancelled), "{e}");
                ends[1] += 1;
            }
        }
    }
    assert_eq!(ends[0] + ends[1], 400);
    assert!(ends[1] > 100, "{ends:?}");
}

// Retries and limits.

fn fails_before_attempt(job: &JobContext, good: u32) -> u32 {
    assert!(job.attempt().0 >= good, "too early: {}", job.attempt());
    job.attempt().0
}

async fn failed_jobs_are_tried_again_after_growing_waits() {
    let cluster = cluster(1).await;
    let mut events = cluster.events();
    let backoff = Backoff { first: Duration::from_millis(40), max: Duration::from_millis(100) };
    let began = Instant::now();
    let mut job = cluster
        .submit(fails_before_attempt, (5,))
        .retries(4)
        .backoff(backoff)
        .start()
        .await
        .unwrap();
    let done = job.completed().await;
    assert_eq!((done.result.unwrap(), done.attempt.unwrap().0), (5, 5));
    assert!(began.elapsed() >= Duration::from_millis(40 + 80 + 100 + 100));

    let mut waits = Vec::new();
    while waits.len() < 4 {
        if let EventKind::Retrying { attempt, why, wait, .. } = events.next().await.unwrap().kind {
            assert!(why.contains(&format!("too early: {attempt}")), "{why}");
            waits.push((attempt.0, wait.as_millis()));
        }
    }
    assert_eq!(waits, [(1, 40), (2, 80), (3, 100), (4, 100)]);
}

async fn a_job_without_retries_is_tried_once() {
    let cluster = cluster(1).await;
    for retries in [0, 2] {
        let job = cluster.submit(fails_before_attempt, (99,)).retries(retries);
        let error = job.backoff(Backoff::NONE).await.unwrap_err();
        assert_eq!(error.attempt.unwrap().0, retries + 1);
    }
}

fn notes_and_dies(log: PathBuf) {
    note(&log, "ran");
    std::process::exit(9);
}

async fn a_once_job_that_loses_its_worker_is_not_run_again() {
    let cluster = cluster(1).await;
    let (_dir, path) = folder();
    let log = path.join("log");
    let error = cluster.submit(notes_and_dies, (log.clone(),)).once().await.unwrap_err();
    assert!(matches!(error.kind, JobErrorKind::LostOnce), "{error}");
    assert_eq!(notes(&log), ["ran"]);

    let panics = cluster.submit(fails_before_attempt, (9,)).once().retries(5);
    assert_eq!(panics.await.unwrap_err().attempt.unwrap().0, 1, "a failure is final, too");
    assert_eq!(cluster.submit(square, (2,)).once().await.unwrap(), 4);
}

async fn a_job_that_ends_politely_at_its_limit_keeps_its_result() {
    let cluster = cluster(1).await;
    let (_dir, path) = folder();
    let job = cluster.submit(until_stopped, (path.join("log"), false));
    let worker = job.limit(Duration::from_millis(50)).await.unwrap();
    assert_eq!(cluster.submit(process_id, ()).await.unwrap(), worker);
}

fn spin() {
    while std::hint::black_box(true) {
        std::thread::sleep(Duration::from_micros(50));
    }
}

async fn a_job_that_ignores_its_limit_is_ended_after_the_grace() {
    let (builder, marker) = builder(1);
    let cluster = builder.grace(Duration::from_millis(100)).start().await.unwrap();
    let began = Instant::now();
    let error = cluster.submit(spin, ()).limit(Duration::from_millis(50)).await.unwrap_err();
    let JobErrorKind::LimitReached { limit, output: None } = &error.kind else { panic!("{error}") };
    assert_eq!(limit.as_millis(), 50);
    assert!(error.to_string().ends_with("ended after its limit of 50ms"), "{error}");
    assert!(began.elapsed() >= Duration::from_millis(150));
    eventually("its worker is gone", || processes_with(&marker).is_empty()).await;
    assert_eq!(cluster.submit(square, (2,)).await.unwrap(), 4);
}

fn slow_at_first(job: &JobContext) -> u32 {
    if job.attempt().0 < 3 {
        spin();
    }
    job.attempt().0
}

async fn the_limit_counts_for_each_attempt() {
    let cluster = Cluster::builder().cpus(1).grace(Duration::ZERO).start().await.unwrap();
    let job = cluster.submit(slow_at_first, ()).limit(Duration::from_millis(500)).retries(2);
    assert_eq!(job.backoff(Backoff::NONE).await.unwrap(), 3);
}

// What runs when and where.

async fn higher_priorities_go_first() {
    let cluster = cluster(1).await;
    let (_dir, path) = folder();
    let log = path.join("log");
    let first = cluster.submit(hold, ()).start().await.unwrap();
    begun(&first).await;
    let mut jobs = Vec::new();
    for priority in [0, 5, -3, 9, 5] {
        let n = (priority + 10) as u64 * 10 + jobs.len() as u64;
        let job = cluster.submit(write_note, (log.clone(), n)).priority(priority);
        jobs.push(job.start().await.unwrap());
    }
    first.send(&0_u32).await.unwrap();
    for job in jobs {
        job.await.unwrap();
    }
    assert_eq!(notes(&log), ["193", "151", "154", "100", "72"]);
}

async fn a_job_waits_for_others() {
    let cluster = cluster(2).await;
    let (_dir, path) = folder();
    let log = path.join("log");
    let first = cluster.submit(hold, ()).start().await.unwrap();
    let second = cluster.submit(hold, ()).start().await.unwrap();
    let both = cluster.submit(write_note, (log.clone(), 1)).after(&first).after(&second);
    let both = both.start().await.unwrap();
    let last = cluster.submit(write_note, (log.clone(), 2)).after(&both).start().await.unwrap();
    for (held, other) in [(&first, &second), (&second, &first)] {
        begun(held).await;
        let Explanation::WaitsForJobs(jobs) = both.explain().await else { panic!() };
        assert!(jobs.contains(&held.id()), "{jobs:?}");
        let _ = other;
        held.send(&1_u32).await.unwrap();
        until_final(|| held.explain()).await;
    }
    assert_eq!(last.await.unwrap(), 2);
    assert_eq!(notes(&log), ["1", "2"]);
}

async fn a_failure_fails_all_that_wait_for_it() {
    let cluster = cluster(1).await;
    let (_dir, path) = folder();
    let log = path.join("log");
    let first = cluster.submit(divide_badly, (1,)).start().await.unwrap();
    let second = cluster.submit(write_note, (log.clone(), 2)).after(&first).start().await.unwrap();
    let third = cluster.submit(write_note, (log.clone(), 3)).after(&second).start().await.unwrap();
    let (first_id, second_id) = (first.id(), second.id());
    let on = |error: JobError| match error.kind {
        JobErrorKind::Dependency { on, .. } => on,
        _ => panic!("{error}"),
    };
    assert_eq!(on(third.await.unwrap_err()), second_id);
    assert_eq!(on(second.await.unwrap_err()), first_id);
    assert!(first.await.unwrap_err().backtrace().is_some());

    let cancelled = cluster.submit(hold, ()).start().await.unwrap();
    let waiting = cluster.submit(write_note, (log.clone(), 4)).after(&cancelled);
    let waiting = waiting.start().await.unwrap();
    cancelled.cancel().await;
    assert_eq!(on(waiting.await.unwrap_err()), cancelled.id());
    assert!(notes(&log).is_empty());
}

async fn a_job_may_wait_for_one_that_has_ended() {
    let cluster = cluster(1).await;
    let mut good = cluster.submit(square, (3,)).start().await.unwrap();
    let mut bad = cluster.submit(divide_badly, (3,)).start().await.unwrap();
    assert_eq!(good.completed().await.result.unwrap(), 9);
    assert!(bad.completed().await.result.is_err());
    assert_eq!(cluster.submit(square, (4,)).after(&good).await.unwrap(), 16);
    let error = cluster.submit(square, (4,)).after(&bad).await.unwrap_err();
    assert!(matches!(error.kind, JobErrorKind::Dependency { on, .. } if on == bad.id()), "{error}");
}

async fn a_job_may_wait_for_one_whose_handle_is_gone() {
    let cluster = cluster(1).await;
    let first = cluster.submit(square, (3,)).start().await.unwrap();
    let second = cluster.submit(square, (4,)).after(&first);
    assert_eq!(first.await.unwrap(), 9);
    assert_eq!(second.await.unwrap(), 16);

    let bad = cluster.submit(divide_badly, (3,)).name("division").start().await.unwrap();
    let between = cluster.submit(square, (5,)).after(&bad).start().await.unwrap();
    let last = cluster.submit(square, (6,)).after_all([&between]);
    drop((bad, between));
    let error = last.await.unwrap_err().to_string();
    assert!(error.contains("which it waits for, did not succeed because of job-"), "{error}");
    assert!(error.contains("(division): panicked at"), "{error}");
}

async fn a_job_that_is_asked_to_finish_early_gives_what_it_has() {
    let cluster = cluster(1).await;
    let runs = cluster.submit(hold, ()).start().await.unwrap();
    let waits = cluster.submit(square, (3,)).start().await.unwrap();
    begun(&runs).await;
    assert_eq!(waits.finish_early().await, CancelResult::Cancelled);
    assert_eq!(runs.finish_early().await, CancelResult::Stopping);
    assert_eq!(runs.await.unwrap(), 0);
    assert!(matches!(waits.await.unwrap_err().kind, JobErrorKind::Cancelled));
}

/// How many of these jobs run at once when no more can start, and that the rest follows.
async fn run_at_once(jobs: Vec<Job<u32>>, cluster: &Cluster, expected: u64) {
    let count = jobs.len() as u64;
    loop {
        let now = cluster.status().await.unwrap().jobs;
        assert!(now.running <= expected, "{now:?}");
        if now.running == expected && now.waiting == count - expected {
            break;
        }
        tokio::task::yield_now().await;
    }
    for job in jobs {
        begun(&job).await;
        job.send(&1_u32).await.unwrap();
        assert_eq!(job.await.unwrap(), 1);
        assert!(cluster.status().await.unwrap().jobs.running <= expected);
    }
}

async fn jobs_share_processors() {
    let cluster = cluster(1).await;
    let mut jobs = Vec::new();
    for _ in 0..6 {
        let job = cluster.submit(hold, ()).cpus(Cpus::tenths(3)).start().await.unwrap();
        jobs.push(job);
    }
    run_at_once(jobs, &cluster, 3).await;

    let idle = cluster.submit(hold, ()).cpus(0).start().await.unwrap();
    let busy = cluster.submit(square, (3,)).await.unwrap();
    assert_eq!(busy, 9, "a job that takes no processor is in nobody's way");
    idle.cancel().await;
}

fn allocate(bytes: usize) -> usize {
    let memory = std::hint::black_box(vec![1_u8; bytes]);
    memory.iter().map(|byte| usize::from(*byte)).sum()
}

async fn jobs_share_memory_and_are_held_to_it() {
    const MIB: u64 = 1 << 20;
    let cluster = Cluster::builder().cpus(8).memory(300 * MIB).start().await.unwrap();
    let mut jobs = Vec::new();
    for _ in 0..4 {
        jobs.push(cluster.submit(hold, ()).memory(100 * MIB).start().await.unwrap());
    }
    run_at_once(jobs, &cluster, 3).await;

    let fits = cluster.submit(allocate, (50 << 20,)).memory(100 * MIB).await.unwrap();
    assert_eq!(fits, 50 << 20);
    let error = cluster.submit(allocate, (250 << 20,)).memory(100 * MIB).once().await;
    assert!(matches!(error.unwrap_err().kind, JobErrorKind::LostOnce));
    let error = cluster.submit(allocate, (250 << 20,)).memory(100 * MIB).await.unwrap_err();
    assert!(error.to_string().contains("3 times while running it, at last: killed by"), "{error}");
    if std::env::var_os("RUST_BACKTRACE").is_none() {
        assert!(error.to_string().contains("memory allocation of"), "{error}");
    }
}

async fn jobs_share_whatever_is_counted() {
    let builder = Cluster::builder().cpus(8).gpus(2).resource("licence", 3);
    let cluster = builder.start().await.unwrap();
    let mut jobs = Vec::new();
    for _ in 0..3 {
        jobs.push(cluster.submit(hold, ()).gpus(1).start().await.unwrap());
    }
    run_at_once(jobs, &cluster, 2).await;
    let mut jobs = Vec::new();
    for _ in 0..5 {
        jobs.push(cluster.submit(hold, ()).resource("licence", 1).start().await.unwrap());
    }
    run_at_once(jobs, &cluster, 3).await;
}

async fn a_job_that_is_too_large_is_refused() {
    let builder = Cluster::builder().cpus(2).memory(1 << 30).gpus(1).resource("licence", 3);
    let cluster = builder.name("small").start().await.unwrap();
    let job = || cluster.submit(square, (1,));
    for (job, text) in [
        (job().cpus(Cpus::tenths(25)), "too large for small: needs 2.5 cpus, has 2"),
        (job().memory(3 << 30), "too large for small: needs 3072 MiB memory, has 1024 MiB"),
        (job().gpus(2), "too large for small: needs 2 gpus, has 1"),
        (job().resource("licence", 4), "too large for small: needs 4 licence, has 3"),
        (job().resource("fpga", 1), "too large for small: needs 1 fpga, has 0"),
    ] {
        let error = job.start().await.unwrap_err();
        assert!(matches!(error, SubmitError::Invalid(_)), "{error:?}");
        assert_eq!(error.to_string(), text);
    }
    let error = cluster.map(square, 0..10).cpus(3).await.unwrap_err();
    let JobErrorKind::NotAccepted(error) = error.kind else { panic!("{error}") };
    assert!(error.to_string().starts_with("too large for small"), "{error}");
    assert_eq!(job().await.unwrap(), 1);
}

async fn what_can_never_be_is_refused() {
    let cluster = cluster(1).await;
    let error = cluster.submit(square, (1,)).at_once(0).start().await.unwrap_err();
    assert!(error.to_string().contains("never run"), "{error}");
    let error = cluster.submit(square, (1,)).retries(u32::MAX).start().await.unwrap_err();
    assert!(error.to_string().contains("more than the limit"), "{error}");
    let error = Cluster::builder().cpus(0).start().await.unwrap_err();
    assert!(matches!(error, StartError::Invalid(_)), "{error}");
    let shared = cluster.computation().workers(Workers::SharedProcess).keep_output();
    assert!(matches!(shared.open().await, Err(SubmitError::Invalid(_))));

    let other = common::cluster(1).await;
    let mut foreign = Vec::new();
    for n in 0..5 {
        foreign.push(other.submit(square, (n,)).start().await.unwrap());
    }
    let error = cluster.submit(square, (1,)).after(&foreign[4]).start().await.unwrap_err();
    assert!(matches!(error, SubmitError::NoSuchDependency(_)), "{error}");
}

async fn at_once_limits_jobs_of_one_kind() {
    let cluster = cluster(8).await;
    let mut jobs = Vec::new();
    for _ in 0..5 {
        jobs.push(cluster.submit(hold, ()).at_once(2).start().await.unwrap());
    }
    let last = jobs.last().unwrap();
    while !matches!(last.explain().await, Explanation::LanesMax(2)) {}
    run_at_once(jobs, &cluster, 2).await;
}

// Computations: setup, cleanup, shared processes, kept output.

fn load(log: PathBuf, base: u64) -> (PathBuf, u64) {
    note(&log, &format!("setup {}", process_id()));
    (log, base)
}

fn unload(data: &(PathBuf, u64)) {
    note(&data.0, &format!("cleanup {}", process_id()));
}

fn add_base(job: &JobContext, n: u64) -> u64 {
    job.data::<(PathBuf, u64)>().1 + n
}

async fn setup_makes_data_that_jobs_share() {
    let cluster = cluster(2).await;
    let (_dir, path) = folder();
    let log = path.join("log");
    let loaded = cluster.computation().setup(load, (log.clone(), 100)).open().await.unwrap();
    let all = loaded.map(add_base, 0..1_000).await.unwrap();
    assert!(all.into_iter().eq(100..1_100));
    let setups = notes(&log).len();
    assert!((1..=2).contains(&setups), "once for each worker, not {setups} times");

    let error = cluster.submit(add_base, (1,)).await.unwrap_err();
    assert!(error.to_string().contains("give the computation a setup"), "{error}");
    let wrong = |job: &JobContext| job.data::<u8>().to_owned();
    let error = loaded.submit(wrong, ()).await.unwrap_err();
    assert!(error.to_string().contains("is no `u8`"), "{error}");
}

async fn a_setup_that_fails_fails_its_jobs_only() {
    let cluster = cluster(2).await;
    fn fail(how: u8) -> Result<u64, String> {
        match how {
            0 => Err("no data today".to_owned()),
            1 => panic!("setup of {how}"),
            2 => {
                eprintln!("last words");
                std::process::exit(4)
            }
            _ => {
                std::thread::sleep(SOON);
                Ok(1)
            }
        }
    }
    for (how, text) in [
        (0, "no data today"),
        (1, "it panicked: setup of 1"),
        (2, "the worker ended before it was set up: exit status 4\nlast words"),
        (3, "it did not end within its limit of 200ms"),
    ] {
        let limit = if how == 3 { Duration::from_millis(200) } else { SOON };
        let setup = cluster.computation().try_setup(fail, (how,)).setup_limit(limit);
        let broken = setup.open().await.unwrap();
        let mut results = broken.map(square, 0..20).retries(3).as_completed();
        let mut count = 0;
        while let Some(done) = results.next().await {
            let error = done.result.unwrap_err();
            assert!(matches!(error.kind, JobErrorKind::SetupFailed(_)), "{error}");
            assert!(error.to_string().contains(text), "{error}");
            count += 1;
        }
        assert_eq!(count, 20);
        assert!(broken.submit(square, (1,)).await.is_err(), "and so does every later one");
    }
    assert_eq!(cluster.submit(square, (2,)).await.unwrap(), 4);

    let unreadable = cluster.computation().setup(|_: Moody| 1, (Moody(201),));
    let error = unreadable.open().await.unwrap().submit(square, (1,)).await.unwrap_err();
    assert!(error.to_string().contains("the arguments do not deserialise"), "{error}");
    let unwritable = cluster.computation().setup(|_: Moody| 1, (Moody(200),));
    assert!(matches!(unwritable.open().await, Err(SubmitError::Unserialisable(_))));
}

async fn cleanup_runs_when_the_cluster_closes() {
    let cluster = cluster(2).await;
    let (_dir, path) = folder();
    let log = path.join("log");
    let loaded = cluster.computation().setup(load, (log.clone(), 0)).cleanup(unload);
    let loaded = loaded.open().await.unwrap();
    let mut jobs = Vec::new();
    for _ in 0..2 {
        jobs.push(loaded.submit(hold, ()).start().await.unwrap());
    }
    for job in jobs {
        begun(&job).await;
        job.send(&1_u32).await.unwrap();
        job.await.unwrap();
    }
    cluster.close().await;
    let lines: BTreeSet<String> = notes(&log).into_iter().collect();
    let of = |what: &str| -> Vec<String> {
        lines.iter().filter_map(|line| Some(line.strip_prefix(what)?.to_owned())).collect()
    };
    assert_eq!(of("setup ").len(), 2, "{lines:?}");
    assert_eq!(of("setup "), of("cleanup "));
}

static CALLS: AtomicU64 = AtomicU64::new(0);

fn count_calls(_: u64) -> (u32, u64) {
    (process_id(), CALLS.fetch_add(1, Ordering::Relaxed))
}

async fn a_shared_process_shares_data() {
    let cluster = cluster(3).await;
    let (_dir, path) = folder();
    let log = path.join("log");
    let shared = cluster.computation().workers(Workers::SharedProcess);
    let shared = shared.setup(load, (log.clone(), 0)).cleanup(unload).open().await.unwrap();
    // Three at once, to be sure that three lanes are used.
    let mut jobs = Vec::new();
    for _ in 0..3 {
        jobs.push(shared.submit(hold, ()).start().await.unwrap());
    }
    run_at_once(jobs, &cluster, 3).await;
    let calls = shared.map(count_calls, 0..600).await.unwrap();
    let processes: BTreeSet<u32> = calls.iter().map(|call| call.0).collect();
    assert_eq!(processes.len(), 1);
    let counts: BTreeSet<u64> = calls.iter().map(|call| call.1).collect();
    assert!(counts.into_iter().eq(0..600), "all have counted in one place");
    cluster.close().await;
    let worker = processes.first().unwrap();
    assert_eq!(notes(&log), [format!("setup {worker}"), format!("cleanup {worker}")]);
}

/// Prints something for most numbers, without an end of line for some.
fn print(n: u64) -> u64 {
    match n % 5 {
        0 => {}
        1 => println!("{n} to stdout"),
        2 => eprint!("{n} to stderr"),
        3 => print!("{n} has no end"),
        _ => {
            println!("first {n}");
            eprintln!("then {n}");
            assert!(!n.is_multiple_of(10) && n != 14, "prints and fails");
        }
    }
    n
}

async fn what_each_job_prints_is_kept_with_its_result() {
    let cluster = cluster(2).await;
    let keeping = cluster.computation().keep_output().open().await.unwrap();
    let mut results = keeping.map(print, 0..2_000).as_completed();
    let mut failed = 0;
    while let Some(done) = results.next().await {
        let n = done.index;
        if n == 14 {
            assert!(done.result.is_err());
            failed += 1;
            continue;
        }
        done.result.unwrap();
        let expected = match n % 5 {
            0 => [String::new(), String::new()],
            1 => [format!("{n} to stdout\n"), String::new()],
            2 => [String::new(), format!("{n} to stderr")],
            3 => [format!("{n} has no end"), String::new()],
            _ => [format!("first {n}\n"), format!("then {n}\n")],
        };
        let text =
            |kept: Option<pleiad::Captured>| kept.map_or_else(String::new, |k| k.text().unwrap());
        assert_eq!([text(done.stdout), text(done.stderr)], expected, "of {n}");
    }
    assert_eq!(failed, 1);
}

// The cluster as a whole.

async fn the_events_of_a_job_come_in_order() {
    let cluster = cluster(1).await;
    let mut events = cluster.events();
    let lively = |job: &JobContext| {
        job.send(&1_u8).unwrap();
        job.progress(1, 2);
        assert!(job.attempt().0 > 1, "not yet");
    };
    let job = cluster.submit(lively, ()).retries(1).backoff(Backoff::NONE).start().await.unwrap();
    let id = job.id();
    job.await.unwrap();
    let failing = cluster.submit(divide_badly, (1,)).start().await.unwrap();
    let failing_id = failing.id();
    assert!(failing.await.is_err());
    cluster.close().await;
    drop(cluster);

    let mut of_job: BTreeMap<JobId, Vec<&str>> = BTreeMap::new();
    let mut workers = Vec::new();
    while let Some(event) = events.next().await {
        let (job, word) = match event.kind {
            EventKind::Accepted { job } => (job, "accepted"),
            EventKind::Assigned { job, .. } => (job, "assigned"),
            EventKind::Message { job } => (job, "message"),
            EventKind::Progress { job, done: 1, total: 2 } => (job, "progress"),
            EventKind::Retrying { job, .. } => (job, "retrying"),
            EventKind::Succeeded { job } => (job, "succeeded"),
            EventKind::Failed { job, .. } => (job, "failed"),
            EventKind::WorkerStarted { worker } => {
                workers.push(format!("started {worker}"));
                continue;
            }
            EventKind::WorkerEnded { worker, how } => {
                workers.push(format!("ended {worker}: {how}"));
                continue;
            }
            other => panic!("{other:?}"),
        };
        of_job.entry(job).or_default().push(word);
    }
    let attempt = ["assigned", "message", "progress"];
    let expected: Vec<&str> =
        [&["accepted"][..], &attempt, &["retrying"], &attempt, &["succeeded"]].concat();
    assert_eq!(of_job[&id], expected);
    assert_eq!(of_job[&failing_id], ["accepted", "assigned", "failed"]);
    assert_eq!(of_job.len(), 2);
    assert_eq!(workers, ["started 1", "ended 1: exit status 0"]);
}

async fn status_counts_jobs() {
    let cluster = cluster(1).await;
    let held = cluster.submit(hold, ()).start().await.unwrap();
    begun(&held).await;
    let waiting = cluster.submit(square, (2,)).start().await.unwrap();
    let blocked = cluster.submit(square, (3,)).after(&waiting).start().await.unwrap();
    let cancelled = cluster.submit(square, (4,)).start().await.unwrap();
    cancelled.cancel().await;
    let failing = cluster.submit(divide_badly, (5,)).start().await.unwrap();

    let status = cluster.status().await.unwrap();
    let jobs = status.jobs;
    assert_eq!((jobs.running, jobs.waiting, jobs.blocked, jobs.cancelled), (1, 2, 1, 1));
    assert_eq!((status.workers, status.machines.len()), (1, 1));

    held.send(&0_u32).await.unwrap();
    assert_eq!(blocked.await.unwrap(), 9);
    assert!(failing.await.is_err());
    cluster.wait().await;
    let status = cluster.status().await.unwrap();
    let jobs = status.jobs;
    assert_eq!((jobs.succeeded, jobs.failed, jobs.cancelled, jobs.unfinished()), (3, 1, 1, 0));
    assert!(status.to_string().contains("3 succeeded, 1 failed, 1 cancelled"), "{status}");
}

async fn wait_returns_when_nothing_is_left_to_do() {
    let cluster = cluster(2).await;
    cluster.wait().await;
    let (_dir, path) = folder();
    let log = path.join("log");
    for n in 0..50 {
        drop(cluster.submit(write_note, (log.clone(), n)).start().await.unwrap());
    }
    cluster.wait().await;
    assert_eq!(notes(&log).len(), 50);
    cluster.wait().await;
}

async fn close_finishes_what_was_accepted() {
    let (builder, marker) = builder(1);
    let cluster = builder.start().await.unwrap();
    let first = cluster.submit(sleep, (50,)).start().await.unwrap();
    let second = cluster.submit(square, (3,)).after(&first).start().await.unwrap();
    let mut results = cluster.map(square, 0..100).as_completed();
    results.begin();
    let closing = tokio::spawn({
        let cluster = cluster.clone();
        async move { cluster.close().await }
    });
    assert_eq!(first.await.unwrap(), 50);
    assert_eq!(second.await.unwrap(), 9);
    let mut count = 0;
    while let Some(done) = results.next().await {
        done.result.unwrap();
        count += 1;
    }
    assert_eq!(count, 100);
    closing.await.unwrap();

    assert!(processes_with(&marker).is_empty(), "workers have ended");
    assert!(matches!(cluster.submit(square, (1,)).start().await, Err(SubmitError::Closed)));
    let error = cluster.submit(square, (1,)).await.unwrap_err();
    assert!(matches!(error.kind, JobErrorKind::NotAccepted(SubmitError::Closed)), "{error}");
    let error = cluster.map(square, 0..3).await.unwrap_err();
    assert!(matches!(error.kind, JobErrorKind::NotAccepted(SubmitError::Closed)), "{error}");
    assert!(cluster.status().await.is_err());
    assert!(cluster.computation().open().await.is_err());
    assert_eq!(cluster.explain(JobId(1)).await, Explanation::NoSuchJob);
    cluster.wait().await;
    cluster.close().await;
}

async fn dropping_the_cluster_ends_everything() {
    let (builder, marker) = builder(2);
    let cluster = builder.start().await.unwrap();
    let job = cluster.submit(sleep, (60_000,)).start().await.unwrap();
    begun(&job).await;
    assert!(!processes_with(&marker).is_empty());
    drop((cluster, job));
    nothing_left(&marker).await;
}

async fn a_map_over_an_endless_iterator_takes_what_it_needs() {
    static TAKEN: AtomicU64 = AtomicU64::new(0);
    let cluster = cluster(1).await;
    let items = (0..).inspect(|_| {
        TAKEN.fetch_add(1, Ordering::Relaxed);
    });
    let mut results = cluster.map(square, items).outstanding(20..=50).as_completed();
    for taken in 1..=1_000 {
        results.next().await.unwrap().result.unwrap();
        assert!(results.outstanding() <= 50);
        assert!(TAKEN.load(Ordering::Relaxed) <= taken + 50);
    }
    drop(results);
    cluster.wait().await;
    let jobs = cluster.status().await.unwrap().jobs;
    assert_eq!(jobs.succeeded + jobs.cancelled, TAKEN.load(Ordering::Relaxed));
}

async fn two_hundred_thousand_jobs_run_exactly_once() {
    const COUNT: u64 = 200_000;
    let cluster = cluster(2).await;
    let mut seen = vec![false; COUNT as usize];
    let mut results = cluster.map(square, 0..COUNT).as_completed();
    while let Some(done) = results.next().await {
        assert_eq!(done.result.unwrap(), square(done.index as u64));
        let seen = &mut seen[done.index];
        assert!(!*seen, "{} came twice", done.index);
        *seen = true;
    }
    assert!(seen.into_iter().all(|seen| seen));
    assert_eq!(cluster.status().await.unwrap().jobs.succeeded, COUNT);
}

async fn many_threads_use_one_cluster() {
    let cluster = cluster(2).await;
    let mut tasks = Vec::new();
    for task in 0..8_u64 {
        let cluster = cluster.clone();
        tasks.push(tokio::spawn(async move {
            let from = task * 1_000;
            let map = cluster.map(square, from..from + 500).await.unwrap();
            assert!(map.into_iter().eq((from..from + 500).map(square)));
            for n in from..from + 20 {
                assert_eq!(cluster.submit(square, (n,)).await.unwrap(), n * n);
            }
        }));
    }
    // And from a thread that knows nothing of tokio but this.
    let other = cluster.clone();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async { other.map(square, 0..100).await.unwrap() })
    });
    for task in tasks {
        task.await.unwrap();
    }
    assert!(thread.join().unwrap().into_iter().eq((0..100).map(square)));
}

async fn one_program_has_two_clusters() {
    let (first, second) = (builder(1), builder(1));
    let (first, name) = (first.0.start().await.unwrap(), first.1);
    let second = second.0.start().await.unwrap();
    let machine = |job: &JobContext| job.machine().to_owned();
    let (a, b) = tokio::join!(first.submit(machine, ()), second.submit(machine, ()));
    assert_eq!(a.unwrap(), name);
    assert_eq!(b.unwrap(), second.machine());
    first.close().await;
    nothing_left(&name).await;
    assert_eq!(second.submit(square, (3,)).await.unwrap(), 9, "the other goes on");
}

async fn explain_says_why_a_job_does_not_run() {
    let cluster = cluster(1).await;
    let first = cluster.submit(hold, ()).start().await.unwrap();
    begun(&first).await;
    let Explanation::State(JobState::Running { .. }) = first.explain().await else { panic!() };

    let waiting = cluster.submit(square, (1,)).cpus(Cpus::tenths(7)).start().await.unwrap();
    let Explanation::Machines(machines) = waiting.explain().await else { panic!() };
    let [(_, obstacle @ Obstacle::Busy(_))] = &machines[..] else { panic!("{machines:?}") };
    assert_eq!(obstacle.to_string(), "the machine is busy: needs 0.7 cpus, has 0 free");

    let blocked = cluster.submit(square, (2,)).after(&waiting).start().await.unwrap();
    assert_eq!(blocked.explain().await, Explanation::WaitsForJobs(vec![waiting.id()]));

    first.send(&0_u32).await.unwrap();
    until_final(|| blocked.explain()).await;
    assert_eq!(blocked.explain().await, Explanation::State(JobState::Succeeded));
    let id = blocked.id();
    drop(blocked);
    assert_eq!(cluster.explain(id).await, Explanation::NoSuchJob);
    assert_eq!(cluster.explain(JobId(1 << 40)).await, Explanation::NoSuchJob);
}

// Helpers.

async fn until_running(cluster: &Cluster, job: JobId) {
    while !matches!(cluster.explain(job).await, Explanation::State(JobState::Running { .. })) {
        tokio::task::yield_now().await;
    }
}

async fn until_final<F: Future<Output = Explanation>>(explain: impl Fn() -> F) {
    while !matches!(explain().await, Explanation::State(state) if state.is_final()) {
        tokio::task::yield_now().await;
    }
}

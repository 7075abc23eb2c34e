//! Clusters in tests of programs that use pleiad: with the usual harness, whose `main` cannot begin
//! with `pleiad::init()`, workers are threads of the test.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pleiad::{
    Backoff, CancelResult, Cluster, JobContext, JobErrorKind, Program, StartError, SubmitError,
    Workers,
};

fn square(n: u64) -> u64 {
    n * n
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_run_in_threads_of_the_test() {
    let cluster = Cluster::local().await.unwrap();
    assert_eq!(cluster.submit(std::process::id, ()).await.unwrap(), std::process::id());
    assert_eq!(cluster.submit(square, (7,)).await.unwrap(), 49);
    assert_eq!(cluster.map(|n: u64| n + 1, 0..3).await.unwrap(), [1, 2, 3]);
    cluster.close().await;
    let closed = cluster.submit(square, (7,)).start().await;
    assert!(matches!(closed, Err(SubmitError::Closed)));
}

#[tokio::test(flavor = "current_thread")]
async fn a_runtime_of_one_thread_is_enough() {
    let cluster = Cluster::local().await.unwrap();
    assert_eq!(cluster.map(square, 0..2_000).await.unwrap().len(), 2_000);
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_jobs_run_exactly_once() {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let count = |n: u64| {
        CALLS.fetch_add(1, Ordering::Relaxed);
        n
    };
    let cluster = Cluster::local().await.unwrap();
    let mut results = cluster.map(count, 0..10_000).as_completed();
    let mut seen = BTreeSet::new();
    while let Some(done) = results.next().await {
        assert_eq!(done.result.unwrap(), done.index as u64);
        assert!(seen.insert(done.index), "{} came twice", done.index);
    }
    assert_eq!(seen.len(), 10_000);
    assert_eq!(CALLS.load(Ordering::Relaxed), 10_000);
}

/// Goal: no item is lost or comes twice where one chunk of items ends and the next begins.
/// Method: numbers of items around the size of a chunk, and windows that cut chunks short.
#[tokio::test(flavor = "multi_thread")]
async fn no_item_is_lost_between_chunks() {
    let cluster = Cluster::local().await.unwrap();
    for items in [0, 1, 1023, 1024, 1025, 2049, 5000] {
        for window in [1..=1, 1..=3, 1000..=1025, 1024..=1024, 1..=4096, 70_000..=70_000] {
            if *window.end() < 100 && items > 2000 {
                continue;
            }
            let map = cluster.map(square, 0..items).outstanding(window.clone());
            let expected: Vec<u64> = (0..items).map(|n| n * n).collect();
            assert_eq!(map.await.unwrap(), expected, "{items} items, {window:?}");
            let mut results = cluster.map(square, 0..items).outstanding(window.clone()).in_order();
            for (index, value) in expected.iter().enumerate() {
                let done = results.next().await.unwrap();
                assert_eq!((done.index, done.result.unwrap()), (index, *value));
            }
            assert!(results.next().await.is_none());
        }
    }
}

fn fails_at_first(job: &JobContext) -> u32 {
    assert!(job.attempt().0 > 1, "not yet");
    job.attempt().0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_fails_its_job_only() {
    let cluster = Cluster::local().await.unwrap();
    let error = cluster.submit(fails_at_first, ()).await.unwrap_err();
    let JobErrorKind::Panicked { message, location, backtrace } = error.kind else { panic!() };
    assert_eq!(message, "not yet");
    assert!(location.contains("in_process.rs"), "{location}");
    assert!(backtrace.contains("fails_at_first"), "{backtrace}");
    let again = cluster.submit(fails_at_first, ()).retries(1).backoff(Backoff::NONE);
    assert_eq!(again.await.unwrap(), 2);
}

fn talk(job: &JobContext) -> u64 {
    job.send(&"begun".to_owned()).expect("a text can be sent");
    let mut sum = 0;
    while let Some(n) = job.recv::<u64>(Duration::from_secs(20)).expect("it is a number") {
        sum += n;
        job.send(&sum.to_string()).expect("a text can be sent");
        if n == 0 {
            break;
        }
    }
    sum
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_and_cancels_reach_threads_too() {
    let cluster = Cluster::local().await.unwrap();
    let job = cluster.submit(talk, ()).start().await.unwrap();
    let mut messages = job.messages::<String>();
    assert_eq!(messages.next().await.unwrap().unwrap(), "begun");
    for (n, answer) in [(3_u64, "3"), (4, "7"), (0, "7")] {
        job.send(&n).await.unwrap();
        assert_eq!(messages.next().await.unwrap().unwrap(), answer);
    }
    assert_eq!(job.await.unwrap(), 7);

    let job = cluster.submit(talk, ()).start().await.unwrap();
    assert_eq!(job.messages::<String>().next().await.unwrap().unwrap(), "begun");
    assert_eq!(job.cancel().await, CancelResult::Stopping);
    assert!(matches!(job.await.unwrap_err().kind, JobErrorKind::Cancelled));
}

#[tokio::test(flavor = "multi_thread")]
async fn setups_and_cleanups_run_in_threads_too() {
    static CLEANED: AtomicU64 = AtomicU64::new(0);
    let cluster = Cluster::builder().cpus(1).start().await.unwrap();
    let setup = cluster.computation().setup(|base: u64| vec![base; 3], (5,));
    let loaded = setup.cleanup(|data| {
        CLEANED.fetch_add(data.iter().sum(), Ordering::Relaxed);
    });
    let loaded = loaded.open().await.unwrap();
    let add = |job: &JobContext, n: u64| job.data::<Vec<u64>>()[0] + n;
    assert_eq!(loaded.map(add, 0..3).await.unwrap(), [5, 6, 7]);
    cluster.close().await;
    assert_eq!(CLEANED.load(Ordering::Relaxed), 15);

    let cluster = Cluster::local().await.unwrap();
    let broken = cluster.computation().try_setup(|| Err::<u8, _>("no data"), ());
    let broken = broken.open().await.unwrap();
    let error = broken.submit(square, (1,)).await.unwrap_err();
    assert!(matches!(&error.kind, JobErrorKind::SetupFailed(why) if why == "no data"), "{error}");
    assert_eq!(cluster.submit(square, (2,)).await.unwrap(), 4);
}

fn sleep(millis: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(millis));
    millis
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_ignores_its_limit_keeps_its_thread_and_nothing_else() {
    let cluster =
        Cluster::builder().cpus(1).grace(Duration::from_millis(50)).start().await.unwrap();
    let began = Instant::now();
    let error = cluster.submit(sleep, (3_000,)).limit(Duration::from_millis(50)).await.unwrap_err();
    assert!(matches!(error.kind, JobErrorKind::LimitReached { .. }), "{error}");
    assert_eq!(cluster.submit(square, (2,)).await.unwrap(), 4, "another thread goes on");
    cluster.close().await;
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_processes_says_so() {
    let processes = Cluster::builder().workers(Workers::Processes).start().await;
    assert!(matches!(processes, Err(StartError::NotInitialised)));
    let text = StartError::NotInitialised.to_string();
    assert!(text.contains("pleiad::init()") && text.contains("Workers::InProcess"), "{text}");

    let cluster = Cluster::local().await.unwrap();
    let keeping = cluster.computation().keep_output().open().await.unwrap_err();
    assert!(keeping.to_string().contains("needs workers in processes of their own"), "{keeping}");
    // A program needs the launcher, which the program `pleiad` can be.
    if let Err(error) = cluster.run(Program::new("true")).await {
        assert!(
            error.to_string().contains("call `pleiad::init()` first thing in `main`"),
            "{error}"
        );
    }
    cluster.close().await;
}

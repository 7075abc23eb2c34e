//! What the tests with real processes share.
//!
//! Their executables are run without the usual harness: `main` must begin with `pleiad::init()`,
//! because workers and the launcher are copies of the test itself.

#![allow(dead_code, clippy::allow_attributes, reason = "each test program uses a part of it")]

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Trial};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pleiad::{Cluster, ClusterBuilder, Cpus, Job, JobContext};

/// For what should take a moment, on a machine that is busy with other tests.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// What is promised for the death of a client: then nothing of its jobs is left.
pub(crate) const GONE: Duration = Duration::from_secs(5);

/// No test may take longer.
const TEST_MAX: Duration = Duration::from_secs(60);

/// Makes `main` of a list of async functions, each a test.
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        fn trials() -> Vec<libtest_mimic::Trial> {
            vec![$(common::trial(stringify!($name), $name)),*]
        }
    };
}
pub(crate) use tests;

/// Runs the tests that the command line asks for; `pleiad::init()` must have been called.
pub(crate) fn run(trials: Vec<Trial>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Most of them wait most of the time.
    arguments.test_threads.get_or_insert(4);
    libtest_mimic::run(&arguments, trials).exit_code()
}

pub(crate) fn trial<F: Future<Output = ()>>(
    name: &'static str,
    test: impl FnOnce() -> F + Send + 'static,
) -> Trial {
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|e| e.to_string())?;
        let test = async { tokio::time::timeout(TEST_MAX, test()).await };
        let in_time = runtime.block_on(test);
        runtime.shutdown_background();
        in_time.map_err(|_| format!("did not end within {TEST_MAX:?}").into())
    })
}

/// A cluster with a name that no other process has in its arguments.
pub(crate) fn builder(cpus: impl Into<Cpus>) -> (ClusterBuilder, String) {
    let marker = marker();
    (Cluster::builder().cpus(cpus).name(&marker), marker)
}

/// A cluster of so many processors, however many the machine has.
pub(crate) async fn cluster(cpus: impl Into<Cpus>) -> Cluster {
    builder(cpus).0.start().await.unwrap()
}

/// A word that occurs nowhere else.
pub(crate) fn marker() -> String {
    static LATEST: AtomicU32 = AtomicU32::new(0);
    let n = LATEST.fetch_add(1, Ordering::Relaxed);
    format!("pleiad-test-{}-{n}-", std::process::id())
}

/// Waits until `condition` holds.
pub(crate) async fn eventually(what: &str, condition: impl FnMut() -> bool) {
    within(SOON, what, condition).await;
}

pub(crate) async fn within(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A job that tells that it has begun, and waits for the number that it is to return; 0 if it
/// should stop.
pub(crate) fn hold(job: &JobContext) -> u32 {
    job.send(&"begun".to_owned()).unwrap();
    job.recv(Duration::from_secs(30)).unwrap().unwrap_or(0)
}

/// Waits until a job has sent a message.
pub(crate) async fn begun<T>(job: &Job<T>) {
    let message = job.messages::<String>().next().await;
    assert_eq!(message.expect("it sends a message").unwrap(), "begun");
}

/// Adds a line to a file; lines of several processes do not mix.
pub(crate) fn note(file: &Path, line: &str) {
    let mut file = OpenOptions::new().append(true).create(true).open(file).unwrap();
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// The lines of a file; none if it does not exist.
pub(crate) fn notes(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().map(ToOwned::to_owned).collect()
}

/// A folder for a test.
pub(crate) fn folder() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    (dir, path)
}

/// The processes that have the marker in their arguments or in their environment.
pub(crate) fn processes_with(marker: &str) -> Vec<i32> {
    let own = i32::try_from(std::process::id()).unwrap();
    processes().filter(|pid| *pid != own && has(*pid, marker)).collect()
}

/// The workers of the cluster with this name.
pub(crate) fn workers_of(marker: &str) -> Vec<i32> {
    let is_worker = |pid: &i32| {
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        contains(&arguments, "pleiad-worker") && contains(&arguments, marker)
    };
    processes().filter(is_worker).collect()
}

fn processes() -> impl Iterator<Item = i32> {
    let all = fs::read_dir("/proc").unwrap();
    all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

fn has(pid: i32, marker: &str) -> bool {
    ["cmdline", "environ"].iter().any(|file| {
        // Both are empty when the process is dead but not reaped.
        let words = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        contains(&words, marker)
    })
}

fn contains(bytes: &[u8], word: &str) -> bool {
    bytes.windows(word.len()).any(|window| window == word.as_bytes())
}

/// Waits until no process has the marker in its arguments or environment.
pub(crate) async fn nothing_left(marker: &str) {
    let what = format!("no process with {marker} is left");
    within(GONE, &what, || processes_with(marker).is_empty()).await;
}

/// The process that has started this one, or has inherited it.
pub(crate) fn parent_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // After the name, which may have anything in it: state, parent, …
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Sends a signal to a process that this test has started.
pub(crate) fn signal(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

//! What a job, a worker, a guard, the launcher or the client does wrong harms nobody else, and
//! leaves nothing behind.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed, and the client tells what it has started"
)]

mod common;

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::mem::ManuallyDrop;
use std::net::Shutdown;
use std::os::fd::FromRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use common::{
    GONE, SOON, begun, builder, cluster, eventually, folder, hold, marker, note, notes,
    nothing_left, parent_of, processes_with, signal, workers_of,
};
use nix::sys::signal::{Signal, raise};
use pleiad::{
    Cluster, EventKind, ExitStatus, JobContext, JobError, JobErrorKind, Map, Program, Workers,
};
use serde::{Deserialize, Serialize};

/// Another role of this executable: a client, whose processes all have this in their environment.
const CLIENT: &str = "PLEIAD_TEST_CLIENT";

fn main() -> ExitCode {
    pleiad::init();
    if let Ok(marker) = std::env::var(CLIENT) {
        return client(&marker);
    }
    common::run(trials())
}

common::tests![
    a_job_that_aborts_fails_alone,
    a_job_that_exits_fails_alone,
    a_segmentation_fault_fails_alone,
    a_stack_overflow_fails_alone,
    a_job_without_memory_fails_alone,
    a_job_that_kills_itself_fails_alone,
    a_job_that_panics_fails_alone,
    an_endless_loop_fails_alone_at_its_limit,
    a_fork_bomb_fails_alone_at_its_limit,
    a_job_that_closes_the_socket_fails_alone,
    a_job_that_closes_all_its_descriptors_fails_alone,
    a_job_that_talks_nonsense_fails_alone,
    a_job_that_closes_its_streams_does_no_harm,
    a_deadly_job_in_a_shared_process_fails_alone,
    a_limit_in_a_shared_process_lets_the_others_run_again,
    a_worker_that_dies_once_costs_a_retry,
    killed_workers_lose_no_result,
    an_idle_worker_that_is_killed_is_replaced,
    a_stopped_worker_goes_on_where_it_was,
    a_killed_launcher_costs_a_retry,
    a_killed_launcher_loses_no_result,
    a_launcher_killed_during_setups_is_not_the_fault_of_the_setup,
    a_killed_guard_costs_a_retry,
    a_once_job_is_not_run_again_after_the_launcher_was_killed,
    once_jobs_run_at_most_once_beside_deadly_ones,
    a_function_that_leaves_a_daemon_behind_ends_with_it,
    a_killed_client_leaves_nothing,
    a_terminated_client_leaves_nothing,
];

// One bad job among many.

/// What a job does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Fault {
    None,
    Abort,
    Exit,
    BadPointer,
    StackOverflow,
    OutOfMemory,
    KillsItself,
    Panic,
    Loop,
    ForkBomb,
    ClosesSocket,
    ClosesDescriptors,
    Nonsense,
}

const BAD: u64 = 5_000;
const COUNT: u64 = 10_000;

fn item((n, fault): (u64, Fault)) -> u64 {
    match fault {
        Fault::None => {}
        Fault::Abort => std::process::abort(),
        Fault::Exit => std::process::exit(3),
        Fault::BadPointer => segmentation_fault(),
        Fault::StackOverflow => drop(std::hint::black_box(deeper(n))),
        Fault::OutOfMemory => drop(std::hint::black_box(vec![1_u8; 1 << 30])),
        Fault::KillsItself => raise(Signal::SIGKILL).unwrap(),
        Fault::Panic => panic!("a bad item"),
        Fault::Loop => while std::hint::black_box(true) {},
        Fault::ForkBomb => fork_bomb(),
        Fault::ClosesSocket => socket().shutdown(Shutdown::Both).unwrap(),
        Fault::ClosesDescriptors => (0..16).for_each(close),
        Fault::Nonsense => socket().write_all(&[0xFF; 64]).unwrap(),
    }
    n
}

#[expect(unsafe_code, reason = "that is the fault")]
fn segmentation_fault() {
    // SAFETY: none; the process is meant to die of it.
    unsafe { std::ptr::without_provenance_mut::<u8>(8).write_volatile(1) };
}

/// The worker's end of its conversation with the agent.
#[expect(unsafe_code, reason = "a job that does not mind whose descriptors these are")]
fn socket() -> ManuallyDrop<UnixStream> {
    // SAFETY: the launcher has put the socket there; it is not closed by this.
    ManuallyDrop::new(unsafe { UnixStream::from_raw_fd(3) })
}

fn close(descriptor: i32) {
    // Not all of them are open.
    let _ = nix::unistd::close(descriptor);
}

#[expect(unconditional_recursion, reason = "that is the fault")]
fn deeper(n: u64) -> u64 {
    let here = std::hint::black_box([n; 64]);
    deeper(n + 1) + here[7]
}

/// Sixty-three shells and as many sleepers, of which each shell has become the child of another.
fn fork_bomb() {
    let script = "bomb() { if [ $1 -gt 0 ]; then bomb $(($1-1)) & bomb $(($1-1)) & fi; sleep 60; }
        bomb 5";
    // Every process below inherits the name of the machine, by which the test knows them.
    let machine = std::env::args().nth(2).unwrap();
    let mut shell = Command::new("sh");
    let shell = shell.args(["-c", script, "bomb"]).env("BOMB", machine).stdin(Stdio::null());
    shell.spawn().unwrap().wait().unwrap();
}

/// Runs ten thousand jobs, one of which is bad; says how that one failed.
async fn one_among_many(fault: Fault, options: impl FnOnce(Map<u64>) -> Map<u64>) -> JobError {
    let (builder, marker) = builder(2);
    let cluster = builder.grace(Duration::from_millis(100)).start().await.unwrap();
    let error = one_among_many_in(&cluster, fault, options).await;
    assert_eq!(cluster.submit(item, ((1, Fault::None),)).await.unwrap(), 1, "it goes on");
    cluster.close().await;
    nothing_left(&marker).await;
    error
}

async fn one_among_many_in(
    cluster: &Cluster,
    fault: Fault,
    options: impl FnOnce(Map<u64>) -> Map<u64>,
) -> JobError {
    let items = (0..COUNT).map(move |n| (n, if n == BAD { fault } else { Fault::None }));
    let mut results = options(cluster.map(item, items)).as_completed();
    let mut seen = BTreeSet::new();
    let mut error = None;
    while let Some(done) = results.next().await {
        assert!(seen.insert(done.index), "{} came twice", done.index);
        match done.result {
            Ok(n) => assert_eq!(n, done.index as u64),
            Err(e) if done.index as u64 == BAD => error = Some(e),
            Err(e) => panic!("the innocent item {} failed: {e}", done.index),
        }
    }
    assert_eq!(seen.len() as u64, COUNT);
    error.expect("the bad one has failed")
}

/// How the worker of a job that was given up had ended, and its last words.
fn death(error: JobError) -> (String, String) {
    match error.kind {
        JobErrorKind::WorkerDied { how, stderr } => {
            assert_eq!(error.attempt.unwrap().0, 3);
            (how, stderr)
        }
        _ => panic!("{error}"),
    }
}

async fn a_job_that_aborts_fails_alone() {
    let error = one_among_many(Fault::Abort, |map| map).await;
    let text = error.to_string();
    let job = error.job.unwrap();
    assert!(
        text.starts_with(&format!(
            "{job}, attempt 3: its worker ended 3 times while running it, at last: \
             killed by signal 6 (SIGABRT)"
        )),
        "{text}"
    );
}

async fn a_job_that_exits_fails_alone() {
    let (how, _) = death(one_among_many(Fault::Exit, |map| map.retries(9)).await);
    assert_eq!(how, ExitStatus::Code(3).to_string());
}

async fn a_segmentation_fault_fails_alone() {
    let (how, _) = death(one_among_many(Fault::BadPointer, |map| map).await);
    assert_eq!(how, ExitStatus::Signal(11).to_string());
}

async fn a_stack_overflow_fails_alone() {
    let (how, stderr) = death(one_among_many(Fault::StackOverflow, |map| map).await);
    assert_eq!(how, ExitStatus::Signal(6).to_string());
    assert!(stderr.contains("has overflowed its stack"), "{stderr}");
}

async fn a_job_without_memory_fails_alone() {
    let (how, _) = death(one_among_many(Fault::OutOfMemory, |map| map.memory(64 << 20)).await);
    assert_eq!(how, ExitStatus::Signal(6).to_string());
}

async fn a_job_that_kills_itself_fails_alone() {
    let (how, _) = death(one_among_many(Fault::KillsItself, |map| map).await);
    assert_eq!(how, ExitStatus::Signal(9).to_string());
}

async fn a_job_that_panics_fails_alone() {
    let error = one_among_many(Fault::Panic, |map| map).await;
    assert!(error.to_string().contains("a bad item"), "{error}");
}

async fn an_endless_loop_fails_alone_at_its_limit() {
    let limit = Duration::from_millis(500);
    let error = one_among_many(Fault::Loop, |map| map.limit(limit)).await;
    assert!(matches!(error.kind, JobErrorKind::LimitReached { .. }), "{error}");
}

async fn a_fork_bomb_fails_alone_at_its_limit() {
    let limit = Duration::from_secs(1);
    let error = one_among_many(Fault::ForkBomb, |map| map.limit(limit)).await;
    assert!(matches!(error.kind, JobErrorKind::LimitReached { .. }), "{error}");
}

async fn a_job_that_closes_the_socket_fails_alone() {
    death(one_among_many(Fault::ClosesSocket, |map| map).await);
}

async fn a_job_that_closes_all_its_descriptors_fails_alone() {
    death(one_among_many(Fault::ClosesDescriptors, |map| map).await);
}

async fn a_job_that_talks_nonsense_fails_alone() {
    death(one_among_many(Fault::Nonsense, |map| map).await);
}

fn close_streams(n: u64) -> u64 {
    (0..3).for_each(close);
    println!("nobody hears this");
    n
}

async fn a_job_that_closes_its_streams_does_no_harm() {
    let (builder, marker) = builder(1);
    let cluster = builder.start().await.unwrap();
    let all = cluster.map(close_streams, 0..50).await.unwrap();
    assert!(all.into_iter().eq(0..50));
    let keeping = cluster.computation().keep_output().open().await.unwrap();
    let all = keeping.map(close_streams, 0..50).await.unwrap();
    assert!(all.into_iter().eq(0..50));
    cluster.close().await;
    nothing_left(&marker).await;
}

async fn a_deadly_job_in_a_shared_process_fails_alone() {
    let (builder, marker) = builder(3);
    let cluster = builder.start().await.unwrap();
    let shared = cluster.computation().workers(Workers::SharedProcess).open().await.unwrap();
    let (how, _) = death(one_among_many_in(&shared, Fault::Abort, |map| map).await);
    assert_eq!(how, ExitStatus::Signal(6).to_string());
    cluster.close().await;
    nothing_left(&marker).await;
}

async fn a_limit_in_a_shared_process_lets_the_others_run_again() {
    let (builder, marker) = builder(3);
    let cluster = builder.grace(Duration::from_millis(50)).start().await.unwrap();
    let shared = cluster.computation().workers(Workers::SharedProcess).open().await.unwrap();
    let mut jobs = Vec::new();
    for _ in 0..2 {
        let job = shared.submit(attempt_after_hold, ()).start().await.unwrap();
        begun(&job).await;
        jobs.push(job);
    }
    let endless = shared.submit(item, ((1, Fault::Loop),)).limit(Duration::from_millis(200));
    let error = endless.await.unwrap_err();
    assert!(matches!(error.kind, JobErrorKind::LimitReached { .. }), "{error}");
    for job in jobs {
        begun(&job).await;
        job.send(&0_u32).await.unwrap();
        assert_eq!(job.await.unwrap(), 2);
    }
    cluster.close().await;
    nothing_left(&marker).await;
}

// Processes that are killed from outside.

fn dies_at_first(job: &JobContext) -> u32 {
    if job.attempt().0 == 1 {
        std::process::abort();
    }
    job.attempt().0
}

async fn a_worker_that_dies_once_costs_a_retry() {
    let cluster = cluster(1).await;
    let mut events = cluster.events();
    assert_eq!(cluster.submit(dies_at_first, ()).await.unwrap(), 2);
    let why = retried(&mut events).await;
    assert!(why.contains("killed by signal 6 (SIGABRT)"), "{why}");
}

/// Why a job is tried again.
async fn retried(events: &mut pleiad::Events) -> String {
    loop {
        if let EventKind::Retrying { why, .. } = events.next().await.unwrap().kind {
            return why;
        }
    }
}

fn slowly(n: u64) -> u64 {
    std::thread::sleep(Duration::from_micros(500));
    n
}

async fn killed_workers_lose_no_result() {
    let (builder, marker) = builder(2);
    let cluster = builder.start().await.unwrap();
    let mut results = cluster.map(slowly, 0..3_000).as_completed();
    let mut seen = BTreeSet::new();
    let mut killed = 0;
    while let Some(done) = results.next().await {
        assert_eq!(done.result.unwrap(), done.index as u64);
        assert!(seen.insert(done.index), "{} came twice", done.index);
        if seen.len() % 600 == 300 {
            // One that has ended meanwhile cannot be killed.
            for worker in workers_of(&marker) {
                killed += u32::from(kill(worker));
            }
        }
    }
    assert_eq!(seen.len(), 3_000);
    assert!(killed >= 5, "{killed}");
    cluster.close().await;
    nothing_left(&marker).await;
}

fn kill(pid: i32) -> bool {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL).is_ok()
}

async fn an_idle_worker_that_is_killed_is_replaced() {
    let (builder, marker) = builder(1);
    let cluster = builder.start().await.unwrap();
    for n in 0..5 {
        assert_eq!(cluster.submit(slowly, (n,)).await.unwrap(), n);
        for worker in workers_of(&marker) {
            // The one before it may not be gone yet.
            kill(worker);
        }
    }
    // At once, so that the job may be on its way to a dead worker.
    assert_eq!(cluster.submit(slowly, (5,)).await.unwrap(), 5);
}

async fn a_stopped_worker_goes_on_where_it_was() {
    let (builder, marker) = builder(1);
    let cluster = builder.start().await.unwrap();
    let mut results = cluster.map(slowly, 0..1_000).as_completed();
    results.next().await.unwrap().result.unwrap();
    let [worker] = workers_of(&marker)[..] else { panic!() };
    signal(worker, Signal::SIGSTOP);
    // The fault itself takes its time: nothing else is waited for here.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(workers_of(&marker), [worker]);
    signal(worker, Signal::SIGCONT);
    let mut count = 1;
    while let Some(done) = results.next().await {
        assert_eq!(done.result.unwrap(), done.index as u64);
        assert_eq!(done.attempt.unwrap().0, 1, "none was lost");
        count += 1;
    }
    assert_eq!(count, 1_000);
    assert_eq!(workers_of(&marker), [worker]);
}

/// A worker, its guard and the launcher of a cluster whose jobs hold.
fn family(marker: &str) -> [i32; 3] {
    let worker = workers_of(marker)[0];
    let guard = parent_of(worker).unwrap();
    [worker, guard, parent_of(guard).unwrap()]
}

fn attempt_after_hold(job: &JobContext) -> u32 {
    hold(job);
    job.attempt().0
}

async fn a_killed_launcher_costs_a_retry() {
    let (builder, marker) = builder(2);
    let cluster = builder.start().await.unwrap();
    let job = cluster.submit(attempt_after_hold, ()).start().await.unwrap();
    let program = Program::new("sh").args(["-c", "read x < $0; echo $x", "pipe"]);
    let (_dir, path) = folder();
    let pipe = path.join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let program = program.workdir(&path).env("MARKER", &marker);
    let program = cluster.run(program).start().await.unwrap();
    begun(&job).await;
    eventually("both run", || processes_with(&marker).len() >= 2).await;

    let [worker, _, launcher] = family(&marker);
    signal(launcher, Signal::SIGKILL);
    begun(&job).await;
    assert!(!processes_with(&marker).contains(&worker), "the first one is gone");
    job.send(&0_u32).await.unwrap();
    assert_eq!(job.await.unwrap(), 2);
    std::fs::write(pipe, "read by the second\n").unwrap();
    let output = program.await.unwrap();
    assert_eq!(output.stdout.text().unwrap(), "read by the second\n");
    assert_eq!(output.attempt.0, 2);

    assert_eq!(cluster.submit(slowly, (7,)).await.unwrap(), 7, "later jobs work");
    cluster.run(Program::new("true")).await.unwrap();
    cluster.close().await;
    nothing_left(&marker).await;
}

async fn a_killed_launcher_loses_no_result() {
    let (builder, marker) = builder(2);
    let cluster = builder.start().await.unwrap();
    let mut results = cluster.map(slowly, 0..2_000).as_completed();
    let mut seen = BTreeSet::new();
    while let Some(done) = results.next().await {
        assert_eq!(done.result.unwrap(), done.index as u64);
        assert!(seen.insert(done.index), "{} came twice", done.index);
        if seen.len() == 500 {
            signal(family(&marker)[2], Signal::SIGKILL);
        }
    }
    assert_eq!(seen.len(), 2_000);
    cluster.close().await;
    nothing_left(&marker).await;
}

fn slow_setup(log: PathBuf, gate: PathBuf) -> Result<u64, String> {
    note(&log, "begun");
    let began = Instant::now();
    while !gate.exists() {
        if began.elapsed() > SOON {
            return Err("nobody has opened the gate".to_owned());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(7)
}

async fn a_launcher_killed_during_setups_is_not_the_fault_of_the_setup() {
    let (builder, marker) = builder(1);
    let cluster = builder.start().await.unwrap();
    let (_dir, path) = folder();
    let (log, gate) = (path.join("log"), path.join("gate"));
    let setup = cluster.computation().try_setup(slow_setup, (log.clone(), gate.clone()));
    let loaded = setup.open().await.unwrap();
    let job = loaded.submit(|job: &JobContext| *job.data::<u64>(), ()).start().await.unwrap();
    eventually("the setup has begun", || !notes(&log).is_empty()).await;
    let [worker, _, launcher] = family(&marker);
    signal(launcher, Signal::SIGKILL);
    eventually("the worker ends", || !processes_with(&marker).contains(&worker)).await;
    std::fs::write(gate, "").unwrap();
    assert_eq!(job.await.unwrap(), 7);
    assert_eq!(notes(&log).len(), 2);
}

async fn a_killed_guard_costs_a_retry() {
    let (builder, marker) = builder(1);
    let cluster = builder.start().await.unwrap();
    let job = cluster.submit(attempt_after_hold, ()).start().await.unwrap();
    begun(&job).await;
    let [worker, guard, _] = family(&marker);
    signal(guard, Signal::SIGKILL);
    begun(&job).await;
    assert!(!processes_with(&marker).contains(&worker), "the first one is gone");
    job.send(&0_u32).await.unwrap();
    assert_eq!(job.await.unwrap(), 2);
    cluster.close().await;
    nothing_left(&marker).await;
}

async fn a_once_job_is_not_run_again_after_the_launcher_was_killed() {
    let (builder, marker) = builder(1);
    let cluster = builder.start().await.unwrap();
    let job = cluster.submit(hold, ()).once().start().await.unwrap();
    begun(&job).await;
    signal(family(&marker)[2], Signal::SIGKILL);
    let error = job.await.unwrap_err();
    assert!(matches!(error.kind, JobErrorKind::LostOnce), "{error}");
    nothing_left(&marker).await;
}

fn notes_and_sometimes_dies((n, log): (u64, PathBuf)) -> u64 {
    note(&log, &n.to_string());
    if n % 20 == 7 {
        std::process::abort();
    }
    n
}

/// Goal: what is not known to have ended may have begun the next one.
/// Method: tiny jobs, whose ends a worker tells together, and deadly ones among them.
async fn once_jobs_run_at_most_once_beside_deadly_ones() {
    let cluster = cluster(1).await;
    let (_dir, path) = folder();
    let log = path.join("log");
    let items: Vec<_> = (0..300).map(|n| (n, log.clone())).collect();
    let mut results = cluster.map(notes_and_sometimes_dies, items).once().as_completed();
    let (mut succeeded, mut lost) = (0, 0);
    while let Some(done) = results.next().await {
        match done.result {
            Ok(_) => succeeded += 1,
            Err(e) => {
                assert!(matches!(e.kind, JobErrorKind::LostOnce), "{e}");
                lost += 1;
            }
        }
    }
    assert_eq!((succeeded, lost), (285, 15));
    let mut ran = notes(&log);
    assert_eq!(ran.len(), 300);
    ran.sort_unstable();
    ran.dedup();
    assert_eq!(ran.len(), 300, "none ran twice");
}

/// Starts a process that belongs to nobody; returns when that runs.
fn leave_daemon(marker: String) -> u32 {
    let script = "setsid sh -c 'trap \"\" INT TERM HUP; sleep 60 & wait' & echo started";
    let mut shell = Command::new("sh");
    let shell = shell.args(["-c", script]).env("MARKER", marker).stderr(Stdio::null());
    shell.stdin(Stdio::null()).stdout(Stdio::null()).status().unwrap();
    std::process::id()
}

async fn a_function_that_leaves_a_daemon_behind_ends_with_it() {
    let (builder, marker) = builder(1);
    let cluster = builder.start().await.unwrap();
    cluster.submit(leave_daemon, (marker.clone(),)).await.unwrap();
    eventually("the daemon runs", || processes_with(&marker).len() >= 2).await;
    // It belongs to the worker, which other jobs use: it ends with that.
    cluster.close().await;
    nothing_left(&marker).await;
}

// The end of a client.

/// A client with jobs of all kinds, which it tells when they run.
fn client(marker: &str) -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let cluster = Cluster::builder().cpus(8).name(marker).start().await.unwrap();
        let first = cluster.submit(hold, ()).start().await.unwrap();
        let shared = cluster.computation().workers(Workers::SharedProcess).open().await.unwrap();
        let second = shared.submit(hold, ()).start().await.unwrap();
        cluster.submit(leave_daemon, (marker.to_owned(),)).await.unwrap();
        let stubborn = "trap '' INT TERM HUP; echo begun >&2; sleep 60 & wait; sleep 60";
        let stubborn = Program::new("sh").args(["-c", stubborn]).stream_output();
        let mut stubborn = cluster.run(stubborn).start().await.unwrap();
        let mut bomb = cluster.submit(item, ((1, Fault::ForkBomb),)).start().await.unwrap();
        begun(&first).await;
        begun(&second).await;
        stubborn.output().unwrap().recv().await.unwrap();
        println!("{}", std::process::id());
        bomb.completed().await;
        ExitCode::FAILURE
    })
}

fn start_client(marker: &str) -> Child {
    let mut client = Command::new(std::env::current_exe().unwrap());
    let mut client = client.env(CLIENT, marker).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(client.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line.trim(), client.id().to_string(), "it has started its jobs");
    client
}

async fn end_of_client(how: Signal) {
    let marker = marker();
    let mut client = start_client(&marker);
    // Launcher, guards, workers, shells, sleepers.
    eventually("the fork bomb is there, too", || processes_with(&marker).len() > 60).await;
    let began = Instant::now();
    client_signal(&client, how);
    client.wait().unwrap();
    nothing_left(&marker).await;
    assert!(began.elapsed() < GONE, "{:?}", began.elapsed());
}

fn client_signal(client: &Child, how: Signal) {
    signal(i32::try_from(client.id()).unwrap(), how);
}

async fn a_killed_client_leaves_nothing() {
    end_of_client(Signal::SIGKILL).await;
}

async fn a_terminated_client_leaves_nothing() {
    end_of_client(Signal::SIGTERM).await;
}

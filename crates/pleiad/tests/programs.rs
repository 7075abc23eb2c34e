//! Programs as jobs.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use common::{
    builder, cluster, eventually, folder, marker, notes, nothing_left, processes_with, within,
};
use pleiad::{
    Backoff, CancelResult, Cluster, ExitStatus, JobError, JobErrorKind, Program, ProgramOutput,
    Stream,
};

fn main() -> ExitCode {
    pleiad::init();
    if let Ok(role) = std::env::var(MEASURED) {
        return measured(&role);
    }
    common::run(trials())
}

common::tests![
    a_program_gives_its_status_and_its_streams,
    a_program_that_fails_gives_them_too,
    an_error_ends_with_the_last_lines_of_standard_error,
    some_exit_codes_can_mean_success,
    a_signal_is_no_exit_code,
    arguments_are_not_seen_by_a_shell,
    standard_input_comes_from_where_it_was_said,
    the_environment_is_as_it_was_said,
    programs_run_in_their_directory,
    output_can_go_to_files,
    what_cannot_be_started_says_why,
    what_cannot_be_started_is_not_tried_again,
    a_failed_program_is_tried_again,
    programs_run_one_for_each_item,
    their_output_does_not_mix,
    output_streams_as_it_comes,
    a_slow_reader_slows_the_program_down,
    a_stream_that_nobody_reads_holds_nobody_up,
    a_reader_that_goes_away_holds_nobody_up,
    a_program_whose_reader_sleeps_can_be_cancelled,
    large_output_goes_to_a_file_and_not_to_memory,
    a_program_may_close_its_streams_and_go_on,
    usage_is_measured,
    memory_is_limited,
    a_program_that_ignores_its_limit_is_ended_after_the_grace,
    a_program_that_ends_politely_at_its_limit_keeps_its_output,
    a_cancelled_program_leaves_no_children,
    a_killed_program_has_no_grace,
    a_daemon_ends_with_its_job,
    a_fork_bomb_ends_with_its_job,
];

fn sh(script: &str) -> Program {
    Program::new("sh").args(["-c", script])
}

async fn run(cluster: &Cluster, program: Program) -> ProgramOutput {
    cluster.run(program).await.unwrap()
}

async fn stdout(cluster: &Cluster, program: Program) -> Vec<u8> {
    run(cluster, program).await.stdout.bytes().unwrap().to_vec()
}

async fn a_program_gives_its_status_and_its_streams() {
    let cluster = cluster(1).await;
    let output = run(&cluster, sh("echo out; echo err >&2")).await;
    assert_eq!(output.status, ExitStatus::Code(0));
    assert_eq!(output.stdout.text().unwrap(), "out\n");
    assert_eq!(output.stderr.text().unwrap(), "err\n");
    assert_eq!((output.stdout.len(), output.stdout.is_empty()), (4, false));
    assert!(output.stdout.in_memory().is_some() && output.stdout.path().is_none());
    assert_eq!(&output.stdout.tail(2).unwrap()[..], b"t\n");
    assert_eq!(output.attempt.0, 1);
    assert!(output.started.elapsed().unwrap() >= output.ran);
}

async fn a_program_that_fails_gives_them_too() {
    let cluster = cluster(1).await;
    let error = cluster.run(sh("echo out; echo err >&2; exit 3")).await.unwrap_err();
    let output = error.output().unwrap();
    assert_eq!(output.status, ExitStatus::Code(3));
    assert_eq!(output.stdout.text().unwrap(), "out\n");
    let text = error.to_string();
    assert!(text.contains("exit status 3\n    err"), "{text}");
    run(&cluster, Program::new("true")).await;
}

async fn an_error_ends_with_the_last_lines_of_standard_error() {
    let cluster = cluster(1).await;
    let script = "for n in 1 2 3 4 5 6 7 8; do echo line $n >&2; done; exit 1";
    for program in [sh(script), sh(script).stream_output()] {
        let text = cluster.run(program).name("eight").await.unwrap_err().to_string();
        assert!(text.contains("(eight)"), "{text}");
        let last = "exit status 1\n    line 4\n    line 5\n    line 6\n    line 7\n    line 8";
        assert!(text.ends_with(last), "{text}");
    }
}

async fn some_exit_codes_can_mean_success() {
    let cluster = cluster(1).await;
    let grep = |word: &str| Program::new("grep").arg(word).stdin_bytes("abc\n");
    run(&cluster, grep("b").success_codes([0, 1])).await;
    let none = run(&cluster, grep("x").success_codes([0, 1])).await;
    assert_eq!(none.status, ExitStatus::Code(1));
    assert!(cluster.run(grep("x")).await.is_err());
    let error = cluster.run(Program::new("true").success_codes([7])).await.unwrap_err();
    assert_eq!(error.output().unwrap().status, ExitStatus::Code(0));
}

async fn a_signal_is_no_exit_code() {
    let cluster = cluster(1).await;
    let error = cluster.run(sh("kill -9 $$").success_codes([9, 137])).await.unwrap_err();
    assert_eq!(error.output().unwrap().status, ExitStatus::Signal(9));
    assert!(error.to_string().contains("killed by signal 9 (SIGKILL)"), "{error}");
}

async fn arguments_are_not_seen_by_a_shell() {
    let cluster = cluster(1).await;
    let args: [&[u8]; 9] = [
        b"two words",
        b"two\nlines\n",
        b"'single' \"double\" `back`",
        b"$HOME $(exit 1) ; exit 2 & | > /dev/full",
        b"* ? [a-z] ~ {a,b} \\",
        b"",
        b"--version",
        b"\xff\xfe not UTF-8 \x01",
        "Ünïcode ✓".as_bytes(),
    ];
    let program = Program::new("printf").arg("%s|").args(args.map(OsStr::from_bytes));
    let mut expected = args.join(&b'|');
    expected.push(b'|');
    assert_eq!(stdout(&cluster, program).await, expected);

    let error = cluster.run(Program::new("echo").arg("a\0b")).await.unwrap_err();
    assert!(matches!(error.kind, JobErrorKind::NotStarted(_)), "{error}");

    let (_dir, path) = folder();
    let odd = path.join(OsString::from_vec(b"odd \xff 'name'".to_vec()));
    fs::write(&odd, "#!/bin/sh\necho odd\n").unwrap();
    fs::set_permissions(&odd, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(stdout(&cluster, Program::new(odd)).await, b"odd\n");
}

async fn standard_input_comes_from_where_it_was_said() {
    let cluster = cluster(1).await;
    let cat = || Program::new("cat");
    assert_eq!(stdout(&cluster, cat()).await, b"");
    assert_eq!(stdout(&cluster, cat().stdin_bytes("some bytes")).await, b"some bytes");
    let large: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    assert!(stdout(&cluster, cat().stdin_bytes(large.clone())).await == large);
    // Who does not read it does no harm.
    run(&cluster, Program::new("true").stdin_bytes(large)).await;

    let (_dir, path) = folder();
    let file = path.join("input");
    fs::write(&file, "from a file").unwrap();
    assert_eq!(stdout(&cluster, cat().stdin_file(&file)).await, b"from a file");
}

async fn the_environment_is_as_it_was_said() {
    let cluster = cluster(1).await;
    let env = || Program::new("/usr/bin/env");
    let all = String::from_utf8(stdout(&cluster, env()).await).unwrap();
    assert!(all.contains("PATH="), "{all}");
    assert!(!all.contains("PLEIAD"), "{all}");
    let set = stdout(&cluster, env().env("A", "1").env("B", "two words").env("A", "3")).await;
    let set = String::from_utf8(set).unwrap();
    assert!(set.contains("A=3\n") && set.contains("B=two words\n"), "{set}");
    let without = stdout(&cluster, env().env_remove("PATH")).await;
    assert!(!String::from_utf8(without).unwrap().lines().any(|line| line.starts_with("PATH=")));
    let only = stdout(&cluster, env().env_clear().env("ONLY", "this")).await;
    assert_eq!(only, b"ONLY=this\n");
}

async fn programs_run_in_their_directory() {
    let cluster = cluster(1).await;
    let here = format!("{}\n", std::env::current_dir().unwrap().display());
    assert_eq!(stdout(&cluster, Program::new("pwd")).await, here.as_bytes());
    let (_dir, path) = folder();
    let path = path.canonicalize().unwrap();
    let there = format!("{}\n", path.display());
    assert_eq!(stdout(&cluster, Program::new("pwd").workdir(&path)).await, there.as_bytes());
}

async fn output_can_go_to_files() {
    let cluster = cluster(1).await;
    let (_dir, path) = folder();
    let (out, err) = (path.join("out"), path.join("err"));
    for n in [1, 2] {
        let program = sh(&format!("echo out {n}; echo err {n} >&2"));
        let output = run(&cluster, program.stdout_file(&out).stderr_file(&err)).await;
        assert!(output.stdout.is_empty() && output.stderr.is_empty());
        assert_eq!(fs::read_to_string(&out).unwrap(), format!("out {n}\n"));
        assert_eq!(fs::read_to_string(&err).unwrap(), format!("err {n}\n"));
    }
    let only_out = run(&cluster, sh("echo out; echo err >&2").stdout_file(&out)).await;
    assert_eq!(only_out.stderr.text().unwrap(), "err\n");

    let nowhere = Program::new("true").stdout_file(path.join("no/such/folder"));
    let text = cluster.run(nowhere).await.unwrap_err().to_string();
    assert!(text.contains("standard output to ") && text.contains("no/such/folder"), "{text}");
}

async fn what_cannot_be_started_says_why() {
    let cluster = cluster(1).await;
    let (_dir, path) = folder();
    let plain = path.join("plain");
    fs::write(&plain, "#!/bin/sh\n").unwrap();
    let script = path.join("script");
    fs::write(&script, "echo no first line\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let missing = path.join("missing");
    let cases = [
        (Program::new("no-such-program-at-all"), "no such program"),
        (Program::new(&missing), "no such program"),
        (Program::new(""), ""),
        (Program::new(&plain), "it is not executable"),
        (Program::new(&path), "it is not executable"),
        (Program::new(&script), "a script must begin with a line such as #!/bin/sh"),
        (Program::new("cat").stdin_file(&missing), "standard input from "),
        (Program::new("true").workdir(&missing), "the working directory"),
        (Program::new("true").workdir(&plain), "the working directory"),
        (Program::new("true").arg("x".repeat(10 << 20)), "too long for this system"),
    ];
    for (program, expected) in cases {
        let name = program.to_string();
        let name = &name[..name.len().min(100)];
        let error = cluster.run(program).await.unwrap_err();
        assert!(matches!(error.kind, JobErrorKind::NotStarted(_)), "{name}: {error}");
        let text = error.to_string();
        assert!(text.contains("cannot be started: ") && text.contains(expected), "{name}: {text}");
    }
    run(&cluster, Program::new("true")).await;
}

async fn what_cannot_be_started_is_not_tried_again() {
    let cluster = cluster(1).await;
    for program in [Program::new("no-such-program-at-all"), Program::new("/")] {
        let error = cluster.run(program).retries(5).await.unwrap_err();
        assert_eq!(error.attempt.unwrap().0, 1, "{error}");
    }
}

async fn a_failed_program_is_tried_again() {
    let cluster = cluster(1).await;
    let (_dir, path) = folder();
    let script = "echo again >> log; [ $(wc -l < log) -ge 3 ] && echo fine";
    let program = sh(script).workdir(&path);
    let output = cluster.run(program).retries(4).backoff(Backoff::NONE).await.unwrap();
    assert_eq!((output.attempt.0, output.stdout.text().unwrap()), (3, "fine\n".to_owned()));
    assert_eq!(notes(&path.join("log")).len(), 3);
}

async fn programs_run_one_for_each_item() {
    let cluster = cluster(2).await;
    let programs = (0..20).map(|n| sh(&format!("echo {n}; exit $(({n} % 4 == 3))")));
    let mut results = cluster.run_all(programs).in_order();
    for n in 0..20 {
        let done = results.next().await.unwrap();
        let text = |output: &ProgramOutput| output.stdout.text().unwrap();
        let (failed, text) = match &done.result {
            Ok(output) => (false, text(output)),
            Err(e) => (true, text(e.output().unwrap())),
        };
        assert_eq!((text, failed), (format!("{n}\n"), n % 4 == 3));
    }
    assert!(results.next().await.is_none());
}

async fn their_output_does_not_mix() {
    let cluster = cluster(8).await;
    let word = |n: usize| format!("{n} ").repeat(n * 300);
    let script = |n| sh(&format!("for i in $(seq {}); do printf '{n} '; done", n * 300));
    let all = cluster.run_all((0..12).map(script)).await.unwrap();
    for (n, output) in all.into_iter().enumerate() {
        assert!(output.stdout.text().unwrap() == word(n), "of {n}");
    }
}

async fn output_streams_as_it_comes() {
    let cluster = cluster(1).await;
    let (_dir, path) = folder();
    let script = "echo one; while [ ! -e gate ]; do sleep 0.01; done; echo two; echo three >&2";
    let program = sh(script).workdir(&path).stream_output();
    let mut job = cluster.run(program).start().await.unwrap();
    let mut chunks = job.output().unwrap();
    assert!(job.output().is_none(), "the first call has taken it");
    let first = chunks.recv().await.unwrap();
    assert_eq!(
        (first.stream, &first.bytes[..], first.attempt.0),
        (Stream::Stdout, &b"one\n"[..], 1)
    );
    fs::write(path.join("gate"), "").unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    while let Some(chunk) = chunks.recv().await {
        let to = if chunk.stream == Stream::Stdout { &mut out } else { &mut err };
        to.extend_from_slice(&chunk.bytes);
    }
    assert_eq!((&out[..], &err[..]), (&b"two\n"[..], &b"three\n"[..]));
    assert_eq!(job.await.unwrap().status, ExitStatus::Code(0));
    assert!(cluster.run(Program::new("true")).start().await.unwrap().output().is_none());
}

const MUCH: u64 = 100_000_000;

/// Writes very much, in a process that has the marker in its environment.
fn writes_much(marker: &str) -> Program {
    Program::new("head").args(["-c", &MUCH.to_string(), "/dev/zero"]).env("MARKER", marker)
}

/// Waits until a program has nothing to do but to wait for its reader: it sleeps, and writes
/// nothing more.
async fn until_blocked(marker: &str) {
    let mut before = (String::new(), 0);
    eventually("it waits for its reader", || {
        let Some(pid) = processes_with(marker).into_iter().find(|pid| is_head(*pid)) else {
            return false;
        };
        let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
        before = if io == before.0 { (io, before.1 + 1) } else { (io, 0) };
        before.1 == 10
    })
    .await;
}

fn is_head(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.contains("(head) S ")
}

async fn a_slow_reader_slows_the_program_down() {
    in_a_process_of_its_own("slow reader");
}

async fn slow_reader() {
    let cluster = cluster(1).await;
    let marker = marker();
    let program = writes_much(&marker).stream_output();
    let mut job = cluster.run(program).start().await.unwrap();
    let mut chunks = job.output().unwrap();
    let mut bytes = 0;
    for _ in 0..3 {
        until_blocked(&marker).await;
        bytes += chunks.recv().await.unwrap().bytes.len() as u64;
    }
    while let Some(chunk) = chunks.recv().await {
        bytes += chunk.bytes.len() as u64;
    }
    assert_eq!(bytes, MUCH);
    job.await.unwrap();
}

async fn a_stream_that_nobody_reads_holds_nobody_up() {
    let cluster = cluster(1).await;
    let program = || writes_much("nobody").stream_output();
    run(&cluster, program()).await;
    let job = cluster.run(program()).start().await.unwrap();
    job.await.unwrap();
    let mut job = cluster.run(program()).start().await.unwrap();
    job.completed().await.result.unwrap();
    drop(cluster.run(program()).start().await.unwrap());
    cluster.wait().await;
}

async fn a_reader_that_goes_away_holds_nobody_up() {
    let cluster = cluster(1).await;
    let marker = marker();
    let mut job = cluster.run(writes_much(&marker).stream_output()).start().await.unwrap();
    let chunks = job.output().unwrap();
    until_blocked(&marker).await;
    drop(chunks);
    job.await.unwrap();
}

async fn a_program_whose_reader_sleeps_can_be_cancelled() {
    let cluster = cluster(1).await;
    let marker = marker();
    let mut job = cluster.run(writes_much(&marker).stream_output()).start().await.unwrap();
    let mut chunks = job.output().unwrap();
    until_blocked(&marker).await;
    assert_eq!(job.cancel().await, CancelResult::Stopping);
    let error = job.completed().await.result.unwrap_err();
    assert!(matches!(error.kind, JobErrorKind::Cancelled), "{error}");
    nothing_left(&marker).await;
    while chunks.recv().await.is_some() {}
}

async fn large_output_goes_to_a_file_and_not_to_memory() {
    in_a_process_of_its_own("large output");
}

async fn large_output() {
    let cluster = cluster(1).await;
    let script = format!("head -c {MUCH} /dev/zero; echo end; head -c {MUCH} /dev/zero >&2");
    let output = run(&cluster, sh(&script)).await;
    assert_eq!((output.stdout.len(), output.stderr.len()), (MUCH + 4, MUCH));
    assert!(output.stdout.in_memory().is_none());
    assert_eq!(&output.stdout.tail(5).unwrap()[..], b"\0end\n");
    let mut reader = output.stdout.reader().unwrap();
    let mut buffer = vec![1; 1 << 16];
    let mut bytes = 0;
    loop {
        match reader.read(&mut buffer).unwrap() {
            0 => break,
            n => bytes += n as u64,
        }
    }
    assert_eq!(bytes, MUCH + 4);

    let path = output.stdout.path().unwrap().to_owned();
    let clone = output.stdout.clone();
    drop(output);
    assert!(path.exists());
    drop((clone, reader));
    assert!(!path.exists(), "it goes with the last clone");
}

async fn a_program_may_close_its_streams_and_go_on() {
    let cluster = cluster(1).await;
    let (_dir, path) = folder();
    let script = "echo out; exec <&- >&- 2>&-; while [ ! -e gate ]; do sleep 0.01; done; exit 7";
    let job = cluster.run(sh(script).workdir(&path)).start().await.unwrap();
    fs::write(path.join("gate"), "").unwrap();
    let error = job.await.unwrap_err();
    let output = error.output().unwrap();
    assert_eq!(output.status, ExitStatus::Code(7));
    assert_eq!(output.stdout.text().unwrap(), "out\n");
}

async fn usage_is_measured() {
    let cluster = cluster(1).await;
    let script = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; (dd bs=20M count=2 \
                  if=/dev/zero of=/dev/null 2>/dev/null)";
    let usage = run(&cluster, sh(script)).await.usage;
    assert!(usage.user > Duration::from_millis(5), "{usage:?}");
    assert!(usage.user + usage.system < Duration::from_secs(20), "{usage:?}");
    assert!((20 << 20..200 << 20).contains(&usage.memory_max), "{usage:?}");
}

async fn memory_is_limited() {
    let cluster = cluster(1).await;
    let dd = || {
        let args = ["bs=100M", "count=1", "if=/dev/zero", "of=/dev/null"];
        Program::new("dd").args(args)
    };
    cluster.run(dd()).memory(200 << 20).await.unwrap();
    let error = cluster.run(dd()).memory(50 << 20).await.unwrap_err();
    assert_eq!(error.output().unwrap().status, ExitStatus::Code(1), "{error}");
}

/// A program that ignores polite requests, and has a child that does.
fn stubborn(marker: &str) -> Program {
    sh("trap '' INT TERM; echo begun; sleep 60 & wait; wait; sleep 60").env("MARKER", marker)
}

async fn a_program_that_ignores_its_limit_is_ended_after_the_grace() {
    let marker = marker();
    let grace = Duration::from_millis(300);
    let cluster = Cluster::builder().cpus(1).grace(grace).start().await.unwrap();
    let began = Instant::now();
    let limit = Duration::from_millis(200);
    let error = cluster.run(stubborn(&marker)).limit(limit).await.unwrap_err();
    assert!(began.elapsed() >= limit + grace, "{:?}", began.elapsed());
    let JobErrorKind::LimitReached { output: Some(output), .. } = &error.kind else {
        panic!("{error}")
    };
    assert_eq!(output.stdout.text().unwrap(), "begun\n");
    assert_eq!(output.status, ExitStatus::Signal(9));
    assert!(processes_with(&marker).is_empty(), "all is over before the end is told");
}

async fn a_program_that_ends_politely_at_its_limit_keeps_its_output() {
    let cluster = cluster(1).await;
    let script = "trap 'echo polite; exit 0' INT; while true; do sleep 0.01; done";
    let output = cluster.run(sh(script)).limit(Duration::from_millis(300)).await.unwrap();
    assert_eq!(output.stdout.text().unwrap(), "polite\n");

    let script = "trap 'echo at TERM; exit 3' TERM; trap '' INT; while true; do sleep 0.01; done";
    let builder = Cluster::builder().grace(Duration::from_secs(2));
    let cluster = builder.start().await.unwrap();
    let error = cluster.run(sh(script)).limit(Duration::from_millis(300)).await.unwrap_err();
    let JobErrorKind::LimitReached { output: Some(output), .. } = error.kind else { panic!() };
    assert_eq!(output.stdout.text().unwrap(), "at TERM\n");
    assert_eq!(output.status, ExitStatus::Code(3));
}

async fn a_cancelled_program_leaves_no_children() {
    let marker = marker();
    let grace = Duration::from_millis(200);
    let cluster = Cluster::builder().cpus(1).grace(grace).start().await.unwrap();
    let script = "(trap '' INT TERM; setsid sh -c 'sleep 60 & sleep 60' & sleep 60) & sleep 60";
    let job = cluster.run(sh(script).env("MARKER", &marker)).start().await.unwrap();
    eventually("all of them run", || processes_with(&marker).len() >= 5).await;
    assert_eq!(job.cancel().await, CancelResult::Stopping);
    assert!(matches!(job.await, Err(JobError { kind: JobErrorKind::Cancelled, .. })));
    assert!(processes_with(&marker).is_empty(), "all is over before the end is told");
    run(&cluster, Program::new("true")).await;
}

async fn a_killed_program_has_no_grace() {
    let (builder, marker) = builder(1);
    let cluster = builder.grace(Duration::from_secs(50)).start().await.unwrap();
    let job = cluster.run(stubborn(&marker)).start().await.unwrap();
    eventually("it runs", || processes_with(&marker).len() >= 2).await;
    job.kill();
    assert!(matches!(job.await, Err(JobError { kind: JobErrorKind::Cancelled, .. })));
    assert!(processes_with(&marker).is_empty());

    let mut results = cluster.run_all((0..3).map(|_| stubborn("many"))).as_completed();
    results.begin();
    cluster.kill_all();
    while results.next().await.is_some() {}
    cluster.wait().await;
}

async fn a_daemon_ends_with_its_job() {
    let marker = marker();
    let cluster = cluster(1).await;
    let (_dir, path) = folder();
    // It leaves its session and its parent, and closes its streams.
    let daemon = "setsid sh -c 'sh -c \"echo > up; trap \\\"\\\" TERM INT HUP; sleep 60; sleep 60\" \
                  <&- >&- 2>&- &' & while [ ! -e up ]; do sleep 0.01; done; echo left";
    let output = run(&cluster, sh(daemon).workdir(&path).env("MARKER", &marker)).await;
    assert_eq!(output.stdout.text().unwrap(), "left\n");
    assert!(processes_with(&marker).is_empty(), "all is over before the end is told");
}

async fn a_fork_bomb_ends_with_its_job() {
    let marker = marker();
    let cluster = cluster(1).await;
    let script = "bomb() { if [ $1 -gt 0 ]; then bomb $(($1-1)) & bomb $(($1-1)) & fi; sleep 60; }
        bomb 5";
    let job = cluster.run(sh(script).env("MARKER", &marker)).start().await.unwrap();
    eventually("it has grown", || processes_with(&marker).len() >= 60).await;
    job.kill();
    assert!(job.await.is_err());
    within(Duration::from_secs(1), "nothing is left", || processes_with(&marker).is_empty()).await;
}

/// Another role of this executable: a test whose memory is measured.
const MEASURED: &str = "PLEIAD_TEST_MEASURED";

/// Runs one of the tests below in another process, as memory is measured for all of it.
fn in_a_process_of_its_own(role: &str) {
    let mut process = Command::new(std::env::current_exe().unwrap());
    let output = process.env(MEASURED, role).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
}

fn measured(role: &str) -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let before = memory_max();
    runtime.block_on(async {
        match role {
            "slow reader" => slow_reader().await,
            "large output" => large_output().await,
            _ => panic!("no such role: {role}"),
        }
    });
    let grown = memory_max() - before;
    assert!(grown < 30 << 20, "{grown} bytes for {MUCH} bytes of output");
    ExitCode::SUCCESS
}

/// The most memory that this process has ever had, in bytes.
fn memory_max() -> u64 {
    let status = fs::read_to_string(Path::new("/proc/self/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

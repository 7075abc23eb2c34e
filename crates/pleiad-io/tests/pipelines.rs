//! Starting, streaming and ending programs.
#![cfg(unix)]

mod common;

use std::error::Error as _;
use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::time::Duration;

use common::{is_gone, numbered_lines, sh, until};
use pleiad_io::{Lines, Pipeline, PipelineStartError, Stderr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

const SIGTERM: i32 = 15;
const SIGKILL: i32 = 9;

#[tokio::test]
async fn a_missing_program_is_named_with_its_stage() {
    let pipeline = Pipeline::new("cat").pipe("no-such-program");

    let error = pipeline.start().await.unwrap_err();

    assert_eq!(
        error.to_string(),
        "cannot start `no-such-program` (stage 2 of 2): is it installed, and in the PATH?"
    );
    assert!(error.source().unwrap().to_string().contains("No such file"));
}

#[tokio::test]
async fn of_a_missing_path_it_is_asked_whether_it_is_there() {
    for path in ["/no/such/program", "./no-such-program"] {
        let error = Pipeline::new(path).start().await.unwrap_err();
        let asked = "is there such a file, and the interpreter that it names?";
        assert_eq!(error.to_string(), format!("cannot start `{path}`: {asked}"));
    }
}

#[tokio::test]
async fn a_file_that_must_not_be_run_is_no_missing_program() {
    let error = Pipeline::new("/dev/null").start().await.unwrap_err();
    assert_eq!(error.to_string(), "cannot start `/dev/null`");
    assert!(error.source().unwrap().to_string().contains("Permission denied"));
}

#[tokio::test]
async fn the_programs_before_a_missing_one_are_ended_and_reaped() {
    let directory = std::env::temp_dir();
    let note = directory.join(format!("pleiad-io-{}-started", std::process::id()));
    let script = format!("echo $$ > {}; exec sleep 1000", note.display());
    let mut ids = Vec::new();

    // The first program may be killed before it has written its number: until it has.
    while ids.is_empty() {
        let pipeline = Pipeline::new(sh(&script)).pipe("no-such-program").pipe("cat");
        let error = pipeline.start().await.unwrap_err();
        assert!(matches!(error, PipelineStartError::Program { stage, .. } if stage.number == 2));
        let text = std::fs::read_to_string(&note).unwrap_or_default();
        ids.extend(text.trim().parse::<u32>());
    }

    std::fs::remove_file(note).unwrap();
    assert!(is_gone(Some(ids[0])));
}

#[tokio::test]
async fn a_missing_directory_is_told_apart_from_a_missing_program() {
    let pipeline = Pipeline::new(Command::new("cat").current_dir("/no/such/place"));

    let error = pipeline.start().await.unwrap_err();

    assert!(matches!(error, PipelineStartError::Directory { .. }));
    assert_eq!(error.to_string(), "cannot start `cat` in `/no/such/place`, which is no directory");
}

#[tokio::test]
async fn one_task_writes_while_another_reads() {
    let text = numbered_lines(2_000_000);
    let running = Pipeline::new("cat").pipe("cat").start().await.unwrap();
    let (mut stdin, mut stdout, mut running) = running.split();
    let written = text.clone();

    let writer = tokio::spawn(async move { stdin.write_all(&written).await });
    let mut read = Vec::new();
    stdout.read_to_end(&mut read).await.unwrap();

    writer.await.unwrap().unwrap();
    assert!(read == text);
    running.wait().await.unwrap().check().unwrap();
}

#[tokio::test]
async fn a_shutdown_of_one_end_is_the_end_of_the_input() {
    let running = Pipeline::new("cat").start().await.unwrap();
    let (mut stdin, mut stdout, mut running) = running.split();

    stdin.write_all(b"last words").await.unwrap();
    stdin.shutdown().await.unwrap();

    let mut text = String::new();
    stdout.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "last words");
    assert!(running.wait().await.unwrap().is_success());
    assert_eq!(stdin.write_u8(b'!').await.unwrap_err().kind(), ErrorKind::NotConnected);
}

#[tokio::test]
async fn who_splits_a_pipeline_can_end_it_while_others_hold_its_ends() {
    let (_stdin, mut stdout, mut running) = Pipeline::new("cat").start().await.unwrap().split();

    let reader = tokio::spawn(async move { stdout.read_to_end(&mut Vec::new()).await });
    running.terminate().unwrap();

    assert_eq!(reader.await.unwrap().unwrap(), 0);
    assert_eq!(running.wait().await.unwrap().stages[0].status.signal(), Some(SIGTERM));
}

#[tokio::test]
async fn an_end_that_is_no_pipe_is_an_error_when_it_is_used() {
    let pipeline = Pipeline::new("true").stdin(Stdio::null()).stdout(Stdio::null());
    let (mut stdin, mut stdout, mut running) = pipeline.start().await.unwrap().split();

    assert_eq!(stdin.write_u8(b'!').await.unwrap_err().kind(), ErrorKind::NotConnected);
    assert_eq!(stdout.read_u8().await.unwrap_err().kind(), ErrorKind::NotConnected);
    assert!(running.wait().await.unwrap().is_success());
}

#[tokio::test]
async fn a_pipeline_is_a_stream() {
    let mut running =
        Pipeline::new("cat").pipe(Command::new("wc").arg("-l")).start().await.unwrap();

    for _ in 0..3 {
        running.write_all(b"line\n").await.unwrap();
    }
    running.shutdown().await.unwrap();
    let mut text = String::new();
    running.read_to_string(&mut text).await.unwrap();

    assert_eq!(text.trim(), "3");
    assert!(running.write_all(b"more").await.is_err());
    assert!(running.wait().await.unwrap().is_success());
}

#[tokio::test]
async fn ends_that_were_taken_are_said_not_to_be_there() {
    let mut running = Pipeline::new("true").start().await.unwrap();
    drop(running.take_stdout());

    let error = running.read_u8().await.unwrap_err();

    assert!(error.to_string().contains("standard output of the pipeline was taken"));
    assert!(running.take_stdout().is_none());
    assert!(running.take_stderr().is_empty());
}

#[tokio::test]
async fn every_status_is_told_and_told_again() {
    let mut running = Pipeline::new("true").pipe("false").pipe(sh("exit 7")).start().await.unwrap();

    for _ in 0..2 {
        let end = running.wait().await.unwrap();
        let codes: Vec<_> = end.stages.iter().map(|stage| stage.status.code()).collect();
        assert_eq!(codes, [Some(0), Some(1), Some(7)]);
    }
    assert!(running.try_wait().unwrap().is_some());
    assert_eq!(running.ids(), [None, None, None]);
}

#[tokio::test]
async fn the_codes_of_success_are_those_of_the_program_that_was_added_last() {
    let pipeline = Pipeline::new(sh("exit 1")).success_codes([0, 1]).pipe(sh("exit 1"));

    let end = pipeline.start().await.unwrap().wait().await.unwrap();

    assert!(end.stages[0].is_success());
    let failed = end.check().unwrap_err();
    assert_eq!(failed.to_string(), "`sh` (stage 2 of 2) failed with exit status: 1");

    let only_seven = Pipeline::new("true").success_codes([7]);
    let end = only_seven.start().await.unwrap().wait().await.unwrap();
    assert!(!end.is_success());
}

#[tokio::test]
async fn a_signal_is_no_success_whatever_the_codes() {
    let pipeline = Pipeline::new(sh("kill -TERM $$")).success_codes([0, SIGTERM, 128 + SIGTERM]);
    let end = pipeline.start().await.unwrap().wait().await.unwrap();
    assert!(!end.is_success());
}

#[tokio::test]
async fn waiting_can_be_dropped_and_repeated() {
    let mut running = Pipeline::new("cat").start().await.unwrap();
    let stdin = running.take_stdin();

    let wait = tokio::time::timeout(Duration::from_millis(20), running.wait());

    assert!(wait.await.is_err());
    assert!(running.try_wait().unwrap().is_none());
    drop(stdin);
    assert!(running.wait().await.unwrap().is_success());
}

#[tokio::test]
async fn standard_error_of_each_program_can_be_read_as_it_comes() {
    let pipeline = Pipeline::new(sh("echo one >&2; exec cat")).pipe(sh("echo two >&2; exec cat"));
    let mut running = pipeline.stderr(Stderr::Stream).start().await.unwrap();

    let mut words = Vec::new();
    for stderr in running.take_stderr() {
        words.push(Lines::new(stderr).next_line().await.unwrap().unwrap());
    }

    assert_eq!(words, ["one", "two"]);
    assert!(running.wait().await.unwrap().is_success());
}

#[tokio::test]
async fn standard_error_so_far_can_be_seen_while_a_program_runs() {
    let running = Pipeline::new(sh("echo ready >&2; exec cat")).start().await.unwrap();
    until("it is ready", || running.stderr_tails()[0].text() == "ready\n").await;
    assert!(running.stderr_tails()[0].is_open);
}

#[tokio::test]
async fn terminate_lets_a_program_say_goodbye() {
    let script = "trap 'echo bye; exit 4' TERM; echo ready; while :; do sleep 0.01; done";
    let mut running = Pipeline::new(sh(script)).start().await.unwrap();
    let mut stdout = Lines::new(running.take_stdout().unwrap());
    assert_eq!(stdout.next_line().await.unwrap().unwrap(), "ready");

    running.terminate().unwrap();

    assert_eq!(stdout.next_line().await.unwrap().unwrap(), "bye");
    assert_eq!(running.wait().await.unwrap().stages[0].status.code(), Some(4));
    running.terminate().unwrap();
}

#[tokio::test]
async fn terminate_ends_programs_that_do_not_care() {
    let sleep = || {
        let mut command = Command::new("sleep");
        command.arg("1000");
        command
    };
    let mut running = Pipeline::new(sleep()).pipe(sleep()).start().await.unwrap();

    running.terminate().unwrap();

    let end = running.wait().await.unwrap();
    let signals: Vec<_> = end.stages.iter().map(|stage| stage.status.signal()).collect();
    assert_eq!(signals, [Some(SIGTERM), Some(SIGTERM)]);
}

#[tokio::test]
async fn kill_ends_and_reaps_every_program() {
    let script = "trap '' TERM; echo ready; while :; do sleep 0.01; done";
    let mut running = Pipeline::new(sh(script)).pipe("cat").start().await.unwrap();
    let ids = running.ids();
    assert_eq!(Lines::new(&mut running).next_line().await.unwrap().unwrap(), "ready");

    let end = running.kill().await.unwrap();

    assert!(ids.into_iter().all(is_gone));
    assert_eq!(end.stages[0].status.signal(), Some(SIGKILL));
    let again = running.kill().await.unwrap();
    assert_eq!(again.stages[0].status, end.stages[0].status);
}

#[tokio::test]
async fn dropping_ends_and_reaps_every_program() {
    let running =
        Pipeline::new(Command::new("sleep").arg("1000")).pipe("cat").start().await.unwrap();
    let ids = running.ids();

    drop(running);

    until("all are gone", || ids.iter().copied().all(is_gone)).await;
}

/// Goal: pipes are not left open in this process, and not in the programs.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn each_program_has_its_three_streams_and_no_other_pipe() {
    let script = "ls /proc/self/fd | wc -l";
    let mut alone = Command::new("sh");
    let alone = alone.args(["-c", script]).stdin(Stdio::null()).output().await.unwrap();
    let pipeline = Pipeline::new("cat").pipe("cat").pipe(sh(script));

    let output = pipeline.start().await.unwrap().communicate(tokio::io::empty()).await.unwrap();

    assert_eq!(output.stdout, alone.stdout);
}

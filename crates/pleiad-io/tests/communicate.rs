//! Programs that are fed and collected: real ones, with sizes beyond every pipe.
#![cfg(unix)]

mod common;

use std::io::{self, Cursor};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use common::{is_gone, numbered_lines, sh, until};
use pleiad_io::{CommunicateError, Pipeline, Stderr};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::process::Command;

/// More than any pipe holds.
const TEN_MEGABYTES: usize = 10_000_000;

#[tokio::test]
async fn ten_megabytes_go_through_cat_and_come_back() {
    let input = numbered_lines(TEN_MEGABYTES);
    let running = Pipeline::new("cat").start().await.unwrap();

    let output = running.communicate(&input[..]).await.unwrap();

    assert!(output.stdout == input);
    assert_eq!(output.input_bytes, input.len() as u64);
    assert!(output.end.is_success());
}

#[tokio::test]
async fn ten_megabytes_are_counted_by_the_last_of_three_programs() {
    let input = numbered_lines(TEN_MEGABYTES);
    let lines = input.iter().filter(|byte| **byte == b'\n').count();
    let pipeline =
        Pipeline::new(Command::new("grep").arg(".")).pipe("cat").pipe(Command::new("wc").arg("-l"));

    let output = pipeline.start().await.unwrap().communicate(Cursor::new(input)).await.unwrap();

    assert_eq!(output.text().trim(), lines.to_string());
    assert_eq!(output.end.stages.len(), 3);
    output.check().unwrap();
}

#[tokio::test]
async fn a_first_program_that_wants_only_a_line_is_no_error() {
    let input = numbered_lines(TEN_MEGABYTES);
    let pipeline = Pipeline::new(Command::new("head").args(["-n", "1"])).pipe("cat");

    let output = pipeline.start().await.unwrap().communicate(&input[..]).await.unwrap();

    assert_eq!(output.text(), "1\n");
    assert!(output.input_bytes < input.len() as u64);
    output.check().unwrap();
}

/// Goal: an end of the programs is the end, though the input has neither data nor end.
#[tokio::test]
async fn an_input_that_never_ends_is_left_when_the_programs_have_ended() {
    let (_held, never) = tokio::io::duplex(1);
    let running = Pipeline::new("true").start().await.unwrap();

    let output = running.communicate(never).await.unwrap();

    assert_eq!((output.stdout.len(), output.input_bytes), (0, 0));
}

#[tokio::test]
async fn a_program_that_is_cut_off_by_the_next_has_not_failed() {
    let pipeline = Pipeline::new("yes").pipe(Command::new("head").args(["-n", "2"]));

    let output = pipeline.start().await.unwrap().communicate(tokio::io::empty()).await.unwrap();

    assert_eq!(output.text(), "y\ny\n");
    assert!(!output.end.stages[0].status.success());
    output.check().unwrap();
}

#[tokio::test]
async fn a_failure_in_the_middle_is_named_with_its_last_words() {
    let pipeline = Pipeline::new("cat")
        .pipe(sh("cat; echo working >&2; echo out of paper >&2; exit 3"))
        .pipe("cat");

    let output = pipeline.start().await.unwrap().communicate("text".as_bytes()).await.unwrap();

    assert_eq!(output.text(), "text");
    let failed = output.check().unwrap_err();
    assert_eq!(failed.end.stage.number, 2);
    assert_eq!(failed.end.status.code(), Some(3));
    assert_eq!(failed.to_string(), "`sh` (stage 2 of 3) failed with exit status: 3: out of paper");
}

#[tokio::test]
async fn ten_megabytes_of_standard_error_leave_a_tail_and_a_count() {
    let script = "yes | head -c 10000000 >&2; echo the end >&2; cat";
    let pipeline = Pipeline::new(sh(script)).pipe("cat").stderr(Stderr::Tail(100));

    let output = pipeline.start().await.unwrap().communicate("in".as_bytes()).await.unwrap();

    assert_eq!(output.text(), "in");
    let tail = &output.end.stages[0].stderr;
    assert!(tail.text().ends_with("y\nthe end\n"));
    assert_eq!(tail.bytes.len(), 100);
    assert_eq!(tail.dropped, 10_000_008 - 100);
    assert!(!tail.is_open);
}

#[tokio::test]
async fn standard_error_that_was_to_be_taken_and_was_not_stops_nobody() {
    let pipeline = Pipeline::new(sh("yes | head -c 1000000 >&2; echo ok")).stderr(Stderr::Stream);

    let output = pipeline.start().await.unwrap().communicate(tokio::io::empty()).await.unwrap();

    assert_eq!(output.text(), "ok\n");
    assert!(output.end.stages[0].stderr.dropped > 0);
}

#[tokio::test]
async fn a_time_out_kills_and_reaps_all_and_gives_what_there_was() {
    let pipeline = Pipeline::new(Command::new("sleep").arg("1000"))
        .pipe(sh("echo early; echo ready >&2; exec cat"));
    let running = pipeline.start().await.unwrap();
    let ids = running.ids();
    until("it has written", || running.stderr_tails()[1].text() == "ready\n").await;

    let work = running.communicate(tokio::io::empty()).timeout(Duration::from_millis(100));
    let error = work.await.unwrap_err();

    assert!(ids.into_iter().all(is_gone));
    let CommunicateError::TimedOut { output, .. } = error else { panic!("{error}") };
    assert_eq!(output.text(), "early\n");
    assert_eq!(output.end.stages.len(), 2);
    assert!(!output.end.is_success());
}

#[tokio::test]
async fn output_over_the_limit_is_an_error_with_a_name() {
    let running = Pipeline::new("yes").pipe("cat").start().await.unwrap();
    let ids = running.ids();

    let work = running.communicate(tokio::io::empty()).output_bytes_max(5);
    let error = work.await.unwrap_err();

    assert!(ids.into_iter().all(is_gone));
    let text = "`cat` (stage 2 of 2) has written more than the limit of 5 bytes";
    assert_eq!(error.to_string(), text);
    let CommunicateError::OutputTooLarge { output, limit: 5 } = error else { panic!("{error}") };
    assert_eq!(output.text(), "y\ny\ny");
}

#[tokio::test]
async fn output_of_just_the_limit_is_allowed() {
    let running = Pipeline::new("cat").start().await.unwrap();
    let output = running.communicate("12345".as_bytes()).output_bytes_max(5).await.unwrap();
    assert_eq!(output.text(), "12345");
}

#[tokio::test]
async fn an_input_that_cannot_be_read_ends_the_programs() {
    let running = Pipeline::new("cat").start().await.unwrap();
    let ids = running.ids();

    let error = running.communicate(Unreadable).await.unwrap_err();

    assert!(matches!(error, CommunicateError::Input { .. }), "{error}");
    assert!(ids.into_iter().all(is_gone));
}

#[tokio::test]
async fn directory_and_environment_of_a_command_count() {
    let mut first = sh("echo $GREETING; pwd");
    first.env("GREETING", "hello").current_dir("/");
    let running = Pipeline::new(&mut first).pipe("cat").start().await.unwrap();

    let output = running.communicate(tokio::io::empty()).await.unwrap();

    assert_eq!(output.text(), "hello\n/\n");
}

#[tokio::test]
async fn files_can_be_the_ends_of_a_pipeline() {
    let this_file = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let file = std::fs::File::open(&this_file).unwrap();
    let running = Pipeline::new("cat").pipe("cat").stdin(file).start().await.unwrap();

    let output = running.communicate("not wanted".as_bytes()).await.unwrap();

    assert_eq!(output.stdout, std::fs::read(this_file).unwrap());
    assert_eq!(output.input_bytes, 0);
}

/// A process that a program leaves behind holds standard error open: what is known is given soon.
#[tokio::test]
async fn a_process_left_behind_does_not_hold_up_the_end() {
    let script = "sleep 1000 >/dev/null & echo $!; echo said >&2";
    let running = Pipeline::new(sh(script)).start().await.unwrap();
    let begin = Instant::now();

    let output = running.communicate(tokio::io::empty()).await.unwrap();

    assert!(begin.elapsed() < Duration::from_secs(60));
    let tail = &output.end.stages[0].stderr;
    assert_eq!(tail.text(), "said\n");
    assert!(tail.is_open);
    Command::new("kill").arg(output.text().trim()).status().await.unwrap();
}

#[tokio::test]
async fn communicating_can_be_dropped_and_leaves_nothing() {
    let running = Pipeline::new("cat").pipe("cat").start().await.unwrap();
    let ids = running.ids();
    let (_held, never) = tokio::io::duplex(1);
    let work = tokio::spawn(running.communicate(never).into_future());

    work.abort();

    assert!(work.await.unwrap_err().is_cancelled());
    until("all are gone", || ids.iter().copied().all(is_gone)).await;
}

#[tokio::test]
async fn two_communications_at_once_do_not_disturb_each_other() {
    let input = numbered_lines(1_000_000);
    let one = Pipeline::new("cat").pipe("cat").start().await.unwrap();
    let other = Pipeline::new("cat").pipe("cat").start().await.unwrap();

    let (one, other) = tokio::join!(
        one.communicate(&input[..]).into_future(),
        other.communicate(&input[..]).into_future()
    );

    assert!(one.unwrap().stdout == input);
    assert!(other.unwrap().stdout == input);
}

#[derive(Debug)]
struct Unreadable;

impl AsyncRead for Unreadable {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::Error::other("worn out")))
    }
}

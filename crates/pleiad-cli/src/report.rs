//! What a run says at its end.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use crate::units::show_time;

/// Failures that are told in full.
const NAMED_MAX: usize = 20;
/// Lines of standard error that are told of each.
const LINES_MAX: usize = 5;
/// Characters of a command that are told.
const COMMAND_CHARS_MAX: usize = 2000;
/// Characters of one such line.
const LINE_CHARS_MAX: usize = 400;

/// What became of the jobs.
#[derive(Default, Debug)]
pub(crate) struct Tally {
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    /// Those of the failed that had reached their limit.
    pub(crate) limits: u64,
    /// Stopped because the run was.
    pub(crate) stopped: u64,
    /// Ended in an earlier run.
    pub(crate) left_out: u64,
    named: Vec<Failure>,
}

/// A job that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) number: u64,
    /// The whole command, to be pasted into a shell.
    pub(crate) command: String,
    /// How it ended, such as `exit status 3`.
    pub(crate) how: String,
    pub(crate) ran: Option<Duration>,
    pub(crate) attempts: u32,
    /// The end of its standard error.
    pub(crate) stderr: Vec<u8>,
    /// Where all of its output is.
    pub(crate) results: Option<PathBuf>,
}

/// How the user can go on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Again {
    /// With this command, given the same standard input if it reads that.
    Command { command: String, needs_input: bool },
    /// One by one.
    OneByOne,
}

impl Tally {
    /// Whether one more failure would be told in full.
    pub(crate) fn has_room(&self) -> bool {
        self.named.len() < NAMED_MAX
    }

    /// Remembers a failure, if there is room.
    pub(crate) fn name(&mut self, failure: Failure) {
        if self.has_room() {
            self.named.push(failure);
        }
    }

    /// 0 if everything succeeded, 124 if jobs failed only by reaching their limit, else 1.
    pub(crate) fn exit_code(&self) -> u8 {
        match (self.failed, self.limits) {
            (0, _) => 0,
            (failed, limits) if failed == limits => 124,
            _ => 1,
        }
    }

    /// One line about the whole run.
    pub(crate) fn summary(&self, took: Duration) -> String {
        let all = self.succeeded + self.failed;
        let mut text = match self.failed {
            0 => format!("{} done", jobs(all)),
            failed if failed == all => format!("{} failed", jobs(failed)),
            failed => format!("{failed} of {} failed", jobs(all)),
        };
        if self.stopped > 0 {
            write!(text, ", {} stopped", self.stopped).expect("a string takes everything");
        }
        if self.left_out > 0 {
            write!(text, ", {} left out as done before", self.left_out)
                .expect("a string takes everything");
        }
        text + &format!(", in {}", show_time(took))
    }

    /// The failures one by one, and how to go on. Empty if there is nothing to tell.
    pub(crate) fn failures(&self, again: &Again, is_incomplete: bool) -> String {
        let mut text = String::new();
        let mut named: Vec<_> = self.named.iter().collect();
        named.sort_by_key(|failure| failure.number);
        for failure in named {
            failure.describe(&mut text);
        }
        let more = self.failed.saturating_sub(self.named.len() as u64);
        if more > 0 {
            let place = match again {
                Again::Command { .. } => "see the job log",
                Again::OneByOne => "--joblog FILE would name them all",
            };
            text += &format!("\n… and {more} more; {place}\n");
        }
        match again {
            _ if self.failed == 0 && !is_incomplete => {}
            Again::Command { command, needs_input } => {
                let input = if *needs_input { ", with the same standard input" } else { "" };
                text += &format!("\nto run all that has not succeeded{input}:\n  {command}\n");
            }
            Again::OneByOne if self.failed + self.stopped > 1 || is_incomplete => {
                text += "\nwith --joblog FILE, the next run can do with --resume-failed only what \
                         has not succeeded\n";
            }
            Again::OneByOne => {}
        }
        text
    }
}

impl Failure {
    fn describe(&self, text: &mut String) {
        *text += &format!("\njob {}: {}\n  {}", self.number, cut(&self.command), self.how);
        if let Some(ran) = self.ran {
            *text += &format!(" after {}", show_time(ran));
        }
        if self.attempts > 1 {
            *text += &format!(", {} attempts", self.attempts);
        }
        text.push('\n');
        for line in last_lines(&self.stderr) {
            *text += &format!("  | {line}\n");
        }
        if let Some(results) = &self.results {
            *text += &format!("  all of its output: {}\n", results.display());
        }
    }
}

/// The command, unless it is too long to be read.
fn cut(command: &str) -> Cow<'_, str> {
    match command.char_indices().nth(COMMAND_CHARS_MAX) {
        None => command.into(),
        Some((end, _)) => {
            format!("{}… ({} bytes; a job log has it all)", &command[..end], command.len()).into()
        }
    }
}

fn last_lines(stderr: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(stderr);
    let lines: Vec<_> = text.trim_end().lines().filter(|line| !line.trim().is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(LINES_MAX)..];
    last.iter().map(|line| printable(line)).collect()
}

/// Without what would move the cursor or colour the rest.
fn printable(line: &str) -> String {
    let shown: String = line
        .chars()
        .take(LINE_CHARS_MAX)
        .map(|c| match c {
            '\t' => ' ',
            c if c.is_control() => '\u{b7}',
            c => c,
        })
        .collect();
    if line.chars().nth(LINE_CHARS_MAX).is_some() { shown + "…" } else { shown }
}

fn jobs(n: u64) -> String {
    match n {
        1 => "1 job".into(),
        n => format!("{n} jobs"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_tells_its_command_its_end_and_its_last_lines() {
        let mut tally = Tally { succeeded: 3, failed: 1, ..Tally::default() };
        tally.name(failure(7));
        assert_eq!(tally.summary(Duration::from_secs(2)), "1 of 4 jobs failed, in 2.0 s");
        assert_eq!(
            tally.failures(&Again::OneByOne, false),
            "\njob 7: sh -c 'exit 3'\n  exit status 3 after 1.5 s, 2 attempts\n  | two\n  | three\n  \
             | four\n  | five\n  | six\u{b7}[31m\n"
        );
    }

    #[test]
    fn many_failures_are_counted_after_the_first_twenty() {
        let mut tally = Tally { failed: 50, ..Tally::default() };
        for number in 0..50 {
            tally.name(failure(number));
        }
        let text = tally.failures(&again("pleiad run …"), false);
        assert_eq!(text.matches("exit status 3").count(), 20);
        assert!(text.contains("… and 30 more; see the job log"), "{text}");
        assert!(text.ends_with("succeeded:\n  pleiad run …\n"), "{text}");
    }

    #[test]
    fn a_command_that_is_too_long_to_read_is_cut() {
        let command = "ä".repeat(200_000);
        assert_eq!(cut("sh -c ä"), "sh -c ä");
        let shown = cut(&command).into_owned();
        assert!(shown.chars().count() < 2100 && shown.contains("… (400000 bytes;"), "{shown}");
    }

    #[test]
    fn the_exit_code_is_124_when_only_limits_were_reached() {
        let code = |failed, limits| Tally { failed, limits, ..Tally::default() }.exit_code();
        assert_eq!([code(0, 0), code(2, 0), code(2, 2), code(3, 2)], [0, 1, 124, 1]);
    }

    #[test]
    fn a_run_without_failures_has_nothing_to_tell_but_its_summary() {
        let tally = Tally { succeeded: 1, left_out: 9, ..Tally::default() };
        assert_eq!(tally.failures(&again("x"), false), "");
        let summary = tally.summary(Duration::from_millis(20));
        assert_eq!(summary, "1 job done, 9 left out as done before, in 20 ms");
    }

    fn again(command: &str) -> Again {
        Again::Command { command: command.into(), needs_input: false }
    }

    fn failure(number: u64) -> Failure {
        Failure {
            number,
            command: "sh -c 'exit 3'".into(),
            how: "exit status 3".into(),
            ran: Some(Duration::from_millis(1500)),
            attempts: 2,
            stderr: b"one\ntwo\nthree\nfour\n\nfive\nsix\x1b[31m\n".to_vec(),
            results: None,
        }
    }
}

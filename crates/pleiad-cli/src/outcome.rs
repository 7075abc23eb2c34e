//! How a job ended, in the words of the report, the records and the job log.

use std::ffi::OsString;
use std::time::{Duration, SystemTime};

use pleiad::{Captured, ExitStatus, JobError, JobErrorKind, ProgramOutput, limits};

use crate::record::Record;
use crate::units::show_time;

/// What became of a job.
#[derive(Clone, Copy, PartialEq, Eq, serde::Serialize, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    Succeeded,
    /// The program said so, or a signal ended it.
    Failed,
    LimitReached,
    NotStarted,
    /// Neither success nor the program's own failure.
    Lost,
    /// It was ended because the run was.
    Stopped,
    /// The run ended before its turn had come.
    NeverRan,
}

/// How a job ended, and what it left.
#[derive(Debug)]
pub(crate) struct Ending {
    pub(crate) outcome: Outcome,
    pub(crate) attempts: u32,
    /// What happened, unless an exit status or signal says it.
    pub(crate) error: Option<String>,
    pub(crate) output: Option<ProgramOutput>,
}

impl Ending {
    pub(crate) fn of(result: Result<ProgramOutput, JobError>) -> Self {
        let error = match result {
            Ok(output) => {
                let attempts = output.attempt.0;
                return Self {
                    outcome: Outcome::Succeeded,
                    attempts,
                    error: None,
                    output: Some(output),
                };
            }
            Err(error) => error,
        };
        let attempts = error.attempt.map_or(0, |attempt| attempt.0);
        let ended = |outcome, error, output| Self { outcome, attempts, error, output };
        match error.kind {
            JobErrorKind::Exited(output) => ended(Outcome::Failed, None, Some(*output)),
            JobErrorKind::LimitReached { limit, output } => {
                let error = format!("reached its limit of {}, and was ended", show_time(limit));
                ended(Outcome::LimitReached, Some(error), output.map(|output| *output))
            }
            JobErrorKind::NotStarted(why) => {
                ended(Outcome::NotStarted, Some(format!("cannot be started: {why}")), None)
            }
            JobErrorKind::Cancelled | JobErrorKind::Closed => {
                let outcome = if attempts > 0 { Outcome::Stopped } else { Outcome::NeverRan };
                ended(outcome, None, None)
            }
            other => ended(Outcome::Lost, Some(other.to_string()), None),
        }
    }

    pub(crate) fn never_ran() -> Self {
        Self { outcome: Outcome::NeverRan, attempts: 0, error: None, output: None }
    }

    /// Such as `exit status 3`.
    pub(crate) fn describe(&self) -> String {
        match (&self.error, &self.output) {
            (Some(error), _) => error.clone(),
            (None, Some(output)) => output.status.to_string(),
            (None, None) => "ended with the run".into(),
        }
    }

    pub(crate) fn stdout(&self) -> Option<&Captured> {
        self.output.as_ref().map(|output| &output.stdout)
    }

    pub(crate) fn stderr_tail(&self) -> Vec<u8> {
        let tail = |output: &ProgramOutput| output.stderr.tail(limits::STDERR_TAIL_BYTES).ok();
        self.output.as_ref().and_then(tail).unwrap_or_default().to_vec()
    }

    /// Exit value and signal, as GNU parallel's job log has them.
    pub(crate) fn logged_status(&self) -> (i32, i32) {
        match (self.outcome, self.output.as_ref().map(|output| output.status)) {
            (Outcome::Succeeded, _) => (0, 0),
            (Outcome::NotStarted, _) => (127, 0),
            (Outcome::LimitReached, Some(ExitStatus::Signal(signal))) => (-1, signal),
            (Outcome::LimitReached, _) => (-1, 15),
            (_, Some(ExitStatus::Code(code))) => (code, 0),
            (_, Some(ExitStatus::Signal(signal))) => (0, signal),
            (_, None) => (-1, 0),
        }
    }

    pub(crate) fn started(&self) -> Option<SystemTime> {
        self.output.as_ref().map(|output| output.started)
    }

    pub(crate) fn ran(&self) -> Option<Duration> {
        self.output.as_ref().map(|output| output.ran)
    }

    pub(crate) fn record<'a>(
        &'a self,
        number: u64,
        values: &'a [OsString],
        command: &'a str,
    ) -> Record<'a> {
        let output = self.output.as_ref();
        let (exit, signal) = match output.map(|output| output.status) {
            Some(ExitStatus::Code(code)) => (Some(code), None),
            Some(ExitStatus::Signal(signal)) => (None, Some(signal)),
            None => (None, None),
        };
        Record {
            job: number,
            values,
            command,
            outcome: self.outcome,
            exit,
            signal,
            error: self.error.as_deref(),
            attempts: self.attempts,
            started: self.started(),
            seconds: self.ran(),
            cpu_seconds: output.map(|output| output.usage.user + output.usage.system),
            memory_bytes_max: output.map(|output| output.usage.memory_max),
            results: None,
        }
    }
}

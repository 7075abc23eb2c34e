//! What can go wrong, and what it says.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use pleiad_types::limits::{BODY_BYTES_MAX, DEATHS_MAX};
use pleiad_types::{Attempt, JobId};

use crate::program::ProgramOutput;

/// Why a cluster could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// `main` does not begin with `pleiad::init()`.
    #[error(
        "this program cannot be started as a worker: call `pleiad::init()` first thing in `main`, \
         or, in a test, use `Cluster::builder().workers(Workers::InProcess)`"
    )]
    NotInitialised,
    /// The launcher, which starts all other processes, could not be started.
    #[error("cannot start the launcher process")]
    Launcher(#[source] io::Error),
    /// The engine's thread could not be started.
    #[error("cannot start the engine's thread")]
    Thread(#[source] io::Error),
    /// The builder was asked for something that cannot be.
    #[error("{0}")]
    Invalid(String),
}

/// Why a job was not accepted. It does not exist, and nothing was changed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// The arguments do not serialise.
    #[error("the arguments do not serialise: {0}")]
    Unserialisable(String),
    /// The arguments are over the limit: write them to a file and give its name.
    #[error("the arguments have {0} bytes, more than the limit of {BODY_BYTES_MAX}")]
    TooLarge(usize),
    /// The job asks for what cannot be.
    #[error("{0}")]
    Invalid(String),
    /// It was to wait for a job that this cluster does not know any more.
    #[error("cannot wait for {0}: no such job")]
    NoSuchDependency(JobId),
    /// The cluster is closed.
    #[error("the cluster is closed")]
    Closed,
}

/// How a job failed.
#[derive(Debug)]
#[non_exhaustive]
pub struct JobError {
    /// Which job; none if it was never accepted.
    pub job: Option<JobId>,
    /// What it was called, if it was given a name.
    pub name: Option<String>,
    /// The last attempt, if there was one.
    pub attempt: Option<Attempt>,
    /// What happened.
    pub kind: JobErrorKind,
}

/// What happened to a job that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JobErrorKind {
    /// The function panicked.
    #[error("panicked at {location}: {message}")]
    Panicked {
        /// What it said.
        message: String,
        /// File, line and column.
        location: String,
        /// Which functions had called which, as far as they belong to the job.
        backtrace: String,
    },
    /// The function returned an `Err`.
    #[error("{0}")]
    Returned(String),
    /// The program ended without success.
    #[error("{}", program_failure(.0))]
    Exited(Box<ProgramOutput>),
    /// It ran longer than its limit and was ended.
    #[error("ended after its limit of {limit:?}")]
    LimitReached {
        /// The limit.
        limit: Duration,
        /// What a program had written by then.
        output: Option<Box<ProgramOutput>>,
    },
    /// The worker ended while it ran the job, as often as is allowed.
    #[error("its worker ended {DEATHS_MAX} times while running it, at last: {how}{}", tail(.stderr))]
    WorkerDied {
        /// How the worker ended the last time.
        how: String,
        /// The end of what the worker had written to standard error.
        stderr: String,
    },
    /// It may run only once, and its worker was lost while it ran.
    #[error("lost with its worker, and it may run only once")]
    LostOnce,
    /// It cannot be started.
    #[error("cannot be started: {0}")]
    NotStarted(String),
    /// The setup of its workers failed.
    #[error("the setup of its worker failed: {0}")]
    SetupFailed(String),
    /// Arguments, result or message could not be turned into or from bytes.
    #[error("{0}")]
    Unreadable(String),
    /// Its output could not be kept.
    #[error("its output could not be kept: {0}")]
    Output(String),
    /// A job that it was to wait for did not succeed.
    #[error("{on}, which it waits for, did not succeed{}", because(on, cause))]
    Dependency {
        /// The job that it was to wait for.
        on: JobId,
        /// What went wrong at first, with the job that it went wrong in.
        cause: Arc<str>,
    },
    /// It was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// It was not accepted.
    #[error("not accepted: {0}")]
    NotAccepted(SubmitError),
    /// The cluster was closed before the job ended.
    #[error("the cluster was closed before it ended")]
    Closed,
}

impl JobError {
    /// What the program had written, if the job was one that ran.
    pub fn output(&self) -> Option<&ProgramOutput> {
        match &self.kind {
            JobErrorKind::Exited(output) => Some(output),
            JobErrorKind::LimitReached { output, .. } => output.as_deref(),
            _ => None,
        }
    }

    /// The functions that led to a panic.
    pub fn backtrace(&self) -> Option<&str> {
        match &self.kind {
            JobErrorKind::Panicked { backtrace, .. } => Some(backtrace),
            _ => None,
        }
    }

    pub(crate) fn new(job: JobId, attempt: Option<Attempt>, kind: JobErrorKind) -> Self {
        Self { job: Some(job), name: None, attempt, kind }
    }
}

impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.job {
            Some(job) => write!(f, "{job}")?,
            None => f.write_str("job")?,
        }
        if let Some(name) = &self.name {
            write!(f, " ({name})")?;
        }
        if let Some(attempt) = self.attempt.filter(|attempt| attempt.0 > 1) {
            write!(f, ", {attempt}")?;
        }
        write!(f, ": {}", self.kind)
    }
}

impl std::error::Error for JobError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.kind.source()
    }
}

impl From<SubmitError> for JobError {
    fn from(error: SubmitError) -> Self {
        Self { job: None, name: None, attempt: None, kind: JobErrorKind::NotAccepted(error) }
    }
}

fn program_failure(output: &ProgramOutput) -> String {
    let stderr = output.stderr.tail(pleiad_types::limits::STDERR_TAIL_BYTES).unwrap_or_default();
    format!("{}{}", output.status, tail(&String::from_utf8_lossy(&stderr)))
}

fn because(on: &JobId, cause: &str) -> String {
    match cause.strip_prefix(&on.to_string()) {
        _ if cause.is_empty() => String::new(),
        // It is the one just named.
        Some(rest) if !rest.starts_with(|c: char| c.is_ascii_digit()) => {
            format!(": {}", rest.trim_start_matches([':', ',', ' ']))
        }
        _ => format!(" because of {cause}"),
    }
}

/// The last lines of a text, below what is said of it.
fn tail(text: &str) -> String {
    const LINES: usize = 5;
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let last = &lines[lines.len().saturating_sub(LINES)..];
    last.iter().map(|line| format!("\n    {line}")).collect()
}

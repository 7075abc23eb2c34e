use std::fmt;
use std::process::ExitStatus;

use crate::tail::Tail;

/// One program of a pipeline: which one, and what it is called.
///
/// Printed as `` `wc` (stage 2 of 2) ``, or as `` `wc` `` if it is the only one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stage {
    /// Its place; the first is 1.
    pub number: usize,
    /// How many there are.
    pub of: usize,
    /// The program, as it was named to start it.
    pub program: String,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.program)?;
        if self.of > 1 {
            write!(f, " (stage {} of {})", self.number, self.of)?;
        }
        Ok(())
    }
}

/// How one program of a pipeline has ended.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StageEnd {
    /// Which one.
    pub stage: Stage,
    /// How it has ended.
    pub status: ExitStatus,
    /// The exit codes that mean success: see
    /// [`Pipeline::success_codes`](crate::Pipeline::success_codes).
    pub success_codes: Vec<i32>,
    /// The end of its standard error; empty if that was not kept: see [`Stderr`](crate::Stderr).
    pub stderr: Tail,
}

impl StageEnd {
    /// Whether it has done what it was to do: it has exited with one of the
    /// [`success_codes`](Self::success_codes), or it was ended by SIGPIPE because the program behind
    /// it wanted no more, as `yes` is in `yes | head`.
    pub fn is_success(&self) -> bool {
        match self.status.code() {
            Some(code) => self.success_codes.contains(&code),
            None => self.stage.number < self.stage.of && is_broken_pipe(self.status),
        }
    }
}

/// How the programs of a pipeline have ended.
///
/// ```
/// use pleiad_io::Pipeline;
/// use tokio::process::Command;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let print = "echo no paper >&2; exit 3";
/// let pipeline = Pipeline::new(Command::new("sh").args(["-c", print])).pipe("cat");
/// let end = pipeline.start().await?.wait().await?;
///
/// let failed = end.check().unwrap_err();
/// assert_eq!(failed.to_string(), "`sh` (stage 1 of 2) failed with exit status: 3: no paper");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PipelineEnd {
    /// Each of them, in the order of the pipeline.
    pub stages: Vec<StageEnd>,
}

impl PipelineEnd {
    /// Whether each program [has done what it was to do](StageEnd::is_success).
    pub fn is_success(&self) -> bool {
        self.stages.iter().all(StageEnd::is_success)
    }

    /// The first program that has not done what it was to do, as an error.
    ///
    /// # Errors
    ///
    /// [`StageFailed`], with the program's status and the end of its standard error.
    pub fn check(&self) -> Result<(), StageFailed> {
        match self.stages.iter().find(|end| !end.is_success()) {
            None => Ok(()),
            Some(end) => Err(StageFailed { end: Box::new(end.clone()) }),
        }
    }
}

/// A program of a pipeline has failed: its exit code does not mean success, or a signal has ended
/// it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{} failed with {}{}", .end.stage, .end.status, last_words(&.end.stderr))]
#[non_exhaustive]
pub struct StageFailed {
    /// Which one, how, and what it said.
    pub end: Box<StageEnd>,
}

fn last_words(stderr: &Tail) -> String {
    match stderr.text().lines().map(str::trim).rfind(|line| !line.is_empty()) {
        None => String::new(),
        Some(line) => format!(": {line}"),
    }
}

#[cfg(unix)]
fn is_broken_pipe(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt as _;
    status.signal() == Some(nix::sys::signal::Signal::SIGPIPE as i32)
}

#[cfg(not(unix))]
fn is_broken_pipe(_: ExitStatus) -> bool {
    false
}

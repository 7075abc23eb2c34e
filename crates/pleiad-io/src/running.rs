use std::io;
use std::mem;
use std::pin::Pin;
use std::process::ExitStatus;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::communicate::Communicate;
use crate::end::{PipelineEnd, Stage, StageEnd};
use crate::limits::{STDERR_LINGER, STDERR_TAIL_BYTES};
use crate::pipeline::Stderr;
use crate::stdio::{PipelineStdin, PipelineStdout};
use crate::tail::{Tail, TailKeeper};

/// The programs of a [`Pipeline`](crate::Pipeline) that was started.
///
/// It is a stream: what is written to it goes to the first program, and what is read from it comes
/// from the last. [`shutdown`](tokio::io::AsyncWriteExt::shutdown) ends the input. A pipe holds
/// some 64 KiB: who writes much and reads much does so at once, with [`communicate`](Self::communicate)
/// or with two tasks, for which [`split`](Self::split) gives the ends.
///
/// Dropping it kills the programs, and waits for them in the background so that nothing is left of
/// them; that a program has ended is only certain after [`wait`](Self::wait) or
/// [`kill`](Self::kill). Processes that the programs have started on their own are not ended.
///
/// # Examples
///
/// ```
/// use pleiad_io::{Lines, Pipeline};
/// use tokio::io::AsyncWriteExt;
/// use tokio::process::Command;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut running = Pipeline::new("sort").pipe(Command::new("uniq").arg("-c")).start().await?;
///
/// running.write_all(b"tick\ntock\ntick\n").await?;
/// running.shutdown().await?;
///
/// let mut lines = Lines::new(&mut running);
/// assert_eq!(lines.next_line().await?.as_deref().map(str::trim), Some("2 tick"));
/// assert_eq!(lines.next_line().await?.as_deref().map(str::trim), Some("1 tock"));
/// assert_eq!(lines.next_line().await?, None);
/// running.wait().await?.check()?;
/// # Ok(())
/// # }
/// ```
/// # Whom to ask first
///
/// A program that fails does not read to the end, so that whoever writes to it gets "Broken pipe".
/// That is the consequence; the reason is what the program has said. Look at the end of the programs
/// before an error of the writer:
///
/// ```
/// use std::io::ErrorKind;
///
/// use pleiad_io::Pipeline;
/// use tokio::io::AsyncWriteExt;
/// use tokio::process::Command;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let print = "echo no paper >&2; exit 3";
/// let mut running = Pipeline::new(Command::new("sh").args(["-c", print])).start().await?;
///
/// // Kept, and not returned by `?`.
/// let written = running.write_all(&vec![b'x'; 1 << 20]).await;
///
/// let end = running.wait().await?;
/// let reason = end.check().unwrap_err();
/// assert_eq!(reason.to_string(), "`sh` failed with exit status: 3: no paper");
/// assert_eq!(written.unwrap_err().kind(), ErrorKind::BrokenPipe);
/// # Ok(())
/// # }
/// ```
///
/// With both results to pass on, that is `end.check()?; written?;`.
#[derive(Debug)]
pub struct Running {
    stages: Vec<RunningStage>,
    stdin: PipelineStdin,
    stdout: PipelineStdout,
    /// Those that read standard error; they end with this.
    keepers: JoinSet<()>,
}

#[derive(Debug)]
struct RunningStage {
    stage: Stage,
    child: Child,
    success_codes: Vec<i32>,
    tail: TailKeeper,
}

impl Running {
    pub(crate) fn empty() -> Self {
        Self {
            stages: Vec::new(),
            stdin: PipelineStdin::default(),
            stdout: PipelineStdout::default(),
            keepers: JoinSet::new(),
        }
    }

    /// Adds the next program; the first comes first.
    pub(crate) fn add(
        &mut self,
        stage: Stage,
        mut child: Child,
        success_codes: Vec<i32>,
        stderr: Stderr,
    ) {
        if stage.number == 1 {
            self.stdin = PipelineStdin(child.stdin.take());
        }
        self.stdout = PipelineStdout(child.stdout.take());
        let tail = TailKeeper::default();
        self.stages.push(RunningStage { stage, child, success_codes, tail });
        if let Stderr::Tail(bytes) = stderr {
            self.keep_stderr(bytes);
        }
    }

    /// Feeds `input` to the first program while it reads the output of the last, and waits for the
    /// end of all. See [`Communicate`] for options and promises; it is awaited.
    pub fn communicate<'a>(self, input: impl AsyncRead + Unpin + Send + 'a) -> Communicate<'a> {
        Communicate::new(self, Box::new(input))
    }

    /// The input of the first program and the output of the last, for two tasks, and what waits for
    /// the programs and ends them. As before, dropping the third kills them.
    ///
    /// An end that is no pipe, or was taken, is an error as soon as it is used.
    ///
    /// ```
    /// use pleiad_io::Pipeline;
    /// use tokio::io::{AsyncReadExt, AsyncWriteExt};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut stdin, mut stdout, mut running) = Pipeline::new("cat").start().await?.split();
    ///
    /// let writer = tokio::spawn(async move { stdin.write_all(&vec![b'x'; 1 << 20]).await });
    /// let reader = tokio::spawn(async move {
    ///     let mut text = String::new();
    ///     stdout.read_to_string(&mut text).await.map(|_| text)
    /// });
    ///
    /// running.wait().await?.check()?;
    /// writer.await??;
    /// assert_eq!(reader.await??.len(), 1 << 20);
    /// # Ok(())
    /// # }
    /// ```
    pub fn split(mut self) -> (PipelineStdin, PipelineStdout, Self) {
        let (stdin, stdout) = (mem::take(&mut self.stdin), mem::take(&mut self.stdout));
        (stdin, stdout, self)
    }

    /// Waits until every program has ended.
    ///
    /// Ends the input first, if that is still here. Does not read the output: if there is more than
    /// a pipe holds and nobody reads it, the last program does not end. It may be called again, with
    /// the same result.
    ///
    /// # Errors
    ///
    /// [`EndError::Wait`] if the operating system does not say how a program has ended. A program
    /// that has failed is no error: see [`PipelineEnd::check`].
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time, and called again.
    pub async fn wait(&mut self) -> Result<PipelineEnd, EndError> {
        self.stdin = PipelineStdin::default();
        self.keep_stderr(STDERR_TAIL_BYTES);
        let mut statuses = Vec::with_capacity(self.stages.len());
        for RunningStage { stage, child, .. } in &mut self.stages {
            statuses.push(child.wait().await.map_err(|source| EndError::wait(stage, source))?);
        }
        let keepers = async { while self.keepers.join_next().await.is_some() {} };
        // In time or not: what was read is in the tails, and they say whether there may be more.
        let _ = tokio::time::timeout(STDERR_LINGER, keepers).await;
        Ok(self.end(statuses))
    }

    /// How every program has ended; `None` as long as one of them runs. Does not wait, so that the
    /// end of standard error may be missing: see [`Tail::is_open`].
    ///
    /// # Errors
    ///
    /// See [`wait`](Self::wait).
    pub fn try_wait(&mut self) -> Result<Option<PipelineEnd>, EndError> {
        let mut statuses = Vec::with_capacity(self.stages.len());
        for RunningStage { stage, child, .. } in &mut self.stages {
            match child.try_wait().map_err(|source| EndError::wait(stage, source))? {
                Some(status) => statuses.push(status),
                None => return Ok(None),
            }
        }
        Ok(Some(self.end(statuses)))
    }

    /// Asks every program that still runs to end: SIGTERM, which a program may handle or ignore.
    /// On systems without signals, it ends them by force.
    ///
    /// # Errors
    ///
    /// [`EndError::Signal`] for the first program that must not be signalled; the others have been.
    pub fn terminate(&mut self) -> Result<(), EndError> {
        self.signal_all(terminate)
    }

    /// Ends every program that still runs by force, and waits for their end.
    ///
    /// # Errors
    ///
    /// [`EndError::Signal`] for the first program that must not be killed; the others have been, but
    /// none was waited for. [`EndError::Wait`] as with [`wait`](Self::wait).
    ///
    /// # Cancel safety
    ///
    /// The programs have been signalled when it is polled first; [`wait`](Self::wait) waits again.
    pub async fn kill(&mut self) -> Result<PipelineEnd, EndError> {
        self.signal_all(Child::start_kill)?;
        self.wait().await
    }

    /// The standard input of the first program, as tokio has it; dropping it ends the input. `None`
    /// if it was taken, is closed, or is no pipe. For two tasks, see [`split`](Self::split).
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.stdin.0.take()
    }

    /// The standard output of the last program, as tokio has it; `None` if it was taken or is no
    /// pipe.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.stdout.0.take()
    }

    /// The standard error of each program, in their order. Empty if it was taken, or if the pipeline
    /// does not say [`Stderr::Stream`].
    pub fn take_stderr(&mut self) -> Vec<ChildStderr> {
        self.stages.iter_mut().filter_map(|stage| stage.child.stderr.take()).collect()
    }

    /// The end of what each program has written to standard error by now.
    pub fn stderr_tails(&self) -> Vec<Tail> {
        self.stages.iter().map(|stage| stage.tail.tail()).collect()
    }

    /// The process number of each program; `None` for those that are known to have ended.
    pub fn ids(&self) -> Vec<Option<u32>> {
        self.stages.iter().map(|stage| stage.child.id()).collect()
    }

    /// The last program.
    pub(crate) fn last_stage(&self) -> Stage {
        self.stages.last().expect("a pipeline has at least one program").stage.clone()
    }

    /// The first program.
    pub(crate) fn first_stage(&self) -> Stage {
        self.stages.first().expect("a pipeline has at least one program").stage.clone()
    }

    /// Reads in the background what is still here of standard error, so that no program waits.
    pub(crate) fn keep_stderr(&mut self, bytes: usize) {
        for RunningStage { child, tail, .. } in &mut self.stages {
            if let Some(stderr) = child.stderr.take() {
                self.keepers.spawn(tail.keep(stderr, bytes));
            }
        }
    }

    fn end(&self, statuses: Vec<ExitStatus>) -> PipelineEnd {
        let stages = self.stages.iter().zip(statuses).map(|(running, status)| StageEnd {
            stage: running.stage.clone(),
            status,
            success_codes: running.success_codes.clone(),
            stderr: running.tail.tail(),
        });
        PipelineEnd { stages: stages.collect() }
    }

    fn signal_all(&mut self, signal: fn(&mut Child) -> io::Result<()>) -> Result<(), EndError> {
        let mut result = Ok(());
        for RunningStage { stage, child, .. } in &mut self.stages {
            // One that was waited for has no number any more.
            if child.id().is_some()
                && let Err(source) = signal(child)
            {
                result = result.and(Err(EndError::Signal { stage: stage.clone(), source }));
            }
        }
        result
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.signal_all(Child::start_kill);
        let stages = mem::take(&mut self.stages);
        if stages.iter().all(|stage| stage.child.id().is_none()) {
            return;
        }
        // Without a runtime, tokio waits for them when there is one again.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                for mut stage in stages {
                    let _ = stage.child.wait().await;
                }
            });
        }
    }
}

impl AsyncWrite for Running {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stdin).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stdin).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stdin).poll_shutdown(cx)
    }
}

impl AsyncRead for Running {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stdout).poll_read(cx, buffer)
    }
}

#[cfg(unix)]
fn terminate(child: &mut Child) -> io::Result<()> {
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    // A child that was not waited for keeps its number: no other process can be hit.
    match child.id().map(i32::try_from) {
        Some(Ok(id)) => Ok(kill(Pid::from_raw(id), Signal::SIGTERM)?),
        _ => Ok(()),
    }
}

#[cfg(not(unix))]
fn terminate(child: &mut Child) -> io::Result<()> {
    child.start_kill()
}

/// Why the programs of a pipeline could not be ended, or waited for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EndError {
    /// The program must not be signalled by this process: it runs as another user. It runs on.
    #[error("cannot end {stage}")]
    Signal {
        /// Which one.
        stage: Stage,
        /// What the operating system says.
        source: io::Error,
    },
    /// It is not known how the program has ended: most often somebody else has waited for it.
    #[error("cannot wait for the end of {stage}")]
    Wait {
        /// Which one.
        stage: Stage,
        /// What the operating system says.
        source: io::Error,
    },
}

impl EndError {
    fn wait(stage: &Stage, source: io::Error) -> Self {
        Self::Wait { stage: stage.clone(), source }
    }
}

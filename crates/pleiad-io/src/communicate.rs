use std::borrow::Cow;
use std::fmt;
use std::io;
use std::pin::{Pin, pin};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStdin, ChildStdout};

use crate::end::{PipelineEnd, Stage, StageFailed};
use crate::limits::{OUTPUT_BYTES_MAX, READ_BYTES, STDERR_TAIL_BYTES};
use crate::running::{EndError, Running};

/// Feeds a pipeline and collects what it writes: see [`Running::communicate`].
///
/// Input, output and the standard error of every program flow at the same time, so that no size of
/// any of them makes it stop. It is done when the output has ended, and every program has.
///
/// A first program that does not want all of the input, as `head`, is no error: the rest is left in
/// `input`, and [`Output::input_bytes`] tells how much was taken. If its standard input or the output
/// of the last was taken or is no pipe, that part is left out.
///
/// Default: no time-out; at most [`OUTPUT_BYTES_MAX`] bytes of output.
///
/// # Errors
///
/// See [`CommunicateError`]: whatever happens, no program runs any more, except with
/// [`CommunicateError::End`]. A program that has failed is no error: see [`Output::check`].
///
/// # Cancel safety
///
/// If it is dropped, the programs are killed, and what they have written is lost.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use pleiad_io::Pipeline;
/// use tokio::process::Command;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let running = Pipeline::new("cat").pipe(Command::new("tr").args(["a-z", "A-Z"])).start().await?;
///
/// let output = running
///     .communicate("so loud\n".as_bytes())
///     .timeout(Duration::from_secs(10))
///     .output_bytes_max(1024)
///     .await?;
///
/// assert_eq!(output.stdout, b"SO LOUD\n");
/// assert!(output.end.is_success());
/// # Ok(())
/// # }
/// ```
#[must_use = "the programs are fed when this is awaited"]
pub struct Communicate<'a> {
    running: Running,
    input: Box<dyn AsyncRead + Unpin + Send + 'a>,
    timeout: Option<Duration>,
    output_bytes_max: usize,
}

impl<'a> Communicate<'a> {
    pub(crate) fn new(running: Running, input: Box<dyn AsyncRead + Unpin + Send + 'a>) -> Self {
        Self { running, input, timeout: None, output_bytes_max: OUTPUT_BYTES_MAX }
    }

    /// Kills the programs if they have not ended after so long. Default: never.
    pub fn timeout(mut self, after: Duration) -> Self {
        self.timeout = Some(after);
        self
    }

    /// Kills the programs if they write more than so many bytes to standard output. Default:
    /// [`OUTPUT_BYTES_MAX`].
    pub fn output_bytes_max(mut self, bytes: usize) -> Self {
        self.output_bytes_max = bytes;
        self
    }

    async fn run(mut self) -> Result<Output, CommunicateError> {
        let (mut stdout, mut input_bytes) = (Vec::new(), 0);
        let exchange = Exchange {
            running: &mut self.running,
            stdout: &mut stdout,
            stdout_bytes_max: self.output_bytes_max,
            input_bytes: &mut input_bytes,
        };
        let work = exchange.run(self.input);
        let done = match self.timeout {
            None => work.await,
            Some(after) => {
                let in_time = tokio::time::timeout(after, work).await;
                in_time.unwrap_or(Err(Stop::TimedOut(after)))
            }
        };
        match done {
            Ok(end) => Ok(Output { stdout, input_bytes, end }),
            Err(Stop::Failed(error)) => {
                self.running.kill().await?;
                Err(error)
            }
            Err(Stop::TimedOut(after)) => {
                let end = self.running.kill().await?;
                let output = Box::new(Output { stdout, input_bytes, end });
                Err(CommunicateError::TimedOut { after, output })
            }
            Err(Stop::TooMuch) => {
                let end = self.running.kill().await?;
                let output = Box::new(Output { stdout, input_bytes, end });
                let limit = self.output_bytes_max;
                Err(CommunicateError::OutputTooLarge { limit, output })
            }
        }
    }
}

impl<'a> IntoFuture for Communicate<'a> {
    type Output = Result<Output, CommunicateError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl fmt::Debug for Communicate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Communicate").field("running", &self.running).finish_non_exhaustive()
    }
}

/// What [`communicate`](Running::communicate) has collected.
#[derive(Clone)]
#[non_exhaustive]
pub struct Output {
    /// What the last program has written to standard output.
    pub stdout: Vec<u8>,
    /// Bytes of the input that went into the pipe to the first program: fewer than there are if it
    /// did not want more.
    pub input_bytes: u64,
    /// How the programs have ended, and the end of what each has written to standard error.
    pub end: PipelineEnd,
}

impl Output {
    /// Standard output as text; what is not UTF-8 is replaced.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.stdout)
    }

    /// The first program that has failed, as an error: see [`PipelineEnd::check`].
    ///
    /// # Errors
    ///
    /// [`StageFailed`], with the program's status and the end of its standard error.
    pub fn check(&self) -> Result<(), StageFailed> {
        self.end.check()
    }
}

/// Tells how much output there is, and not all of it.
impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output")
            .field("stdout_bytes", &self.stdout.len())
            .field("input_bytes", &self.input_bytes)
            .field("end", &self.end)
            .finish()
    }
}

/// Why [`communicate`](Running::communicate) has given up. The programs were killed and waited for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommunicateError {
    /// The programs had not ended in time.
    #[error("the programs had not ended after {after:?}")]
    TimedOut {
        /// The time-out.
        after: Duration,
        /// What there was until then.
        output: Box<Output>,
    },
    /// The last program has written more than may be kept.
    #[error("{} has written more than the limit of {limit} bytes", last_of(.output))]
    OutputTooLarge {
        /// The limit, in bytes.
        limit: usize,
        /// What there was until then: as much output as the limit allows.
        output: Box<Output>,
    },
    /// The input could not be read.
    #[error("cannot read the input of {stage}")]
    Input {
        /// The program that it was for.
        stage: Stage,
        /// What the input says.
        source: io::Error,
    },
    /// The input could not be written to the first program.
    #[error("cannot write to {stage}")]
    Write {
        /// The program.
        stage: Stage,
        /// What the operating system says.
        source: io::Error,
    },
    /// The output of the last program could not be read.
    #[error("cannot read the output of {stage}")]
    Read {
        /// The program.
        stage: Stage,
        /// What the operating system says.
        source: io::Error,
    },
    /// A program could not be ended, or not waited for; it may still run.
    #[error(transparent)]
    End(#[from] EndError),
}

fn last_of(output: &Output) -> String {
    output.end.stages.last().map(|end| end.stage.to_string()).unwrap_or_default()
}

enum Stop {
    TimedOut(Duration),
    TooMuch,
    Failed(CommunicateError),
}

/// What flows, and where it goes: apart from the future that makes it flow, so that it is still
/// there when that is stopped.
struct Exchange<'a> {
    running: &'a mut Running,
    stdout: &'a mut Vec<u8>,
    stdout_bytes_max: usize,
    input_bytes: &'a mut u64,
}

impl Exchange<'_> {
    async fn run(self, input: impl AsyncRead + Unpin) -> Result<PipelineEnd, Stop> {
        let Self { running, stdout, stdout_bytes_max, input_bytes } = self;
        let (first, last) = (running.first_stage(), running.last_stage());
        let (pipe_in, pipe_out) = (running.take_stdin(), running.take_stdout());
        running.keep_stderr(STDERR_TAIL_BYTES);

        let feed = async {
            match pipe_in {
                Some(pipe) => feed(first, input, pipe, input_bytes).await,
                None => Ok(()),
            }
        };
        let finish = async {
            if let Some(pipe) = pipe_out {
                drain(last, pipe, stdout, stdout_bytes_max).await?;
            }
            running.wait().await.map_err(|error| Stop::Failed(error.into()))
        };
        let (mut feed, mut finish) = (pin!(feed), pin!(finish));
        tokio::select! {
            fed = &mut feed => fed.map_err(Stop::Failed)?,
            // All have ended: nobody is left to take more, and the input may never end.
            end = &mut finish => return end,
        }
        finish.await
    }
}

/// Writes all of `input`, or as much as is wanted, and closes the pipe.
async fn feed(
    stage: Stage,
    mut input: impl AsyncRead + Unpin,
    mut pipe: ChildStdin,
    bytes: &mut u64,
) -> Result<(), CommunicateError> {
    let mut chunk = vec![0; READ_BYTES];
    loop {
        let n = match input.read(&mut chunk).await {
            Ok(n) => n,
            Err(source) => return Err(CommunicateError::Input { stage, source }),
        };
        let written = match &chunk[..n] {
            [] => return Ok(()),
            rest => write(rest, &mut pipe, bytes).await,
        };
        match written {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(source) => return Err(CommunicateError::Write { stage, source }),
        }
    }
}

async fn write(mut rest: &[u8], pipe: &mut ChildStdin, bytes: &mut u64) -> io::Result<()> {
    while !rest.is_empty() {
        let n = pipe.write(rest).await?;
        if n == 0 {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        *bytes += n as u64;
        rest = &rest[n..];
    }
    pipe.flush().await
}

async fn drain(
    stage: Stage,
    mut pipe: ChildStdout,
    stdout: &mut Vec<u8>,
    bytes_max: usize,
) -> Result<(), Stop> {
    loop {
        stdout.reserve(READ_BYTES);
        match pipe.read_buf(stdout).await {
            Ok(0) => return Ok(()),
            Ok(_) if stdout.len() > bytes_max => {
                stdout.truncate(bytes_max);
                return Err(Stop::TooMuch);
            }
            Ok(_) => {}
            Err(source) => return Err(Stop::Failed(CommunicateError::Read { stage, source })),
        }
    }
}

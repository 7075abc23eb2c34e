use std::ffi::OsStr;
use std::io;
use std::mem;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use crate::end::Stage;
use crate::limits::STDERR_TAIL_BYTES;
use crate::running::Running;

/// Programs, each of which reads what the one before it writes, as `a | b | c` of a shell.
///
/// No shell is involved: each stage is a [`Command`], or the name of a program without arguments.
/// Their arguments, environment, working directory and so on are as the commands say; their
/// standard streams are connected by this, the first one's input and the last one's output to this
/// process. Between the programs are pipes of the operating system: what goes through them does not
/// pass through this process.
///
/// ```
/// use pleiad_io::Pipeline;
/// use tokio::process::Command;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pipeline = Pipeline::new(Command::new("grep").arg("b")).pipe(Command::new("wc").arg("-l"));
///
/// let output = pipeline.start().await?.communicate("abc\nxyz\ncab\n".as_bytes()).await?;
/// output.check()?;
/// assert_eq!(output.text().trim(), "2");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "the programs run when `start` is awaited"]
pub struct Pipeline {
    // Invariant: at least one.
    plans: Vec<Plan>,
    stdin: Stdio,
    stdout: Stdio,
    stderr: Stderr,
}

/// A program that is to be started.
#[derive(Debug)]
struct Plan {
    command: Command,
    success_codes: Vec<i32>,
}

/// What becomes of the standard error of the programs in a pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stderr {
    /// It is read in the background, and the last so many bytes of each program are kept for
    /// [`StageEnd::stderr`](crate::StageEnd::stderr). The default, with [`STDERR_TAIL_BYTES`].
    Tail(usize),
    /// It is read by [`Running::take_stderr`]. A program stops when nobody reads what it writes; if
    /// it is not taken, [`wait`](Running::wait) and [`communicate`](Running::communicate) do as with
    /// [`Tail`](Self::Tail).
    Stream,
    /// It goes where the command says; to the standard error of this process if it says nothing.
    OfCommand,
}

impl Default for Stderr {
    fn default() -> Self {
        Self::Tail(STDERR_TAIL_BYTES)
    }
}

impl Pipeline {
    /// A pipeline of one program.
    pub fn new(program: impl IntoCommand) -> Self {
        Self {
            plans: vec![Plan::new(program)],
            stdin: Stdio::piped(),
            stdout: Stdio::piped(),
            stderr: Stderr::default(),
        }
    }

    /// Adds a program that reads what the last one writes.
    pub fn pipe(mut self, program: impl IntoCommand) -> Self {
        self.plans.push(Plan::new(program));
        self
    }

    /// The exit codes that mean success, for the program that was added last. Default: only 0.
    ///
    /// ```
    /// use pleiad_io::Pipeline;
    /// use tokio::process::Command;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// // With 1, grep says that there is no such line.
    /// let pipeline = Pipeline::new(Command::new("grep").arg("rain")).success_codes([0, 1]).pipe("wc");
    ///
    /// let output = pipeline.start().await?.communicate("sun\n".as_bytes()).await?;
    /// output.check()?;
    /// assert_eq!(output.end.stages[0].status.code(), Some(1));
    /// # Ok(())
    /// # }
    /// ```
    pub fn success_codes(mut self, codes: impl IntoIterator<Item = i32>) -> Self {
        let last = self.plans.last_mut().expect("a pipeline has at least one program");
        last.success_codes = codes.into_iter().collect();
        self
    }

    /// What the first program reads: a file, nothing ([`Stdio::null`]), or what this process reads
    /// ([`Stdio::inherit`]). Default: what is written to [`Running`].
    pub fn stdin(mut self, stdin: impl Into<Stdio>) -> Self {
        self.stdin = stdin.into();
        self
    }

    /// Where the output of the last program goes. Default: it is read from [`Running`].
    pub fn stdout(mut self, stdout: impl Into<Stdio>) -> Self {
        self.stdout = stdout.into();
        self
    }

    /// What becomes of the standard error of each program. Default: the last bytes are kept.
    pub fn stderr(mut self, stderr: Stderr) -> Self {
        self.stderr = stderr;
        self
    }

    /// Starts the programs, the first one first.
    ///
    /// # Errors
    ///
    /// [`PipelineStartError`] says which program cannot be started, and why. Those before it have run
    /// for a moment, and have been killed and waited for: nothing runs any more.
    ///
    /// # Panics
    ///
    /// If it is not called on a tokio runtime with I/O and time enabled.
    ///
    /// # Cancel safety
    ///
    /// If it is dropped, the programs that it has started are killed.
    pub async fn start(self) -> Result<Running, PipelineStartError> {
        let Self { plans, stdin, stdout, stderr } = self;
        let mut running = Running::empty();
        match start_all(&mut running, plans, stdin, stdout, stderr) {
            Ok(()) => Ok(running),
            Err(error) => {
                // An error here would hide the reason. A program that must not be killed ends when
                // its pipes do.
                let _ = running.kill().await;
                Err(error)
            }
        }
    }
}

impl Plan {
    fn new(program: impl IntoCommand) -> Self {
        Self { command: program.into_command(), success_codes: vec![0] }
    }
}

fn start_all(
    running: &mut Running,
    plans: Vec<Plan>,
    first_stdin: Stdio,
    last_stdout: Stdio,
    stderr: Stderr,
) -> Result<(), PipelineStartError> {
    let of = plans.len();
    let mut next_stdin = first_stdin;
    let mut last_stdout = Some(last_stdout);
    for (number, Plan { mut command, success_codes }) in (1..).zip(plans) {
        let program = command.as_std().get_program().to_string_lossy().into_owned();
        let stage = Stage { number, of, program };
        let (stdin, stdout);
        if number < of {
            let (reader, writer) = match io::pipe() {
                Ok(ends) => ends,
                Err(source) => return Err(PipelineStartError::Pipe { stage, source }),
            };
            stdout = Some(Stdio::from(writer));
            stdin = mem::replace(&mut next_stdin, Stdio::from(reader));
        } else {
            stdout = last_stdout.take();
            stdin = mem::replace(&mut next_stdin, Stdio::null());
        }
        command.stdin(stdin).stdout(stdout.unwrap_or_else(Stdio::null)).kill_on_drop(true);
        if stderr != Stderr::OfCommand {
            command.stderr(Stdio::piped());
        }
        match command.spawn() {
            Ok(child) => running.add(stage, child, success_codes, stderr),
            Err(source) => return Err(PipelineStartError::new(stage, &command, source)),
        }
        // The end of the turn drops the command, and with it our copies of the pipes: the next
        // program would otherwise never see the end of its input.
    }
    Ok(())
}

/// Why a pipeline could not be started. Nothing of it runs any more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipelineStartError {
    /// The program cannot be started: most often there is none of this name.
    #[error("cannot start {stage}{}", what_to_do(.stage, .source))]
    Program {
        /// Which one.
        stage: Stage,
        /// What the operating system says.
        source: io::Error,
    },
    /// The program cannot be started where its command says.
    #[error("cannot start {stage} in `{}`, which is no directory", .directory.display())]
    Directory {
        /// Which one.
        stage: Stage,
        /// Where it was to run.
        directory: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// There is no pipe for the program's output: most often too many files are open.
    #[error("cannot make a pipe behind {stage}")]
    Pipe {
        /// Which one.
        stage: Stage,
        /// What the operating system says.
        source: io::Error,
    },
}

impl PipelineStartError {
    fn new(stage: Stage, command: &Command, source: io::Error) -> Self {
        match command.as_std().get_current_dir() {
            // The operating system says only that there is no such file, and not which.
            Some(directory) if !directory.is_dir() => {
                Self::Directory { stage, directory: directory.to_owned(), source }
            }
            _ => Self::Program { stage, source },
        }
    }
}

/// The operating system says "no such file", and not which: that of a path may be there, but not the
/// interpreter that it names.
fn what_to_do(stage: &Stage, source: &io::Error) -> &'static str {
    if source.kind() != io::ErrorKind::NotFound {
        return "";
    }
    if Path::new(&stage.program).components().nth(1).is_none() {
        ": is it installed, and in the PATH?"
    } else {
        ": is there such a file, and the interpreter that it names?"
    }
}

/// What can be a stage of a [`Pipeline`]: a [`Command`], or the name of a program.
///
/// A name is a name and not a line of a shell: `"wc -l"` is a program whose name has a space in it.
pub trait IntoCommand {
    /// The command.
    fn into_command(self) -> Command;
}

impl IntoCommand for Command {
    fn into_command(self) -> Command {
        self
    }
}

/// As `Command::new("wc").arg("-l")` gives. The command is taken out of it: what is left behind has
/// no program, and cannot be started.
impl IntoCommand for &mut Command {
    fn into_command(self) -> Command {
        mem::replace(self, Command::new(""))
    }
}

impl IntoCommand for &str {
    fn into_command(self) -> Command {
        Command::new(self)
    }
}

impl IntoCommand for &OsStr {
    fn into_command(self) -> Command {
        Command::new(self)
    }
}

impl IntoCommand for PathBuf {
    fn into_command(self) -> Command {
        Command::new(self)
    }
}

//! Programs as jobs.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use pleiad_types::{Attempt, ExitStatus};
use tempfile::TempPath;

/// A program to run as a job: what to run, with which arguments, streams and environment.
///
/// It is started directly, never through a shell. It gets a session of its own; when it ends, or
/// is ended, everything that it started is ended too.
///
/// Standard input is empty, output and error are kept for the result, the environment and the
/// working directory are those of this process, unless said otherwise.
///
/// ```
/// use pleiad_cluster::Program;
///
/// let sort = Program::new("sort").args(["-n", "numbers.txt"]).env("LC_ALL", "C");
/// assert_eq!(sort.to_string(), "sort -n numbers.txt");
/// ```
#[derive(Debug, Clone)]
#[must_use = "a program runs when it is given to a cluster"]
pub struct Program {
    pub(crate) program: OsString,
    pub(crate) args: Vec<OsString>,
    pub(crate) env: BTreeMap<OsString, Option<OsString>>,
    pub(crate) env_clear: bool,
    pub(crate) workdir: Option<PathBuf>,
    pub(crate) stdin: Stdin,
    pub(crate) stdout: Sink,
    pub(crate) stderr: Sink,
    pub(crate) success: Vec<i32>,
}

#[derive(Debug, Clone)]
pub(crate) enum Stdin {
    Empty,
    File(PathBuf),
    Bytes(Bytes),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sink {
    Keep,
    Stream,
    File(PathBuf),
}

impl Program {
    /// The program of this name, looked up in `PATH`, or of this path.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: BTreeMap::new(),
            env_clear: false,
            workdir: None,
            stdin: Stdin::Empty,
            stdout: Sink::Keep,
            stderr: Sink::Keep,
            success: vec![0],
        }
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    pub fn args(mut self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets a variable of the environment.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.insert(name.into(), Some(value.into()));
        self
    }

    /// Takes a variable out of the environment.
    pub fn env_remove(mut self, name: impl Into<OsString>) -> Self {
        self.env.insert(name.into(), None);
        self
    }

    /// Begins with an empty environment: only what [`env`](Self::env) sets is there.
    pub fn env_clear(mut self) -> Self {
        self.env_clear = true;
        self
    }

    /// Runs it in this directory.
    pub fn workdir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.workdir = Some(dir.into());
        self
    }

    /// Gives it this file as standard input.
    pub fn stdin_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.stdin = Stdin::File(path.into());
        self
    }

    /// Gives it these bytes as standard input.
    pub fn stdin_bytes(mut self, bytes: impl Into<Bytes>) -> Self {
        self.stdin = Stdin::Bytes(bytes.into());
        self
    }

    /// Writes standard output straight to this file, which is created or emptied at the start of
    /// each attempt. The result's `stdout` is empty then.
    pub fn stdout_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.stdout = Sink::File(path.into());
        self
    }

    /// Writes standard error straight to this file. See [`stdout_file`](Self::stdout_file).
    pub fn stderr_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.stderr = Sink::File(path.into());
        self
    }

    /// Hands over output and error while the program runs, through
    /// [`Job::output`](crate::Job::output), instead of keeping them. A reader that does not keep
    /// up slows the program down. The end of standard error is kept for errors all the same.
    pub fn stream_output(mut self) -> Self {
        self.stdout = Sink::Stream;
        self.stderr = Sink::Stream;
        self
    }

    /// The exit codes that mean success. Default: only 0.
    pub fn success_codes(mut self, codes: impl IntoIterator<Item = i32>) -> Self {
        self.success = codes.into_iter().collect();
        self
    }
}

/// As one would type it into a shell.
impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, word) in std::iter::once(&self.program).chain(&self.args).enumerate() {
            let separator = if i == 0 { "" } else { " " };
            let word = word.to_string_lossy();
            let plain = |c: char| c.is_ascii_alphanumeric() || "_-./=:,+@%^".contains(c);
            if !word.is_empty() && word.chars().all(plain) {
                write!(f, "{separator}{word}")?;
            } else {
                write!(f, "{separator}'{}'", word.replace('\'', r"'\''"))?;
            }
        }
        Ok(())
    }
}

/// What a program left behind when it ended.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ProgramOutput {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output, unless that went elsewhere.
    pub stdout: Captured,
    /// Its standard error, unless that went elsewhere.
    pub stderr: Captured,
    /// What it took, with all that it started.
    pub usage: Usage,
    /// When it started.
    pub started: SystemTime,
    /// How long it ran.
    pub ran: Duration,
    /// Which attempt of the job this was.
    pub attempt: Attempt,
}

/// What the processes of a job took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Usage {
    /// Processor time in their own code.
    pub user: Duration,
    /// Processor time in the system.
    pub system: Duration,
    /// The largest memory of one of them at once, in bytes.
    pub memory_max: u64,
}

/// One stream of a program's output: in memory up to 1 MiB, beyond it in a temporary file that
/// goes with the last clone of this value.
#[derive(Debug, Clone)]
pub struct Captured(Store);

#[derive(Debug, Clone)]
enum Store {
    Memory(Bytes),
    File {
        path: Arc<TempPath>,
        bytes: u64,
    },
    /// A part of a file that has no name.
    Part {
        file: Arc<File>,
        begin: u64,
        bytes: u64,
    },
}

impl Captured {
    pub(crate) fn memory(bytes: impl Into<Bytes>) -> Self {
        Self(Store::Memory(bytes.into()))
    }

    pub(crate) fn file(path: TempPath, bytes: u64) -> Self {
        Self(Store::File { path: Arc::new(path), bytes })
    }

    pub(crate) fn part(file: Arc<File>, begin: u64, bytes: u64) -> Self {
        Self(Store::Part { file, begin, bytes })
    }

    /// How many bytes there are.
    pub fn len(&self) -> u64 {
        match &self.0 {
            Store::Memory(bytes) => bytes.len() as u64,
            Store::File { bytes, .. } | Store::Part { bytes, .. } => *bytes,
        }
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes, if they are in memory.
    pub fn in_memory(&self) -> Option<&Bytes> {
        match &self.0 {
            Store::Memory(bytes) => Some(bytes),
            Store::File { .. } | Store::Part { .. } => None,
        }
    }

    /// The temporary file, if it is in one that has a name.
    pub fn path(&self) -> Option<&Path> {
        match &self.0 {
            Store::Memory(_) | Store::Part { .. } => None,
            Store::File { path, .. } => Some(path),
        }
    }

    /// Reads it from the beginning.
    ///
    /// # Errors
    ///
    /// If the temporary file cannot be opened.
    pub fn reader(&self) -> io::Result<impl Read + Send + use<>> {
        Ok(match &self.0 {
            Store::Memory(bytes) => Reader::Memory(io::Cursor::new(bytes.clone())),
            Store::File { path, .. } => Reader::File(File::open(&**path)?),
            Store::Part { file, begin, bytes } => {
                Reader::Part { file: file.clone(), at: *begin, end: begin + bytes }
            }
        })
    }

    /// All of it.
    ///
    /// # Errors
    ///
    /// If the temporary file cannot be read.
    pub fn bytes(&self) -> io::Result<Bytes> {
        if let Store::Memory(bytes) = &self.0 {
            return Ok(bytes.clone());
        }
        let mut all = Vec::new();
        self.reader()?.read_to_end(&mut all)?;
        Ok(all.into())
    }

    /// All of it as text; what is not UTF-8 is replaced.
    ///
    /// # Errors
    ///
    /// If the temporary file cannot be read.
    pub fn text(&self) -> io::Result<String> {
        self.bytes().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The last `bytes` bytes, or all of it.
    ///
    /// # Errors
    ///
    /// If the temporary file cannot be read.
    pub fn tail(&self, bytes: usize) -> io::Result<Bytes> {
        match &self.0 {
            Store::Memory(all) => Ok(all.slice(all.len().saturating_sub(bytes)..)),
            Store::File { path, bytes: len } => {
                let mut file = File::open(&**path)?;
                file.seek(SeekFrom::Start(len.saturating_sub(bytes as u64)))?;
                let mut tail = Vec::new();
                file.take(bytes as u64).read_to_end(&mut tail)?;
                Ok(tail.into())
            }
            Store::Part { file, begin, bytes: len } => {
                let skipped = len.saturating_sub(bytes as u64);
                Self::part(file.clone(), begin + skipped, len - skipped).bytes()
            }
        }
    }
}

enum Reader {
    Memory(io::Cursor<Bytes>),
    File(File),
    Part { file: Arc<File>, at: u64, end: u64 },
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Memory(bytes) => bytes.read(buffer),
            Self::File(file) => file.read(buffer),
            Self::Part { file, at, end } => {
                let room = usize::try_from(*end - *at).unwrap_or(usize::MAX).min(buffer.len());
                let read = file.read_at(&mut buffer[..room], *at)?;
                *at += read as u64;
                Ok(read)
            }
        }
    }
}

/// Which of a program's two output streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A piece of output, as it came. See [`Program::stream_output`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Chunk {
    /// Which attempt it is from.
    pub attempt: Attempt,
    /// Which stream.
    pub stream: Stream,
    /// The bytes, cut anywhere.
    pub bytes: Bytes,
}

//! The job log: which jobs have ended, and how. GNU parallel's format, column by column.
//!
//! ```text
//! Seq  Host  Starttime  JobRuntime  Send  Receive  Exitval  Signal  Command
//! ```
//!
//! The last column is the whole command of the job on one line. On resuming it is compared with
//! the command that the job would have, so that neither another command nor inputs that have
//! moved to other numbers skip anything by mistake.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const HEADER: &str = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n";

/// A job log that is open for writing; no other run can open it meanwhile.
#[derive(Debug)]
pub(crate) struct Joblog {
    path: PathBuf,
    file: File,
    past: Past,
}

/// What to do with a job that may be in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Resume {
    /// There must be no jobs in the log yet.
    No,
    /// Leave out every job in the log.
    Ended,
    /// Leave out the jobs that succeeded.
    Succeeded,
}

/// How a job ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) number: u64,
    pub(crate) started: SystemTime,
    pub(crate) ran: Duration,
    /// Bytes of its standard output.
    pub(crate) received: u64,
    pub(crate) exit: i32,
    pub(crate) signal: i32,
    pub(crate) command: String,
}

/// Why a job log cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum JoblogError {
    #[error("cannot open the job log {}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("cannot write to the job log {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{} is used by another run that has not ended yet", .0.display())]
    InUse(PathBuf),
    #[error("{} is not a job log\n  give another name; it was left as it is", .0.display())]
    NotALog(PathBuf),
    #[error("{} has {jobs} of an earlier run\n  add --resume to go on where it ended, or \
             --resume-failed to run also the failed ones again; or remove the file to start anew",
             path.display(), jobs = match jobs { 1 => "a job".into(), n => format!("{n} jobs") })]
    HasJobs { path: PathBuf, jobs: usize },
    #[error("{} is the job log of another command or other inputs: its job {number} was\n    \
             {logged}\n  and would be\n    {current}\n  give the command and inputs of the log, \
             or another --joblog", path.display())]
    OtherCommand { path: PathBuf, number: u64, logged: String, current: String },
}

/// The jobs of earlier runs.
#[derive(Default, Debug)]
struct Past {
    jobs: HashMap<u64, Logged>,
    hasher: RandomState,
    skip_failed: bool,
    /// Bytes up to the end of the last whole line.
    whole: u64,
    damaged: usize,
}

#[derive(Clone, Copy, Debug)]
struct Logged {
    succeeded: bool,
    command: u64,
}

impl Joblog {
    /// Opens the log only to see what is in it; there need not be one.
    pub(crate) fn peek(path: &Path, resume: Resume) -> Result<Option<Self>, JoblogError> {
        let failed = |source| JoblogError::Open { path: path.to_owned(), source };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let past = Past::read(&file, resume).map_err(failed)?;
        if past.is_of_something_else() {
            return Err(JoblogError::NotALog(path.to_owned()));
        }
        Ok(Some(Self { path: path.to_owned(), file, past }))
    }

    /// Opens the log, or starts one.
    pub(crate) fn open(path: &Path, resume: Resume) -> Result<Self, JoblogError> {
        let failed = |source| JoblogError::Open { path: path.to_owned(), source };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(JoblogError::InUse(path.to_owned())),
            // Some file systems have no locks; a log is useful without.
            Err(TryLockError::Error(_)) => {}
        }
        let past = Past::read(&file, resume).map_err(failed)?;
        if past.is_of_something_else() {
            return Err(JoblogError::NotALog(path.to_owned()));
        }
        if resume == Resume::No && !past.jobs.is_empty() {
            return Err(JoblogError::HasJobs { path: path.to_owned(), jobs: past.jobs.len() });
        }
        // A regular file only: a log may also be a terminal or a pipe.
        if file.metadata().map_err(failed)?.is_file() {
            file.set_len(past.whole).map_err(failed)?;
            file.seek(SeekFrom::End(0)).map_err(failed)?;
        }
        let mut log = Self { path: path.to_owned(), file, past };
        if log.past.whole == 0 {
            log.write(HEADER)?;
        }
        Ok(log)
    }

    /// Lines that could not be read; their jobs run again.
    pub(crate) fn damaged(&self) -> usize {
        self.past.damaged
    }

    /// Jobs that are in the log from earlier runs.
    pub(crate) fn past(&self) -> usize {
        self.past.jobs.len()
    }

    /// Whether a job is to be left out, given its command as the log has it.
    pub(crate) fn leaves_out(&self, number: u64, command: &str) -> Result<bool, JoblogError> {
        let Some(logged) = self.past.jobs.get(&number) else { return Ok(false) };
        if self.past.hasher.hash_one(command.as_bytes()) != logged.command {
            return Err(JoblogError::OtherCommand {
                path: self.path.clone(),
                number,
                logged: self.logged_command(number).unwrap_or_default(),
                current: command.to_owned(),
            });
        }
        Ok(logged.succeeded || self.past.skip_failed)
    }

    /// Adds a line.
    pub(crate) fn add(&mut self, job: &Ended) -> Result<(), JoblogError> {
        let started = job.started.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.write(&format!(
            "{}\t:\t{:.3}\t{:10.3}\t0\t{}\t{}\t{}\t{}\n",
            job.number,
            started.as_secs_f64(),
            job.ran.as_secs_f64(),
            job.received,
            job.exit,
            job.signal,
            job.command
        ))
    }

    fn write(&mut self, line: &str) -> Result<(), JoblogError> {
        self.file
            .write_all(line.as_bytes())
            .map_err(|source| JoblogError::Write { path: self.path.clone(), source })
    }

    fn logged_command(&self, number: u64) -> Option<String> {
        let file = File::open(&self.path).ok()?;
        let lines = BufReader::new(file).split(b'\n').map_while(Result::ok);
        let of_job = lines.filter_map(|line| {
            let line = Line::parse(&line)?;
            (line.number == number).then(|| String::from_utf8_lossy(line.command).into_owned())
        });
        of_job.last()
    }
}

impl Past {
    fn read(file: &File, resume: Resume) -> io::Result<Self> {
        let mut past = Self { skip_failed: resume == Resume::Ended, ..Self::default() };
        let mut input = BufReader::new(file);
        let mut text = Vec::new();
        let mut first = true;
        // A pipe or a terminal has no past.
        if !file.metadata()?.is_file() {
            return Ok(past);
        }
        loop {
            text.clear();
            let bytes = input.read_until(b'\n', &mut text)? as u64;
            if bytes == 0 {
                return Ok(past);
            }
            let is_header = std::mem::take(&mut first);
            match text.strip_suffix(b"\n") {
                Some(line) if is_header => {
                    if line != HEADER.trim_end().as_bytes() {
                        past.damaged = 1;
                        return Ok(past);
                    }
                }
                Some(line) => match Line::parse(line) {
                    Some(line) => past.add(&line),
                    None => past.damaged += 1,
                },
                // A line without its end was cut off while it was written.
                None => {
                    past.damaged += 1;
                    return Ok(past);
                }
            }
            past.whole += bytes;
        }
    }

    fn is_of_something_else(&self) -> bool {
        self.whole == 0 && self.damaged > 0
    }

    fn add(&mut self, line: &Line<'_>) {
        let command = self.hasher.hash_one(line.command);
        self.jobs.insert(line.number, Logged { succeeded: line.succeeded, command });
    }
}

struct Line<'a> {
    number: u64,
    succeeded: bool,
    command: &'a [u8],
}

impl<'a> Line<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let columns: Vec<_> = line.splitn(9, |&b| b == b'\t').collect();
        let [number, _, started, ran, _, _, exit, signal, command] = columns[..] else {
            return None;
        };
        let number_of = |column: &[u8]| str::from_utf8(column).ok()?.trim().parse::<f64>().ok();
        number_of(started)?;
        number_of(ran)?;
        let succeeded = number_of(exit)? == 0.0 && number_of(signal)? == 0.0;
        let number = str::from_utf8(number).ok()?.parse().ok()?;
        Some(Self { number, succeeded, command })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_log_has_the_columns_of_gnu_parallel() {
        let (_directory, path) = empty();
        let mut log = Joblog::open(&path, Resume::No).unwrap();
        log.add(&Ended { received: 12, ..ended(3, 0, "echo 'a b'") }).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("{HEADER}3\t:\t1000.250\t     1.500\t0\t12\t0\t0\techo 'a b'\n"));
    }

    #[test]
    fn resuming_leaves_out_what_the_log_has() {
        let (_directory, path) = with_jobs(&[(1, 0, "x 1"), (2, 3, "x 2")]);
        let log = Joblog::open(&path, Resume::Ended).unwrap();
        assert!(log.leaves_out(1, "x 1").unwrap());
        assert!(log.leaves_out(2, "x 2").unwrap());
        assert!(!log.leaves_out(3, "x 3").unwrap());
        drop(log);
        let log = Joblog::open(&path, Resume::Succeeded).unwrap();
        assert!(log.leaves_out(1, "x 1").unwrap());
        assert!(!log.leaves_out(2, "x 2").unwrap());
    }

    #[test]
    fn the_last_line_of_a_job_counts() {
        let (_directory, path) = with_jobs(&[(1, 1, "x"), (1, 0, "x"), (2, 0, "y"), (2, 1, "y")]);
        let log = Joblog::open(&path, Resume::Succeeded).unwrap();
        assert!(log.leaves_out(1, "x").unwrap());
        assert!(!log.leaves_out(2, "y").unwrap());
        assert_eq!(log.past(), 2);
    }

    #[test]
    fn a_log_of_another_command_is_recognised_by_its_commands() {
        let (_directory, path) = with_jobs(&[(1, 0, "gzip a"), (2, 0, "gzip b")]);
        let log = Joblog::open(&path, Resume::Ended).unwrap();
        let error = log.leaves_out(2, "gzip c").unwrap_err().to_string();
        assert!(error.contains("gzip b") && error.contains("gzip c"), "{error}");
    }

    #[test]
    fn a_log_with_jobs_is_not_overwritten_by_a_new_run() {
        let (_directory, path) = with_jobs(&[(1, 0, "x")]);
        let before = fs::read(&path).unwrap();
        assert!(matches!(Joblog::open(&path, Resume::No), Err(JoblogError::HasJobs { .. })));
        assert_eq!(fs::read(&path).unwrap(), before);
        let (_directory, path) = with_jobs(&[]);
        Joblog::open(&path, Resume::No).expect("a log without jobs is nothing to lose");
    }

    #[test]
    fn a_line_that_was_cut_off_is_noticed_and_replaced() {
        let (_directory, path) = with_jobs(&[(1, 0, "x 1"), (2, 0, "x 2")]);
        let text = fs::read(&path).unwrap();
        fs::write(&path, &text[..text.len() - 3]).unwrap();
        let mut log = Joblog::open(&path, Resume::Ended).unwrap();
        assert_eq!(log.damaged(), 1);
        assert!(!log.leaves_out(2, "x 2").unwrap());
        log.add(&ended(2, 0, "x 2")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), text);
    }

    #[test]
    fn another_file_is_not_taken_for_a_log_and_stays_as_it_is() {
        let (_directory, path) = empty();
        for text in ["my thesis\n", "my thesis without end", "\n"] {
            fs::write(&path, text).unwrap();
            assert!(matches!(Joblog::open(&path, Resume::Ended), Err(JoblogError::NotALog(_))));
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn two_runs_cannot_write_one_log() {
        let (_directory, path) = empty();
        let _first = Joblog::open(&path, Resume::No).unwrap();
        assert!(matches!(Joblog::open(&path, Resume::No), Err(JoblogError::InUse(_))));
    }

    fn ended(number: u64, exit: i32, command: &str) -> Ended {
        Ended {
            number,
            started: UNIX_EPOCH + Duration::from_millis(1_000_250),
            ran: Duration::from_millis(1500),
            received: 0,
            exit,
            signal: 0,
            command: command.into(),
        }
    }

    fn empty() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("jobs.log");
        (directory, path)
    }

    fn with_jobs(jobs: &[(u64, i32, &str)]) -> (tempfile::TempDir, PathBuf) {
        let (directory, path) = empty();
        let mut log = Joblog::open(&path, Resume::No).unwrap();
        for (number, exit, command) in jobs {
            log.add(&ended(*number, *exit, command)).unwrap();
        }
        (directory, path)
    }
}

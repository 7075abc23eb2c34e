//! What becomes of a job that has ended.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::PoisonError;
use std::time::SystemTime;

use pleiad::{Captured, limits};

use super::{Finished, Job, Runner, Stop, Waiting};
use crate::joblog::Ended;
use crate::json::Text;
use crate::kept::Kept;
use crate::outcome::{Ending, Outcome};
use crate::record::Record;
use crate::report::Failure;
use crate::screen::Shown;
use crate::source::{Values, show};

impl Runner<'_> {
    pub(super) fn finish(&mut self, finished: Finished) {
        let Finished { job, result } = finished;
        self.pace.job_ended(self.slots);
        let ending = result.map_or_else(Ending::never_ran, Ending::of);
        let waiting = match ending.outcome {
            Outcome::NeverRan => None,
            Outcome::Stopped => {
                self.tally.stopped += 1;
                None
            }
            Outcome::Succeeded => {
                self.tally.succeeded += 1;
                self.counts.succeeded += 1;
                self.put_away(&job, ending)
            }
            _ => {
                self.count_failure(&job, &ending);
                self.put_away(&job, ending)
            }
        };
        let place = if self.keeps_order() { job.place } else { self.ended };
        self.ended += 1;
        self.order.put(place, waiting);
    }

    fn count_failure(&mut self, job: &Job, ending: &Ending) {
        self.tally.failed += 1;
        self.counts.failed += 1;
        self.tally.limits += u64::from(ending.outcome == Outcome::LimitReached);
        if self.tally.has_room() {
            let results = self.results.as_ref().map(|results| results.directory(job.number));
            let stderr = match &results {
                Some(directory) => end_of(&directory.join("stderr")).unwrap_or_default(),
                None => ending.stderr_tail(),
            };
            self.tally.name(Failure {
                number: job.number,
                command: self.plan.show_complete(job.number, &job.values),
                how: ending.describe(),
                ran: ending.ran(),
                attempts: ending.attempts,
                stderr,
                results,
            });
        }
        if self.args.fail_fast && self.stop.is_none() {
            self.stop = Some(Stop::FirstFailure);
            self.cancel_all();
        }
    }

    /// Puts what the job has left where it belongs, and gives what has to wait for its turn.
    ///
    /// A job with nothing to show is logged at once; any other when its output has been written,
    /// so that a log never promises what is lost.
    fn put_away(&mut self, job: &Job, ending: Ending) -> Option<Box<Waiting>> {
        let mut log = None;
        let mut head = None;
        if self.log.is_some() || self.results.is_some() || self.args.json {
            let command = self.plan.show(job.number, &job.values);
            let directory = self.results.as_ref().map(|results| results.directory(job.number));
            let mut record = ending.record(job.number, &job.values, &command);
            let written = self.results.as_ref().map_or(Ok(()), |results| results.finish(&record));
            if self.args.json {
                record.results = directory.as_ref().map(|path| Text::of(path.as_os_str()));
                head = Some(without_end(&record));
            }
            match written {
                Ok(()) => log = self.ended(job, &ending, command, directory.as_deref()),
                Err(error) => self.break_off(error.into()),
            }
        }
        let output = match ending.output {
            Some(output) if self.results.is_none() && !self.args.line_buffer => {
                let is_next = self.order.next_place() == job.place;
                Some((self.keep(output.stdout, is_next), self.keep(output.stderr, is_next)))
            }
            _ => None,
        };
        let shown = match (head, output) {
            (Some(head), output) => Shown::Json { head, output },
            (None, Some((stdout, stderr))) if !(stdout.is_empty() && stderr.is_empty()) => {
                Shown::Output { tag: self.tag(&job.values), stdout, stderr }
            }
            // Its lines are on their way.
            _ if self.args.line_buffer && log.is_some() => Shown::Nothing,
            _ => {
                if let (Some(log), Some(ended)) = (&self.log, log) {
                    let written = log.lock().unwrap_or_else(PoisonError::into_inner).add(&ended);
                    written.unwrap_or_else(|error| self.break_off(error.into()));
                }
                return None;
            }
        };
        Some(Box::new(Waiting { shown, log }))
    }

    fn ended(
        &self,
        job: &Job,
        ending: &Ending,
        command: String,
        directory: Option<&Path>,
    ) -> Option<Box<Ended>> {
        self.log.as_ref()?;
        let (exit, signal) = ending.logged_status();
        let received = match directory {
            Some(path) => fs::metadata(path.join("stdout")).map_or(0, |file| file.len()),
            None => ending.stdout().map_or(0, Captured::len),
        };
        Some(Box::new(Ended {
            number: job.number,
            started: ending.started().unwrap_or_else(SystemTime::now),
            ran: ending.ran().unwrap_or_default(),
            received,
            exit,
            signal,
            command,
        }))
    }

    /// Where there is no room to keep output, it stays in memory, and no more jobs start.
    fn keep(&mut self, output: Captured, is_next: bool) -> Kept {
        if is_next {
            return Kept::Captured(output);
        }
        self.keeper.keep(output.clone()).unwrap_or_else(|error| {
            let error = anyhow::Error::from(error);
            self.break_off(error.context("cannot keep output of jobs until their turn comes"));
            Kept::Captured(output)
        })
    }

    pub(super) fn tag(&self, values: &Values) -> Option<Box<[u8]>> {
        self.args.tag.then(|| {
            let mut tag = Vec::new();
            for value in values {
                let bytes = value.as_encoded_bytes();
                match bytes.iter().any(u8::is_ascii_control) {
                    true => tag.extend_from_slice(show(value).as_bytes()),
                    false => tag.extend_from_slice(bytes),
                }
                tag.push(b' ');
            }
            tag.pop();
            tag.push(b'\t');
            tag.into()
        })
    }
}

/// The record as JSON up to where its output goes in.
fn without_end(record: &Record<'_>) -> Box<str> {
    let mut text = serde_json::to_string(record).expect("a record is always JSON");
    text.pop();
    text.into_boxed_str()
}

/// The end of what a job has written to a file.
fn end_of(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let start = file.metadata()?.len().saturating_sub(limits::STDERR_TAIL_BYTES as u64);
    file.seek(SeekFrom::Start(start))?;
    let mut end = Vec::new();
    file.take(limits::STDERR_TAIL_BYTES as u64).read_to_end(&mut end)?;
    Ok(end)
}

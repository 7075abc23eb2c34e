//! What becomes of a job that has ended.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::PoisonError;
use std::time::SystemTime;

use anyhow::Context;
use pleiad::limits;

use super::{Finished, Job, Runner, Stop, Waiting};
use crate::joblog::Ended;
use crate::json::Text;
use crate::kept::Kept;
use crate::outcome::{Ending, Outcome};
use crate::report::Failure;
use crate::screen::Shown;
use crate::source::Values;

impl Runner<'_> {
    pub(super) fn finish(&mut self, finished: Finished) {
        let Finished { job, result } = finished;
        self.pace.job_ended(self.slots);
        let ending = result.map(Ending::of);
        let ending = ending.filter(|ending| ending.outcome != Outcome::NeverRan);
        let Some(ending) = ending.filter(|ending| {
            self.tally.stopped += u64::from(ending.outcome == Outcome::Stopped);
            ending.outcome != Outcome::Stopped
        }) else {
            if self.is_ordered() {
                self.order.put(job.place, None);
            }
            return;
        };
        if ending.outcome == Outcome::Succeeded {
            self.tally.succeeded += 1;
            self.counts.succeeded += 1;
        } else {
            self.count_failure(&job, &ending);
        }
        if let Err(error) = self.put_away(&job, ending) {
            self.break_off(error);
        }
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

    /// Log, results directory and output of a job that has ended.
    fn put_away(&mut self, job: &Job, ending: Ending) -> Result<(), anyhow::Error> {
        let needs_command = self.log.is_some() || self.results.is_some() || self.args.json;
        let command =
            if needs_command { self.plan.show(job.number, &job.values) } else { String::new() };
        let directory = self.results.as_ref().map(|results| results.directory(job.number));
        let mut head = None;
        if self.results.is_some() || self.args.json {
            let mut record = ending.record(job.number, &job.values, &command);
            if let Some(results) = &self.results {
                results.finish(&record)?;
            }
            if self.args.json {
                record.results = directory.as_ref().map(|path| Text::of(path.as_os_str()));
                let mut text = serde_json::to_string(&record)?;
                // The output goes in before the end.
                text.pop();
                head = Some(text.into_boxed_str());
            }
        }
        let log = self.log.is_some().then(|| {
            let (exit, signal) = ending.logged_status();
            let received = match &directory {
                Some(path) => fs::metadata(path.join("stdout")).map_or(0, |file| file.len()),
                None => ending.stdout().map_or(0, pleiad::Captured::len),
            };
            Box::new(Ended {
                number: job.number,
                started: ending.started().unwrap_or_else(SystemTime::now),
                ran: ending.ran().unwrap_or_default(),
                received,
                exit,
                signal,
                command,
            })
        });
        let waiting = self.waiting(job, ending, head, log)?;
        if self.is_ordered() {
            self.order.put(job.place, waiting);
        }
        Ok(())
    }

    /// What has to wait for its turn. A job with nothing to show is logged at once; any other when
    /// its output has been written, so that a log never promises what is lost.
    fn waiting(
        &mut self,
        job: &Job,
        ending: Ending,
        head: Option<Box<str>>,
        log: Option<Box<Ended>>,
    ) -> Result<Option<Box<Waiting>>, anyhow::Error> {
        let output = match ending.output {
            Some(output) if self.results.is_none() && !self.args.line_buffer => {
                let is_next = self.order.next_place() == job.place;
                let mut keep = |captured| match is_next {
                    true => Ok(Kept::Captured(captured)),
                    false => self.keeper.keep(captured),
                };
                let kept = keep(output.stdout).and_then(|out| Ok((out, keep(output.stderr)?)));
                Some(kept.context("cannot keep the output of jobs until their turn comes")?)
            }
            _ => None,
        };
        let shown = match (head, output) {
            (Some(head), output) => Shown::Json { head, output },
            (None, Some((stdout, stderr))) if !(stdout.is_empty() && stderr.is_empty()) => {
                Shown::Output { tag: self.tag(&job.values), stdout, stderr }
            }
            _ => {
                if let (Some(log), Some(ended)) = (&self.log, log) {
                    log.lock().unwrap_or_else(PoisonError::into_inner).add(&ended)?;
                }
                return Ok(None);
            }
        };
        Ok(Some(Box::new(Waiting { shown, log })))
    }

    pub(super) fn tag(&self, values: &Values) -> Option<Box<[u8]>> {
        self.args.tag.then(|| {
            let mut tag = Vec::new();
            for value in values {
                let bytes = value.as_encoded_bytes();
                match bytes.iter().any(u8::is_ascii_control) {
                    true => tag.extend_from_slice(crate::source::show(value).as_bytes()),
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

/// The end of what a job has written to a file.
fn end_of(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let start = file.metadata()?.len().saturating_sub(limits::STDERR_TAIL_BYTES as u64);
    file.seek(SeekFrom::Start(start))?;
    let mut end = Vec::new();
    file.take(limits::STDERR_TAIL_BYTES as u64).read_to_end(&mut end)?;
    Ok(end)
}

//! The start of a job.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pleiad::{Backoff, JobError, Program, ProgramOutput, Stream, Submit};
use tokio::sync::mpsc;

use super::{Finished, Job, Runner};
use crate::lines::Lines;
use crate::screen::Message;
use crate::source::Values;

/// The longest wait before a retry.
const BACKOFF_MAX: Duration = Duration::from_secs(300);

/// The first wait before a retry, unless `--backoff` says otherwise.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);

impl Runner<'_> {
    pub(super) fn start_job(&mut self, number: u64, values: Values) -> Result<(), anyhow::Error> {
        let program = self.program(number, &values)?;
        let mut submit = self.cluster.run(program).retries(self.args.retries);
        if let Some(cpus) = self.args.cpus {
            submit = submit.cpus(cpus);
        }
        if let Some(memory) = self.args.memory {
            submit = submit.memory(memory);
        }
        if let Some(limit) = self.args.limit {
            submit = submit.limit(limit);
        }
        if self.args.retries > 0 {
            let first = self.args.backoff.unwrap_or(BACKOFF_FIRST);
            submit = submit.backoff(Backoff { first, max: BACKOFF_MAX.max(first) });
        }
        let job = Job { place: self.places, number, values };
        self.places += 1;
        let is_stopping = Arc::clone(&self.is_stopping);
        self.running.push(if self.args.line_buffer {
            let lines = Lines::new(self.tag(&job.values));
            let screen = self.screen.sender();
            Box::pin(async move {
                let result = match is_stopping.load(Ordering::Relaxed) {
                    true => None,
                    false => Some(show_lines(submit, lines, screen).await),
                };
                Finished { job, result }
            })
        } else {
            Box::pin(async move {
                let result = match is_stopping.load(Ordering::Relaxed) {
                    true => None,
                    false => Some(submit.await),
                };
                Finished { job, result }
            })
        });
        Ok(())
    }

    fn program(&self, number: u64, values: &Values) -> Result<Program, anyhow::Error> {
        let mut words = self.plan.words(number, values).into_iter();
        let mut program = Program::new(words.next().unwrap_or_default()).args(words);
        if let Some(file) = self.plan.stdin(values) {
            program = program.stdin_file(file);
        }
        if self.args.env_clear {
            program = program.env_clear();
        }
        for variable in &self.args.env {
            program = program.env(&variable.name, &variable.value);
        }
        if let Some(directory) = &self.args.workdir {
            program = program.workdir(directory);
        }
        if let Some(results) = &self.results {
            let directory = results.prepare(number)?;
            program = program.stdout_file(directory.join("stdout"));
            program = program.stderr_file(directory.join("stderr"));
        } else if self.args.line_buffer {
            program = program.stream_output();
        }
        Ok(program)
    }
}

/// Runs a job and writes its lines as they come.
async fn show_lines(
    submit: Submit<ProgramOutput>,
    mut lines: Lines,
    screen: mpsc::Sender<Message>,
) -> Result<ProgramOutput, JobError> {
    let mut job = submit.start().await?;
    let send = async |lines: Vec<(Stream, Vec<u8>)>| {
        for (stream, bytes) in lines {
            // A screen that has ended has told why.
            let _ = screen.send(Message::Lines { stream, bytes }).await;
        }
    };
    if let Some(mut chunks) = job.output() {
        while let Some(chunk) = chunks.recv().await {
            send(lines.take(chunk.attempt, chunk.stream, &chunk.bytes)).await;
        }
    }
    send(lines.finish()).await;
    job.result().await
}

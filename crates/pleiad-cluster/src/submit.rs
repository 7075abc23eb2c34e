//! Handing in a job, and waiting for it.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pleiad_sched::Backoff;
use pleiad_types::limits::{BODY_BYTES_MAX, RETRIES_MAX};
use pleiad_types::{Attempt, JobId, Resources};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot};

use crate::cluster::Cluster;
use crate::engine::{Command, Done, JobShared, One, Owner, ProgramWork, Report, Submission, Work};
use crate::error::{JobError, JobErrorKind, SubmitError};
use crate::job::{Job, Record};
use crate::program::{Captured, Chunk, Program, ProgramOutput, Sink};

/// Chunks of output that wait for a reader before the program is slowed down.
const CHUNKS_MAX: usize = 64;

/// Turns what came back into what was asked for.
pub(crate) type Decode<T> = fn(Report) -> Result<T, JobErrorKind>;

/// What jobs may ask for.
#[derive(Debug, Clone)]
pub(crate) struct JobOptions {
    pub(crate) resources: Resources,
    pub(crate) limit: Option<Duration>,
    pub(crate) retries: u32,
    pub(crate) backoff: Backoff,
    pub(crate) once: bool,
    pub(crate) priority: i32,
    pub(crate) at_once: Option<u32>,
}

impl Default for JobOptions {
    fn default() -> Self {
        Self {
            resources: Resources::one_cpu(),
            limit: None,
            retries: 0,
            backoff: Backoff::default(),
            once: false,
            priority: 0,
            at_once: None,
        }
    }
}

impl JobOptions {
    /// The class of such jobs in this cluster.
    ///
    /// # Errors
    ///
    /// If such a job could never run.
    pub(crate) fn class(
        self,
        cluster: &Cluster,
        program: bool,
    ) -> Result<pleiad_sched::Class, SubmitError> {
        if let Some(shortage) = self.resources.shortage(cluster.resources()) {
            let machine = cluster.machine();
            return Err(SubmitError::Invalid(format!("too large for {machine}: {shortage}")));
        }
        if self.retries > RETRIES_MAX {
            let why = format!("{} retries are more than the limit of {RETRIES_MAX}", self.retries);
            return Err(SubmitError::Invalid(why));
        }
        if self.at_once == Some(0) {
            return Err(SubmitError::Invalid("`at_once(0)` would never run anything".to_owned()));
        }
        let base = cluster.class(program);
        Ok(pleiad_sched::Class {
            resources: self.resources,
            limit: self.limit,
            retries: self.retries,
            backoff: self.backoff,
            once: self.once,
            priority: self.priority,
            lanes_max: self.at_once,
            // A worker that dies may have begun more than it has told of: of those that must not
            // run twice it has one at a time.
            lane_jobs_max: if program || self.once { 1 } else { base.lane_jobs_max },
            ..base
        })
    }
}

/// The options that [`Submit`] and [`Map`](crate::Map) share.
macro_rules! job_options {
    () => {
        /// How many processors it takes while it runs, in tenths. Default: 1.
        pub fn cpus(mut self, cpus: impl Into<pleiad_types::Cpus>) -> Self {
            self.options.resources.cpus = cpus.into();
            self
        }

        /// How many bytes of memory it takes while it runs. Default: 0, which takes what it can
        /// get. It may have no more: each of its processes is limited to this (functions: to this
        /// and 64 MiB for the worker itself).
        pub fn memory(mut self, bytes: u64) -> Self {
            self.options.resources.memory = bytes;
            self
        }

        /// How many graphics processors it takes. Default: 0.
        pub fn gpus(mut self, gpus: u32) -> Self {
            self.options.resources.gpus = gpus;
            self
        }

        /// How much it takes of something that the cluster counts by name.
        pub fn resource(mut self, name: impl Into<String>, amount: u64) -> Self {
            self.options.resources.named.insert(name.into(), amount);
            self
        }

        /// How long one attempt may run; then it is asked to stop, and ended by force after the
        /// grace. Default: for ever.
        pub fn limit(mut self, limit: std::time::Duration) -> Self {
            self.options.limit = Some(limit);
            self
        }

        /// How often it is tried again after it has failed. Default: 0. The end of a worker is
        /// counted apart: after three of them the job is given up.
        pub fn retries(mut self, retries: u32) -> Self {
            self.options.retries = retries;
            self
        }

        /// The wait before a retry. Default: 100 ms, doubled each time, at most a minute.
        pub fn backoff(mut self, backoff: pleiad_sched::Backoff) -> Self {
            self.options.backoff = backoff;
            self
        }

        /// Never runs it twice: if it is lost while it runs, it fails.
        pub fn once(mut self) -> Self {
            self.options.once = true;
            self
        }

        /// Higher goes first. Default: 0.
        pub fn priority(mut self, priority: i32) -> Self {
            self.options.priority = priority;
            self
        }

        /// How many jobs of exactly these options may run at once. Default: as many as there is
        /// room for.
        pub fn at_once(mut self, jobs: u32) -> Self {
            self.options.at_once = Some(jobs);
            self
        }
    };
}
pub(crate) use job_options;

/// A job that is about to be handed in: await it for the result, or [`start`](Self::start) it.
///
/// Dropping the future that awaits it cancels the job.
#[must_use = "a job is handed in when this is awaited or started"]
pub struct Submit<T> {
    cluster: Cluster,
    work: Result<Work, SubmitError>,
    options: JobOptions,
    name: Option<String>,
    after: Vec<Arc<Record>>,
    chunks: Option<mpsc::Receiver<Chunk>>,
    decode: Decode<T>,
}

impl<T> fmt::Debug for Submit<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Submit").field("name", &self.name).field("options", &self.options).finish()
    }
}

impl<T> Submit<T> {
    pub(crate) fn new(
        cluster: Cluster,
        work: Result<Work, SubmitError>,
        decode: Decode<T>,
    ) -> Self {
        let options = JobOptions::default();
        Self { cluster, work, options, name: None, after: Vec::new(), chunks: None, decode }
    }

    job_options!();

    /// A name for it, in errors.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Starts it only when this job has succeeded; if that fails, it fails too.
    pub fn after<U>(mut self, job: &Job<U>) -> Self {
        self.after.push(job.record());
        self
    }

    /// Starts it only when all these jobs have succeeded; if one fails, it fails too.
    pub fn after_all<'a, U: 'a>(mut self, jobs: impl IntoIterator<Item = &'a Job<U>>) -> Self {
        self.after.extend(jobs.into_iter().map(Job::record));
        self
    }

    /// Hands it in and waits until it is accepted.
    ///
    /// # Errors
    ///
    /// If it was not accepted. It does not exist then.
    ///
    /// # Cancel safety
    ///
    /// Not cancel-safe: the job may have been accepted and run.
    pub async fn start(self) -> Result<Job<T>, SubmitError> {
        let (reply, accepted) = oneshot::channel();
        let mut job = self.hand_in(Some(reply))?;
        match accepted.await {
            Ok(Ok(id)) => {
                job.accepted(id);
                Ok(job)
            }
            Ok(Err(e)) => Err(e),
            Err(_) => Err(SubmitError::Closed),
        }
    }

    fn hand_in(
        self,
        reply: Option<oneshot::Sender<Result<JobId, SubmitError>>>,
    ) -> Result<Job<T>, SubmitError> {
        let work = self.work?;
        let class = self.options.class(&self.cluster, matches!(work, Work::Program(_)))?;
        let shared = Arc::new(JobShared::new());
        let (sender, done) = oneshot::channel();
        let owner = Owner::One(Box::new(One::new(self.name, shared.clone(), sender)));
        let submission = Box::new(Submission { class, work, after: self.after, owner });
        if !self.cluster.tell(Command::Submit { submission, reply }) {
            return Err(SubmitError::Closed);
        }
        let Self { cluster, chunks, decode, .. } = self;
        Ok(Job::new(cluster, shared, done, chunks, decode))
    }
}

impl Submit<ProgramOutput> {
    pub(crate) fn of_program(cluster: Cluster, program: Program) -> Self {
        let streams = program.stdout == Sink::Stream;
        let (sender, receiver) = if streams {
            let (sender, receiver) = mpsc::channel(CHUNKS_MAX);
            (Some(sender), Some(receiver))
        } else {
            (None, None)
        };
        let work = Work::Program(Box::new(ProgramWork { program, chunks: sender }));
        let submit = Self::new(cluster, Ok(work), decode_program);
        Self { chunks: receiver, ..submit }
    }
}

impl<T: Send + 'static> IntoFuture for Submit<T> {
    type Output = Result<T, JobError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let cluster = self.cluster.clone();
            let mut job = self.hand_in(None)?;
            let _cancel = CancelOnDrop(cluster, job.shared());
            job.completed().await.result
        })
    }
}

/// Cancels a job for whose result nobody waits any more.
struct CancelOnDrop(Cluster, Arc<JobShared>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let Some(job) = self.1.abandon() {
            self.0.tell(Command::CancelQuietly { job });
            self.0.tell(Command::Release { job });
        }
    }
}

/// How a job ended.
#[derive(Debug)]
#[non_exhaustive]
pub struct Completed<T> {
    /// Which of the items of a map it was, from 0.
    pub index: usize,
    /// Its number.
    pub job: JobId,
    /// The last attempt; none if it never ran.
    pub attempt: Option<Attempt>,
    /// How long the attempt that succeeded ran.
    pub ran: Duration,
    /// What a function printed to standard output, if the computation
    /// [keeps](crate::ComputationBuilder::keep_output) it.
    pub stdout: Option<Captured>,
    /// What a function printed to standard error, if the computation keeps it.
    pub stderr: Option<Captured>,
    /// What it gave.
    pub result: Result<T, JobError>,
}

impl<T> Completed<T> {
    pub(crate) fn new(done: Done, decode: Decode<T>) -> Self {
        let Done { index, job, attempt, result } = done;
        let attempt = Some(attempt).filter(|attempt| attempt.0 > 0);
        let (mut ran, mut stdout, mut stderr) = (Duration::ZERO, None, None);
        let result = result.and_then(|mut report| {
            match &mut report {
                Report::Value { ran: time, .. } => ran = *time,
                Report::Printed(printed) => {
                    ran = printed.ran;
                    stdout = Some(printed.stdout.clone());
                    stderr = Some(printed.stderr.clone());
                }
                Report::Program(output) => ran = output.ran,
                Report::Error(_) | Report::Stopped(_) => {}
            }
            decode(report).map_err(|kind| JobError::new(job, attempt, kind))
        });
        Self { index, job, attempt, ran, stdout, stderr, result }
    }

    pub(crate) fn not_accepted(index: usize, error: SubmitError) -> Self {
        let mut completed = Self::closed(index, JobId(0), JobErrorKind::NotAccepted(error));
        if let Err(error) = &mut completed.result {
            error.job = None;
        }
        completed
    }

    pub(crate) fn closed(index: usize, job: JobId, kind: JobErrorKind) -> Self {
        let result = Err(JobError::new(job, None, kind));
        let ran = Duration::ZERO;
        Self { index, job, attempt: None, ran, stdout: None, stderr: None, result }
    }
}

/// Serialises arguments.
pub(crate) fn encode<A: Serialize>(args: &A) -> Result<Bytes, SubmitError> {
    let args = postcard::to_stdvec(args).map_err(|e| SubmitError::Unserialisable(e.to_string()))?;
    if args.len() > BODY_BYTES_MAX {
        Err(SubmitError::TooLarge(args.len()))
    } else {
        Ok(args.into())
    }
}

pub(crate) fn call<A: Serialize>(place: i64, args: &A) -> Result<Work, SubmitError> {
    Ok(Work::Call { place, args: encode(args)? })
}

pub(crate) fn decode_value<T: DeserializeOwned>(report: Report) -> Result<T, JobErrorKind> {
    let bytes = match report {
        Report::Value { bytes, .. } => bytes,
        Report::Printed(printed) => printed.bytes,
        _ => return Err(JobErrorKind::Unreadable("it gave no value".to_owned())),
    };
    postcard::from_bytes(&bytes).map_err(|e| {
        JobErrorKind::Unreadable(format!(
            "its result is no `{}`: {e}; types that describe themselves (serde's `flatten`, \
             `untagged`, `skip_serializing_if`) cannot travel",
            std::any::type_name::<T>()
        ))
    })
}

pub(crate) fn decode_program(report: Report) -> Result<ProgramOutput, JobErrorKind> {
    match report {
        Report::Program(output) => Ok(*output),
        _ => Err(JobErrorKind::Unreadable("it is no program".to_owned())),
    }
}

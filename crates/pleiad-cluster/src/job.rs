//! A job that was accepted, as its caller sees it.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use pleiad_sched::{CancelResult, Explanation};
use pleiad_types::JobId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot};

use crate::cluster::Cluster;
use crate::context::{JobSendError, MessageError};
use crate::engine::{Command, Done, JobShared};
use crate::error::{JobError, JobErrorKind};
use crate::message;
use crate::program::Chunk;
use crate::queue::Read;
use crate::submit::{Completed, Decode};

/// A job that was accepted.
///
/// Await it for the result. Dropping it changes nothing for the job: it runs on, and its result
/// goes nowhere.
pub struct Job<T> {
    record: Arc<Record>,
    cluster: Cluster,
    shared: Arc<JobShared>,
    done: Option<oneshot::Receiver<Done>>,
    chunks: Option<mpsc::Receiver<Chunk>>,
    decode: Decode<T>,
}

impl<T> fmt::Debug for Job<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Job({})", self.id())
    }
}

impl<T> Job<T> {
    /// A job whose number is not known.
    pub(crate) fn new(
        cluster: Cluster,
        shared: Arc<JobShared>,
        done: oneshot::Receiver<Done>,
        chunks: Option<mpsc::Receiver<Chunk>>,
        decode: Decode<T>,
    ) -> Self {
        let record = Arc::new(Record { job: JobId(0), cluster: cluster.clone() });
        Self { record, cluster, shared, done: Some(done), chunks, decode }
    }

    pub(crate) fn accepted(&mut self, job: JobId) {
        self.record = Arc::new(Record { job, cluster: self.cluster.clone() });
    }

    pub(crate) fn record(&self) -> Arc<Record> {
        self.record.clone()
    }

    pub(crate) fn shared(&self) -> Arc<JobShared> {
        self.shared.clone()
    }

    /// Its number.
    pub fn id(&self) -> JobId {
        self.record.job
    }

    /// Asks for its end: if it waits it is final at once, if it runs it is told that it should
    /// stop, and ended by force after the grace.
    ///
    /// Unless the answer is [`CancelResult::AlreadyFinal`], no result will be handed over, even if
    /// the job gives one.
    pub async fn cancel(&self) -> CancelResult {
        let job = self.id();
        let answer = self.cluster.ask(|reply| Command::Cancel { job, reply }).await;
        answer.unwrap_or(CancelResult::NoSuchJob)
    }

    /// Asks it for what it has so far: it is told that it should stop, and a result that it gives
    /// within the grace is its result. If it does not run, or gives none, it is cancelled.
    pub async fn finish_early(&self) -> CancelResult {
        let job = self.id();
        let answer = self.cluster.ask(|reply| Command::FinishEarly { job, reply }).await;
        answer.unwrap_or(CancelResult::NoSuchJob)
    }

    /// Cancels it, and ends it by force if it runs.
    pub fn kill(&self) {
        self.cluster.tell(Command::Kill { job: self.id() });
    }

    /// Sends it a message, which it gets by [`JobContext::recv`](crate::JobContext::recv).
    ///
    /// Messages arrive in order, also those sent before it has begun. More than 1,024 that it has
    /// not taken push out the oldest. What was sent while one attempt ran is not given to the next.
    ///
    /// # Errors
    ///
    /// If the message cannot be sent, or the job is final. Programs take no messages.
    pub async fn send<M: Serialize>(&self, message: &M) -> Result<(), JobSendError> {
        let body = message::encode(message)?;
        let job = self.id();
        let answer = self.cluster.ask(|reply| Command::Send { job, body, reply }).await;
        answer.unwrap_or(Err(JobSendError::Closed))
    }

    /// What it sends by [`JobContext::send`](crate::JobContext::send). For one reader.
    pub fn messages<M: DeserializeOwned>(&self) -> Messages<M> {
        Messages { shared: self.shared.clone(), message: std::marker::PhantomData }
    }

    /// How far it is, as it has told last: so much of so much.
    pub fn progress(&self) -> Option<(u64, u64)> {
        self.shared.progress()
    }

    /// Its output as it comes, if the program was to [stream](crate::Program::stream_output) it. The
    /// first call takes it. To be called before the job is awaited: output that nobody has asked
    /// for by then is dropped.
    pub fn output(&mut self) -> Option<mpsc::Receiver<Chunk>> {
        self.chunks.take()
    }

    /// Why it does not run, or what it does.
    pub async fn explain(&self) -> Explanation {
        self.cluster.explain(self.id()).await
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// If it has failed, was cancelled, or the cluster was closed.
    pub async fn result(mut self) -> Result<T, JobError> {
        self.completed().await.result
    }

    /// Waits for its end, and tells more than its result. A second call says that there was one.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe: the result stays.
    pub async fn completed(&mut self) -> Completed<T> {
        let Some(receiver) = &mut self.done else {
            let kind = JobErrorKind::Unreadable("the result was taken before".to_owned());
            return Completed::closed(0, self.id(), kind);
        };
        // Who waits here does not read: the program must not wait for that.
        self.chunks = None;
        let done = receiver.await;
        self.done = None;
        match done {
            Ok(done) => Completed::new(done, self.decode),
            Err(_) => Completed::closed(0, self.id(), JobErrorKind::Closed),
        }
    }
}

impl<T: Send + 'static> IntoFuture for Job<T> {
    type Output = Result<T, JobError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.result())
    }
}

/// The books keep what they know of a job as long as somebody may ask for it.
#[derive(Debug)]
pub(crate) struct Record {
    /// 0 if it is not known.
    pub(crate) job: JobId,
    cluster: Cluster,
}

impl Drop for Record {
    fn drop(&mut self) {
        if self.job != JobId(0) {
            self.cluster.tell(Command::Release { job: self.job });
        }
    }
}

/// The messages of a job. See [`Job::messages`].
pub struct Messages<M> {
    shared: Arc<JobShared>,
    message: std::marker::PhantomData<fn() -> M>,
}

impl<M> fmt::Debug for Messages<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Messages")
    }
}

impl<M: DeserializeOwned> Messages<M> {
    /// The next message; `None` once the job is final.
    ///
    /// # Errors
    ///
    /// If the message is of another type, or messages were missed because they were read too
    /// slowly. The next call goes on behind it.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe.
    pub async fn next(&mut self) -> Option<Result<M, MessageError>> {
        self.shared.messages.read().await.map(|read| decode_message(&read, |body| body))
    }
}

/// Decodes what was read from a queue of messages.
pub(crate) fn decode_message<M: DeserializeOwned, E>(
    read: &Read<E>,
    body: impl FnOnce(&E) -> &Bytes,
) -> Result<M, MessageError> {
    match read {
        Read::Entry(entry) => message::decode(body(entry)),
        Read::Missed(n) => Err(MessageError {
            expected: std::any::type_name::<M>(),
            why: format!("{n} messages were read too slowly and are gone"),
        }),
    }
}

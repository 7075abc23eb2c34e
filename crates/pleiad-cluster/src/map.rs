//! One function for many items, or many programs.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::vec;

use bytes::Bytes;
use futures_core::Stream;
use pleiad_types::limits::{BODY_BYTES_MAX, MAP_OUTSTANDING};
use pleiad_types::{JobId, SetId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use crate::cluster::Cluster;
use crate::context::MessageError;
use crate::engine::{Command, Done, ProgramWork, SetShared, Work};
use crate::error::{JobError, JobErrorKind, SubmitError};
use crate::program::{Program, ProgramOutput, Sink};
use crate::queue::Read;
use crate::submit::{self, Completed, Decode, JobOptions, decode_message, job_options};

/// Items handed in together, at most.
const CHUNK_ITEMS: usize = 1024;

/// Arguments handed in together are cut off after so many bytes.
const CHUNK_BYTES: usize = 1 << 20;

/// Many jobs of one kind that are about to be handed in.
///
/// Await it for all results in order; the first failure ends it and cancels the rest. Or take the
/// results one by one: [`as_completed`](Self::as_completed), [`in_order`](Self::in_order).
///
/// Items are taken from the iterator as results are taken, a bounded number ahead
/// ([`outstanding`](Self::outstanding)), so it may be endless.
#[must_use = "jobs are handed in when this is awaited or its results are taken"]
pub struct Map<T> {
    cluster: Cluster,
    feed: Box<dyn Feed + Send>,
    options: JobOptions,
    program: bool,
    outstanding: RangeInclusive<usize>,
    decode: Decode<T>,
    #[cfg(feature = "progress")]
    bar: Option<indicatif::ProgressBar>,
}

impl<T> fmt::Debug for Map<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map").field("options", &self.options).finish_non_exhaustive()
    }
}

impl<T> Map<T> {
    pub(crate) fn of_calls<A, I>(cluster: Cluster, place: i64, items: I) -> Self
    where
        A: Serialize + 'static,
        T: DeserializeOwned,
        I: Iterator<Item = A> + Send + 'static,
    {
        Self::new(cluster, Box::new(Calls { place, items }), false, submit::decode_value)
    }

    fn new(cluster: Cluster, feed: Box<dyn Feed + Send>, program: bool, decode: Decode<T>) -> Self {
        Self {
            cluster,
            feed,
            options: JobOptions::default(),
            program,
            outstanding: MAP_OUTSTANDING / 4 * 3..=MAP_OUTSTANDING,
            decode,
            #[cfg(feature = "progress")]
            bar: None,
        }
    }

    job_options!();

    /// How many jobs may be accepted and not final at once: when fewer than the lower number are
    /// left, more are handed in, up to the upper number. Default: 49,152 to 65,536.
    ///
    /// # Panics
    ///
    /// If the range is empty or ends at 0.
    pub fn outstanding(mut self, jobs: RangeInclusive<usize>) -> Self {
        assert!(jobs.start() <= jobs.end() && *jobs.end() > 0, "no job could ever be handed in");
        self.outstanding = jobs;
        self
    }

    /// Shows a progress bar on standard error, if that is a terminal.
    #[cfg(feature = "progress")]
    pub fn progress(mut self) -> Self {
        let bar = match self.feed.size_hint() {
            (least, Some(most)) if least == most => indicatif::ProgressBar::new(most as u64),
            _ => indicatif::ProgressBar::no_length(),
        };
        let template = "{bar:30} {pos}/{len} {msg} {per_sec} {eta}";
        if let Ok(style) = indicatif::ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        self.bar = Some(bar);
        self
    }

    /// The results as they come, failures among them.
    ///
    /// Jobs are handed in when the first result is asked for, or by [`Results::begin`].
    pub fn as_completed(self) -> Results<T> {
        let shared = Arc::new(SetShared::new());
        let (sender, receiver) = mpsc::unbounded_channel();
        let class = self.options.class(&self.cluster, self.program);
        let set = self.cluster.new_set();
        let refused = class
            .map(|class| {
                let class = Box::new(class);
                let (shared, done) = (shared.clone(), sender);
                self.cluster.tell(Command::OpenSet { set, class, shared, done });
            })
            .err();
        Results {
            cluster: self.cluster,
            set,
            feed: Some(self.feed),
            refused,
            next_index: 0,
            not_sent: VecDeque::new(),
            outstanding: 0,
            window: self.outstanding,
            shared,
            receiver,
            ready: Vec::new().into_iter(),
            decode: self.decode,
            failed: 0,
            #[cfg(feature = "progress")]
            bar: self.bar,
        }
    }

    /// The results in the order of the items, failures among them.
    pub fn in_order(self) -> InOrder<T> {
        InOrder { results: self.as_completed(), early: BTreeMap::new(), next: 0 }
    }
}

impl Map<ProgramOutput> {
    pub(crate) fn of_programs<I>(cluster: Cluster, programs: I) -> Self
    where
        I: Iterator<Item = Program> + Send + 'static,
    {
        Self::new(cluster, Box::new(Programs(programs)), true, submit::decode_program)
    }
}

impl<T: Send + 'static> IntoFuture for Map<T> {
    type Output = Result<Vec<T>, JobError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let mut results = self.as_completed();
            let mut all: Vec<Option<T>> = Vec::new();
            while let Some(done) = results.next().await {
                if all.len() <= done.index {
                    all.resize_with(done.index + 1, || None);
                }
                all[done.index] = Some(done.result?);
            }
            Ok(all.into_iter().flatten().collect())
        })
    }
}

/// Where the jobs of a map come from.
trait Feed {
    /// Adds up to `max` jobs, and says why it has stopped.
    fn feed(&mut self, max: usize, works: &mut Vec<Work>) -> Fed;
    #[cfg(feature = "progress")]
    fn size_hint(&self) -> (usize, Option<usize>);
}

/// Why no more jobs were added.
enum Fed {
    /// There may be more.
    Enough,
    /// There are no more.
    All,
    /// The next item cannot be sent; there may be more behind it.
    Refused(SubmitError),
}

struct Calls<I> {
    place: i64,
    items: I,
}

impl<I: Iterator<Item: Serialize>> Feed for Calls<I> {
    /// The arguments of a chunk share one piece of memory.
    fn feed(&mut self, max: usize, works: &mut Vec<Work>) -> Fed {
        let mut bytes = Vec::new();
        let mut ends = Vec::with_capacity(max.min(CHUNK_ITEMS));
        let mut fed = Fed::Enough;
        while ends.len() < max && bytes.len() < CHUNK_BYTES {
            let Some(item) = self.items.next() else {
                fed = Fed::All;
                break;
            };
            let begin = bytes.len();
            let written = postcard::to_extend(&(item,), Appended(&mut bytes));
            let written = written.map(drop).map_err(|e| e.to_string());
            let length = bytes.len() - begin;
            let refused = match written {
                Ok(()) if length <= BODY_BYTES_MAX => {
                    ends.push(bytes.len());
                    continue;
                }
                Ok(()) => SubmitError::TooLarge(length),
                Err(why) => SubmitError::Unserialisable(why),
            };
            bytes.truncate(begin);
            fed = Fed::Refused(refused);
            break;
        }
        let mut bytes = Bytes::from(bytes);
        let mut begin = 0;
        works.extend(ends.into_iter().map(|end| {
            let args = bytes.split_to(end - begin);
            begin = end;
            Work::Call { place: self.place, args }
        }));
        fed
    }

    #[cfg(feature = "progress")]
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.items.size_hint()
    }
}

/// Lets the serialiser write behind what is there, which stays if it fails.
struct Appended<'a>(&'a mut Vec<u8>);

impl Extend<u8> for Appended<'_> {
    fn extend<I: IntoIterator<Item = u8>>(&mut self, bytes: I) {
        self.0.extend(bytes);
    }
}

struct Programs<I>(I);

impl<I: Iterator<Item = Program>> Feed for Programs<I> {
    fn feed(&mut self, max: usize, works: &mut Vec<Work>) -> Fed {
        works.extend(self.0.by_ref().take(max).map(|mut program| {
            // Nobody could read the streams of one program among many.
            for sink in [&mut program.stdout, &mut program.stderr] {
                if *sink == Sink::Stream {
                    *sink = Sink::Keep;
                }
            }
            Work::Program(Box::new(ProgramWork { program, chunks: None }))
        }));
        if works.len() == max { Fed::Enough } else { Fed::All }
    }

    #[cfg(feature = "progress")]
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

/// The results of a [`Map`], as they come. Dropping it cancels what has not ended.
pub struct Results<T> {
    cluster: Cluster,
    set: SetId,
    /// Gone when it is exhausted.
    feed: Option<Box<dyn Feed + Send>>,
    /// Why nothing can be handed in.
    refused: Option<SubmitError>,
    next_index: usize,
    /// Items that could not be sent, and why.
    not_sent: VecDeque<(usize, SubmitError)>,
    outstanding: usize,
    window: RangeInclusive<usize>,
    shared: Arc<SetShared>,
    receiver: mpsc::UnboundedReceiver<Vec<Done>>,
    ready: vec::IntoIter<Done>,
    decode: Decode<T>,
    failed: u64,
    #[cfg(feature = "progress")]
    bar: Option<indicatif::ProgressBar>,
}

impl<T> fmt::Debug for Results<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Results({}, {} outstanding)", self.set, self.outstanding)
    }
}

impl<T> Results<T> {
    /// Hands in the first jobs now instead of when the first result is asked for.
    pub fn begin(&mut self) {
        while self.hand_in() {}
    }

    /// The next result; `None` when every item has its result.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe: no result is lost.
    pub async fn next(&mut self) -> Option<Completed<T>> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    /// Takes no more items and cancels the jobs that have not ended; their ends still come.
    pub fn cancel(&mut self) {
        self.feed = None;
        self.cluster.tell(Command::CancelSet { set: self.set });
    }

    /// Takes no more items and asks the jobs that run for what they have so far: a result that one
    /// gives within the grace is its result. All others are cancelled; their ends still come.
    pub fn finish_early(&mut self) {
        self.feed = None;
        self.cluster.tell(Command::FinishSetEarly { set: self.set });
    }

    /// Jobs that have been handed in and whose results have not been taken.
    pub fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// What the jobs send by [`JobContext::send`](crate::JobContext::send). For one reader.
    pub fn messages<M: DeserializeOwned>(&self) -> SetMessages<M> {
        SetMessages { shared: self.shared.clone(), message: std::marker::PhantomData }
    }

    /// Hands in one chunk of jobs if there is room; true if there is room for more.
    fn hand_in(&mut self) -> bool {
        let Some(feed) = &mut self.feed else { return false };
        let room = self.window.end().saturating_sub(self.outstanding);
        if room == 0 || self.refused.is_some() {
            return false;
        }
        let mut works = Vec::new();
        let fed = feed.feed(room.min(CHUNK_ITEMS), &mut works);
        let count = works.len();
        if count > 0 {
            let first_index = self.next_index;
            if !self.cluster.tell(Command::SubmitSet { set: self.set, works, first_index }) {
                self.refused = Some(SubmitError::Closed);
                return false;
            }
            self.next_index += count;
            self.outstanding += count;
        }
        match fed {
            Fed::Enough => {}
            Fed::All => self.feed = None,
            Fed::Refused(error) => {
                self.not_sent.push_back((self.next_index, error));
                self.next_index += 1;
                self.outstanding += 1;
            }
        }
        self.feed.is_some() && self.outstanding < *self.window.end()
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Completed<T>>> {
        loop {
            let completed = match self.ready.next() {
                Some(done) => Some(Completed::new(done, self.decode)),
                None => {
                    self.not_sent.pop_front().map(|(i, error)| Completed::not_accepted(i, error))
                }
            };
            if let Some(completed) = completed {
                self.outstanding -= 1;
                self.show(completed.result.is_ok());
                return Poll::Ready(Some(completed));
            }
            let wants_more = self.outstanding < *self.window.start() || self.outstanding == 0;
            let more = wants_more && self.hand_in();
            match self.receiver.poll_recv(cx) {
                Poll::Ready(Some(done)) => self.ready = done.into_iter(),
                Poll::Ready(None) if self.outstanding > 0 => {
                    self.outstanding -= 1;
                    let lost = Completed::closed(self.next_index, JobId(0), JobErrorKind::Closed);
                    return Poll::Ready(Some(lost));
                }
                _ if self.outstanding == 0 => return Poll::Ready(self.end()),
                Poll::Ready(None) | Poll::Pending if more => {
                    // Others get a turn between chunks.
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// What comes when nothing is outstanding: the reason why there is no more, or the end.
    fn end(&mut self) -> Option<Completed<T>> {
        self.feed = None;
        self.shared.messages.close();
        let error = self.refused.take()?;
        Some(Completed::not_accepted(self.next_index, error))
    }

    fn show(&mut self, success: bool) {
        self.failed += u64::from(!success);
        #[cfg(feature = "progress")]
        if let Some(bar) = &self.bar {
            bar.inc(1);
            if !success {
                bar.set_message(format!("{} failed", self.failed));
            }
        }
    }
}

impl<T> Stream for Results<T> {
    type Item = Completed<T>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Completed<T>>> {
        self.poll(cx)
    }
}

impl<T> Drop for Results<T> {
    fn drop(&mut self) {
        self.shared.messages.close();
        self.cluster.tell(Command::CloseSet { set: self.set });
        #[cfg(feature = "progress")]
        if let Some(bar) = &self.bar {
            bar.abandon();
        }
    }
}

/// The messages of the jobs of a map. See [`Results::messages`].
pub struct SetMessages<M> {
    shared: Arc<SetShared>,
    message: std::marker::PhantomData<fn() -> M>,
}

impl<M> fmt::Debug for SetMessages<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SetMessages")
    }
}

/// A message from one of the jobs of a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SetMessage<M> {
    /// Which item its job has, from 0.
    pub index: usize,
    /// Its job.
    pub job: JobId,
    /// What it says.
    pub message: M,
}

impl<M: DeserializeOwned> SetMessages<M> {
    /// The next message; `None` once all results have been taken, or [`Results`] was dropped.
    ///
    /// # Errors
    ///
    /// If the message is of another type, or messages were missed because they were read too
    /// slowly. The next call goes on behind it.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe.
    pub async fn next(&mut self) -> Option<Result<SetMessage<M>, MessageError>> {
        let read = self.shared.messages.read().await?;
        let message = decode_message(&read, |entry| &entry.body);
        let (index, job) = match read {
            Read::Entry(entry) => (entry.index, entry.job),
            Read::Missed(_) => (0, JobId(0)),
        };
        Some(message.map(|message| SetMessage { index, job, message }))
    }
}

/// The results of a [`Map`] in the order of the items. Dropping it cancels what has not ended.
///
/// Results that come early are kept until it is their turn: as many as are outstanding at most.
pub struct InOrder<T> {
    results: Results<T>,
    early: BTreeMap<usize, Completed<T>>,
    next: usize,
}

impl<T> fmt::Debug for InOrder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InOrder({:?}, {} early)", self.results, self.early.len())
    }
}

impl<T> InOrder<T> {
    /// The next result; `None` when every item has its result.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe: no result is lost.
    pub async fn next(&mut self) -> Option<Completed<T>> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Completed<T>>> {
        loop {
            if let Some(done) = self.early.remove(&self.next) {
                self.next += 1;
                return Poll::Ready(Some(done));
            }
            match std::task::ready!(self.results.poll(cx)) {
                Some(done) if done.index == self.next => {
                    self.next += 1;
                    return Poll::Ready(Some(done));
                }
                Some(done) => {
                    self.early.insert(done.index, done);
                }
                // After the cluster was closed, some have no number.
                None => return Poll::Ready(self.early.pop_first().map(|(_, done)| done)),
            }
        }
    }
}

impl<T> Stream for InOrder<T> {
    type Item = Completed<T>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Completed<T>>> {
        self.poll(cx)
    }
}

// Nothing in these is ever pinned.
impl<T> Unpin for Results<T> {}
impl<T> Unpin for InOrder<T> {}

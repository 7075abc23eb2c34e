//! The results of a map.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::vec;

use futures_core::Stream;
use pleiad_types::{JobId, SetId};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::Map;
use super::feed::{CHUNK_ITEMS, Fed, Feed};
use crate::cluster::Cluster;
use crate::context::MessageError;
use crate::engine::{Command, Done, SetShared};
use crate::error::{JobErrorKind, SubmitError};
use crate::job::decode_message;
use crate::queue::Read;
use crate::submit::{Completed, Decode};

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
    pub(super) fn new(map: Map<T>) -> Self {
        let shared = Arc::new(SetShared::new());
        let (sender, receiver) = mpsc::unbounded_channel();
        let class = map.options.class(&map.cluster, map.program);
        let set = map.cluster.new_set();
        let refused = class
            .map(|class| {
                let class = Box::new(class);
                let (shared, done) = (shared.clone(), sender);
                map.cluster.tell(Command::OpenSet { set, class, shared, done });
            })
            .err();
        Self {
            cluster: map.cluster,
            set,
            feed: Some(map.feed),
            refused,
            next_index: 0,
            not_sent: VecDeque::new(),
            outstanding: 0,
            window: map.outstanding,
            shared,
            receiver,
            ready: Vec::new().into_iter(),
            decode: map.decode,
            failed: 0,
            #[cfg(feature = "progress")]
            bar: map.bar,
        }
    }

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
    pub(super) fn new(results: Results<T>) -> Self {
        Self { results, early: BTreeMap::new(), next: 0 }
    }

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

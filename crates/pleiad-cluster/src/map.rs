//! One function for many items, or many programs.

mod feed;
mod results;

use std::fmt;
use std::ops::RangeInclusive;
use std::pin::Pin;

use pleiad_types::limits::MAP_OUTSTANDING;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use results::{InOrder, Results, SetMessage, SetMessages};

use crate::cluster::Cluster;
use crate::error::JobError;
use crate::program::{Program, ProgramOutput};
use crate::submit::{self, Decode, JobOptions, job_options};
use feed::{Calls, Feed, Programs};

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
        Results::new(self)
    }

    /// The results in the order of the items, failures among them.
    pub fn in_order(self) -> InOrder<T> {
        InOrder::new(self.as_completed())
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

//! The measurements.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures_util::stream::{FuturesUnordered, StreamExt};
use indicatif::ProgressBar;
use pleiad::{SendError, TaskRef};
use tokio::task::spawn_blocking;

use crate::mesh::bench::raw::{self, Place};
use crate::mesh::bench::report::{Figure, Unit};
use crate::mesh::bench::server::Message;
use crate::problem::Problem;

/// A small message.
pub(super) const SMALL_BYTES: usize = 64;

/// A large one.
pub(super) const BULK_BYTES: usize = 1 << 20;

/// Questions at once.
const ASKS: usize = 64;

/// Messages that wait for their acknowledgement.
const DELIVERIES: usize = 512;

/// Large ones.
const BULK_DELIVERIES: usize = 8;

/// No answer takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// To the task of the far side, so long each.
#[derive(Clone)]
pub(super) struct Measures {
    pub(super) far: TaskRef<Message>,
    pub(super) each: Duration,
    pub(super) bar: ProgressBar,
}

impl Measures {
    pub(super) const COUNT: u64 = 6;

    pub(super) async fn run(self) -> Result<Vec<Figure>, Problem> {
        self.all().await.context("the measurement has ended early").map_err(Problem::failure)
    }

    async fn all(&self) -> Result<Vec<Figure>> {
        let mut figures = Vec::new();
        // Connections and caches are warm then.
        for _ in 0..100 {
            self.ask().await?;
        }
        self.step("one way");
        figures.push(Figure::new("send, 64 B", Unit::PerSecond, self.one_way().await?));

        self.step("ask");
        let raw = self.raw(|place, each| raw::round_trips(place, each).map(median)).await;
        let idle = self.asks(self.each).await?;
        let figure = Figure::new("ask, 64 B, half are faster than", Unit::Micros, median(idle));
        figures.push(figure.beside(raw));

        self.step("64 asks at once");
        figures.push(Figure::new("64 asks at once", Unit::PerSecond, self.many_asks().await?));

        self.step("deliver");
        let rate = self.deliveries(SMALL_BYTES, DELIVERIES, self.each).await?;
        figures.push(Figure::new("deliver, 64 B, 512 at once", Unit::PerSecond, rate));

        self.step("1 MiB bodies");
        let raw = self.raw(raw::bulk).await;
        let rate = self.deliveries(BULK_BYTES, BULK_DELIVERIES, self.each).await?;
        let rate = rate * BULK_BYTES as f64;
        figures.push(Figure::new("1 MiB bodies", Unit::BytesPerSecond, rate).beside(raw));

        self.step("ask beside bulk");
        let bulk = self.clone();
        let bulk =
            tokio::spawn(
                async move { bulk.deliveries(BULK_BYTES, BULK_DELIVERIES, bulk.each).await },
            );
        let asks = self.asks(self.each).await?;
        bulk.await.context("the bulk transfer has failed")??;
        figures.push(Figure::new("ask, while bodies are sent", Unit::Micros, median(asks)));
        self.bar.inc(1);
        Ok(figures)
    }

    fn step(&self, what: &'static str) {
        if !self.bar.message().is_empty() {
            self.bar.inc(1);
        }
        self.bar.set_message(what);
    }

    /// Messages in a second that nobody waits for.
    async fn one_way(&self) -> Result<f64> {
        self.count().await?;
        let start = Instant::now();
        while start.elapsed() < self.each {
            for _ in 0..64 {
                match self.far.send(Message::Body(vec![7; SMALL_BYTES])) {
                    Ok(()) => (),
                    Err(SendError::Full { message, .. }) => self.far.deliver(message).await?,
                    Err(error) => return Err(error.into()),
                }
            }
            tokio::task::yield_now().await;
        }
        let count = self.count().await?;
        Ok(count as f64 / start.elapsed().as_secs_f64())
    }

    /// Messages in a second that somebody waits for, so many at once.
    async fn deliveries(&self, bytes: usize, at_once: usize, each: Duration) -> Result<f64> {
        let start = Instant::now();
        let (mut under_way, mut count) = (FuturesUnordered::new(), 0_u64);
        loop {
            while under_way.len() < at_once && start.elapsed() < each {
                let body = Message::Body(vec![7; bytes]);
                under_way.push(self.far.deliver(body).timeout(PATIENCE).into_future());
            }
            let Some(delivered) = under_way.next().await else { break };
            delivered?;
            count += 1;
        }
        Ok(count as f64 / start.elapsed().as_secs_f64())
    }

    async fn asks(&self, each: Duration) -> Result<Vec<Duration>> {
        let (start, mut times) = (Instant::now(), Vec::new());
        while start.elapsed() < each {
            let asked = Instant::now();
            self.ask().await?;
            times.push(asked.elapsed());
        }
        Ok(times)
    }

    /// Answers in a second.
    async fn many_asks(&self) -> Result<f64> {
        let start = Instant::now();
        let askers = (0..ASKS).map(|_| {
            let measures = self.clone();
            tokio::spawn(async move { measures.asks(measures.each).await.map(|times| times.len()) })
        });
        let mut count = 0;
        for asker in askers.collect::<Vec<_>>() {
            count += asker.await.context("an asker has failed")??;
        }
        Ok(count as f64 / start.elapsed().as_secs_f64())
    }

    async fn ask(&self) -> Result<()> {
        let ask = |reply| Message::Ask(vec![7; SMALL_BYTES], reply);
        self.far.ask(ask).timeout(PATIENCE).await?;
        Ok(())
    }

    async fn count(&self) -> Result<u64> {
        Ok(self.far.ask(Message::Count).timeout(PATIENCE).await?)
    }

    /// The same by raw TCP, if the far side can be reached by it.
    async fn raw(
        &self,
        measure: impl FnOnce(&Place, Duration) -> std::io::Result<f64> + Send + 'static,
    ) -> Option<f64> {
        let place = self.far.ask(Message::Raw).timeout(PATIENCE).await.ok()?.ok()?;
        let each = self.each;
        spawn_blocking(move || measure(&place, each)).await.ok()?.ok()
    }
}

/// In microseconds.
fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(0.0, |time| time.as_secs_f64() * 1e6)
}

//! What the peers have in common, so that they differ only where they differ.

use std::fs;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, Semaphore};

use crate::row::Threads;

/// Tasks that send to one mailbox.
pub(crate) const SENDERS: u64 = 8;
/// Room in a bounded mailbox.
pub(crate) const CAPACITY: usize = 1024;
/// Tasks that get each message that is published.
pub(crate) const SUBSCRIBERS: u64 = 10;
/// Tasks that live at the same time where they are spawned and end at once.
pub(crate) const WAVE: u64 = 1000;
/// Every count is a multiple of it: of `SENDERS` and `WAVE`.
const GRAIN: u64 = 8000;

/// A runtime of tokio, for the peers that run in one.
pub(crate) fn runtime(threads: Threads) -> Runtime {
    let mut builder = match threads {
        Threads::One => Builder::new_current_thread(),
        Threads::Two => {
            let mut builder = Builder::new_multi_thread();
            builder.worker_threads(2);
            builder
        }
    };
    builder.enable_time().build().expect("a runtime starts")
}

/// Runs `main` as a task like any other, and gives its result.
pub(crate) fn run<F>(threads: Threads, main: F) -> F::Output
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    runtime(threads).block_on(async { tokio::spawn(main).await.expect("it does not panic") })
}

/// How long `main` takes, as a task like any other.
pub(crate) fn time<F>(threads: Threads, main: F) -> Duration
where
    F: Future<Output = ()> + Send + 'static,
{
    run(threads, async {
        let started = Instant::now();
        main.await;
        started.elapsed()
    })
}

/// Sizes of the waves in which `n` tasks are spawned: all of one have ended before the next begins.
pub(crate) fn waves(n: u64) -> impl Iterator<Item = u64> {
    (0..n / WAVE).map(|_| WAVE)
}

/// Waits until every task that has been spawned in a runtime of one thread has been polled.
pub(crate) async fn all_polled() {
    // They are in one queue.
    tokio::spawn(async {}).await.expect("it ends");
}

/// How much memory the process holds in RAM.
pub(crate) fn resident() -> u64 {
    field("/proc/self/status", "VmRSS:").expect("the system tells the memory of a process")
}

/// How much memory the machine has left.
pub(crate) fn available() -> Option<u64> {
    field("/proc/meminfo", "MemAvailable:")
}

fn field(file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

/// Waits until every task of a set has said that it is done.
pub(crate) struct Latch {
    left: AtomicU64,
    none_left: Notify,
}

impl Latch {
    pub(crate) fn new(n: u64) -> Arc<Self> {
        Arc::new(Self { left: AtomicU64::new(n), none_left: Notify::new() })
    }

    pub(crate) fn done(&self) {
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.none_left.notify_one();
        }
    }

    pub(crate) async fn wait(&self) {
        self.none_left.notified().await;
    }
}

/// Holds back senders that would never wait by themselves: before every [`GRAIN`](Self::GRAIN)
/// messages they wait until that many may be unread more, and yield to the other tasks once. So a
/// queue does not grow for ever, and no peer pays more for it than another.
pub(crate) struct Pace {
    room: Semaphore,
}

impl Pace {
    const GRAIN: u64 = 256;
    /// Messages that may be unread.
    const UNREAD: usize = 16 * 1024;

    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { room: Semaphore::new(Self::UNREAD) })
    }

    /// A reader has read its `nth` message, the first being 1.
    #[inline]
    pub(crate) fn read(&self, nth: u64) {
        if nth.is_multiple_of(Self::GRAIN) {
            self.room.add_permits(Self::GRAIN as usize);
        }
    }

    /// A sender is about to send its `nth` message, which is going to be read by so many.
    #[inline]
    pub(crate) async fn send(&self, nth: u64, readers: u64) {
        if nth % Self::GRAIN == 1 {
            self.wait(readers).await;
        }
    }

    async fn wait(&self, readers: u64) {
        tokio::task::yield_now().await;
        let room = self.room.acquire_many((Self::GRAIN * readers) as u32).await;
        room.expect("it is never closed").forget();
    }
}

/// How long one of `work` takes, in nanoseconds, when it goes on for about `target`.
///
/// Runs it with more and more at a time until that is long enough to tell, and then once for real.
pub(crate) fn each(work: impl Fn(u64) -> Duration, target: Duration) -> f64 {
    let mut n = GRAIN;
    let mut took = work(n);
    while took < target / 8 {
        n *= 4;
        took = work(n);
    }
    let n = (n as f64 * target.as_secs_f64() / took.as_secs_f64()) as u64;
    let n = n.div_ceil(GRAIN) * GRAIN;
    work(n).as_nanos() as f64 / n as f64
}

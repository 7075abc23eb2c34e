//! The signals that ask a run to stop.

use std::fs;
use std::io;
use std::task::Poll;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGINT (Ctrl-C), SIGTERM and SIGHUP, as they come.
#[derive(Debug)]
pub(crate) struct Interrupts(Vec<(i32, Signal)>);

impl Interrupts {
    /// Begins to listen. What is ignored stays ignored, as `nohup` wants it.
    pub(crate) fn listen() -> io::Result<Self> {
        let ignored = ignored();
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let number = |kind: SignalKind| kind.as_raw_value();
        kinds
            .into_iter()
            .filter(|&kind| ignored & (1 << (number(kind) - 1)) == 0)
            .map(|kind| Ok((number(kind), signal(kind)?)))
            .collect::<io::Result<_>>()
            .map(Self)
    }

    /// Waits for the next one, and gives its number. Cancel-safe.
    pub(crate) async fn next(&mut self) -> i32 {
        std::future::poll_fn(|context| {
            for (number, signal) in &mut self.0 {
                if signal.poll_recv(context).is_ready() {
                    return Poll::Ready(*number);
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// The signals that this process was told to ignore, a bit each.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

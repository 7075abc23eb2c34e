//! Tokio itself: a task with an `mpsc` channel for a mailbox, `oneshot` for answers.

use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::{JoinHandle, yield_now};

use super::Peer;
use crate::row::Threads;
use crate::work::{
    CAPACITY, Latch, Pace, SENDERS, SUBSCRIBERS, WAVE, all_polled, resident, runtime, time, waves,
};

pub(super) const PEER: Peer = Peer {
    memory: Some(memory),
    spawn: Some(spawn),
    future: Some(future),
    ask: Some(ask),
    bounded: Some(bounded),
    unbounded: Some(unbounded),
    broadcast: Some(publish),
    ..Peer::new("tokio")
};

/// The same, with messages read in batches by `recv_many`: less convenient, and faster.
pub(super) const MANY: Peer = Peer {
    bounded: Some(bounded_many),
    unbounded: Some(unbounded_many),
    ..Peer::new("tokio-many")
};

/// Messages that `recv_many` takes at once.
const BATCH: usize = 256;

/// Senders are kept, handles of tasks are not.
fn memory(n: u64) -> u64 {
    runtime(Threads::One).block_on(async {
        let mut senders = Vec::with_capacity(n as usize);
        let before = resident();
        for nth in 1..=n {
            let (sender, mut mailbox) = mpsc::channel::<u64>(CAPACITY);
            tokio::spawn(async move { while mailbox.recv().await.is_some() {} });
            senders.push(sender);
            if nth.is_multiple_of(WAVE) {
                all_polled().await;
            }
        }
        all_polled().await;
        resident() - before
    })
}

/// Each has a channel, and ends without reading it.
fn spawn(threads: Threads, n: u64) -> Duration {
    time(threads, async move {
        for wave in waves(n) {
            let tasks: Vec<(mpsc::Sender<u64>, JoinHandle<()>)> = (0..wave)
                .map(|_| {
                    let (sender, mailbox) = mpsc::channel(CAPACITY);
                    (sender, tokio::spawn(async move { drop(mailbox) }))
                })
                .collect();
            for (_, task) in tasks {
                task.await.expect("it ends");
            }
        }
    })
}

fn future(threads: Threads, n: u64) -> Duration {
    time(threads, async move {
        for wave in waves(n) {
            let tasks: Vec<JoinHandle<()>> = (0..wave).map(|_| tokio::spawn(async {})).collect();
            for task in tasks {
                task.await.expect("it ends");
            }
        }
    })
}

enum Question {
    Get(oneshot::Sender<u64>),
}

fn ask(threads: Threads, n: u64) -> Duration {
    time(threads, async move {
        let (sender, mut mailbox) = mpsc::channel(CAPACITY);
        let server = tokio::spawn(async move {
            let mut answered = 0;
            while let Some(Question::Get(reply)) = mailbox.recv().await {
                answered += 1;
                let _ = reply.send(answered);
            }
            answered
        });
        for nth in 1..=n {
            let (reply, answer) = oneshot::channel();
            sender.send(Question::Get(reply)).await.expect("it listens");
            assert_eq!(answer.await, Ok(nth));
        }
        drop(sender);
        assert_eq!(server.await.expect("it ends"), n);
    })
}

async fn send_bounded(sender: mpsc::Sender<u64>, n: u64) {
    for nth in 1..=n {
        sender.send(nth).await.expect("it listens");
    }
}

async fn send_unbounded(sender: mpsc::UnboundedSender<u64>, n: u64, pace: &Pace) {
    for nth in 1..=n {
        pace.send(nth, 1).await;
        sender.send(nth).expect("it listens");
    }
}

fn bounded(threads: Threads, n: u64) -> Duration {
    time(threads, async move {
        let (sender, mut mailbox) = mpsc::channel(CAPACITY);
        for _ in 0..SENDERS {
            tokio::spawn(send_bounded(sender.clone(), n / SENDERS));
        }
        drop(sender);
        let reader = tokio::spawn(async move {
            let mut read = 0;
            while mailbox.recv().await.is_some() {
                read += 1;
            }
            read
        });
        assert_eq!(reader.await.expect("it ends"), n);
    })
}

fn bounded_many(threads: Threads, n: u64) -> Duration {
    time(threads, async move {
        let (sender, mut mailbox) = mpsc::channel(CAPACITY);
        for _ in 0..SENDERS {
            tokio::spawn(send_bounded(sender.clone(), n / SENDERS));
        }
        drop(sender);
        let reader = tokio::spawn(async move {
            let mut read = 0;
            let mut batch = Vec::with_capacity(BATCH);
            while mailbox.recv_many(&mut batch, BATCH).await > 0 {
                read += batch.drain(..).count() as u64;
            }
            read
        });
        assert_eq!(reader.await.expect("it ends"), n);
    })
}

fn unbounded(threads: Threads, n: u64) -> Duration {
    time(threads, async move {
        let (sender, mut mailbox) = mpsc::unbounded_channel();
        let pace = Pace::new();
        for _ in 0..SENDERS {
            let (sender, pace) = (sender.clone(), pace.clone());
            tokio::spawn(async move { send_unbounded(sender, n / SENDERS, &pace).await });
        }
        drop(sender);
        let reader = tokio::spawn(async move {
            let mut read = 0;
            while mailbox.recv().await.is_some() {
                read += 1;
                pace.read(read);
            }
            read
        });
        assert_eq!(reader.await.expect("it ends"), n);
    })
}

fn unbounded_many(threads: Threads, n: u64) -> Duration {
    time(threads, async move {
        let (sender, mut mailbox) = mpsc::unbounded_channel();
        let pace = Pace::new();
        for _ in 0..SENDERS {
            let (sender, pace) = (sender.clone(), pace.clone());
            tokio::spawn(async move { send_unbounded(sender, n / SENDERS, &pace).await });
        }
        drop(sender);
        let reader = tokio::spawn(async move {
            let mut read = 0;
            let mut batch = Vec::with_capacity(BATCH);
            while mailbox.recv_many(&mut batch, BATCH).await > 0 {
                for _ in batch.drain(..) {
                    read += 1;
                    pace.read(read);
                }
            }
            read
        });
        assert_eq!(reader.await.expect("it ends"), n);
    })
}

/// A message is lost by who has more than `CAPACITY` unread: the publisher looks in time, every 64.
fn publish(threads: Threads, n: u64) -> Duration {
    time(threads, async move {
        let (publisher, _) = broadcast::channel(CAPACITY);
        let ended = Latch::new(SUBSCRIBERS);
        for _ in 0..SUBSCRIBERS {
            let (mut subscription, ended) = (publisher.subscribe(), ended.clone());
            tokio::spawn(async move {
                for nth in 1..=n / SUBSCRIBERS {
                    assert_eq!(subscription.recv().await, Ok(nth));
                }
                ended.done();
            });
        }
        for nth in 1..=n / SUBSCRIBERS {
            publisher.send(nth).expect("they listen");
            if nth.is_multiple_of(64) {
                yield_now().await;
                while publisher.len() > CAPACITY / 2 {
                    yield_now().await;
                }
            }
        }
        ended.wait().await;
    })
}

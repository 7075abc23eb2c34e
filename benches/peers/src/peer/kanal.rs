//! Kanal: a tokio task with an asynchronous channel for a mailbox. It has no tasks, no oneshot
//! channel and no broadcast.

use std::time::Duration;

use tokio::task::JoinHandle;

use super::Peer;
use crate::row::Threads;
use crate::work::{CAPACITY, Pace, SENDERS, WAVE, all_polled, resident, runtime, time, waves};

pub(super) const PEER: Peer = Peer {
    memory: Some(memory),
    spawn: Some(spawn),
    ask: Some(ask),
    bounded: Some(bounded),
    unbounded: Some(unbounded),
    ..Peer::new("kanal")
};

/// Unbounded ones, which start with room for 32: bounded ones take the room for all they may hold.
fn memory(n: u64) -> u64 {
    runtime(Threads::One).block_on(async {
        let mut senders = Vec::with_capacity(n as usize);
        let before = resident();
        for nth in 1..=n {
            let (sender, mailbox) = kanal::unbounded_async::<u64>();
            tokio::spawn(async move { while mailbox.recv().await.is_ok() {} });
            senders.push(sender);
            if nth.is_multiple_of(WAVE) {
                all_polled().await;
            }
        }
        all_polled().await;
        resident() - before
    })
}

fn spawn(threads: Threads, n: u64) -> Duration {
    time(threads, async move {
        for wave in waves(n) {
            let tasks: Vec<(kanal::AsyncSender<u64>, JoinHandle<()>)> = (0..wave)
                .map(|_| {
                    let (sender, mailbox) = kanal::unbounded_async();
                    (sender, tokio::spawn(async move { drop(mailbox) }))
                })
                .collect();
            for (_, task) in tasks {
                task.await.expect("it ends");
            }
        }
    })
}

/// The answers come through a second channel, made once for all: with one for each question, as the
/// others have it, it would be slower.
fn ask(threads: Threads, n: u64) -> Duration {
    time(threads, async move {
        let (sender, mailbox) = kanal::bounded_async::<()>(CAPACITY);
        let (reply, answers) = kanal::bounded_async(1);
        let server = tokio::spawn(async move {
            let mut answered = 0;
            while mailbox.recv().await.is_ok() {
                answered += 1;
                reply.send(answered).await.expect("it waits");
            }
            answered
        });
        for nth in 1..=n {
            sender.send(()).await.expect("it listens");
            assert_eq!(answers.recv().await, Ok(nth));
        }
        drop(sender);
        assert_eq!(server.await.expect("it ends"), n);
    })
}

fn bounded(threads: Threads, n: u64) -> Duration {
    time(threads, async move {
        let (sender, mailbox) = kanal::bounded_async(CAPACITY);
        for _ in 0..SENDERS {
            let sender = sender.clone();
            tokio::spawn(async move {
                for nth in 1..=n / SENDERS {
                    sender.send(nth).await.expect("it listens");
                }
            });
        }
        drop(sender);
        let reader = tokio::spawn(async move {
            let mut read = 0;
            while mailbox.recv().await.is_ok() {
                read += 1;
            }
            read
        });
        assert_eq!(reader.await.expect("it ends"), n);
    })
}

fn unbounded(threads: Threads, n: u64) -> Duration {
    time(threads, async move {
        let (sender, mailbox) = kanal::unbounded_async();
        let pace = Pace::new();
        for _ in 0..SENDERS {
            let (sender, pace) = (sender.clone(), pace.clone());
            tokio::spawn(async move {
                for nth in 1..=n / SENDERS {
                    pace.send(nth, 1).await;
                    assert_eq!(sender.try_send(nth), Ok(true));
                }
            });
        }
        drop(sender);
        let reader = tokio::spawn(async move {
            let mut read = 0;
            while mailbox.recv().await.is_ok() {
                read += 1;
                pace.read(read);
            }
            read
        });
        assert_eq!(reader.await.expect("it ends"), n);
    })
}

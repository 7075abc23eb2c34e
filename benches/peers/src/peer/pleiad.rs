//! Pleiad.

#[cfg(not(feature = "pleiad"))]
pub(super) const PEER: super::Peer = super::Peer::new("pleiad");

#[cfg(feature = "pleiad")]
pub(super) use with::PEER;

#[cfg(feature = "pleiad")]
mod with {
    use std::time::Duration;

    use pleiad_task::{Mailbox, Reply, Task, TaskBuilder, TaskRef, spawn, spawn_future};

    use crate::peer::Peer;
    use crate::row::Threads;
    use crate::work::{CAPACITY, Pace, SENDERS, UNREAD, resident, runtime, time, waves};

    // TODO: `broadcast`, when there are channels, and `swap`, when a task can change its behaviour.
    pub(in crate::peer) const PEER: Peer = Peer {
        memory: Some(memory),
        spawn: Some(begin),
        future: Some(future),
        ask: Some(ask),
        bounded: Some(bounded),
        unbounded: Some(unbounded),
        ..Peer::new("pleiad")
    };

    async fn idle(mut mailbox: Mailbox<u64>) {
        while mailbox.recv().await.is_some() {}
    }

    /// References are kept, handles of tasks are not.
    fn memory(n: u64) -> u64 {
        runtime(Threads::One).block_on(async {
            let mut tasks: Vec<TaskRef<u64>> = Vec::with_capacity(n as usize);
            let before = resident();
            for _ in 0..n {
                tasks.push(spawn(idle).detach());
            }
            tokio::task::yield_now().await;
            tokio::spawn(async {}).await.expect("it ends");
            resident() - before
        })
    }

    fn begin(threads: Threads, n: u64) -> Duration {
        time(threads, async move {
            for wave in waves(n) {
                let tasks: Vec<Task<u64, ()>> =
                    (0..wave).map(|_| spawn(async |mailbox| drop(mailbox))).collect();
                for task in tasks {
                    task.await.expect("it ends");
                }
            }
        })
    }

    fn future(threads: Threads, n: u64) -> Duration {
        time(threads, async move {
            for wave in waves(n) {
                let tasks: Vec<_> = (0..wave).map(|_| spawn_future(async {})).collect();
                for task in tasks {
                    task.await.expect("it ends");
                }
            }
        })
    }

    enum Question {
        Get(Reply<u64>),
    }

    fn ask(threads: Threads, n: u64) -> Duration {
        time(threads, async move {
            let server = TaskBuilder::new().capacity(CAPACITY).spawn(
                async |mut mailbox: Mailbox<Question>| {
                    let mut answered = 0;
                    while let Some(Question::Get(reply)) = mailbox.recv().await {
                        answered += 1;
                        reply.send(answered);
                    }
                    answered
                },
            );
            for nth in 1..=n {
                assert_eq!(server.ask(Question::Get).await, Ok(nth));
            }
            assert_eq!(server.await.expect("it ends"), n);
        })
    }

    fn bounded(threads: Threads, n: u64) -> Duration {
        time(threads, async move {
            let reader =
                TaskBuilder::new().capacity(CAPACITY).spawn(async |mut mailbox: Mailbox<u64>| {
                    let mut read = 0;
                    while mailbox.recv().await.is_some() {
                        read += 1;
                    }
                    read
                });
            for _ in 0..SENDERS {
                let reader = TaskRef::clone(&reader);
                tokio::spawn(async move {
                    for nth in 1..=n / SENDERS {
                        reader.deliver(nth).await.expect("it listens");
                    }
                });
            }
            assert_eq!(reader.await.expect("it ends"), n);
        })
    }

    fn unbounded(threads: Threads, n: u64) -> Duration {
        time(threads, async move {
            let pace = Pace::new(UNREAD);
            let reader = TaskBuilder::new().unbounded().spawn({
                let pace = pace.clone();
                async move |mut mailbox: Mailbox<u64>| {
                    let mut read = 0;
                    while mailbox.recv().await.is_some() {
                        read += 1;
                        pace.read(read);
                    }
                    read
                }
            });
            for _ in 0..SENDERS {
                let (reader, pace) = (TaskRef::clone(&reader), pace.clone());
                tokio::spawn(async move {
                    for nth in 1..=n / SENDERS {
                        reader.send(nth).expect("it listens");
                        pace.sent(nth, SENDERS).await;
                    }
                });
            }
            assert_eq!(reader.await.expect("it ends"), n);
        })
    }
}

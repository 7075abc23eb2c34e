//! Pleiad.

#[cfg(not(feature = "pleiad"))]
pub(super) const PEER: super::Peer = super::Peer::new("pleiad");

#[cfg(feature = "pleiad")]
pub(super) use with::PEER;

#[cfg(feature = "pleiad")]
mod with {
    use std::time::Duration;

    use pleiad_task::{
        Channel, Flow, Mailbox, Reply, SwapEvent, SwapMailbox, Task, TaskBuilder, TaskRef, spawn,
        spawn_future, spawn_swappable,
    };

    use crate::peer::Peer;
    use crate::row::Threads;
    use crate::work::{
        CAPACITY, Pace, SENDERS, SUBSCRIBERS, WAVE, all_polled, resident, runtime, time, waves,
    };

    pub(in crate::peer) const PEER: Peer = Peer {
        memory: Some(memory),
        spawn: Some(begin),
        future: Some(future),
        ask: Some(ask),
        bounded: Some(bounded),
        unbounded: Some(unbounded),
        broadcast: Some(publish),
        swap: Some(swap),
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
            for nth in 1..=n {
                tasks.push(spawn(idle).detach());
                if nth.is_multiple_of(WAVE) {
                    all_polled().await;
                }
            }
            all_polled().await;
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
            let pace = Pace::new();
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
                        pace.send(nth, 1).await;
                        reader.send(nth).expect("it listens");
                    }
                });
            }
            assert_eq!(reader.await.expect("it ends"), n);
        })
    }

    /// Each subscriber gets the messages in its mailbox; none is lost, as the publisher waits for room.
    fn publish(threads: Threads, n: u64) -> Duration {
        time(threads, async move {
            let channel = Channel::new("numbers");
            let mut subscribers = Vec::new();
            for _ in 0..SUBSCRIBERS {
                let task = TaskBuilder::new().capacity(CAPACITY).spawn(
                    async |mut mailbox: Mailbox<u64>| {
                        let mut read = 0;
                        while mailbox.recv().await.is_some() {
                            read += 1;
                        }
                        read
                    },
                );
                channel.subscribe(&task).expect("it listens");
                subscribers.push(task);
            }
            for nth in 1..=n / SUBSCRIBERS {
                channel.deliver(nth).await.expect("it is open");
            }
            channel.close();
            for task in subscribers {
                assert_eq!(task.await.expect("it ends"), n / SUBSCRIBERS);
            }
        })
    }

    type Answers = SwapMailbox<Reply<(u64, bool)>, u64>;
    type Next = Flow<Reply<(u64, bool)>, u64>;

    async fn answer(mut mailbox: Answers, mut answered: u64, odd: bool) -> Next {
        loop {
            match mailbox.next().await {
                SwapEvent::Message(reply) => {
                    answered += 1;
                    reply.send((answered, odd));
                }
                SwapEvent::Swap(offer) => return offer.accept(mailbox, answered),
                SwapEvent::Closed => return Flow::Done(answered),
            }
        }
    }

    async fn even(mailbox: Answers, answered: u64) -> Next {
        answer(mailbox, answered, false).await
    }

    async fn odd(mailbox: Answers, answered: u64) -> Next {
        answer(mailbox, answered, true).await
    }

    /// Each time, the task is offered the function that it does not run, and then asked.
    fn swap(threads: Threads, n: u64) -> Duration {
        time(threads, async move {
            let task = spawn_swappable(even, 0);
            for nth in 1..=n {
                if nth % 2 == 1 {
                    task.hot_swap(odd).await.expect("it accepts");
                } else {
                    task.hot_swap(even).await.expect("it accepts");
                }
                assert_eq!(task.ask(|reply| reply).await, Ok((nth, nth % 2 == 1)));
            }
            assert_eq!(task.into_task().await.expect("it ends"), n);
        })
    }
}

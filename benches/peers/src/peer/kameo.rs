//! Kameo, with its default features, as its crate of broadcasting actors asks for them. It has no
//! task without a mailbox.

use std::sync::Arc;
use std::time::Duration;

use kameo::actor::{ActorRef, Spawn};
use kameo::mailbox::{self, MailboxReceiver, MailboxSender};
use kameo::message::{Context, Message};
use kameo_actors::DeliveryStrategy;
use kameo_actors::pubsub::PubSub;

use super::Peer;
use crate::row::Threads;
use crate::work::{
    CAPACITY, Latch, Pace, SENDERS, SUBSCRIBERS, WAVE, all_polled, resident, run, time, waves,
};

pub(super) const PEER: Peer = Peer {
    memory: Some(memory),
    idle: 7_500,
    spawn: Some(spawn),
    ask: Some(ask),
    bounded: Some(bounded),
    unbounded: Some(unbounded),
    broadcast: Some(publish),
    ..Peer::new("kameo")
};

/// Answers how often it has been asked.
#[derive(kameo::Actor, Default)]
struct Counter {
    asked: u64,
}

struct Get;

impl Message<Get> for Counter {
    type Reply = u64;

    async fn handle(&mut self, _: Get, _: &mut Context<Self, u64>) -> u64 {
        self.asked += 1;
        self.asked
    }
}

/// Reads so many messages.
#[derive(kameo::Actor)]
struct Reader {
    n: u64,
    read: u64,
    pace: Arc<Pace>,
    ended: Arc<Latch>,
}

impl Message<u64> for Reader {
    type Reply = ();

    async fn handle(&mut self, _: u64, _: &mut Context<Self, ()>) {
        self.read += 1;
        self.pace.read(self.read);
        if self.read == self.n {
            self.ended.done();
        }
    }
}

impl Reader {
    fn start(
        n: u64,
        pace: &Arc<Pace>,
        ended: &Arc<Latch>,
        mailbox: (MailboxSender<Self>, MailboxReceiver<Self>),
    ) -> ActorRef<Self> {
        let reader = Self { n, read: 0, pace: pace.clone(), ended: ended.clone() };
        Self::spawn_with_mailbox(reader, mailbox)
    }
}

fn memory(n: u64) -> u64 {
    run(Threads::One, async move {
        let mut actors = Vec::with_capacity(n as usize);
        let before = resident();
        for nth in 1..=n {
            actors.push(Counter::spawn_default());
            if nth.is_multiple_of(WAVE) {
                all_polled().await;
            }
        }
        for actor in &actors {
            actor.wait_for_startup().await;
        }
        resident() - before
    })
}

fn spawn(threads: Threads, n: u64) -> Duration {
    time(threads, async move {
        for wave in waves(n) {
            let actors: Vec<ActorRef<Counter>> =
                (0..wave).map(|_| Counter::spawn_default()).collect();
            for actor in &actors {
                actor.stop_gracefully().await.expect("it listens");
            }
            for actor in actors {
                actor.wait_for_shutdown().await;
            }
        }
    })
}

/// `send` spares the box that awaiting the question itself would take.
fn ask(threads: Threads, n: u64) -> Duration {
    time(threads, async move {
        let actor = Counter::spawn_with_mailbox(Counter::default(), mailbox::bounded(CAPACITY));
        for nth in 1..=n {
            assert_eq!(actor.ask(Get).send().await.expect("it answers"), nth);
        }
        actor.stop_gracefully().await.expect("it listens");
        actor.wait_for_shutdown().await;
    })
}

fn bounded(threads: Threads, n: u64) -> Duration {
    time(threads, async move {
        let (pace, ended) = (Pace::new(), Latch::new(1));
        let actor = Reader::start(n, &pace, &ended, mailbox::bounded(CAPACITY));
        for _ in 0..SENDERS {
            let actor = actor.clone();
            tokio::spawn(async move {
                for nth in 1..=n / SENDERS {
                    actor.tell(nth).send().await.expect("it listens");
                }
            });
        }
        ended.wait().await;
        actor.stop_gracefully().await.expect("it listens");
        actor.wait_for_shutdown().await;
    })
}

fn unbounded(threads: Threads, n: u64) -> Duration {
    time(threads, async move {
        let (pace, ended) = (Pace::new(), Latch::new(1));
        let actor = Reader::start(n, &pace, &ended, mailbox::unbounded());
        for _ in 0..SENDERS {
            let (actor, pace) = (actor.clone(), pace.clone());
            tokio::spawn(async move {
                for nth in 1..=n / SENDERS {
                    pace.send(nth, 1).await;
                    actor.tell(nth).try_send().expect("it listens");
                }
            });
        }
        ended.wait().await;
        actor.stop_gracefully().await.expect("it listens");
        actor.wait_for_shutdown().await;
    })
}

/// Its `PubSub`, used as a value, without an actor between; it waits for room by itself.
fn publish(threads: Threads, n: u64) -> Duration {
    time(threads, async move {
        let n = n / SUBSCRIBERS;
        let (pace, ended) = (Pace::new(), Latch::new(SUBSCRIBERS));
        let mut channel = PubSub::new(DeliveryStrategy::Guaranteed);
        let mut subscribers = Vec::new();
        for _ in 0..SUBSCRIBERS {
            let actor = Reader::start(n, &pace, &ended, mailbox::bounded(CAPACITY));
            channel.subscribe(actor.clone());
            subscribers.push(actor);
        }
        for nth in 1..=n {
            channel.publish(nth).await;
        }
        ended.wait().await;
        for actor in subscribers {
            actor.stop_gracefully().await.expect("it listens");
            actor.wait_for_shutdown().await;
        }
    })
}

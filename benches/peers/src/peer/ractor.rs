//! Ractor, with its default features and the newer of its two output ports. All its mailboxes are
//! unbounded, and it has no task without one.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, OutputPort, RpcReplyPort};
use tokio::task::JoinHandle;

use super::Peer;
use crate::row::Threads;
use crate::work::{Latch, Pace, SENDERS, SUBSCRIBERS, resident, run, time, waves};

pub(super) const PEER: Peer = Peer {
    memory: Some(memory),
    idle: 9_000,
    spawn: Some(spawn),
    ask: Some(ask),
    unbounded: Some(unbounded),
    broadcast: Some(publish),
    ..Peer::new("ractor")
};

/// Answers how often it has been asked.
struct Counter;

enum Question {
    Get(RpcReplyPort<u64>),
}

impl Actor for Counter {
    type Msg = Question;
    type State = u64;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Question>, (): ()) -> Result<u64, ActorProcessingErr> {
        Ok(0)
    }

    async fn handle(
        &self,
        _: ActorRef<Question>,
        Question::Get(reply): Question,
        asked: &mut u64,
    ) -> Result<(), ActorProcessingErr> {
        *asked += 1;
        reply.send(*asked)?;
        Ok(())
    }
}

/// Reads so many messages.
struct Reader {
    n: u64,
    pace: Arc<Pace>,
    ended: Arc<Latch>,
}

impl Actor for Reader {
    type Msg = u64;
    type State = u64;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<u64>, (): ()) -> Result<u64, ActorProcessingErr> {
        Ok(0)
    }

    async fn handle(
        &self,
        _: ActorRef<u64>,
        _: u64,
        read: &mut u64,
    ) -> Result<(), ActorProcessingErr> {
        *read += 1;
        self.pace.read(*read);
        if *read == self.n {
            self.ended.done();
        }
        Ok(())
    }
}

/// `spawn` waits until the actor has started.
async fn start<A: Actor<Arguments = ()>>(actor: A) -> (ActorRef<A::Msg>, JoinHandle<()>) {
    Actor::spawn(None, actor, ()).await.expect("it starts")
}

/// References are kept, handles of tasks are not.
fn memory(n: u64) -> u64 {
    run(Threads::One, async move {
        let mut actors = Vec::with_capacity(n as usize);
        let before = resident();
        for _ in 0..n {
            actors.push(start(Counter).await.0);
        }
        resident() - before
    })
}

fn spawn(threads: Threads, n: u64) -> Duration {
    time(threads, async move {
        for wave in waves(n) {
            let mut tasks = Vec::with_capacity(wave as usize);
            for _ in 0..wave {
                let (actor, task) = start(Counter).await;
                actor.stop(None);
                tasks.push(task);
            }
            for task in tasks {
                task.await.expect("it ends");
            }
        }
    })
}

fn ask(threads: Threads, n: u64) -> Duration {
    time(threads, async move {
        let (actor, task) = start(Counter).await;
        for nth in 1..=n {
            assert_eq!(ractor::call!(actor, Question::Get).expect("it answers"), nth);
        }
        actor.stop(None);
        task.await.expect("it ends");
    })
}

fn unbounded(threads: Threads, n: u64) -> Duration {
    time(threads, async move {
        let (pace, ended) = (Pace::new(), Latch::new(1));
        let (actor, task) = start(Reader { n, pace: pace.clone(), ended: ended.clone() }).await;
        for _ in 0..SENDERS {
            let (actor, pace) = (actor.clone(), pace.clone());
            tokio::spawn(async move {
                for nth in 1..=n / SENDERS {
                    pace.send(nth, 1).await;
                    actor.cast(nth).expect("it listens");
                }
            });
        }
        ended.wait().await;
        actor.stop(None);
        task.await.expect("it ends");
    })
}

fn publish(threads: Threads, n: u64) -> Duration {
    time(threads, async move {
        let n = n / SUBSCRIBERS;
        let (pace, ended) = (Pace::new(), Latch::new(SUBSCRIBERS));
        let port = OutputPort::<u64>::default();
        let mut subscribers = Vec::new();
        for _ in 0..SUBSCRIBERS {
            let (actor, task) = start(Reader { n, pace: pace.clone(), ended: ended.clone() }).await;
            port.subscribe(actor.clone(), Some);
            subscribers.push((actor, task));
        }
        for nth in 1..=n {
            pace.send(nth, SUBSCRIBERS).await;
            port.send(nth);
        }
        ended.wait().await;
        for (actor, task) in subscribers {
            actor.stop(None);
            task.await.expect("it ends");
        }
    })
}

//! Actix: every actor belongs to a thread, so with two threads an actor runs in one of them, and
//! who talks to it in the other. It has no task without a mailbox.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, Addr, Arbiter, Context, Handler, Message, System};
use actix_broker::{Broker, BrokerSubscribe, SystemBroker};
use tokio::sync::oneshot;

use super::Peer;
use crate::row::Threads;
use crate::work::{CAPACITY, Latch, Pace, SENDERS, SUBSCRIBERS, WAVE, resident, waves};

pub(super) const PEER: Peer = Peer {
    memory: Some(memory),
    spawn: Some(spawn),
    ask: Some(ask),
    bounded: Some(bounded),
    unbounded: Some(unbounded),
    broadcast: Some(publish),
    ..Peer::new("actix")
};

/// Threads of the system: for actors, and for those who talk to them.
struct Places {
    actors: Arbiter,
    callers: Option<Arbiter>,
}

impl Places {
    fn new(threads: Threads) -> Self {
        let callers = (threads == Threads::Two).then(Arbiter::new);
        Self { actors: Arbiter::new(), callers }
    }

    fn callers(&self) -> &Arbiter {
        self.callers.as_ref().unwrap_or(&self.actors)
    }

    fn stop(self) {
        for place in [Some(self.actors), self.callers].into_iter().flatten() {
            place.stop();
            place.join().expect("it ends");
        }
    }
}

/// How long `main` takes.
fn time<F: Future<Output = Places>>(threads: Threads, main: impl FnOnce(Places) -> F) -> Duration {
    System::new().block_on(async {
        let places = Places::new(threads);
        let started = Instant::now();
        let places = main(places).await;
        let took = started.elapsed();
        places.stop();
        took
    })
}

/// Runs `future` in this thread, and waits for its result.
async fn in_place<F>(place: &Arbiter, future: F) -> F::Output
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    let (done, result) = oneshot::channel();
    place.spawn(async move {
        let _ = done.send(future.await);
    });
    result.await.expect("it ends")
}

/// Answers how often it has been asked.
#[derive(Default)]
struct Counter {
    asked: u64,
}

impl Actor for Counter {
    type Context = Context<Self>;
}

struct Get;

impl Message for Get {
    type Result = u64;
}

impl Handler<Get> for Counter {
    type Result = u64;

    fn handle(&mut self, _: Get, _: &mut Context<Self>) -> u64 {
        self.asked += 1;
        self.asked
    }
}

/// Ends at once.
struct Short {
    ended: Arc<Latch>,
}

impl Actor for Short {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        actix::ActorContext::stop(context);
    }

    fn stopped(&mut self, _: &mut Context<Self>) {
        self.ended.done();
    }
}

/// Reads so many messages.
struct Reader {
    n: u64,
    read: u64,
    pace: Arc<Pace>,
    ended: Arc<Latch>,
}

impl Actor for Reader {
    type Context = Context<Self>;
}

#[derive(Clone)]
struct Number(#[expect(dead_code, reason = "it has the size of what the others send")] u64);

impl Message for Number {
    type Result = ();
}

impl Handler<Number> for Reader {
    type Result = ();

    fn handle(&mut self, _: Number, _: &mut Context<Self>) {
        self.read += 1;
        self.pace.read(self.read);
        if self.read == self.n {
            self.ended.done();
        }
    }
}

/// Addresses are kept. The actors run in the thread of the system.
fn memory(n: u64) -> u64 {
    System::new().block_on(async {
        let mut actors = Vec::with_capacity(n as usize);
        let before = resident();
        for nth in 1..=n {
            actors.push(Counter::default().start());
            if nth.is_multiple_of(WAVE) {
                actix::spawn(async {}).await.expect("it ends");
            }
        }
        let last = Counter::default().start();
        assert_eq!(last.send(Get).await, Ok(1));
        resident() - before
    })
}

/// Each thread starts a half of them.
fn spawn(threads: Threads, n: u64) -> Duration {
    async fn some(n: u64) {
        for wave in waves(n) {
            let ended = Latch::new(wave);
            for _ in 0..wave {
                Short { ended: ended.clone() }.start();
            }
            ended.wait().await;
        }
    }

    time(threads, async |places| {
        match &places.callers {
            None => in_place(&places.actors, some(n)).await,
            Some(second) => {
                let ended = Latch::new(2);
                for place in [&places.actors, second] {
                    let ended = ended.clone();
                    place.spawn(async move {
                        some(n / 2).await;
                        ended.done();
                    });
                }
                ended.wait().await;
            }
        }
        places
    })
}

fn ask(threads: Threads, n: u64) -> Duration {
    time(threads, async |places| {
        let actor = in_place(&places.actors, async { Counter::default().start() }).await;
        in_place(places.callers(), async move {
            for nth in 1..=n {
                assert_eq!(actor.send(Get).await, Ok(nth));
            }
        })
        .await;
        places
    })
}

/// Starts a reader, and `SENDERS` tasks that do `send` for every message.
async fn many<F>(places: &Places, n: u64, send: impl Fn(Addr<Reader>, Arc<Pace>) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let (pace, ended) = (Pace::new(), Latch::new(1));
    let reader = Reader { n, read: 0, pace: pace.clone(), ended: ended.clone() };
    let actor = in_place(&places.actors, async {
        Reader::create(|context| {
            context.set_mailbox_capacity(CAPACITY);
            reader
        })
    })
    .await;
    for _ in 0..SENDERS {
        places.callers().spawn(send(actor.clone(), pace.clone()));
    }
    ended.wait().await;
}

/// To wait for room without waiting for an answer, it has nothing but to try again.
fn bounded(threads: Threads, n: u64) -> Duration {
    time(threads, async |places| {
        many(&places, n, move |actor, _| async move {
            for nth in 1..=n / SENDERS {
                while actor.try_send(Number(nth)).is_err() {
                    tokio::task::yield_now().await;
                }
            }
        })
        .await;
        places
    })
}

/// `do_send` goes past the bound.
fn unbounded(threads: Threads, n: u64) -> Duration {
    time(threads, async |places| {
        many(&places, n, move |actor, pace| async move {
            for nth in 1..=n / SENDERS {
                pace.send(nth, 1).await;
                actor.do_send(Number(nth));
            }
        })
        .await;
        places
    })
}

/// A subscriber of its broker.
struct Subscriber(Reader);

impl Actor for Subscriber {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        self.subscribe_async::<SystemBroker, Number>(context);
    }
}

impl Handler<Number> for Subscriber {
    type Result = ();

    fn handle(&mut self, _: Number, _: &mut Context<Self>) {
        self.0.read += 1;
        self.0.pace.read(self.0.read);
        if self.0.read == self.0.n {
            self.0.ended.done();
        }
    }
}

impl Handler<Flush> for Subscriber {
    type Result = ();

    fn handle(&mut self, _: Flush, _: &mut Context<Self>) {}
}

/// Answered after all that came before.
struct Flush;

impl Message for Flush {
    type Result = ();
}

/// The broker of `actix-broker`, an actor in the thread of the system; the subscribers are there
/// too with one thread, and in another with two.
fn publish(threads: Threads, n: u64) -> Duration {
    let n = n / SUBSCRIBERS;
    System::new().block_on(async {
        let (pace, ended) = (Pace::new(), Latch::new(SUBSCRIBERS));
        let place = (threads == Threads::Two).then(Arbiter::new);
        for _ in 0..SUBSCRIBERS {
            let reader = Reader { n, read: 0, pace: pace.clone(), ended: ended.clone() };
            let start = async { Subscriber(reader).start() };
            let subscriber = match &place {
                None => start.await,
                Some(place) => in_place(place, start).await,
            };
            subscriber.send(Flush).await.expect("it answers");
        }
        let started = Instant::now();
        for nth in 1..=n {
            pace.send(nth, SUBSCRIBERS).await;
            Broker::<SystemBroker>::issue_async(Number(nth));
        }
        ended.wait().await;
        let took = started.elapsed();
        if let Some(place) = place {
            place.stop();
            place.join().expect("it ends");
        }
        took
    })
}

//! What is bounded, and what happens at the bounds.

use std::time::Instant;

use pleiad_net::testing::counts;
use pleiad_net::{LocateError, Node};
use pleiad_task::{AskError, DeliverError, Mailbox, Reply, TaskRef, spawn};
use serde::{Deserialize, Deserializer, Serialize};

use crate::common::{Lab, Say, connect, listener, ms, soon, until};

struct Pair {
    _lab: Lab,
    shop: Node,
    client: Node,
}

impl Pair {
    async fn new() -> Self {
        let lab = Lab::new();
        let (shop, client) = (lab.node("shop").await, lab.node("client").await);
        connect(&client, &shop).await;
        Self { _lab: lab, shop, client }
    }

    /// A task of the one, as the other has it.
    async fn listener(&self, name: &str) -> TaskRef<Say> {
        self.shop.register(name, &spawn(listener).detach()).unwrap();
        soon(self.client.locate(name)).await.unwrap()
    }
}

#[tokio::test]
async fn who_does_not_read_costs_only_its_own_senders() {
    let pair = Pair::new().await;
    let (slow, quick) = (pair.listener("slow").await, pair.listener("quick").await);
    slow.send(Say::Sleep(60_000)).unwrap();
    let mut sent = 0;
    while slow.send(Say::Number(0)).is_ok() {
        sent += 1;
        if sent % 500 == 0 {
            // Nothing is written as long as this task does not wait.
            tokio::time::sleep(ms(1)).await;
        }
        assert!(sent < 20_000, "it has no end");
    }
    assert!(sent > 1024, "a mailbox, and what is on the way: {sent}");
    // Now something large, to another that sleeps.
    let large = pair.listener("large").await;
    large.send(Say::Sleep(60_000)).unwrap();
    let mut sent = 0;
    loop {
        let text = "x".repeat(1 << 20);
        match tokio::time::timeout(ms(100), large.deliver(Say::Text(1, text))).await {
            Ok(Ok(())) => sent += 1,
            Ok(Err(error)) => panic!("{error}"),
            Err(_) if large.send(Say::Text(2, "x".repeat(1 << 20))).is_err() => break,
            Err(_) => sent += 1,
        }
        assert!(sent < 1100, "it has no end");
        if sent > 20 {
            // The mailbox counts messages, and takes a thousand of these.
            break;
        }
    }
    let begun = Instant::now();
    for number in 0..200 {
        assert_eq!(soon(quick.ask(|reply| Say::Echo(number, reply))).await.unwrap(), number);
    }
    assert!(begun.elapsed() < ms(2000), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn who_waits_for_room_goes_on_when_there_is_some() {
    let pair = Pair::new().await;
    let far = pair.listener("task").await;
    far.send(Say::Sleep(300)).unwrap();
    let mut sent = 0;
    while far.send(Say::Number(sent)).is_ok() {
        sent += 1;
    }
    let begun = Instant::now();
    let waits = (0..50).map(|n| {
        let far = far.clone();
        tokio::spawn(async move { far.deliver(Say::Number(100_000 + n)).await.is_ok() })
    });
    for wait in waits.collect::<Vec<_>>() {
        assert!(soon(wait).await.unwrap());
    }
    assert!(begun.elapsed() > ms(200), "there was room");
    let seen = soon(far.ask(Say::Seen)).await.unwrap();
    assert!(seen.iter().take(sent as usize).copied().eq(0..sent));
    assert_eq!(seen.len(), sent as usize + 50);
}

#[tokio::test]
async fn a_delivery_says_what_is_known_when_time_is_up() {
    let pair = Pair::new().await;
    let far = pair.listener("task").await;
    far.send(Say::Sleep(60_000)).unwrap();
    // More than a mailbox, less than what may be on the way.
    for number in 0..1100 {
        far.send(Say::Number(number)).unwrap();
    }
    let unconfirmed = soon(far.deliver(Say::Number(1)).timeout(ms(20))).await.unwrap_err();
    assert!(matches!(unconfirmed, DeliverError::Unconfirmed { .. }), "{unconfirmed:?}");
    while far.send(Say::Number(1)).is_ok() {}
    let timed_out = soon(far.deliver(Say::Number(1)).timeout(ms(20))).await.unwrap_err();
    assert!(!timed_out.is_certain() || matches!(timed_out, DeliverError::TimedOut { .. }));
}

#[tokio::test]
async fn who_is_asked_hears_that_nobody_waits_any_more() {
    let pair = Pair::new().await;
    let task = spawn(async |mut mailbox: Mailbox<Say>| {
        let mut never = Vec::new();
        while let Some(Say::Never(mut reply)) = mailbox.recv().await {
            reply.unwanted().await;
            assert!(!reply.is_wanted());
            never.push(reply);
        }
    });
    pair.shop.register("task", &task).unwrap();
    let far: TaskRef<Say> = soon(pair.client.locate("task")).await.unwrap();
    for _ in 0..2 {
        let begun = Instant::now();
        let asked = soon(far.ask(Say::Never).timeout(ms(50))).await;
        assert!(matches!(asked, Err(AskError::TimedOut { .. })), "{asked:?}");
        let (near, far) = (&pair.client, &pair.shop);
        until("both forget it", || counts(near).questions + counts(far).asked == 0).await;
        assert!(begun.elapsed() < ms(1700), "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn what_is_urgent_overtakes_what_waits() {
    let pair = Pair::new().await;
    let (open, gate) = tokio::sync::oneshot::channel::<()>();
    let task = spawn(async move |mailbox: Mailbox<Say>| {
        let _ = gate.await;
        listener(mailbox).await
    });
    pair.shop.register("task", &task).unwrap();
    let far: TaskRef<Say> = soon(pair.client.locate("task")).await.unwrap();
    for number in 0..2000 {
        far.send(Say::Number(number)).unwrap();
    }
    until("the mailbox is full", || task.queued() == 1024).await;
    far.send_urgent(Say::Number(9999)).unwrap();
    until("it is there", || task.queued() == 1025).await;
    open.send(()).unwrap();
    let seen = soon(far.ask(Say::Seen)).await.unwrap();
    assert_eq!((seen.len(), seen[0], seen[2000]), (2001, 9999, 1999));
}

#[tokio::test]
async fn a_name_that_is_too_long_is_an_error_here_and_no_harm_there() {
    let pair = Pair::new().await;
    for length in [0, 256, 1_000_000] {
        let located = soon(pair.client.locate::<Say>(&"n".repeat(length))).await;
        assert_eq!(located.unwrap_err(), LocateError::Length(length));
    }
    let longest = "n".repeat(255);
    let far = pair.listener(&longest).await;
    assert_eq!(soon(far.ask(|reply| Say::Echo(1, reply))).await.unwrap(), 1);
}

/// Cannot be read if it says so, and has much to say about it.
#[derive(Debug, Serialize)]
struct Picky(String);

impl<'de> Deserialize<'de> for Picky {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        assert!(!text.starts_with("no"), "{}", "y".repeat(1 << 20));
        Ok(Self(text))
    }
}

#[derive(Debug, Serialize, Deserialize)]
enum Word {
    Say(Picky),
    Ask(Picky, Reply<u64>),
}

#[tokio::test]
async fn a_message_that_cannot_be_read_harms_only_its_sender() {
    let pair = Pair::new().await;
    let task = spawn(async |mut mailbox: Mailbox<Word>| {
        let mut words = Vec::new();
        while let Some(word) = mailbox.recv().await {
            match word {
                Word::Say(picky) => words.push(picky.0),
                Word::Ask(_, reply) => reply.send(words.len() as u64),
            }
        }
    });
    pair.shop.register("task", &task).unwrap();
    let far: TaskRef<Word> = soon(pair.client.locate("task")).await.unwrap();
    let picky = |text: &str| Picky(text.to_owned());
    soon(far.deliver(Word::Say(picky("yes")))).await.unwrap();
    let refused = soon(far.deliver(Word::Say(picky("no")))).await;
    assert!(matches!(refused, Err(DeliverError::Unsendable { .. })));
    let asked = soon(far.ask(|reply| Word::Ask(picky("no"), reply))).await;
    assert!(asked.is_err(), "{asked:?}");
    assert_eq!(soon(far.ask(|reply| Word::Ask(picky("yes"), reply))).await.unwrap(), 1);
    assert!(far.is_alive());
}

//! Bad networks: connections that break, stand still, or are slow.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use pleiad_net::{Node, PeerEvent};
use pleiad_task::{ExitReason, TaskRef, spawn};

use crate::common::forwarder::Forwarder;
use crate::common::{Lab, Random, Say, listener, ms, seed, soon, until};

/// Two nodes, of which one reaches the other only by the forwarder.
struct Pair {
    _lab: Lab,
    forwarder: Forwarder,
    shop: Node,
    client: Node,
    far: TaskRef<Say>,
}

async fn pair(lost_after: u64, seed: u64) -> Pair {
    let lab = Lab::new();
    let forwarder = Forwarder::start(seed).await;
    let at = forwarder.address.to_string();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let real = free.to_string();
    let shop = lab.builder("shop").listen(&real).announce(&at).lost_after(ms(lost_after));
    let shop = shop.start().await.unwrap();
    forwarder.to(&real);
    // The client can be reached in no other way than by what it has dialled.
    let client = lab.builder("client").announce(&at).lost_after(ms(lost_after));
    let client = client.start().await.unwrap();
    let task = spawn(listener);
    shop.register("task", &task).unwrap();
    soon(client.connect(&at)).await.unwrap();
    let far = soon(client.locate("task")).await.unwrap();
    Pair { _lab: lab, forwarder, shop, client, far }
}

/// Goal: a connection may break anywhere, and nobody notices but by the time that it takes.
/// Method: thousands of messages, small and large, some of them delivered, while each connection breaks
/// after a random number of bytes, usually in the middle of a frame.
#[tokio::test]
async fn messages_arrive_once_and_in_order_however_often_the_connections_break() {
    let seed = seed();
    let pair = pair(5000, seed).await;
    let mut random = Random(seed);
    pair.forwarder.cut_after(200_000);
    pair.forwarder.cut();
    let count = 3000;
    for number in 0..count {
        let said = match random.below(100) {
            0 => Say::Text(number, "x".repeat(60_000 + random.below(120_000) as usize)),
            1..20 => Say::Text(number, "x".repeat(random.below(3000) as usize)),
            _ => Say::Number(number),
        };
        if random.below(20) == 0 {
            assert_eq!(soon(pair.far.deliver(said)).await.map_err(|e| e.to_string()), Ok(()));
        } else {
            // It waits for room, and then for nothing.
            let mut said = Some(said);
            while let Some(next) = said.take() {
                if let Err(error) = pair.far.send(next) {
                    assert!(error.is_full(), "{error}");
                    said = Some(error.into_message());
                    tokio::time::sleep(ms(1)).await;
                }
            }
        }
    }
    pair.forwarder.cut_after(0);
    pair.forwarder.cut();
    let seen = soon(pair.far.ask(Say::Seen)).await.unwrap();
    println!("{} connections", pair.forwarder.connections());
    assert!(pair.forwarder.connections() > 10, "they were cut");
    assert!(seen.iter().copied().eq(0..count), "{} of {count} have come", seen.len());
    assert_eq!((pair.client.peers().len(), pair.shop.peers().len()), (1, 1));
}

#[tokio::test]
async fn a_network_that_stands_still_for_less_than_the_limit_costs_only_time() {
    for (to, from) in [(true, true), (true, false), (false, true)] {
        let pair = pair(1500, seed()).await;
        pair.forwarder.stall(to, from);
        for number in 0..2000 {
            pair.far.send(Say::Number(number)).unwrap();
        }
        tokio::time::sleep(ms(700)).await;
        pair.forwarder.stall(false, false);
        let seen = soon(pair.far.ask(Say::Seen)).await.unwrap();
        assert!(seen.iter().copied().eq(0..2000), "{to} {from}: {} have come", seen.len());
        assert!(pair.far.is_alive());
    }
}

#[tokio::test]
async fn a_network_that_stands_still_for_longer_is_seen_on_both_sides() {
    let pair = pair(500, seed()).await;
    let (shop_sees, client_sees) = (pair.shop.peers().remove(0), pair.client.peers().remove(0));
    let begun = Instant::now();
    pair.forwarder.stall(true, true);
    let exit = soon(pair.far.ended()).await;
    assert!(matches!(exit.reason, ExitReason::Lost { .. }), "{exit:?}");
    soon(client_sees.gone()).await;
    soon(shop_sees.gone()).await;
    assert!((ms(400)..ms(2500)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    // And when it goes on again, they find each other again.
    pair.forwarder.stall(false, false);
    soon(pair.client.connect(&pair.forwarder.address.to_string())).await.unwrap();
    let far: TaskRef<Say> = soon(pair.client.locate("task")).await.unwrap();
    assert_eq!(soon(far.ask(|reply| Say::Echo(1, reply))).await.unwrap(), 1);
}

#[tokio::test]
async fn a_slow_network_loses_nobody() {
    let pair = pair(600, seed()).await;
    pair.forwarder.delay(ms(100));
    for number in 0..20 {
        assert_eq!(soon(pair.far.ask(|reply| Say::Echo(number, reply))).await.unwrap(), number);
        if number == 3 {
            pair.forwarder.delay(ms(20));
        }
    }
    assert!(pair.far.is_alive());
}

/// Goal: of two nodes that dial each other at the same moment, none takes the other for lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_that_dial_each_other_at_once_stay_together() {
    let lab = Lab::new();
    let mut rounds = Vec::new();
    for round in 0..12 {
        let a = lab.node(&format!("a{round}")).await;
        let b = lab.node(&format!("b{round}")).await;
        rounds.push(tokio::spawn(async move {
            let lost = Arc::new(AtomicBool::new(false));
            for node in [&a, &b] {
                let (mut events, lost) = (node.peer_events(), lost.clone());
                tokio::spawn(async move {
                    while let Some(event) = events.next().await {
                        if matches!(event, PeerEvent::Offline(_)) {
                            lost.store(true, Ordering::Relaxed);
                        }
                    }
                });
            }
            let (to_b, to_a) = (b.addresses()[0].clone(), a.addresses()[0].clone());
            let (one, two) = soon(async { tokio::join!(a.connect(&to_b), b.connect(&to_a)) }).await;
            assert!(one.is_ok() && two.is_ok(), "{one:?} {two:?}");
            let task = spawn(listener);
            b.register("task", &task).unwrap();
            let far: TaskRef<Say> = soon(a.locate("task")).await.unwrap();
            for number in 0..50 {
                let answer = soon(far.ask(|reply| Say::Echo(number, reply))).await;
                assert_eq!(answer.unwrap(), number);
            }
            assert!(!lost.load(Ordering::Relaxed), "one was taken for lost");
            (a, b)
        }));
    }
    for round in rounds {
        drop(round.await.unwrap());
    }
}

/// Both have to say where the other is wanted; whoever is there first waits.
#[tokio::test]
async fn a_peer_that_is_wanted_may_come_later() {
    let lab = Lab::new();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let early = lab.builder("early").peer(free.to_string()).start().await.unwrap();
    until("it was tried", || !early.facts().unreachable.is_empty()).await;
    let late = lab.builder("late").listen(free.to_string()).start().await.unwrap();
    assert_eq!(soon(early.peer("late")).await.map(|peer| peer.node()), Some(late.id()));
}

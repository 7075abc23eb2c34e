//! Peers that die, stand still, or come back: real processes.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use pleiad_net::{LocateError, PeerEvent};
use pleiad_task::{AskError, DeliverError, ExitReason, Mailbox, SendError, TaskRef, spawn};

use crate::common::child::Child;
use crate::common::{Lab, Say, connect, listener, ms, soon, until};

/// Goal: whoever waits for something of a peer hears of its end, and soon.
/// Method: one of each kind that can wait; the process is killed.
#[tokio::test]
async fn whoever_waits_for_a_peer_that_is_killed_is_told_at_once() {
    let lab = Lab::new();
    let mut child = Child::start(lab.home(), "127.0.0.1:0", ms(5000));
    let node = lab.node("parent").await;
    let peer = soon(node.connect(&child.address)).await.unwrap();
    let mut events = node.peer_events();
    assert_eq!(soon(events.next()).await, Some(PeerEvent::Online(peer.clone())));
    let far: TaskRef<Say> = soon(node.locate("child").on(&peer)).await.unwrap();
    assert_eq!(soon(far.ask(|reply| Say::Echo(7, reply))).await.unwrap(), 7);

    far.send(Say::Sleep(60_000)).unwrap();
    let monitor = spawn(async |mut mailbox: Mailbox<ExitReason>| mailbox.recv().await);
    monitor.monitor(&far, |exit| exit.reason).unwrap();
    let question = far.ask(Say::Never);
    // More than there is room for.
    while far.send(Say::Number(1)).is_ok() {}
    let delivery = far.deliver(Say::Number(2));
    let search = node.locate::<Say>("nothing").on(&peer);
    let begun = Instant::now();
    let killed = async {
        tokio::time::sleep(ms(20)).await;
        child.kill();
        Instant::now()
    };
    let (at, question, delivery, search, exit, (), event, seen) = soon(async {
        tokio::join!(
            killed,
            question,
            delivery,
            search,
            far.ended(),
            peer.gone(),
            events.next(),
            monitor
        )
    })
    .await;
    println!("noticed after {:?}", at.elapsed());
    assert!(at.elapsed() < Duration::from_secs(1), "{:?}", at.elapsed());
    assert!(at > begun);
    assert!(matches!(question, Err(AskError::Lost { .. })), "{question:?}");
    assert!(matches!(delivery, Err(DeliverError::Lost { .. })), "{delivery:?}");
    assert!(matches!(&search, Err(LocateError::PeerLost(name)) if name == "child"), "{search:?}");
    assert!(matches!(exit.reason, ExitReason::Lost { .. }), "{exit:?}");
    assert!(matches!(seen, Ok(Some(ExitReason::Lost { .. }))), "{seen:?}");
    assert_eq!(event, Some(PeerEvent::Offline(peer.clone())));
    assert!(matches!(far.send(Say::Number(3)), Err(SendError::Lost { .. })));
    assert!(!peer.is_online() && node.peers().is_empty());
}

#[tokio::test]
async fn a_peer_that_stands_still_for_too_long_is_lost_in_time() {
    let lab = Lab::new();
    let child = Child::start(lab.home(), "127.0.0.1:0", ms(500));
    let node = lab.builder("parent").lost_after(ms(500)).start().await.unwrap();
    let peer = soon(node.connect(&child.address)).await.unwrap();
    let far: TaskRef<Say> = soon(node.locate("child").on(&peer)).await.unwrap();
    let begun = Instant::now();
    child.signal(Signal::SIGSTOP);
    let exit = soon(far.ended()).await;
    assert!(matches!(exit.reason, ExitReason::Lost { .. }), "{exit:?}");
    let after = begun.elapsed();
    assert!((ms(400)..ms(2000)).contains(&after), "{after:?}");
    // When it goes on, it finds that it was given up, and both may begin anew.
    child.signal(Signal::SIGCONT);
    let again = soon(node.connect(&child.address)).await.unwrap();
    let far: TaskRef<Say> = soon(node.locate("child").on(&again)).await.unwrap();
    assert_eq!(soon(far.ask(|reply| Say::Echo(8, reply))).await.unwrap(), 8);
}

#[tokio::test]
async fn nothing_is_missing_after_a_peer_has_stood_still_for_less() {
    let lab = Lab::new();
    let child = Child::start(lab.home(), "127.0.0.1:0", ms(3000));
    let node = lab.builder("parent").lost_after(ms(3000)).start().await.unwrap();
    let peer = soon(node.connect(&child.address)).await.unwrap();
    let far: TaskRef<Say> = soon(node.locate("child").on(&peer)).await.unwrap();
    child.signal(Signal::SIGSTOP);
    for number in 0..3000 {
        far.send(Say::Number(number)).unwrap();
    }
    tokio::time::sleep(ms(1500)).await;
    child.signal(Signal::SIGCONT);
    let seen = soon(far.ask(Say::Seen)).await.unwrap();
    assert!(seen.iter().copied().eq(0..3000), "{} have come", seen.len());
    assert!(peer.is_online());
}

/// Its node has a thread of its own, which gives signs of life.
#[tokio::test]
async fn a_program_that_blocks_its_only_thread_is_not_lost() {
    let lab = Lab::new();
    let child = Child::start(lab.home(), "127.0.0.1:0", ms(400));
    let node = lab.builder("parent").lost_after(ms(400)).start().await.unwrap();
    let peer = soon(node.connect(&child.address)).await.unwrap();
    let far: TaskRef<Say> = soon(node.locate("child").on(&peer)).await.unwrap();
    far.send(Say::Block(1500)).unwrap();
    let begun = Instant::now();
    assert_eq!(soon(far.ask(|reply| Say::Echo(9, reply))).await.unwrap(), 9);
    assert!(begun.elapsed() > ms(1000), "it was blocked");
    assert!(peer.is_online());
}

#[tokio::test]
async fn a_peer_that_starts_again_at_its_address_is_another_one() {
    let lab = Lab::new();
    let mut child = Child::start(lab.home(), "127.0.0.1:0", ms(5000));
    let node = lab.builder("parent").peer(&child.address).start().await.unwrap();
    let mut events = node.peer_events();
    let Some(PeerEvent::Online(first)) = soon(events.next()).await else { panic!("no peer") };
    let old: TaskRef<Say> = soon(node.locate("child").on(&first)).await.unwrap();
    child.kill();
    assert_eq!(soon(events.next()).await, Some(PeerEvent::Offline(first.clone())));
    let again = Child::start(lab.home(), &child.address, ms(5000));
    let Some(PeerEvent::Online(second)) = soon(events.next()).await else { panic!("no peer") };
    assert_eq!((again.address.as_str(), second.name()), (child.address.as_str(), first.name()));
    assert_ne!(first.node(), second.node());
    // A reference to a task of the old one does not reach the new one.
    assert!(!old.is_alive() && old.send(Say::Number(1)).is_err());
    let new: TaskRef<Say> = soon(node.locate("child")).await.unwrap();
    assert!(soon(new.ask(Say::Seen)).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_was_sent_before_a_node_closes_arrives() {
    let lab = Lab::new();
    let (shop, client) = (lab.node("shop").await, lab.node("client").await);
    let task = spawn(listener);
    shop.register("task", &task).unwrap();
    let peer = connect(&client, &shop).await;
    let far: TaskRef<Say> = soon(client.locate("task")).await.unwrap();
    for number in 0..900 {
        far.send(Say::Number(number)).unwrap();
    }
    soon(client.close()).await;
    assert!(!peer.is_online());
    assert!(soon(task.ask(Say::Seen)).await.unwrap().into_iter().eq(0..900));
    until("it is gone", || shop.peers().is_empty()).await;
}

#[tokio::test]
async fn a_node_goes_offline_with_its_last_handle() {
    let lab = Lab::new();
    let (shop, client) = (lab.node("shop").await, lab.node("client").await);
    let task = spawn(listener);
    shop.register("task", &task).unwrap();
    connect(&client, &shop).await;
    let far: TaskRef<Say> = soon(client.locate("task")).await.unwrap();
    far.send(Say::Number(5)).unwrap();
    let peer = soon(shop.peer("client")).await.unwrap();
    drop(client);
    soon(peer.gone()).await;
    assert!(matches!(far.send(Say::Number(6)), Err(SendError::Lost { .. })));
}

#[tokio::test]
async fn whoever_waits_at_a_node_that_closes_is_told() {
    let lab = Lab::new();
    let (shop, client) = (lab.node("shop").await, lab.node("client").await);
    let peer = connect(&client, &shop).await;
    let mut events = client.peer_events();
    assert_eq!(soon(events.next()).await, Some(PeerEvent::Online(peer.clone())));
    let waits = async {
        tokio::join!(client.locate::<Say>("nothing"), client.peer("nobody"), events.next())
    };
    let closes = async {
        tokio::time::sleep(ms(10)).await;
        client.close().await;
    };
    let ((located, found, event), ()) = soon(async { tokio::join!(waits, closes) }).await;
    assert_eq!(located.unwrap_err(), LocateError::Closed);
    assert_eq!((found, event), (None, Some(PeerEvent::Offline(peer))));
    assert_eq!(soon(events.next()).await, None);
    assert_eq!(soon(client.locate::<Say>("nothing")).await.unwrap_err(), LocateError::Closed);
}

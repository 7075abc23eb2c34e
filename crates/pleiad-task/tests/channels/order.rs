//! What many threads do at the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pleiad_task::{Channel, Mailbox, TaskBuilder, WhenFull, spawn};
use tokio::sync::{Notify, oneshot};
use tokio::task::yield_now;

/// Goal: each subscriber gets the messages of each publisher in order, and all of them, whatever
/// happens around. Method: publishers with numbers, lasting subscribers of each policy, and others
/// that come and go.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn messages_of_a_publisher_stay_in_order_while_subscribers_come_and_go() {
    const PUBLISHERS: usize = 4;
    const MESSAGES: usize = 3_000;
    let channel = Channel::<(usize, usize)>::new("ordered");
    let above = Channel::<(usize, usize)>::new("above");
    above.subscribe_channel(&channel).unwrap();
    let tasks: Vec<_> = (0..3)
        .map(|_| {
            let task = TaskBuilder::new().capacity(16).spawn(in_order::<PUBLISHERS>);
            channel.subscribe(&task).unwrap();
            task
        })
        .collect();
    let ring = TaskBuilder::new().capacity(16).spawn(in_order::<PUBLISHERS>);
    let subscription = channel.subscribe_latest(&ring, |m| m, 16).unwrap();

    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|publisher| {
            let channel = if publisher % 2 == 0 { channel.clone() } else { above.clone() };
            tokio::spawn(async move {
                for n in 0..MESSAGES {
                    channel.deliver((publisher, n)).await.unwrap();
                }
            })
        })
        .collect();
    let (stop, mut stopped) = oneshot::channel::<()>();
    let churn = tokio::spawn({
        let (channel, task, ring) = (channel.clone(), (*tasks[0]).clone(), (*ring).clone());
        async move {
            let mut rounds = 0;
            while stopped.try_recv().is_err() {
                let guest = spawn(in_order::<PUBLISHERS>);
                channel.subscribe(&guest).unwrap();
                channel.subscribe(&task).unwrap();
                channel.subscribe_latest(&ring, |m| m, 16).unwrap();
                let mut stream = channel.stream(4, WhenFull::DropOldest);
                stream.recv().await;
                channel.unsubscribe(&guest);
                guest.await.unwrap();
                rounds += 1;
            }
            rounds
        }
    });
    for publisher in publishers {
        publisher.await.unwrap();
    }
    stop.send(()).unwrap();
    // The churn may wait for a message.
    while !churn.is_finished() {
        channel.deliver((PUBLISHERS, 0)).await.unwrap();
        yield_now().await;
    }
    assert!(churn.await.unwrap() > 0);
    channel.close();
    for task in tasks {
        assert_eq!(task.await.unwrap(), [MESSAGES; PUBLISHERS], "nothing is missing");
    }
    let read: usize = ring.await.unwrap().iter().sum();
    assert!(read as u64 + subscription.missed() >= (PUBLISHERS * MESSAGES) as u64);
}

/// Goal: no wake-up is lost between a publisher and a task that waits for its ring. Method: each
/// waits for the other, so a loss is a deadlock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_message_of_a_ring_is_always_read() {
    let channel = Channel::<usize>::new("last");
    let (told, last) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let reader = spawn({
        let (told, last) = (told.clone(), last.clone());
        async move |mut mailbox: Mailbox<usize>| {
            while let Some(n) = mailbox.recv().await {
                last.store(n, Ordering::Release);
                told.notify_one();
            }
        }
    });
    channel.subscribe_latest(&reader, |n| n, 2).unwrap();
    for n in 1..20_000 {
        channel.send(n).unwrap();
        if n % 3 == 0 {
            while last.load(Ordering::Acquire) < n {
                told.notified().await;
            }
        }
    }
}

/// As [`collect`], but checks the order, and gives how many came of each.
async fn in_order<const PUBLISHERS: usize>(
    mut mailbox: Mailbox<(usize, usize)>,
) -> [usize; PUBLISHERS] {
    let (mut next, mut count) = ([0; PUBLISHERS], [0; PUBLISHERS]);
    while let Some((publisher, n)) = mailbox.recv().await {
        if publisher < PUBLISHERS {
            assert!(n >= next[publisher], "{n} of {publisher} comes after {}", next[publisher]);
            next[publisher] = n + 1;
            count[publisher] += 1;
        }
    }
    count
}

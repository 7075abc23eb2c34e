//! Channels: published on one node, subscribed to on others.

mod lab;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pleiad_net::{LocateError, Node, RegisterError, RemotePublishError, RemoteSubscribeError};
use pleiad_task::{
    Channel, ExitReason, Mailbox, Task, TaskBuilder, TaskRef, TryRecvError, WhenFull, spawn,
};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use lab::{Lab, soon};

/// A task that gives what it has got when nobody can send to it any more.
fn collector() -> Task<u64, Vec<u64>> {
    spawn(async |mut mailbox: Mailbox<u64>| {
        let mut got = Vec::new();
        while let Some(n) = mailbox.recv().await {
            got.push(n);
        }
        got
    })
}

/// A node with a channel.
async fn home(lab: &Lab) -> (Node, Channel<u64>) {
    let home = lab.node("home").await;
    let ticks = Channel::new("ticks");
    home.register_channel(&ticks).expect("the name is free");
    (home, ticks)
}

/// Waits until a channel has so many subscribers.
async fn has_subscribers(channel: &Channel<u64>, wanted: usize) {
    let wait = async {
        while channel.subscribers() != wanted {
            tokio::task::yield_now().await;
        }
    };
    soon(wait).await;
}

// ---- publish and subscribe ----

#[tokio::test]
async fn messages_go_to_subscribers_on_all_nodes() {
    let lab = Lab::new();
    let (home, ticks) = home(&lab).await;
    let (a, b) = (lab.node("a").await, lab.node("b").await);
    let mut tasks = Vec::new();
    for node in [&home, &a, &b] {
        let remote = soon(node.channel::<u64>("ticks")).await.unwrap();
        let task = collector();
        soon(remote.subscribe(&task)).await.unwrap();
        soon(remote.subscribe(&task)).await.unwrap();
        tasks.push(task);
    }
    assert_eq!(ticks.subscribers(), 3, "each is subscribed once");
    assert_eq!(soon(ticks.deliver(1)).await.unwrap().reached, 3);
    let far = soon(b.channel::<u64>("ticks")).await.unwrap();
    assert_eq!(far.to_string(), "ticks@home");
    far.send(2).unwrap();
    assert_eq!(soon(far.deliver(3)).await.unwrap().reached, 3);
    ticks.close();
    assert_eq!(soon(far.closed()).await, ExitReason::Returned);
    for task in tasks {
        assert_eq!(soon(task).await, Ok(vec![1, 2, 3]));
    }
    assert!(far.is_closed());
    assert!(matches!(far.send(4), Err(RemotePublishError::Closed { .. })));
    assert!(matches!(soon(far.deliver(4)).await, Err(RemotePublishError::Closed { .. })));
    let task = collector();
    let refused = soon(far.subscribe(&task)).await;
    assert!(matches!(refused, Err(RemoteSubscribeError::ChannelClosed { .. })), "{refused:?}");
    assert!(home.names().is_empty(), "the name is free");
}

/// Goal: a remote deliver waits at the channel for subscribers, wherever they are, and counts them.
#[tokio::test]
async fn a_deliver_waits_for_one_subscriber_far_away_and_one_at_home() {
    let lab = Lab::new();
    let (_home, ticks) = home(&lab).await;
    let (publisher, other) = (lab.node("publisher").await, lab.node("other").await);
    let remote = soon(publisher.channel::<u64>("ticks")).await.unwrap();

    let after = Duration::from_millis(30);
    let late = soon(remote.deliver(1).at_least(1).timeout(after)).await;
    let channel = "ticks".to_owned();
    assert_eq!(late, Err(RemotePublishError::TimedOut { channel, reached: 0, wanted: 1, after }));

    let delivered = tokio::spawn({
        let remote = remote.clone();
        async move { remote.deliver(2).at_least(2).await }
    });
    let (far, near) = (collector(), collector());
    let there = soon(other.channel::<u64>("ticks")).await.unwrap();
    soon(there.subscribe(&far)).await.unwrap();
    // One is not enough: this comes before.
    assert_eq!(soon(remote.deliver(1)).await.unwrap().reached, 1);
    assert!(!delivered.is_finished());
    ticks.subscribe(&near).unwrap();
    assert_eq!(soon(delivered).await.unwrap().unwrap().reached, 2);
    ticks.close();
    assert_eq!(soon(far).await, Ok(vec![1, 2]));
    assert_eq!(soon(near).await, Ok(vec![2]));
}

#[tokio::test]
async fn a_deliver_that_waits_ends_with_the_channel() {
    let lab = Lab::new();
    let (_home, ticks) = home(&lab).await;
    let client = lab.node("client").await;
    let remote = soon(client.channel::<u64>("ticks")).await.unwrap();
    let waits = tokio::spawn({
        let remote = remote.clone();
        async move { remote.deliver(1).at_least(1).await }
    });
    assert_eq!(soon(remote.deliver(2)).await.unwrap().reached, 0);
    ticks.close();
    assert!(matches!(soon(waits).await.unwrap(), Err(RemotePublishError::Closed { .. })));
}

/// A message of which it is known how many there are.
#[derive(Serialize, Deserialize)]
#[serde(from = "()", into = "()")]
struct Tracked;

static TRACKED: AtomicUsize = AtomicUsize::new(0);

impl From<()> for Tracked {
    fn from((): ()) -> Self {
        TRACKED.fetch_add(1, Ordering::SeqCst);
        Self
    }
}

impl From<Tracked> for () {
    fn from(_: Tracked) {}
}

impl Clone for Tracked {
    fn clone(&self) -> Self {
        ().into()
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        TRACKED.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_deliver_that_nobody_waits_for_leaves_nothing_at_the_channel() {
    let lab = Lab::new();
    let (home, client) = (lab.node("home").await, lab.node("client").await);
    let channel = Channel::<Tracked>::new("tracked");
    home.register_channel(&channel).unwrap();
    let remote = soon(client.channel::<Tracked>("tracked")).await.unwrap();
    let waits = tokio::spawn({
        let remote = remote.clone();
        async move { remote.deliver(().into()).at_least(1).await.map(drop) }
    });
    let wait_for = async |wanted| {
        while TRACKED.load(Ordering::SeqCst) != wanted {
            tokio::task::yield_now().await;
        }
    };
    soon(remote.deliver(().into())).await.unwrap();
    soon(wait_for(1)).await;
    waits.abort();
    soon(wait_for(0)).await;
}

#[tokio::test]
async fn every_publisher_is_heard_in_order_under_load() {
    const MESSAGES: u64 = 2000;
    let lab = Lab::new();
    let (home, ticks) = home(&lab).await;
    let nodes = [lab.node("a").await, lab.node("b").await];
    let mut tasks = Vec::new();
    for node in nodes.iter().chain([&home]) {
        let task = TaskBuilder::new().unbounded().spawn(async |mut mailbox: Mailbox<u64>| {
            let mut got = Vec::new();
            while let Some(n) = mailbox.recv().await {
                got.push(n);
            }
            got
        });
        let remote = soon(node.channel::<u64>("ticks")).await.unwrap();
        soon(remote.subscribe(&task)).await.unwrap();
        tasks.push(task);
    }
    let mut publishers = Vec::new();
    for (publisher, node) in (0..).zip(&nodes) {
        let remote = soon(node.channel::<u64>("ticks")).await.unwrap();
        publishers.push(tokio::spawn(async move {
            for n in 0..MESSAGES {
                let message = publisher * MESSAGES + n;
                // Both ways, in turns: they keep their order too.
                if n % 50 == 0 {
                    assert_eq!(remote.deliver(message).await.unwrap().reached, 3);
                    continue;
                }
                while let Err(error) = remote.send(message) {
                    assert!(matches!(error, RemotePublishError::Busy { .. }), "{error}");
                    tokio::task::yield_now().await;
                }
            }
            remote.deliver(u64::MAX).await.unwrap();
        }));
    }
    for publisher in publishers {
        soon(publisher).await.unwrap();
    }
    ticks.close();
    for task in tasks {
        let got = soon(task).await.unwrap();
        for publisher in 0..2 {
            let own = publisher * MESSAGES..(publisher + 1) * MESSAGES;
            let heard: Vec<u64> = got.iter().copied().filter(|n| own.contains(n)).collect();
            assert!(heard.iter().copied().eq(own), "all of them, in order, once");
        }
    }
}

/// Goal: one slow subscriber far away costs others nothing; it has what found room on its way, in order.
#[tokio::test]
async fn a_slow_subscriber_costs_nobody_else_anything() {
    const MESSAGES: u64 = 20_000;
    let lab = Lab::new();
    let (_home, ticks) = home(&lab).await;
    let (slow_node, fast_node) = (lab.node("slow").await, lab.node("fast").await);
    let (go, gone) = tokio::sync::oneshot::channel::<()>();
    let slow = TaskBuilder::new().capacity(1).spawn(async |mut mailbox: Mailbox<u64>| {
        let _ = gone.await;
        let mut got = Vec::new();
        while let Some(n) = mailbox.recv().await {
            got.push(n);
        }
        got
    });
    let remote = soon(slow_node.channel::<u64>("ticks")).await.unwrap();
    soon(remote.subscribe(&slow)).await.unwrap();
    let remote = soon(fast_node.channel::<u64>("ticks")).await.unwrap();
    let fast = TaskBuilder::new().unbounded().spawn(async |mut mailbox: Mailbox<u64>| {
        let mut next = 0;
        while let Some(n) = mailbox.recv().await {
            assert_eq!(n, next);
            next += 1;
        }
        next
    });
    soon(remote.subscribe(&fast)).await.unwrap();
    let mut missed = 0;
    let publish = async {
        for n in 0..MESSAGES {
            let published = ticks.send(n).unwrap();
            missed += published.missed as u64;
            if n % 100 == 0 {
                tokio::task::yield_now().await;
            }
        }
    };
    soon(publish).await;
    ticks.close();
    let heard = soon(fast).await.unwrap();
    let _ = go.send(());
    let got = soon(slow).await.unwrap();
    assert!(got.is_sorted(), "in order");
    let others = got.len() as u64 + heard + missed;
    assert_eq!(others, 2 * MESSAGES, "each message was got or counted as missed");
    assert!((got.len() as u64) < MESSAGES, "the slow one has its window, and no more");
}

// ---- other subscribers ----

#[derive(Debug, PartialEq)]
enum Input {
    Tick(u64),
    Named(String),
}

#[tokio::test]
async fn a_task_that_takes_other_messages_is_subscribed_with_a_function() {
    let lab = Lab::new();
    let (_home, ticks) = home(&lab).await;
    let client = lab.node("client").await;
    let remote = soon(client.channel::<u64>("ticks")).await.unwrap();
    let (tell, mut told) = mpsc::unbounded_channel();
    let task = spawn(async move |mut mailbox: Mailbox<Input>| {
        while let Some(input) = mailbox.recv().await {
            let _ = tell.send(input);
        }
    });
    assert_eq!(soon(remote.unsubscribe(&task)).await, Ok(false));
    soon(remote.subscribe_as(&task, Input::Tick)).await.unwrap();
    assert_eq!(soon(ticks.deliver(1)).await.unwrap().reached, 1);
    assert_eq!(soon(told.recv()).await, Some(Input::Tick(1)));

    soon(remote.subscribe_as(&task, |n| Input::Named(n.to_string()))).await.unwrap();
    assert_eq!(soon(ticks.deliver(2)).await.unwrap().reached, 1, "it is the same subscription");
    assert_eq!(soon(told.recv()).await, Some(Input::Named("2".to_owned())));

    assert_eq!(soon(remote.unsubscribe(&task)).await, Ok(true));
    assert_eq!(soon(ticks.deliver(3)).await.unwrap().reached, 0);
    soon(remote.subscribe_as(&task, Input::Tick)).await.unwrap();
    assert_eq!(soon(ticks.deliver(4)).await.unwrap().reached, 1);
    ticks.close();
    soon(task).await.unwrap();
    assert_eq!(told.recv().await, Some(Input::Tick(4)));
    assert_eq!(told.recv().await, None);
}

#[tokio::test]
async fn a_subscription_with_a_function_takes_the_place_of_one_without() {
    let lab = Lab::new();
    let (_home, ticks) = home(&lab).await;
    let client = lab.node("client").await;
    let remote = soon(client.channel::<u64>("ticks")).await.unwrap();
    let task = collector();
    soon(remote.subscribe(&task)).await.unwrap();
    ticks.send(1).unwrap();
    soon(remote.subscribe_as(&task, |n| 10 * n)).await.unwrap();
    assert_eq!(soon(ticks.deliver(2)).await.unwrap().reached, 1);
    soon(remote.subscribe(&task)).await.unwrap();
    assert_eq!(soon(ticks.deliver(3)).await.unwrap().reached, 1);
    assert_eq!(soon(remote.unsubscribe(&task)).await, Ok(true));
    assert_eq!(ticks.subscribers(), 0);
    let mut got = soon(task).await.unwrap();
    got.truncate(2);
    assert_eq!(got, [1, 20]);
}

#[tokio::test]
async fn a_stream_reads_a_channel_of_another_node_until_that_is_closed() {
    let lab = Lab::new();
    let (_home, ticks) = home(&lab).await;
    let client = lab.node("client").await;
    let remote = soon(client.channel::<u64>("ticks")).await.unwrap();
    let mut stream = soon(remote.stream(10, WhenFull::Wait)).await.unwrap();
    let mut latest = soon(remote.stream(1, WhenFull::DropOldest)).await.unwrap();
    let dropped = soon(remote.stream(1, WhenFull::Wait)).await.unwrap();
    assert_eq!(ticks.subscribers(), 3);
    drop(dropped);
    has_subscribers(&ticks, 2).await;
    for n in 0..5 {
        assert_eq!(soon(ticks.deliver(n)).await.unwrap().reached, 2);
    }
    ticks.close();
    for n in 0..5 {
        assert_eq!(soon(stream.recv()).await, Some(n));
    }
    assert_eq!(soon(stream.recv()).await, None);
    assert_eq!(stream.try_recv(), Err(TryRecvError::Closed));
    soon(remote.closed()).await;
    let late = soon(remote.stream(1, WhenFull::Wait)).await.map(drop);
    assert!(matches!(late, Err(RemoteSubscribeError::ChannelClosed { .. })), "{late:?}");
    assert_eq!(soon(latest.recv()).await, Some(4));
    assert_eq!((soon(latest.recv()).await, latest.missed()), (None, 4));
}

#[tokio::test]
async fn a_task_that_has_ended_is_not_subscribed() {
    let lab = Lab::new();
    let (_home, ticks) = home(&lab).await;
    let client = lab.node("client").await;
    let remote = soon(client.channel::<u64>("ticks")).await.unwrap();
    let task: TaskRef<u64> = collector().detach();
    task.terminate();
    soon(task.ended()).await;
    let refused =
        [soon(remote.subscribe(&task)).await, soon(remote.subscribe_as(&task, |n| n)).await];
    for refused in refused {
        assert!(matches!(refused, Err(RemoteSubscribeError::TaskClosed { .. })), "{refused:?}");
    }
    assert_eq!(ticks.subscribers(), 0);
}

// ---- the end ----

#[tokio::test]
async fn who_ends_or_is_lost_is_no_subscriber_any_more() {
    let lab = Lab::new();
    let (_home, ticks) = home(&lab).await;
    for closes in [true, false] {
        let client = lab.node("client").await;
        let remote = soon(client.channel::<u64>("ticks")).await.unwrap();
        let ends = collector();
        let stays = collector();
        let mapped =
            spawn(async |mut mailbox: Mailbox<Input>| while mailbox.recv().await.is_some() {});
        soon(remote.subscribe(&ends)).await.unwrap();
        soon(remote.subscribe(&stays)).await.unwrap();
        soon(remote.subscribe_as(&mapped, Input::Tick)).await.unwrap();
        let _stream = soon(remote.stream(1, WhenFull::Wait)).await.unwrap();
        assert_eq!(ticks.subscribers(), 4);
        ends.terminate();
        has_subscribers(&ticks, 3).await;
        mapped.terminate();
        has_subscribers(&ticks, 2).await;
        if closes {
            client.close().await;
        }
        drop(client);
        has_subscribers(&ticks, 0).await;
        assert_eq!(soon(ticks.deliver(1)).await.unwrap().reached, 0);
    }
}

#[tokio::test]
async fn a_channel_is_lost_with_its_node() {
    let lab = Lab::new();
    for closes in [true, false] {
        let (home, _ticks) = home(&lab).await;
        let client = lab.node("client").await;
        let remote = soon(client.channel::<u64>("ticks")).await.unwrap();
        let task = collector();
        soon(remote.subscribe(&task)).await.unwrap();
        let mut stream = soon(remote.stream(1, WhenFull::Wait)).await.unwrap();
        let waits = tokio::spawn({
            let remote = remote.clone();
            async move { remote.deliver(1).at_least(9).await }
        });
        soon(remote.deliver(7)).await.unwrap();
        if closes {
            home.close().await;
        }
        drop(home);
        assert!(matches!(soon(remote.closed()).await, ExitReason::Lost { .. }));
        assert_eq!(soon(stream.recv()).await, Some(7));
        assert_eq!(soon(stream.recv()).await, None);
        assert_eq!(soon(task).await, Ok(vec![7]));
        let lost = soon(waits).await.unwrap();
        assert!(matches!(lost, Err(RemotePublishError::Lost { .. })), "{lost:?}");
        assert!(matches!(remote.send(1), Err(RemotePublishError::Lost { .. })));
    }
}

// ---- names ----

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Other(String);

#[tokio::test]
async fn a_channel_is_not_taken_for_a_task_or_for_one_of_other_messages() {
    let lab = Lab::new();
    let (home, _ticks) = home(&lab).await;
    let task = collector();
    home.register("numbers", &task).unwrap();
    let client = lab.node("client").await;
    for node in [&home, &client] {
        let wrong = soon(node.channel::<Other>("ticks")).await.map(drop);
        assert!(matches!(wrong, Err(LocateError::WrongType { .. })), "{wrong:?}");
        let wrong = soon(node.locate::<u64>("ticks")).await.map(drop).unwrap_err();
        let text = "\"ticks\" on home takes what a channel does (u64), not u64";
        assert_eq!(wrong.to_string(), text);
        let wrong = soon(node.channel::<u64>("numbers")).await.map(drop).unwrap_err();
        let text = "\"numbers\" on home takes u64, not what a channel does (u64)";
        assert_eq!(wrong.to_string(), text);
    }
    let late = client.channel::<u64>("tocks").timeout(Duration::from_millis(10)).await;
    assert!(matches!(late, Err(LocateError::TimedOut { peers: 1, .. })), "{late:?}");
}

#[tokio::test]
async fn a_name_is_given_once_and_taken_away() {
    let lab = Lab::new();
    let (home, ticks) = home(&lab).await;
    assert_eq!(home.register_channel(&ticks), Ok(()), "it has it");
    let other = Channel::<u64>::new("ticks");
    let taken = home.register_channel(&other);
    assert!(matches!(taken, Err(RegisterError::Taken { .. })), "{taken:?}");
    assert!(!home.unregister_channel(&other));

    let client = lab.node("client").await;
    let known = soon(client.channel::<u64>("ticks")).await.unwrap();
    assert!(home.unregister_channel(&ticks));
    assert!(home.register_channel(&other).is_ok());
    let found = soon(client.channel::<u64>("ticks")).await.unwrap();
    assert_ne!(known, found);
    let mut stream = ticks.stream(1, WhenFull::Wait);
    drop(ticks);
    known.send(1).unwrap();
    assert_eq!(soon(stream.recv()).await, Some(1), "who has found it keeps it open");
    drop(known);
    assert_eq!(soon(stream.recv()).await, None, "the last handle is dropped");

    other.close();
    let closed = home.register_channel(&other);
    assert_eq!(closed, Err(RegisterError::Closed("ticks".to_owned())));
}

//! Channels: publish and subscribe. One chapter for each promise.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_core::Stream;
use pleiad_task::{
    Channel, FindError, Mailbox, NameTaken, PublishError, SubscribeChannelError, SubscribeError,
    Subscriber, Task, TaskBuilder, TryRecvError, WhenFull, spawn,
};
use tokio::task::yield_now;

#[path = "channels/model.rs"]
mod model;
#[path = "channels/order.rs"]
mod order;

// ---- to be found, and to end ----

#[tokio::test]
async fn a_registered_channel_is_found_by_its_name() {
    let channel = Channel::<u64>::new("found by its name");
    assert!(matches!(Channel::<u64>::find(channel.name()), Err(FindError::NotFound(_))));
    channel.register().unwrap();
    channel.register().unwrap();
    assert_eq!(Channel::find(channel.name()), Ok(channel.clone()));
    assert!(matches!(Channel::<u32>::find(channel.name()), Err(FindError::WrongType { .. })));

    let twin = Channel::<u64>::new(channel.name());
    assert_ne!(twin, channel);
    let Err(NameTaken::Taken { holder, .. }) = twin.register() else { panic!("it is taken") };
    assert_eq!(holder, "channel \"found by its name\"");
    assert!(!twin.unregister());
    assert!(channel.unregister());
    twin.register().unwrap();
    twin.close();
}

#[tokio::test(start_paused = true)]
async fn who_locates_a_channel_waits_until_it_is_there() {
    let hour = Duration::from_secs(3600);
    let early = Channel::<u8>::locate("comes late").timeout(hour).await;
    assert!(matches!(early, Err(FindError::TimedOut { .. })));
    let waits = tokio::spawn(Channel::<u8>::locate("comes late"));
    yield_now().await;
    let channel = Channel::<u8>::new("comes late");
    channel.register().unwrap();
    assert_eq!(waits.await.unwrap(), Ok(channel.clone()));
    channel.close();
}

#[tokio::test]
async fn closing_frees_the_name_and_ends_all_subscriptions() {
    let channel = Channel::<u64>::new("to be closed");
    channel.register().unwrap();
    let (task, mut mailbox) = mailbox(10);
    let subscription = channel.subscribe(&task).unwrap();
    let mut stream = channel.stream(10, WhenFull::Wait);
    channel.send(1).unwrap();
    assert!(subscription.is_active());

    channel.clone().close();
    channel.close();
    assert!(channel.is_closed() && !subscription.is_active());
    assert!(matches!(Channel::<u64>::find("to be closed"), Err(FindError::NotFound(_))));
    let closed = PublishError::Closed { channel: "to be closed".to_owned() };
    assert_eq!(channel.send(2), Err(closed.clone()));
    assert_eq!(channel.deliver(2).await, Err(closed.clone()));
    assert_eq!(channel.deliver(2).at_least(1).await, Err(closed));
    assert!(matches!(channel.register(), Err(NameTaken::Closed(_))));
    let refused = channel.subscribe(&task);
    assert!(matches!(refused, Err(SubscribeError::ChannelClosed { .. })));
    assert_eq!(channel.stream(1, WhenFull::Wait).recv().await, None);
    assert!(!channel.unsubscribe(&task));

    assert_eq!(stream.recv().await, Some(1), "what has come is still read");
    assert_eq!(stream.recv().await, None);
    assert_eq!(all_of(&mut mailbox), [1]);
}

#[tokio::test]
async fn a_channel_ends_with_its_last_handle() {
    let channel = Channel::<u64>::new("dropped");
    let task = spawn(collect);
    channel.subscribe(&task).unwrap();
    let mut stream = channel.stream(10, WhenFull::DropOldest);
    let reference = task.downgrade();
    let other = channel.clone();
    other.send(1).unwrap();
    drop(channel);
    other.send(2).unwrap();
    drop(other);
    assert_eq!(all_in(&mut stream), [1, 2]);
    assert_eq!(stream.recv().await, None);
    assert_eq!(task.await.unwrap(), [1, 2], "nothing keeps its mailbox open");
    assert!(reference.upgrade().is_none());
}

#[tokio::test]
async fn a_registered_channel_needs_no_other_handle() {
    Channel::<u64>::new("without handles").register().unwrap();
    let channel = Channel::<u64>::find("without handles").unwrap();
    let mut stream = channel.stream(10, WhenFull::Wait);
    assert!(channel.unregister());
    drop(channel);
    assert_eq!(stream.recv().await, None);
}

#[test]
fn a_channel_prints_its_name_and_travels_in_messages() {
    fn is_a_message<T: Clone + Send + Sync + std::hash::Hash + Eq + 'static>(_: &T) {}
    let channel = Channel::<std::cell::Cell<u8>>::new("news");
    is_a_message(&channel);
    assert_eq!(format!("{channel} {channel:?}"), "news channel \"news\"");
}

// ---- to subscribe ----

#[tokio::test]
async fn all_subscribers_get_what_is_published_while_they_are_subscribed() {
    let channel = Channel::<u64>::new("numbers");
    let sum = spawn(async |mailbox: Mailbox<u64>| collect(mailbox).await.iter().sum::<u64>());
    let product =
        spawn(async |mailbox: Mailbox<u64>| collect(mailbox).await.iter().product::<u64>());
    assert_eq!(channel.send(100).unwrap().reached, 0, "nobody is no error");
    channel.subscribe(&sum).unwrap();
    channel.subscribe(&product).unwrap();
    for n in 1..=4 {
        assert_eq!(channel.send(n).unwrap().reached, 2);
    }
    drop(channel);
    assert_eq!((sum.await.unwrap(), product.await.unwrap()), (10, 24));
}

#[tokio::test]
async fn messages_of_a_channel_and_of_tasks_share_the_mailbox() {
    let channel = Channel::<u64>::new("shared");
    let (task, mut mailbox) = mailbox::<String>(10);
    channel.subscribe_as(&task, |n| n.to_string()).unwrap();
    channel.send(1).unwrap();
    task.send("two".to_owned()).unwrap();
    channel.send(3).unwrap();
    assert_eq!(all_of(&mut mailbox), ["1", "two", "3"]);
}

#[tokio::test]
async fn who_subscribes_twice_gets_each_message_once() {
    let channel = Channel::<u64>::new("twice");
    let (task, mut mailbox) = mailbox(10);
    channel.subscribe(&task).unwrap();
    channel.send(1).unwrap();
    channel.subscribe_as(&task, |n| n * 10).unwrap();
    assert_eq!(channel.subscribers(), 1);
    channel.send(2).unwrap();
    assert_eq!(all_of(&mut mailbox), [1, 20]);
    assert!(channel.unsubscribe(&task));
    assert!(!channel.unsubscribe(&task));
    assert_eq!(channel.send(3).unwrap().reached, 0);
    assert_eq!(all_of(&mut mailbox), []);
}

#[tokio::test]
async fn a_ring_that_is_subscribed_again_loses_nothing_and_keeps_the_order() {
    let channel = Channel::<u64>::new("again");
    let (task, mut mailbox) = mailbox(10);
    let first = channel.subscribe_latest(&task, |n| n, 4).unwrap();
    (1..=4).for_each(|n| assert_eq!(channel.send(n).unwrap().reached, 1));
    channel.subscribe_latest(&task, |n| n * 10, 3).unwrap();
    channel.send(5).unwrap();
    assert_eq!(first.missed(), 2, "one for the smaller ring, one for the new message");
    assert_eq!(all_of(&mut mailbox), [3, 4, 50]);

    channel.send(6).unwrap();
    channel.subscribe(&task).unwrap();
    channel.send(7).unwrap();
    assert_eq!(all_of(&mut mailbox), [7], "else 6 could come after 7");
    assert_eq!(first.missed(), 3);
    assert!(first.is_active());
}

#[tokio::test]
async fn a_task_that_takes_no_messages_cannot_subscribe() {
    let channel = Channel::<u64>::new("too late");
    let task = spawn(async |_: Mailbox<u64>| ());
    task.ended().await;
    let error = channel.subscribe(&task).unwrap_err();
    assert!(matches!(error, SubscribeError::TaskClosed { .. }));
    assert!(error.to_string().ends_with("cannot subscribe to channel \"too late\""), "{error}");
}

#[tokio::test]
async fn a_subscription_keeps_the_mailbox_open_until_it_is_ended() {
    let channel = Channel::<u64>::new("keeps");
    let task = spawn(collect);
    channel.subscribe(&task).unwrap();
    let weak = task.downgrade();
    let (_, ended) = (channel.send(1).unwrap(), task.ended());
    drop(task);
    yield_now().await;
    assert!(channel.unsubscribe(&weak.upgrade().unwrap()));
    ended.await;
}

#[tokio::test]
async fn a_task_that_has_ended_is_taken_out_by_the_next_message() {
    let channel = Channel::<u64>::new("ended");
    let task = spawn(async |mut mailbox: Mailbox<u64>| mailbox.recv().await);
    let subscription = channel.subscribe(&task).unwrap();
    channel.send(1).unwrap();
    task.ended().await;
    assert_eq!(channel.subscribers(), 0);
    assert!(subscription.is_active());
    let published = channel.send(2).unwrap();
    assert_eq!((published.reached, published.missed), (0, 0));
    assert!(!subscription.is_active());
    assert!(!channel.unsubscribe(&task));
}

#[tokio::test]
async fn a_task_that_closes_its_mailbox_still_reads_its_ring() {
    let channel = Channel::<u64>::new("closes");
    let (task, mut mailbox) = mailbox(10);
    channel.subscribe_latest(&task, |n| n, 4).unwrap();
    channel.send(1).unwrap();
    mailbox.close();
    assert_eq!(channel.send(2).unwrap().reached, 0);
    assert_eq!(mailbox.recv().await, Some(1));
    assert_eq!(mailbox.recv().await, None);
}

/// Goal: short-lived subscribers of a channel on which nothing is published do not fill the memory.
/// Method: each holds a part of a counter, by its map.
#[tokio::test]
async fn subscribers_that_have_ended_do_not_pile_up_on_a_silent_channel() {
    let channel = Channel::<u64>::new("silent");
    let (alive, mut mailbox) = mailbox(10);
    channel.subscribe(&alive).unwrap();
    let held = Arc::new(());
    let mut held_max = 0;
    for _ in 0..100_000 {
        let task = spawn(async |_: Mailbox<u64>| ());
        let holds = held.clone();
        let map = move |n| n + Arc::strong_count(&holds) as u64;
        channel.subscribe_with(&task, map, WhenFull::DropOldest).unwrap();
        task.await.unwrap();
        held_max = held_max.max(Arc::strong_count(&held));
    }
    assert!(held_max < 100, "{held_max} at once");
    assert_eq!(channel.send(7).unwrap().reached, 1);
    assert_eq!(Arc::strong_count(&held), 1);
    assert_eq!(all_of(&mut mailbox), [7]);
}

#[tokio::test]
async fn many_subscribers_come_and_go_quickly() {
    let channel = Channel::<u64>::new("many");
    let streams: Vec<_> = (0..50_000).map(|_| channel.stream(1, WhenFull::Wait)).collect();
    assert_eq!(channel.send(1).unwrap().reached, 50_000);
    drop(streams);
    assert_eq!(channel.subscribers(), 0);
}

// ---- slow subscribers ----

#[tokio::test]
async fn a_slow_subscriber_that_waits_misses_what_is_sent() {
    let channel = Channel::<u64>::new("slow");
    let (task, mut slow) = mailbox(2);
    let mut quick = channel.stream(10, WhenFull::Wait);
    let subscription = channel.subscribe(&task).unwrap();
    let reached: Vec<_> = (1..=4).map(|n| channel.send(n).unwrap()).collect();
    assert_eq!(reached.iter().map(|sent| sent.reached).collect::<Vec<_>>(), [2, 2, 1, 1]);
    assert_eq!(reached.iter().map(|sent| sent.missed).collect::<Vec<_>>(), [0, 0, 1, 1]);
    assert_eq!(subscription.missed(), 2);
    assert_eq!(quick.missed(), 0);
    assert_eq!(all_of(&mut slow), [1, 2]);
    assert_eq!(all_in(&mut quick), [1, 2, 3, 4]);
}

#[tokio::test]
async fn a_delivery_waits_for_room_in_all_mailboxes() {
    let channel = Channel::<u64>::new("waits");
    let mut slow = channel.stream(1, WhenFull::Wait);
    let mut quick = channel.stream(10, WhenFull::Wait);
    assert_eq!(channel.deliver(1).await.unwrap().reached, 2);

    let mut delivery = std::pin::pin!(channel.deliver(2));
    assert!(waits(delivery.as_mut()));
    assert_eq!(all_in(&mut quick), [1, 2], "who has room has it");
    assert_eq!(slow.recv().await, Some(1));
    assert_eq!(delivery.await.unwrap().reached, 2);
    assert_eq!(all_in(&mut slow), [2]);
    assert_eq!(slow.missed(), 0);
}

#[tokio::test]
async fn the_oldest_message_makes_room_for_the_newest() {
    let channel = Channel::<u64>::new("newest");
    let (task, mut mailbox) = mailbox(10);
    let subscription = channel.subscribe_latest(&task, |n| n, 2).unwrap();
    let mut stream = channel.stream(3, WhenFull::DropOldest);
    for n in 1..=5 {
        assert_eq!(channel.send(n).unwrap().reached, 2);
    }
    assert_eq!(channel.deliver(6).await.unwrap().reached, 2, "it need not wait");
    assert_eq!(all_of(&mut mailbox), [5, 6]);
    assert_eq!(all_in(&mut stream), [4, 5, 6]);
    assert_eq!((subscription.missed(), stream.missed()), (4, 3));
}

#[tokio::test]
async fn a_ring_is_as_large_as_the_mailbox_unless_it_is_told() {
    let channel = Channel::<u64>::new("as large");
    let (task, mut mailbox) = mailbox(3);
    channel.subscribe_with(&task, |n| n, WhenFull::DropOldest).unwrap();
    (1..=5).for_each(|n| assert_eq!(channel.send(n).unwrap().reached, 1));
    assert_eq!(all_of(&mut mailbox), [3, 4, 5]);
}

#[tokio::test]
async fn a_message_in_a_ring_wakes_the_task() {
    let channel = Channel::<u64>::new("wakes");
    let (seen, mut sees) = tokio::sync::mpsc::unbounded_channel();
    let task = spawn(async move |mut mailbox: Mailbox<u64>| {
        while let Some(n) = mailbox.recv().await {
            seen.send(n).unwrap();
        }
    });
    channel.subscribe_latest(&task, |n| n, 1).unwrap();
    for n in 0..10 {
        channel.send(n).unwrap();
        assert_eq!(sees.recv().await, Some(n));
    }
}

#[tokio::test]
async fn a_search_in_the_mailbox_takes_no_more_from_rings_than_there_is_room_for() {
    let channel = Channel::<u64>::new("search");
    let (task, mut mailbox) = mailbox(4);
    channel.subscribe_latest(&task, |n| n, 100).unwrap();
    (1..=100).for_each(|n| assert_eq!(channel.send(n).unwrap().reached, 1));
    for _ in 0..10 {
        mailbox.recv_matching(|&n| n == 0).await.unwrap_err();
        assert_eq!(mailbox.len(), 4);
    }
    assert_eq!(mailbox.recv_matching(|&n| n == 2).await, Ok(2));
    assert_eq!(mailbox.recv().await, Some(1));
}

#[tokio::test]
async fn a_full_subscriber_is_disconnected_if_it_wants_that() {
    let channel = Channel::<u64>::new("disconnects");
    let (task, mut mailbox) = mailbox(1);
    let subscription = channel.subscribe_with(&task, |n| n, WhenFull::Disconnect).unwrap();
    let mut stream = channel.stream(2, WhenFull::Disconnect);
    let mut other = channel.stream(9, WhenFull::Wait);
    assert_eq!(channel.send(1).unwrap().reached, 3);

    let second = channel.deliver(2).await.unwrap();
    assert_eq!((second.reached, second.missed, second.disconnected), (2, 1, 1));
    let third = channel.send(3).unwrap();
    assert_eq!((third.reached, third.missed, third.disconnected), (1, 1, 1));
    assert_eq!(channel.subscribers(), 1);
    assert_eq!(all_of(&mut mailbox), [1]);
    assert_eq!(subscription.missed(), 1);
    assert!(!subscription.is_active());
    assert_eq!(stream.recv().await, Some(1));
    assert_eq!(stream.recv().await, Some(2));
    assert_eq!(stream.recv().await, None);
    assert_eq!(stream.missed(), 1);
    assert_eq!(all_in(&mut other), [1, 2, 3]);
}

/// Goal: who never reads costs its mailbox, not more. Method: messages hold parts of a counter.
#[tokio::test]
async fn a_subscriber_that_never_reads_costs_at_most_its_mailbox() {
    let channel = Channel::<Arc<()>>::new("never read");
    let (waits, _unread) = mailbox(8);
    let (rings, _unread_either) = mailbox(8);
    let _stream = channel.stream(8, WhenFull::Wait);
    let _other = channel.stream(8, WhenFull::DropOldest);
    channel.subscribe(&waits).unwrap();
    channel.subscribe_with(&rings, |m| m, WhenFull::DropOldest).unwrap();
    let held = Arc::new(());
    for _ in 0..1_000 {
        channel.send(held.clone()).unwrap();
    }
    assert_eq!(Arc::strong_count(&held) - 1, 4 * 8);
}

// ---- streams ----

#[tokio::test]
async fn a_stream_gets_what_is_published_since_it_was_made() {
    let channel = Channel::<u64>::new("stream");
    channel.send(1).unwrap();
    let mut stream = channel.stream(10, WhenFull::Wait);
    assert_eq!(stream.try_recv(), Err(TryRecvError::Empty));
    channel.send(2).unwrap();
    channel.send(3).unwrap();
    assert_eq!(poll_fn(|cx| Pin::new(&mut stream).poll_next(cx)).await, Some(2));
    assert_eq!(stream.recv().await, Some(3));
    let waits = tokio::spawn(async move { (stream.recv().await, stream) });
    yield_now().await;
    channel.send(4).unwrap();
    let (fourth, mut stream) = waits.await.unwrap();
    assert_eq!(fourth, Some(4));
    drop(channel);
    assert_eq!(stream.try_recv(), Err(TryRecvError::Closed));
}

#[tokio::test]
async fn a_stream_that_is_dropped_is_no_subscriber() {
    let channel = Channel::<u64>::new("dropped stream");
    let full = channel.stream(1, WhenFull::Wait);
    channel.send(1).unwrap();
    let mut delivery = std::pin::pin!(channel.deliver(2));
    assert!(waits(delivery.as_mut()));
    drop(full);
    assert_eq!(delivery.await.unwrap().reached, 0);
    assert_eq!(channel.subscribers(), 0);
}

// ---- to deliver ----

#[tokio::test]
async fn a_delivery_to_nobody_is_ready_at_once() {
    let channel = Channel::<u64>::new("nobody");
    assert_eq!(channel.deliver(1).await.unwrap().reached, 0);
    assert_eq!(channel.deliver(1).at_least(0).await.unwrap().reached, 0);
}

#[tokio::test]
async fn a_delivery_waits_for_subscribers_that_come_late() {
    let channel = Channel::<u64>::new("late");
    let (task, mut mailbox) = mailbox(10);
    let mut first = channel.stream(10, WhenFull::Wait);
    let mut delivery = std::pin::pin!(channel.deliver(1).at_least(2));
    assert!(waits(delivery.as_mut()));
    assert_eq!(all_in(&mut first), [], "nobody has it before all are there");
    channel.subscribe(&task).unwrap();
    assert_eq!(delivery.await.unwrap().reached, 2);
    assert_eq!((all_in(&mut first), all_of(&mut mailbox)), (vec![1], vec![1]));
}

#[tokio::test]
async fn a_delivery_to_at_least_n_does_not_wait_for_the_others() {
    let channel = Channel::<u64>::new("at least");
    let mut full = channel.stream(1, WhenFull::Wait);
    let mut quick = [channel.stream(9, WhenFull::Wait), channel.stream(9, WhenFull::Wait)];
    channel.send(1).unwrap();
    let published = channel.deliver(2).at_least(1).await.unwrap();
    assert_eq!((published.reached, published.missed), (2, 1), "all who have room have it");
    assert_eq!(full.missed(), 1);

    let mut delivery = std::pin::pin!(channel.deliver(3).at_least(3));
    assert!(waits(delivery.as_mut()));
    assert_eq!(full.recv().await, Some(1));
    assert_eq!(delivery.await.unwrap().reached, 3);
    assert_eq!(all_in(&mut full), [3]);
    quick.iter_mut().for_each(|quick| assert_eq!(all_in(quick), [1, 2, 3]));
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_is_late_says_how_far_it_came() {
    let channel = Channel::<u64>::new("times out");
    let second = Duration::from_secs(1);
    let mut quick = channel.stream(10, WhenFull::Wait);
    let too_few = channel.deliver(1).at_least(2).timeout(second).await.unwrap_err();
    let channel_name = || "times out".to_owned();
    let expected =
        PublishError::TimedOut { channel: channel_name(), reached: 0, wanted: 2, after: second };
    assert_eq!(too_few, expected);

    let mut full = channel.stream(1, WhenFull::Wait);
    channel.send(2).unwrap();
    for delivery in [channel.deliver(3), channel.deliver(4).at_least(2)] {
        let error = delivery.timeout(second).await.unwrap_err();
        let text = "within 1s, a message on channel \"times out\" has reached 1 of 2";
        assert_eq!(error.to_string(), text);
    }
    assert_eq!(full.missed(), 2);
    assert_eq!(all_in(&mut full), [2], "who has missed it does not get it later");
    assert_eq!(all_in(&mut quick), [2, 3, 4]);
}

/// Goal: the time-out covers the wait for subscribers and the wait for room together.
#[tokio::test(start_paused = true)]
async fn the_time_out_covers_the_whole_delivery() {
    let channel = Channel::<u64>::new("whole");
    let start = tokio::time::Instant::now();
    let full = channel.stream(1, WhenFull::Wait);
    channel.send(0).unwrap();
    let seconds = Duration::from_secs;
    let publisher = channel.clone();
    let delivery =
        tokio::spawn(async move { publisher.deliver(1).at_least(2).timeout(seconds(10)).await });
    tokio::time::sleep(seconds(6)).await;
    let second = channel.stream(1, WhenFull::Wait);
    let error = delivery.await.unwrap().unwrap_err();
    assert!(matches!(error, PublishError::TimedOut { reached: 1, wanted: 2, .. }), "{error}");
    assert_eq!(start.elapsed(), seconds(10));
    drop((full, second));
}

#[tokio::test]
async fn a_delivery_does_not_wait_for_who_is_unsubscribed() {
    let channel = Channel::<u64>::new("unsubscribed");
    let (task, mut full) = mailbox(1);
    let subscription = channel.subscribe(&task).unwrap();
    channel.send(1).unwrap();
    let mut delivery = std::pin::pin!(channel.deliver(2));
    assert!(waits(delivery.as_mut()));
    assert!(channel.unsubscribe(&task));
    let published = delivery.await.unwrap();
    assert_eq!((published.reached, published.missed), (0, 1));
    assert_eq!(subscription.missed(), 1);
    assert_eq!(all_of(&mut full), [1]);

    channel.subscribe(&task).unwrap();
    channel.send(3).unwrap();
    let mut delivery = std::pin::pin!(channel.deliver(4).at_least(1));
    assert!(waits(delivery.as_mut()));
    channel.close();
    let too_few = PublishError::TooFew { channel: "unsubscribed".into(), reached: 0, wanted: 1 };
    assert_eq!(delivery.await, Err(too_few));
}

#[tokio::test]
async fn a_delivery_ends_when_the_channel_is_closed_before_it_has_subscribers() {
    let channel = Channel::<u64>::new("closed while it waits");
    let mut delivery = std::pin::pin!(channel.deliver(1).at_least(1));
    assert!(waits(delivery.as_mut()));
    channel.close();
    assert!(matches!(delivery.await, Err(PublishError::Closed { .. })));
}

#[tokio::test]
async fn a_delivery_that_is_dropped_reaches_nobody_who_had_no_room() {
    let channel = Channel::<u64>::new("cancelled");
    let mut full = channel.stream(1, WhenFull::Wait);
    let mut quick = channel.stream(9, WhenFull::Wait);
    channel.send(1).unwrap();
    {
        let mut delivery = std::pin::pin!(channel.deliver(2));
        assert!(waits(delivery.as_mut()));
    }
    assert_eq!((all_in(&mut full), all_in(&mut quick)), (vec![1], vec![1, 2]));
    assert_eq!((full.missed(), quick.missed()), (1, 0));
    assert_eq!(channel.send(3).unwrap().reached, 2, "nothing waits any more");
}

// ---- transforms ----

#[tokio::test]
async fn a_transform_changes_or_drops_messages() {
    let channel = Channel::<String>::new("chat");
    let mut stream = channel.stream(10, WhenFull::Wait);
    channel.set_transform(|channel, text: String| {
        let shouts = text.chars().all(char::is_uppercase);
        (!shouts).then(|| format!("[{channel}] {text}"))
    });
    assert_eq!(channel.send("hello".to_owned()).unwrap().reached, 1);
    let dropped = channel.send("HELLO".to_owned()).unwrap();
    assert_eq!((dropped.reached, dropped.missed, dropped.filtered), (0, 0, 1));
    let dropped = channel.deliver("HELLO".to_owned()).at_least(5).await.unwrap();
    assert_eq!((dropped.reached, dropped.filtered), (0, 1), "nobody is waited for");
    channel.remove_transform();
    channel.send("BYE".to_owned()).unwrap();
    assert_eq!(all_in(&mut stream), ["[chat] hello", "BYE"]);
}

#[tokio::test]
async fn a_transform_that_panics_drops_its_message_only() {
    let channel = Channel::<u64>::new("panics");
    let mut stream = channel.stream(10, WhenFull::Wait);
    channel.set_transform(|_, n| if n == 2 { panic!("two") } else { Some(n) });
    let filtered: Vec<_> = (1..=3).map(|n| channel.send(n).unwrap().filtered).collect();
    assert_eq!(filtered, [0, 1, 0]);
    assert_eq!(all_in(&mut stream), [1, 3]);
}

#[tokio::test]
async fn a_map_that_panics_costs_only_its_own_task_a_message() {
    let channel = Channel::<u64>::new("map panics");
    let (task, mut mailbox) = mailbox(10);
    let subscription =
        channel.subscribe_as(&task, |n| if n == 2 { panic!("two") } else { n }).unwrap();
    let mut stream = channel.stream(10, WhenFull::Wait);
    let missed: Vec<_> = (1..=3).map(|n| channel.send(n).unwrap().missed).collect();
    assert_eq!(missed, [0, 1, 0]);
    assert_eq!(subscription.missed(), 1);
    assert_eq!((all_of(&mut mailbox), all_in(&mut stream)), (vec![1, 3], vec![1, 2, 3]));
}

/// Goal: no lock is held while code of users runs. Method: it uses the channel.
#[tokio::test]
async fn functions_of_users_may_use_the_channel() {
    #[derive(Debug)]
    struct Nosy(Channel<Self>, u64);
    impl Clone for Nosy {
        fn clone(&self) -> Self {
            drop(self.0.stream(1, WhenFull::Wait));
            Self(self.0.clone(), self.1)
        }
    }
    impl Drop for Nosy {
        fn drop(&mut self) {
            assert!(self.0.subscribers() < 9);
        }
    }

    let channel = Channel::<Nosy>::new("re-entered");
    let (task, mailbox) = mailbox::<Nosy>(1);
    let inner = channel.clone();
    channel.set_transform(move |_, message| {
        let _late = inner.stream(1, WhenFull::Wait);
        Some(message)
    });
    let inner = channel.clone();
    let map = move |message| {
        inner.remove_transform();
        message
    };
    channel.subscribe_latest(&task, map, 1).unwrap();
    let stream = channel.stream(1, WhenFull::DropOldest);
    for n in 0..3 {
        channel.send(Nosy(channel.clone(), n)).unwrap();
    }
    drop((stream, mailbox));
    channel.close();
}

// ---- hierarchies ----

#[tokio::test]
async fn a_message_goes_down_all_levels_and_counts_those_at_the_end() {
    let [world, europe, france] = ["world", "europe", "france"].map(Channel::<u64>::new);
    let words = Channel::<String>::new("words");
    world.subscribe_channel(&europe).unwrap();
    europe.subscribe_channel(&france).unwrap();
    europe.subscribe_channel(&france).unwrap();
    france.subscribe_channel_with(&words, |n| format!("number {n}")).unwrap();
    let mut streams =
        [&world, &europe, &france, &france].map(|channel| channel.stream(10, WhenFull::Wait));
    let mut text = words.stream(10, WhenFull::Wait);
    assert_eq!(world.subscribers(), 5);
    assert_eq!(world.deliver(7).at_least(5).await.unwrap().reached, 5);
    streams.iter_mut().for_each(|stream| assert_eq!(all_in(stream), [7]));
    assert_eq!(all_in(&mut text), ["number 7"]);

    france.set_transform(|_, _| None);
    let published = world.send(8).unwrap();
    assert_eq!((published.reached, published.filtered), (2, 1));
    assert!(europe.unsubscribe_channel(&france));
    assert!(!europe.unsubscribe_channel(&france));
    assert_eq!(world.send(9).unwrap().filtered, 0);
}

#[tokio::test]
async fn a_delivery_counts_and_waits_over_the_hierarchy() {
    let (above, below) = (Channel::<u64>::new("above"), Channel::<u64>::new("below"));
    let mut first = above.stream(10, WhenFull::Wait);
    let mut delivery = std::pin::pin!(above.deliver(1).at_least(2));
    assert!(waits(delivery.as_mut()));
    above.subscribe_channel(&below).unwrap();
    assert!(waits(delivery.as_mut()));
    let mut second = below.stream(1, WhenFull::Wait);
    assert_eq!(delivery.await.unwrap().reached, 2);

    let mut delivery = std::pin::pin!(above.deliver(2));
    assert!(waits(delivery.as_mut()));
    assert_eq!(second.recv().await, Some(1));
    assert_eq!(delivery.await.unwrap().reached, 2);
    assert_eq!((all_in(&mut first), all_in(&mut second)), (vec![1, 2], vec![2]));
}

#[tokio::test]
async fn a_task_that_is_reached_in_two_ways_gets_a_message_twice() {
    let [top, left, right] = ["top", "left", "right"].map(Channel::<u64>::new);
    let (task, mut mailbox) = mailbox(10);
    for side in [&left, &right] {
        top.subscribe_channel(side).unwrap();
        side.subscribe(&task).unwrap();
    }
    assert_eq!(top.send(1).unwrap().reached, 2);
    assert_eq!(all_of(&mut mailbox), [1, 1]);
}

#[test]
fn a_cycle_is_refused_however_long_it_is() {
    let [a, b, c] = ["a", "b", "c"].map(Channel::<u64>::new);
    a.subscribe_channel(&b).unwrap();
    b.subscribe_channel(&c).unwrap();
    for (parent, child) in [(&a, &a), (&b, &a), (&c, &a)] {
        let error = parent.subscribe_channel(child).unwrap_err();
        assert!(matches!(error, SubscribeChannelError::Cycle { .. }), "{error}");
    }
    let error = c.subscribe_channel(&a).unwrap_err().to_string();
    let text = "channel \"a\" cannot subscribe to \"c\": it is the same, or has \"c\" below it";
    assert_eq!(error, text);
    assert!(b.unsubscribe_channel(&c));
    c.subscribe_channel(&a).unwrap();
    a.close();
    b.subscribe_channel(&c).unwrap();
}

#[test]
fn of_two_threads_that_make_a_cycle_at_the_same_time_one_is_refused() {
    for _ in 0..200 {
        let [a, b, c] = ["a", "b", "c"].map(Channel::<u64>::new);
        let barrier = Barrier::new(3);
        let (refused, meet) = (AtomicUsize::new(0), &barrier);
        std::thread::scope(|scope| {
            for (parent, child) in [(&a, &b), (&b, &c), (&c, &a)] {
                let refused = &refused;
                scope.spawn(move || {
                    meet.wait();
                    if parent.subscribe_channel(child).is_err() {
                        refused.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(refused.into_inner(), 1);
        a.send(1).unwrap();
    }
}

#[test]
fn a_hierarchy_has_a_limited_number_of_levels() {
    let channels: Vec<_> = (0..33).map(|n| Channel::<u64>::new(&n.to_string())).collect();
    let results: Vec<_> =
        channels.windows(2).map(|pair| pair[0].subscribe_channel(&pair[1])).collect();
    let too_deep =
        |result: &Result<_, _>| matches!(result, Err(SubscribeChannelError::TooDeep { .. }));
    assert_eq!(results.iter().position(too_deep), Some(31));
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 31);
}

#[tokio::test]
async fn a_channel_above_keeps_the_one_below_open_until_either_is_closed() {
    let (above, below) = (Channel::<u64>::new("above"), Channel::<u64>::new("below"));
    let mut stream = below.stream(10, WhenFull::Wait);
    above.subscribe_channel(&below).unwrap();
    drop(below);
    assert_eq!(above.send(1).unwrap().reached, 1);
    drop(above);
    assert_eq!(stream.recv().await, Some(1));
    assert_eq!(stream.recv().await, None);

    let (above, below) = (Channel::<u64>::new("above"), Channel::<u64>::new("below"));
    above.subscribe_channel(&below).unwrap();
    below.close();
    assert_eq!(above.send(1).unwrap().reached, 0);
    assert!(!above.unsubscribe_channel(&below), "the message has found that it is closed");
    let error = above.subscribe_channel(&below).unwrap_err();
    assert!(matches!(error, SubscribeChannelError::Closed { .. }));
}

// ---- helpers ----

async fn collect(mut mailbox: Mailbox<u64>) -> Vec<u64> {
    let mut all = Vec::new();
    while let Some(message) = mailbox.recv().await {
        all.push(message);
    }
    all
}

/// A task that only lends its mailbox.
fn mailbox<M: Send + 'static>(capacity: usize) -> (Task<M, ()>, Mailbox<M>) {
    let mut lent = None;
    let task = TaskBuilder::new().capacity(capacity).spawn(|mailbox| {
        lent = Some(mailbox);
        std::future::pending()
    });
    (task, lent.expect("the function has been called"))
}

/// Polls once.
fn waits(future: Pin<&mut impl Future>) -> bool {
    future.poll(&mut Context::from_waker(Waker::noop())).is_pending()
}

fn all_of<M: Send + 'static>(mailbox: &mut Mailbox<M>) -> Vec<M> {
    std::iter::from_fn(|| mailbox.try_recv().ok()).collect()
}

fn all_in<T: Clone + Send + 'static>(stream: &mut Subscriber<T>) -> Vec<T> {
    std::iter::from_fn(|| stream.try_recv().ok()).collect()
}

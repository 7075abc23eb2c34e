//! Hot swap: a new function for a running task.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::Duration;

use pleiad_task::{
    ExitReason, Flow, Mailbox, Reply, SwapError, SwapEvent, SwapMailbox, TaskRef, spawn,
    spawn_swappable,
};
use tokio::sync::oneshot;

#[derive(Debug)]
enum Message {
    Add(u64),
    Sum(Reply<u64>),
    /// Answered when it is read; then nothing is read until the other end says so.
    Pause(Reply<()>, oneshot::Receiver<()>),
}

type Inbox = SwapMailbox<Message, u64>;
type Next = Flow<Message, u64>;

/// Adds.
async fn adder(mut mailbox: Inbox, mut sum: u64) -> Next {
    loop {
        match mailbox.next().await {
            SwapEvent::Message(Message::Add(n)) => sum += n,
            SwapEvent::Message(Message::Sum(reply)) => reply.send(sum),
            SwapEvent::Message(Message::Pause(reply, go_on)) => {
                reply.send(());
                go_on.await.unwrap();
            }
            SwapEvent::Swap(offer) if offer.name().ends_with("adder") => {
                return offer.accept(mailbox, sum);
            }
            SwapEvent::Swap(offer) => offer.refuse("I only become an adder"),
            SwapEvent::Closed => return Flow::Done(sum),
        }
    }
}

/// Adds ten times as much.
async fn tenfold_adder(mut mailbox: Inbox, mut sum: u64) -> Next {
    loop {
        match mailbox.next().await {
            SwapEvent::Message(Message::Add(n)) => sum += 10 * n,
            SwapEvent::Message(Message::Sum(reply)) => reply.send(sum),
            SwapEvent::Message(Message::Pause(..)) => unreachable!(),
            SwapEvent::Swap(offer) => return offer.accept(mailbox, sum),
            SwapEvent::Closed => return Flow::Done(sum),
        }
    }
}

async fn stranger(_: Inbox, _: u64) -> Next {
    Flow::Done(0)
}

async fn panicking_adder(_: Inbox, _: u64) -> Next {
    panic!("not today")
}

#[tokio::test]
async fn the_new_function_goes_on_with_state_messages_and_references() {
    let task = spawn_swappable(adder, 0);
    let reference = TaskRef::clone(&task);
    let id = task.id();
    task.send(Message::Add(1)).unwrap();

    // Both are there before the task first runs, and the offer is looked at first.
    task.hot_swap(tenfold_adder).await.unwrap();
    reference.send(Message::Add(2)).unwrap();

    assert_eq!(task.function(), "tenfold_adder");
    assert_eq!(reference.ask(Message::Sum).await.unwrap(), 30);
    assert_eq!(reference.id(), id);
    assert_eq!(reference.identity().name(), "adder", "the task's name is its own");
    drop(reference);
    assert_eq!(task.await.unwrap(), 30);
}

#[tokio::test]
async fn monitors_outlive_a_swap() {
    async fn watch(mut mailbox: Mailbox<ExitReason>) -> Option<ExitReason> {
        mailbox.recv().await
    }
    let task = spawn_swappable(adder, 0);
    let watcher = spawn(watch);
    watcher.monitor(&task, |exit| exit.reason).unwrap();

    task.hot_swap(panicking_adder).await.unwrap();

    let told = watcher.await.unwrap().unwrap();
    assert!(told.is_failed(), "{told}");
    let exit = task.await.unwrap_err();
    assert!(exit.reason.to_string().contains("not today"), "{exit}");
}

#[tokio::test]
async fn a_task_may_refuse_by_the_name() {
    let task = spawn_swappable(adder, 7);

    let error = task.hot_swap(stranger).await.unwrap_err();

    assert_eq!(
        error.to_string(),
        format!("{} has refused stranger: I only become an adder", task.identity())
    );
    assert_eq!(task.function(), "adder");
    assert_eq!(task.ask(Message::Sum).await.unwrap(), 7);
}

#[tokio::test]
async fn an_offer_waits_until_the_task_looks_and_the_latest_wins() {
    let task = spawn_swappable(adder, 1);
    let (go_on, paused) = oneshot::channel();
    task.ask(|reply| Message::Pause(reply, paused)).await.unwrap();
    task.send(Message::Add(1)).unwrap();

    let (first, second, ()) =
        tokio::join!(task.hot_swap(panicking_adder), task.hot_swap(tenfold_adder), async {
            tokio::task::yield_now().await;
            go_on.send(()).unwrap();
        });

    let function = "panicking_adder";
    assert_eq!(first, Err(SwapError::Superseded { task: task.identity(), function }));
    assert_eq!(second, Ok(()));
    assert_eq!(task.ask(Message::Sum).await.unwrap(), 11, "the message was left to the new one");
}

#[tokio::test(start_paused = true)]
async fn an_offer_that_nobody_looks_at_in_time_is_withdrawn() {
    let task = spawn_swappable(adder, 1);
    let (go_on, paused) = oneshot::channel();
    task.ask(|reply| Message::Pause(reply, paused)).await.unwrap();

    let after = Duration::from_secs(1);
    let error = task.hot_swap(tenfold_adder).timeout(after).await.unwrap_err();

    let function = "tenfold_adder";
    assert_eq!(error, SwapError::TimedOut { task: task.identity(), function, after });
    go_on.send(()).unwrap();
    assert_eq!(task.ask(Message::Sum).await.unwrap(), 1);
    assert_eq!(task.function(), "adder");
}

#[tokio::test]
async fn a_dropped_offer_is_withdrawn() {
    let task = spawn_swappable(adder, 1);
    tokio::select! {
        biased;
        swapped = task.hot_swap(tenfold_adder) => unreachable!("{swapped:?}"),
        () = std::future::ready(()) => (),
    }

    assert_eq!(task.ask(Message::Sum).await.unwrap(), 1);
    assert_eq!(task.function(), "adder");
}

#[tokio::test]
async fn a_task_that_has_ended_takes_no_offers() {
    let task = spawn_swappable(adder, 1);
    let reference = task.swap_ref();
    task.terminate();
    reference.ended().await;

    let error = reference.hot_swap(tenfold_adder).await.unwrap_err();

    assert_eq!(error, SwapError::Ended(reference.identity()));
}

#[tokio::test]
async fn the_end_of_the_task_ends_the_wait() {
    let task = spawn_swappable(adder, 1);
    let (_go_on, paused) = oneshot::channel();
    task.ask(|reply| Message::Pause(reply, paused)).await.unwrap();

    let (swapped, ()) = tokio::join!(task.hot_swap(tenfold_adder), async { task.kill() });

    assert_eq!(swapped, Err(SwapError::Ended(task.identity())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_message_is_lost_or_doubled_while_functions_change() {
    async fn counter(mut mailbox: SwapMailbox<u64, u64>, mut next: u64) -> Flow<u64, u64> {
        loop {
            match mailbox.next().await {
                SwapEvent::Message(n) => {
                    assert_eq!(n, next, "in order");
                    next += 1;
                }
                SwapEvent::Swap(offer) => return offer.accept(mailbox, next),
                SwapEvent::Closed => return Flow::Done(next),
            }
        }
    }
    const MESSAGES: u64 = 100_000;
    let task = spawn_swappable(counter, 0);
    let reference = TaskRef::clone(&task);
    let sender = spawn(|_: Mailbox<()>| async move {
        for n in 0..MESSAGES {
            reference.deliver(n).await.unwrap();
        }
    });
    let mut swaps = 0;
    while sender.is_alive() {
        task.hot_swap(counter).await.unwrap();
        swaps += 1;
    }
    sender.await.unwrap();
    assert!(swaps > 0);
    assert_eq!(task.await.unwrap(), MESSAGES);
}

//! What supervisors promise. Time is virtual: it passes only while every task waits.

#![expect(clippy::unwrap_used, reason = "helpers of tests stand outside of them")]

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use pleiad_task::{
    Backoff, Child, ChildError, ChildInfo, ChildStartError, ChildState, ExitReason, FindError,
    Mailbox, NamedRef, NamedSendError, NoMessage, Reply, Restart, Strategy, Supervisor,
    SupervisorRef, TaskRef, spawn,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

#[tokio::test(start_paused = true)]
async fn one_for_one_restarts_only_the_child_that_failed() {
    let (log, mut events) = events();
    let supervisor = Supervisor::new(Strategy::OneForOne)
        .try_child("o1-a", log.worker("a"))
        .try_child("o1-b", log.worker("b"))
        .start()
        .await
        .unwrap();
    order("o1-a", Order::Panic).await;
    events.are(&["start a", "start b", "start a"]).await;

    supervisor.stop().await.unwrap();
    events.are(&["stop b", "stop a"]).await;
    events.end();
}

#[tokio::test(start_paused = true)]
async fn one_for_all_stops_all_backwards_and_starts_all_in_order() {
    let (log, mut events) = events();
    let supervisor = Supervisor::new(Strategy::OneForAll)
        .try_child("oa-a", log.worker("a"))
        .try_child("oa-b", log.worker("b"))
        .try_child("oa-c", log.worker("c"))
        .start()
        .await
        .unwrap();
    events.are(&["start a", "start b", "start c"]).await;
    order("oa-b", Order::Fail).await;
    events.are(&["stop c", "stop a", "start a", "start b", "start c"]).await;
    supervisor.kill();
    supervisor.ended().await;
    events.end();
}

#[tokio::test(start_paused = true)]
async fn rest_for_one_restarts_the_child_and_those_after_it() {
    let (log, mut events) = events();
    let supervisor = Supervisor::new(Strategy::RestForOne)
        .try_child("ro-a", log.worker("a"))
        .try_child("ro-b", log.worker("b"))
        .try_child("ro-c", log.worker("c"))
        .try_child("ro-d", log.worker("d"))
        .start()
        .await
        .unwrap();
    events.are(&["start a", "start b", "start c", "start d"]).await;
    order("ro-b", Order::Panic).await;
    events.are(&["stop d", "stop c", "start b", "start c", "start d"]).await;
    supervisor.kill();
    supervisor.ended().await;
    events.end();
}

#[tokio::test(start_paused = true)]
async fn one_failure_too_many_stops_all_and_fails_with_its_name() {
    let (log, mut events) = events();
    let supervisor = Supervisor::new(Strategy::OneForOne)
        .intensity(1, secs(5))
        .try_child("in-a", log.worker("a"))
        .try_child("in-b", log.worker("b"))
        .try_child("in-c", log.worker("c"))
        .start()
        .await
        .unwrap();
    order("in-b", Order::Fail).await;
    events.are(&["start a", "start b", "start c", "start b"]).await;
    order("in-b", Order::Fail).await;
    events.are(&["stop c", "stop a"]).await;

    let exit = supervisor.ended().await;
    let reason = exit.reason.to_string();
    let text = "failed: child \"in-b\" has ended, and the limit of restarts (1 within 5s) is \
                reached: it failed: was told to fail";
    assert_eq!(reason, text);
    assert_eq!(supervisor.stop().await.unwrap_err(), exit);
    events.end();
}

/// A child that does not get anywhere must not hang its supervisor.
#[tokio::test(start_paused = true)]
async fn a_child_that_always_panics_at_once_makes_its_supervisor_give_up() {
    let starts = Arc::new(AtomicU32::new(0));
    let counted = starts.clone();
    let supervisor = Supervisor::new(Strategy::OneForOne)
        .backoff(Backoff::NONE)
        .child("ap-a", move |mailbox| hopeless(mailbox, counted.clone()))
        .start()
        .await
        .unwrap();
    let ExitReason::Failed(failure) = supervisor.ended().await.reason else { panic!("no failure") };
    assert!(failure.message.contains("no luck"), "{failure}");
    assert_eq!(starts.load(Ordering::Relaxed), 4, "one start and three restarts");
}

#[tokio::test(start_paused = true)]
async fn the_first_restart_comes_at_once_and_the_next_ones_after_doubled_waits() {
    let (starts, mut started) = mpsc::channel(16);
    let begin = Instant::now();
    let supervisor = Supervisor::new(Strategy::OneForOne)
        .intensity(5, secs(60))
        .backoff(Backoff { first: ms(100), max: ms(300) })
        .try_child("bo-a", move |_: Mailbox<NoMessage>| {
            starts.try_send(begin.elapsed()).unwrap();
            async { Err::<(), _>("again") }
        })
        .start()
        .await
        .unwrap();
    supervisor.ended().await;
    let mut waits = Vec::new();
    while let Ok(at) = started.try_recv() {
        waits.push(at.as_millis());
    }
    // The clock of tokio counts whole milliseconds, and is never early.
    let expected = [0, 0, 100, 300, 600, 900];
    assert_eq!(waits.len(), expected.len());
    for (wait, expected) in waits.into_iter().zip(expected) {
        assert!((expected..expected + 5).contains(&wait), "{wait} ms, not {expected} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_child_that_is_always_restarted_may_return() {
    let (supervisor, mut events) = one_child("ra", Restart::Always).await;
    order("ra", Order::Return).await;
    events.are(&["start it", "start it"]).await;
    supervisor.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_child_that_is_restarted_on_failure_may_return_once() {
    let (supervisor, mut events) = one_child("rf", Restart::OnFailure).await;
    order("rf", Order::Fail).await;
    events.are(&["start it", "start it"]).await;
    order("rf", Order::Panic).await;
    events.are(&["start it"]).await;
    locate("rf").await.kill();
    events.are(&["start it"]).await;

    // Asked to stop by somebody else, it returns: that is no failure.
    let child = locate("rf").await;
    child.terminate();
    child.ended().await;
    let info = child_of(&supervisor, "rf").await;
    assert_eq!(info.state, ChildState::Ended);
    assert!(info.exit.unwrap().reason.is_returned());
    assert_eq!(info.restarts, 3);
    events.are(&["stop it"]).await;
    supervisor.stop().await.unwrap();
    events.end();
}

#[tokio::test(start_paused = true)]
async fn a_child_that_is_never_restarted_stays_down_also_with_its_group() {
    let (log, mut events) = events();
    let supervisor = Supervisor::new(Strategy::OneForAll)
        .with(Child::try_new("rn-a", log.worker("a")).restart(Restart::Never))
        .try_child("rn-b", log.worker("b"))
        .start()
        .await
        .unwrap();
    order("rn-b", Order::Fail).await;
    events.are(&["start a", "start b", "stop a", "start b"]).await;
    assert_eq!(child_of(&supervisor, "rn-a").await.state, ChildState::Ended);
    supervisor.stop().await.unwrap();
    events.are(&["stop b"]).await;
    events.end();
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_restarts_a_supervisor_that_has_given_up() {
    let (log, mut events) = events();
    let below = log.clone();
    let supervisor = Supervisor::new(Strategy::OneForOne)
        .intensity(1, secs(5))
        .with(Child::supervisor("ne-below", move || {
            Supervisor::new(Strategy::OneForOne)
                .intensity(0, secs(5))
                .try_child("ne-a", below.worker("a"))
                .try_child("ne-b", below.worker("b"))
        }))
        .try_child("ne-c", log.worker("c"))
        .start()
        .await
        .unwrap();
    order("ne-a", Order::Fail).await;
    // The child of the lower one is stopped before that ends, and all of it before it is back.
    events.are_set(&["start c", "start a", "start b"]).await;
    events.are(&["stop b", "start a", "start b"]).await;

    let below = SupervisorRef::locate("ne-below", secs(1)).await.unwrap();
    assert_eq!(below.children().await.unwrap().len(), 2);
    order("ne-b", Order::Panic).await;
    events.are(&["stop a", "stop c"]).await;
    let reason = supervisor.ended().await.reason.to_string();
    assert!(reason.contains("\"ne-below\"") && reason.contains("\"ne-b\""), "{reason}");
    assert!(!below.is_alive());
    events.end();
}

/// Goal: a stop goes down the tree in the reverse order of the starts.
#[tokio::test(start_paused = true)]
async fn a_stop_reaches_the_last_child_of_the_lowest_supervisor_first() {
    let (log, mut events) = events();
    let below = log.clone();
    let supervisor = Supervisor::new(Strategy::OneForOne)
        .try_child("ns-a", log.worker("a"))
        .with(Child::supervisor("ns-below", move || {
            Supervisor::new(Strategy::OneForOne)
                .try_child("ns-b", below.worker("b"))
                .try_child("ns-c", below.worker("c"))
        }))
        .start()
        .await
        .unwrap();
    events.are(&["start a", "start b", "start c"]).await;
    let children = supervisor.stop().await.unwrap();
    events.are(&["stop c", "stop b", "stop a"]).await;
    assert!(children.iter().all(|child| child.exit.as_ref().unwrap().reason.is_returned()));
    events.end();
}

#[tokio::test(start_paused = true)]
async fn a_name_survives_a_restart_and_whoever_locates_it_gets_answers() {
    let supervisor = Supervisor::new(Strategy::OneForOne)
        .backoff(Backoff { first: secs(1), max: secs(1) })
        .child("nm-counter", counter)
        .start()
        .await
        .unwrap();
    let first = locate_counter().await;
    first.send(Count::Add(2)).unwrap();
    assert_eq!(first.ask(Count::Get).await.unwrap(), 2);
    first.send(Count::Panic).unwrap();
    first.ended().await;

    let second = locate_counter().await;
    assert_ne!(first, second);
    assert_eq!(second.ask(Count::Get).await.unwrap(), 0, "it has begun anew");
    assert!(first.send(Count::Add(1)).is_err(), "a reference leads to one incarnation");

    // Between two incarnations there is nobody.
    second.send(Count::Panic).unwrap();
    second.ended().await;
    let found = TaskRef::<Count>::find("nm-counter");
    assert_eq!(found.unwrap_err(), FindError::NotFound("nm-counter".to_owned()));
    assert_eq!(child_of(&supervisor, "nm-counter").await.state, ChildState::Waiting);
    assert_eq!(locate_counter().await.ask(Count::Get).await.unwrap(), 0);
    supervisor.stop().await.unwrap();
}

async fn locate_counter() -> TaskRef<Count> {
    TaskRef::locate("nm-counter").timeout(secs(5)).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_reference_by_name_leads_to_the_next_incarnation() {
    let named = NamedRef::new("nr-counter").timeout(secs(5));
    let supervisor = Supervisor::new(Strategy::OneForOne)
        .backoff(Backoff { first: secs(1), max: secs(1) })
        .child("nr-counter", counter)
        .start()
        .await
        .unwrap();
    for _ in 0..2 {
        named.deliver(Count::Panic).await.unwrap();
        TaskRef::<Count>::find("nr-counter").unwrap().ended().await;
    }
    let refused = named.send(Count::Add(1)).unwrap_err();
    assert!(matches!(refused, NamedSendError::NotFound { .. }), "{refused}");
    named.deliver(refused.into_message()).await.unwrap();
    assert_eq!(named.ask(Count::Get).await.unwrap(), 1);

    supervisor.stop().await.unwrap();
    let error = named.deliver(Count::Add(1)).await.unwrap_err();
    assert!(matches!(error.into_message(), Count::Add(1)));
}

#[tokio::test(start_paused = true)]
async fn a_child_that_does_not_stop_is_dropped_when_its_grace_is_over() {
    let supervisor = Supervisor::new(Strategy::OneForOne)
        .with(Child::new("gr-a", stubborn).grace(secs(2)))
        .with(Child::new("gr-b", stubborn).grace(secs(3)))
        .start()
        .await
        .unwrap();
    let begin = Instant::now();
    let children = supervisor.stop().await.unwrap();
    let took = begin.elapsed();
    assert!(took >= secs(5) && took < ms(5100), "one after the other: {took:?}");
    assert!(children.iter().all(|child| child.exit.as_ref().unwrap().reason.is_terminated()));
    assert!(children.iter().all(|child| child.state == ChildState::Ended));
}

#[tokio::test(start_paused = true)]
async fn a_stop_tells_how_each_child_has_ended() {
    let (log, _events) = events();
    let supervisor = Supervisor::new(Strategy::OneForOne)
        .try_child("st-returns", log.worker("a"))
        .try_child("st-fails", |mailbox: Mailbox<NoMessage>| async move {
            mailbox.stopping().await;
            Err::<(), _>("disk is full")
        })
        .with(Child::new("st-hangs", stubborn).grace(ms(10)))
        .with(Child::try_new("st-ended", log.worker("d")).restart(Restart::Never))
        .start()
        .await
        .unwrap();
    order("st-ended", Order::Panic).await;
    locate_gone("st-ended").await;
    let children = supervisor.stop().await.unwrap();
    let ends = children.iter().map(|child| {
        let exit = child.exit.as_ref().unwrap();
        (&*child.name, exit.reason.is_returned(), exit.reason.is_failed())
    });
    let expected = [
        ("st-returns", true, false),
        ("st-fails", false, true),
        ("st-hangs", false, false),
        ("st-ended", false, true),
    ];
    assert!(ends.eq(expected), "{children:?}");
    assert!(supervisor.exit().unwrap().reason.is_returned());
}

#[tokio::test(start_paused = true)]
async fn children_come_and_go_at_run_time() {
    let (log, mut events) = events();
    let supervisor = Supervisor::new(Strategy::OneForOne).start().await.unwrap();
    supervisor.add(Child::try_new("rt-a", log.worker("a"))).await.unwrap();
    supervisor.add(Child::try_new("rt-b", log.worker("b"))).await.unwrap();
    events.are(&["start a", "start b"]).await;
    let again = supervisor.add(Child::try_new("rt-a", log.worker("a"))).await;
    assert_eq!(again, Err(ChildStartError::Exists { child: "rt-a".to_owned() }));

    let stopped = supervisor.stop_child("rt-a").await.unwrap();
    assert!(stopped.exit.unwrap().reason.is_returned());
    assert!(stopped.task.is_none());
    events.are(&["stop a"]).await;
    assert_eq!(child_of(&supervisor, "rt-a").await.state, ChildState::Ended);

    supervisor.restart_child("rt-a").await.unwrap();
    events.are(&["start a"]).await;
    supervisor.restart_child("rt-a").await.unwrap();
    events.are(&["stop a", "start a"]).await;
    assert_eq!(child_of(&supervisor, "rt-a").await.restarts, 2);

    supervisor.remove_child("rt-a").await.unwrap();
    events.are(&["stop a"]).await;
    let unknown = Err(ChildError::NoSuchChild("rt-a".to_owned()));
    assert_eq!(supervisor.restart_child("rt-a").await, unknown);
    let names: Vec<_> = supervisor.children().await.unwrap();
    assert_eq!(names.iter().map(|child| &*child.name).collect::<Vec<_>>(), ["rt-b"]);

    supervisor.stop().await.unwrap();
    events.are(&["stop b"]).await;
    let late = supervisor.add(Child::try_new("rt-c", log.worker("c"))).await;
    assert!(matches!(late, Err(ChildStartError::SupervisorEnded(_))));
    events.end();
}

#[tokio::test(start_paused = true)]
async fn a_child_may_be_stopped_while_it_waits_for_its_restart() {
    let supervisor = Supervisor::new(Strategy::OneForOne)
        .backoff(Backoff { first: secs(1), max: secs(1) })
        .child("sw-counter", counter)
        .start()
        .await
        .unwrap();
    let named = NamedRef::new("sw-counter");
    for _ in 0..2 {
        named.deliver(Count::Panic).await.unwrap();
        TaskRef::<Count>::find("sw-counter").unwrap().ended().await;
    }
    assert_eq!(child_of(&supervisor, "sw-counter").await.state, ChildState::Waiting);
    assert_eq!(supervisor.stop_child("sw-counter").await.unwrap().state, ChildState::Ended);
    tokio::time::advance(secs(2)).await;
    assert_eq!(child_of(&supervisor, "sw-counter").await.state, ChildState::Ended);
    supervisor.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_killed_supervisor_leaves_nothing() {
    let supervisor = Supervisor::new(Strategy::OneForOne)
        .child("ki-a", stubborn)
        .with(Child::supervisor("ki-below", || {
            Supervisor::new(Strategy::OneForOne).child("ki-b", stubborn)
        }))
        .start()
        .await
        .unwrap();
    let deepest = TaskRef::<NoMessage>::locate("ki-b").await.unwrap();
    let children = supervisor.children().await.unwrap();
    supervisor.kill();
    for child in children {
        within(child.task.unwrap().ended()).await;
    }
    assert!(within(deepest.ended()).await.reason.is_terminated());
}

#[test]
fn a_runtime_that_ends_leaves_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (supervisor, child) = runtime.block_on(async {
        let supervisor = Supervisor::new(Strategy::OneForOne).child("ru-a", stubborn);
        let supervisor = supervisor.start().await.unwrap();
        (supervisor, TaskRef::<NoMessage>::find("ru-a").unwrap())
    });
    drop(runtime);
    assert!(supervisor.exit().is_some() && child.exit().is_some());
    assert!(TaskRef::<NoMessage>::find("ru-a").is_err());
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_that_nobody_refers_to_stops_its_children() {
    let (log, mut events) = events();
    let supervisor = Supervisor::new(Strategy::OneForOne)
        .try_child("dr-a", log.worker("a"))
        .try_child("dr-b", log.worker("b"))
        .start()
        .await
        .unwrap();
    events.are(&["start a", "start b"]).await;
    let task = supervisor.any();
    drop(supervisor);
    events.are(&["stop b", "stop a"]).await;
    assert!(within(task.ended()).await.reason.is_returned());
}

#[tokio::test(start_paused = true)]
async fn a_terminated_supervisor_gives_each_child_its_grace() {
    let supervisor = Supervisor::new(Strategy::OneForOne)
        .with(Child::new("te-a", stubborn).grace(secs(10)))
        .start()
        .await
        .unwrap();
    let begin = Instant::now();
    supervisor.terminate();
    assert!(supervisor.ended().await.reason.is_returned());
    assert!(begin.elapsed() >= secs(10));
}

#[tokio::test(start_paused = true)]
async fn a_start_that_nobody_waits_for_leaves_nothing() {
    let (log, mut events) = events();
    let supervisor = Supervisor::new(Strategy::OneForOne).try_child("ns-x", log.worker("x"));
    let start = supervisor.start();
    assert!(timeout(Duration::ZERO, start).await.is_err(), "children start after the first poll");
    locate_gone("ns-x").await;
    tokio::time::advance(secs(1)).await;
    assert!(TaskRef::<Order>::find("ns-x").is_err());
    events.end_but(&["start x", "stop x"]);
}

#[tokio::test(start_paused = true)]
async fn a_taken_name_is_an_error_of_the_start_that_undoes_it() {
    let (log, mut events) = events();
    let holder = spawn(stubborn);
    holder.register("nt-b").unwrap();
    let error = Supervisor::new(Strategy::OneForOne)
        .try_child("nt-a", log.worker("a"))
        .try_child("nt-b", log.worker("b"))
        .try_child("nt-c", log.worker("c"))
        .start()
        .await
        .unwrap_err();
    let ChildStartError::Name { child, source } = error else { panic!("{error}") };
    assert_eq!(child, "nt-b");
    assert!(source.to_string().contains("taken"), "{source}");
    assert!(TaskRef::<Order>::find("nt-a").is_err(), "it has ended when the error is there");
    assert!(holder.is_alive());
    // The first one may have been asked to stop before it began.
    events.end_but(&["start a", "stop a"]);
    holder.kill();
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_taken_at_a_restart_counts_as_a_failure() {
    let supervisor = Supervisor::new(Strategy::OneForOne)
        .backoff(Backoff { first: secs(1), max: secs(1) })
        .child("nk-counter", counter)
        .start()
        .await
        .unwrap();
    let named = NamedRef::new("nk-counter");
    named.deliver(Count::Panic).await.unwrap();
    TaskRef::<Count>::find("nk-counter").unwrap().ended().await;
    named.deliver(Count::Panic).await.unwrap();
    TaskRef::<Count>::find("nk-counter").unwrap().ended().await;

    let thief = spawn(stubborn);
    thief.register("nk-counter").unwrap();
    let ExitReason::Failed(failure) = supervisor.ended().await.reason else { panic!("it lives") };
    assert!(failure.message.contains("taken by"), "{failure}");
    thief.kill();
}

#[tokio::test(start_paused = true)]
async fn two_children_of_one_name_start_nothing() {
    let (log, mut events) = events();
    let supervisor = Supervisor::new(Strategy::OneForOne)
        .try_child("tw-a", log.worker("a"))
        .try_child("tw-a", log.worker("a"));
    let error = supervisor.start().await.unwrap_err();
    assert_eq!(error, ChildStartError::Exists { child: "tw-a".to_owned() });
    events.end();
}

#[tokio::test(start_paused = true)]
async fn a_function_that_panics_is_a_failed_start() {
    let error = Supervisor::new(Strategy::OneForOne).child("fp-a", broken).start().await;
    let Err(ChildStartError::Panicked { child, failure }) = error else { panic!("it has started") };
    assert_eq!((child.as_str(), failure.message.as_str()), ("fp-a", "no future"));
    assert!(failure.location.as_ref().unwrap().contains("supervision.rs"));
    assert!(TaskRef::<NoMessage>::find("fp-a").is_err());
}

#[tokio::test(start_paused = true)]
async fn a_function_that_panics_at_a_restart_is_called_again() {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    let supervisor = Supervisor::new(Strategy::OneForOne)
        .child("fr-a", move |mailbox: Mailbox<Order>| {
            let call = counted.fetch_add(1, Ordering::Relaxed);
            assert!(call != 1, "not this time");
            async move { assert!(mailbox.me().is_alive() && call != 0, "not at first") }
        })
        .start()
        .await
        .unwrap();
    let exit = supervisor.ended().await;
    assert_eq!(calls.load(Ordering::Relaxed), 4, "{exit}");
}

#[tokio::test(start_paused = true)]
async fn a_failed_first_start_at_run_time_does_not_add_the_child() {
    let supervisor = Supervisor::new(Strategy::OneForOne).start().await.unwrap();
    let error = supervisor.add(Child::new("ff-a", broken)).await.unwrap_err();
    assert!(matches!(error, ChildStartError::Panicked { .. }), "{error}");
    assert!(supervisor.children().await.unwrap().is_empty());
    supervisor.stop().await.unwrap();
}

/// Goal: supervisors work while threads really run at the same time, with the clock of the wall.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_is_never_held_by_two_incarnations() {
    let named = NamedRef::new("mt-counter").timeout(secs(20));
    let supervisor = Supervisor::new(Strategy::OneForOne)
        .intensity(1000, secs(1))
        .backoff(Backoff::NONE)
        .child("mt-counter", counter)
        .start()
        .await
        .unwrap();
    for _ in 0..200 {
        named.deliver(Count::Panic).await.unwrap();
    }
    supervisor.stop().await.unwrap();
    assert!(TaskRef::<Count>::find("mt-counter").is_err());
}

enum Order {
    Return,
    Fail,
    Panic,
}

enum Count {
    Add(u64),
    Get(Reply<u64>),
    Panic,
}

async fn counter(mut mailbox: Mailbox<Count>) {
    let mut n = 0;
    while let Some(message) = mailbox.recv().await {
        match message {
            Count::Add(k) => n += k,
            Count::Get(reply) => reply.send(n),
            Count::Panic => panic!("was told to panic"),
        }
    }
}

async fn worker(mut mailbox: Mailbox<Order>, log: Log, name: &'static str) -> Result<(), String> {
    log.say("start", name);
    match mailbox.recv().await {
        Some(Order::Return) => Ok(()),
        Some(Order::Fail) => Err("was told to fail".to_owned()),
        Some(Order::Panic) => panic!("was told to panic"),
        None => {
            log.say("stop", name);
            Ok(())
        }
    }
}

async fn hopeless(_: Mailbox<NoMessage>, starts: Arc<AtomicU32>) {
    starts.fetch_add(1, Ordering::Relaxed);
    panic!("no luck");
}

/// Does not look into its mailbox.
async fn stubborn(_mailbox: Mailbox<NoMessage>) -> Infallible {
    pending().await
}

fn broken(_: Mailbox<NoMessage>) -> impl Future<Output = ()> + Send + 'static {
    if true {
        panic!("no future");
    }
    async {}
}

#[derive(Clone)]
struct Log(mpsc::UnboundedSender<String>);

struct Events(mpsc::UnboundedReceiver<String>);

fn events() -> (Log, Events) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Log(sender), Events(receiver))
}

impl Log {
    fn say(&self, what: &str, name: &str) {
        let _ = self.0.send(format!("{what} {name}"));
    }

    fn worker(
        &self,
        name: &'static str,
    ) -> impl FnMut(Mailbox<Order>) -> Worker + Send + 'static + use<> {
        let log = self.clone();
        move |mailbox| Box::pin(worker(mailbox, log.clone(), name))
    }
}

type Worker = std::pin::Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

impl Events {
    async fn are(&mut self, expected: &[&str]) {
        for expected in expected {
            let event = timeout(secs(60), self.0.recv()).await;
            let event = event.unwrap_or_else(|_| panic!("{expected:?} has not happened"));
            assert_eq!(event.as_deref(), Some(*expected));
        }
    }

    async fn are_set(&mut self, expected: &[&str]) {
        let mut events = Vec::new();
        for _ in expected {
            events.push(within(self.0.recv()).await.unwrap());
        }
        events.sort();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(events, expected);
    }

    /// Nothing else has happened.
    fn end(&mut self) {
        self.end_but(&[]);
    }

    fn end_but(&mut self, allowed: &[&str]) {
        while let Ok(event) = self.0.try_recv() {
            assert!(allowed.contains(&event.as_str()), "{event:?} has happened");
        }
    }
}

async fn one_child(name: &'static str, restart: Restart) -> (SupervisorRef, Events) {
    let (log, events) = events();
    let supervisor = Supervisor::new(Strategy::OneForOne)
        .intensity(10, secs(5))
        .with(Child::try_new(name, log.worker("it")).restart(restart))
        .start()
        .await
        .unwrap();
    (supervisor, events)
}

async fn locate(name: &str) -> TaskRef<Order> {
    TaskRef::locate(name).timeout(secs(60)).await.unwrap()
}

async fn locate_gone(name: &str) {
    if let Ok(task) = TaskRef::<Order>::find(name) {
        within(task.ended()).await;
    }
}

/// Gives an order to the child, and waits until this incarnation of it has ended.
async fn order(name: &str, order: Order) {
    let task = locate(name).await;
    task.send(order).unwrap();
    within(task.ended()).await;
}

async fn child_of(supervisor: &SupervisorRef, name: &str) -> ChildInfo {
    let mut children = supervisor.children().await.unwrap().into_iter();
    children.find(|child| &*child.name == name).unwrap()
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(secs(60), future).await.expect("it takes too long")
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Goal: a question is asked of the next incarnation, unless the one that fails has read it.
/// Method: real threads, so that questions get into mailboxes that are about to be dropped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_by_name_waits_for_the_next_incarnation() {
    let named = NamedRef::new("nq-counter").timeout(secs(10));
    let supervisor = Supervisor::new(Strategy::OneForOne)
        .intensity(1000, secs(1))
        .backoff(Backoff::NONE)
        .child("nq-counter", counter)
        .start()
        .await
        .unwrap();
    for _ in 0..200 {
        named.deliver(Count::Panic).await.unwrap();
        assert_eq!(named.ask(Count::Get).await, Ok(0));
    }
    supervisor.stop().await.unwrap();
}

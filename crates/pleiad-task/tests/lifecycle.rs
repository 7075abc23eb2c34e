//! How tasks end, and who hears of it.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use std::fmt;
use std::future::{Future, pending, ready};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use pleiad_task::{
    AnyTask, Exit, ExitReason, Mailbox, MonitorError, Reply, TaskBuilder, TaskRef, current, spawn,
    spawn_future, spawn_local, try_spawn, try_spawn_future,
};
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(10);

enum Event {
    Message(u32),
    Ended(Exit),
}

/// Notes what it gets, and ends when it has heard of `ends` ends.
async fn observe(mut mailbox: Mailbox<Event>, ends: usize) -> (Vec<u32>, Vec<Exit>) {
    let (mut messages, mut exits) = (Vec::new(), Vec::new());
    while exits.len() < ends {
        match mailbox.recv().await.unwrap() {
            Event::Message(number) => messages.push(number),
            Event::Ended(exit) => exits.push(exit),
        }
    }
    (messages, exits)
}

async fn serve(mut mailbox: Mailbox<u32>) -> u32 {
    let mut sum = 0;
    while let Some(n) = mailbox.recv().await {
        sum += n;
    }
    sum
}

fn message_of(exit: &Exit) -> &str {
    match &exit.reason {
        ExitReason::Failed(failure) => &failure.message,
        other => panic!("{other}"),
    }
}

/// Counts drops.
struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Panics when it is dropped.
#[derive(Debug)]
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("a bomb went off");
    }
}

/// Panics when it is dropped, and hides it.
struct CatchingBomb;

impl Drop for CatchingBomb {
    fn drop(&mut self) {
        drop(catch_unwind(|| panic!("the second")));
    }
}

/// Its payload panics when it is dropped, as does what it panics with then.
struct EndlessBomb(u32);

impl Drop for EndlessBomb {
    fn drop(&mut self) {
        if self.0 > 0 {
            std::panic::panic_any(Self(self.0 - 1));
        }
    }
}

// ---- monitors ----

#[tokio::test]
async fn a_monitor_hears_the_true_reason_of_each_end() {
    let observer = spawn(|mailbox| observe(mailbox, 5));
    let returns = spawn_future(async {});
    let panics = spawn_future(async { panic!("no {}", "more") });
    let fails = try_spawn(|_: Mailbox<()>| ready(Err::<(), _>("broken")));
    let killed = spawn(serve);
    let terminated = spawn_future(pending::<()>());
    observer.monitor(&returns, Event::Ended).unwrap();
    observer.monitor(&panics, Event::Ended).unwrap();
    observer.monitor(&fails, Event::Ended).unwrap();
    observer.monitor(&killed, Event::Ended).unwrap();
    terminated.notify(&observer, Event::Ended).unwrap();
    killed.kill();
    terminated.terminate();

    let ids = [returns.id(), panics.id(), fails.id(), killed.id(), terminated.id()];
    let (_, mut exits) = observer.await.unwrap();
    exits.sort_by_key(|exit| exit.task.id());
    assert_eq!(exits.iter().map(|exit| exit.task.id()).collect::<Vec<_>>(), ids);
    assert_eq!(exits[0].reason, ExitReason::Returned);
    let ExitReason::Failed(failure) = &exits[1].reason else { panic!("{}", exits[1]) };
    assert_eq!(failure.message, "no more");
    assert!(failure.location.as_ref().unwrap().contains("lifecycle.rs"), "{failure}");
    let ExitReason::Failed(failure) = &exits[2].reason else { panic!("{}", exits[2]) };
    assert_eq!((failure.message.as_str(), &failure.location), ("broken", &None));
    assert_eq!(exits[3].reason, ExitReason::Terminated);
    assert_eq!(exits[4].reason, ExitReason::Terminated);
}

/// Goal: an end is heard exactly once for a monitor, also long after it.
#[tokio::test]
async fn a_monitor_hears_of_an_end_that_has_been() {
    let task = spawn_future(async {});
    let reference = task.detach();
    assert!(reference.ended().await.reason.is_returned());
    let observer = spawn(|mailbox| observe(mailbox, 2));
    observer.monitor(&reference, Event::Ended).unwrap();
    let late = observer.monitor(&reference, Event::Ended).unwrap();
    assert!(!late.cancel(), "it has been told already");
    let (_, exits) = observer.await.unwrap();
    assert!(exits.iter().all(|exit| exit.reason.is_returned() && exit.task.id() == reference.id()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exit_comes_after_all_messages_of_that_task() {
    for _ in 0..50 {
        let observer = TaskBuilder::new().capacity(8).spawn(|mailbox| observe(mailbox, 1));
        let to = observer.downgrade();
        let start = observer.clone();
        let talker = spawn_future(async move {
            for n in 0..20 {
                start.deliver(Event::Message(n)).await.unwrap();
            }
        });
        drop(to);
        observer.monitor(&talker, Event::Ended).unwrap();
        let (messages, exits) = observer.await.unwrap();
        assert_eq!(messages, Vec::from_iter(0..20));
        assert_eq!(exits.len(), 1);
    }
}

#[tokio::test]
async fn an_exit_needs_no_room_in_the_mailbox() {
    let observer = TaskBuilder::new().capacity(1).spawn(|mailbox| observe(mailbox, 1));
    observer.send(Event::Message(1)).unwrap();
    let task = spawn_future(async {}).detach();
    observer.monitor(&task, Event::Ended).unwrap();
    assert!(observer.send(Event::Message(2)).unwrap_err().is_full());
    let (messages, exits) = observer.await.unwrap();
    assert_eq!((messages, exits.len()), (vec![1], 1));
}

#[tokio::test]
async fn a_cancelled_monitor_hears_nothing() {
    let observer = spawn(|mailbox| observe(mailbox, 1));
    let (one, two) = (spawn(serve), spawn(serve));
    let monitor = observer.monitor(&one, Event::Ended).unwrap();
    observer.monitor(&two, Event::Ended).unwrap();
    assert!(monitor.cancel());
    one.kill();
    one.ended().await;
    two.kill();
    let (_, exits) = observer.await.unwrap();
    assert_eq!(exits[0].task, two.identity());
}

#[tokio::test]
async fn a_task_cannot_monitor_itself() {
    let task = spawn(|mailbox| observe(mailbox, 1));
    let itself = task.monitor(&task, Event::Ended).unwrap_err();
    assert_eq!(itself, MonitorError::Itself(task.identity()));
}

#[tokio::test]
async fn a_task_that_takes_no_messages_cannot_monitor() {
    let ended = spawn(|mailbox| observe(mailbox, 0));
    ended.ended().await;
    let task = spawn(serve);
    let closed = ended.monitor(&task, Event::Ended).unwrap_err();
    assert_eq!(closed, MonitorError::Closed(ended.identity()));
}

/// Goal: a monitor that was cancelled, or told, no longer keeps the mailbox of its task open.
#[tokio::test]
async fn a_monitor_keeps_the_mailbox_open_until_it_is_told() {
    let observed = spawn(serve);
    let observer = spawn(|mut mailbox: Mailbox<Event>| async move {
        let mut ends = 0;
        while mailbox.recv().await.is_some() {
            ends += 1;
        }
        ends
    });
    observer.monitor(&observed, Event::Ended).unwrap();
    let mut end = observer.join();
    assert!(timeout(Duration::from_millis(20), &mut end).await.is_err(), "it is open");
    drop(observed);
    assert_eq!(end.await.unwrap(), 1);
}

#[tokio::test]
async fn a_monitor_whose_message_panics_stops_no_other() {
    let observer = spawn(|mailbox| observe(mailbox, 1));
    let task = spawn(serve);
    observer.monitor(&task, |_| std::panic::panic_any(EndlessBomb(3))).unwrap();
    observer.monitor(&task, |_| panic!("no message")).unwrap();
    observer.monitor(&task, Event::Ended).unwrap();
    task.kill();
    assert!(observer.await.unwrap().1[0].reason.is_terminated());
}

// ---- ends ----

#[tokio::test]
async fn the_error_of_a_task_is_told_with_its_causes() {
    struct Chain;
    impl fmt::Display for Chain {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(if f.alternate() { "outer: inner" } else { "outer" })
        }
    }
    let task = try_spawn(|_: Mailbox<()>| ready(Err::<(), _>(Chain)));
    assert_eq!(message_of(&task.await.unwrap_err()), "outer: inner");
}

#[tokio::test]
async fn an_error_that_panics_when_it_is_printed_fails_the_task() {
    struct Unprintable;
    impl fmt::Display for Unprintable {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            panic!("it cannot be said");
        }
    }
    let task = try_spawn(|_: Mailbox<()>| ready(Err::<(), _>(Unprintable)));
    let reference = TaskRef::clone(&task);
    assert_eq!(message_of(&task.await.unwrap_err()), "it cannot be said");
    assert_eq!(message_of(&reference.exit().unwrap()), "it cannot be said");
}

#[tokio::test]
async fn a_panic_without_a_text_is_told_too() {
    let task = spawn_future(async { std::panic::panic_any(7) });
    assert_eq!(message_of(&task.await.unwrap_err()), "(a panic without a text)");
}

/// Goal: the place of a panic is never that of another one, which was caught.
#[tokio::test]
async fn the_place_of_an_earlier_panic_is_not_told() {
    let careful = spawn_future(async { catch_unwind(|| panic!("caught")).unwrap_err() });
    let payload = careful.await.unwrap();
    drop(payload);
    let passes_on = spawn_future(async { resume_unwind(Box::new("of another thread")) });
    let exit = passes_on.await.unwrap_err();
    let ExitReason::Failed(failure) = exit.reason else { panic!("{exit}") };
    assert_eq!((failure.message.as_str(), failure.location.clone()), ("of another thread", None));
}

#[tokio::test]
async fn a_payload_that_panics_when_dropped_takes_nobody_down() {
    let task = spawn_future(async { std::panic::panic_any(EndlessBomb(3)) });
    assert_eq!(message_of(&task.await.unwrap_err()), "(a panic without a text)");
}

#[tokio::test]
async fn a_message_that_panics_when_dropped_takes_nobody_down() {
    let observer = spawn(|mailbox| observe(mailbox, 1));
    let task = spawn(|mailbox: Mailbox<Bomb>| async move {
        let _mailbox = mailbox;
        pending::<()>().await;
    });
    task.send(Bomb).unwrap();
    observer.monitor(&task, Event::Ended).unwrap();
    task.kill();
    let (_, exits) = observer.await.unwrap();
    assert_eq!(exits.len(), 1);
    assert!(task.await.is_err());
}

#[tokio::test]
async fn many_messages_that_panic_when_dropped_take_nobody_down() {
    let held = Arc::new(Mutex::new(None));
    let holder = held.clone();
    let task = spawn(|mailbox: Mailbox<Bomb>| {
        *holder.lock().unwrap() = Some(mailbox);
        pending::<()>()
    });
    for _ in 0..3 {
        task.send(Bomb).unwrap();
    }
    task.kill();
    assert!(task.ended().await.reason.is_terminated());
}

#[tokio::test]
async fn a_panic_over_messages_that_panic_when_dropped_takes_nobody_down() {
    let task = spawn(|mut mailbox: Mailbox<Bomb>| async move {
        std::mem::forget(mailbox.recv().await);
        panic!("the first")
    });
    for _ in 0..4 {
        task.send(Bomb).unwrap();
    }
    assert_eq!(message_of(&task.await.unwrap_err()), "the first");
}

#[tokio::test]
async fn a_message_whose_panic_panics_hides_no_end() {
    let task = spawn(|mailbox: Mailbox<EndlessBomb>| async move {
        std::mem::forget(mailbox);
        pending::<()>().await;
    });
    tokio::task::yield_now().await;
    task.send(EndlessBomb(3)).unwrap();
    let observer = spawn(|mailbox| observe(mailbox, 1));
    observer.monitor(&task, Event::Ended).unwrap();
    task.kill();
    let (_, exits) = timeout(SOON, observer).await.unwrap().unwrap();
    assert!(exits[0].reason.is_terminated(), "{}", exits[0]);
}

#[tokio::test]
async fn a_result_that_panics_when_dropped_takes_nobody_down() {
    let task = spawn_future(async { Bomb }).detach();
    assert!(task.ended().await.reason.is_returned());
    let task = spawn_future(async { Bomb });
    task.ended().await;
    std::mem::forget(task.await.unwrap());
}

#[tokio::test]
async fn a_task_that_panics_in_its_cleanup_has_failed() {
    let task = spawn_future(async {
        let _bomb = Bomb;
        pending::<()>().await;
    });
    tokio::task::yield_now().await;
    task.terminate();
    assert_eq!(message_of(&task.await.unwrap_err()), "a bomb went off");
}

#[tokio::test]
async fn the_first_panic_is_the_reason() {
    let task = spawn_future(async {
        let _guard = CatchingBomb;
        panic!("the first")
    });
    assert_eq!(message_of(&task.await.unwrap_err()), "the first");
}

/// Goal: messages are dropped when the task ends, not when the last reference goes.
#[tokio::test]
async fn what_was_not_read_is_dropped_at_the_end() {
    let drops = Arc::new(AtomicUsize::new(0));
    let task = spawn(|mut mailbox: Mailbox<Dropped>| async move {
        drop(mailbox.recv().await);
        pending::<()>().await;
    });
    let reference = TaskRef::clone(&task);
    for _ in 0..3 {
        task.send(Dropped(drops.clone())).unwrap();
    }
    task.send_urgent(Dropped(drops.clone())).unwrap();
    tokio::task::yield_now().await;
    task.kill();
    assert!(task.await.is_err());
    assert_eq!(drops.load(Ordering::SeqCst), 4);
    assert_eq!(reference.queued(), 0);
    drop(reference.send(Dropped(drops.clone())).unwrap_err());
    assert_eq!(drops.load(Ordering::SeqCst), 5);
}

/// As above, for messages that take no memory.
#[tokio::test]
async fn messages_without_a_size_are_dropped_at_the_end_too() {
    static DROPS: AtomicUsize = AtomicUsize::new(0);
    struct Token;
    impl Drop for Token {
        fn drop(&mut self) {
            DROPS.fetch_add(1, Ordering::SeqCst);
        }
    }
    let held = Arc::new(Mutex::new(None));
    let holder = held.clone();
    let task = spawn(|mailbox: Mailbox<Token>| {
        *holder.lock().unwrap() = Some(mailbox);
        pending::<()>()
    });
    tokio::task::yield_now().await;
    task.send(Token).unwrap();
    task.kill();
    task.ended().await;
    assert_eq!(DROPS.load(Ordering::SeqCst), 1);
}

#[test]
fn a_runtime_that_is_shut_down_terminates_its_tasks() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let told = Arc::new(AtomicUsize::new(0));
    let task = runtime.block_on(async {
        let task = spawn(serve);
        tokio::task::yield_now().await;
        task
    });
    let never_polled = TaskBuilder::new().on(runtime.handle()).spawn(serve).detach();
    let other = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let observer = TaskBuilder::new().on(other.handle()).spawn(|mailbox| observe(mailbox, 2));
    let hears = told.clone();
    let heard = move |exit| {
        hears.fetch_add(1, Ordering::SeqCst);
        Event::Ended(exit)
    };
    observer.monitor(&task, heard.clone()).unwrap();
    observer.monitor(&never_polled, heard).unwrap();
    drop(runtime);
    assert_eq!(told.load(Ordering::SeqCst), 2);
    let (_, exits) = other.block_on(async { observer.await.unwrap() });
    assert!(exits.iter().all(|exit| exit.reason.is_terminated()));
    assert!(task.join_blocking().unwrap_err().reason.is_terminated());
    let late = TaskBuilder::new().on(other.handle()).spawn(serve);
    drop(other);
    assert!(late.exit().unwrap().reason.is_terminated());
}

#[test]
fn a_cleanup_that_panics_in_a_shutdown_is_told_to_all_alike() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let task = runtime.block_on(async {
        let task = spawn_future(async {
            let _bomb = Bomb;
            pending::<()>().await;
        });
        tokio::task::yield_now().await;
        task
    });
    drop(runtime);
    let exit = task.exit().unwrap();
    assert_eq!(message_of(&exit), "a bomb went off");
    assert_eq!(task.join_blocking().unwrap_err().reason, exit.reason);
}

/// Goal: a function that panics before there is a future leaves no task that never ends.
#[tokio::test]
async fn a_function_that_panics_before_its_first_await_point_leaves_no_task() {
    let me = Mutex::new(None);
    let spawned = catch_unwind(AssertUnwindSafe(|| {
        spawn(|mailbox: Mailbox<u32>| {
            *me.lock().unwrap() = Some(mailbox.me());
            if mailbox.is_empty() {
                panic!("before there is a future");
            }
            pending::<()>()
        })
    }));
    assert!(spawned.is_err());
    let me = me.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).unwrap();
    timeout(SOON, me.ended()).await.unwrap();
}

/// Goal: nothing of a task stays when it has ended and nobody knows it any more.
#[tokio::test]
async fn nothing_is_left_of_a_task() {
    let drops = Arc::new(AtomicUsize::new(0));
    let count = || Dropped(drops.clone());

    let (held, message) = (count(), count());
    let task = spawn(move |mut mailbox: Mailbox<(Dropped, Option<TaskRef<u32>>)>| async move {
        let _held = held;
        let _me = mailbox.me();
        let received = mailbox.recv().await;
        drop(received);
        mailbox.close();
        pending::<()>().await;
    });
    let peer = spawn(serve);
    task.send((message, Some(TaskRef::clone(&peer)))).unwrap();
    let watched = count();
    peer.monitor(&task, move |_| {
        drop(watched);
        0
    })
    .unwrap();
    let unwatched = count();
    peer.monitor(&task, move |_| {
        drop(unwatched);
        0
    })
    .unwrap()
    .cancel();
    tokio::task::yield_now().await;
    task.kill();
    assert!(task.await.is_err());
    assert_eq!(drops.load(Ordering::SeqCst), 4);
    assert_eq!(peer.await.unwrap(), 0);
}

/// Goal: what waits for an end, but only for a time, leaves nothing in the task, not even its waker.
#[tokio::test]
async fn who_waits_for_an_end_only_for_a_time_leaves_nothing() {
    struct Waiter;

    impl Wake for Waiter {
        fn wake(self: Arc<Self>) {}
    }

    let task = spawn(serve);
    let waiter = Arc::new(Waiter);
    let waker = Waker::from(waiter.clone());
    for _ in 0..3 {
        let mut ended = task.ended();
        assert!(Pin::new(&mut ended).poll(&mut Context::from_waker(&waker)).is_pending());
    }
    drop(waker);
    assert_eq!(Arc::strong_count(&waiter), 1);
    assert_eq!(task.await.unwrap(), 0);
}

// ---- terminate ----

#[tokio::test]
async fn a_task_that_is_asked_to_stop_gets_none_before_what_is_left() {
    let task = spawn(|mut mailbox: Mailbox<u32>| async move {
        let first = mailbox.recv().await;
        let stopping = mailbox.is_stopping();
        let left = mailbox.try_recv();
        (first, stopping, left)
    });
    task.send(1).unwrap();
    task.terminate();
    assert_eq!(task.await.unwrap(), (None, true, Ok(1)));
}

#[tokio::test]
async fn a_result_within_the_grace_counts() {
    let task = spawn(|mut mailbox: Mailbox<u32>| async move {
        while mailbox.recv().await.is_some() {}
        tokio::time::sleep(Duration::from_millis(5)).await;
        "cleaned up"
    });
    let reference = TaskRef::clone(&task);
    task.terminate();
    assert_eq!(task.await.unwrap(), "cleaned up");
    assert!(reference.exit().unwrap().reason.is_returned());
}

/// Goal: the grace is for the clean-up too, which often has no mailbox any more.
#[tokio::test]
async fn the_grace_goes_on_when_the_mailbox_is_dropped() {
    let task = spawn(|mailbox: Mailbox<u32>| async move {
        let sum = serve(mailbox).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        sum
    });
    task.send(1).unwrap();
    tokio::task::yield_now().await;
    task.terminate();
    task.terminate();
    assert_eq!(task.await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_does_not_stop_is_dropped_when_its_grace_is_over() {
    let begin = tokio::time::Instant::now();
    let own = TaskBuilder::new().grace(Duration::from_secs(2)).spawn(
        |mailbox: Mailbox<u32>| async move {
            let _mailbox = mailbox;
            pending::<()>().await;
        },
    );
    own.terminate();
    assert!(own.await.unwrap_err().reason.is_terminated());
    assert_eq!(begin.elapsed().as_secs(), 2);

    let stubborn = spawn(|mailbox: Mailbox<u32>| async move {
        let _mailbox = mailbox;
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    stubborn.terminate_within(Duration::from_secs(3));
    assert!(stubborn.await.unwrap_err().reason.is_terminated());
    assert_eq!(begin.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn the_last_grace_counts() {
    let begin = tokio::time::Instant::now();
    let task = TaskBuilder::new().grace(Duration::from_secs(60)).spawn(
        |mailbox: Mailbox<u32>| async move {
            let _mailbox = mailbox;
            pending::<()>().await;
        },
    );
    task.terminate();
    task.terminate();
    tokio::time::sleep(Duration::from_secs(1)).await;
    task.terminate_within(Duration::from_secs(2));
    task.terminate();
    assert!(task.await.unwrap_err().reason.is_terminated());
    assert_eq!(begin.elapsed().as_secs(), 3);
}

#[tokio::test]
async fn a_kill_waits_for_no_grace() {
    let task = spawn(|mut mailbox: Mailbox<u32>| async move {
        while mailbox.recv().await.is_some() {}
        pending::<()>().await;
    });
    task.terminate();
    tokio::task::yield_now().await;
    assert!(task.is_alive());
    task.kill();
    assert!(timeout(SOON, task).await.unwrap().unwrap_err().reason.is_terminated());
}

#[tokio::test]
async fn a_task_without_a_mailbox_is_terminated_at_once() {
    let task = spawn_future(pending::<()>());
    tokio::task::yield_now().await;
    task.terminate();
    assert!(timeout(SOON, task).await.unwrap().unwrap_err().reason.is_terminated());
}

#[tokio::test]
async fn a_task_is_killed_before_it_has_begun() {
    let ran = Arc::new(AtomicBool::new(false));
    let (with, without) = (ran.clone(), ran.clone());
    let plain = spawn_future(async move { without.store(true, Ordering::SeqCst) });
    let other = spawn(|_: Mailbox<u32>| async move { with.store(true, Ordering::SeqCst) });
    plain.terminate();
    other.kill();
    assert!(plain.await.unwrap_err().reason.is_terminated());
    assert!(other.await.unwrap_err().reason.is_terminated());
    assert!(!ran.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_task_is_asked_to_stop_before_it_has_begun() {
    let task = spawn(serve);
    task.send(5).unwrap();
    task.terminate();
    assert_eq!(task.await.unwrap(), 0, "it begins, and gets None");
}

#[tokio::test]
async fn a_task_that_has_ended_cannot_be_terminated() {
    let task = spawn(serve);
    let reference = task.any();
    assert_eq!(task.await.unwrap(), 0);
    reference.terminate();
    reference.kill();
    assert!(reference.exit().unwrap().reason.is_returned());
    assert!(reference.ended().await.reason.is_returned());
}

#[tokio::test]
async fn stopping_is_ready_when_the_task_is_asked_to_stop() {
    let task = spawn(|mailbox: Mailbox<u32>| async move {
        tokio::join!(mailbox.stopping(), mailbox.stopping());
        mailbox.stopping().await;
        mailbox.is_stopping()
    });
    tokio::task::yield_now().await;
    task.terminate();
    assert!(timeout(SOON, task).await.unwrap().unwrap());
}

/// Goal: whoever has the mailbox hears of a stop, a kill, and an end.
/// Goal: it compiles. Messages are sent, and need not be shared.
#[tokio::test]
async fn stopping_is_awaited_whatever_the_messages_are() {
    type Job = Box<dyn FnOnce() + Send>;
    let task = spawn(async |mailbox: Mailbox<Job>| mailbox.stopping().await);
    task.terminate();
    assert_eq!(task.await, Ok(()));
}

#[tokio::test]
async fn stopping_is_ready_in_another_task_too() {
    let how: [fn(&AnyTask); 3] = [AnyTask::terminate, AnyTask::kill, |_| ()];
    for (index, stop) in how.into_iter().enumerate() {
        let (give, given) = tokio::sync::oneshot::channel();
        let task = spawn(move |mailbox: Mailbox<u32>| async move {
            give.send(mailbox).unwrap();
            if index < 2 {
                pending::<()>().await;
            }
        });
        let mailbox = given.await.unwrap();
        let waiting = tokio::spawn(async move { mailbox.stopping().await });
        tokio::task::yield_now().await;
        stop(&task.any());
        timeout(SOON, waiting).await.unwrap_or_else(|_| panic!("{index}")).unwrap();
    }
}

#[tokio::test]
async fn a_task_that_ends_answers_all_who_wait_for_it() {
    let task = spawn(serve);
    let waiting: Vec<_> = (0..10).map(|_| tokio::spawn(task.ended())).collect();
    tokio::task::yield_now().await;
    task.kill();
    for waiting in waiting {
        assert!(waiting.await.unwrap().reason.is_terminated());
    }
}

// ---- results ----

#[tokio::test]
async fn a_task_comes_back_when_it_has_not_ended_in_time() {
    let task = spawn(serve);
    let task = task.join_timeout(Duration::from_millis(5)).await.unwrap_err();
    task.send(3).unwrap();
    let last = task.downgrade();
    let mut end = task.join();
    assert!(last.upgrade().is_none(), "it has given its reference back");
    assert_eq!((&mut end).await.unwrap(), 3);
}

#[tokio::test]
async fn a_task_goes_on_when_its_handle_is_dropped() {
    let (answer, answered) = tokio::sync::oneshot::channel();
    let task = spawn(|mut mailbox: Mailbox<u32>| async move {
        let _ = answer.send(mailbox.recv().await);
    });
    let reference = task.detach();
    reference.send(4).unwrap();
    assert_eq!(answered.await.unwrap(), Some(4));
}

#[tokio::test]
async fn a_local_task_may_hold_what_cannot_be_sent() {
    let local = tokio::task::LocalSet::new();
    let sum = local
        .run_until(async {
            let task = spawn_local(|mut mailbox: Mailbox<u32>| async move {
                let sum = std::rc::Rc::new(std::cell::Cell::new(0));
                while let Some(n) = mailbox.recv().await {
                    sum.set(sum.get() + n);
                }
                sum.get()
            });
            task.send(2).unwrap();
            task.send(3).unwrap();
            task.await.unwrap()
        })
        .await;
    assert_eq!(sum, 5);

    let task = local.run_until(async { spawn_local(serve) }).await;
    drop(local);
    assert!(task.await.unwrap_err().reason.is_terminated());
}

#[tokio::test]
async fn the_current_task_is_known_inside_of_it_only() {
    assert_eq!(current(), None);
    let task = spawn_future(async {
        let before = current();
        tokio::task::yield_now().await;
        (before, current())
    });
    let id = task.id();
    assert_eq!(task.await.unwrap(), (Some(id), Some(id)));
    assert_eq!(current(), None);
}

#[tokio::test]
async fn a_question_in_the_mailbox_of_a_task_that_ends_is_answered_at_once() {
    let begin = Instant::now();
    let task = spawn(|mailbox: Mailbox<Reply<u32>>| async move {
        let _mailbox = mailbox;
        tokio::task::yield_now().await;
    });
    let reference = TaskRef::clone(&task);
    let asked = reference.ask(|reply| reply);
    let error = timeout(SOON, asked).await.unwrap().unwrap_err();
    assert!(matches!(error, pleiad_task::AskError::Unread(_)), "{error}");
    assert!(begin.elapsed() < SOON);
}

/// Goal: no end is missed, whoever is first (X12).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_races_a_monitor_is_told_once() {
    for _ in 0..200 {
        let observer = spawn(|mailbox| observe(mailbox, 1));
        let task = spawn_future(async {});
        let reference = task.detach();
        let waits = tokio::spawn(reference.ended());
        observer.monitor(&reference, Event::Ended).unwrap();
        assert!(timeout(SOON, observer).await.unwrap().unwrap().1[0].reason.is_returned());
        assert!(timeout(SOON, waits).await.unwrap().unwrap().reason.is_returned());
    }
}

/// Goal: a stop is never lost, whatever the task does at the moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_that_races_the_start_is_seen() {
    for _ in 0..200 {
        let one = spawn(serve);
        let two = spawn(|mailbox: Mailbox<u32>| async move { mailbox.stopping().await });
        let three = spawn_future(pending::<()>());
        let four = spawn(|mut mailbox: Mailbox<u32>| async move {
            mailbox.recv_matching(|_| false).await.unwrap_err()
        });
        one.terminate();
        two.terminate();
        three.terminate();
        four.terminate();
        timeout(SOON, one).await.unwrap().unwrap();
        timeout(SOON, two).await.unwrap().unwrap();
        timeout(SOON, three).await.unwrap().unwrap_err();
        timeout(SOON, four).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_future_that_gives_an_error_has_failed() {
    let task = try_spawn_future(async { Err::<(), _>("the tide is out") });
    let exit = task.await.unwrap_err();
    assert_eq!(exit.reason.to_string(), "failed: the tide is out");
    assert_eq!(try_spawn_future(async { Ok::<_, String>(7) }).await, Ok(7));
}

#[tokio::test]
async fn a_result_goes_to_another_task() {
    let clerk = spawn(async |mut mailbox: Mailbox<Result<u32, Exit>>| {
        let mut all = Vec::new();
        while let Some(result) = mailbox.recv().await {
            all.push(result);
        }
        all
    });
    let _ = spawn_future(async { 7 }).report_to(&clerk, |result| result);
    let killed = spawn_future(pending::<u32>()).report_to(&clerk, |result| result);
    killed.kill();
    let results = clerk.await.unwrap();
    assert_eq!(results.len(), 2);
    assert!(results.contains(&Ok(7)));
    assert!(results.iter().any(|result| {
        result
            .as_ref()
            .is_err_and(|exit| exit.task == killed.identity() && exit.reason.is_terminated())
    }));
}

#[tokio::test]
async fn a_task_may_monitor_from_within() {
    let task = spawn(async |mut mailbox: Mailbox<Exit>| {
        let other = spawn_future(async {});
        mailbox.monitor(&other, |exit| exit).unwrap();
        mailbox.recv().await
    });
    assert!(task.await.unwrap().unwrap().reason.is_returned());
}

/// Goal: without timers there is no grace, and the task ends as if it were over.
#[test]
fn a_task_of_a_runtime_without_timers_gets_no_grace() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let task = spawn(|_mailbox: Mailbox<()>| pending::<()>());
        tokio::task::yield_now().await;
        task.terminate();
        assert!(task.await.unwrap_err().reason.is_terminated());
    });
}

//! Tasks and threads that block.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use pleiad_task::{
    AskError, Mailbox, RecvTimeoutError, Reply, TaskBuilder, TaskRef, current, spawn,
    spawn_blocking, spawn_future,
};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(10);
const MS: Duration = Duration::from_millis(1);

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn sum(mut mailbox: Mailbox<u32>) -> u32 {
    let mut sum = 0;
    while let Some(n) = mailbox.recv_blocking() {
        sum += n;
    }
    sum
}

async fn double(mut mailbox: Mailbox<(u32, Reply<u32>)>) {
    while let Some((n, reply)) = mailbox.recv().await {
        reply.send(2 * n);
    }
}

#[tokio::test]
async fn a_blocking_task_reads_its_mailbox() {
    let task = TaskBuilder::new().capacity(2).spawn_blocking(sum);
    for n in 0..100 {
        timeout(SOON, task.deliver(n)).await.unwrap().unwrap();
    }
    assert_eq!(task.await.unwrap(), 4950);
}

#[tokio::test]
async fn a_blocking_task_that_panics_has_failed() {
    let task = spawn_blocking(|_: Mailbox<u32>| -> u32 { panic!("in a thread") });
    let exit = task.await.unwrap_err();
    assert!(exit.reason.is_failed());
    assert!(exit.to_string().contains("in a thread"), "{exit}");
}

#[tokio::test]
async fn a_blocking_task_that_is_asked_to_stop_sees_it() {
    let task = spawn_blocking(|mut mailbox: Mailbox<u32>| {
        let none = mailbox.recv_blocking();
        (none, mailbox.is_stopping(), mailbox.try_recv())
    });
    tokio::time::sleep(2 * MS).await;
    task.terminate();
    let (none, stopping, _) = timeout(SOON, task).await.unwrap().unwrap();
    assert_eq!((none, stopping), (None, true));
}

#[tokio::test]
async fn a_blocking_task_is_the_current_one() {
    let task = spawn_blocking(|mailbox: Mailbox<u32>| (current(), mailbox.id()));
    let (running, id) = task.await.unwrap();
    assert_eq!(running, Some(id));
}

/// Goal: a function that never began, as its runtime was shut down, has ended, and holds nothing.
#[test]
fn a_blocking_task_that_never_began_was_terminated() {
    let runtime = Builder::new_multi_thread().worker_threads(1).max_blocking_threads(1).build();
    let runtime = runtime.unwrap();
    let (release, released) = mpsc::channel::<()>();
    let (begin, begun) = mpsc::channel();
    let builder = || TaskBuilder::new().on(runtime.handle());
    let first = builder().spawn_blocking(move |_: Mailbox<u32>| {
        begin.send(()).unwrap();
        released.recv().unwrap_err();
    });
    begun.recv().unwrap();
    let ran = Arc::new(AtomicBool::new(false));
    let runs = ran.clone();
    let second =
        builder().spawn_blocking(move |_: Mailbox<u32>| runs.store(true, Ordering::SeqCst));
    second.send(1).unwrap();
    let reference = TaskRef::clone(&second);
    let waits = thread::spawn(move || second.join_blocking());
    drop(release);
    runtime.shutdown_background();
    let joined = waits.join().unwrap();
    // It may have begun, in the moment between.
    if ran.load(Ordering::SeqCst) {
        assert!(joined.is_ok());
    } else {
        assert!(joined.unwrap_err().reason.is_terminated());
        assert_eq!(Arc::strong_count(&ran), 1);
        assert!(reference.send(2).is_err());
    }
    assert!(first.join_blocking().is_ok());
}

#[test]
fn threads_talk_to_tasks() {
    let runtime = runtime();
    let task = TaskBuilder::new().on(runtime.handle()).capacity(1).spawn(double);
    thread::scope(|scope| {
        for thread in 0..4 {
            let to = TaskRef::clone(&task);
            scope.spawn(move || {
                for n in 0..50 {
                    let n = 100 * thread + n;
                    assert_eq!(to.ask(|reply| (n, reply)).blocking(), Ok(2 * n));
                }
            });
        }
    });
    let summed = TaskBuilder::new().on(runtime.handle()).capacity(1).spawn_blocking(sum);
    for n in 0..100 {
        summed.deliver(n).blocking().unwrap();
    }
    assert_eq!(summed.join_blocking().unwrap(), 4950);
    task.kill();
    assert!(task.join_blocking().is_err());
}

#[test]
fn a_thread_that_waits_is_told_of_the_end() {
    let runtime = runtime();
    let task = TaskBuilder::new().on(runtime.handle()).capacity(1).spawn(
        |mailbox: Mailbox<Reply<u32>>| async move {
            let _mailbox = mailbox;
            pending::<()>().await;
        },
    );
    let (asks, waits) = (TaskRef::clone(&task), TaskRef::clone(&task));
    let asks = thread::spawn(move || asks.ask(|reply| reply).blocking());
    while task.queued() == 0 {
        thread::yield_now();
    }
    let waits = thread::spawn(move || waits.ask(|reply| reply).blocking());
    task.kill();
    assert_eq!(asks.join().unwrap(), Err(AskError::Unread(task.identity())));
    assert_eq!(waits.join().unwrap(), Err(AskError::Closed(task.identity())));
    assert!(task.deliver(reply_to_nobody(&runtime)).blocking().is_err());
}

fn reply_to_nobody(runtime: &Runtime) -> Reply<u32> {
    let (give, given) = mpsc::channel();
    let task = TaskBuilder::new().on(runtime.handle()).spawn(
        |mut mailbox: Mailbox<Reply<u32>>| async move {
            give.send(mailbox.recv().await.unwrap()).unwrap();
        },
    );
    thread::spawn(move || task.ask(|reply| reply).blocking());
    given.recv().unwrap()
}

/// Goal: a time limit holds in threads that know nothing of a runtime.
#[test]
fn a_thread_waits_no_longer_than_it_wants() {
    let runtime = runtime();
    let task = TaskBuilder::new().on(runtime.handle()).capacity(1).spawn(
        |mailbox: Mailbox<Reply<u32>>| async move {
            mailbox.stopping().await;
        },
    );
    let late = task.ask(|reply| reply).timeout(2 * MS).blocking();
    assert_eq!(late, Err(AskError::TimedOut { task: task.identity(), after: 2 * MS }));
    let full = task.ask(|reply| reply).timeout(2 * MS).blocking();
    assert_eq!(full, Err(AskError::NotAsked { task: task.identity(), after: 2 * MS }));
}

/// Goal: one thread that is held up holds up neither messages nor timers of others (T4).
#[test]
fn a_task_that_blocks_its_thread_stops_no_others() {
    let runtime = runtime();
    let (release, released) = mpsc::channel::<()>();
    let blocked = Arc::new(AtomicBool::new(false));
    let blocks = blocked.clone();
    let rude = TaskBuilder::new().on(runtime.handle()).spawn_future(async move {
        blocks.store(true, Ordering::SeqCst);
        let _ = released.recv();
    });
    let begin = Instant::now();
    while !blocked.load(Ordering::SeqCst) {
        assert!(begin.elapsed() < SOON);
        thread::yield_now();
    }
    runtime.block_on(async {
        let task = spawn(double);
        for n in 0..100 {
            assert_eq!(timeout(SOON, task.ask(|reply| (n, reply))).await.unwrap(), Ok(2 * n));
        }
        let timer = spawn_future(tokio::time::sleep(MS));
        timeout(SOON, timer).await.unwrap().unwrap();
        task.kill();
        timeout(SOON, task.ended()).await.unwrap();
    });
    assert!(rude.is_alive());
    drop(release);
    rude.join_blocking().unwrap();
}

#[tokio::test]
async fn an_async_task_must_not_block_its_thread() {
    let task = spawn(async |mut mailbox: Mailbox<u32>| mailbox.recv_blocking());
    let exit = task.await.unwrap_err();
    assert!(exit.to_string().contains("must not block its thread"), "{exit}");
}

/// Goal: code that is no task of ours is warned too, instead of waiting for ever.
#[test]
fn async_code_outside_of_tasks_must_not_block_its_thread_either() {
    let runtime = Builder::new_current_thread().build().unwrap();
    let task = runtime.block_on(async { spawn(double) });
    let asks = || runtime.block_on(async { task.ask(|reply| (1, reply)).blocking() });
    let panic = catch_unwind(AssertUnwindSafe(asks)).unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(text.contains("Cannot block the current thread"), "{text}");
}

#[tokio::test]
async fn a_blocking_task_waits_no_longer_than_it_wants() {
    let task = spawn_blocking(|mut mailbox: Mailbox<u32>| {
        (mailbox.recv_timeout_blocking(SOON), mailbox.recv_timeout_blocking(MS))
    });
    task.send(1).unwrap();
    let reference = TaskRef::clone(&task);
    assert_eq!(task.await, Ok((Ok(1), Err(RecvTimeoutError::TimedOut))));
    drop(reference);
}

//! The end of the program. What is counted here is counted for the whole process, so that there is
//! one test, which does one thing after the other.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use pleiad_task::{
    JoinAllError, Mailbox, TaskBuilder, at_exit, join_all, run_at_exit, spawn, spawn_blocking,
    spawn_future, tasks, watch_tasks,
};

const SOON: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(10);

async fn hold(mailbox: Mailbox<()>) {
    mailbox.stopping().await;
}

#[tokio::test]
async fn the_program_waits_for_tasks_and_then_does_what_is_left() {
    a_task_that_is_no_daemon_may_be_told_so().await;
    join_all_waits_for_all_but_daemons().await;
    a_task_may_become_a_daemon_and_back().await;
    a_function_that_panics_is_not_waited_for().await;
    join_all_says_what_still_runs().await;
    a_task_cannot_wait_for_all().await;
    std::thread::spawn(a_thread_waits_too).join().unwrap();
    what_is_left_is_done_by_priority().await;
    an_action_is_taken_back_once().await;
}

/// It comes first: no task of this process has ended before.
async fn a_task_that_is_no_daemon_may_be_told_so() {
    let task = spawn(hold);
    task.set_daemon(false);
    let running = join_all().timeout(SHORT).await.unwrap_err();
    assert!(matches!(running, JoinAllError::StillRunning { tasks: 1, .. }), "{running}");
    task.terminate();
    task.await.unwrap();
}

async fn join_all_waits_for_all_but_daemons() {
    join_all().await.unwrap();
    let daemon = TaskBuilder::new().daemon(true).spawn(hold);
    join_all().timeout(SOON).await.unwrap();
    assert!(daemon.is_alive());
    let done = Arc::new(Mutex::new(0));
    for n in 0..3 {
        let done = done.clone();
        let task = spawn_future(async move {
            tokio::time::sleep(n * SHORT / 10).await;
            *done.lock().unwrap() += 1;
        });
        drop(task);
    }
    join_all().timeout(SOON).await.unwrap();
    assert_eq!(*done.lock().unwrap(), 3);
    daemon.kill();
    daemon.ended().await;
    join_all().timeout(SOON).await.unwrap();
}

async fn a_task_may_become_a_daemon_and_back() {
    let task = spawn(hold);
    let running = join_all().timeout(SHORT).await.unwrap_err();
    assert!(matches!(running, JoinAllError::StillRunning { tasks: 1, .. }), "{running}");
    task.set_daemon(true);
    task.set_daemon(true);
    join_all().timeout(SOON).await.unwrap();
    task.set_daemon(false);
    task.set_daemon(false);
    assert!(join_all().timeout(SHORT).await.is_err());
    let mut waits = Box::pin(join_all());
    assert!(waits.as_mut().now_or_never().is_none());
    task.set_daemon(true);
    tokio::time::timeout(SOON, waits).await.unwrap().unwrap();
    task.kill();
    task.ended().await;
    task.set_daemon(false);
    join_all().timeout(SOON).await.unwrap();
}

async fn a_function_that_panics_is_not_waited_for() {
    let spawned = std::panic::catch_unwind(|| {
        spawn(|mailbox: Mailbox<()>| {
            if mailbox.is_empty() {
                panic!("before there is a future");
            }
            pending::<()>()
        })
    });
    assert!(spawned.is_err());
    join_all().timeout(SOON).await.unwrap();
}

async fn join_all_says_what_still_runs() {
    watch_tasks(true);
    let task = TaskBuilder::new().name("slow").spawn(hold);
    let running = join_all().timeout(SHORT).await.unwrap_err();
    let JoinAllError::StillRunning { tasks: 1, known, after } = &running else {
        panic!("{running}")
    };
    assert_eq!((known, *after), (&vec![task.identity()], SHORT));
    assert!(running.to_string().ends_with(&task.to_string()), "{running}");
    assert!(task.is_alive());
    task.terminate();
    task.await.unwrap();
    watch_tasks(false);
    assert!(tasks().is_empty());
}

async fn a_task_cannot_wait_for_all() {
    let task = spawn_future(async { join_all().await });
    let id = task.id();
    assert_eq!(task.await.unwrap(), Err(JoinAllError::InTask(id)));
}

fn a_thread_waits_too() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let begin = Instant::now();
    let waits = {
        let _entered = runtime.enter();
        spawn_blocking(|_: Mailbox<()>| std::thread::sleep(SHORT)).detach();
        spawn_future(tokio::time::sleep(SHORT)).detach();
        std::thread::spawn(|| join_all().blocking())
    };
    waits.join().unwrap().unwrap();
    assert!(begin.elapsed() >= SHORT);
    let never = {
        let _entered = runtime.enter();
        spawn(hold).detach()
    };
    let late = join_all().timeout(SHORT).blocking().unwrap_err();
    assert!(matches!(late, JoinAllError::StillRunning { tasks: 1, .. }), "{late}");
    drop(runtime);
    assert!(!never.is_alive());
}

async fn what_is_left_is_done_by_priority() {
    let done = Arc::new(Mutex::new(Vec::new()));
    let note = |what: &'static str| {
        let done = done.clone();
        move || async move { done.lock().unwrap().push(what) }
    };
    at_exit(0, note("second"));
    at_exit(-1, note("fourth"));
    at_exit(7, note("first"));
    at_exit(0, note("third"));
    let cancelled = at_exit(3, note("never"));
    at_exit(-2, || async { panic!("an action") });
    at_exit(-2, || -> std::future::Ready<()> { panic!("at once") });
    let last = note("added by another");
    at_exit(-3, || async {
        at_exit(100, last);
    });
    at_exit(-4, note("last"));
    assert!(cancelled.cancel());

    let slow = done.clone();
    let task = spawn_future(async move {
        tokio::time::sleep(SHORT).await;
        slow.lock().unwrap().push("a task");
    });
    drop(task);
    let failures = run_at_exit().await.unwrap();
    let messages: Vec<_> = failures.iter().map(|failure| failure.message.as_str()).collect();
    assert_eq!(messages, ["an action", "at once"]);
    let done = std::mem::take(&mut *done.lock().unwrap());
    assert_eq!(done, ["a task", "first", "second", "third", "fourth", "added by another", "last"]);
    assert!(run_at_exit().await.unwrap().is_empty(), "nothing is done twice");
}

/// Goal: a handle of an action that was done takes back no other.
async fn an_action_is_taken_back_once() {
    let first = at_exit(0, || async {});
    assert!(run_at_exit().await.unwrap().is_empty());
    let done = Arc::new(Mutex::new(false));
    let sets = done.clone();
    let second = at_exit(0, move || async move { *sets.lock().unwrap() = true });
    assert!(!first.cancel());
    assert!(run_at_exit().await.unwrap().is_empty());
    assert!(*done.lock().unwrap());
    assert!(!second.cancel());
}

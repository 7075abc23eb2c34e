//! Messages that come at their time.

use std::time::Duration;

use pleiad_task::{Mailbox, TaskBuilder, spawn};
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);

/// What comes, and when, in seconds.
async fn log(mut mailbox: Mailbox<&'static str>) -> Vec<(u64, &'static str)> {
    let begin = Instant::now();
    let mut log = Vec::new();
    while let Some(message) = mailbox.recv().await {
        log.push((begin.elapsed().as_secs(), message));
    }
    log
}

#[tokio::test(start_paused = true)]
async fn a_message_is_sent_at_its_time() {
    let task = spawn(log);
    let late = task.send_after(2 * SECOND, "late");
    task.send_after(SECOND, "early");
    let cancelled = task.send_after(SECOND, "never");
    assert!(!cancelled.is_over());
    cancelled.cancel();
    sleep(3 * SECOND).await;
    assert!(late.is_over() && cancelled.is_over());
    late.cancel();
    assert_eq!(task.await.unwrap(), [(1, "early"), (2, "late")]);
}

#[tokio::test(start_paused = true)]
async fn a_message_is_sent_again_and_again() {
    let task = spawn(log);
    let ticks = task.send_every(2 * SECOND, || "tick");
    sleep(7 * SECOND).await;
    ticks.cancel();
    sleep(7 * SECOND).await;
    assert_eq!(task.await.unwrap(), [(2, "tick"), (4, "tick"), (6, "tick")]);
}

#[tokio::test(start_paused = true)]
async fn timers_do_not_keep_a_mailbox_open() {
    let task = spawn(log);
    let once = task.send_after(SECOND, "once");
    let ticks = task.send_every(SECOND, || "tick");
    assert_eq!(task.await.unwrap(), []);
    sleep(2 * SECOND).await;
    assert!(once.is_over() && ticks.is_over());
}

#[tokio::test(start_paused = true)]
async fn timers_end_with_their_task() {
    let task = spawn(log);
    let ticks = task.send_every(SECOND, || "tick");
    task.kill();
    task.ended().await;
    sleep(2 * SECOND).await;
    assert!(ticks.is_over());
    assert!(task.send("more").is_err());
}

#[tokio::test(start_paused = true)]
async fn a_task_that_does_not_keep_up_gets_no_heap_of_ticks() {
    let task = TaskBuilder::new().capacity(2).spawn(|mut mailbox: Mailbox<u32>| async move {
        sleep(10 * SECOND).await;
        std::iter::from_fn(|| mailbox.try_recv().ok()).count()
    });
    let mut made = 0;
    task.send_every(SECOND, move || {
        made += 1;
        made
    });
    assert!(task.await.unwrap() <= 3);
}

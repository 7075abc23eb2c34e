//! What is given back. All that is allocated is counted, so that there is one test.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]
#![expect(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::future::pending;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use pleiad_task::{Mailbox, TaskBuilder, spawn, spawn_future};

static ALLOCATED: AtomicIsize = AtomicIsize::new(0);

struct Counting;

// SAFETY: everything is done by the system's allocator; only sums are kept here.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: as for the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: as for the caller.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocated() -> isize {
    ALLOCATED.load(Ordering::Relaxed)
}

/// How much more memory is used than `before`.
fn more_than(before: isize) -> isize {
    allocated() - before
}

#[tokio::test]
async fn memory_is_given_back() {
    // What is allocated once.
    spawn_future(async {}).await.unwrap();

    a_burst_keeps_no_buffers().await;
    a_burst_of_urgent_messages_keeps_no_buffers().await;
    a_search_in_a_burst_keeps_no_buffers().await;
    waiting_for_an_end_for_a_time_keeps_nothing().await;
    names_that_come_and_go_keep_nothing().await;
    tasks_that_have_ended_keep_nothing().await;
}

const BURST: u64 = 200_000;

async fn read_all(mut mailbox: Mailbox<u64>) {
    while mailbox.recv().await.is_some() {}
}

async fn turns() {
    // Reading is interrupted now and then, for others to run.
    for _ in 0..BURST / 100 {
        tokio::task::yield_now().await;
    }
}

async fn a_burst_keeps_no_buffers() {
    let task = TaskBuilder::new().unbounded().spawn(read_all);
    tokio::task::yield_now().await;
    let before = allocated();
    for n in 0..BURST {
        task.send(n).unwrap();
    }
    assert!(more_than(before) > 8 * BURST as isize);
    turns().await;
    assert_eq!(task.queued(), 0);
    assert!(more_than(before) < 16_384, "{} bytes are kept", more_than(before));

    // Two of them, the second while the first is read: both buffers are large.
    for n in 0..BURST {
        task.send(n).unwrap();
    }
    tokio::task::yield_now().await;
    for n in 0..BURST {
        task.send(n).unwrap();
    }
    turns().await;
    turns().await;
    assert_eq!(task.queued(), 0);
    assert!(more_than(before) < 16_384, "{} bytes are kept", more_than(before));
    task.kill();
}

async fn a_burst_of_urgent_messages_keeps_no_buffers() {
    let task = TaskBuilder::new().unbounded().spawn(read_all);
    tokio::task::yield_now().await;
    let before = allocated();
    for n in 0..BURST {
        task.send_urgent(n).unwrap();
    }
    turns().await;
    assert_eq!(task.queued(), 0);
    assert!(more_than(before) < 16_384, "{} bytes are kept", more_than(before));
    task.kill();
}

async fn a_search_in_a_burst_keeps_no_buffers() {
    let task = TaskBuilder::new().unbounded().spawn(|mut mailbox: Mailbox<u64>| async move {
        mailbox.recv_matching(|&n| n == BURST - 1).await.unwrap();
        read_all(mailbox).await;
    });
    tokio::task::yield_now().await;
    let before = allocated();
    for n in 0..BURST {
        task.send(n).unwrap();
    }
    turns().await;
    assert_eq!(task.queued(), 0);
    assert!(more_than(before) < 16_384, "{} bytes are kept", more_than(before));
    task.kill();
}

async fn waiting_for_an_end_for_a_time_keeps_nothing() {
    let task = spawn(|mailbox: Mailbox<u64>| async move {
        let _mailbox = mailbox;
        pending::<()>().await;
    });
    let before = allocated();
    for _ in 0..10_000 {
        assert!(task.ended().now_or_never().is_none());
    }
    assert!(tokio::time::timeout(Duration::ZERO, task.ended()).await.is_err());
    assert!(more_than(before) < 16_384, "{} bytes are kept", more_than(before));
    task.kill();
}

async fn names_that_come_and_go_keep_nothing() {
    let task = spawn(read_all);
    task.register("first").unwrap();
    task.unregister("first");
    let before = allocated();
    for n in 0..1_000 {
        let name = format!("name {n}");
        task.register(&name).unwrap();
        task.unregister(&name);
    }
    assert!(more_than(before) < 16_384, "{} bytes are kept", more_than(before));
    task.kill();
}

async fn tasks_that_have_ended_keep_nothing() {
    tokio::task::yield_now().await;
    let before = allocated();
    for _ in 0..100 {
        let tasks: Vec<_> = (0..1_000)
            .map(|n| {
                let task = spawn(read_all);
                task.send(n).unwrap();
                task
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    }
    assert!(more_than(before) < 65_536, "{} bytes are kept", more_than(before));
}

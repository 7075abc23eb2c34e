//! What is known of the tasks that run. It is switched for the whole process: one test.

use pleiad_task::{
    AnyTask, Mailbox, TaskBuilder, TaskState, spawn, spawn_future, tasks, tasks_are_watched,
    watch_tasks,
};

async fn serve(mut mailbox: Mailbox<u32>) {
    while mailbox.recv().await.is_some() {}
}

#[tokio::test]
async fn live_tasks_are_listed_and_say_what_they_do() {
    let before = spawn(serve);
    assert!(!tasks_are_watched());
    watch_tasks(true);
    assert!(tasks_are_watched());
    assert!(tasks().is_empty(), "that one began before");
    assert_eq!((before.any().info().received, before.any().info().age), (None, None));

    let server = TaskBuilder::new().capacity(4).daemon(true).spawn(serve);
    let plain = spawn_future(std::future::pending::<()>());
    let listed: Vec<_> = tasks().iter().map(AnyTask::id).collect();
    assert_eq!(listed, [server.id(), plain.id()]);

    for n in 0..3 {
        server.send(n).unwrap();
    }
    server.send_urgent(3).unwrap();
    let info = server.any().info();
    assert_eq!((info.queued, info.capacity, info.received), (4, Some(4), Some(0)));
    assert_eq!((info.state, info.daemon), (TaskState::Busy, true));
    tokio::task::yield_now().await;
    let info = server.any().info();
    assert_eq!((info.queued, info.received), (0, Some(4)));
    assert_eq!(info.state, TaskState::Receiving);
    assert_eq!(plain.any().info().state, TaskState::Busy);
    let line = info.to_string();
    assert!(
        line.starts_with(&format!("{server} receiving, 0 of 4 messages, 4 received")),
        "{line}"
    );
    assert!(line.ends_with(", daemon"), "{line}");

    for n in 0..3 {
        server.send(n).unwrap();
    }
    server.terminate();
    assert_eq!(server.any().info().state, TaskState::Stopping);
    server.ended().await;
    assert_eq!(server.any().info().state, TaskState::Ended);
    assert_eq!(tasks().iter().map(AnyTask::id).collect::<Vec<_>>(), [plain.id()]);

    watch_tasks(false);
    let after = spawn(serve);
    assert_eq!(tasks().len(), 1);
    after.kill();
    plain.kill();
    assert!(plain.await.is_err());
    assert!(tasks().is_empty());

    // The list itself does not grow with those that have ended.
    watch_tasks(true);
    for _ in 0..1_000 {
        spawn_future(async {}).await.unwrap();
    }
    assert!(tasks().is_empty());
    watch_tasks(false);
}

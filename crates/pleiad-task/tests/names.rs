//! Names of tasks.

use std::time::Duration;

use futures_util::FutureExt;
use pleiad_task::{FindError, Mailbox, NameTaken, TaskRef, limits, spawn};
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(10);

async fn serve(mut mailbox: Mailbox<u32>) -> u32 {
    let mut sum = 0;
    while let Some(n) = mailbox.recv().await {
        sum += n;
    }
    sum
}

type Server = TaskRef<u32>;

#[tokio::test]
async fn a_task_is_found_by_each_of_its_names() {
    let task = spawn(serve);
    task.register("found/one").unwrap();
    task.register("found/two").unwrap();
    assert_eq!(Server::find("found/one").unwrap(), *task);
    assert_eq!(Server::locate("found/two").await.unwrap(), *task);
    assert!(task.unregister("found/one"));
    assert!(!task.unregister("found/one"));
    let gone = Server::find("found/one").unwrap_err();
    assert_eq!(gone, FindError::NotFound("found/one".to_owned()));
    assert_eq!(Server::find("found/two").unwrap(), *task);
    task.kill();
}

#[tokio::test]
async fn a_name_is_of_one_task() {
    let (one, two) = (spawn(serve), spawn(serve));
    one.register("taken").unwrap();
    let taken = two.register("taken").unwrap_err();
    let holder = one.to_string();
    assert_eq!(taken, NameTaken::Taken { name: "taken".to_owned(), holder });
    one.register("taken").unwrap();
    assert!(!two.unregister("taken"), "and nobody else takes it away");
    one.unregister("taken");
    two.register("taken").unwrap();
    one.kill();
    assert!(one.await.is_err());
    assert_eq!(Server::find("taken").unwrap(), *two, "the end of another changes nothing");
    two.kill();
}

#[tokio::test]
async fn a_name_is_free_again_when_its_task_has_ended() {
    for _ in 0..3 {
        let task = spawn(serve);
        task.register("freed").unwrap();
        task.terminate();
        task.await.unwrap();
        assert!(matches!(Server::find("freed"), Err(FindError::NotFound(_))));
    }
    let panics = spawn(|mailbox: Mailbox<u32>| async move {
        mailbox.stopping().await;
        panic!("at the end");
    });
    panics.register("freed").unwrap();
    panics.terminate();
    assert!(panics.await.is_err());
    assert!(matches!(Server::find("freed"), Err(FindError::NotFound(_))));
}

#[tokio::test]
async fn a_task_that_has_ended_gets_no_name() {
    let task = spawn(serve);
    task.kill();
    task.ended().await;
    assert_eq!(task.register("late"), Err(NameTaken::Ended(task.identity())));
    assert!(matches!(Server::find("late"), Err(FindError::NotFound(_))));
}

#[tokio::test]
async fn a_name_keeps_the_mailbox_open() {
    let task = spawn(serve);
    task.register("kept open").unwrap();
    let mut end = task.join();
    assert!(timeout(Duration::from_millis(5), &mut end).await.is_err());
    let found = Server::find("kept open").unwrap();
    found.send(3).unwrap();
    assert!(found.unregister("kept open"));
    drop(found);
    assert_eq!(end.await.unwrap(), 3);
}

#[tokio::test]
async fn a_task_that_takes_other_messages_is_not_found() {
    let task = spawn(serve);
    task.register("other type").unwrap();
    let wrong = TaskRef::<String>::find("other type").unwrap_err();
    assert!(matches!(wrong, FindError::WrongType { .. }), "{wrong}");
    assert!(wrong.to_string().contains("u32") && wrong.to_string().contains("String"), "{wrong}");
    let wrong = TaskRef::<String>::locate("other type").await.unwrap_err();
    assert!(matches!(wrong, FindError::WrongType { .. }), "{wrong}");
    task.kill();
}

#[tokio::test]
async fn a_name_has_a_length() {
    let task = spawn(serve);
    assert_eq!(task.register(""), Err(NameTaken::Length(0)));
    let long = "x".repeat(limits::NAME_BYTES_MAX + 1);
    assert_eq!(task.register(&long), Err(NameTaken::Length(long.len())));
    task.register(&long[1..]).unwrap();
    task.kill();
    task.ended().await;
}

#[tokio::test]
async fn a_name_that_appears_later_is_located() {
    let mut early = Server::locate("later");
    assert!((&mut early).now_or_never().is_none());
    let never_polled = Server::locate("later");
    let other = spawn(serve);
    other.register("another").unwrap();
    assert!((&mut early).now_or_never().is_none());
    let task = spawn(serve);
    task.register("later").unwrap();
    assert_eq!(timeout(SOON, early).await.unwrap().unwrap(), *task);
    assert_eq!(timeout(SOON, never_polled).await.unwrap().unwrap(), *task);
    task.kill();
    other.kill();
}

#[tokio::test]
async fn a_name_that_does_not_appear_in_time_is_an_error() {
    let after = Duration::from_millis(3);
    let error = Server::locate("never").timeout(after).await.unwrap_err();
    assert_eq!(error, FindError::TimedOut { name: "never".to_owned(), after });
    let task = spawn(serve);
    task.register("there").unwrap();
    Server::locate("there").timeout(Duration::ZERO).await.unwrap();
    task.kill();
}

/// Goal: no name is missed, whoever is first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_races_its_search_is_located() {
    for _ in 0..500 {
        let searches = tokio::spawn(Server::locate("raced"));
        let task = spawn(serve);
        task.register("raced").unwrap();
        let found = timeout(SOON, searches).await.unwrap().unwrap().unwrap();
        assert_eq!(found, *task);
        drop(found);
        task.kill();
        task.ended().await;
    }
}

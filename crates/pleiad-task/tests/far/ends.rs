//! How far tasks end, and references to them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pleiad_task::far::{self, How};
use pleiad_task::{
    AskError, DeliverError, ExitReason, Mailbox, MonitorError, SendError, TaskState, spawn,
};

use crate::{Message, Scene, keeper, scene, scene_with, soon};

#[tokio::test]
async fn the_end_of_a_far_task_is_told_once() {
    let Scene { far, path, .. } = scene();
    let (monitor, mut told) = keeper::<String>();
    monitor.monitor(&far, |exit| exit.to_string()).unwrap();
    let cancelled = monitor.monitor(&far, |exit| exit.to_string()).unwrap();
    assert!(cancelled.cancel());
    far.register("to be lost").unwrap();
    let ends = far.ended();
    let lost = ExitReason::Lost { peer: "shop".to_owned() };
    assert_eq!(path.end(&lost), [true]);
    assert_eq!(path.end(&ExitReason::Returned), [false]);

    let line = format!("{far} was lost with shop");
    assert_eq!(soon(told.recv()).await, Some(line.clone()));
    assert_eq!(soon(ends).await.reason, lost);
    assert_eq!(far.exit().unwrap().to_string(), line);
    assert_eq!(far.any().info().state, TaskState::Ended);
    assert!(!far.is_alive());
    assert!(pleiad_task::TaskRef::<Message>::find("to be lost").is_err());
    monitor.monitor(&far, |exit| format!("late: {exit}")).unwrap();
    assert_eq!(soon(told.recv()).await, Some(format!("late: {line}")));
    drop(monitor);
    assert_eq!(soon(told.recv()).await, None);

    assert!(matches!(far.send(Message::Add(1)), Err(SendError::Lost { .. })));
    assert!(matches!(far.send_urgent(Message::Add(1)), Err(SendError::Lost { .. })));
    assert!(matches!(far.deliver(Message::Add(1)).await, Err(DeliverError::Lost { .. })));
    assert!(matches!(far.ask(Message::Get).await, Err(AskError::Lost { .. })));
    assert!(path.sent.lock().unwrap().is_empty());
}

#[tokio::test]
async fn each_reason_of_an_end_comes_as_it_is() {
    let failure = far::failure("no change".to_owned(), Some("till.rs:7:5".to_owned()), None);
    for reason in [
        ExitReason::Returned,
        ExitReason::Terminated,
        ExitReason::NotFound,
        ExitReason::Failed(Arc::new(failure)),
    ] {
        let Scene { far, path, .. } = scene();
        assert_eq!(path.end(&reason), [true]);
        assert_eq!(soon(far.ended()).await.reason, reason);
        assert!(matches!(far.send(Message::Add(1)), Err(SendError::Closed { .. })));
    }
}

#[tokio::test]
async fn a_task_that_ends_there_has_ended_here() {
    let Scene { far, task, .. } = scene();
    let unread = soon(far.ask(|reply| {
        task.kill();
        Message::Get(reply)
    }))
    .await;
    assert_eq!(unread, Err(AskError::Unread(far.identity())));
    assert_eq!(soon(far.ended()).await.reason, ExitReason::Terminated);
    assert_eq!(soon(far.ask(Message::Get)).await, Err(AskError::Closed(far.identity())));
    assert!(!far::end(&task.any(), ExitReason::Returned));
}

#[tokio::test]
async fn a_reply_that_is_dropped_there_is_told_here() {
    let task = spawn(async |mut mailbox: Mailbox<Message>| {
        drop(mailbox.recv().await);
        0
    });
    let Scene { far, .. } = scene_with(task);
    assert_eq!(soon(far.ask(Message::Get)).await, Err(AskError::Unanswered(far.identity())));
}

#[tokio::test]
async fn the_end_of_a_task_here_is_told_to_a_far_one() {
    let Scene { far, path, .. } = scene();
    let observed = spawn(async |_: Mailbox<()>| ());
    observed.notify(&far, |exit| Message::Ended(exit.to_string())).unwrap();
    soon(observed).await.unwrap();
    assert_eq!(soon(far.ask(Message::Get)).await, Ok(1000));
    assert_eq!(*path.sent.lock().unwrap(), [How::Exempt, How::Normal]);
    assert!(matches!(
        far.monitor(&far, |exit| Message::Ended(exit.to_string())),
        Err(MonitorError::Itself(_))
    ));
}

#[tokio::test]
async fn stop_kill_and_close_go_where_the_task_is() {
    let Scene { far, path, .. } = scene();
    far.terminate();
    far.terminate_within(Duration::from_secs(3));
    assert!(far.is_alive());
    let weak = far.downgrade();
    far.close();
    far.close();
    assert_eq!(*path.said.lock().unwrap(), ["stop None", "stop Some(3s)", "close"]);
    assert!(matches!(far.send(Message::Add(1)), Err(SendError::Closed { .. })));
    assert!(far.recipient(Message::Add).is_closed());
    assert!(weak.upgrade().is_none());
    far.any().kill();
    assert_eq!(path.said.lock().unwrap().last().unwrap(), "kill");
    assert_eq!(soon(far.ended()).await.reason, ExitReason::Terminated);
}

#[tokio::test]
async fn the_last_reference_is_missed_and_a_new_one_revives() {
    let Scene { far, path, task, here, shop } = scene();
    let deserted = || path.deserted.load(Ordering::SeqCst);
    let any = far.any();
    let other = far.clone();
    drop(far);
    assert_eq!(deserted(), 0);
    drop(other);
    assert_eq!(deserted(), 1);
    assert!(far::is_deserted(&any));

    // The cell is still known, by `any`: it is used again.
    let revived = shop.export(&task, &here);
    assert!(!far::is_deserted(&any));
    revived.send(Message::Add(1)).unwrap();
    let hold = far::hold(&any);
    drop(revived);
    assert_eq!((deserted(), hold.task()), (1, any.clone()));
    drop(hold);
    assert_eq!(deserted(), 2);

    // Nobody knows it any more: there is a new one.
    let weak = any.downgrade();
    drop(any);
    assert!(weak.upgrade().is_none());
    let anew = shop.export(&task, &here);
    assert_eq!(soon(anew.ask(Message::Get)).await, Ok(1));
}

#[tokio::test]
async fn a_reference_on_its_way_is_not_missed() {
    let Scene { far, path, .. } = scene();
    let encoded = far::encode(&far).unwrap();
    drop(far);
    assert_eq!(path.deserted.load(Ordering::SeqCst), 0);
    drop(encoded);
    assert_eq!(path.deserted.load(Ordering::SeqCst), 1);
}

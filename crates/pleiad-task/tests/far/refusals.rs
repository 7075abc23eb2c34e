//! What is not taken, and what becomes of it.

use std::task::{Context, Waker};
use std::time::Duration;

use pleiad_task::far::FarRefusal;
use pleiad_task::{
    AskError, Channel, DeliverError, Mailbox, NamedRef, NamedSendError, RecipientError, SendError,
    spawn,
};

use crate::{Brittle, Message, Scene, adder, scene, scene_with, soon};

const MS: Duration = Duration::from_millis(1);

#[tokio::test]
async fn each_refusal_of_a_send_is_told_with_the_message() {
    let Scene { far, path, .. } = scene();
    let whom = far.identity();

    path.refuse(Some(FarRefusal::Full));
    let refused = far.send(Message::Add(1)).unwrap_err();
    assert!(matches!(refused, SendError::Full { capacity: 7, message: Message::Add(1), .. }));
    assert!(matches!(far.send_urgent(Message::Add(1)), Err(SendError::Full { .. })));
    assert_eq!(soon(far.ask(Message::Get).urgent()).await, Err(AskError::Full(whom.clone())));
    let numbers = far.recipient(Message::Add);
    assert_eq!(numbers.send(1), Err(RecipientError::Full(whom.clone())));

    path.refuse(Some(FarRefusal::Closed));
    let refused = far.send(Message::Add(1)).unwrap_err();
    assert!(matches!(refused, SendError::Closed { message: Message::Add(1), .. }));
    assert_eq!(soon(far.ask(Message::Get)).await, Err(AskError::Closed(whom.clone())));
    assert!(matches!(
        soon(far.deliver(Message::Add(1))).await,
        Err(DeliverError::Closed { message: Message::Add(1), .. })
    ));
    assert_eq!(numbers.send(1), Err(RecipientError::Closed(whom.clone())));
    assert_eq!(soon(numbers.deliver(1)).await, Err(RecipientError::Closed(whom.clone())));

    path.refuse(Some(FarRefusal::Lost("shop".to_owned())));
    let (task, peer) = (whom, "shop".to_owned());
    let refused = far.send(Message::Add(1)).unwrap_err();
    assert_eq!(refused.to_string(), format!("{task} was lost with shop"));
    assert!(matches!(refused.into_message(), Message::Add(1)));
    let lost = AskError::Lost { task: task.clone(), peer: peer.clone() };
    assert_eq!(soon(far.ask(Message::Get)).await, Err(lost));
    let error = soon(far.deliver(Message::Add(1))).await.unwrap_err();
    assert!(matches!(&error, DeliverError::Lost { message: Message::Add(1), .. }));
    assert!(!error.is_certain());
    let lost = RecipientError::Lost { task: task.clone(), peer };
    assert_eq!(numbers.send(1), Err(lost.clone()));
    assert_eq!(soon(numbers.deliver(1)).await, Err(lost));

    path.refuse(Some(FarRefusal::Unsendable("too odd".to_owned())));
    let why = "too odd".to_owned();
    let unsendable = AskError::Unsendable { task: task.clone(), why: why.clone() };
    assert_eq!(soon(far.ask(Message::Get)).await, Err(unsendable));
    let unsendable = RecipientError::Unsendable { task, why };
    assert_eq!(soon(numbers.deliver(1)).await, Err(unsendable));

    path.refuse(None);
    assert_eq!(soon(far.ask(Message::Get)).await, Ok(0));
}

#[tokio::test]
async fn a_message_that_comes_back_has_its_replies() {
    let Scene { far, path, task, .. } = scene();
    for refusal in [FarRefusal::Full, FarRefusal::Closed, FarRefusal::Lost("shop".to_owned())] {
        path.refuse(Some(refusal.clone()));
        let mut message = None;
        let ask = task.ask(|reply| {
            let refused = far.send(Message::Get(reply)).unwrap_err();
            let refused = far.send_urgent(refused.into_message()).unwrap_err();
            message = Some(refused.into_message());
            Message::Add(0)
        });
        let message = message.unwrap();
        let message = match refusal {
            FarRefusal::Full => message,
            _ => soon(far.deliver(message)).await.unwrap_err().into_message(),
        };
        let Message::Get(reply) = message else { panic!("{message:?}") };
        assert!(reply.is_wanted());
        reply.send(17);
        assert_eq!(soon(ask).await, Ok(17));
    }
}

#[tokio::test]
async fn what_cannot_be_written_comes_back_whole() {
    let Scene { far, task, path, .. } = scene();
    for (brittle, says) in [
        (Brittle::FailsToWrite, "Serde Serialization Error"),
        (Brittle::PanicsWhenWritten, "broken while written"),
    ] {
        let mut message = None;
        let ask = task.ask(|reply| {
            let refused = far.send(Message::Fragile(reply, brittle)).unwrap_err();
            assert!(matches!(refused, SendError::Unsendable { .. }));
            assert!(refused.to_string().contains(says), "{refused}");
            message = Some(refused.into_message());
            Message::Add(0)
        });
        let refused = soon(far.deliver(message.unwrap())).await.unwrap_err();
        assert!(matches!(refused, DeliverError::Unsendable { .. }), "{refused}");
        assert!(refused.is_certain());
        let Message::Fragile(reply, back) = refused.into_message() else { panic!() };
        assert_eq!(back, brittle);
        reply.send(5);
        assert_eq!(soon(ask).await, Ok(5));
        let asked = soon(far.ask(|reply| Message::Fragile(reply, brittle))).await;
        assert!(matches!(asked, Err(AskError::Unsendable { .. })), "{asked:?}");
    }
    assert!(path.sent.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_cannot_be_read_there_is_told_to_whoever_asked() {
    let Scene { far, path, .. } = scene();
    for brittle in [Brittle::FailsToRead, Brittle::PanicsWhenRead] {
        let asked = soon(far.ask(|reply| Message::Fragile(reply, brittle))).await;
        assert!(matches!(asked, Err(AskError::Undecodable { .. })), "{asked:?}");
        in_vain(|reply| far.send(Message::Fragile(reply, brittle))).unwrap();
        let delivery = in_vain(|reply| far.deliver(Message::Fragile(reply, brittle)));
        let refused = soon(delivery).await.unwrap_err();
        assert!(matches!(refused, DeliverError::Unsendable { .. }), "{refused}");
    }
    let accepted = path.accepted.lock().unwrap().clone();
    assert_eq!(accepted.len(), 4);
    for accepted in accepted {
        assert_eq!((accepted.taken, accepted.undecodable.len()), (1, 1));
        assert_eq!((accepted.undecodable[0].0, accepted.stopped), (0, None));
    }
    assert_eq!(soon(far.ask(|reply| Message::Fragile(reply, Brittle::Whole))).await, Ok(0));
}

/// What `f` makes of a reply that nobody waits for.
fn in_vain<R>(f: impl FnOnce(pleiad_task::Reply<u64>) -> R) -> R {
    let task = spawn(async |_: Mailbox<()>| ());
    let mut made = None;
    drop(task.ask(|reply| made = Some(f(reply))));
    made.expect("the question was made")
}

#[tokio::test]
async fn a_question_waits_for_room_on_the_way() {
    let Scene { far, path, .. } = scene();
    path.refuse(Some(FarRefusal::Full));
    let not_asked = soon(far.ask(Message::Get).timeout(2 * MS)).await.unwrap_err();
    assert!(matches!(not_asked, AskError::NotAsked { .. }), "{not_asked}");
    let mut ask = Box::pin(far.ask(Message::Get));
    assert!(ask.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    path.refuse(None);
    assert_eq!(soon(ask).await, Ok(0));
    assert_eq!(path.sent.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_delivery_that_nobody_acknowledges_is_unconfirmed() {
    let Scene { far, path, task, .. } = scene();
    path.never_acknowledge();
    let late = soon(far.deliver(Message::Add(3)).timeout(2 * MS)).await.unwrap_err();
    assert!(matches!(&late, DeliverError::Unconfirmed { message: Message::Add(3), .. }));
    assert!(!late.is_certain());
    assert_eq!(soon(task.ask(Message::Get)).await, Ok(3));

    // By a name, it is not sent again.
    far.register("never acknowledges").unwrap();
    let named = NamedRef::new("never acknowledges").timeout(2 * MS);
    let late = soon(named.deliver(Message::Add(4))).await.unwrap_err();
    assert!(matches!(late, NamedSendError::NotDelivered(DeliverError::Unconfirmed { .. })));
    assert_eq!(soon(task.ask(Message::Get)).await, Ok(7));

    // Its reply has gone with it, and cannot go twice.
    let mut message = None;
    drop(task.ask(|reply| {
        message = Some(Message::Get(reply));
        Message::Add(0)
    }));
    let late = soon(far.deliver(message.unwrap()).timeout(2 * MS)).await.unwrap_err();
    let again = far.send(late.into_message()).unwrap_err();
    assert!(again.to_string().contains("sent before"), "{again}");
}

#[tokio::test]
async fn a_full_mailbox_there_stops_what_comes() {
    let (go, gone) = tokio::sync::oneshot::channel();
    let task =
        pleiad_task::TaskBuilder::new().capacity(2).spawn(async |mailbox: Mailbox<Message>| {
            gone.await.unwrap();
            adder(mailbox).await
        });
    let Scene { far, path, task, .. } = scene_with(task);
    for n in 1..=4 {
        far.send(Message::Add(n)).unwrap();
    }
    assert_eq!(far.queued(), 2);
    let last = path.accepted.lock().unwrap().last().cloned().unwrap();
    assert_eq!((last.taken, last.stopped), (0, Some(pleiad_task::far::Stopped::Full)));
    let mut waits = Box::pin(far.deliver(Message::Add(100)));
    assert!(waits.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    go.send(()).unwrap();
    soon(waits).await.unwrap();
    while far.queued() > 0 || task.queued() > 0 {
        path.pump();
        tokio::task::yield_now().await;
    }
    assert_eq!(soon(far.ask(Message::Get)).await, Ok(110));
}

#[tokio::test]
async fn a_channel_counts_what_cannot_be_sent_and_lets_go_of_what_is_lost() {
    let Scene { far, path, .. } = scene();
    let channel = Channel::new("numbers");
    let subscription = channel.subscribe_as(&far, Message::Add).unwrap();
    path.refuse(Some(FarRefusal::Unsendable("too odd".to_owned())));
    assert_eq!(channel.send(1).unwrap().missed, 1);
    assert!(subscription.is_active());
    path.refuse(Some(FarRefusal::Full));
    let mut waits = Box::pin(channel.deliver(2).into_future());
    assert!(waits.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    path.refuse(None);
    assert_eq!(soon(waits).await.unwrap().reached, 1);
    path.refuse(Some(FarRefusal::Lost("shop".to_owned())));
    assert_eq!(channel.send(3).unwrap().reached, 0);
    assert!(!subscription.is_active());
}

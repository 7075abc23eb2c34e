//! What travels, and how it comes.

use pleiad_task::far::{self, How};
use pleiad_task::{Channel, NamedRef, NodeId, Reply, TaskRef, WhenFull};

use crate::world::Node;
use crate::{Message, Scene, keeper, scene, soon};

#[tokio::test]
async fn messages_and_answers_travel() {
    let Scene { far, task, path, .. } = scene();
    far.send(Message::Add(2)).unwrap();
    soon(far.deliver(Message::Add(40))).await.unwrap();
    assert_eq!(soon(far.ask(Message::Get)).await, Ok(42));
    assert_eq!(soon(far.ask(Message::Get).urgent()).await, Ok(42));
    assert_eq!(*path.sent.lock().unwrap(), [How::Normal, How::Normal, How::Normal, How::Urgent]);
    assert_eq!(far.queued(), 0);
    assert_eq!((far.any().info().capacity, far.any().info().queued), (Some(7), 0));
    drop(far);
    drop(path);
    task.close();
    assert_eq!(soon(task).await.unwrap(), 42);
}

#[tokio::test]
async fn a_far_task_says_where_it_is() {
    let Scene { far, task, .. } = scene();
    let number = task.id().number();
    assert_eq!(far.to_string(), format!("adder/{number}@shop"));
    assert_eq!(far.id().to_string(), format!("task-{number}@node-2"));
    assert_eq!((far.id().node(), far.id().number()), (Some(NodeId(2)), number));
    assert_eq!(far.identity().name(), "adder");
    assert_ne!(far, *task);
    assert_eq!(task.id().node(), None);
    assert!(far.is_alive());
    assert!(!pleiad_task::tasks().contains(&far.any()));
    far.set_daemon(true);
    far.set_daemon(false);
}

#[tokio::test]
async fn a_reference_is_used_where_it_comes() {
    let Scene { far, .. } = scene();
    let (numbers, mut got) = keeper::<u64>();
    far.send(Message::Add(7)).unwrap();
    far.send(Message::Tell(numbers)).unwrap();
    assert_eq!(soon(got.recv()).await, Some(7));
}

#[tokio::test]
async fn a_reference_that_comes_home_is_one_of_this_process() {
    let Scene { far, .. } = scene();
    let (mine, mut got) = keeper::<Message>();
    let back = soon(far.ask(|reply| Message::Echo(mine.clone(), reply))).await.unwrap();
    assert_eq!(back, mine);
    back.send(Message::Add(3)).unwrap();
    assert!(matches!(soon(got.recv()).await, Some(Message::Add(3))));

    // So is that of the far task, which has become one of its own meanwhile.
    let back = soon(far.ask(|reply| Message::Echo(far.clone(), reply))).await.unwrap();
    assert_eq!(back, far);
}

#[tokio::test]
async fn a_third_node_is_reached_by_what_was_passed_on() {
    let Scene { here, shop, far, .. } = scene();
    let bank = Node::new(3, "bank");
    let there = pleiad_task::spawn(crate::adder);
    there.send(Message::Add(99)).unwrap();
    let of_bank = bank.export(&there, &here);
    // The question goes from here to the shop, from there to the bank, and the answer all the way back.
    let answer = soon(far.ask(|reply| Message::Pass(of_bank.clone(), reply))).await;
    assert_eq!(answer, Ok(99));
    let known = bank.export(&there, &shop);
    assert_eq!(known.id().node(), Some(NodeId(3)));
    let echoed = soon(far.ask(|reply| Message::Echo(of_bank.clone(), reply))).await.unwrap();
    assert_eq!(echoed, of_bank);
}

#[tokio::test]
async fn channels_recipients_and_names_lead_to_far_tasks() {
    let Scene { far, .. } = scene();
    let channel = Channel::new("sums");
    channel.subscribe_as(&far, Message::Add).unwrap();
    assert_eq!(channel.send(1).unwrap().reached, 1);
    far.recipient(Message::Add).send(10).unwrap();
    soon(far.recipient(Message::Add).deliver(100)).await.unwrap();
    far.register("a far adder").unwrap();
    let named = NamedRef::new("a far adder");
    named.send(Message::Add(1000)).unwrap();
    soon(named.deliver(Message::Add(10_000))).await.unwrap();
    assert_eq!(soon(named.ask(Message::Get)).await, Ok(11_111));
    assert!(far.unregister("a far adder"));
}

#[tokio::test]
async fn a_channel_that_drops_the_oldest_drops_the_newest_for_a_far_task() {
    let Scene { far, path, .. } = scene();
    let channel = Channel::new("sums");
    let subscription = channel.subscribe_with(&far, Message::Add, WhenFull::DropOldest).unwrap();
    assert_eq!(channel.send(1).unwrap().reached, 1);
    path.refuse(Some(far::FarRefusal::Full));
    assert_eq!(channel.send(2).unwrap().missed, 1);
    path.refuse(None);
    assert_eq!(channel.send(4).unwrap().reached, 1);
    assert_eq!(soon(far.ask(Message::Get)).await, Ok(5));
    assert_eq!(subscription.missed(), 1);
}

#[tokio::test]
async fn nobody_waits_any_more_on_another_node() {
    let (here, shop) = (Node::new(1, "here"), Node::new(2, "shop"));
    let (task, mut questions) = keeper::<Reply<u64>>();
    let far: TaskRef<Reply<u64>> = shop.export(&task, &here);
    let asks = tokio::spawn(async move { far.ask(|reply| reply).await });
    let mut reply = soon(questions.recv()).await.unwrap();
    assert!(reply.is_wanted());
    asks.abort();
    soon(reply.unwanted()).await;
    assert!(!reply.is_wanted());
    assert_eq!(reply.try_send(1), Err(1));
}

#[tokio::test]
async fn timers_reach_far_tasks_as_long_as_there_is_a_reference() {
    let Scene { far, task, .. } = scene();
    let timer = far.send_after(std::time::Duration::ZERO, Message::Add(5));
    while !timer.is_over() {
        tokio::task::yield_now().await;
    }
    assert_eq!(soon(task.ask(Message::Get)).await, Ok(5));
    let weak = far.downgrade();
    assert_eq!(weak.upgrade(), Some(far.clone()));
    drop(far);
    assert_eq!(weak.upgrade(), None);
}

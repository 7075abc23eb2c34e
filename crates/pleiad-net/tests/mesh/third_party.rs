//! References that travel: to third nodes, home, and out of use.

use pleiad_net::testing::{Counts, counts};
use pleiad_task::{ExitReason, TaskBuilder, TaskRef, spawn};
use pleiad_types::limits::ATTACHED_MAX;

use crate::common::{Lab, Say, connect, first_kept, listener, ms, soon, until};

#[tokio::test]
async fn a_reference_to_a_task_of_a_third_node_works() {
    let lab = Lab::new();
    let (a, b, c) = (lab.node("a").await, lab.node("b").await, lab.node("c").await);
    let (keeper, task) = (spawn(listener), spawn(listener));
    b.register("keeper", &keeper).unwrap();
    c.register("task", &task).unwrap();
    connect(&a, &b).await;
    connect(&a, &c).await;
    assert!(b.peers().iter().all(|peer| peer.name() == "a"));

    let to_keeper: TaskRef<Say> = soon(a.locate("keeper")).await.unwrap();
    let to_task: TaskRef<Say> = soon(a.locate("task")).await.unwrap();
    to_keeper.send(Say::Keep(to_task)).unwrap();
    to_keeper.send(Say::TellKept(5)).unwrap();
    soon(b.peer("c")).await.unwrap();
    until("it is told", || task.queued() == 0 && counts(&c).given > 0).await;
    // Who has given it is needed no more.
    soon(a.close()).await;
    keeper.send(Say::TellKept(6)).unwrap();
    let seen = async {
        loop {
            let seen = task.ask(Say::Seen).await.unwrap();
            if seen.len() == 2 {
                return seen;
            }
            tokio::time::sleep(ms(2)).await;
        }
    };
    assert_eq!(soon(seen).await, [5, 6]);
}

/// Goal: a task lives as long as a reference to it is on its way.
/// Method: everybody drops theirs at once; only the last node has one in the end.
#[tokio::test]
async fn a_reference_is_kept_until_it_is_adopted_and_then_only_as_long_as_it_is_used() {
    let lab = Lab::new();
    let (a, b, c) = (lab.node("a").await, lab.node("b").await, lab.node("c").await);
    let keeper = first_kept(&b);
    connect(&a, &b).await;
    connect(&a, &c).await;
    let task = spawn(listener);
    c.register("task", &task).unwrap();
    let to_keeper: TaskRef<Say> = soon(a.locate("keeper")).await.unwrap();
    let to_task: TaskRef<Say> = soon(a.locate("task")).await.unwrap();
    assert!(c.unregister("task", &task));
    let end = task.join();
    to_keeper.send(Say::Keep(to_task)).unwrap();
    drop(to_keeper);
    let kept = soon(keeper).await.unwrap().unwrap();
    assert_eq!(soon(kept.ask(|reply| Say::Echo(3, reply))).await.unwrap(), 3);
    until("nobody else keeps it", || counts(&a).given + counts(&a).imports == 0).await;
    soon(kept.deliver(Say::Number(4))).await.unwrap();
    drop(kept);
    assert_eq!(soon(end).await.unwrap(), [4]);
}

#[tokio::test]
async fn a_mailbox_closes_with_the_last_far_reference() {
    let lab = Lab::new();
    let (shop, client) = (lab.node("shop").await, lab.node("client").await);
    let task = spawn(listener);
    shop.register("task", &task).unwrap();
    connect(&client, &shop).await;
    let one: TaskRef<Say> = soon(client.locate("task")).await.unwrap();
    let two = one.clone();
    assert!(shop.unregister("task", &task));
    let end = task.join();
    one.send(Say::Number(1)).unwrap();
    drop(one);
    two.send(Say::Number(2)).unwrap();
    assert_eq!(soon(two.ask(Say::Seen)).await.unwrap(), [1, 2]);
    drop(two);
    assert_eq!(soon(end).await.unwrap(), [1, 2]);
}

#[tokio::test]
async fn a_reference_that_was_given_back_may_be_given_again() {
    let lab = Lab::new();
    let (shop, client) = (lab.node("shop").await, lab.node("client").await);
    let keeper = spawn(listener);
    shop.register("keeper", &keeper).unwrap();
    connect(&client, &shop).await;
    let far: TaskRef<Say> = soon(client.locate("keeper")).await.unwrap();
    let task = spawn(listener);
    for round in 0..20 {
        far.send(Say::Keep((*task).clone())).unwrap();
        far.send(Say::TellKept(round)).unwrap();
        far.send(Say::Forget).unwrap();
        until("it is given back", || counts(&client).given == 0).await;
    }
    assert!(soon(task.ask(Say::Seen)).await.unwrap().into_iter().eq(0..20));
}

#[tokio::test]
async fn a_reference_that_comes_home_needs_nobody() {
    let lab = Lab::new();
    let (a, c) = (lab.node("a").await, lab.node("c").await);
    let keeper = first_kept(&c);
    let task = spawn(listener);
    c.register("task", &task).unwrap();
    connect(&a, &c).await;
    let to_keeper: TaskRef<Say> = soon(a.locate("keeper")).await.unwrap();
    let to_task: TaskRef<Say> = soon(a.locate("task")).await.unwrap();
    to_keeper.send(Say::Keep(to_task)).unwrap();
    let kept = soon(keeper).await.unwrap().unwrap();
    soon(a.close()).await;
    assert_eq!(kept.id(), task.id());
    kept.send(Say::Number(9)).unwrap();
    assert_eq!(soon(kept.ask(Say::Seen)).await.unwrap(), [9]);
}

#[tokio::test]
async fn a_reference_to_a_node_that_cannot_be_reached_is_lost_and_says_so() {
    let lab = Lab::new();
    let (a, b) = (lab.node("a").await, lab.node("b").await);
    // Nobody listens there.
    let c = lab.builder("c").announce("127.0.0.1:1").start().await.unwrap();
    let keeper = first_kept(&b);
    let task = spawn(listener);
    c.register("task", &task).unwrap();
    connect(&a, &b).await;
    soon(c.connect(&a.addresses()[0])).await.unwrap();
    let to_keeper: TaskRef<Say> = soon(a.locate("keeper")).await.unwrap();
    let to_task: TaskRef<Say> = soon(a.locate("task")).await.unwrap();
    to_keeper.send(Say::Keep(to_task.clone())).unwrap();
    let kept = soon(keeper).await.unwrap().unwrap();
    let exit = soon(kept.ended()).await;
    assert!(matches!(exit.reason, ExitReason::Lost { .. }), "{exit:?}");
    assert!(kept.send(Say::Number(1)).is_err());
    // That is between those two.
    assert_eq!(soon(to_task.ask(|reply| Say::Echo(1, reply))).await.unwrap(), 1);
    until("nobody waits for it", || counts(&b).handed == 0).await;
}

#[tokio::test]
async fn as_many_references_as_are_allowed_go_in_one_message_whatever_their_names() {
    let lab = Lab::new();
    let (shop, client) = (lab.node("shop").await, lab.node("client").await);
    let task = spawn(listener);
    shop.register("task", &task).unwrap();
    connect(&client, &shop).await;
    let far: TaskRef<Say> = soon(client.locate("task")).await.unwrap();
    let named = |n: usize| {
        let name = format!("{n:04}{}", "ü".repeat(120));
        TaskBuilder::new().name(name).spawn(listener).detach()
    };
    let tasks: Vec<TaskRef<Say>> = (1..ATTACHED_MAX).map(named).collect();
    let far_many = |tasks: Vec<TaskRef<Say>>| far.ask(move |reply| Say::Many(tasks, reply));
    assert_eq!(soon(far_many(tasks.clone())).await.unwrap(), ATTACHED_MAX - 1);
    // One more is an error here, and costs the link nothing.
    let more = tasks.iter().cloned().chain([tasks[0].clone()]).collect();
    assert!(soon(far_many(more)).await.is_err());
    assert_eq!(soon(far_many(tasks)).await.unwrap(), ATTACHED_MAX - 1);
}

/// Goal: what belongs to nobody any more is forgotten, on both sides.
#[tokio::test]
async fn nothing_is_left_after_thousands_of_rounds() {
    let lab = Lab::new();
    let (shop, client) = (lab.node("shop").await, lab.node("client").await);
    let task = spawn(listener);
    shop.register("task", &task).unwrap();
    connect(&client, &shop).await;
    let far: TaskRef<Say> = soon(client.locate("task")).await.unwrap();
    let rounds = if std::env::var_os("PLEIAD_LONG").is_some() { 10_000 } else { 2000 };
    for round in 0..rounds {
        if round % 10 == 0 {
            let near = spawn(listener);
            far.send(Say::Tell(round, (*near).clone())).unwrap();
            soon(far.deliver(Say::Forget)).await.unwrap();
            assert_eq!(soon(near).await.unwrap(), [round]);
        } else {
            assert_eq!(soon(far.ask(|reply| Say::Echo(round, reply))).await.unwrap(), round);
        }
    }
    for _ in 0..100 {
        let again: TaskRef<Say> = soon(client.locate("task")).await.unwrap();
        assert!(again.is_alive());
        drop(client.locate::<Say>("nothing").timeout(ms(0)).await);
    }
    drop(far);
    let empty = Counts { links: 1, ..Counts::default() };
    until("nothing is left", || (counts(&shop), counts(&client)) == (empty, empty)).await;
}

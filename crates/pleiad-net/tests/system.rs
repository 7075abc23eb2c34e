//! What a node tells other members of its cluster about itself.

use std::time::Duration;

use pleiad_net::{LocateError, Node, NodeBuilder, Peer, RegisterError, System, SystemError};
use pleiad_task::{Mailbox, Reply, TaskRef, spawn};
use serde::{Deserialize, Deserializer, Serialize};

const SOON: Duration = Duration::from_secs(10);

#[derive(Debug, Serialize, Deserialize)]
enum Order {
    Coffee { cups: u32 },
    Tea(String),
    Done,
    Bill(Reply<u64>),
    Who(TaskRef<String>),
    Odd(Odd),
}

/// Its code has a mistake.
#[derive(Debug, Serialize)]
struct Odd(u32);

impl<'de> Deserialize<'de> for Odd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u32::deserialize(deserializer)? {
            13 => panic!("on purpose"),
            number => Ok(Self(number)),
        }
    }
}

async fn bar(mut mailbox: Mailbox<Order>) -> Vec<String> {
    let mut orders = Vec::new();
    while let Some(order) = mailbox.recv().await {
        match order {
            Order::Done => break,
            order => orders.push(format!("{order:?}")),
        }
    }
    orders
}

#[tokio::test]
async fn a_message_is_made_of_json() {
    let home = tempfile::tempdir().unwrap();
    let (shop, client) = (node(&home, "shop").await, node(&home, "client").await);
    let task = spawn(bar);
    shop.register("bar", &task).unwrap();
    let system = system(&client, "shop").await;

    soon(system.send_json("bar", r#"{"Coffee": {"cups": 2}}"#)).await.unwrap();
    soon(system.send_json("bar", r#" {"Tea":"green"} "#)).await.unwrap();
    soon(system.send_json("bar", r#""Done""#)).await.unwrap();
    assert_eq!(soon(task).await.unwrap(), ["Coffee { cups: 2 }", "Tea(\"green\")"]);
}

#[tokio::test]
async fn what_the_task_does_not_take_is_an_error_that_says_why() {
    let home = tempfile::tempdir().unwrap();
    let (shop, client) = (node(&home, "shop").await, node(&home, "client").await);
    let task = spawn(bar);
    shop.register("bar", &task).unwrap();
    let system = system(&client, "shop").await;

    for (json, why) in [
        (r#"{"Cocoa":1}"#, "unknown variant `Cocoa`, expected one of `Coffee`"),
        ("Done", "expected value at line 1"),
        (r#""Done" "Done""#, "trailing characters"),
        (r#"{"Coffee":{"cups":-1}}"#, "expected u32"),
        ("", "EOF"),
        (r#"{"Bill":null}"#, "a reply can only travel in a message"),
        (r#"{"Bill":0}"#, "a reply can only travel in a message"),
        (r#"{"Who":0}"#, "a task reference or a reply can only travel"),
        (r#"{"Who":"x"}"#, "a task reference or a reply can only travel"),
        (r#"{"Odd":13}"#, "has panicked"),
        (&"[".repeat(100_000), "expected value"),
    ] {
        let error = soon(system.send_json("bar", json)).await.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, SystemError::Json { .. }), "{json:.40}: {text}");
        assert!(text.contains(why), "{json:.40}: {text}");
        assert!(text.starts_with("this is not what \"bar\" on shop takes: "), "{text}");
    }
    // It goes on.
    soon(system.send_json("bar", r#"{"Odd":12}"#)).await.unwrap();
    soon(system.send_json("bar", r#""Done""#)).await.unwrap();
    assert_eq!(soon(task).await.unwrap(), ["Odd(Odd(12))"]);
}

#[tokio::test]
async fn names_that_there_are_not_full_mailboxes_and_long_texts_are_told_apart() {
    let home = tempfile::tempdir().unwrap();
    let (shop, client) = (node(&home, "shop").await, node(&home, "client").await);
    let narrow =
        pleiad_task::TaskBuilder::new().capacity(1).spawn(async |mailbox: Mailbox<u32>| {
            std::future::pending::<()>().await;
            drop(mailbox);
        });
    shop.register("narrow", &narrow).unwrap();
    let system = system(&client, "shop").await;

    soon(system.send_json("narrow", "1")).await.unwrap();
    let error = soon(system.send_json("narrow", "2")).await.unwrap_err();
    assert_eq!(error.to_string(), "\"narrow\" on shop does not keep up: try again later");
    for name in ["wide", "^system"] {
        let error = soon(system.send_json(name, "1")).await.unwrap_err();
        assert!(matches!(error, SystemError::NoSuchName { .. }), "{error}");
    }
    let error = soon(system.send_json("narrow", &" ".repeat((1 << 20) + 1))).await.unwrap_err();
    assert_eq!(error, SystemError::TooLong((1 << 20) + 1));
    let error = soon(system.call_json("narrow", "1")).await.unwrap_err();
    assert!(error.to_string().ends_with("it is a task: send to it"), "{error}");
    let error = soon(system.call_json("wide", "1")).await.unwrap_err();
    assert_eq!(error.to_string(), "shop has no service with the name \"wide\"");
}

#[tokio::test]
async fn a_node_tells_who_it_is_and_what_it_has() {
    let home = tempfile::tempdir().unwrap();
    let (shop, client) = (node(&home, "shop").await, node(&home, "client").await);
    let task = spawn(bar);
    shop.register("bar", &task).unwrap();
    shop.register("counter", &task).unwrap();
    let system = system(&client, "shop").await;

    let info = soon(system.info()).await.unwrap();
    assert_eq!((info.name.as_str(), info.node), ("shop", shop.id().to_string()));
    assert_eq!((info.process, info.peers), (std::process::id(), 1));
    assert_eq!(info.addresses, shop.addresses());
    assert_eq!(info.version, env!("CARGO_PKG_VERSION"));

    let names = soon(system.names()).await.unwrap();
    let names: Vec<_> = names.iter().map(|name| (&*name.name, name.task)).collect();
    assert_eq!(names, [("bar", task.id().number()), ("counter", task.id().number())]);

    let list = soon(system.tasks()).await.unwrap();
    assert_eq!((list.is_watched, list.left_out, list.tasks.len()), (false, 0, 1));
    let summary = &list.tasks[0];
    assert_eq!((&*summary.function, summary.task), ("bar", task.id().number()));
    assert_eq!((&*summary.state, summary.queued, summary.capacity), ("receiving", 0, Some(1024)));
    assert_eq!(summary.names, ["bar", "counter"]);

    let peers = soon(system.peers()).await.unwrap();
    assert_eq!((peers.len(), peers[0].name.as_str()), (1, "client"));
    assert_eq!(shop.names().len(), 2, "those of the system are not among them");
}

#[tokio::test]
async fn names_of_the_system_are_not_for_users() {
    let home = tempfile::tempdir().unwrap();
    let shop = node(&home, "shop").await;
    let task = spawn(bar);
    let error = shop.register("^bar", &task).unwrap_err();
    assert_eq!(error, RegisterError::Reserved("^bar".to_owned()));
    assert!(shop.names().is_empty());
}

#[tokio::test]
async fn the_end_of_the_peer_ends_the_wait() {
    let home = tempfile::tempdir().unwrap();
    let (shop, client) = (node(&home, "shop").await, node(&home, "client").await);
    let system = system(&client, "shop").await;
    shop.close().await;
    soon(system.peer().gone()).await;
    assert_eq!(soon(system.info()).await, Err(SystemError::Lost("shop".to_owned())));
    let error = soon(client.system(system.peer())).await.unwrap_err();
    assert_eq!(error, LocateError::PeerLost("shop".to_owned()));
}

#[tokio::test]
async fn who_has_greeted_its_neighbours_knows_them() {
    let home = tempfile::tempdir().unwrap();
    let alone = node(&home, "alone").await;
    soon(alone.greeted_neighbours()).await;
    assert!(alone.peers().is_empty());
    let mut others = Vec::new();
    for n in 1..=4 {
        let next = node(&home, "next").await;
        soon(next.greeted_neighbours()).await;
        assert_eq!(next.peers().len(), n);
        others.push(next);
    }
}

async fn node(home: &tempfile::TempDir, name: &str) -> Node {
    let builder: NodeBuilder = Node::builder().name(name).home(home.path());
    builder.lost_after(Duration::from_secs(1)).start().await.expect("a node starts")
}

async fn system(node: &Node, name: &str) -> System {
    let peer: Peer = soon(node.peer(name)).await.expect("it does not close");
    soon(node.system(&peer)).await.expect("every node has it")
}

async fn soon<T>(future: impl IntoFuture<Output = T>) -> T {
    tokio::time::timeout(SOON, future.into_future()).await.expect("it takes too long")
}

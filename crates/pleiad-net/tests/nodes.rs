//! Two or three nodes in one process, over real sockets.

use std::time::Duration;

use pleiad_net::{Node, NodeBuilder, Peer, PeerEvent};
use pleiad_task::{ExitReason, Mailbox, Reply, TaskRef, spawn};
use serde::{Deserialize, Serialize};

const SOON: Duration = Duration::from_secs(10);

#[derive(Debug, Serialize, Deserialize)]
enum Count {
    Add(u64),
    Get(Reply<u64>),
    Who(TaskRef<Note>),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Note {
    Total(u64),
    Text(String),
}

async fn counter(mut mailbox: Mailbox<Count>) -> u64 {
    let mut n = 0;
    while let Some(message) = mailbox.recv().await {
        match message {
            Count::Add(k) => n += k,
            Count::Get(reply) => reply.send(n),
            Count::Who(task) => drop(task.send(Note::Total(n))),
        }
    }
    n
}

/// Nodes of one cluster.
struct Lab {
    home: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        Self { home: tempfile::tempdir().expect("a directory") }
    }

    fn node(&self, name: &str) -> NodeBuilder {
        Node::builder().name(name).home(self.home.path()).lost_after(Duration::from_secs(1))
    }
}

async fn soon<T>(future: impl IntoFuture<Output = T>) -> T {
    tokio::time::timeout(SOON, future.into_future()).await.expect("it takes too long")
}

async fn online(node: &Node) -> Peer {
    let mut events = node.peer_events();
    match soon(events.next()).await {
        Some(PeerEvent::Online(peer)) => peer,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_task_of_another_node_is_located_and_asked() {
    let lab = Lab::new();
    let shop = lab.node("shop").start().await.unwrap();
    let task = spawn(counter);
    shop.register("counter", &task).unwrap();

    let client = lab.node("client").start().await.unwrap();
    let far: TaskRef<Count> = soon(client.locate("counter")).await.unwrap();
    assert_eq!(far.to_string(), format!("counter/{}@shop", task.id().number()));
    far.send(Count::Add(2)).unwrap();
    soon(far.deliver(Count::Add(40))).await.unwrap();
    assert_eq!(soon(far.ask(Count::Get)).await.unwrap(), 42);
}

#[tokio::test]
async fn references_travel_and_come_home() {
    let lab = Lab::new();
    let shop = lab.node("shop").start().await.unwrap();
    let task = spawn(counter);
    shop.register("counter", &task).unwrap();
    let client = lab.node("client").start().await.unwrap();
    let far: TaskRef<Count> = soon(client.locate("counter")).await.unwrap();
    far.send(Count::Add(5)).unwrap();
    let notes = spawn(async |mut mailbox: Mailbox<Note>| mailbox.recv().await);
    far.send(Count::Who((*notes).clone())).unwrap();
    assert_eq!(soon(notes).await.unwrap(), Some(Note::Total(5)));
}

#[tokio::test]
async fn the_end_of_a_far_task_is_told() {
    let lab = Lab::new();
    let shop = lab.node("shop").start().await.unwrap();
    let task = spawn(counter);
    shop.register("counter", &task).unwrap();
    let client = lab.node("client").start().await.unwrap();
    let far: TaskRef<Count> = soon(client.locate("counter")).await.unwrap();
    assert!(far.is_alive());
    far.terminate();
    let exit = soon(far.ended()).await;
    assert_eq!(exit.reason, ExitReason::Returned);
    assert!(far.send(Count::Add(1)).is_err());
}

#[tokio::test]
async fn a_peer_that_closes_is_seen_to_go() {
    let lab = Lab::new();
    let shop = lab.node("shop").start().await.unwrap();
    let task = spawn(counter);
    shop.register("counter", &task).unwrap();
    let client = lab.node("client").start().await.unwrap();
    let far: TaskRef<Count> = soon(client.locate("counter")).await.unwrap();
    let peer = online(&client).await;
    assert_eq!(peer.name(), "shop");
    shop.close().await;
    soon(peer.gone()).await;
    let exit = soon(far.ended()).await;
    assert_eq!(exit.reason, ExitReason::Lost { peer: "shop (closed)".to_owned() });
    assert!(client.peers().is_empty());
}

#[tokio::test]
async fn large_messages_arrive_in_order_with_small_ones() {
    let lab = Lab::new();
    let shop = lab.node("shop").start().await.unwrap();
    let task = spawn(async |mut mailbox: Mailbox<Note>| {
        let mut lengths = Vec::new();
        while lengths.len() < 100 {
            match mailbox.recv().await {
                Some(Note::Text(text)) => lengths.push(text.len()),
                other => panic!("{other:?}"),
            }
        }
        lengths
    });
    shop.register("notes", &task).unwrap();
    let client = lab.node("client").start().await.unwrap();
    let far: TaskRef<Note> = soon(client.locate("notes")).await.unwrap();
    let lengths: Vec<usize> =
        (0..100).map(|n| if n % 3 == 0 { 1_000_000 + n } else { n }).collect();
    for length in &lengths {
        soon(far.deliver(Note::Text("x".repeat(*length)))).await.unwrap();
    }
    assert_eq!(soon(task).await.unwrap(), lengths);
}

#[tokio::test]
async fn without_discovery_nothing_is_written_and_nobody_is_dialled() {
    let lab = Lab::new();
    let shop = lab.node("shop").start().await.unwrap();
    let entries = || std::fs::read_dir(lab.home.path().join("run")).unwrap().count();
    assert_eq!(entries(), 1);
    let hermit = lab.node("hermit").discovery(false).start().await.unwrap();
    assert_eq!(entries(), 1, "there is no entry by which it is found");
    // It has nobody until it is told whom.
    assert!(hermit.peers().is_empty());
    let peer = soon(hermit.connect(&shop.addresses()[0])).await.unwrap();
    assert_eq!(peer.name(), "shop");
    assert_eq!(hermit.peers(), [peer]);
}

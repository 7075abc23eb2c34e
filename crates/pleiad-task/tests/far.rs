//! References to tasks of other nodes: nodes and links are fakes, the bytes are real.

#![expect(clippy::unwrap_used, reason = "helpers of tests stand outside of them")]

#[path = "far/bytes.rs"]
mod bytes;
#[path = "far/ends.rs"]
mod ends;
#[path = "far/messages.rs"]
mod messages;
#[path = "far/refusals.rs"]
mod refusals;
#[path = "far/world.rs"]
mod world;

use std::sync::Arc;
use std::time::Duration;

use pleiad_task::{Mailbox, Reply, Task, TaskRef, spawn};
use serde::{Deserialize, Serialize};

use world::{Node, Path};

const SOON: Duration = Duration::from_secs(10);

#[derive(Debug, Serialize, Deserialize)]
enum Message {
    Add(u64),
    Get(Reply<u64>),
    /// The sum is sent there.
    Tell(TaskRef<u64>),
    /// Is to be given back.
    Echo(TaskRef<Self>, Reply<TaskRef<Self>>),
    /// The question is passed on.
    Pass(TaskRef<Self>, Reply<u64>),
    Ended(String),
    Fragile(Reply<u64>, Brittle),
}

/// Has its own ways of being written and read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Brittle {
    Whole,
    FailsToWrite,
    PanicsWhenWritten,
    FailsToRead,
    PanicsWhenRead,
}

impl Serialize for Brittle {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::FailsToWrite => Err(serde::ser::Error::custom("broken")),
            Self::PanicsWhenWritten => panic!("broken while written"),
            Self::Whole => 0_u8.serialize(serializer),
            Self::FailsToRead => 1_u8.serialize(serializer),
            Self::PanicsWhenRead => 2_u8.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Brittle {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u8::deserialize(deserializer)? {
            0 => Ok(Self::Whole),
            1 => Err(serde::de::Error::custom("broken")),
            _ => panic!("broken while read"),
        }
    }
}

async fn adder(mut mailbox: Mailbox<Message>) -> u64 {
    let mut sum = 0;
    while let Some(message) = mailbox.recv().await {
        match message {
            Message::Add(n) => sum += n,
            Message::Get(reply) | Message::Fragile(reply, _) => reply.send(sum),
            Message::Tell(to) => to.send(sum).unwrap(),
            Message::Echo(task, reply) => reply.send(task),
            Message::Pass(to, reply) => to.send(Message::Get(reply)).unwrap(),
            Message::Ended(_) => sum += 1000,
        }
    }
    sum
}

/// `here` has a reference to a task that runs on `shop`.
struct Scene {
    here: Node,
    shop: Node,
    task: Task<Message, u64>,
    far: TaskRef<Message>,
    path: Arc<Path>,
}

fn scene() -> Scene {
    scene_with(spawn(adder))
}

fn scene_with(task: Task<Message, u64>) -> Scene {
    let (here, shop) = (Node::new(1, "here"), Node::new(2, "shop"));
    let (far, path) = shop.export_with_path(&task, &here);
    Scene { here, shop, task, far, path }
}

/// Gives a reference to a task that keeps all it gets.
fn keeper<M: Send + 'static>() -> (TaskRef<M>, tokio::sync::mpsc::UnboundedReceiver<M>) {
    let (kept, keeps) = tokio::sync::mpsc::unbounded_channel();
    let task = spawn(async move |mut mailbox: Mailbox<M>| {
        while let Some(message) = mailbox.recv().await {
            let _ = kept.send(message);
        }
    });
    ((*task).clone(), keeps)
}

async fn soon<F: IntoFuture>(future: F) -> F::Output {
    tokio::time::timeout(SOON, future).await.expect("it is soon")
}

//! What the tests of nodes share.

pub(crate) mod child;
pub(crate) mod forwarder;
pub(crate) mod rogue;

use std::time::Duration;

use pleiad_net::{Node, NodeBuilder, Peer};
use pleiad_task::{Mailbox, Reply, Task, TaskRef, spawn};
use serde::{Deserialize, Serialize};

/// What takes longer has failed.
pub(crate) const SOON: Duration = Duration::from_secs(10);

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) async fn soon<T>(future: impl IntoFuture<Output = T>) -> T {
    tokio::time::timeout(SOON, future.into_future()).await.expect("it takes too long")
}

/// Waits for something of which nobody tells.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < SOON, "it takes too long: {what}");
        tokio::time::sleep(ms(2)).await;
    }
}

/// Nodes of one cluster, which do not look for each other.
pub(crate) struct Lab {
    home: tempfile::TempDir,
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self { home: tempfile::tempdir().expect("a directory") }
    }

    pub(crate) fn home(&self) -> &std::path::Path {
        self.home.path()
    }

    pub(crate) fn builder(&self, name: &str) -> NodeBuilder {
        Node::builder().name(name).home(self.home.path()).discovery(false)
    }

    pub(crate) async fn node(&self, name: &str) -> Node {
        self.builder(name).start().await.expect("a node")
    }
}

/// Connects `from` to `to`.
pub(crate) async fn connect(from: &Node, to: &Node) -> Peer {
    let peer = soon(from.connect(&to.addresses()[0])).await.expect("it is there");
    // The other side has it as well.
    soon(to.peer(from.name())).await.expect("it is open");
    peer
}

/// What the tasks of tests are told.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Say {
    Number(u64),
    Text(u64, String),
    /// Answered at once.
    Echo(u64, Reply<u64>),
    /// Answered when the task ends.
    Never(Reply<u64>),
    /// What came so far.
    Seen(Reply<Vec<u64>>),
    /// Sends the number to that task.
    Tell(u64, TaskRef<Self>),
    /// Keeps the reference.
    Keep(TaskRef<Self>),
    /// Gives it to another.
    Pass(TaskRef<Self>, TaskRef<Self>),
    /// How many came.
    Many(Vec<TaskRef<Self>>, Reply<usize>),
    /// Drops what it keeps.
    Forget,
    /// Tells all that are kept.
    TellKept(u64),
    /// Blocks its thread for so many milliseconds.
    Block(u64),
    /// Takes nothing for so many milliseconds.
    Sleep(u64),
}

/// Does what it is told; gives the numbers that came.
pub(crate) async fn listener(mut mailbox: Mailbox<Say>) -> Vec<u64> {
    let (mut seen, mut kept, mut never) = (Vec::new(), Vec::new(), Vec::new());
    while let Some(said) = mailbox.recv().await {
        match said {
            Say::Number(number) => seen.push(number),
            Say::Text(number, text) => {
                assert!(text.bytes().all(|byte| byte == b'x'), "it is torn");
                seen.push(number);
            }
            Say::Echo(number, reply) => reply.send(number),
            Say::Never(reply) => never.push(reply),
            Say::Seen(reply) => reply.send(seen.clone()),
            Say::Tell(number, task) => drop(task.send(Say::Number(number))),
            Say::Keep(task) => kept.push(task),
            Say::Pass(task, to) => drop(to.send(Say::Keep(task))),
            Say::Many(tasks, reply) => reply.send(tasks.len()),
            Say::Forget => kept.clear(),
            Say::TellKept(number) => {
                kept.iter().for_each(|task| drop(task.send(Say::Number(number))));
            }
            Say::Block(time) => std::thread::sleep(ms(time)),
            Say::Sleep(time) => tokio::time::sleep(ms(time)).await,
        }
    }
    seen
}

/// The first reference that this node is sent, as it has it.
pub(crate) fn first_kept(node: &Node) -> Task<Say, Option<TaskRef<Say>>> {
    let task = spawn(async |mut mailbox: Mailbox<Say>| match mailbox.recv().await {
        Some(Say::Keep(task)) => Some(task),
        _ => None,
    });
    node.register("keeper", &task).expect("nobody has the name");
    task
}

/// Numbers from a seed: the same each time (splitmix64).
pub(crate) struct Random(pub u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// A seed: of the variable `PLEIAD_SEED`, or a new one. It is printed when the test fails.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("PLEIAD_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(1, |now| now.as_nanos() as u64)
    });
    println!("PLEIAD_SEED={seed}");
    seed
}

//! Strangers and members that mean no good.

use std::time::{Duration, Instant};

use bytes::{BufMut, BytesMut};
use pleiad_net::Node;
use pleiad_net::testing::counts;
use pleiad_proto::wire::{Control, FrameKind, Mention, WriteFrame, flags, write_part};
use pleiad_task::{TaskRef, spawn};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::common::rogue::Rogue;
use crate::common::{Lab, Random, Say, connect, listener, ms, seed, soon, until};

/// A node with a task and an honest peer that talks to it.
struct Town {
    lab: Lab,
    node: Node,
    _peer: Node,
    far: TaskRef<Say>,
}

impl Town {
    async fn new() -> Self {
        let lab = Lab::new();
        let node = lab.builder("node").lost_after(ms(1000)).start().await.unwrap();
        let peer = lab.builder("peer").lost_after(ms(1000)).start().await.unwrap();
        let task = spawn(listener);
        node.register("task", &task).unwrap();
        connect(&peer, &node).await;
        let far = soon(peer.locate("task")).await.unwrap();
        Self { lab, node, _peer: peer, far }
    }

    fn address(&self) -> &str {
        &self.node.addresses()[0]
    }

    async fn still_serves(&self) {
        assert_eq!(soon(self.far.ask(|reply| Say::Echo(1, reply))).await.unwrap(), 1);
        assert!(self.far.is_alive());
    }
}

#[tokio::test]
async fn garbage_of_strangers_is_no_harm() {
    let town = Town::new().await;
    let mut random = Random(seed());
    for round in 0..40 {
        let mut socket = TcpStream::connect(town.address()).await.unwrap();
        let mut garbage = vec![0; random.below(40_000) as usize];
        garbage.iter_mut().for_each(|byte| *byte = random.next() as u8);
        if round % 3 == 0 {
            // It begins like TLS.
            let hello = [0x16, 0x03, 0x01, 0x3f, 0xff, 0x01, 0x00, 0x3f, 0xfb];
            garbage.splice(0..0, hello);
        }
        let _ = socket.write_all(&garbage).await;
        if round % 2 == 0 {
            drop(socket.shutdown().await);
        }
    }
    town.still_serves().await;
}

/// Goal: whatever a member says after it was let in, it harms nobody but itself.
/// Method: one connection for each thing that it may not say.
#[tokio::test]
async fn a_member_that_talks_nonsense_is_closed_and_nobody_else_is() {
    let town = Town::new().await;
    let member = town.lab.member();
    let frame = |write: &dyn Fn(&mut BytesMut)| {
        let mut bytes = BytesMut::new();
        write(&mut bytes);
        bytes
    };
    let nonsense: Vec<(&str, BytesMut)> = vec![
        ("an unknown kind", frame(&|to| to.put_slice(&[77, 1, 0, 0, 0]))),
        ("a frame that is too long", frame(&|to| to.put_slice(&[1, 0xff, 0xff, 0xff]))),
        ("a frame that cannot be read", frame(&|to| to.put_slice(&[6, 2, 0, 0, 0xff, 0xff]))),
        (
            "a number without end",
            frame(&|to| {
                to.put_slice(&[0, 12, 0, 0]);
                to.put_slice(&[0xff; 12]);
            }),
        ),
        ("frames that were not sent", frame(&|to| to.put_beat(1 << 40))),
        ("a body beyond the limit", frame(&|to| to.put_large(1, 0, &[], 1, usize::MAX))),
        (
            "a body twice",
            frame(&|to| {
                to.put_large(1, 0, &[], 1, 100);
                to.put_large(1, 0, &[], 1, 100);
            }),
        ),
        (
            "a piece on the wrong lane",
            frame(&|to| {
                to.put_chunk_header(1, 3);
                to.put_slice(b"abc");
            }),
        ),
        (
            "more back than it got",
            frame(&|to| {
                to.put_control(&Control::Release { node: town.node.id(), task: 1, count: 9 });
            }),
        ),
        (
            "a name of 100,000 bytes",
            frame(&|to| {
                let (name, text) = ("n".repeat(100_000), String::new());
                to.put_control(&Control::Locate { query: 1, name, shape: 1, text });
            }),
        ),
        (
            "too many addresses",
            frame(&|to| {
                let addresses = vec!["1.2.3.4:5".to_owned(); 100];
                let (node, name) = (pleiad_net::NodeId(5), "x".to_owned());
                to.put_control(&Control::Introduce { node, name, addresses });
            }),
        ),
    ];
    for (number, (what, bytes)) in nonsense.into_iter().enumerate() {
        let mut rogue =
            Rogue::dial(&member, town.address(), 1000 + number as u64).await.greet().await;
        rogue.say(&bytes).await;
        println!("{what}");
        rogue.closed().await;
        until("it is gone", || town.node.peers().len() == 1).await;
    }
    town.still_serves().await;
}

#[tokio::test]
async fn frames_of_all_sorts_that_may_be_sent_are_no_harm() {
    let town = Town::new().await;
    let member = town.lab.member();
    let mut random = Random(seed());
    let mut rogue = Rogue::dial(&member, town.address(), 1000).await.greet().await;
    let mut bytes = BytesMut::new();
    for task in 0..2000 {
        let number = if task % 2 == 0 { random.next() } else { random.below(20) };
        let name = "n".repeat(random.below(300) as usize);
        let mention = Mention::Task { node: town.node.id(), task: number, name };
        bytes.put_message(number, flags::CONFIRM, &[mention, Mention::Question(task)], b"?");
        bytes.put_answer(number, &[], b"not asked");
        bytes.put_control(&Control::Stop { task: random.next(), grace_ms: Some(u64::MAX) });
        bytes.put_control(&Control::Kill { task: random.next() });
        bytes.put_control(&Control::Close { task: random.next() });
        bytes.put_control(&Control::Adopt { task: random.next() });
        bytes.put_control(&Control::Adopted { task: random.next() });
        bytes.put_control(&Control::Unwanted { question: number });
        bytes.put_control(&Control::Taken { task: number, count: 0, bytes: 0 });
        bytes.put_control(&Control::Forget { query: number });
    }
    rogue.say(&bytes).await;
    // It is still there: it has done nothing that it may not.
    until("it is a peer", || town.node.peers().len() == 2).await;
    town.still_serves().await;
    drop(rogue);
    until("nothing is left of it", || counts(&town.node).links == 1).await;
    town.still_serves().await;
}

/// Method: frames with random bytes of each kind, each on a new connection if the last was closed.
#[tokio::test]
async fn random_frames_are_no_harm() {
    let town = Town::new().await;
    let member = town.lab.member();
    let mut random = Random(seed());
    for round in 0..60 {
        let mut rogue = Rogue::dial(&member, town.address(), 5000 + round).await.greet().await;
        for _ in 0..20 {
            let length = random.below(60) as usize;
            let kinds =
                [FrameKind::Message, FrameKind::Control, FrameKind::Large, FrameKind::Answer];
            let kind = kinds[random.below(4) as usize] as u8;
            let mut bytes = vec![kind, length as u8, 0, 0];
            bytes.extend((0..length).map(|_| match random.below(3) {
                0 => random.below(8) as u8,
                1 => 0,
                _ => random.next() as u8,
            }));
            rogue.say(&bytes).await;
        }
    }
    town.still_serves().await;
}

#[tokio::test]
async fn greetings_that_make_no_sense_are_refused() {
    let town = Town::new().await;
    let member = town.lab.member();
    for bytes in [vec![0xff; 70_000], vec![3, 0, 0xff, 0xff, 0xff]] {
        let mut rogue = Rogue::dial(&member, town.address(), 1).await;
        rogue.say(&bytes).await;
        rogue.closed().await;
    }
    // It says that it is the node itself, and that it goes on with a session that there is not.
    for change in [true, false] {
        let mut rogue = Rogue::dial(&member, town.address(), 1).await;
        let mut attach = rogue.attach();
        if change {
            attach.hello.node = town.node.id();
        } else {
            attach.resume = Some(pleiad_proto::wire::Resume { session: 5, received: 0 });
        }
        let mut bytes = BytesMut::new();
        write_part(&attach, &mut bytes);
        rogue.say(&bytes).await;
        rogue.closed().await;
    }
    assert_eq!(town.node.peers().len(), 1);
    town.still_serves().await;
}

/// Goal: memory is bounded whatever a member announces.
#[tokio::test]
async fn what_is_announced_and_does_not_come_takes_no_memory() {
    let town = Town::new().await;
    let member = town.lab.member();
    let before = resident_bytes();
    let mut rogue = Rogue::dial(&member, town.address(), 1000).await.greet().await;
    for task in 0..10_000 {
        let mut bytes = BytesMut::new();
        bytes.put_large(task, 0, &[], task, 200 << 20);
        rogue.say(&bytes).await;
    }
    town.still_serves().await;
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 100 << 20, "{grown} bytes");
}

/// Goal: who says nothing is closed, and keeps nobody else out.
/// Method: as many connections as this process may have, from one address, while a member comes.
#[tokio::test]
async fn connections_that_say_nothing_keep_nobody_out() {
    let town = Town::new().await;
    let (files, _) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)
        .expect("there is a limit");
    // Each has two ends here, and other tests run beside this one.
    let count = usize::try_from(files / 4).unwrap_or(usize::MAX).min(6000);
    if count < 200 {
        println!("skipped: this process may open only {files} files");
        return;
    }
    let before = resident_bytes();
    let started = Instant::now();
    let mut silent = Vec::with_capacity(count);
    for _ in 0..count {
        if let Ok(Ok(socket)) =
            tokio::time::timeout(ms(500), TcpStream::connect(town.address())).await
        {
            silent.push(socket);
        }
    }
    println!("{} connections after {:?}", silent.len(), started.elapsed());
    let begun = Instant::now();
    let late = town.lab.node("late").await;
    connect(&late, &town.node).await;
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    town.still_serves().await;
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown / count < 64 << 10, "{grown} bytes for {count} connections");
    // The first of them have made room for others, or have been closed for their silence.
    let mut closed = 0;
    for socket in &mut silent {
        let read = tokio::time::timeout(Duration::from_secs(7), socket.read(&mut [0])).await;
        closed += usize::from(matches!(read, Ok(Ok(0) | Err(_))));
        if closed > 100 {
            return;
        }
    }
    panic!("{closed} were closed");
}

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: usize = status.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * 4096
}

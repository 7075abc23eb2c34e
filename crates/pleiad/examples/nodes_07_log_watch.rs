//! Every machine of a cluster watches its log, when somebody asks for it.
//!
//! Shows a program that reacts to peers as they come and go; a service with a place for its news in the
//! arguments; and that all it has started on other nodes ends with the program that wanted it: there
//! is no `tail` left over.
//!
//! ```sh
//! cargo run --features net --example nodes_07_log_watch -- server atlas /var/log/syslog
//! cargo run --features net --example nodes_07_log_watch -- client ERROR    # until Ctrl-C
//! ```
//!
//! The client prints
//!
//! ```text
//! atlas is there
//! atlas: ERROR: out of coffee
//! maia is there
//! maia: ERROR: out of coffee
//! atlas is gone
//! ```

use std::env;

use pleiad::io::{Lines, Pipeline};
use pleiad::{
    Error, LocateError, Mailbox, NoMessage, Node, Peer, PeerEvent, TaskRef, TaskService, spawn,
    try_spawn_future,
};
use serde::{Deserialize, Serialize};
use tokio::process::Command;

/// A task for each who wants to know. It takes no messages, but is asked to stop.
const WATCH: TaskService<Wanted, NoMessage, u64> = TaskService::new("watch");

#[derive(Serialize, Deserialize)]
struct Wanted {
    pattern: String,
    reader: TaskRef<Found>,
}

#[derive(Serialize, Deserialize)]
struct Found {
    node: String,
    line: String,
}

/// What a server knows.
#[derive(Clone)]
struct Place {
    node: String,
    log: String,
}

/// Gives how many lines it has found.
async fn watch(place: Place, wanted: Wanted, mailbox: Mailbox<NoMessage>) -> pleiad::Result<u64> {
    let Wanted { pattern, reader } = wanted;
    let mut tail = Command::new("tail");
    tail.args(["-n", "+1", "-F", &place.log]);
    let mut grep = Command::new("grep");
    grep.args(["--line-buffered", "-e", &pattern]);
    // When this is dropped, both programs are ended.
    let running = Pipeline::new(tail).pipe(grep).start().await?;

    let mut lines = Lines::new(running);
    let mut found = 0;
    loop {
        let line = tokio::select! {
            line = lines.next_line() => line?,
            // The client has closed, or was lost: whoever started this, wants it no more.
            () = mailbox.stopping() => break,
        };
        let Some(line) = line else { return Err(Error::msg("tail has ended")) };
        found += 1;
        // A reader that does not keep up holds `grep` back, and that holds back `tail`.
        reader.deliver(Found { node: place.node.clone(), line }).await?;
    }
    println!("{pattern:?} is watched no more, {found} lines were found");
    Ok(found)
}

#[tokio::main]
async fn main() -> pleiad::Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    match args.as_slice() {
        [role, name, log] if role == "server" => server(name, log).await,
        [role, pattern] if role == "client" => client(pattern).await,
        _ => Err(Error::msg("usage: nodes_07_log_watch server NAME LOG | client PATTERN")),
    }
}

async fn server(name: &str, log: &str) -> pleiad::Result<()> {
    let node = Node::builder().name(name).start().await?;
    let place = Place { node: name.to_owned(), log: log.to_owned() };
    let watch = move |wanted, mailbox| watch(place.clone(), wanted, mailbox);
    let service = node.try_serve_tasks(WATCH, watch).await?;
    println!("{name} watches {log} when it is asked to, until Ctrl-C");
    tokio::signal::ctrl_c().await?;
    node.close().await;
    service.ended().await;
    Ok(())
}

async fn client(pattern: &str) -> pleiad::Result<()> {
    let node = Node::builder().name("client").start().await?;
    let printer = spawn(async |mut mailbox: Mailbox<Found>| {
        while let Some(Found { node, line }) = mailbox.recv().await {
            println!("{node}: {line}");
        }
    });
    // First of those that are there, then of each change.
    let mut events = node.peer_events();
    let (watching, reader, pattern) = (node.clone(), printer.clone(), pattern.to_owned());
    let events = async move {
        while let Some(event) = events.next().await {
            match event {
                PeerEvent::Online(peer) => {
                    println!("{peer} is there");
                    let wanted = Wanted { pattern: pattern.clone(), reader: reader.clone() };
                    try_spawn_future(ask(watching.clone(), peer, wanted)).detach();
                }
                PeerEvent::Offline(peer) => println!("{peer} is gone"),
                _ => {}
            }
        }
    };
    tokio::select! {
        () = events => {}
        end = tokio::signal::ctrl_c() => end?,
    }
    // All that was started for this node on others is asked to stop.
    node.close().await;
    printer.await?;
    Ok(())
}

/// As long as the peer watches, or is there.
async fn ask(node: Node, peer: Peer, wanted: Wanted) -> pleiad::Result<()> {
    let watch = match node.service(WATCH).on(&peer).await {
        Ok(watch) => watch,
        // It was here for too short a time.
        Err(LocateError::PeerLost(_)) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let task = watch.start(wanted).await?;
    let end = task.await;
    if peer.is_online() {
        println!("{peer} watches no more: {end:?}");
    }
    Ok(())
}

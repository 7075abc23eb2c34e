//! Ten clients send three messages each to one server.
//!
//! Shows tasks and their mailboxes, how to send and to ask, and how a program waits for its tasks
//! ([`join_all`]), except for daemons.
//!
//! ```sh
//! cargo run --example tasks_01_client_server
//! ```
//!
//! Clients come in any order, but the messages of each in the order in which it sent them:
//!
//! ```text
//! received  1: message 1 of client 8
//! received  2: message 1 of client 4
//! received  3: message 1 of client 7
//! …
//! received 30: message 3 of client 3
//! all clients have ended, and the server has received 30 messages
//! ```

use std::time::Duration;

use pleiad::{Mailbox, Reply, TaskBuilder, TaskRef, join_all, spawn_future};
use tokio::time::sleep;

const CLIENTS: u64 = 10;

/// What the server takes.
enum Request {
    Greet { client: u64, number: u64 },
    HowMany(Reply<u64>),
}

/// The server: a task has its state for itself, so it needs no lock to count.
async fn server(mut mailbox: Mailbox<Request>) {
    let mut received = 0;
    while let Some(request) = mailbox.recv().await {
        match request {
            Request::Greet { client, number } => {
                received += 1;
                println!("received {received:2}: message {number} of client {client}");
            }
            Request::HowMany(reply) => reply.send(received),
        }
    }
}

async fn client(client: u64, server: TaskRef<Request>) {
    for number in 1..=3 {
        sleep(some_time(client, number)).await;
        let greeting = Request::Greet { client, number };
        server.deliver(greeting).await.expect("the server lives as long as the program");
    }
}

#[tokio::main]
async fn main() -> pleiad::Result<()> {
    // It would serve for ever, so the end of the program does not wait for it: a daemon.
    let server = TaskBuilder::new().daemon(true).spawn(server);

    for number in 1..=CLIENTS {
        spawn_future(client(number, server.clone())).detach();
    }

    // All but daemons.
    join_all().await?;
    // The question comes after all messages that were delivered before.
    let received = server.ask(Request::HowMany).await?;
    println!("all clients have ended, and the server has received {received} messages");
    Ok(())
}

/// From 1 to 50 ms: as good as by chance, but the same in each run.
fn some_time(client: u64, number: u64) -> Duration {
    Duration::from_millis(1 + (client * 37 + number * 61) % 50)
}

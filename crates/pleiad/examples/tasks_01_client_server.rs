//! Ten clients send three messages each to one server.
//!
//! Shows tasks and their mailboxes, how to deliver and to ask, how a program waits for its tasks
//! ([`join_all`]), except for daemons, and how a server ends that has served enough
//! ([`close`](TaskRef::close)).
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
//! client 6 goes: the server has received 27 messages
//! received 28: message 3 of client 2
//! …
//! all clients have ended, and the server has received 30 messages
//! ```

use std::time::Duration;

use pleiad::{Mailbox, Reply, TaskBuilder, TaskRef, join_all, try_spawn_future};
use tokio::time::sleep;

const CLIENTS: u64 = 10;

/// What the server takes.
enum Request {
    Greet { client: u64, number: u64 },
    HowMany(Reply<u64>),
}

/// The server: a task has its state for itself, so it needs no lock to count. Gives what it has
/// received.
async fn server(mut mailbox: Mailbox<Request>) -> u64 {
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
    received
}

async fn client(client: u64, server: TaskRef<Request>) -> pleiad::Result<()> {
    for number in 1..=3 {
        sleep(some_time(client, number)).await;
        server.deliver(Request::Greet { client, number }).await?;
    }
    // The question comes after all messages that this client has delivered before.
    let received = server.ask(Request::HowMany).timeout(Duration::from_secs(10)).await?;
    println!("client {client} goes: the server has received {received} messages");
    Ok(())
}

#[tokio::main]
async fn main() -> pleiad::Result<()> {
    // It would serve for ever, so the end of the program does not wait for it: a daemon.
    let server = TaskBuilder::new().daemon(true).spawn(server);

    for number in 1..=CLIENTS {
        try_spawn_future(client(number, server.clone())).detach();
    }

    // All but daemons.
    join_all().await?;
    // It takes no more, reads what it has, and ends with its result.
    server.close();
    let received = server.await?;
    println!("all clients have ended, and the server has received {received} messages");
    Ok(())
}

/// From 1 to 50 ms: as good as by chance, but the same in each run.
fn some_time(client: u64, number: u64) -> Duration {
    Duration::from_millis(1 + (client * 37 + number * 61) % 50)
}

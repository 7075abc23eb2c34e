//! Two programs: a workshop that is found by its name, and clients that give it orders.
//!
//! Shows how a program becomes a [`Node`], how a task is registered on one and located from another,
//! and that a reference in a message is an address, by which the answer comes back.
//!
//! In two terminals:
//!
//! ```sh
//! cargo run --features net --example nodes_01_client_server -- server
//! cargo run --features net --example nodes_01_client_server -- client
//! ```
//!
//! On two machines, the server is told where it listens, and says how to let the client in:
//!
//! ```sh
//! cargo run --features net --example nodes_01_client_server -- server 192.168.1.7
//! cargo run --features net --example nodes_01_client_server -- client pleiad://192.168.1.7:9705/…
//! ```
//!
//! The server prints
//!
//! ```text
//! workshop/3 takes orders, until Ctrl-C
//! order 1 of client/3@client is in work
//! order 2 of client/3@client is in work
//! order 3 of client/3@client is in work
//! ```
//!
//! and the client
//!
//! ```text
//! 3 orders are on their way to workshop/3@server
//! order 3 is done
//! order 2 is done
//! order 1 is done
//! nothing is open
//! ```

use std::env;
use std::time::Duration;

use pleiad::{Error, Mailbox, Node, NodeBuilder, TaskRef, spawn, spawn_future, try_spawn};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

const ORDERS: u64 = 3;

/// Messages to other nodes are what serde can write and read. Both programs have the same definition.
#[derive(Serialize, Deserialize)]
struct Order {
    number: u64,
    /// Who wants to know. It works from everywhere.
    customer: TaskRef<Done>,
}

#[derive(Serialize, Deserialize)]
struct Done {
    number: u64,
}

/// A task for each order, so that none waits for another.
async fn workshop(mut mailbox: Mailbox<Order>) {
    while let Some(order) = mailbox.recv().await {
        println!("order {} of {} is in work", order.number, order.customer);
        spawn_future(work(order)).detach();
    }
}

async fn work(order: Order) {
    // The first ones are the longest.
    sleep(Duration::from_millis(50 * (ORDERS + 1 - order.number))).await;
    // If the customer has gone, nobody wants it any more.
    let _ = order.customer.send(Done { number: order.number });
}

async fn client(mut mailbox: Mailbox<Done>, workshop: TaskRef<Order>) -> pleiad::Result<u64> {
    for number in 1..=ORDERS {
        // Waits until it is in the mailbox there.
        workshop.deliver(Order { number, customer: mailbox.me() }).await?;
    }
    println!("{ORDERS} orders are on their way to {workshop}");

    // Each order has taken a reference along. When the last of them is dropped, wherever that is, or lost
    // with its node, nobody can send to this task any more.
    let mut open = ORDERS;
    while let Some(done) = mailbox.recv().await {
        open -= 1;
        println!("order {} is done", done.number);
    }
    Ok(open)
}

#[tokio::main]
async fn main() -> pleiad::Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["server"] => serve(Node::builder(), false).await,
        ["server", address] => serve(Node::builder().listen(address), true).await,
        ["client"] => order(Node::builder()).await,
        ["client", invitation] => order(Node::builder().invitation(invitation.parse()?)).await,
        _ => {
            let usage = "usage: nodes_01_client_server server [ADDRESS] | client [INVITATION]";
            Err(Error::msg(usage))
        }
    }
}

async fn serve(node: NodeBuilder, invites: bool) -> pleiad::Result<()> {
    let node = node.name("server").start().await?;
    let workshop = spawn(workshop);
    node.register("workshop", &workshop)?;
    if invites {
        println!("invitation: {}", node.invite(1, Duration::from_secs(3600))?);
    }
    println!("{workshop} takes orders, until Ctrl-C");
    tokio::signal::ctrl_c().await?;
    node.close().await;
    Ok(())
}

async fn order(node: NodeBuilder) -> pleiad::Result<()> {
    let node = node.name("client").start().await?;
    // Waits for the server, if it is not there yet.
    let workshop = node.locate("workshop").timeout(Duration::from_secs(30)).await?;
    match try_spawn(|mailbox| client(mailbox, workshop)).await? {
        0 => println!("nothing is open"),
        open => println!("the server is gone, and {open} orders are open"),
    }
    node.close().await;
    Ok(())
}

//! Numbers on a channel, for a task of this program and one of another.
//!
//! Shows a channel that is registered on a node; that a task subscribes to it from another; and how a
//! publisher waits until so many are subscribed, and knows that each of them has the message.
//!
//! ```sh
//! cargo run --features net --example nodes_04_channel -- server
//! cargo run --features net --example nodes_04_channel -- client
//! ```
//!
//! The server waits for the client, and prints
//!
//! ```text
//! waiting for two subscribers
//! delivered 1 to 2 subscribers
//! …
//! delivered 10 to 2 subscribers
//! the sum here is 55
//! ```
//!
//! and the client
//!
//! ```text
//! subscribed to numbers@server
//! received 1
//! …
//! received 10
//! numbers@server is closed, the sum is 55
//! ```

use std::env;
use std::time::Duration;

use pleiad::{Channel, Error, Mailbox, Node, spawn};

const SOON: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> pleiad::Result<()> {
    match env::args().nth(1).as_deref() {
        Some("server") => server().await,
        Some("client") => client().await,
        _ => Err(Error::msg("usage: nodes_04_channel server | client")),
    }
}

async fn server() -> pleiad::Result<()> {
    let node = Node::builder().name("server").start().await?;
    let numbers = Channel::new("numbers");
    node.register_channel(&numbers)?;
    let here = spawn(sum);
    numbers.subscribe(&here)?;

    println!("waiting for two subscribers");
    for number in 1..=10 {
        // Two, wherever they are.
        let delivered = numbers.deliver(number).at_least(2).timeout(SOON).await?;
        println!("delivered {number} to {} subscribers", delivered.reached);
    }
    // What was delivered is still read; then all who are subscribed get `None`.
    numbers.close();
    println!("the sum here is {}", here.await?);
    node.close().await;
    Ok(())
}

async fn client() -> pleiad::Result<()> {
    let node = Node::builder().name("client").start().await?;
    let numbers = node.channel("numbers").timeout(SOON).await?;
    let there = spawn(sum_aloud);
    numbers.subscribe(&there).await?;
    println!("subscribed to {numbers}");
    let sum = there.await?;
    println!("{numbers} is closed, the sum is {sum}");
    node.close().await;
    Ok(())
}

async fn sum(mut mailbox: Mailbox<u32>) -> u32 {
    let mut sum = 0;
    while let Some(number) = mailbox.recv().await {
        sum += number;
    }
    sum
}

async fn sum_aloud(mut mailbox: Mailbox<u32>) -> u32 {
    let mut sum = 0;
    while let Some(number) = mailbox.recv().await {
        println!("received {number}");
        sum += number;
    }
    sum
}

//! Numbers are published on a channel: one task adds them up, another multiplies them.
//!
//! Shows a channel, which gives each message to all who are subscribed, and says how many they
//! were. When it is closed, its subscribers get no more messages, and end with their result.
//!
//! ```sh
//! cargo run --example tasks_03_channel
//! ```
//!
//! ```text
//! published 7, to 2 tasks
//! published 2, to 2 tasks
//! published 9, to 2 tasks
//! published 5, to 2 tasks
//! the sum is 23
//! the product is 630
//! 11 comes too late: channel "numbers" is closed
//! ```

use pleiad::{Channel, Mailbox, spawn};

async fn sum(mut mailbox: Mailbox<u64>) -> u64 {
    let mut sum = 0;
    while let Some(number) = mailbox.recv().await {
        sum += number;
    }
    sum
}

async fn product(mut mailbox: Mailbox<u64>) -> u64 {
    let mut product = 1;
    while let Some(number) = mailbox.recv().await {
        product *= number;
    }
    product
}

#[tokio::main]
async fn main() -> pleiad::Result<()> {
    let numbers = Channel::new("numbers");
    let (sum, product) = (spawn(sum), spawn(product));
    numbers.subscribe(&sum)?;
    numbers.subscribe(&product)?;

    for number in [7, 2, 9, 5] {
        // Waits until it is in the mailbox of each. Where a few may be missed, `send` never waits.
        let published = numbers.deliver(number).await?;
        println!("published {number}, to {} tasks", published.reached);
    }

    // Both read what they have got, and then `None`, for nobody else can send to them.
    numbers.close();
    println!("the sum is {}", sum.await?);
    println!("the product is {}", product.await?);

    if let Err(error) = numbers.send(11) {
        println!("11 comes too late: {error}");
    }
    Ok(())
}

//! A server gets a new function while it serves, and loses no message by that.
//!
//! Shows [`hot_swap`](SwapTask::hot_swap): a function is offered to the task, which looks at its
//! name and goes on with it, or refuses. Mailbox, references and state stay.
//!
//! ```sh
//! cargo run --example tasks_04_hot_swap
//! ```
//!
//! ```text
//! 1
//! 2
//! 3
//! ---- swapped: the server runs server_in_words
//! number 4, and the sum is 10
//! number 5, and the sum is 15
//! number 6, and the sum is 21
//! ---- server/1 has refused logger: it is no server
//! number 7, and the sum is 28
//! number 8, and the sum is 36
//! number 9, and the sum is 45
//! the server has received 9 numbers, their sum is 45
//! ```

use std::time::Duration;

use pleiad::{Flow, Offer, SwapEvent, SwapMailbox, TaskRef, spawn_future, spawn_swappable};
use tokio::time::sleep;

/// What one function hands over to the next.
#[derive(Clone, Copy)]
struct Received {
    numbers: u64,
    sum: u64,
}

impl Received {
    fn add(&mut self, number: u64) {
        self.numbers += 1;
        self.sum += number;
    }
}

/// The task takes numbers, and its result is what it has received.
type Numbers = SwapMailbox<u64, Received>;
type Next = Flow<u64, Received>;

async fn server(mut mailbox: Numbers, mut received: Received) -> Next {
    loop {
        match mailbox.next().await {
            SwapEvent::Message(number) => {
                received.add(number);
                println!("{number}");
            }
            SwapEvent::Swap(offer) if is_server(&offer) => return offer.accept(mailbox, received),
            SwapEvent::Swap(offer) => offer.refuse("it is no server"),
            SwapEvent::Closed => return Flow::Done(received),
        }
    }
}

async fn server_in_words(mut mailbox: Numbers, mut received: Received) -> Next {
    loop {
        match mailbox.next().await {
            SwapEvent::Message(number) => {
                received.add(number);
                println!("number {number}, and the sum is {}", received.sum);
            }
            SwapEvent::Swap(offer) if is_server(&offer) => return offer.accept(mailbox, received),
            SwapEvent::Swap(offer) => offer.refuse("it is no server"),
            SwapEvent::Closed => return Flow::Done(received),
        }
    }
}

/// Has the right type, but another name. One with another type would not compile.
async fn logger(_: Numbers, received: Received) -> Next {
    Flow::Done(received)
}

fn is_server(offer: &Offer<u64, Received>) -> bool {
    offer.name().starts_with("server")
}

/// Sends growing numbers.
async fn client(server: TaskRef<u64>) {
    for number in 1..=9 {
        server.deliver(number).await.expect("the server lives as long as it has clients");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::main]
async fn main() -> pleiad::Result<()> {
    let server = spawn_swappable(server, Received { numbers: 0, sum: 0 });
    let client = spawn_future(client(server.clone()));

    sleep(Duration::from_millis(50)).await;
    server.hot_swap(server_in_words).await?;
    println!("---- swapped: the server runs {}", server.function());

    sleep(Duration::from_millis(60)).await;
    if let Err(refusal) = server.hot_swap(logger).await {
        println!("---- {refusal}");
    }

    client.await?;
    let Received { numbers, sum } = server.await?;
    println!("the server has received {numbers} numbers, their sum is {sum}");
    Ok(())
}

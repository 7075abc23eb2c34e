//! A worker with much to do is paused, goes on, and is stopped; it gives the best that it has found.
//!
//! Shows urgent questions and messages ([`urgent`](pleiad::Ask::urgent),
//! [`send_urgent`](pleiad::TaskRef::send_urgent)), which go before all that wait; a task that for a
//! while reads only what it wants ([`recv_matching`](Mailbox::recv_matching)); and the polite end
//! ([`terminate`](pleiad::TaskRef::terminate)), at which a task still gives its result.
//!
//! ```sh
//! cargo run --example tasks_06_interrupt
//! ```
//!
//! From a number, go to its half if it is even, to 3n + 1 if it is odd, until you come to 1. The
//! worker looks for the longest way:
//!
//! ```text
//! the worker has 1000 orders
//! the worker pauses, the longest way begins at 77031 and has 350 steps
//! 919 orders wait, and after a while: 919
//! the worker goes on, and is asked to stop
//! 864 orders are left, the longest way begins at 106239 and has 353 steps
//! ```

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use pleiad::{Mailbox, Reply, spawn};
use tokio::time::sleep;

const ORDERS: u64 = 1000;

/// What the worker takes.
enum Order {
    Search(Range<u64>),
    /// Answered with the longest way so far.
    Pause(Reply<Way>),
    GoOn,
}

/// Gives the longest way that it has found, and how many orders it has left undone.
async fn worker(mut mailbox: Mailbox<Order>) -> (Way, usize) {
    let mut longest = Way::default();
    while let Some(order) = mailbox.recv().await {
        match order {
            Order::Search(starts) => {
                // About a millisecond: too short to be in the way of other tasks.
                longest = starts.map(Way::from).fold(longest, Way::max);
            }
            Order::Pause(reply) => {
                reply.send(longest);
                // All other orders stay where they are. An error says that it is to stop.
                if mailbox.recv_matching(|order| matches!(order, Order::GoOn)).await.is_err() {
                    break;
                }
            }
            Order::GoOn => {}
        }
    }
    // What is asked to stop gets no more orders; they are still there.
    (longest, mailbox.len())
}

#[tokio::main]
async fn main() -> pleiad::Result<()> {
    let worker = spawn(worker);
    for n in 0..ORDERS {
        worker.send(Order::Search(1 + n * 1000..1 + (n + 1) * 1000))?;
    }
    println!("the worker has {ORDERS} orders");

    sleep(Duration::from_millis(50)).await;
    // It is asked before a thousand orders. Who has the answer knows that it pauses.
    let longest = worker.ask(Order::Pause).urgent().await?;
    println!("the worker pauses, the longest way {longest}");
    let before = worker.queued();
    sleep(Duration::from_millis(50)).await;
    println!("{before} orders wait, and after a while: {}", worker.queued());

    worker.send_urgent(Order::GoOn)?;
    sleep(Duration::from_millis(50)).await;
    println!("the worker goes on, and is asked to stop");
    worker.terminate();
    let (longest, left) = worker.await?;
    println!("{left} orders are left, the longest way {longest}");
    Ok(())
}

/// From a number to 1. The longer one is the greater one.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Way {
    steps: u32,
    start: u64,
}

impl Way {
    fn from(start: u64) -> Self {
        let mut steps = 0;
        let mut n = start;
        while n != 1 {
            n = if n.is_multiple_of(2) { n / 2 } else { 3 * n + 1 };
            steps += 1;
        }
        Self { steps, start }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "begins at {} and has {} steps", self.start, self.steps)
    }
}

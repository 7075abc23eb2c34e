//! A client starts tasks on another node, and hears how each of them ends.
//!
//! Shows a [`TaskService`], whose tasks have a mailbox; that as many as are wanted are started by it; and
//! that a monitor far away is told the true reason of each end, exactly once: also when the process in
//! which the tasks ran is gone.
//!
//! ```sh
//! cargo run --features net --example nodes_03_monitor -- server
//! cargo run --features net --example nodes_03_monitor -- client
//! ```
//!
//! The client prints (the ends as they come)
//!
//! ```text
//! 12 / 2 = 6
//! 12 / 3 = 4
//! divide/4@server returned
//! divide/6@server failed: I do not divide by 5
//! divide/5@server returned
//! 12 / 5: divide/6@server failed: I do not divide by 5
//! divide/7@server failed: panicked at …/nodes_03_monitor.rs:51:40: attempt to divide by zero
//! 12 / 0: divide/7@server failed: panicked at …
//! 12 / 4 = 3
//! divide/8@server returned
//! divide/9@server was lost with server (…)
//! the crash: divide@server was lost with server (…), and what became of the call is not known
//! the watcher has heard of 6 ends
//! ```

use std::env;
use std::process;
use std::time::Duration;

use pleiad::{Error, Exit, Mailbox, Node, TaskService, spawn};
use serde::{Deserialize, Serialize};

/// What the tasks are started with, what they take, and what they give.
const DIVIDE: TaskService<u32, Order, u32> = TaskService::new("divide");

#[derive(Serialize, Deserialize)]
enum Order {
    By(u32),
    /// An accident: the process is gone, and can tell nobody.
    Crash,
}

async fn divide(number: u32, mut mailbox: Mailbox<Order>) -> Result<u32, String> {
    match mailbox.recv().await {
        Some(Order::By(5)) => Err("I do not divide by 5".to_owned()),
        // By 0, it panics: that ends this task, and no other.
        Some(Order::By(divisor)) => Ok(number / divisor),
        Some(Order::Crash) => process::exit(3),
        None => Err("nobody wants anything".to_owned()),
    }
}

#[tokio::main]
async fn main() -> pleiad::Result<()> {
    match env::args().nth(1).as_deref() {
        Some("server") => server().await,
        Some("client") => client().await,
        _ => Err(Error::msg("usage: nodes_03_monitor server | client")),
    }
}

async fn server() -> pleiad::Result<()> {
    let node = Node::builder().name("server").start().await?;
    node.try_serve_tasks(DIVIDE, divide).await?;
    println!("{} divides, until Ctrl-C, or until it is crashed", node.name());
    tokio::signal::ctrl_c().await?;
    node.close().await;
    Ok(())
}

/// What it takes is the end of a task. Gives how many there were.
async fn watcher(mut mailbox: Mailbox<Exit>) -> u32 {
    let mut ends = 0;
    while let Some(exit) = mailbox.recv().await {
        println!("{exit}");
        ends += 1;
    }
    ends
}

async fn client() -> pleiad::Result<()> {
    let node = Node::builder().name("client").start().await?;
    let service = node.service(DIVIDE).timeout(Duration::from_secs(30)).await?;
    let watcher = spawn(watcher);
    // Of every task that is started from now on.
    service.monitor(&watcher, |exit| exit);

    let mut tasks = Vec::new();
    for divisor in [2, 3, 5, 0, 4] {
        let task = service.start(12).await?;
        task.deliver(Order::By(divisor)).await?;
        tasks.push((divisor, task));
    }
    for (divisor, task) in tasks {
        match task.await {
            Ok(quotient) => println!("12 / {divisor} = {quotient}"),
            Err(error) => println!("12 / {divisor}: {error}"),
        }
    }

    let last = service.start(12).await?;
    last.send(Order::Crash)?;
    if let Err(error) = last.await {
        println!("the crash: {error}");
    }
    // Nobody can tell the watcher anything any more, so it ends.
    service.close();
    println!("the watcher has heard of {} ends", watcher.await?);
    node.close().await;
    Ok(())
}

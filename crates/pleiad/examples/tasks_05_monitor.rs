//! Tasks end in every way there is, and a watcher hears of each end.
//!
//! Shows monitors: the end of a task arrives at another as a message, with its reason, exactly
//! once. Whoever asks for it when the task has ended already hears it all the same.
//!
//! ```sh
//! cargo run --example tasks_05_monitor
//! ```
//!
//! A panic ends its task alone. (Rust itself prints it too, to standard error.)
//!
//! ```text
//! returns/2 returned
//! fails/3 failed: no star has the name "Vulcan"
//! panics/4 failed: panicked at crates/pleiad/examples/tasks_05_monitor.rs:59:5: the sky is empty
//! sleeps/5 was terminated
//! and when that was long ago: returns/2 returned
//! the watcher has seen 5 ends
//! ```

use std::time::Duration;

use pleiad::{Exit, Mailbox, spawn, spawn_future, try_spawn_future};
use tokio::time::sleep;

/// What the watcher takes.
enum Seen {
    End(Exit),
    LateEnd(Exit),
}

/// Gives how many ends it has seen.
async fn watcher(mut mailbox: Mailbox<Seen>) -> u32 {
    let mut ends = 0;
    while let Some(seen) = mailbox.recv().await {
        ends += 1;
        match seen {
            Seen::End(exit) => println!("{exit}"),
            Seen::LateEnd(exit) => println!("and when that was long ago: {exit}"),
        }
    }
    ends
}

async fn returns() -> u32 {
    sleep(Duration::from_millis(20)).await;
    42
}

/// An error is a failure if the task is spawned by `try_spawn_future`; else it is a result as any
/// other.
async fn fails() -> Result<u32, String> {
    sleep(Duration::from_millis(40)).await;
    Err("no star has the name \"Vulcan\"".to_owned())
}

async fn panics() {
    sleep(Duration::from_millis(60)).await;
    panic!("the sky is empty");
}

async fn sleeps() {
    sleep(Duration::from_secs(3600)).await;
}

#[tokio::main]
async fn main() -> pleiad::Result<()> {
    let watcher = spawn(watcher);
    let returns = spawn_future(returns());
    let fails = try_spawn_future(fails());
    let panics = spawn_future(panics());
    let sleeps = spawn_future(sleeps());

    // What the watcher gets is a message of its own, with the exit in it.
    watcher.monitor(&returns, Seen::End)?;
    watcher.monitor(&fails, Seen::End)?;
    watcher.monitor(&panics, Seen::End)?;
    watcher.monitor(&sleeps, Seen::End)?;

    panics.ended().await;
    sleeps.terminate();
    sleeps.ended().await;
    watcher.monitor(&returns, Seen::LateEnd)?;

    // It has been told of all ends, and nobody else can send to it: so it ends too.
    println!("the watcher has seen {} ends", watcher.await?);
    Ok(())
}

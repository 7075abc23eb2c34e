//! As many tasks as you like: each sleeps for a while, and ends.
//!
//! Shows that tasks are light. They cost no thread, but some hundred bytes of memory each.
//!
//! ```sh
//! cargo run --example tasks_02_many                        # ten of them
//! cargo run --release --example tasks_02_many -- 50000
//! ```
//!
//! Ten tell what they do:
//!
//! ```text
//! task  1 sleeps for 87 ms
//! task  2 sleeps for 124 ms
//! …
//! task  6 has slept for 72 ms
//! …
//! 10 tasks: started in 0.1 ms, all ended after 0.15 s
//! ```
//!
//! More than 100 do not:
//!
//! ```text
//! 50000 tasks: started in 51.5 ms, 518 bytes each, all ended after 1.55 s
//! ```

use std::time::{Duration, Instant};
use std::{env, fs};

use pleiad::{Error, join_all, spawn_future};
use tokio::time::sleep;

async fn sleeper(number: u64, time: Duration, tells: bool) {
    if tells {
        println!("task {number:2} sleeps for {} ms", time.as_millis());
    }
    sleep(time).await;
    if tells {
        println!("task {number:2} has slept for {} ms", time.as_millis());
    }
}

#[tokio::main]
async fn main() -> pleiad::Result<()> {
    let tasks: u64 = match env::args().nth(1) {
        None => 10,
        Some(word) => word.parse().map_err(|_| Error::msg(format!("{word:?} is no number")))?,
    };
    let tells = tasks <= 100;
    // So many must all sleep at the same time, or it would say nothing about their memory.
    let longest = if tells { 150 } else { 1_500 };

    let (began, memory_before) = (Instant::now(), memory());
    for number in 1..=tasks {
        // By chance, as it looks: from a third of the longest time to all of it.
        let time = longest / 3 + number * 37 % (longest * 2 / 3);
        spawn_future(sleeper(number, Duration::from_millis(time), tells)).detach();
    }
    let started_in = began.elapsed();
    let memory_of_each = memory()
        .zip(memory_before)
        .and_then(|(now, before)| now.saturating_sub(before).checked_div(tasks));

    join_all().await?;
    print!("{tasks} tasks: started in {:.1} ms, ", 1000.0 * started_in.as_secs_f64());
    if let Some(bytes) = memory_of_each.filter(|_| !tells) {
        print!("{bytes} bytes each, ");
    }
    println!("all ended after {:.2} s", began.elapsed().as_secs_f64());
    Ok(())
}

/// The memory that this process has, where the system tells it in Linux's way.
fn memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(1024 * kilobytes)
}

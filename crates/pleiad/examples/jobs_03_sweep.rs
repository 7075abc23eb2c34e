//! Looks for the smallest hash table in which the packages of a `Cargo.lock` do not collide.
//!
//! Shows a sweep over a parameter whose jobs tell of each improvement while they run, answer with
//! their best when their time is over ([`Map::limit`](pleiad::Map::limit)), and are cancelled as
//! soon as one of them is good enough.
//!
//! ```sh
//! cargo run --example jobs_03_sweep                    # the Cargo.lock of this folder
//! cargo run --example jobs_03_sweep -- FILE
//! ```
//!
//! Prints the improvements as they come, and at the end how far each job got:
//!
//! ```text
//! 98 names. Each job tries hash functions for one size of table.
//! 294 slots: 13 collisions
//! 294 slots: 12 collisions
//! 196 slots: 16 collisions
//! ...
//! 490 slots: 0 collisions: good enough, the others may stop
//!
//! slots  collisions    tried  why it ended
//!   196           6   155307  its time was over
//!   294           3   150108  its time was over
//!   392           1    49857  told to stop
//!   490           0    48689  good enough
//!   588           -        -  never begun
//!   ...
//! ```

use std::collections::BTreeSet;
use std::time::Duration;
use std::{env, fs};

use pleiad::{Cluster, JobContext};
use serde::{Deserialize, Serialize};

/// What a job knows so far.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Best {
    collisions: usize,
    tried: u64,
}

/// The job: tries one hash function after the other, until it should stop or finds a perfect one.
fn search(job: &JobContext, (slots, names): (usize, Vec<u64>)) -> Best {
    let mut best = Best { collisions: names.len(), tried: 0 };
    while best.collisions > 0 && !job.should_stop() {
        best.tried += 1;
        let collisions = collisions(&names, slots, best.tried);
        if collisions < best.collisions {
            best.collisions = collisions;
            // A provisional result. If it gets lost, a better one will come.
            let _ = job.send(&best);
        }
    }
    // Of a job that is cancelled only messages arrive, no result.
    let _ = job.send(&best);
    best
}

#[tokio::main]
async fn main() -> pleiad::Result<()> {
    pleiad::init();
    let file = env::args().nth(1).unwrap_or_else(|| "Cargo.lock".to_owned());
    let text = fs::read_to_string(file)?;
    // Some packages are there in several versions: they count once.
    let names: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("name = ")).collect();
    let numbers: Vec<u64> = names.iter().map(|name| number(name)).collect();
    println!("{} names. Each job tries hash functions for one size of table.", names.len());

    let sizes: Vec<usize> = (2..=12).map(|times| times * names.len()).collect();
    let tables: Vec<_> = sizes.iter().map(|&slots| (slots, numbers.clone())).collect();
    let cluster = Cluster::local().await?;
    let mut results = cluster.map(search, tables).limit(Duration::from_millis(800)).as_completed();
    let mut messages = results.messages::<Best>();

    let mut bests: Vec<Option<Best>> = vec![None; sizes.len()];
    let mut ends = vec![""; sizes.len()];
    let mut found = false;
    loop {
        tokio::select! {
            biased;
            Some(message) = messages.next() => {
                let message = message?;
                let (best, index) = (message.message, message.index);
                let before = bests[index].replace(best);
                if before.is_some_and(|before| before.collisions == best.collisions) {
                    continue;
                }
                print!("{} slots: {} collisions", sizes[index], best.collisions);
                if best.collisions == 0 && !found {
                    print!(": good enough, the others may stop");
                    found = true;
                    results.cancel();
                }
                println!();
            }
            done = results.next() => {
                let Some(done) = done else { break };
                let perfect = bests[done.index].is_some_and(|best| best.collisions == 0);
                ends[done.index] = match done.result {
                    _ if perfect => "good enough",
                    Ok(_) => "its time was over",
                    Err(_) if done.attempt.is_some() => "told to stop",
                    Err(_) => "never begun",
                };
            }
        }
    }
    cluster.close().await;

    println!("\nslots  collisions    tried  why it ended");
    for ((slots, best), end) in sizes.iter().zip(bests).zip(ends) {
        let (collisions, tried) = match best {
            Some(best) => (best.collisions.to_string(), best.tried.to_string()),
            None => ("-".to_owned(), "-".to_owned()),
        };
        println!("{slots:>5}  {collisions:>10}  {tried:>7}  {end}");
    }
    Ok(())
}

/// How many names find their slot taken by another, with the hash function of this number.
fn collisions(names: &[u64], slots: usize, function: u64) -> usize {
    let factor = function.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut taken = vec![false; slots];
    let mut collisions = 0;
    for name in names {
        let slot = (name.wrapping_mul(factor) >> 32) as usize % slots;
        collisions += usize::from(taken[slot]);
        taken[slot] = true;
    }
    collisions
}

/// A number for a name, so that each name has to be read only once.
fn number(name: &str) -> u64 {
    name.bytes().fold(1, |number, byte| (number ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

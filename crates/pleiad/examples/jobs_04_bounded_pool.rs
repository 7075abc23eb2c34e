//! Draws how dense the parts of a large file are, with a bounded number of its blocks in memory.
//!
//! Shows a pool of jobs that is kept between 50 and 100: whenever fewer than 50 are left, blocks
//! are read and handed in until there are 100 ([`Map::outstanding`](pleiad::Map::outstanding)). So
//! the source of the jobs may be endless.
//!
//! ```sh
//! cargo run --example jobs_04_bounded_pool             # this very program
//! cargo run --example jobs_04_bounded_pool -- FILE
//! ```
//!
//! Prints when the pool was filled again, and a drawing in which each sign is a block: low for
//! zeros and repetitions, high for what can hardly be compressed.
//!
//! ```text
//! after   51 results: 100 jobs are outstanding again
//! after  102 results: 100 jobs are outstanding again
//! ...
//! 1000 blocks of 4096 bytes, at most 100 of them at once:
//!
//!  ▃▅▅▆▅▄▄▁▁▁▂▆▆▆▇▆▆▆▅▄▄▄▄▃▃▅▅▅▅▅▅▅
//! ```

use std::env;
use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;

use pleiad::Cluster;

const BLOCK_BYTES: u64 = 4096;
const BLOCKS_MAX: usize = 1000;
const SIGNS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The job: the entropy of a block, in bits per byte, from 0.0 to 8.0.
fn entropy(block: Vec<u8>) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in &block {
        counts[usize::from(*byte)] += 1;
    }
    let shares = counts.iter().filter(|&&n| n > 0).map(|&n| f64::from(n) / block.len() as f64);
    shares.map(|share| -share * share.log2()).sum()
}

#[tokio::main]
async fn main() -> pleiad::Result<()> {
    pleiad::init();
    let path = env::args_os().nth(1).map_or_else(env::current_exe, |arg| Ok(PathBuf::from(arg)))?;
    let mut file = File::open(path)?;
    // Reads a block only when it is asked for one.
    let blocks = std::iter::from_fn(move || {
        let mut block = Vec::new();
        if let Err(error) = file.by_ref().take(BLOCK_BYTES).read_to_end(&mut block) {
            println!("the rest of the file cannot be read: {error}");
            return None;
        }
        Some(block).filter(|block| !block.is_empty())
    });

    let cluster = Cluster::local().await?;
    let mut results =
        cluster.map(entropy, blocks.take(BLOCKS_MAX)).outstanding(50..=100).as_completed();

    let mut drawing = vec![' '; BLOCKS_MAX];
    let (mut count, mut left, mut most) = (0, 0, 0);
    while let Some(done) = results.next().await {
        // The one just taken was outstanding until now.
        let outstanding = results.outstanding() + 1;
        if count > 0 && outstanding > left {
            println!("after {count:>4} results: {outstanding} jobs are outstanding again");
        }
        most = most.max(outstanding);
        left = outstanding - 1;
        count += 1;
        drawing[done.index] = SIGNS[done.result?.round() as usize];
    }
    cluster.close().await;

    println!("{count} blocks of {BLOCK_BYTES} bytes, at most {most} of them at once:\n");
    for line in drawing[..count].chunks(80) {
        println!("{}", line.iter().collect::<String>());
    }
    Ok(())
}

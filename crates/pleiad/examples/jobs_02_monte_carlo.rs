//! Estimates π by throwing darts at a square, and counting how many hit the circle in it.
//!
//! Shows one job alone ([`Cluster::submit`]), many at once ([`Cluster::map`]), and the table of
//! what the cluster has done ([`Cluster::status`]).
//!
//! ```sh
//! cargo run --release --example jobs_02_monte_carlo
//! ```
//!
//! Each job has its own seed, so the estimate is the same in each run and on each machine:
//!
//! ```text
//! one job:   39173 of 50000 darts hit, π is about 3.1338
//! 100 jobs:  3927282 of 5000000 darts hit, π is about 3.1418
//! chance alone allows an error of 0.0022, this one is 0.0002
//!
//! machine                cpus succeeded   failed      s/job  job time
//! loki                      8       101        0     0.0004      0.0s
//! 0 waiting, 0 running, 101 succeeded, 0 failed, 0 cancelled
//! job time 0.0s in 0.0s: 4.11 times as fast as one after the other
//! ```

use std::f64::consts::PI;

use pleiad::Cluster;

const DARTS: u64 = 50_000;
const JOBS: u64 = 100;

/// The job: throws [`DARTS`] darts; gives how many hit.
fn hits(seed: u64) -> u64 {
    let mut chance = Chance(seed);
    let mut hits = 0;
    for _ in 0..DARTS {
        let (x, y) = (chance.between_0_and_1(), chance.between_0_and_1());
        hits += u64::from(x * x + y * y < 1.0);
    }
    hits
}

#[tokio::main]
async fn main() -> pleiad::Result<()> {
    pleiad::init();
    let cluster = Cluster::local().await?;

    // The arguments are a tuple, here of one.
    let hit = cluster.submit(hits, (1,)).await?;
    println!("one job:   {hit} of {DARTS} darts hit, π is about {:.4}", pi(hit, DARTS));

    let hit: u64 = cluster.map(hits, 1..=JOBS).await?.into_iter().sum();
    let darts = JOBS * DARTS;
    println!("{JOBS} jobs:  {hit} of {darts} darts hit, π is about {:.4}", pi(hit, darts));

    // Three standard deviations: 997 of 1,000 estimates are nearer than that.
    let allowed = 3.0 * (PI * (4.0 - PI) / darts as f64).sqrt();
    let error = (pi(hit, darts) - PI).abs();
    println!("chance alone allows an error of {allowed:.4}, this one is {error:.4}\n");

    println!("{}", cluster.status().await?);
    cluster.close().await;
    Ok(())
}

/// A quarter of the circle has π/4 of the area of its square.
fn pi(hit: u64, darts: u64) -> f64 {
    4.0 * hit as f64 / darts as f64
}

/// Numbers by chance, but the same for the same seed (the generator is known as SplitMix64).
struct Chance(u64);

impl Chance {
    fn between_0_and_1(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) as f64 / u64::MAX as f64
    }
}

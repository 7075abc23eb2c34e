//! The figures of jobs, each beside what others reach in the same run.
//!
//! `cargo bench -p pleiad --bench jobs`; with `-- --quick` a tenth of the work. Baselines that are
//! not installed are named and left out: `apt install python3` brings ProcessPoolExecutor.
//!
//! Machines are noisy: compare the figures of one run, take the median of several, never compare
//! absolute times of different machines.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::process::Command;
use std::time::{Duration, Instant};

use pleiad::{Cluster, Result};

fn same(n: u64) -> u64 {
    n
}

fn same_bytes(bytes: serde_bytes::ByteBuf) -> serde_bytes::ByteBuf {
    bytes
}

fn wait(_: u64) {
    std::thread::sleep(Duration::from_secs(3600));
}

#[tokio::main]
async fn main() -> Result<()> {
    pleiad::init();
    let quick = std::env::args().any(|arg| arg == "--quick");
    let scale = if quick { 0.1 } else { 1.0 };
    let cluster = Cluster::builder().cpus(2).start().await?;
    let pool = python_pool(scale);
    let python = |name: &str| pool.get(name).copied();

    println!("{:<44} {:>14}   others in the same run", "work, two workers", "pleiad");
    let alone = alone(&cluster, (10_000.0 * scale) as usize).await?;
    let ours = format!("{:.0} µs", alone.as_secs_f64() * 1e6);
    line(
        "submit to result, one at a time, median",
        &ours,
        python("alone_us").map(|us| format!("ProcessPoolExecutor {us:.0} µs")),
    );

    let calls = (2_000_000.0 * scale) as u64;
    let rate = map_rate(&cluster, calls).await?;
    let others = python("map_per_s").zip(python("map_by_hand_per_s")).map(|(plain, by_hand)| {
        format!("ProcessPoolExecutor {plain:.0}/s, with a chunk size by hand {by_hand:.0}/s")
    });
    line("no-op calls by map", &format!("{:.2} M/s", rate / 1e6), others);

    let rate = large_rate(&cluster, (2_000.0 * scale) as usize).await?;
    line(
        "1 MiB there and back",
        &format!("{rate:.0}/s"),
        python("large_per_s").map(|r| format!("ProcessPoolExecutor {r:.0}/s")),
    );
    cluster.close().await;

    let (bytes, accept, slow) = queued((1_000_000.0 * scale) as u64).await?;
    let ours = format!("{:.0} MB", bytes as f64 / 1e6);
    line(
        "memory of a million jobs that wait",
        &ours,
        Some(format!(
            "{:.0} B a job, accepted at {:.2} M/s",
            bytes as f64 / (1e6 * scale),
            accept / 1e6
        )),
    );
    line("cancelling them all", &format!("{slow:.2?}"), None);
    Ok(())
}

fn line(work: &str, ours: &str, others: Option<String>) {
    println!("{work:<44} {ours:>14}   {}", others.unwrap_or_default());
}

async fn alone(cluster: &Cluster, calls: usize) -> Result<Duration> {
    let mut times = Vec::with_capacity(calls);
    cluster.submit(same, (0,)).await?;
    for n in 0..calls as u64 {
        let begin = Instant::now();
        black_box(cluster.submit(same, (n,)).await?);
        times.push(begin.elapsed());
    }
    times.sort();
    Ok(times[times.len() / 2])
}

async fn map_rate(cluster: &Cluster, calls: u64) -> Result<f64> {
    let begin = Instant::now();
    let mut results = cluster.map(same, 0..calls).as_completed();
    let (mut count, mut sum) = (0, 0);
    while let Some(job) = results.next().await {
        sum += job.result?;
        count += 1;
    }
    assert_eq!((count, sum), (calls, calls * (calls - 1) / 2));
    Ok(calls as f64 / begin.elapsed().as_secs_f64())
}

async fn large_rate(cluster: &Cluster, calls: usize) -> Result<f64> {
    let begin = Instant::now();
    let items = (0..calls).map(|_| serde_bytes::ByteBuf::from(vec![7; 1 << 20]));
    let mut results = cluster.map(same_bytes, items).outstanding(4..=8).as_completed();
    while let Some(job) = results.next().await {
        assert_eq!(job.result?.len(), 1 << 20);
    }
    Ok(calls as f64 / begin.elapsed().as_secs_f64())
}

/// Memory and speed of many jobs behind two that do not end.
async fn queued(jobs: u64) -> Result<(u64, f64, Duration)> {
    let cluster = Cluster::builder().cpus(2).grace(Duration::from_millis(10)).start().await?;
    let before = resident_bytes();
    let begin = Instant::now();
    let window = usize::try_from(jobs)? + 1;
    let mut results = cluster.map(wait, 0..jobs).outstanding(window..=window).as_completed();
    results.begin();
    // The status comes behind all that was handed in.
    let waiting = cluster.status().await?.jobs.unfinished();
    assert_eq!(waiting, jobs);
    let rate = jobs as f64 / begin.elapsed().as_secs_f64();
    let bytes = resident_bytes().saturating_sub(before);
    let begin = Instant::now();
    results.cancel();
    while results.next().await.is_some() {}
    Ok((bytes, rate, begin.elapsed()))
}

fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split_whitespace().nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}

fn python_pool(scale: f64) -> BTreeMap<String, f64> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/pool.py");
    let Ok(output) = Command::new("python3").arg(script).arg(scale.to_string()).output() else {
        println!("python3 is not installed: no baseline");
        return BTreeMap::new();
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let figures = text.lines().filter_map(|line| {
        let (name, figure) = line.split_once(' ')?;
        Some((name.to_owned(), figure.parse().ok()?))
    });
    figures.collect()
}

//! Weighs the packages of a `Cargo.lock`: how many others does each of them bring along?
//!
//! Shows data that each worker loads once and all its jobs use: a setup, a cleanup, and
//! [`JobContext::data`].
//!
//! ```sh
//! cargo run --example jobs_05_setup                    # the Cargo.lock of this folder
//! cargo run --example jobs_05_setup -- FILE
//! ```
//!
//! Prints a line when a worker has loaded the file, the heaviest packages, and a line when a worker
//! ends: at most as many as there are cores, however many jobs there are.
//!
//! ```text
//! a worker has loaded 98 packages
//! a worker has loaded 98 packages
//!   96  pleiad-cli
//!   90  pleiad
//!   ...
//! a worker ends; jobs it has done: 64
//! a worker ends; jobs it has done: 34
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fs, io};

use pleiad::{Cluster, JobContext};

/// What each package needs. One value a worker.
struct Packages {
    needs: BTreeMap<String, Vec<String>>,
    jobs: AtomicUsize,
}

/// The setup: runs in each worker before its first job.
fn load(file: String) -> io::Result<Packages> {
    let needs = parse(&fs::read_to_string(file)?);
    println!("a worker has loaded {} packages", needs.len());
    Ok(Packages { needs, jobs: AtomicUsize::new(0) })
}

/// The job: how many packages `package` brings along.
fn weigh(job: &JobContext, package: String) -> usize {
    let packages: &Packages = job.data();
    packages.jobs.fetch_add(1, Ordering::Relaxed);
    let mut seen = BTreeSet::new();
    let mut next = vec![&package];
    while let Some(package) = next.pop() {
        let new = packages.needs[package].iter().filter(|needed| seen.insert(*needed));
        next.extend(new);
    }
    seen.len()
}

/// The cleanup: runs in each worker when it ends in good order.
fn unload(packages: &Packages) {
    println!("a worker ends; jobs it has done: {}", packages.jobs.load(Ordering::Relaxed));
}

#[tokio::main]
async fn main() -> pleiad::Result<()> {
    pleiad::init();
    let file = env::args().nth(1).unwrap_or_else(|| "Cargo.lock".to_owned());
    let names: Vec<String> = parse(&fs::read_to_string(&file)?).into_keys().collect();

    let cluster = Cluster::local().await?;
    let cluster = cluster.computation().try_setup(load, (file,)).cleanup(unload).open().await?;

    let weights = cluster.map(weigh, names.clone()).await?;
    let mut ranking: Vec<_> = weights.iter().zip(&names).collect();
    ranking.sort_by_key(|(weight, _)| std::cmp::Reverse(**weight));
    for (weight, name) in ranking.iter().take(10) {
        println!("{weight:>4}  {name}");
    }

    // Waits for the cleanups.
    cluster.close().await;
    Ok(())
}

/// The part of the format that is needed here: `name = "x"`, and dependencies as ` "y",` or
/// ` "y 1.0",`. Versions of one package are taken for one.
fn parse(lock: &str) -> BTreeMap<String, Vec<String>> {
    let mut needs = BTreeMap::<String, Vec<String>>::new();
    let mut package = String::new();
    for line in lock.lines() {
        if let Some(name) = line.strip_prefix("name = ") {
            package = name.trim_matches('"').to_owned();
            needs.entry(package.clone()).or_default();
        } else if let Some(needed) = line.strip_prefix(" \"") {
            let name = needed.split([' ', '"']).next().unwrap_or(needed);
            needs.entry(package.clone()).or_default().push(name.to_owned());
        }
    }
    needs
}

//! Counts the lines of many files into one counter that all jobs of a machine share.
//!
//! Shows workers that are threads of one process ([`Workers::SharedProcess`]), so that what the
//! setup makes is there only once: here a counter and, behind a lock, the longest line so far.
//!
//! ```sh
//! cargo run --example jobs_06_shared_data              # the sources of pleiad's scheduler
//! cargo run --example jobs_06_shared_data -- FOLDER
//! ```
//!
//! Each job gives the counter as it has left it: the values grow, whichever thread a job was on.
//!
//! ```text
//!    125 lines after crates/pleiad-sched/src/explain.rs
//!    429 lines after crates/pleiad-sched/src/placement.rs
//!    ...
//!   2911 lines in all; the longest: fn it_does_what_a_map_does(steps in prop::collection::vec(...
//! ```
//!
//! The price: a job that aborts takes the process with it, and all that was counted is gone. (Those
//! beside it run again, but nothing can count again for those that were done.)

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fs, io};

use pleiad::{Cluster, JobContext, Workers};

/// What all jobs share.
#[derive(Default)]
struct Tally {
    lines: AtomicUsize,
    longest: Mutex<String>,
}

/// The job: adds the lines of a file; gives how many there are by now.
fn add(job: &JobContext, file: PathBuf) -> io::Result<usize> {
    let tally: &Tally = job.data();
    let text = fs::read_to_string(file)?;
    // Counted apart and added in one go: the lock is held for a moment only.
    let longest_here = text.lines().max_by_key(|line| line.len()).unwrap_or_default();
    if let Ok(mut longest) = tally.longest.lock()
        && longest_here.len() > longest.len()
    {
        longest_here.clone_into(&mut longest);
    }
    let lines = text.lines().count();
    Ok(tally.lines.fetch_add(lines, Ordering::Relaxed) + lines)
}

/// Another job, which looks at the same data.
fn total(job: &JobContext) -> (usize, String) {
    let tally: &Tally = job.data();
    let longest = tally.longest.lock().map(|longest| longest.clone()).unwrap_or_default();
    (tally.lines.load(Ordering::Relaxed), longest)
}

#[tokio::main]
async fn main() -> pleiad::Result<()> {
    pleiad::init();
    let folder = env::args().nth(1).unwrap_or_else(|| "crates/pleiad-sched/src".to_owned());
    let entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    let files: Vec<PathBuf> =
        entries.iter().map(fs::DirEntry::path).filter(|path| path.is_file()).collect();

    let cluster = Cluster::local().await?;
    let shared = cluster.computation().workers(Workers::SharedProcess).setup(Tally::default, ());
    let cluster = shared.open().await?;

    let mut results = cluster.try_map(add, files.clone()).as_completed();
    while let Some(done) = results.next().await {
        let file = files[done.index].display();
        println!("{:>6} lines after {file}", done.result?);
    }

    let (lines, longest) = cluster.submit(total, ()).await?;
    println!("{lines:>6} lines in all; the longest: {}", longest.trim());
    cluster.close().await;
    Ok(())
}

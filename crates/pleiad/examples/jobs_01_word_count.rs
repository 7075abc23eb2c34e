//! Counts the words of many files: one job a file, on all cores.
//!
//! Shows a function that becomes a job, [`Cluster::try_map`] over many arguments, results as they
//! come, and failures that harm nothing but themselves.
//!
//! ```sh
//! cargo run --example jobs_01_word_count               # texts and sources below this folder
//! cargo run --example jobs_01_word_count -- FILE...
//! ```
//!
//! Prints a line for each file as soon as it is counted, and then the sum:
//!
//! ```text
//!    1081 words  ./ARCHITECTURE.md
//!     failed     ./broken.md: stream did not contain valid UTF-8
//!     ...
//! 113955 words in 123 files, 1 failed. The most frequent:
//!    3285  self
//!    3030  let
//!     ...
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use pleiad::Cluster;

/// The job. It runs in another process, so it takes its arguments by value.
fn count(file: PathBuf) -> io::Result<BTreeMap<String, usize>> {
    let mut counts = BTreeMap::new();
    for word in fs::read_to_string(file)?.split(|c: char| !c.is_alphabetic()) {
        if !word.is_empty() {
            *counts.entry(word.to_lowercase()).or_default() += 1;
        }
    }
    Ok(counts)
}

#[tokio::main]
async fn main() -> pleiad::Result<()> {
    // First thing in `main`: the workers are copies of this program, and begin here too.
    pleiad::init();

    let mut files: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    if files.is_empty() {
        find_texts(Path::new("."), &mut files)?;
    }

    let cluster = Cluster::local().await?;
    let mut results = cluster.try_map(count, files.clone()).as_completed();

    let mut total = BTreeMap::<String, usize>::new();
    let (mut counted, mut failed) = (0, 0);
    while let Some(done) = results.next().await {
        let file = files[done.index].display();
        match done.result {
            Ok(counts) => {
                println!("{:>7} words  {file}", counts.values().sum::<usize>());
                counted += 1;
                for (word, n) in counts {
                    *total.entry(word).or_default() += n;
                }
            }
            Err(error) => {
                println!("    failed     {file}: {}", error.kind);
                failed += 1;
            }
        }
    }
    cluster.close().await;

    let words: usize = total.values().sum();
    println!("{words} words in {counted} files, {failed} failed. The most frequent:");
    let mut ranking: Vec<_> = total.into_iter().collect();
    ranking.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    for (word, n) in ranking.iter().take(10) {
        println!("{n:>7}  {word}");
    }
    Ok(())
}

/// Adds the texts and sources below `folder`, without what cargo has built.
fn find_texts(folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (name, path) = (entry.file_name(), entry.path());
        let skipped = name == "target" || name.to_string_lossy().starts_with('.');
        if entry.file_type()?.is_dir() && !skipped {
            find_texts(&path, found)?;
        } else if path.extension().is_some_and(|kind| kind == "rs" || kind == "md") {
            found.push(path);
        }
    }
    Ok(())
}

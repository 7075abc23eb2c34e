//! Sorts a file in pieces: split, sort each piece, merge, check.
//!
//! Shows jobs that wait for other jobs ([`Submit::after`]), functions and
//! programs in one pipeline, and what a failure does to those that wait for it. Everything is
//! handed in at once; nobody has to wait between the steps.
//!
//! ```sh
//! cargo run --example jobs_07_pipeline                 # sorts the Cargo.lock of this folder
//! cargo run --example jobs_07_pipeline -- FILE
//! ```
//!
//! ```text
//! 1 split, 4 sorts, 1 merge and 1 check are handed in
//! sorted 882 lines of Cargo.lock, from "" to "version = 4"
//! and without the file:
//!   job-8 (split): No such file or directory (os error 2)
//!   job-13 (merge): job-9, which it waits for, did not succeed because of job-8 (split): No such
//!   file or directory (os error 2)
//! ```

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use pleiad::{Cluster, Job, Program, ProgramOutput, Submit, SubmitError};

const PIECES: usize = 4;

/// The first step: deals the lines of a file out to the pieces.
fn split(file: PathBuf, folder: PathBuf) -> io::Result<()> {
    let mut pieces = [const { String::new() }; PIECES];
    for (line, text) in fs::read_to_string(file)?.lines().enumerate() {
        pieces[line % PIECES] += text;
        pieces[line % PIECES] += "\n";
    }
    for (i, piece) in pieces.iter().enumerate() {
        fs::write(folder.join(format!("piece-{i}")), piece)?;
    }
    Ok(())
}

/// The last step: how many lines there are, the first and the last.
fn check(file: PathBuf) -> Result<(usize, String, String), String> {
    let text = fs::read_to_string(file).map_err(|e| e.to_string())?;
    let lines: Vec<&str> = text.lines().collect();
    match &lines[..] {
        [first, .., last] if lines.is_sorted() => {
            Ok((lines.len(), first.to_string(), last.to_string()))
        }
        _ => Err("not sorted".to_owned()),
    }
}

/// The first and the last job that change files.
struct Pipeline {
    split: Job<()>,
    merge: Job<ProgramOutput>,
}

/// Hands in a pipeline that sorts `file` into `folder/sorted`.
async fn sort(cluster: &Cluster, file: &Path, folder: &Path) -> Result<Pipeline, SubmitError> {
    let arguments = (file.to_owned(), folder.to_owned());
    let split = cluster.try_submit(split, arguments).name("split").start().await?;

    let sort = Program::new("sort").env("LC_ALL", "C").workdir(folder);
    let mut sorts = Vec::new();
    for piece in piece_names() {
        let sort = sort.clone().args(["-o", &piece, &piece]);
        sorts.push(cluster.run(sort).name(piece).after(&split).start().await?);
    }

    let merge = sort.arg("-m").args(piece_names()).stdout_file(folder.join("sorted"));
    let merge = cluster.run(merge).name("merge");
    let merge = sorts.iter().fold(merge, Submit::after);
    Ok(Pipeline { split, merge: merge.start().await? })
}

#[tokio::main]
async fn main() -> pleiad::Result<()> {
    pleiad::init();
    let file = env::args().nth(1).unwrap_or_else(|| "Cargo.lock".to_owned());
    let folder = tempfile::tempdir()?;
    let cluster = Cluster::local().await?;

    let pipeline = sort(&cluster, Path::new(&file), folder.path()).await?;
    let check = cluster.try_submit(check, (folder.path().join("sorted"),)).after(&pipeline.merge);
    println!("1 split, {PIECES} sorts, 1 merge and 1 check are handed in");
    let (lines, first, last) = check.await?;
    println!("sorted {lines} lines of {file}, from {first:?} to {last:?}");

    println!("and without the file:");
    let broken = sort(&cluster, Path::new("no such file"), folder.path()).await?;
    for error in [broken.split.await.err(), broken.merge.await.err()].into_iter().flatten() {
        println!("  {error}");
    }

    cluster.close().await;
    Ok(())
}

fn piece_names() -> impl Iterator<Item = String> {
    (0..PIECES).map(|i| format!("piece-{i}"))
}

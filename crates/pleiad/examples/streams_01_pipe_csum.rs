//! Feeds a file to a program that computes a checksum, in two ways, and compares the sums.
//!
//! Shows [`Pipeline`] with `communicate`, which does it all, and the same with a task that writes
//! and a task that reads: a pipe holds little, so whoever only writes, and whoever only reads, may
//! wait for ever.
//!
//! ```sh
//! cargo run --example streams_01_pipe_csum                    # Cargo.lock, by sha1sum
//! cargo run --example streams_01_pipe_csum -- FILE PROGRAM    # for example /usr/bin/ls, and cksum
//! ```
//!
//! ```text
//! communicate:  3c0e84d24c67e25c7727c2e0a727ee59965a3a84
//! two tasks:    3c0e84d24c67e25c7727c2e0a727ee59965a3a84
//! the sums are equal
//! ```

use std::env;
use std::time::Duration;

use pleiad::io::Pipeline;
use pleiad::{Error, spawn_future};
use tokio::fs::File;
use tokio::io::AsyncReadExt;

#[tokio::main]
async fn main() -> pleiad::Result<()> {
    let mut args = env::args().skip(1);
    let file = args.next().unwrap_or_else(|| "Cargo.lock".to_owned());
    let program = args.next().unwrap_or_else(|| "sha1sum".to_owned());

    let first = by_communicate(&program, open(&file).await?).await?;
    println!("communicate:  {first}");

    let second = by_two_tasks(&program, open(&file).await?).await?;
    println!("two tasks:    {second}");

    if first != second {
        return Err(Error::msg("the sums differ"));
    }
    println!("the sums are equal");
    Ok(())
}

/// Writes, reads and waits for the end at the same time.
async fn by_communicate(program: &str, file: File) -> pleiad::Result<String> {
    let running = Pipeline::new(program).start().await?;
    let output = running.communicate(file).timeout(Duration::from_secs(60)).await?;
    // A program that fails is no error by itself. This is, and it tells what the program has said.
    output.check()?;
    Ok(sum(&output.text()))
}

/// The same by hand: one task for each end.
async fn by_two_tasks(program: &str, mut file: File) -> pleiad::Result<String> {
    let (mut stdin, mut stdout, mut running) = Pipeline::new(program).start().await?.split();

    // Its end drops `stdin`, and that is the end of the program's input.
    let writer = spawn_future(async move { tokio::io::copy(&mut file, &mut stdin).await });
    let reader = spawn_future(async move {
        let mut text = String::new();
        stdout.read_to_string(&mut text).await.map(|_| text)
    });

    // First what the program says: if it has failed, the writer has only found its pipe broken.
    let end = running.wait().await?;
    end.check()?;
    let written = writer.await?;
    written.map_err(|error| Error::msg(format!("{program} has not read it all: {error}")))?;
    Ok(sum(&reader.await??))
}

async fn open(file: &str) -> pleiad::Result<File> {
    File::open(file).await.map_err(|error| Error::msg(format!("cannot open {file}: {error}")))
}

/// Without the name of the file: from a pipe, it is only `-`.
fn sum(output: &str) -> String {
    output.trim_end().trim_end_matches('-').trim_end().to_owned()
}

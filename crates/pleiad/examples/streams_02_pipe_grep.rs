//! Writes a log into `grep | wc`, line by line, and reads what comes out at the end.
//!
//! Shows a [`Pipeline`] of two programs as one stream: what is written goes into the first, what is
//! read comes out of the last. And how to tell "nothing found" from "failed".
//!
//! ```sh
//! cargo run --example streams_02_pipe_grep                    # a log of its own
//! cargo run --example streams_02_pipe_grep -- PATTERN FILE    # for example tokio Cargo.lock
//! ```
//!
//! ```text
//! 10000 lines written
//! 1429 lines match "ERROR", of 8574 words and 42489 bytes
//! ```

use std::env;

use pleiad::Error;
use pleiad::io::{Lines, Pipeline, Running};
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

#[tokio::main]
async fn main() -> pleiad::Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    match args.as_slice() {
        [] => count("ERROR", own_log().as_bytes()).await,
        [pattern, file] => match File::open(file).await {
            Ok(file) => count(pattern, file).await,
            Err(error) => Err(Error::msg(format!("cannot open {file}: {error}"))),
        },
        _ => Err(Error::msg("usage: streams_02_pipe_grep [PATTERN FILE]")),
    }
}

async fn count(pattern: &str, log: impl AsyncRead + Unpin) -> pleiad::Result<()> {
    let mut grep = Command::new("grep");
    grep.args(["-a", "-e", pattern]);
    // With 1, grep says that it has found nothing, which is no failure here.
    let mut running = Pipeline::new(grep).success_codes([0, 1]).pipe("wc").start().await?;

    // `wc` writes nothing before the end of its input. Of programs that answer each line, somebody
    // would have to read meanwhile.
    let written = write_lines(&mut running, log).await;
    let mut counts = String::new();
    running.read_to_string(&mut counts).await?;

    // Before the writer's error: that only tells that its pipe was broken.
    running.wait().await?.check()?;
    println!("{} lines written", written?);

    let counts: Vec<&str> = counts.split_whitespace().collect();
    let [lines, words, bytes] = counts[..] else {
        return Err(Error::msg(format!("wc has not written three numbers but {counts:?}")));
    };
    println!("{lines} lines match {pattern:?}, of {words} words and {bytes} bytes");
    Ok(())
}

/// Gives how many lines there were.
async fn write_lines(running: &mut Running, log: impl AsyncRead + Unpin) -> pleiad::Result<u64> {
    let mut lines = Lines::new(log);
    let mut count = 0;
    while let Some(line) = lines.next_bytes().await? {
        running.write_all(&line).await?;
        running.write_all(b"\n").await?;
        count += 1;
    }
    // The end of grep's input, and so of grep, and so of wc's.
    running.shutdown().await?;
    Ok(count)
}

/// A log of ten thousand requests, every seventh of which went wrong.
fn own_log() -> String {
    let line = |n: u32| {
        let level = if n.is_multiple_of(7) { "ERROR" } else { "INFO" };
        format!("{level} request {n} took {} ms\n", n * n % 97)
    };
    (0..10_000).map(line).collect()
}

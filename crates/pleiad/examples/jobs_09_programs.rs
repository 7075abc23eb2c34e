//! Runs programs as jobs: with files and bytes as their input, and with all that can go wrong.
//!
//! Shows [`Program`], [`Cluster::run`] for one and [`Cluster::run_all`] for many, exit statuses
//! and what stands on standard error, and retries.
//!
//! ```sh
//! cargo run --example jobs_09_programs                 # the sources of these examples
//! cargo run --example jobs_09_programs -- FILE...
//! ```
//!
//! ```text
//! fingerprints:
//!   4be65d4c2b26...  crates/pleiad/examples/jobs_01_word_count.rs
//!   exit status 1
//!     sha256sum: 'no such file': No such file or directory
//! ...
//! sort, fed with bytes: apple, fig, plum
//! grep found nothing, which is no failure: exit status 1
//! succeeded at attempt 3
//! ```

use std::{env, fs};

use pleiad::{Backoff, Cluster, Program};

#[tokio::main]
async fn main() -> pleiad::Result<()> {
    pleiad::init();
    let mut files: Vec<String> = env::args().skip(1).collect();
    if files.is_empty() {
        for entry in fs::read_dir("crates/pleiad/examples")? {
            files.push(entry?.path().display().to_string());
        }
        files.sort();
    }
    let cluster = Cluster::local().await?;

    // Many: one program a file, as many at once as there are cores. The last one fails, alone.
    println!("fingerprints:");
    let all = files.iter().map(String::as_str).chain(["no such file"]);
    let programs: Vec<_> = all.map(|file| Program::new("sha256sum").args(["--", file])).collect();
    let mut results = cluster.run_all(programs).in_order();
    while let Some(done) = results.next().await {
        match done.result {
            Ok(output) => print!("  {}", output.stdout.text()?),
            // The exit status, and the last lines of standard error.
            Err(error) => println!("  {}", error.kind),
        }
    }

    // A file as standard input.
    println!("lines:");
    for file in &files {
        let output = cluster.run(Program::new("wc").arg("-l").stdin_file(file)).await?;
        println!("  {:>5}  {file}", output.stdout.text()?.trim());
    }

    // Bytes as standard input.
    let output = cluster.run(Program::new("sort").stdin_bytes("plum\nfig\napple\n")).await?;
    println!("sort, fed with bytes: {}", output.stdout.text()?.trim().replace('\n', ", "));

    // What counts as success is up to you: for grep, 1 means that there was no match.
    let grep = Program::new("grep").arg("fig").stdin_bytes("plum\n").success_codes([0, 1]);
    let output = cluster.run(grep).await?;
    println!("grep found nothing, which is no failure: {}", output.status);

    // What fails can be tried again. This one needs three attempts: it leaves a mark each time.
    let folder = tempfile::tempdir()?;
    let script = "echo x >> marks; test $(wc -l < marks) -ge 3";
    let moody = Program::new("sh").args(["-c", script]).workdir(folder.path());
    let output = cluster.run(moody).retries(5).backoff(Backoff::NONE).await?;
    println!("succeeded at {}", output.attempt);

    cluster.close().await;
    Ok(())
}

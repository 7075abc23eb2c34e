//! Reviews source files: objects go out to the workers, other objects come back.
//!
//! Shows your own types as arguments and results (all they need is serde), a method as the job, and
//! [`keep_output`](pleiad::ComputationBuilder::keep_output): what a job prints is kept and handed
//! over with its result, so that jobs which run at once do not talk across each other.
//!
//! ```sh
//! cargo run --example jobs_08_objects                  # these examples
//! cargo run --example jobs_08_objects -- FILE...
//! ```
//!
//! ```text
//! crates/pleiad/examples/jobs_02_monte_carlo.rs: 77 lines, 33 % comments, functions: hits, main, ...
//! crates/pleiad/examples/jobs_03_sweep.rs: 140 lines, 23 % comments, functions: search, main, ...
//!     line 54: let _ = job.send(&best);
//! ...
//! ```

use std::{env, fmt, fs, io};

use pleiad::Cluster;
use serde::{Deserialize, Serialize};

/// A reader should look twice at these.
const DOUBTFUL: [&str; 4] = ["TODO", "unsafe ", "unwrap()", "let _ = "];

/// What goes out.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Source {
    name: String,
    text: String,
}

/// What comes back.
#[derive(Debug, Serialize, Deserialize)]
struct Review {
    name: String,
    lines: usize,
    comments: usize,
    functions: Vec<String>,
}

impl Source {
    fn read(name: String) -> io::Result<Self> {
        Ok(Self { text: fs::read_to_string(&name)?, name })
    }

    /// The job. It prints what it wonders about.
    fn review(self) -> Review {
        let mut review = Review { name: self.name, lines: 0, comments: 0, functions: Vec::new() };
        for line in self.text.lines() {
            review.lines += 1;
            let code = line.trim_start().trim_start_matches("pub ").trim_start_matches("async ");
            if code.starts_with("//") {
                review.comments += 1;
            } else if let Some(rest) = code.strip_prefix("fn ") {
                let name = rest.split(['(', '<']).next().unwrap_or(rest);
                review.functions.push(name.to_owned());
            }
            if DOUBTFUL.iter().any(|doubtful| line.contains(doubtful)) {
                println!("line {}: {}", review.lines, line.trim());
            }
        }
        review
    }
}

impl fmt::Display for Review {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, lines, comments, functions } = self;
        let share = 100 * comments / lines.max(&1);
        write!(f, "{name}: {lines} lines, {share} % comments")?;
        write!(f, ", functions: {}", functions.join(", "))
    }
}

#[tokio::main]
async fn main() -> pleiad::Result<()> {
    pleiad::init();
    let mut names: Vec<String> = env::args().skip(1).collect();
    if names.is_empty() {
        for entry in fs::read_dir("crates/pleiad/examples")? {
            names.push(entry?.path().display().to_string());
        }
        names.sort();
    }
    let sources = names.into_iter().map(Source::read).collect::<io::Result<Vec<_>>>()?;

    let cluster = Cluster::local().await?.computation().keep_output().open().await?;
    let mut reviews = cluster.map(Source::review, sources).in_order();
    while let Some(done) = reviews.next().await {
        println!("{}", done.result?);
        if let Some(printed) = done.stdout {
            for line in printed.text()?.lines() {
                println!("    {line}");
            }
        }
    }
    cluster.close().await;
    Ok(())
}

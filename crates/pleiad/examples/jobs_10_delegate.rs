//! Jobs of several kinds by one function, one of which is a little server for as long as it runs.
//!
//! Shows an enum that says what is to be done, and messages in both directions between a job and
//! whoever has handed it in: [`Job::send`](pleiad::Job::send) and [`JobContext::recv`] to it,
//! [`JobContext::send`] and [`Job::messages`](pleiad::Job::messages) from it.
//!
//! ```sh
//! cargo run --example jobs_10_delegate                 # about the Cargo.lock of this folder
//! cargo run --example jobs_10_delegate -- FILE WORD...
//! ```
//!
//! ```text
//! Count("Cargo.lock"): 882 lines
//! Longest("Cargo.lock"): "checksum = \"29666d0abbfad1e3dc4dcf6144730dd3a3ab225bb...\""
//! an index of 271 words is ready
//! "tokio" occurs 6 times
//! "pleiad" occurs 10 times
//! Index("Cargo.lock"): 2 questions answered
//! ```

use std::collections::BTreeMap;
use std::time::Duration;
use std::{env, fs};

use pleiad::{Cluster, JobContext};
use serde::{Deserialize, Serialize};

/// What a job can be told to do, with a file.
#[derive(Debug, Clone, Serialize, Deserialize)]
enum Task {
    Count(String),
    Longest(String),
    Index(String),
}

/// To a running [`Task::Index`].
#[derive(Debug, Serialize, Deserialize)]
enum Question {
    HowOften(String),
    NoMore,
}

/// From a running [`Task::Index`].
#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Ready { words: usize },
    Occurs { word: String, times: usize },
}

/// The job: looks what is to be done, and does it.
fn perform(job: &JobContext, task: Task) -> pleiad::Result<String> {
    match task {
        Task::Count(file) => Ok(format!("{} lines", fs::read_to_string(file)?.lines().count())),
        Task::Longest(file) => {
            let text = fs::read_to_string(file)?;
            Ok(format!("{:?}", text.lines().max_by_key(|line| line.len()).unwrap_or_default()))
        }
        Task::Index(file) => answer_questions(job, &fs::read_to_string(file)?),
    }
}

/// Reads the text once, then answers what it is asked.
fn answer_questions(job: &JobContext, text: &str) -> pleiad::Result<String> {
    let mut index = BTreeMap::<&str, usize>::new();
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        *index.entry(word).or_default() += 1;
    }
    job.send(&Answer::Ready { words: index.len() })?;

    let mut answered = 0;
    while !job.should_stop() {
        match job.recv(Duration::from_secs(10))? {
            Some(Question::HowOften(word)) => {
                let times = index.get(word.as_str()).copied().unwrap_or_default();
                job.send(&Answer::Occurs { word, times })?;
                answered += 1;
            }
            Some(Question::NoMore) => break,
            None => return Err(pleiad::Error::msg("nobody has asked anything for too long")),
        }
    }
    Ok(format!("{answered} questions answered"))
}

#[tokio::main]
async fn main() -> pleiad::Result<()> {
    pleiad::init();
    let mut args = env::args().skip(1);
    let file = args.next().unwrap_or_else(|| "Cargo.lock".to_owned());
    let mut words: Vec<String> = args.collect();
    if words.is_empty() {
        words = vec!["tokio".to_owned(), "pleiad".to_owned()];
    }
    let cluster = Cluster::local().await?;

    for task in [Task::Count(file.clone()), Task::Longest(file.clone())] {
        println!("{task:?}: {}", cluster.try_submit(perform, (task.clone(),)).await?);
    }

    let task = Task::Index(file);
    let server = cluster.try_submit(perform, (task.clone(),)).start().await?;
    let mut answers = server.messages::<Answer>();
    let mut questions = words.into_iter();
    while let Some(answer) = answers.next().await {
        match answer? {
            Answer::Ready { words } => println!("an index of {words} words is ready"),
            Answer::Occurs { word, times } => println!("{word:?} occurs {times} times"),
        }
        let question = questions.next().map_or(Question::NoMore, Question::HowOften);
        server.send(&question).await?;
    }
    println!("{task:?}: {}", server.await?);

    cluster.close().await;
    Ok(())
}

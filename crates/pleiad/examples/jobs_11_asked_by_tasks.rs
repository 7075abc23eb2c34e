//! A desk that takes questions, and has them answered on all cores.
//!
//! Shows tasks and jobs together: a task talks, and never computes; a job computes, and never talks.
//! The desk starts a small task for each question, which waits for its job, so that the desk is
//! free for the next question at once. What it has done is published on a channel.
//!
//! ```sh
//! cargo run --release --example jobs_11_asked_by_tasks
//! ```
//!
//! ```text
//! below 30000 there are 3245 primes
//! below 10000 there are 1229 primes
//! below 20000 there are 2262 primes
//! below 13 nobody counts: I do not like 13
//! the desk has had 4 questions, the journal 4 lines, and 4 jobs were done
//! ```

use std::time::Duration;

use pleiad::{Channel, Cluster, JobError, Mailbox, Reply, WhenFull, spawn, spawn_future};

/// The job. Nothing in it knows of tasks.
fn primes_below(n: u64) -> Result<usize, String> {
    if n == 13 {
        return Err("I do not like 13".to_owned());
    }
    let is_prime = |n: &u64| (2..).take_while(|d| d * d <= *n).all(|d| !n.is_multiple_of(d));
    Ok((2..n).filter(is_prime).count())
}

struct Question {
    below: u64,
    reply: Reply<Result<usize, JobError>>,
}

/// The task. Nothing in it takes long.
async fn desk(mut mailbox: Mailbox<Question>, cluster: Cluster, journal: Channel<u64>) -> usize {
    let mut asked = 0;
    while let Some(Question { below, reply }) = mailbox.recv().await {
        asked += 1;
        let (cluster, journal) = (cluster.clone(), journal.clone());
        let answer = spawn_future(async move {
            let counted = cluster.try_submit(primes_below, (below,)).await;
            reply.send(counted);
            // Nobody needs to read the journal.
            let _ = journal.send(below);
        });
        // It goes on by itself.
        answer.detach();
    }
    asked
}

#[tokio::main]
async fn main() -> pleiad::Result<()> {
    pleiad::init();
    let cluster = Cluster::local().await?;
    let journal = Channel::new("journal");
    let mut lines = journal.stream(100, WhenFull::DropOldest);
    let task = spawn(|mailbox| desk(mailbox, cluster.clone(), journal));

    // All ask at the same time, and get their own answers.
    let ask = |below| {
        let asked = task.ask(move |reply| Question { below, reply });
        async move { (below, asked.timeout(Duration::from_secs(60)).await) }
    };
    let (one, two, three, four) = tokio::join!(ask(30_000), ask(10_000), ask(20_000), ask(13));
    for (below, answer) in [one, two, three, four] {
        match answer? {
            Ok(primes) => println!("below {below} there are {primes} primes"),
            Err(error) => println!("below {below} nobody counts: {}", error.kind),
        }
    }

    // The desk ends when nobody can ask any more, and with it the journal.
    let asked = task.await?;
    let mut written = 0;
    while lines.recv().await.is_some() {
        written += 1;
    }
    let done = cluster.status().await?.jobs;
    println!(
        "the desk has had {asked} questions, the journal {written} lines, and {} jobs were done",
        done.succeeded + done.failed
    );
    cluster.close().await;
    Ok(())
}

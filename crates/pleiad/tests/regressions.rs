//! What has gone wrong once, and must not again.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::process::ExitCode;
use std::time::Duration;

use common::{begun, builder, cluster, eventually, folder, parent_of, processes_with, signal};
use nix::sys::signal::Signal;
use pleiad::{Explanation, JobContext, JobState, Program};

fn main() -> ExitCode {
    pleiad::init();
    common::run(trials())
}

common::tests![
    news_of_a_dead_launcher_is_not_taken_for_news_of_the_next,
    a_job_that_is_given_back_keeps_its_messages,
    readers_of_messages_are_told_of_the_end,
];

/// The launcher of a program.
fn launcher_of(program: i32) -> i32 {
    parent_of(parent_of(program).unwrap()).unwrap()
}

/// Goal: two programs, started by two launchers one after the other, are never mixed up.
/// Method: the output of the first has no end, because its reader sleeps, when the launcher dies.
async fn news_of_a_dead_launcher_is_not_taken_for_news_of_the_next() {
    let (builder, marker) = builder(2);
    let cluster = builder.start().await.unwrap();
    let (_dir, path) = folder();
    let script = "[ -e second ] && exit; touch second; yes";
    let endless = Program::new("sh").args(["-c", script]).workdir(&path).stream_output();
    let mut endless = cluster.run(endless).start().await.unwrap();
    let mut output = endless.output().unwrap();
    output.recv().await.unwrap();
    eventually("no more is taken", || output.len() == output.max_capacity()).await;

    let pipe = path.join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let reader = Program::new("sh").args(["-c", "read x < pipe; echo $x"]).workdir(&path);
    let reader = cluster.run(reader.env("MARKER", &marker)).start().await.unwrap();
    eventually("both run", || !processes_with(&marker).is_empty()).await;
    let first = processes_with(&marker)[0];
    signal(launcher_of(first), Signal::SIGKILL);
    let again = || processes_with(&marker).first().is_some_and(|second| *second != first);
    eventually("the second runs again", again).await;

    drop(output);
    assert_eq!(endless.completed().await.result.unwrap().attempt.0, 2);
    std::fs::write(pipe, "read by the second\n").unwrap();
    let output = reader.await.unwrap();
    assert_eq!(output.stdout.text().unwrap(), "read by the second\n");
}

/// Says that it has begun, and waits for a word: for so many milliseconds.
fn listen(job: &JobContext, millis: u64) -> Option<String> {
    job.send(&"begun".to_owned()).unwrap();
    job.recv(Duration::from_millis(millis)).unwrap()
}

/// Goal: what is sent to a job that stands behind another reaches it wherever it runs at last.
/// Method: the one before it holds the lane for so long that all behind it are asked back.
async fn a_job_that_is_given_back_keeps_its_messages() {
    let cluster = cluster(1).await;
    cluster.map(|_: u32| (), 0..100).await.unwrap();
    let first = cluster.submit(listen, (30_000,)).start().await.unwrap();
    begun(&first).await;
    let mut others = Vec::new();
    for n in 0..8 {
        let millis = if n == 0 { 500 } else { 30_000 };
        others.push(cluster.submit(listen, (millis,)).start().await.unwrap());
    }
    first.send(&"go on".to_owned()).await.unwrap();
    begun(&others[0]).await;
    let state = others[1].explain().await;
    assert!(matches!(state, Explanation::State(JobState::Queued { .. })), "{state}");
    for word in ["one", "two"] {
        others[1].send(&word.to_owned()).await.unwrap();
    }
    for job in others.iter().skip(2) {
        job.cancel().await;
    }
    assert_eq!(others.remove(0).await.unwrap(), None);
    assert_eq!(others.remove(0).await.unwrap().as_deref(), Some("one"));
}

/// Goal: nobody waits for messages that cannot come.
/// Method: two readers of one job when the cluster ends; and one of a map that is given up.
async fn readers_of_messages_are_told_of_the_end() {
    let cluster = cluster(1).await;
    let job = cluster.submit(listen, (30_000,)).start().await.unwrap();
    begun(&job).await;
    let (mut first, mut second) = (job.messages::<String>(), job.messages::<String>());
    let first = tokio::spawn(async move { first.next().await });
    let second = tokio::spawn(async move { second.next().await });
    let mut results =
        cluster.map(|job: &JobContext, millis| listen(job, millis), [30_000]).as_completed();
    let mut messages = results.messages::<String>();
    results.begin();
    drop(results);
    assert!(messages.next().await.is_none());
    drop((job, cluster));
    assert!(first.await.unwrap().is_none());
    assert!(second.await.unwrap().is_none());
}

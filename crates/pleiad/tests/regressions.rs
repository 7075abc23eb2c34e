//! What has gone wrong once, and must not again.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::process::ExitCode;

use common::{builder, eventually, folder, parent_of, processes_with, signal};
use nix::sys::signal::Signal;
use pleiad::Program;

fn main() -> ExitCode {
    pleiad::init();
    common::run(trials())
}

common::tests![news_of_a_dead_launcher_is_not_taken_for_news_of_the_next];

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

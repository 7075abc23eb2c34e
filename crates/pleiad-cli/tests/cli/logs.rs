//! Job logs, resuming, and results directories.

use std::fs;

use crate::support::{Ended, World, wait_until};

#[test]
fn a_job_log_is_what_gnu_parallel_writes() {
    let world = World::new();
    let script = "printf 12345; [ $1 != kill ] || kill -9 $$; exit $1";
    let ended =
        world.run(["--joblog", "log", "-j", "1", "sh", "-c", script, "_", ":::", "0", "3", "kill"]);
    assert_eq!(ended.code, 1);
    let log = world.read("log");
    let lines: Vec<Vec<&str>> = log.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(
        lines[0].join(" "),
        "Seq Host Starttime JobRuntime Send Receive Exitval Signal Command"
    );
    let of_job = |job: usize| [lines[job][0], lines[job][5], lines[job][6], lines[job][7]];
    assert_eq!(of_job(1), ["1", "5", "0", "0"]);
    assert_eq!(of_job(2), ["2", "5", "3", "0"]);
    assert_eq!(of_job(3), ["3", "5", "0", "9"]);
    assert_eq!(lines[3][8], format!("sh -c '{script}' _ kill"));
    assert_eq!(lines.len(), 4);
}

#[test]
fn resuming_runs_only_what_is_missing_or_failed() {
    let world = World::new();
    // Fails until there is a file of its name.
    let words = ["--joblog", "log", "--shell", "echo {} >> ran; [ -e {} ]", ":::", "a", "b c", "d"];
    world.write("a", "");
    let first = world.run(words);
    first.failed(
        1,
        [
            "2 of 3 jobs failed",
            "run --resume-failed --joblog log --shell 'echo {} >> ran; [ -e {} ]' ::: a 'b c' d",
        ],
    );
    world.write("ran", "");
    world.write("b c", "");
    world.run(["--resume"].iter().chain(&words)).failed(0, ["3 left out"]);
    assert_eq!(world.read("ran"), "");
    let again = world.run(["--resume-failed"].iter().chain(&words));
    again.failed(1, ["1 of 2 jobs failed, 1 left out"]);
    let ran = world.read("ran");
    assert!(ran.contains("b c\n") && ran.contains("d\n") && !ran.contains('a'), "{ran}");
    // What is in the log is what a later run leaves out.
    let shown = world.run(["--dry-run", "--resume-failed"].iter().chain(&words));
    assert_eq!(shown.text(), "echo d >> ran; [ -e d ]\n");
    assert_eq!(world.read("log").lines().count(), 6);
}

#[test]
fn a_log_of_another_command_or_other_inputs_is_refused() {
    let world = World::new();
    world.write("a.txt", "");
    world.write("c.txt", "");
    let log = |words: &[&str]| world.run(["--joblog", "log"].iter().chain(words));
    log(&["--each", "*.txt", "--", "echo"]).succeeded();
    let before = world.read("log");
    log(&["--each", "*.txt", "--", "echo"])
        .failed(2, ["log has 2 jobs of an earlier run", "--resume"]);
    log(&["--resume", "--each", "*.txt", "--", "echo", "x"])
        .failed(2, ["another command", "echo a.txt", "echo x a.txt"]);
    assert_eq!(world.read("log"), before);
    // A new file moves the others to other numbers.
    world.write("b.txt", "");
    let ended = log(&["--resume", "--each", "*.txt", "--", "echo"]);
    ended.failed(2, ["its job 2 was\n    echo c.txt\n  and would be\n    echo b.txt"]);
    assert_eq!(ended.text(), "");
    assert_eq!(world.read("log"), before);
}

#[test]
fn a_damaged_log_loses_only_the_damaged_line() {
    let world = World::new();
    let words = ["--joblog", "log", "--resume", "echo", ":::", "a", "b", "c"];
    world.run(words).succeeded();
    let log = world.read("log");
    fs::write(world.path("log"), &log[..log.len() - 4]).unwrap();
    let ended = world.run(words);
    ended.failed(0, ["1 damaged line", "2 left out"]);
    assert_eq!(ended.text(), "c\n");
    assert_eq!(world.read("log").lines().count(), 4);
}

#[test]
fn a_log_of_gnu_parallel_can_be_resumed() {
    let world = World::new();
    world.write(
        "log",
        "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n\
         2\t:\t1795578485.422\t     0.003\t0\t2\t0\t0\techo b\n",
    );
    let ended = world.run(["--resume", "--joblog", "log", "echo", ":::", "a", "b", "c"]);
    assert_eq!(ended.text(), "a\nc\n");
}

#[test]
fn results_are_files_with_a_status_beside_them() {
    let world = World::new();
    let script = "echo out $1; echo err $1 >&2; exit $1";
    let ended = world.run(["--results", "res", "sh", "-c", script, "_", ":::", "0", "7"]);
    ended.failed(1, ["exit status 7", "| err 7", "all of its output: ", "res/2"]);
    assert_eq!(ended.text(), "");
    assert_eq!(world.read("res/1/stdout"), "out 0\n");
    assert_eq!(world.read("res/2/stderr"), "err 7\n");
    let status: serde_json::Value = serde_json::from_str(&world.read("res/2/status.json")).unwrap();
    assert_eq!(status["exit"], 7);
    assert_eq!(status["outcome"], "failed");
    assert_eq!(fs::read_dir(world.path("res")).unwrap().count(), 2);
    assert_eq!(fs::read_dir(world.path("res/1")).unwrap().count(), 3);
}

#[test]
fn results_in_another_directory_than_the_jobs() {
    let world = World::new();
    let ended =
        world.run(["--results", "res", "--json", "--workdir", "/", "pwd", "-P", "{n}", ":::", "x"]);
    assert_eq!(world.read("res/1/stdout"), "/\n");
    let job: serde_json::Value = serde_json::from_str(ended.succeeded()).unwrap();
    assert!(job["results"].as_str().unwrap().ends_with("res/1"));
    assert_eq!(job.get("stdout"), None);
}

#[test]
fn lines_are_logged_only_when_they_are_written() {
    let world = World::new();
    let script = "seq 20000";
    let mut command = world.pleiad(["run", "--line-buffer", "--joblog", "log", "-j", "1"]);
    command.args(["--array", "1-3", "--", "sh", "-c", script]);
    let child = command.spawn().unwrap();
    wait_until("the log", || world.path("log").exists());
    assert_eq!(world.read("log").lines().count(), 1, "nobody has read anything");
    assert_eq!(Ended::of(child).stdout.len(), 3 * 108_894);
    assert_eq!(world.read("log").lines().count(), 4);
}

#[test]
fn many_jobs_are_left_out_without_losing_one_behind_them() {
    let world = World::new();
    let run = |more: &[&str]| {
        let words = ["-j", "4", "--joblog", "log", "--array", "1-600"];
        world.run([more, &words, &["--", "echo"]].concat())
    };
    assert_eq!(run(&[]).text().lines().count(), 600);
    let log = world.read("log");
    let kept = |line: &&str| !line.starts_with("600\t");
    world
        .write("log", log.lines().filter(kept).map(|line| format!("{line}\n")).collect::<String>());
    assert_eq!(run(&["--resume"]).text(), "600\n");
}

//! Failures, limits, retries, and the exit status.

use std::time::Instant;

use crate::support::World;

#[test]
fn the_exit_status_tells_how_the_jobs_ended() {
    let world = World::new();
    for (words, code) in [
        (&["true", ":::", "a", "b"][..], 0),
        (&["sh", "-c", "exit $1", "_", ":::", "0", "3"], 1),
        (&["sh", "-c", "kill -9 $$", "_", ":::", "a"], 1),
        (&["--limit", "0.1", "sleep", ":::", "0", "1000"], 124),
        (
            &["--limit", "0.1", "-j", "2", "sh", "-c", "sleep $1; exit 1", "_", ":::", "0", "1000"],
            1,
        ),
    ] {
        assert_eq!(world.run(words).code, code, "{words:?}");
    }
}

#[test]
fn each_failure_is_told_with_its_end_and_its_last_lines() {
    let world = World::new();
    let script =
        "for i in 1 2 3 4 5 6 7; do echo line $i >&2; done; [ $1 = 9 ] && kill -9 $$; exit $1";
    let ended = world.run(["sh", "-c", script, "_", ":::", "0", "3", "9"]);
    ended.failed(
        1,
        [
            "2 of 3 jobs failed",
            "\njob 2: sh -c '",
            "' _ 3\n  exit status 3 after ",
            "  | line 3\n  | line 4\n  | line 5\n  | line 6\n  | line 7\n\njob 3: ",
            "  killed by signal 9 (SIGKILL) after ",
            "with --resume-failed only what has not succeeded",
        ],
    );
}

#[test]
fn the_first_twenty_failures_are_told_and_the_rest_counted() {
    let world = World::new();
    let ended = world.run(["--array", "1-30", "--joblog", "log", "--", "false"]);
    ended.failed(1, ["30 jobs failed", "… and 10 more; see the job log"]);
    assert_eq!(ended.stderr.matches("exit status 1").count(), 20);
}

#[test]
fn a_command_that_is_told_can_be_run_again_as_it_is() {
    let world = World::new();
    world.write("in put", "data\n");
    let script = r#"read x; echo "$x $A $PWD" >> /dev/stderr; exit 1"#;
    let ended = world.run([
        "--stdin-each",
        "--env",
        "A=1 2",
        "--workdir",
        "/",
        "sh",
        "-c",
        script,
        ":::",
        world.path("in put").to_str().unwrap(),
    ]);
    ended.failed(1, ["| data 1 2 /"]);
    let (_, command) = ended.stderr.split_once("job 1: ").unwrap();
    let command = command.lines().next().unwrap();
    let again = world.bash(&format!("( {command} ) 2>&1; true"));
    assert_eq!(String::from_utf8(again).unwrap(), "data 1 2 /\n");
}

#[test]
fn many_jobs_at_once_raise_the_limit_of_open_files_but_for_themselves() {
    let world = World::new();
    // Each job waits for the last of them.
    let job = "ulimit -n; touch {n}; while ! [ -e 300 ]; do sleep 0.2; done";
    let pleiad = env!("CARGO_BIN_EXE_pleiad");
    let out = world.bash(&format!(
        "ulimit -Sn 128; {pleiad} run -j 300 --limit 60 --array 1-300 --shell -- '{job}'"
    ));
    assert_eq!(String::from_utf8(out).unwrap(), "128\n".repeat(300));
}

#[test]
fn more_jobs_at_once_than_open_files_allow_are_refused() {
    let world = World::new();
    let ended = |words: &str| {
        let pleiad = env!("CARGO_BIN_EXE_pleiad");
        let run = format!("ulimit -n 64; {pleiad} run {words} 2>&1; echo $?");
        String::from_utf8(world.bash(&run)).unwrap()
    };
    let text = ended("-j 30 sleep ::: 1");
    assert!(text.contains("no more than -j 20, or raise the limit"), "{text}");
    assert!(text.ends_with("\n2\n"), "{text}");
    assert_eq!(ended("-j 20 --array 1-60 --shell -- 'sleep 0.3 # {n}'"), "0\n");
    assert_eq!(ended("-j 40 --results out --array 1-80 --shell -- 'sleep 0.3 # {n}'"), "0\n");
}

#[test]
fn a_failed_job_is_tried_again() {
    let world = World::new();
    // Succeeds at the third try.
    let script = "echo x >> tries; echo try $(wc -l < tries); [ $(wc -l < tries) = 3 ]";
    let ended = world.run([
        "--retries",
        "5",
        "--backoff",
        "10ms",
        "--json",
        "sh",
        "-c",
        script,
        ":::",
        "a",
    ]);
    let job: serde_json::Value = serde_json::from_str(ended.succeeded()).unwrap();
    assert_eq!(job["attempts"], 3);
    assert_eq!(job["stdout"], "try 3\n", "only the last attempt is told");
    let ended = world.run(["--retries", "1", "--backoff", "10ms", "false", ":::", "a"]);
    ended.failed(1, ["exit status 1 after", ", 2 attempts"]);
}

#[test]
fn the_first_failure_stops_everything_when_asked_for() {
    let world = World::new();
    let start = Instant::now();
    // The first job would run for ever, and there would be no end of others.
    let script = "[ $1 = 1 ] && sleep 1000; [ $1 = 20 ] && exit 5; true";
    let words = [
        "--fail-fast",
        "--joblog",
        "log",
        "-j",
        "2",
        "--array",
        "1-1000000000",
        "--",
        "sh",
        "-c",
        script,
        "_",
    ];
    let ended = world.run(words);
    ended.failed(1, ["stopped at the first failure", "job 20: ", "exit status 5", " stopped, in "]);
    assert!(start.elapsed().as_secs() < 30);
    let log = world.read("log");
    assert!(!log.contains("\n1\t"), "a job that was stopped is not in the log");
    assert!(log.contains("\n20\t"));
}

#[test]
fn a_job_over_its_limit_is_ended_with_all_that_it_started() {
    let world = World::new();
    let path = world.path("x");
    let script = "sh -c 'sleep 1000; :' $1 & echo partial; sh -c 'trap \"\" INT TERM; touch up; sleep 1000; :' $1; :";
    let ended =
        world.run(["--limit", "0.5", "sh", "-c", script, "_", ":::", path.to_str().unwrap()]);
    ended.failed(124, ["reached its limit of 500 ms"]);
    assert_eq!(ended.text(), "partial\n");
    assert_eq!(world.processes(), [""; 0]);
}

#[test]
fn a_job_cannot_have_more_memory_than_it_asked_for() {
    let world = World::new();
    let eat = "python3 -c 'x = bytearray(400 << 20)' 2>&1 | tail -1 # {}";
    let ended = world.run(["--memory", "200M", "--shell", eat, ":::", "a"]);
    assert_eq!(ended.text(), "MemoryError\n", "{}", ended.stderr);
}

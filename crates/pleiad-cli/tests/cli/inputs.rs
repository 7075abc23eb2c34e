//! Where values come from, and what the command makes of them.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::thread;

use crate::support::{Ended, World, memory_max, wait_until};

#[test]
fn values_come_from_files_lines_numbers_and_lists() {
    let world = World::new();
    world.write("b.txt", "");
    world.write("a.txt", "");
    world.write("names", "x y\nz\n");
    for (words, expected) in [
        (&["--each", "*.txt", "--", "echo"][..], "a.txt\nb.txt\n"),
        (&["--each", "b.txt", "a.txt", "--", "echo"], "b.txt\na.txt\n"),
        (&["--each", "{b,a}.txt", "--", "echo", "{.}"], "b\na\n"),
        (&["--lines", "names", "--", "echo", "<{}>"], "<x y>\n<z>\n"),
        (&["--lines", "names", "echo", "{n}"], "1\n2\n"),
        (&["--array", "1-10:4", "--", "echo"], "1\n5\n9\n"),
        (&["--array", "3,1-2", "--", "echo"], "3\n1\n2\n"),
        (&["echo", "-n", "-e", r"{}\t", ":::", "a", "b"], "a\tb\t"),
        (&[":::", "a", "b", "--", "echo", "-"], "- a\n- b\n"),
        (&["echo", "{2}{1}", ":::", "a", ":::", "1", "2"], "1a\n2a\n"),
        (&["-I", "%", "echo", "%", "{}", "{foo}", ":::", "a"], "a {} {foo}\n"),
        (&["--env", "A=1", "--shell", "echo $A {}", ":::", "it's"], "1 it's\n"),
        (&["--env-clear", "--env", "A=1", "/usr/bin/env", "B=2", ":::", "C=3"], "A=1\nB=2\nC=3\n"),
        (&["--workdir", "/", "pwd", "-P", "{n}", ":::", "x"], "/\n"),
    ] {
        let ended = world.run(words);
        assert_eq!((ended.code, ended.text()), (0, expected), "{words:?}: {}", ended.stderr);
    }
}

#[test]
fn standard_input_of_jobs_is_empty_unless_it_is_asked_for() {
    let world = World::new();
    world.write("a", "one\n");
    assert_eq!(world.run_with(b"secret", ["cat", ":::", "/dev/stdin"]).succeeded(), "");
    assert_eq!(world.run(["--stdin-each", "cat", ":::", "a", "a"]).succeeded(), "one\none\n");
    let missing = world.run(["--stdin-each", "cat", ":::", "a", "nowhere"]);
    missing.failed(1, ["job 2: cat < nowhere", "No such file"]);
    assert_eq!(missing.text(), "one\n");
}

#[test]
fn closed_streams_do_no_harm() {
    let world = World::new();
    let pleiad = env!("CARGO_BIN_EXE_pleiad");
    for (closed, expected) in [("<&-", "a\n"), ("2>&-", "a\n"), (">&-", ""), ("<&- >&- 2>&-", "")] {
        let out = world.bash(&format!("{pleiad} run echo ::: a {closed}"));
        assert_eq!(out, expected.as_bytes(), "{closed}");
    }
}

/// Goal: no value is lost where one group of values ends and the next begins.
/// Method: numbers of values around the sizes of groups, from each kind of source.
#[test]
fn no_value_is_lost_between_groups() {
    let world = World::new();
    for count in [1, 255, 256, 257, 513, 1025] {
        let numbers: Vec<String> = (1..=count).map(|n| n.to_string()).collect();
        let lines = numbers.join("\n") + "\n";
        world.write("numbers", &lines);
        let array = format!("1-{count}");
        let listed: Vec<&str> =
            ["echo", ":::"].into_iter().chain(numbers.iter().map(String::as_str)).collect();
        for words in [
            vec!["-j", "600", "--lines", "numbers", "--", "echo"],
            vec!["--array", &array, "--", "echo"],
            [vec!["-j", "300"], listed].concat(),
        ] {
            let ended = world.run(&words);
            assert_eq!(
                (ended.code, ended.text()),
                (0, lines.as_str()),
                "{count}: {}",
                &words[..4].join(" ")
            );
        }
    }
}

/// Goal: a million values from a pipe take no more memory than a few.
/// Method: the most memory of the process is read when all values have passed, before it ends.
#[test]
fn a_million_lines_pass_in_bounded_memory() {
    const LINES: usize = 1_000_000;
    let world = World::new();
    let mut command = world.pleiad(["run", "--dry-run", "--lines", "-", "--", "echo"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let writer = thread::spawn(move || {
        let lines = "a line of some length, as a path may have\n".repeat(1000);
        for _ in 0..LINES / 1000 {
            stdin.write_all(lines.as_bytes()).unwrap();
        }
        stdin
    });
    let mut line = String::new();
    // The last lines come only when the input ends.
    for _ in 0..LINES - 2000 {
        line.clear();
        assert_ne!(stdout.read_line(&mut line).unwrap(), 0);
    }
    let memory = memory_max(&child);
    drop(writer.join().unwrap());
    assert_eq!(stdout.lines().count(), 2000);
    Ended::of(child).succeeded();
    assert!(memory < 32 << 20, "{memory} bytes");
}

#[test]
fn thousands_of_jobs_from_a_pipe_keep_their_order() {
    let world = World::new();
    let numbers: String = (1..=2000).map(|n| format!("{n}\n")).collect();
    let ended = world.run_with(numbers.as_bytes(), ["--lines", "-", "echo"]);
    assert_eq!(ended.succeeded(), numbers);
}

#[test]
fn jobs_start_before_the_pipe_has_ended() {
    let world = World::new();
    let mut command = world.pleiad(["run", "--lines", "-", "touch"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"first\n").unwrap();
    world.wait_for_file("first");
    assert!(child.try_wait().unwrap().is_none());
    drop(stdin);
    Ended::of(child).succeeded();
}

#[test]
fn as_many_jobs_run_at_once_as_there_is_room_for() {
    let world = World::new();
    // Each job waits until it has seen as many others as are to run at once.
    let meet = "touch here-$1; until [ $(ls here-* | wc -l) -ge 4 ]; do sleep 0.01; done";
    let ended = world.run(["-j", "4", "sh", "-c", meet, "_", ":::", "a", "b", "c", "d"]);
    assert_eq!(ended.succeeded(), "");
    // With one at a time, each sees only what the ones before it have left.
    let ended =
        world.run(["-j", "1", "--cpus", "0.5", "--shell", "ls | wc -l; touch {}", ":::", "x", "y"]);
    assert_eq!(ended.succeeded(), "4\n5\n");
}

#[test]
fn no_values_are_no_error() {
    let world = World::new();
    let ended = world.run(["--lines", "-", "--", "false"]);
    ended.failed(0, ["there were no values"]);
    wait_until("nothing", || world.processes().is_empty());
}

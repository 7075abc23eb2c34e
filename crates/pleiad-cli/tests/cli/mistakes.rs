//! Every mistake gets one message that says what to do, and loses nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::World;

#[test]
fn a_wrong_command_line_runs_nothing_and_exits_with_2() {
    let world = World::new();
    world.write("script", "#!/bin/sh\n");
    world.write("a.txt", "");
    for (words, message) in [
        (&["echo"][..], "there is nothing to run over"),
        (&["--array", "1-2"], "there is no program to run"),
        (&["--each", "a.txt", "touch", "ran"], "write -- between"),
        (&["--each", "*.png", "--", "touch", "ran"], "no file matches '*.png': looked in /"),
        (&["--each", "~/no/*.png", "--", "touch", "ran"], "~ inside quotes"),
        (&["--lines", "nowhere", "touch", "ran"], "cannot read the values from nowhere: No such"),
        (&["touch", "{ran}", ":::", "a"], "{ran} is not a placeholder"),
        (&["touch", "{2}", ":::", "a"], "there is only one source"),
        (&["touch", "x{}", ":::", "a", ":::", "b"], "say which, such as {1}"),
        (&["--shell", "touch '{}'", ":::", "ran"], "without quotes around it"),
        (&["nosuchprogram", ":::", "a"], "there is no program nosuchprogram"),
        (&["./script", ":::", "a"], "script is not executable"),
        (&["touch ran; true", ":::", "a"], "add --shell"),
        (&["touch", "ran", ":::"], "::: has no values"),
        (&["--lines", "a.txt", "touch", "ran", ":::", "a"], "--lines and :::"),
        (&["-j", "0", "touch", "ran", ":::", "a"], "from 1 to 10000"),
        (&["-j", "-1", "touch", "ran", ":::", "a"], "from 1 to 10000"),
        (&["--cpus", "100000", "touch", "ran", ":::", "a"], "say with -j"),
        (&["--memory", "1000T", "touch", "ran", ":::", "a"], "ask for less"),
        (&["--array", "5-1", "touch", "ran"], "5-1 is empty"),
        (&["--array", "1-10:0", "touch", "ran"], "step of 0"),
        (&["--limit", "-1s", "touch", "ran", ":::", "a"], "expected a time"),
        (&["--resume", "touch", "ran", ":::", "a"], "--joblog"),
        (&["--workdir", "nowhere", "touch", "ran", ":::", "a"], "cannot run jobs in nowhere"),
        (&["--joblog", "/nowhere/log", "touch", "ran", ":::", "a"], "cannot open the job log"),
        (&["--joblog", "script", "touch", "ran", ":::", "a"], "script is not a job log"),
        (&["--results", "script", "touch", "ran", ":::", "a"], "cannot write results into script"),
        (&["--results", "/proc/x", "touch", "ran", ":::", "a"], "cannot write results into /proc"),
        (&["--nosuchoption", "touch", "ran", ":::", "a"], "--nosuchoption"),
        (&["--keep-order", "--line-buffer", "touch", "ran", ":::", "a"], "cannot be used with"),
    ] {
        let ended = world.run(words);
        ended.failed(2, [message]);
        assert_eq!(ended.text(), "", "{words:?}");
    }
    assert_eq!(world.names(), ["a.txt", "script"]);
}

#[test]
fn what_cannot_be_started_is_the_failure_of_that_job_alone() {
    let world = World::new();
    world.write("ok", "#!/bin/sh\necho fine\n");
    world.write("garbage", "\u{1}\u{2}\u{3}");
    world.write("plain", "");
    world.write("orphan", "#!/nowhere/sh\n");
    for name in ["ok", "garbage", "orphan"] {
        fs::set_permissions(world.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let ended =
        world.run(["{}", ":::", "./ok", "./nowhere", "./plain", "./garbage", "./orphan", "./ok"]);
    ended.failed(
        1,
        [
            "4 of 6 jobs failed",
            "job 2: ./nowhere\n  cannot be started: no such program",
            "job 3: ./plain\n  cannot be started: it is not executable",
            "job 4: ./garbage\n  cannot be started: it is no program",
            "job 5: ./orphan\n  cannot be started: the interpreter that its first line names",
        ],
    );
    assert_eq!(ended.text(), "fine\nfine\n");
}

#[test]
fn a_value_that_no_argument_can_have_ends_the_reading_and_not_the_jobs() {
    let world = World::new();
    let ended = world.run_with(b"a\nb\0c\n", ["--lines", "-", "echo"]);
    ended.failed(1, ["line 2 of standard input has a NUL byte", "add -0"]);
    assert_eq!(ended.text(), "a\n");
    let ended = world.run_with(b"a\0b\0", ["--lines", "-", "echo"]);
    ended.failed(2, ["line 1 of standard input has a NUL byte"]);
}

#[test]
fn a_full_disk_ends_the_run_with_its_name() {
    let world = World::new();
    let pleiad = env!("CARGO_BIN_EXE_pleiad");
    let script =
        format!("{pleiad} run --joblog log --array 1-9 echo > /dev/full 2> errors; echo $?");
    assert_eq!(world.bash(&script), b"1\n");
    let errors = world.read("errors");
    assert!(errors.contains("cannot write to standard output: No space left"), "{errors}");
    assert_eq!(world.read("log").lines().count(), 1, "what was not printed is not in the log");

    let ended = world.run(["--joblog", "/dev/full", "echo", ":::", "a"]);
    ended.failed(2, ["cannot write to the job log /dev/full: No space left"]);
}

#[test]
fn a_directory_that_cannot_be_read_is_told_and_left_out() {
    let world = World::new();
    world.write("a/x", "");
    world.write("b/x", "");
    fs::set_permissions(world.path("a"), fs::Permissions::from_mode(0o000)).unwrap();
    // Who is root can read everything.
    let is_readable = fs::read_dir(world.path("a")).is_ok();
    let ended = world.run(["--each", "**/x", "--", "echo"]);
    fs::set_permissions(world.path("a"), fs::Permissions::from_mode(0o755)).unwrap();
    if !is_readable {
        ended.failed(0, ["cannot read directory a/"]);
        assert_eq!(ended.text(), "b/x\n");
    }
}

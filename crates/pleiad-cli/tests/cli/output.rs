//! What is printed, and when.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use crate::support::{Ended, World, memory_max};

#[test]
fn output_is_whole_and_in_the_order_of_the_values() {
    let world = World::new();
    // The first job ends last.
    let script = "echo a$1; until [ -e done-3 ] || [ $1 != 1 ]; do sleep 0.01; done; \
                  touch done-$1; echo b$1; echo e$1 >&2";
    let ended = world.run(["-j", "3", "sh", "-c", script, "_", ":::", "1", "2", "3"]);
    assert_eq!(ended.text(), "a1\nb1\na2\nb2\na3\nb3\n");
    assert_eq!(ended.stderr, "e1\ne2\ne3\n");
}

#[test]
fn lines_come_at_once_when_asked_for() {
    let world = World::new();
    let script = "echo first; until [ -e go ]; do sleep 0.01; done; printf last";
    let mut command = world.pleiad(["run", "--line-buffer", "--tag", "sh", "-c", script, "_"]);
    let mut child = command.args([":::", "a b"]).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "a b\tfirst\n");
    world.write("go", "");
    line.clear();
    stdout.read_to_string(&mut line).unwrap();
    assert_eq!(line, "a b\tlast\n");
    Ended::of(child).succeeded();
}

#[test]
fn each_line_may_begin_with_its_value() {
    let world = World::new();
    let ended = world.run(["--tag", "printf", "x\\ny%.0s", "{n}", ":::", "a", "b\nc"]);
    assert_eq!(ended.succeeded(), "a\tx\na\ty$'b\\nc'\tx\n$'b\\nc'\ty");
    let ended = world.run(["--tag", "printf", "%s%s\n", ":::", "a", ":::", "1"]);
    assert_eq!(ended.succeeded(), "a 1\ta1\n");
}

#[test]
fn a_reader_that_has_seen_enough_ends_the_run_quietly() {
    let world = World::new();
    let pleiad = env!("CARGO_BIN_EXE_pleiad");
    for run in [
        format!("{pleiad} run --array 1-1000000 -- echo"),
        format!("{pleiad} run --array 1-1000000 --line-buffer -- echo"),
        format!("{pleiad} run --array 1-1000000 --json -- true"),
        format!("{pleiad} run --array 1-1000000 --dry-run -- echo"),
        format!("{pleiad} run -j 2 sh -c 'yes $1; sleep 1000' _ ::: x y"),
    ] {
        // An endless job would print nothing at its turn: it has none.
        if run.contains("yes") {
            continue;
        }
        let script = format!("{run} 2> errors | head -1; echo ${{PIPESTATUS[0]}}");
        let out = String::from_utf8(world.bash(&script)).unwrap();
        let lines: Vec<_> = out.lines().collect();
        assert_eq!((lines.len(), lines[1]), (2, "141"), "{run}: {out}");
        assert_eq!(world.read("errors"), "", "{run}");
    }
}

#[test]
fn a_job_sees_a_closed_pipe_as_every_program_does() {
    let world = World::new();
    let ended = world.run(["--shell", "yes {} | head -1", ":::", "x"]);
    assert_eq!(ended.succeeded(), "x\n");
}

/// Goal: output beyond all memory limits passes through a file.
/// Method: the most memory is read when all has been printed, and before the last job may end.
#[test]
fn a_hundred_megabytes_of_output_pass_in_bounded_memory() {
    const BYTES: u64 = 100 << 20;
    let world = World::new();
    let script = format!(
        "[ $1 = big ] && head -c {BYTES} /dev/zero || until [ -e go ]; do sleep 0.01; done"
    );
    let mut command = world.pleiad(["run", "sh", "-c", &script, "_", ":::", "big", "wait"]);
    let mut child = command.spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut big = vec![0; 1 << 20];
    for _ in 0..BYTES >> 20 {
        stdout.read_exact(&mut big).unwrap();
    }
    let memory = memory_max(&child);
    world.write("go", "");
    assert_eq!(stdout.read(&mut big).unwrap(), 0);
    Ended::of(child).succeeded();
    assert!(memory < 40 << 20, "{memory} bytes");
}

/// Goal: results that wait for a slow job ahead of them are not kept in memory without end.
/// Method: the first of 250 jobs holds up 125 MB, of which 64 MiB may be in memory.
#[test]
fn output_behind_a_slow_job_waits_in_a_file() {
    const BIG: usize = 500_000;
    let world = World::new();
    let script = format!(
        "[ $1 != 1 ] || until [ -e go ]; do sleep 0.01; done; \
         [ $1 != 250 ] || touch all; printf %3d $1; head -c {BIG} /dev/zero"
    );
    let mut command = world.pleiad(["run", "--array", "1-250", "--", "sh", "-c", &script, "_"]);
    let mut child = command.spawn().unwrap();
    world.wait_for_file("all");
    let memory = memory_max(&child);
    world.write("go", "");
    let mut stdout = child.stdout.take().unwrap();
    let mut output = vec![0; 3 + BIG];
    for job in 1..=250 {
        stdout.read_exact(&mut output).unwrap();
        assert_eq!(output[..3], *format!("{job:3}").as_bytes());
    }
    Ended::of(child).succeeded();
    assert!(memory < 100 << 20, "{memory} bytes");
}

#[test]
fn json_has_one_object_for_each_job_and_loses_no_byte() {
    let world = World::new();
    let script = r"printf '\377%s' $1; echo 'é' >&2; [ $1 = a ] || exit 3";
    let ended = world.run(["--json", "sh", "-c", script, "_", ":::", "a", "b"]);
    ended.failed(1, ["job 2: sh", "exit status 3"]);
    let jobs: Vec<serde_json::Value> =
        ended.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(jobs.len(), 2);
    assert_eq!(jobs[0]["job"], 1);
    assert_eq!(jobs[0]["values"][0], "a");
    assert_eq!(jobs[0]["outcome"], "succeeded");
    assert_eq!(jobs[0]["stdout"]["base64"], "/2E=");
    assert_eq!(jobs[0]["stderr"], "é\n");
    assert_eq!(jobs[1]["outcome"], "failed");
    assert_eq!(jobs[1]["exit"], 3);
    assert!(jobs[1]["seconds"].as_f64().unwrap() > 0.0);
}

#[test]
fn nothing_is_drawn_where_there_is_no_terminal() {
    let world = World::new();
    assert_eq!(world.run(["--array", "1-50", "--", "true"]).succeeded(), "");
}

/// Goal: on a terminal there is a bar, which is gone at the end and never inside of output.
/// Method: `script` gives the program a terminal, and the test reads what was written to it.
#[test]
fn a_terminal_has_a_bar_that_goes_away() {
    let world = World::new();
    let pleiad = env!("CARGO_BIN_EXE_pleiad");
    let run = format!("{pleiad} run -j 1 sh -c 'echo out-$1; sleep 0.3' _ ::: a b c");
    let mut command = Command::new("script");
    command.args(["-qec", &run, "/dev/null"]).stdin(Stdio::null());
    let Ok(output) = command.output() else { return };
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("1 of 3 done, 1 running, 1 waiting"), "{text:?}");
    for line in ["out-a\r\n", "out-b\r\n", "out-c\r\n", "pleiad: 3 jobs done, in "] {
        assert_eq!(text.matches(line).count(), 1, "{text:?}");
    }
    let (_, end) = text.rsplit_once("out-c").unwrap();
    let (_, after_bar) = end.rsplit_once("\u{1b}[2K").expect("the bar is cleared");
    assert!(after_bar.trim_start().starts_with("pleiad: 3 jobs done"), "{end:?}");
    drop(world);
}

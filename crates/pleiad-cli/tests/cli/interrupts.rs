//! Ctrl-C, once and twice: nothing is lost, and nothing survives.

use std::io::Read;
use std::process::Child;
use std::time::Instant;

use crate::support::{Ended, World, signal, wait_until};

/// Ends when asked to, and says so.
const POLITE: &str = "trap 'echo bye-$2; exit 1' INT; touch up-$2; while :; do sleep 0.01; done";

/// Does not listen.
const STUBBORN: &str = "trap '' INT TERM HUP; touch up-$2; while :; do sleep 0.01; done";

#[test]
fn the_first_ctrl_c_stops_politely_and_keeps_what_has_finished() {
    let world = World::new();
    let script = format!("[ $2 != 1 ] || {{ echo first; exit 0; }}; {POLITE}");
    let child = start(&world, &["--joblog", "log"], &script);
    world.wait_for_file("up-3");
    signal(&child, "INT");
    let ended = Ended::of(child);
    ended.failed(
        130,
        [
            "asking the running jobs to stop; Ctrl-C again ends them at once",
            "interrupted: 1 job done, 2 stopped",
            "to run all that has not succeeded:\n  ",
            " run --resume-failed ",
        ],
    );
    assert_eq!(ended.text(), "first\n");
    let log = world.read("log");
    assert_eq!(log.lines().count(), 2, "{log}");
    assert!(log.lines().nth(1).unwrap().starts_with("1\t"));
    assert_eq!(world.processes(), [""; 0]);
}

#[test]
fn the_second_ctrl_c_ends_everything_at_once() {
    let world = World::new();
    let child = start(&world, &[], STUBBORN);
    world.wait_for_file("up-1");
    signal(&child, "INT");
    let mut child = child;
    let mut stderr = child.stderr.take().unwrap();
    let mut said = Vec::new();
    let mut byte = [0];
    while !said.ends_with(b"at once\n") {
        assert_eq!(stderr.read(&mut byte).unwrap(), 1);
        said.push(byte[0]);
    }
    signal(&child, "INT");
    let start = Instant::now();
    let ended = Ended::of(child);
    assert_eq!(ended.code, 130);
    assert!(start.elapsed().as_secs() < 2, "half of the polite way's time");
    wait_until("the end of all processes", || world.processes().is_empty());
}

#[test]
fn a_request_to_terminate_stops_politely_as_well() {
    let world = World::new();
    let child = start(&world, &[], POLITE);
    world.wait_for_file("up-1");
    signal(&child, "TERM");
    assert_eq!(Ended::of(child).code, 128 + 15);
    assert_eq!(world.processes(), [""; 0]);
}

#[test]
fn output_of_finished_jobs_comes_out_when_the_job_ahead_is_stopped() {
    let world = World::new();
    let script = format!("[ $2 = 1 ] || {{ echo out-$2; touch done-$2; exit 0; }}; {POLITE}");
    let child = start(&world, &["--joblog", "log", "-j", "2"], &script);
    world.wait_for_file("up-1");
    world.wait_for_file("done-10");
    signal(&child, "INT");
    let ended = Ended::of(child);
    assert_eq!(ended.code, 130);
    // Those that ended are printed in order, and exactly those are in the log.
    let printed: Vec<_> =
        ended.text().lines().map(|line| line.strip_prefix("out-").unwrap().to_owned()).collect();
    assert_eq!(printed[..8], ["2", "3", "4", "5", "6", "7", "8", "9"]);
    let log = world.read("log");
    let mut logged: Vec<_> =
        log.lines().skip(1).map(|line| line.split('\t').next().unwrap().to_owned()).collect();
    logged.sort_by_key(|number| number.parse::<u64>().unwrap());
    assert_eq!(logged, printed);
}

/// Goal: a reader that does not read cannot keep the program from being interrupted.
/// Method: nobody reads the output; the first Ctrl-C waits for it, the second does not.
#[test]
fn a_reader_that_does_not_read_holds_up_no_interrupt() {
    let world = World::new();
    let mut command = world.pleiad(["run", "--array", "1-10000", "--", "sh", "-c"]);
    command.args(["seq 20000; touch $2/done-$1", "_", "{}"]).arg(world.path(""));
    let mut child = command.spawn().unwrap();
    world.wait_for_file("done-9");
    signal(&child, "INT");
    // Then only the program itself is left.
    wait_until("the end of the jobs", || world.processes().len() == 1);
    assert_eq!(child.try_wait().unwrap(), None, "what has finished is not thrown away");
    let start = Instant::now();
    signal(&child, "INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(start.elapsed().as_secs() < 5);
}

#[test]
fn nothing_survives_when_pleiad_itself_is_killed() {
    let world = World::new();
    let child = start(&world, &[], STUBBORN);
    world.wait_for_file("up-1");
    signal(&child, "KILL");
    let mut child = child;
    child.wait().unwrap();
    wait_until("the end of all processes", || world.processes().is_empty());
}

/// Runs `script` for the numbers from 1 on; its first argument marks its processes.
fn start(world: &World, options: &[&str], script: &str) -> Child {
    let marker = world.path("marker");
    let mut command = world.pleiad(["run"]);
    command.args(options).args(["--array", "1-1000", "--", "sh", "-c", script, "_"]);
    command.arg(marker).arg("{}").spawn().unwrap()
}

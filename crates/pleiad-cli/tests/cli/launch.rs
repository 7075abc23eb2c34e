//! `pleiad launch`.

use crate::support::{Ended, World, signal};

#[test]
fn the_program_has_our_streams_and_we_have_its_exit_status() {
    let world = World::new();
    let launch =
        |words: &[&str]| Ended::of(world.pleiad(["launch"].iter().chain(words)).spawn().unwrap());
    let ended =
        launch(&["--env", "A=b c", "--workdir", "/", "--", "sh", "-c", "echo $A $PWD; exit 3"]);
    assert_eq!((ended.code, ended.text()), (3, "b c /\n"));
    assert_eq!(launch(&["sh", "-c", "kill -9 $$"]).code, 137);
    assert_eq!(launch(&["--limit", "0.1", "sleep", "1000"]).code, 124);
    launch(&["nosuchprogram"]).failed(127, ["cannot start nosuchprogram"]);
    launch(&["/etc/passwd"]).failed(126, ["cannot start /etc/passwd"]);
    launch(&["--memory", "no", "true"]).failed(2, ["such as 512M"]);
    assert_eq!(launch(&["--files", "17", "sh", "-c", "ulimit -n"]).text(), "17\n");
    assert_eq!(launch(&["--cpu-time", "7", "sh", "-c", "ulimit -t"]).text(), "7\n");
}

#[test]
fn an_interrupt_ends_it_with_all_that_it_started() {
    let world = World::new();
    let script = "sh -c 'sleep 1000; :' $1 & touch up; wait";
    let mut command = world.pleiad(["launch", "--", "sh", "-c", script, "_"]);
    let child = command.arg(world.path("marker")).spawn().unwrap();
    world.wait_for_file("up");
    signal(&child, "INT");
    assert_eq!(Ended::of(child).code, 130);
    assert_eq!(world.processes(), [""; 0]);
}

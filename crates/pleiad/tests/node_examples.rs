//! Each example of nodes runs as its reader would run it, in several processes, and prints what they
//! expect.
//!
//! Ports, numbers and who comes first are left open; all else is asserted.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "common/example.rs"]
mod example;
#[path = "common/process.rs"]
mod process;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use process::Process;

/// Every example of nodes, and the test that runs it.
const EXAMPLES: [(&str, fn()); 7] = [
    ("nodes_01_client_server", clients_find_the_workshop_and_get_what_they_ordered),
    ("nodes_02_time", a_task_and_a_service_tell_the_time_and_what_is_wrong),
    ("nodes_03_monitor", the_watcher_hears_of_each_end_and_of_the_crash),
    ("nodes_04_channel", both_subscribers_get_each_number),
    ("nodes_05_chat", all_others_read_what_one_says),
    ("nodes_06_run_script", a_script_is_run_where_it_was_sent),
    ("nodes_07_log_watch", lines_of_all_logs_come_until_the_client_ends),
];

#[test]
fn each_example_is_tested_and_says_how_to_run_it() {
    example::check("nodes_", &EXAMPLES);
}

#[test]
fn clients_find_the_workshop_and_get_what_they_ordered() {
    let lab = Lab::new();
    // One is there before the server, and one comes later.
    let early = lab.start("nodes_01_client_server", &["client"]);
    let mut server = lab.start("nodes_01_client_server", &["server"]);
    server.says("workshop/* takes orders, until Ctrl-C");
    let late = lab.start("nodes_01_client_server", &["client"]);

    for client in [early, late] {
        let output = client.ends_well();
        output.shows("3 orders are on their way to workshop/*@server");
        for number in 1..=3 {
            output.shows(&format!("order {number} is done"));
        }
        output.ends_with(&["nothing is open"]);
        output.has_lines(5);
    }
    server.interrupt();
    let output = server.ends_well();
    for number in 1..=3 {
        let line = format!("order {number} of client/*@client is in work");
        assert_eq!(output.count(&line), 2, "{output:#?}");
    }
    output.has_lines(7);
}

/// Goal: whoever waits for a server that is killed is told, and knows what is missing.
#[test]
fn a_client_knows_what_is_open_when_the_server_is_killed() {
    let lab = Lab::new();
    let mut server = lab.start("nodes_01_client_server", &["server"]);
    let mut client = lab.start("nodes_01_client_server", &["client"]);
    server.says("order 3 of *");
    client.says("order 3 is done");
    server.kill();
    client.ends_well().ends_with(&["the server is gone, and * orders are open"]);
}

/// Goal: a machine that has never heard of the other needs one line to get in.
#[test]
fn an_invitation_lets_another_machine_in() {
    let (here, elsewhere, stranger) = (Lab::new(), Lab::new(), Lab::new());
    let mut server = here.start("nodes_01_client_server", &["server", "127.0.0.1:0"]);
    let line = server.says("invitation: pleiad://127.0.0.1:*");
    let invitation = line.strip_prefix("invitation: ").unwrap();
    let client =
        |lab: &Lab, invitation| lab.start("nodes_01_client_server", &["client", invitation]).ends();

    // It is a member from the first time on.
    for _ in 0..2 {
        let (status, output) = client(&elsewhere, invitation);
        assert!(status.success(), "{output:#?}");
        output.ends_with(&["nothing is open"]);
    }
    // It was for one machine.
    let (status, output) = client(&stranger, invitation);
    assert_eq!(status.code(), Some(1), "{output:#?}");
    output.complains("Error: the inviting node refuses: this invitation was already used*");
    let (status, output) = client(&stranger, &invitation[..invitation.len() - 1]);
    assert_eq!(status.code(), Some(1), "{output:#?}");
    output.complains(
        "Error: the invitation is cut off: the token has 56 characters, 1 more than this",
    );
}

#[test]
fn an_address_that_is_taken_is_named() {
    let lab = Lab::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (status, output) = lab.start("nodes_01_client_server", &["server", &address]).ends();
    assert_eq!(status.code(), Some(1), "{output:#?}");
    output.complains(&format!("Error: cannot listen on {address}: is it taken? *"));
}

#[test]
fn a_task_and_a_service_tell_the_time_and_what_is_wrong() {
    let lab = Lab::new();
    let mut server = lab.start("nodes_02_time", &["server"]);
    let client = lab.start("nodes_02_time", &["client"]);
    client.ends_well().is(&[
        "asked:  it is *:*:* UTC, says clock/*@server, in *s",
        "called: it is *:*:* UTC, says time@server, in *s",
        "too slow: time@server gave no result within 100ms",
        "no time: time/*@server failed: there is no such time",
    ]);
    server.says("clock/* and time tell the time, until Ctrl-C");
    server.interrupt();
    server.ends_well().has_lines(1);
}

#[test]
fn the_watcher_hears_of_each_end_and_of_the_crash() {
    let lab = Lab::new();
    let server = lab.start("nodes_03_monitor", &["server"]);
    let output = lab.start("nodes_03_monitor", &["client"]).ends_well();

    for line in [
        "12 / 2 = 6",
        "12 / 3 = 4",
        "12 / 5: divide/*@server failed: I do not divide by 5",
        "12 / 0: divide/*@server failed: panicked at *nodes_03_monitor.rs:*: attempt to divide by zero",
        "12 / 4 = 3",
        "divide/*@server failed: I do not divide by 5",
        "divide/*@server failed: panicked at *nodes_03_monitor.rs:*: attempt to divide by zero",
        "divide/*@server was lost with server*",
        "the crash: divide@server was lost with server*",
    ] {
        assert_eq!(output.count(line), 1, "{line}: {output:#?}");
    }
    assert_eq!(output.count("divide/*@server returned"), 3, "{output:#?}");
    output.ends_with(&["the watcher has heard of 6 ends"]);
    output.has_lines(5 + 6 + 2);
    let (status, _) = server.ends();
    assert_eq!(status.code(), Some(3));
}

#[test]
fn both_subscribers_get_each_number() {
    let lab = Lab::new();
    let mut server = lab.start("nodes_04_channel", &["server"]);
    server.says("waiting for two subscribers");
    let client = lab.start("nodes_04_channel", &["client"]);

    let mut expected = vec!["waiting for two subscribers".to_owned()];
    expected.extend((1..=10).map(|n| format!("delivered {n} to 2 subscribers")));
    expected.push("the sum here is 55".to_owned());
    assert_eq!(server.ends_well().lines, expected);

    let mut expected = vec!["subscribed to numbers@server".to_owned()];
    expected.extend((1..=10).map(|n| format!("received {n}")));
    expected.push("numbers@server is closed, the sum is 55".to_owned());
    let mut output = client.ends_well();
    // Who is subscribed may get the first number before this is told.
    let at = output.lines.iter().position(|line| line.starts_with("subscribed")).unwrap();
    let line = output.lines.remove(at);
    output.lines.insert(0, line);
    assert_eq!(output.lines, expected);
}

#[test]
fn all_others_read_what_one_says() {
    let lab = Lab::new();
    let mut server = lab.start("nodes_05_chat", &["server"]);
    server.says("the room is open, until Ctrl-C");
    let mut maia = lab.start("nodes_05_chat", &["client", "maia"]);
    maia.says("you are number 1");
    let mut atlas = lab.start("nodes_05_chat", &["client", "atlas"]);
    maia.says("atlas (2) has joined");

    atlas.types("good evening");
    atlas.types("DO YOU HEAR ME");
    maia.says("atlas (2): good evening");
    maia.types("Good Evening!");
    atlas.says("maia (1): Good Evening!");
    atlas.types_no_more();
    maia.says("atlas (2) has left");
    atlas.ends_well().is(&["you are number 2", "maia (1): Good Evening!"]);

    // Its keyboard is still open.
    server.interrupt();
    server.ends_well().has_lines(1);
    maia.ends_well().is(&[
        "you are number 1",
        "atlas (2) has joined",
        "atlas (2): good evening",
        "atlas (2) has left",
        "the room is closed: chat@server was lost with server (closed)",
    ]);
}

#[test]
fn a_script_is_run_where_it_was_sent() {
    let lab = Lab::new();
    let directory = lab.path("scripts");
    let mut server = lab.start("nodes_06_run_script", &["server", directory.to_str().unwrap()]);
    server.types("open sesame");
    server.says("scripts are run, until Ctrl-C");
    let script = lab.path("hello.sh");
    fs::write(&script, "pwd\necho oh >&2\nexit 3\n").unwrap();
    let run = |pass_phrase: &str| {
        let mut client = lab.start("nodes_06_run_script", &["client", script.to_str().unwrap()]);
        client.types(pass_phrase);
        client.ends()
    };

    let (status, output) = run("open barley");
    assert_eq!(status.code(), Some(1), "{output:#?}");
    output.ends_with(&["hello.sh is on server: 23 bytes, of which 23 were sent"]);
    output.complains("Error: run/*@server failed: this is not the pass phrase");

    let (status, output) = run("open sesame");
    assert!(status.success(), "{output:#?}");
    let directory = directory.canonicalize().unwrap();
    output.is(&[
        "pass phrase:",
        "hello.sh is on server: 23 bytes, of which 0 were sent",
        directory.to_str().unwrap(),
        "errors: oh*",
        "it has ended with exit status: 3",
    ]);

    // In another version.
    fs::write(&script, "echo hello\n").unwrap();
    let (_, output) = run("open sesame");
    output.ends_with(&["hello", "it has ended with exit status: 0"]);
}

#[test]
fn lines_of_all_logs_come_until_the_client_ends() {
    let lab = Lab::new();
    let logs = ["atlas", "maia"].map(|name| lab.path(name));
    fs::write(&logs[0], "all is well\nERROR: out of coffee\n").unwrap();
    fs::write(&logs[1], "all is well\n").unwrap();
    let start = |at: usize, name: &str| {
        lab.start("nodes_07_log_watch", &["server", name, logs[at].to_str().unwrap()])
    };
    let atlas = start(0, "atlas");
    let mut client = lab.start("nodes_07_log_watch", &["client", "ERROR"]);
    client.says("atlas: ERROR: out of coffee");
    let mut maia = start(1, "maia");
    client.says("maia is there");
    writeln!(OpenOptions::new().append(true).open(&logs[1]).unwrap(), "ERROR: no tea").unwrap();
    client.says("maia: ERROR: no tea");

    atlas.interrupt();
    client.says("atlas is gone");
    client.interrupt();
    client.ends_well().has_lines(5);
    // The other one does nothing for nobody.
    maia.says(r#""ERROR" is watched no more, 1 lines were found"#);
    maia.interrupt();
    for server in [atlas, maia] {
        let output = server.ends_well();
        output.ends_with(&[r#""ERROR" is watched no more, 1 lines were found"#]);
        output.has_lines(2);
    }
    for log in &logs {
        assert!(!is_read(log), "{} is still read", log.display());
    }
}

/// Whether there is a program that has this file among its arguments.
fn is_read(file: &Path) -> bool {
    let file = file.to_str().unwrap();
    let processes = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    // One that ends meanwhile cannot be read.
    let arguments = processes.map(|process| fs::read(process.join("cmdline")).unwrap_or_default());
    arguments.into_iter().any(|arguments| String::from_utf8_lossy(&arguments).contains(file))
}

/// Nodes that find each other and nobody else: they have the same keys.
struct Lab(tempfile::TempDir);

impl Lab {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn start(&self, example: &str, args: &[&str]) -> Process {
        Process::start(&self.path("home"), example, args)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

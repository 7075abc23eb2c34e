//! Each example of streams runs and prints what its reader expects.
//!
//! Ports, times, and who comes first are left open; all else is asserted.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "common/example.rs"]
mod example;

use std::fs;
use std::net::TcpListener;

use example::{Folder, Output, run_to_end};

/// Every example of streams, and the test that runs it.
const EXAMPLES: [(&str, fn()); 8] = [
    ("streams_01_pipe_csum", both_ways_give_the_sum_that_the_program_is_known_for),
    ("streams_02_pipe_grep", the_end_of_the_chain_tells_how_much_grep_has_found),
    ("streams_03_sockets", the_server_receives_what_the_clients_send),
    ("streams_04_udp", each_datagram_is_answered),
    ("streams_05_socket_lines", both_sides_of_the_socket_see_the_same_bytes),
    ("streams_06_webserver", each_request_is_a_connection_with_an_answer),
    ("streams_07_chat", all_others_hear_what_one_says_and_nonsense_ends_only_its_connection),
    ("streams_08_chat_room", the_room_tells_who_joins_speaks_and_leaves),
];

#[test]
fn each_example_is_tested_and_says_how_to_run_it() {
    example::check("streams_", &EXAMPLES);
}

#[test]
fn both_ways_give_the_sum_that_the_program_is_known_for() {
    let folder = Folder::new();
    folder.write("abc", "abc");
    // More than a pipe holds.
    folder.write("zeros", vec![0; 1 << 20]);

    folder.run("streams_01_pipe_csum", &["abc"]).is(&[
        "communicate:  a9993e364706816aba3e25717850c26c9cd0d89d",
        "two tasks:    a9993e364706816aba3e25717850c26c9cd0d89d",
        "the sums are equal",
    ]);
    folder.run("streams_01_pipe_csum", &["zeros", "cksum"]).is(&[
        "communicate:  3018728591 1048576",
        "two tasks:    3018728591 1048576",
        "the sums are equal",
    ]);
}

#[test]
fn a_program_that_is_missing_or_fails_is_named() {
    let missing = fails("streams_01_pipe_csum", &["README", "no-such-program"]);
    missing.0.is(&[
        "Error: cannot start `no-such-program`: is it installed, and in the PATH?",
        "  because: No such file or directory (os error 2)",
    ]);
    let failing = fails("streams_01_pipe_csum", &["README", "false"]);
    failing.says("Error: `false` failed with exit status: 1");
    let pattern = fails("streams_02_pipe_grep", &["[", "README"]);
    pattern.says("Error: `grep` (stage 1 of 2) failed with exit status: 2: grep: *");
    let file = fails("streams_05_socket_lines", &["no-such-file"]);
    file.says("Error: cannot open no-such-file: No such file or directory (os error 2)");
}

#[test]
fn the_end_of_the_chain_tells_how_much_grep_has_found() {
    let folder = Folder::new();
    folder.write("stars", "maia\nmerope, the star\n\nnot UTF-8: \u{e9}\natlas, without an end");

    folder
        .run("streams_02_pipe_grep", &[])
        .is(&["10000 lines written", "1429 lines match \"ERROR\", of 8574 words and 42489 bytes"]);
    folder
        .run("streams_02_pipe_grep", &["a, \\|star", "stars"])
        .is(&["5 lines written", "1 lines match \"a, \\\\|star\", of 3 words and 17 bytes"]);
    folder
        .run("streams_02_pipe_grep", &["pleione", "stars"])
        .ends_with(&["0 lines match \"pleione\", of 0 words and 0 bytes"]);
}

#[test]
fn the_server_receives_what_the_clients_send() {
    let output = Folder::new().run("streams_03_sockets", &[]);

    for client in 0..10 {
        output.shows(&format!("client {client} connected"));
        let received = format!("client {client}: the server has received 3 messages, * bytes");
        output.shows(&received);
    }
    output.ends_with(&[
        "the clients sent        30 messages, 463366 bytes",
        "the server received     30 messages, 463366 bytes",
    ]);
    output.has_lines(22);
}

/// More than the room that a listener has by default for those who come at once.
#[test]
fn a_crowd_of_clients_is_served_as_well() {
    let output = Folder::new().run("streams_03_sockets", &["500"]);
    output.ends_with(&["the server received     1500 messages, * bytes"]);
}

#[test]
fn each_datagram_is_answered() {
    let output = Folder::new().run("streams_04_udp", &[]);

    for task in 0..50 {
        let expected = format!("received \"hello from task {task}\", from 127.0.0.1:*");
        assert_eq!(output.count(&expected), 1, "task {task}: {output:#?}");
    }
    output.ends_with(&["50 tasks have an answer, the server has 50 different datagrams"]);
}

#[test]
fn both_sides_of_the_socket_see_the_same_bytes() {
    let folder = Folder::new();
    folder.write("empty", "");
    folder.write("a", "a");
    // Each way to end a line, bytes that are no text, and a last line without an end.
    folder.write("lines", b"one\r\n\n\xff\xfe\ntwo ".repeat(20_000));

    folder.run("streams_05_socket_lines", &["empty"]).is(&[
        "written:  0 chunks, 0 bytes, checksum cbf29ce484222325",
        "read:     0 lines, 0 bytes, checksum cbf29ce484222325",
    ]);
    folder.run("streams_05_socket_lines", &["a"]).is(&[
        "written:  1 chunks, 1 bytes, checksum af63dc4c8601ec8c",
        "read:     1 lines, 1 bytes, checksum af63dc4c8601ec8c",
    ]);
    folder.run("streams_05_socket_lines", &["lines"]).is(&[
        "written:  16 chunks, 260000 bytes, checksum *",
        "read:     60001 lines, 260000 bytes, checksum *",
    ]);
}

#[test]
fn each_request_is_a_connection_with_an_answer() {
    Folder::new().run("streams_06_webserver", &[]).is(&[
        "10 clients, each with 1000 requests one after the other",
        "10000 requests in * s: * requests/s",
        "the server has had 10000 connections",
    ]);
}

#[test]
fn all_others_hear_what_one_says_and_nonsense_ends_only_its_connection() {
    let output = Folder::new().run("streams_07_chat", &[]);

    let hears = |output: &Output, expected: &[&str]| {
        let heard: Vec<_> = output.lines.iter().filter(|line| line.contains(" hears  ")).collect();
        assert_eq!(heard, expected);
    };
    hears(
        &output,
        &[
            "maia    hears  welcome, maia",
            "electra hears  welcome, electra",
            "atlas   hears  welcome, atlas",
            "maia    hears  somebody else is called maia",
            "electra hears  maia: good evening",
            "atlas   hears  maia: good evening",
            "maia    hears  electra: good evening, maia",
            "atlas   hears  electra: good evening, maia",
            "maia    hears  atlas: it is late",
            "electra hears  atlas: it is late",
        ],
    );
    output.shows(r#"server: 127.0.0.1:*: this is no text: "\xff\xfe""#);
    output.shows(
        "server: 127.0.0.1:*: the peer announces a message of 4294967295 bytes, more than the \
         limit of 4096",
    );
    for name in ["maia", "electra", "atlas"] {
        output.shows(&format!("server: {name} has joined"));
        output.shows(&format!("server: {name} has left"));
    }
    output.ends_with(&["server: 3 lines were said"]);
    output.has_lines(1 + 10 + 2 + 6 + 1);
}

#[test]
fn the_room_tells_who_joins_speaks_and_leaves() {
    Folder::new().run("streams_08_chat_room", &[]).is(&[
        "1 reads: your id is 1",
        "2 reads: your id is 2",
        "1 reads: 2 has joined",
        "3 reads: your id is 3",
        "1 reads: 3 has joined",
        "2 reads: 3 has joined",
        "2 says:  hello",
        "1 reads: 2 says: hello",
        "3 reads: 2 says: hello",
        r"3 says:  \xff\xfe",
        "3 reads: refused: a line is not UTF-8: *",
        "3 says:  xxxxxxxxxxxxxxxxxxxx",
        "3 reads: refused: a line is longer than the limit of 1000 bytes",
        "3 says:  sorry",
        "1 reads: 3 says: sorry",
        "2 reads: 3 says: sorry",
        "1 reads: 2 has left",
        "3 reads: 2 has left",
    ]);
}

#[test]
fn a_bad_address_is_one_clear_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();

    for (example, args) in [
        ("streams_06_webserver", &[address.as_str()][..]),
        ("streams_07_chat", &["serve", &address]),
        ("streams_08_chat_room", &[&address]),
    ] {
        let expected = format!("Error: cannot listen on {address}: *");
        fails(example, args).says(&expected);
    }
    fails("streams_06_webserver", &["8000"])
        .says("Error: \"8000\" is no address: try 127.0.0.1:8000, or [::1]:8000");
    drop(taken);
    fails("streams_07_chat", &["join", &address, "maia"])
        .says(&format!("Error: cannot connect to {address}: *"));
}

/// Runs an example that must fail, with exit status 1 and nothing on standard output. There is a file `README`.
#[track_caller]
fn fails(example: &str, args: &[&str]) -> Failure {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("README"), "read me").unwrap();
    let (status, output) = run_to_end(example, args, folder.path());
    assert_eq!(status.code(), Some(1), "{example}: {output:#?}");
    assert!(output.lines.is_empty(), "{example}: {output:#?}");
    Failure(Output { lines: output.errors, errors: Vec::new() })
}

/// What an example has written to standard error.
struct Failure(Output);

impl Failure {
    #[track_caller]
    fn says(&self, expected: &str) {
        self.0.is(&[expected]);
    }
}

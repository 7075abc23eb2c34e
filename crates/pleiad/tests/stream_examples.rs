//! Each example of streams runs and prints what its reader expects.
//!
//! Ports, times, and who comes first are left open; all else is asserted.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "common/example.rs"]
mod example;

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

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

/// Goal: whoever does not listen costs the others nothing, and a limited amount of memory.
/// Method: maia talks until the server has enough of sterope; electra hears all of it, a hundred
/// lines at a time, so that she is never late.
#[test]
fn a_guest_that_does_not_listen_has_to_go_and_the_others_go_on() {
    let mut server = Server::start("streams_07_chat", &["serve", "127.0.0.1:0"]);
    let mut maia = Guest::join(&server, "maia");
    let mut electra = Guest::join(&server, "electra");
    let mut sterope = Guest::join(&server, "sterope");
    let line = "x".repeat(4_000);

    let mut batches = 0;
    while !server.has_said("server: sterope does not keep up, and has to go") {
        assert!(batches < 100, "sterope is still there: {:?}", server.said);
        for _ in 0..100 {
            maia.says(&line);
        }
        for _ in 0..100 {
            assert_eq!(electra.hears(), format!("maia: {line}"));
        }
        batches += 1;
    }

    sterope.is_sent_away();
    electra.says("at last");
    assert_eq!(maia.hears(), "electra: at last");
    // Three have joined, one had to go, and nothing else has happened.
    server.output().has_lines(1 + 3 + 1);
}

/// Goal: whoever reads late costs the others nothing, and learns what it has missed.
/// Method: 1 says more than a queue and two sockets hold (some 5 MB), 2 reads it all, five hundred
/// lines at a time, and 3 only reads when that is over.
#[test]
fn a_client_that_reads_late_is_told_how_many_events_it_has_missed() {
    const LINES: usize = 8_000;
    let server = Server::start("streams_08_chat_room", &["127.0.0.1:0"]);
    let [mut one, mut two, mut three] = [1, 2, 3].map(|id| {
        let mut client = Client::connect(&server);
        assert_eq!(client.reads(), format!("your id is {id}"));
        client
    });
    assert_eq!(two.reads(), "3 has joined");

    let line = |n: usize| format!("{n:0>990}");
    for first in (0..LINES).step_by(500) {
        let numbers = first..first + 500;
        for n in numbers.clone() {
            one.says(&line(n));
        }
        for n in numbers {
            assert_eq!(two.reads(), format!("1 says: {}", line(n)));
        }
    }

    let (mut next, mut missed) = (0, 0);
    while next < LINES {
        let read = three.reads();
        if let Some(more) = read.strip_suffix(" events, perhaps your own, were missed)") {
            let more: usize = more.strip_prefix('(').unwrap().parse().unwrap();
            (next, missed) = (next + more, missed + more);
        } else {
            assert_eq!(read, format!("1 says: {}", line(next)));
            next += 1;
        }
    }
    assert!(missed > 0, "all of it was kept: sockets hold more here");
    three.says("sorry");
    assert_eq!(two.reads(), "3 says: sorry");
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

/// For each answer of a server; it takes milliseconds.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);

/// An example that serves until this is dropped.
struct Server {
    child: Child,
    address: String,
    stdout: mpsc::Receiver<String>,
    said: Vec<String>,
}

impl Server {
    /// Gives it when it listens.
    fn start(example: &str, args: &[&str]) -> Self {
        let own = std::env::current_exe().unwrap();
        let program = own.ancestors().nth(2).unwrap().join("examples").join(example);
        let mut child = Command::new(program)
            .args(args)
            .current_dir(Path::new("/"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, stdout) = mpsc::channel();
        thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut server = Self { child, address: String::new(), stdout, said: Vec::new() };
        server.says("*listening on *");
        let (_, address) = server.said[0].split_once("listening on ").unwrap();
        server.address = address.trim_end_matches(", until Ctrl-C").to_owned();
        server
    }

    /// Whether it has printed such a line until now.
    fn has_said(&mut self, expected: &str) -> bool {
        self.said.extend(self.stdout.try_iter());
        self.output().count(expected) > 0
    }

    /// Waits until it prints such a line, if it has not yet.
    #[track_caller]
    fn says(&mut self, expected: &str) {
        while !self.has_said(expected) {
            match self.stdout.recv_timeout(ANSWER_TIME_MAX) {
                Ok(line) => self.said.push(line),
                Err(error) => panic!("{error}: no line {expected:?} in {:#?}", self.said),
            }
        }
    }

    fn output(&self) -> Output {
        Output { lines: self.said.clone(), errors: Vec::new() }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(ANSWER_TIME_MAX)).unwrap();
        stream.set_write_timeout(Some(ANSWER_TIME_MAX)).unwrap();
        // Otherwise, the end of each batch waits for an acknowledgement, which the system delays.
        stream.set_nodelay(true).unwrap();
        stream
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// A guest of `streams_07_chat`: messages with a length in front.
struct Guest(TcpStream);

impl Guest {
    #[track_caller]
    fn join(server: &Server, name: &str) -> Self {
        let mut guest = Self(server.connect());
        guest.says(name);
        assert_eq!(guest.hears(), format!("welcome, {name}"));
        guest
    }

    fn says(&mut self, line: &str) {
        let length = u32::try_from(line.len()).unwrap().to_be_bytes();
        self.0.write_all(&[&length, line.as_bytes()].concat()).unwrap();
    }

    #[track_caller]
    fn hears(&mut self) -> String {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).unwrap();
        let mut line = vec![0; u32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut line).unwrap();
        String::from_utf8(line).unwrap()
    }

    /// What was on the way to it comes first, or is lost.
    #[track_caller]
    fn is_sent_away(&mut self) {
        match self.0.read_to_end(&mut Vec::new()) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }
}

/// A client of `streams_08_chat_room`: lines.
struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(server: &Server) -> Self {
        Self(BufReader::new(server.connect()))
    }

    fn says(&mut self, line: &str) {
        self.0.get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    #[track_caller]
    fn reads(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        assert_eq!(line.pop(), Some('\n'), "the server has hung up");
        line
    }
}

//! The commands that talk to nodes, in as many processes.

use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::nodes::{Running, pleiad};
use crate::support::{Ended, World};

#[test]
fn a_message_typed_in_one_terminal_is_read_in_another() {
    let world = World::new();
    let mut node = Running::node(&world, "first");
    assert_eq!(pleiad(&world, &["send", "notes", r#""hello \u001b[31m""#]).succeeded(), "");
    let line = node.line_with("note");
    assert!(line.ends_with("Z  note     hello \u{b7}[31m"), "{line}");

    let mut piped = world.pleiad(["send", "notes", "-", "--on", "first"]);
    let mut piped = piped.stdin(Stdio::piped()).spawn().unwrap();
    piped.stdin.take().unwrap().write_all(b"\"from a pipe\"\n").unwrap();
    Ended::of(piped).succeeded();
    assert!(node.line_with("note").ends_with("from a pipe"));
    assert_eq!(node.end("TERM"), Some(0));
}

#[test]
fn nodes_and_their_tasks_are_listed() {
    let world = World::new();
    let _nodes = [Running::node(&world, "first"), Running::node(&world, "second")];
    let peers = pleiad(&world, &["peers"]);
    let peers: Vec<&str> = peers.succeeded().lines().collect();
    assert_eq!(peers.len(), 3);
    assert!(peers[0].starts_with("NODE    PROGRAM"), "{}", peers[0]);
    for name in ["first", "second"] {
        assert!(peers.iter().any(|line| line.starts_with(name) && line.contains(" 127.0.0.1:")));
    }

    let tasks = pleiad(&world, &["tasks", "--on", "second", "--json"]);
    let tasks: Vec<Value> = json_lines(&tasks);
    let names: Vec<_> = tasks.iter().map(|task| task["names"][0].as_str().unwrap()).collect();
    assert_eq!(names, ["notes", "bench", "echo"]);
    assert!(tasks.iter().all(|task| task["node"] == "second" && task["state"] == "receiving"));
    let tasks = pleiad(&world, &["tasks"]);
    assert_eq!(tasks.succeeded().matches("notes").count(), 4, "{tasks:?}");

    let found = json_lines(&pleiad(&world, &["peers", "--json"]));
    let number = found.iter().find(|node| node["name"] == "first").unwrap()["node"].clone();
    let tasks = pleiad(&world, &["tasks", "--json", "--on", number.as_str().unwrap()]);
    assert!(json_lines(&tasks).iter().all(|task| task["node"] == "first"));
}

#[test]
fn what_cannot_be_done_says_what_to_do() {
    let world = World::new();
    let _node = Running::node(&world, "first");
    for (words, code, message) in [
        (
            &["send", "notes", "12"][..],
            1,
            "this is not what \"notes\" on first takes: invalid type",
        ),
        (
            &["send", "nots", "1"],
            1,
            "no task with the name \"nots\" on first; there are bench, notes",
        ),
        (&["send", "notes", "hello"], 2, "a text has quotes, as in '\"hello\"'"),
        (&["send", "bench", r#"{"Count":0}"#], 1, "a reply can only travel in a message"),
        (&["send", "^system", "1"], 1, "there is no task with the name \"^system\""),
        (&["call", "words", "1"], 1, "no service with the name \"words\" on first; there are echo"),
        (&["call", "echo", "12"], 1, "this is not what \"echo\" on first takes: invalid type"),
        (&["call", "echo", "hello"], 2, "a text has quotes, as in '\"hello\"'"),
        (&["call", "echo", "1", "--on", "second"], 3, "there is no node second, only first"),
        (&["call", "notes", "1"], 1, "\"notes\" on first cannot be reached so: it is a task: send"),
        (&["send", "notes", "1", "--on", "second"], 3, "there is no node second, only first"),
        (&["tasks", "--peer", "first:x"], 2, "port"),
        (&["peers", "--listen", "nowhere:x"], 2, "port"),
        (&["peers", "--timeout", "0"], 2, "above zero"),
        (&["peers", "--join", "pleiad://x"], 2, "the invitation has no token"),
        (&["token", "--uses", "0"], 2, "0 is not in 1..=10000"),
        (&["bench", "--to", "second"], 3, "there is no node second"),
        (&["node", "--name", ""], 2, "a node's name has 1 to 255 bytes"),
    ] {
        let ended = pleiad(&world, words);
        ended.failed(code, [message]);
        assert_eq!(ended.text(), "", "{words:?}");
    }
    // One that is not there is no reason not to talk to the others.
    let ended = pleiad(&world, &["peers", "--peer", "127.0.0.1:1"]);
    ended.failed(0, ["cannot talk to 127.0.0.1:1: Connection refused"]);
    assert!(ended.text().contains("first"));
}

#[test]
fn who_is_alone_is_told_so_and_why() {
    let world = World::new();
    for words in [&["peers"][..], &["tasks"], &["send", "notes", "1"], &["events"]] {
        let ended = pleiad(&world, words);
        ended.failed(
            3,
            ["no other node of this cluster on this machine: start one by `pleiad node`"],
        );
        assert_eq!(ended.text(), "");
    }
    let doctor = pleiad(&world, &["doctor"]);
    assert_eq!((doctor.code, &*doctor.stderr), (3, ""));
    assert!(
        doctor.text().contains("- No other node of this cluster runs on this machine.\n  Start")
    );
    let doctor = pleiad(&world, &["doctor", "--json"]);
    let report: Value = serde_json::from_str(doctor.text()).unwrap();
    assert_eq!((&report["facts"]["peers"], &report["peers"]), (&json!(0), &json!([])));

    let _node = Running::node(&world, "first");
    let doctor = pleiad(&world, &["doctor"]);
    assert!(doctor.succeeded().contains("peers       first\n"), "{doctor:?}");
}

#[test]
fn events_tell_who_comes_and_who_goes() {
    let world = World::new();
    let mut events = Running::start(&world, &["events", "--follow", "--json"]);
    let mut node = Running::node(&world, "first");
    let online: Value = serde_json::from_str(&events.line_with("first")).unwrap();
    assert_eq!((&online["event"], &online["name"]), (&"online".into(), &"first".into()));
    assert_eq!(node.end("TERM"), Some(0));
    let offline: Value = serde_json::from_str(&events.line_with("first")).unwrap();
    assert_eq!((&offline["event"], &offline["node"]), (&"offline".into(), &online["node"]));
    assert_eq!(events.end("INT"), Some(0));
}

#[test]
fn a_name_that_is_waited_for_may_come_later() {
    let world = World::new();
    let words = ["send", "notes", "\"late\"", "--wait", "--timeout", "60"];
    let sending = world.pleiad(words).spawn().unwrap();
    let mut node = Running::node(&world, "first");
    Ended::of(sending).succeeded();
    assert!(node.line_with("note").ends_with("late"));
}

#[test]
fn a_name_that_never_comes_is_waited_for_as_long_as_was_said() {
    let world = World::new();
    let _node = Running::node(&world, "first");
    let wait = |words: &[&str]| {
        let words = [words, &["--wait", "--timeout", "2"]].concat();
        world.pleiad(words).spawn().unwrap()
    };
    let (send, call) = (wait(&["send", "nots", "1"]), wait(&["call", "eco", "1"]));
    // They may see each other, beside the node.
    let missing = "no task with the name \"nots\" has appeared within 2s on ";
    Ended::of(send).failed(124, [missing, "there are bench, notes"]);
    let missing = "no service with the name \"eco\" has appeared within 2s on ";
    Ended::of(call).failed(124, [missing, "there are echo"]);
}

#[test]
fn a_service_is_called_from_another_terminal() {
    let world = World::new();
    let _node = Running::node(&world, "first");
    let ended = pleiad(&world, &["call", "echo", r#""hi \u001b""#]);
    assert_eq!(ended.succeeded(), "\"hi \\u001b\"\n");
    let ended = pleiad(&world, &["call", "echo", "\"hi\"", "--on", "first"]);
    assert_eq!(ended.succeeded(), "\"hi\"\n");
}

#[test]
fn an_invitation_lets_one_machine_in() {
    let world = World::new();
    let home = |name: &str| world.path(name).to_str().unwrap().to_owned();
    let mut token = Running::start(&world, &["token", "--listen", "127.0.0.1:0", "--age", "1h"]);
    let told = token.error_line();
    assert_eq!(told, "pleiad: this invites one machine, within 1 h 00 min; there:");
    let invitation = token.line();
    assert_eq!(token.error_line(), format!("  pleiad node --join {invitation}"));

    let (guest, other) = (home("guest"), home("other"));
    let peers = pleiad(&world, &["peers", "--json", "--home", &guest, "--join", &invitation]);
    assert_eq!(json_lines(&peers).len(), 1, "{peers:?}");
    // It is a member from then on, and asks for nothing any more.
    let peers = pleiad(&world, &["peers", "--json", "--home", &guest, "--join", &invitation]);
    assert_eq!(json_lines(&peers).len(), 1, "{peers:?}");
    let ended = pleiad(&world, &["peers", "--home", &other, "--join", &invitation]);
    ended.failed(1, ["the inviting node refuses: "]);

    assert_eq!(token.end("TERM"), Some(0));
    let ended = pleiad(&world, &["peers", "--home", &other, "--join", &invitation]);
    ended.failed(3, ["check that the inviting node runs"]);
}

#[test]
fn two_processes_measure_how_fast_they_talk() {
    let world = World::new();
    let ended = pleiad(&world, &["bench", "--each", "20ms", "--json"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let figures = json_lines(&ended);
    assert_eq!(figures.len(), 6);
    assert!(figures.iter().all(|figure| figure["value"].as_f64().unwrap() > 0.0), "{figures:?}");
    let raw = figures.iter().filter(|figure| figure["raw"].as_f64().is_some_and(|raw| raw > 0.0));
    assert_eq!(raw.count(), 2);
    assert_eq!(world.names(), [] as [&str; 0], "it leaves nothing behind");

    let _node = Running::node(&world, "first");
    let ended = pleiad(&world, &["bench", "--each", "5ms", "--to", "first"]);
    let table: Vec<&str> = ended.text().lines().collect();
    assert!(table[0].starts_with("TO first "), "{ended:?}");
    assert_eq!(table.len(), 7);
}

fn json_lines(ended: &Ended) -> Vec<Value> {
    assert_eq!(ended.code, 0, "{ended:?}");
    ended.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

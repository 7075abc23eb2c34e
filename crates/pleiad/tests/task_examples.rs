//! Each example of tasks runs and prints what its reader expects.
//!
//! Who comes first is left open where it is left open by what the example promises.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "common/example.rs"]
mod example;

use std::path::Path;

use example::{Output, run_to_end};

/// Every example of tasks, and the test that runs it.
const EXAMPLES: [(&str, fn()); 8] = [
    ("tasks_01_client_server", the_server_gets_each_message_of_each_client_in_its_order),
    ("tasks_02_many", each_of_many_tasks_sleeps_and_ends),
    ("tasks_03_channel", both_subscribers_get_each_number),
    ("tasks_04_hot_swap", the_function_is_swapped_and_no_number_is_lost),
    ("tasks_05_monitor", the_watcher_sees_each_kind_of_end),
    ("tasks_06_interrupt", the_worker_pauses_goes_on_and_gives_its_best),
    ("tasks_07_supervisor", the_cashier_is_replaced_and_the_money_stays),
    ("tasks_08_chat_room", each_user_reads_what_the_others_do),
];

#[test]
fn each_example_is_tested_and_says_how_to_run_it() {
    example::check("tasks_", &EXAMPLES);
}

#[test]
fn the_server_gets_each_message_of_each_client_in_its_order() {
    let output = run("tasks_01_client_server", &[]);

    for client in 1..=10 {
        let own = |line: &&String| line.ends_with(&format!("of client {client}"));
        let messages =
            output.lines.iter().filter(own).map(|line| line["received 30: ".len()..].to_owned());
        let sent = (1..=3).map(|number| format!("message {number} of client {client}"));
        assert_eq!(messages.collect::<Vec<_>>(), sent.collect::<Vec<_>>());
    }
    for number in 1..=30 {
        output.shows(&format!("received {number:2}: message *"));
    }
    for client in 1..=10 {
        output.shows(&format!("client {client} goes: the server has received * messages"));
    }
    let last = output.count("client * goes: the server has received 30 messages");
    assert!(last > 0, "the last one to ask asks after all messages: {output:#?}");
    output.ends_with(&["all clients have ended, and the server has received 30 messages"]);
    output.has_lines(30 + 10 + 1);
}

#[test]
fn each_of_many_tasks_sleeps_and_ends() {
    let output = run("tasks_02_many", &[]);

    for number in 1..=10 {
        output.shows(&format!("task {number:2} sleeps for * ms"));
        output.shows(&format!("task {number:2} has slept for * ms"));
    }
    output.ends_with(&["10 tasks: started in * ms, all ended after *.* s"]);
    output.has_lines(21);
}

#[test]
fn fifty_thousand_tasks_are_no_problem() {
    let memory = if cfg!(target_os = "linux") { " * bytes each," } else { "" };
    let expected = format!("50000 tasks: started in * ms,{memory} all ended after *.* s");
    run("tasks_02_many", &["50000"]).is(&[&expected]);
    run("tasks_02_many", &["0"]).is(&["0 tasks: started in * ms, all ended after 0.00 s"]);
}

#[test]
fn a_number_of_tasks_that_is_none_is_an_error_that_says_so() {
    let (status, output) = run_to_end("tasks_02_many", &["some"], Path::new("."));
    assert!(!status.success());
    assert_eq!(output.errors, ["Error: \"some\" is no number"]);
}

#[test]
fn both_subscribers_get_each_number() {
    run("tasks_03_channel", &[]).is(&[
        "published 7, to 2 tasks",
        "published 2, to 2 tasks",
        "published 9, to 2 tasks",
        "published 5, to 2 tasks",
        "the sum is 23",
        "the product is 630",
        "11 comes too late: channel \"numbers\" is closed",
    ]);
}

/// When the swaps come, depends on the machine; but not what they change.
#[test]
fn the_function_is_swapped_and_no_number_is_lost() {
    let output = run("tasks_04_hot_swap", &[]);

    let swapped = "---- swapped: the server runs server_in_words";
    output.shows(swapped);
    output.shows("---- server/1 has refused logger: it is no server");
    let in_words: Vec<bool> =
        (1..=9).map(|number| output.count(&format!("number {number}, and *")) == 1).collect();
    assert!(in_words.is_sorted(), "{output:#?}");
    for (number, in_words) in (1..=9).zip(in_words) {
        assert_eq!(output.count(&number.to_string()), usize::from(!in_words), "{output:#?}");
    }
    output.ends_with(&["the server has received 9 numbers, their sum is 45"]);
    output.has_lines(9 + 3);
}

#[test]
fn the_watcher_sees_each_kind_of_end() {
    let (status, output) = run_to_end("tasks_05_monitor", &[], Path::new("."));

    assert!(status.success(), "{output:#?}");
    let panic = output.errors.iter().any(|line| line.contains("panicked at"));
    assert!(panic, "Rust prints it as ever: {output:#?}");
    for line in [
        "returns/2 returned",
        "fails/3 failed: no star has the name \"Vulcan\"",
        "panics/4 failed: panicked at *tasks_05_monitor.rs:*:5: the sky is empty",
        "sleeps/5 was terminated",
        "and when that was long ago: returns/2 returned",
    ] {
        output.shows(line);
    }
    output.ends_with(&["the watcher has seen 5 ends"]);
    output.has_lines(6);
}

#[test]
fn the_worker_pauses_goes_on_and_gives_its_best() {
    let output = run("tasks_06_interrupt", &[]);

    output.is(&[
        "the worker has 1000 orders",
        "the worker pauses, the longest way begins at * and has * steps",
        "* orders wait, and after a while: *",
        "the worker goes on, and is asked to stop",
        "* orders are left, the longest way begins at * and has * steps",
    ]);
    let (before, after) = output.lines[2].split_once(" orders wait, and after a while: ").unwrap();
    assert_eq!(before, after, "it does nothing while it pauses");
    let (left, _) = output.lines[4].split_once(" orders are left").unwrap();
    let [before, left]: [u32; 2] = [before, left].map(|orders| orders.parse().unwrap());
    assert!(left <= before, "{output:#?}");
}

#[test]
fn the_cashier_is_replaced_and_the_money_stays() {
    run("tasks_07_supervisor", &[]).is(&[
        "cashier/3: 20 is in the till, which has 20",
        "cashier/3: 12 is in the till, which has 32",
        "cashier/3 failed: I cannot read \"seven\": invalid digit found in string",
        "cashier/4: 8 is in the till, which has 40",
        "cashier/4 failed: I cannot read \"\": cannot parse integer from empty string",
        "cashier/5: 2 is in the till, which has 42",
        "till     was restarted 0 times",
        "cashier  was restarted 2 times",
    ]);
}

/// Users read at the same time, so their lines may come in any order; but those of each are in
/// order.
#[test]
fn each_user_reads_what_the_others_do() {
    let output = run("tasks_08_chat_room", &[]);

    let reads = |name: &str| {
        let lines = output.lines.iter().filter_map(|line| line.split_once(" | "));
        let own = lines.filter(|(reader, _)| reader.trim() == name);
        own.map(|(_, line)| line.to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        reads("maia"),
        [
            "you are alone here",
            "atlas joins",
            "atlas: I am.",
            "merope joins",
            "merope: I cannot see a thing.",
        ]
    );
    assert_eq!(
        reads("atlas"),
        [
            "with you are: maia",
            "maia: Is anybody out there?",
            "merope joins",
            "merope: I cannot see a thing.",
            "maia leaves",
            "merope is gone: was terminated",
        ]
    );
    assert_eq!(reads("merope"), ["with you are: atlas, maia", "maia leaves"]);
    output.ends_with(&["the room is empty, and 3 lines were said in it"]);
    output.has_lines(5 + 6 + 2 + 1);
}

fn run(example: &str, args: &[&str]) -> Output {
    example::run(example, args, Path::new("."))
}

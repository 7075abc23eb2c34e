//! `pleiad node`: a node in the foreground, to try things with.

use std::io::Read;
use std::thread;

use pleiad::net::Node;
use pleiad::{FileArrived, FileEvent, Mailbox, Service, TaskBuilder, watch_tasks};
use serde::Serialize;
use tokio::sync::oneshot;

use crate::args;
use crate::interrupt::Interrupts;
use crate::mesh::events::{clock, seconds_since_1970, tell};
use crate::mesh::{bench, block_on, note, plain, print, print_json, start};
use crate::problem::Problem;
use crate::units::show_size;

/// The task that prints texts.
const NOTES: &str = "notes";

/// Gives back the text that it gets.
const ECHO: Service<String, String> = Service::new("echo");

pub(crate) fn run(args: &args::Node) -> Result<u8, Problem> {
    block_on(async {
        watch_tasks(true);
        let mut builder = Node::builder();
        if let Some(name) = &args.name {
            builder = builder.name(name);
        }
        for address in &args.announce {
            builder = builder.announce(address);
        }
        if let Some(directory) = &args.files {
            builder = builder.files(directory);
        }
        let node = start(&args.reach, builder).await?;
        let served = serve(args, &node).await;
        node.close().await;
        served
    })
}

async fn serve(args: &args::Node, node: &Node) -> Result<u8, Problem> {
    let mut interrupts = Interrupts::listen().map_err(Problem::failure)?;
    let is_json = args.json;
    let notes = TaskBuilder::new().name(NOTES).spawn(move |mailbox| print_notes(mailbox, is_json));
    node.register(NOTES, &notes).map_err(Problem::failure)?;
    bench::offer(node).map_err(Problem::failure)?;
    node.serve(ECHO, async |text| text).await.map_err(Problem::failure)?;
    let mut files = node.file_events();
    introduce(node);
    let (printed, input_ends) = (notes.join(), end_of_input(args.until_eof));
    tokio::pin!(printed, input_ends);
    let mut events = node.peer_events();
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(event) => tell(&event, is_json)?,
                None => return Ok(0),
            },
            event = files.next() => match event {
                Some(event) => tell_file(event, is_json)?,
                None => return Ok(0),
            },
            ended = &mut printed => return ended.unwrap_or(Ok(())).map(|()| 0),
            _ = interrupts.next() => return Ok(0),
            () = &mut input_ends => return Ok(0),
        }
    }
}

/// Prints each text that comes. Ends when it cannot.
async fn print_notes(mut mailbox: Mailbox<String>, is_json: bool) -> Result<(), Problem> {
    while let Some(note) = mailbox.recv().await {
        if is_json {
            print_json(&Note { at: seconds_since_1970(), note })?;
        } else {
            print(&format!("{}  note     {}\n", clock(), plain(&note)))?;
        }
    }
    Ok(())
}

#[derive(Serialize)]
struct Note {
    at: f64,
    note: String,
}

fn tell_file(event: FileEvent, is_json: bool) -> Result<(), Problem> {
    let file = match event {
        FileEvent::Arrived(file) => file,
        FileEvent::Missed(missed) => {
            note(&format!("{missed} files have come that were not printed"));
            return Ok(());
        }
        _ => return Ok(()),
    };
    if is_json {
        return print_json(&FileLine::new(&file));
    }
    let was_there = if file.was_there { ", was there already" } else { "" };
    let (name, from, size) = (plain(&file.name), plain(&file.from), show_size(file.bytes));
    print(&format!("{}  file     {name} ({size}{was_there}) from {from}\n", clock()))
}

#[derive(Serialize)]
struct FileLine<'a> {
    at: f64,
    file: &'a str,
    bytes: u64,
    was_there: bool,
    from: &'a str,
    node: String,
}

impl<'a> FileLine<'a> {
    fn new(file: &'a FileArrived) -> Self {
        Self {
            at: seconds_since_1970(),
            file: &file.name,
            bytes: file.bytes,
            was_there: file.was_there,
            from: &file.from,
            node: file.node.to_string(),
        }
    }
}

fn introduce(node: &Node) {
    let at = node.addresses().join(", ");
    let name = plain(node.name());
    note(&format!(
        "node {name} listens at {at}; in another terminal, pleiad send notes '\"hello\"' --on {name}"
    ));
}

/// Waits for the end of standard input, or for ever.
async fn end_of_input(is_wanted: bool) {
    if !is_wanted {
        return std::future::pending().await;
    }
    let (ended, end) = oneshot::channel::<()>();
    thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        while input.read(&mut [0; 64]).is_ok_and(|bytes| bytes > 0) {}
        drop(ended);
    });
    let _ = end.await;
}

//! A chat of any number of programs: a room gives numbers, a channel passes on what is said.
//!
//! Shows a task and a channel of one node that others use; a transform, which runs where the channel is,
//! and changes or drops what is published; and a subscriber that makes messages of its own of what comes.
//!
//! ```sh
//! cargo run --features net --example nodes_05_chat -- server
//! cargo run --features net --example nodes_05_chat -- client maia     # as many as you like; type lines
//! ```
//!
//! What maia reads:
//!
//! ```text
//! you are number 1
//! atlas (2) has joined
//! atlas (2): good evening
//! atlas (2) has left
//! ```
//!
//! Nobody reads what is said in capitals only: the server does not like to be shouted at.

use std::env;
use std::io;
use std::thread;
use std::time::Duration;

use pleiad::{Channel, Error, Mailbox, Node, RemoteChannel, Reply, TaskRef, spawn, try_spawn};
use serde::{Deserialize, Serialize};

const SOON: Duration = Duration::from_secs(30);

/// What the room takes.
#[derive(Serialize, Deserialize)]
enum ToRoom {
    /// The answer is a number that nobody else has.
    Enter(Reply<u32>),
}

/// What is on the channel.
#[derive(Clone, Serialize, Deserialize)]
struct Line {
    from: u32,
    name: String,
    text: String,
}

/// What a client takes.
enum Input {
    /// From the keyboard.
    Typed(String),
    /// The keyboard has nothing more.
    Done,
    /// From the channel.
    Heard(Line),
}

async fn room(mut mailbox: Mailbox<ToRoom>) {
    let mut members = 0;
    while let Some(ToRoom::Enter(reply)) = mailbox.recv().await {
        members += 1;
        reply.send(members);
    }
}

/// Runs for each line that is published, at the server. `None` is for nobody.
fn polite(_channel: &str, mut line: Line) -> Option<Line> {
    let is_shouted = line.text == line.text.to_uppercase() && line.text != line.text.to_lowercase();
    let said = match line.text.as_str() {
        "/join" => " has joined".to_owned(),
        "/bye" => " has left".to_owned(),
        _ if is_shouted => return None,
        text => format!(": {text}"),
    };
    line.text = format!("{} ({}){said}", line.name, line.from);
    Some(line)
}

async fn client(
    mut mailbox: Mailbox<Input>,
    name: String,
    room: TaskRef<ToRoom>,
    chat: RemoteChannel<Line>,
) -> pleiad::Result<()> {
    let me = room.ask(ToRoom::Enter).timeout(SOON).await?;
    println!("you are number {me}");
    let line = |text: String| Line { from: me, name: name.clone(), text };

    chat.subscribe_as(&mailbox.me(), Input::Heard).await?;
    chat.send(line("/join".to_owned()))?;
    while let Some(input) = mailbox.recv().await {
        match input {
            Input::Typed(text) => chat.send(line(text))?,
            // Its own lines come back too.
            Input::Heard(line) if line.from != me => println!("{}", line.text),
            Input::Heard(_) => {}
            Input::Done => break,
        }
    }
    chat.send(line("/bye".to_owned()))?;
    Ok(())
}

#[tokio::main]
async fn main() -> pleiad::Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    match args.as_slice() {
        [role] if role == "server" => server().await,
        [role, name] if role == "client" => join(name).await,
        _ => Err(Error::msg("usage: nodes_05_chat server | client NAME")),
    }
}

async fn server() -> pleiad::Result<()> {
    let node = Node::builder().name("server").start().await?;
    let room = spawn(room);
    node.register("room", &room)?;
    let chat = Channel::new("chat");
    chat.set_transform(polite);
    node.register_channel(&chat)?;
    println!("the room is open, until Ctrl-C");
    tokio::signal::ctrl_c().await?;
    node.close().await;
    Ok(())
}

async fn join(name: &str) -> pleiad::Result<()> {
    let node = Node::builder().name(name).start().await?;
    let room = node.locate("room").timeout(SOON).await?;
    let chat = node.channel("chat").timeout(SOON).await?;
    let (owned, there) = (name.to_owned(), chat.clone());
    let client = try_spawn(|mailbox| client(mailbox, owned, room, there));
    // A thread, because the program must be able to end while this waits for a key.
    let keyboard = client.clone();
    thread::spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            if keyboard.deliver(Input::Typed(line)).blocking().is_err() {
                return;
            }
        }
        let _ = keyboard.deliver(Input::Done).blocking();
    });

    tokio::select! {
        left = client => left?,
        end = chat.closed() => println!("the room is closed: {chat} {end}"),
    }
    // What was said last still goes out.
    node.close().await;
    Ok(())
}

//! A chat over TCP: what one says, all others hear.
//!
//! Shows whole messages on a stream ([`MessageStream`]), a task that alone knows who is there, and
//! what becomes of peers that send nonsense. Without arguments, three guests follow a script; with
//! them, each has its own terminal:
//!
//! ```sh
//! cargo run --example streams_07_chat
//! cargo run --example streams_07_chat -- serve 127.0.0.1:8000
//! cargo run --example streams_07_chat -- join 127.0.0.1:8000 maia
//! ```
//!
//! ```text
//! server: maia has joined
//! ...
//! electra hears  maia: good evening
//! atlas hears    maia: good evening
//! server: 127.0.0.1:37170: this is no text: "\xff\xfe"
//! ...
//! server: 3 lines were said
//! ```

use std::collections::HashMap;
use std::time::Duration;
use std::{env, io, thread};

use pleiad::io::{MessageReader, MessageSendError, MessageStream, MessageWriter};
use pleiad::{Error, Exit, Mailbox, Reply, SendError, Task, TaskBuilder, TaskId, TaskRef};
use pleiad::{spawn, spawn_future};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

/// A message is a name, or a line of text.
const MESSAGE_BYTES_MAX: usize = 4_096;
const NAME_TIME_MAX: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(100);

type Reader = MessageReader<ReadHalf<TcpStream>>;
type Writer = MessageWriter<WriteHalf<TcpStream>>;

#[tokio::main]
async fn main() -> pleiad::Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => follow_the_script().await,
        ["serve", address] => {
            let server = start_server(address).await?.1;
            tokio::signal::ctrl_c().await?;
            end_server(server).await
        }
        ["join", address, name] => join(address, name).await,
        _ => Err(Error::msg("usage: streams_07_chat [serve ADDRESS | join ADDRESS NAME]")),
    }
}

// ---- the server ----

enum Input {
    /// Somebody wants to come in, and will hear through this task. Is the name still free?
    Join {
        name: String,
        guest: TaskRef<String>,
        answer: Reply<bool>,
    },
    Say {
        guest: TaskId,
        line: String,
    },
    /// The task through which a guest hears has ended, for whatever reason.
    Left(Exit),
    /// How many lines were said?
    Count(Reply<usize>),
}

struct Guest {
    name: String,
    task: TaskRef<String>,
}

async fn start_server(address: &str) -> pleiad::Result<(String, Task<Input, ()>)> {
    let listener = TcpListener::bind(address).await;
    let listener =
        listener.map_err(|error| Error::msg(format!("cannot listen on {address}: {error}")))?;
    let address = listener.local_addr()?.to_string();
    println!("server: listening on {address}");
    // A daemon: `join_all` waits for the connections, and not for this.
    let server = TaskBuilder::new().daemon(true).spawn(|mailbox| serve(mailbox, listener));
    Ok((address, server))
}

async fn end_server(server: Task<Input, ()>) -> pleiad::Result<()> {
    println!("server: {} lines were said", server.ask(Input::Count).await?);
    server.terminate();
    Ok(server.await?)
}

/// One task accepts connections, and knows who is there.
async fn serve(mut mailbox: Mailbox<Input>, listener: TcpListener) {
    let mut guests: HashMap<TaskId, Guest> = HashMap::new();
    let mut said = 0;
    loop {
        let input = tokio::select! {
            accepted = listener.accept() => {
                match accepted {
                    Ok((stream, peer)) => {
                        let server = mailbox.me();
                        spawn_future(async move {
                            if let Err(error) = connection(stream, server).await {
                                println!("server: {peer}: {error}");
                            }
                        })
                        .detach();
                    }
                    // Most often, too many files are open: some connections have to end first.
                    Err(error) => {
                        println!("server: cannot accept a connection: {error}");
                        sleep(PAUSE).await;
                    }
                }
                continue;
            }
            input = mailbox.recv() => input,
        };
        match input {
            Some(Input::Join { name, guest: task, answer }) => {
                let is_free = guests.values().all(|guest| guest.name != name);
                if is_free && task.notify(&mailbox.me(), Input::Left).is_ok() {
                    println!("server: {name} has joined");
                    guests.insert(task.id(), Guest { name, task });
                }
                answer.send(is_free);
            }
            Some(Input::Say { guest, line }) => {
                // One that was sent away may have said something before it heard of that.
                let Some(Guest { name, .. }) = guests.get(&guest) else { continue };
                said += 1;
                let line = format!("{name}: {line}");
                guests.retain(|id, other| {
                    // Never waits: who does not read must not stop the others.
                    let sent = if *id == guest { Ok(()) } else { other.task.send(line.clone()) };
                    let keeps_up = !matches!(sent, Err(SendError::Full { .. }));
                    if !keeps_up {
                        println!("server: {} does not keep up, and has to go", other.name);
                        // It waits for its peer, and would not hear a polite word.
                        other.task.kill();
                    }
                    keeps_up
                });
            }
            Some(Input::Left(exit)) => {
                if let Some(guest) = guests.remove(&exit.task.id()) {
                    println!("server: {} has left", guest.name);
                }
            }
            Some(Input::Count(reply)) => reply.send(said),
            None => return,
        }
    }
}

/// Reads what a guest says: first its name, then its lines. Another task tells it what others say.
async fn connection(stream: TcpStream, server: TaskRef<Input>) -> pleiad::Result<()> {
    let (mut reader, writer) = MessageStream::new(stream).bytes_max(MESSAGE_BYTES_MAX).split();
    let Ok(name) = timeout(NAME_TIME_MAX, reader.recv()).await else {
        return Err(Error::msg(format!("no name within {NAME_TIME_MAX:?}")));
    };
    let Some(name) = name? else { return Ok(()) };
    let name = text(&name)?;

    let guest = spawn(|mailbox| tell(mailbox, writer));
    let join = |answer| Input::Join { name: name.clone(), guest: guest.clone(), answer };
    if !server.ask(join).await? {
        guest.send(format!("somebody else is called {name}"))?;
        // Nobody else can send to it: it still tells this, and then it ends.
        return Ok(guest.await?);
    }
    guest.send(format!("welcome, {name}"))?;
    // Whatever ends one direction, ends the other.
    let heard = tokio::select! {
        heard = hear(&mut reader, guest.id(), &server) => heard,
        _ = guest.ended() => Ok(()),
    };
    guest.terminate();
    heard
}

async fn tell(mut mailbox: Mailbox<String>, mut writer: Writer) {
    while let Some(line) = mailbox.recv().await {
        if writer.send(line).await.is_err() {
            return;
        }
    }
}

async fn hear(reader: &mut Reader, guest: TaskId, server: &TaskRef<Input>) -> pleiad::Result<()> {
    while let Some(line) = reader.recv().await? {
        let line = text(&line)?;
        // Waits for room: who talks much is read only as fast as the server can follow.
        server.deliver(Input::Say { guest, line }).await?;
    }
    Ok(())
}

/// What comes from outside is nothing but text: it must do no harm to a terminal.
fn text(bytes: &[u8]) -> pleiad::Result<String> {
    match str::from_utf8(bytes) {
        Ok(text) if !text.contains(char::is_control) => Ok(text.to_owned()),
        _ => Err(Error::msg(format!("this is no text: \"{}\"", bytes.escape_ascii()))),
    }
}

// ---- a guest at a terminal ----

async fn join(address: &str, name: &str) -> pleiad::Result<()> {
    let (reader, mut writer) = connect(address).await?.split();
    writer.send(name.to_owned()).await?;
    let client = spawn(|mailbox| talk(mailbox, reader, writer));

    // A thread, because the program must be able to end while this waits for a key.
    let task = client.clone();
    thread::spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            if task.deliver(line).blocking().is_err() {
                return;
            }
        }
    });
    client.await?
}

async fn talk(
    mut keyboard: Mailbox<String>,
    mut reader: Reader,
    mut writer: Writer,
) -> pleiad::Result<()> {
    let mut is_typing = true;
    loop {
        tokio::select! {
            line = keyboard.recv(), if is_typing => match line {
                Some(line) => match writer.send(line).await {
                    Err(error @ MessageSendError::TooLarge { .. }) => println!("not sent: {error}"),
                    sent => sent?,
                },
                // The end of the input. What others say may still come.
                None => {
                    is_typing = false;
                    writer.shutdown().await?;
                }
            },
            heard = reader.recv() => match heard? {
                Some(line) => println!("{}", text(&line)?),
                None => {
                    if is_typing {
                        println!("the server has hung up");
                    }
                    return Ok(());
                }
            },
        }
    }
}

async fn connect(address: &str) -> pleiad::Result<MessageStream<TcpStream>> {
    match TcpStream::connect(address).await {
        Ok(stream) => Ok(MessageStream::new(stream).bytes_max(MESSAGE_BYTES_MAX)),
        Err(error) => Err(Error::msg(format!("cannot connect to {address}: {error}"))),
    }
}

// ---- a script ----

async fn follow_the_script() -> pleiad::Result<()> {
    let (address, server) = start_server("127.0.0.1:0").await?;
    let mut guests = Vec::new();
    // The last one is too late for that name.
    for name in ["maia", "electra", "atlas", "maia"] {
        let mut messages = connect(&address).await?;
        messages.send(name).await?;
        println!("{name:7} hears  {}", next(&mut messages).await?);
        guests.push((name, messages));
    }
    guests.truncate(3);

    say(&mut guests, 0, "good evening").await?;
    send_nonsense(&address, b"\0\0\0\x02\xff\xfe").await?;
    say(&mut guests, 1, "good evening, maia").await?;
    send_nonsense(&address, &[0xff; 100]).await?;
    say(&mut guests, 2, "it is late").await?;

    // They hang up; the tasks of their connections find that, and end.
    drop(guests);
    pleiad::join_all().timeout(Duration::from_secs(10)).await?;
    end_server(server).await
}

/// One says something, and each of the others hears it.
async fn say(
    guests: &mut [(&str, MessageStream<TcpStream>)],
    who: usize,
    line: &'static str,
) -> pleiad::Result<()> {
    guests[who].1.send(line).await?;
    for (index, (name, messages)) in guests.iter_mut().enumerate() {
        if index != who {
            println!("{name:7} hears  {}", next(messages).await?);
        }
    }
    Ok(())
}

async fn next(messages: &mut MessageStream<TcpStream>) -> pleiad::Result<String> {
    match messages.recv().await? {
        Some(message) => text(&message),
        None => Err(Error::msg("the server has hung up")),
    }
}

/// A peer that is no client of this chat, or a hostile one: the server hangs up on it.
async fn send_nonsense(address: &str, bytes: &[u8]) -> pleiad::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(bytes).await?;
    // An end, or an error: the server has not read it all.
    let _ = stream.read_to_end(&mut Vec::new()).await;
    Ok(())
}

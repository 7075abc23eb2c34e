//! A chat for people with `nc`: a task for each client, and a channel that is the room.
//!
//! Shows a [`Channel`] between tasks that do not know each other, and a socket on which one task
//! reads while another writes. There is no program for guests, and none is needed:
//!
//! ```sh
//! cargo run --example streams_08_chat_room                       # a script
//! cargo run --example streams_08_chat_room -- 127.0.0.1:8000     # and then: nc 127.0.0.1 8000
//! ```
//!
//! ```text
//! 1 reads: your id is 1
//! 2 reads: your id is 2
//! 1 reads: 2 has joined
//! 2 says:  hello
//! 1 reads: 2 says: hello
//! ...
//! 1 reads: 2 has left
//! ```

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use std::{env, fmt};

use pleiad::io::{LineError, Lines};
use pleiad::{Channel, Error, Mailbox, NoMessage, Subscriber, TaskBuilder, TaskRef, WhenFull};
use pleiad::{spawn, spawn_future};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

const LINE_BYTES_MAX: usize = 1_000;
/// Events that wait for a client which does not read; then it misses the oldest, and is told.
const LATE_MAX: usize = 1_000;
const PAUSE: Duration = Duration::from_millis(100);
const END_MAX: Duration = Duration::from_secs(10);

/// What happens in the room.
#[derive(Clone)]
struct Event {
    id: u64,
    what: What,
}

#[derive(Clone)]
enum What {
    Joins,
    Says(Arc<str>),
    Leaves,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Joins => write!(f, "{} has joined", self.id),
            What::Says(line) => write!(f, "{} says: {line}", self.id),
            What::Leaves => write!(f, "{} has left", self.id),
        }
    }
}

#[tokio::main]
async fn main() -> pleiad::Result<()> {
    let address = env::args().nth(1);
    let listen_at = address.as_deref().unwrap_or("127.0.0.1:0");
    let listener = TcpListener::bind(listen_at).await;
    let listener =
        listener.map_err(|error| Error::msg(format!("cannot listen on {listen_at}: {error}")))?;
    let at = listener.local_addr()?;

    let room = Channel::new("room");
    let channel = room.clone();
    let server = TaskBuilder::new().daemon(true).spawn(|mailbox| serve(mailbox, listener, channel));
    if address.is_none() {
        follow_the_script(at).await?;
    } else {
        println!("listening on {at}, until Ctrl-C");
        tokio::signal::ctrl_c().await?;
    }

    server.terminate();
    server.await?;
    // Nothing more happens: each client is told the rest, and then its tasks end.
    room.close();
    pleiad::join_all().timeout(END_MAX).await?;
    Ok(())
}

/// Starts a task for each client, until it is asked to stop.
async fn serve(mailbox: Mailbox<NoMessage>, listener: TcpListener, room: Channel<Event>) {
    let mut ids = 1..;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = mailbox.stopping() => return,
        };
        match (accepted, ids.next()) {
            (Ok((stream, peer)), Some(id)) => {
                let room = room.clone();
                spawn_future(async move {
                    if let Err(error) = client(stream, id, &room).await {
                        println!("{id} at {peer}: {error}");
                    }
                    // However it went. An error only says that the room is closed.
                    let _ = room.send(Event { id, what: What::Leaves });
                })
                .detach();
            }
            // Most often, too many files are open: some clients have to leave first.
            (Err(error), _) => {
                println!("cannot accept a connection: {error}");
                sleep(PAUSE).await;
            }
            (_, None) => return,
        }
    }
}

/// The reader of a client. The writer is another task.
async fn client(stream: TcpStream, id: u64, room: &Channel<Event>) -> pleiad::Result<()> {
    let (reader, mut socket) = stream.into_split();
    let events = room.stream(LATE_MAX, WhenFull::DropOldest);
    room.send(Event { id, what: What::Joins })?;
    socket.write_all(format!("your id is {id}\n").as_bytes()).await?;

    let writer = spawn(|mailbox| write(mailbox, id, events, socket));
    // Whatever ends one direction, ends the other.
    tokio::select! {
        read = read(reader, id, room, &writer) => read?,
        _ = writer.ended() => {}
    }
    writer.terminate();
    writer.await?
}

async fn read(
    reader: OwnedReadHalf,
    id: u64,
    room: &Channel<Event>,
    writer: &TaskRef<String>,
) -> pleiad::Result<()> {
    let mut lines = Lines::new(reader).bytes_max(LINE_BYTES_MAX);
    loop {
        let refused = match lines.next_line().await {
            // Control characters might do harm to the terminals of others.
            Ok(Some(line)) if line.contains(char::is_control) => "a line is no text".to_owned(),
            Ok(Some(line)) => {
                // Waits for nobody: who is late must not stop the others.
                room.send(Event { id, what: What::Says(line.into()) })?;
                continue;
            }
            Ok(None) => return Ok(()),
            // The stream goes on after such a line.
            Err(error @ (LineError::NotUtf8(_) | LineError::TooLong { .. })) => error.to_string(),
            Err(error) => return Err(error.into()),
        };
        writer.deliver(format!("refused: {refused}")).await?;
    }
}

/// Tells a client what others do, and what is for it alone.
async fn write(
    mut mailbox: Mailbox<String>,
    own: u64,
    mut events: Subscriber<Event>,
    mut socket: OwnedWriteHalf,
) -> pleiad::Result<()> {
    let mut missed = 0;
    loop {
        let mut line = tokio::select! {
            line = mailbox.recv() => match line {
                Some(line) => line,
                None => return Ok(()),
            },
            event = events.recv() => match event {
                Some(event) if event.id == own => continue,
                Some(event) => event.to_string(),
                // The room is closed.
                None => return Ok(()),
            },
        };
        if events.missed() > missed {
            let more = events.missed() - missed;
            line.insert_str(0, &format!("({more} events, perhaps your own, were missed)\n"));
            missed = events.missed();
        }
        line.push('\n');
        socket.write_all(line.as_bytes()).await?;
    }
}

// ---- a script ----

async fn follow_the_script(server: SocketAddr) -> pleiad::Result<()> {
    let mut one = Person::join(server, 1).await?;
    let mut two = Person::join(server, 2).await?;
    one.reads().await?;
    let mut three = Person::join(server, 3).await?;
    one.reads().await?;
    two.reads().await?;

    two.says(b"hello").await?;
    one.reads().await?;
    three.reads().await?;

    // Only the one who wrote it hears of these, and may go on.
    three.says(b"\xff\xfe").await?;
    three.reads().await?;
    three.says(&[b'x'; LINE_BYTES_MAX + 1]).await?;
    three.reads().await?;
    three.says(b"sorry").await?;
    one.reads().await?;
    two.reads().await?;

    drop(two);
    one.reads().await?;
    three.reads().await
}

struct Person {
    id: u64,
    lines: Lines<OwnedReadHalf>,
    socket: OwnedWriteHalf,
}

impl Person {
    /// Gives it when it is in the room.
    async fn join(server: SocketAddr, id: u64) -> pleiad::Result<Self> {
        let (reader, socket) = TcpStream::connect(server).await?.into_split();
        let mut person = Self { id, lines: Lines::new(reader), socket };
        person.reads().await?;
        Ok(person)
    }

    async fn reads(&mut self) -> pleiad::Result<()> {
        match self.lines.next_line().await? {
            Some(line) => println!("{} reads: {line}", self.id),
            None => return Err(Error::msg(format!("{} was sent away", self.id))),
        }
        Ok(())
    }

    async fn says(&mut self, line: &[u8]) -> pleiad::Result<()> {
        let shown: String = line.escape_ascii().to_string().chars().take(20).collect();
        println!("{} says:  {shown}", self.id);
        self.socket.write_all(line).await?;
        self.socket.write_all(b"\n").await?;
        Ok(())
    }
}

//! Ten clients send messages of random length to a server, which counts them.
//!
//! Shows tokio's sockets in tasks: the server has a task for each connection, which tells it by a
//! message what has come. The clients use their sockets both ways: when they have sent everything,
//! they read what the server says it got.
//!
//! ```sh
//! cargo run --example streams_03_sockets            # 10 clients
//! cargo run --example streams_03_sockets -- 1000
//! ```
//!
//! ```text
//! client 0 connected
//! ...
//! client 7: the server has received 3 messages, 59640 bytes
//! ...
//! the clients sent        30 messages, 463366 bytes
//! the server received     30 messages, 463366 bytes
//! ```

use std::net::{Ipv4Addr, SocketAddr};
use std::{env, fmt};

use pleiad::io::Lines;
use pleiad::{Error, Mailbox, Reply, TaskRef, spawn_future, try_spawn};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

const MESSAGES: u64 = 3;
const MESSAGE_BYTES_MAX: u64 = 30_000;

/// What was sent, or received.
#[derive(Clone, Copy, PartialEq, Default)]
struct Total {
    messages: u64,
    bytes: u64,
}

enum Input {
    /// From a connection, at its end.
    Received(Total),
    /// What have all of them received?
    Report(Reply<Total>),
}

#[tokio::main]
async fn main() -> pleiad::Result<()> {
    let clients = match env::args().nth(1) {
        None => 10,
        Some(n) => n.parse().map_err(|_| Error::msg(format!("{n} is no number of clients")))?,
    };

    // Port 0: any that is free. `TcpListener::bind` would do for few clients: of more than 128 that
    // come at once, the system turns some away.
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
    let listener = socket.listen(1024)?;
    let address = listener.local_addr()?;
    let server = try_spawn(|mailbox| serve(mailbox, listener));

    let clients: Vec<_> = (0..clients).map(|n| spawn_future(client(n, address))).collect();
    let mut sent = Total::default();
    for client in clients {
        sent.add(client.await??);
    }
    println!("the clients sent        {sent}");

    let received = server.ask(Input::Report).await?;
    println!("the server received     {received}");
    server.terminate();
    server.await?;
    if received == sent { Ok(()) } else { Err(Error::msg("something was lost")) }
}

/// The server: waits for connections and for messages, until it is asked to stop.
async fn serve(mut mailbox: Mailbox<Input>, listener: TcpListener) -> pleiad::Result<()> {
    let mut total = Total::default();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, peer) = accepted?;
                let server = mailbox.me();
                spawn_future(async move {
                    // The failure of one connection is none of the server.
                    if let Err(error) = connection(stream, server).await {
                        println!("{peer}: {error}");
                    }
                })
                .detach();
            }
            input = mailbox.recv() => match input {
                Some(Input::Received(more)) => total.add(more),
                Some(Input::Report(reply)) => reply.send(total),
                None => return Ok(()),
            }
        }
    }
}

/// Reads to the end, and answers what it got. Messages are lines.
async fn connection(mut stream: TcpStream, server: TaskRef<Input>) -> pleiad::Result<()> {
    let mut lines = Lines::new(&mut stream);
    let mut total = Total::default();
    while let Some(line) = lines.next_bytes().await? {
        total.add(Total { messages: 1, bytes: line.len() as u64 });
    }
    // In this order: who has the answer can be sure that the server knows.
    server.deliver(Input::Received(total)).await?;
    stream.write_all(total.to_string().as_bytes()).await?;
    Ok(())
}

/// Sends messages, and checks what the server says that it got.
async fn client(number: u64, server: SocketAddr) -> pleiad::Result<Total> {
    let mut stream = TcpStream::connect(server).await?;
    println!("client {number} connected");

    let mut chance = Chance(number);
    let mut total = Total::default();
    for _ in 0..MESSAGES {
        let bytes = chance.up_to(MESSAGE_BYTES_MAX);
        let mut message = vec![b'x'; bytes as usize];
        message.push(b'\n');
        stream.write_all(&message).await?;
        total.add(Total { messages: 1, bytes });
    }

    // Only this direction ends: the answer can still come.
    stream.shutdown().await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    println!("client {number}: the server has received {answer}");
    if answer == total.to_string() { Ok(total) } else { Err(Error::msg(format!("not {total}"))) }
}

impl Total {
    fn add(&mut self, more: Self) {
        self.messages += more.messages;
        self.bytes += more.bytes;
    }
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} messages, {} bytes", self.messages, self.bytes)
    }
}

/// Numbers by chance, but the same for the same seed (the generator is known as SplitMix64).
struct Chance(u64);

impl Chance {
    fn up_to(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % most + 1
    }
}

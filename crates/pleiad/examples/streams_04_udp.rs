//! Fifty tasks send a datagram each to one task, which answers.
//!
//! Shows tokio's [`UdpSocket`] in tasks. A datagram comes whole or not at all: here, a client
//! repeats it until it has an answer, and the server knows what it has seen already.
//!
//! ```sh
//! cargo run --example streams_04_udp
//! ```
//!
//! ```text
//! received "hello from task 0", from 127.0.0.1:58302
//! received "hello from task 3", from 127.0.0.1:47415
//! ...
//! 50 tasks have an answer, the server has 50 different datagrams
//! ```

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use pleiad::{Error, Mailbox, NoMessage, spawn_future, try_spawn};
use tokio::net::UdpSocket;
use tokio::time::timeout;

const CLIENTS: usize = 50;
const DATAGRAM_BYTES_MAX: usize = 512;
const ATTEMPTS: usize = 5;
const PATIENCE: Duration = Duration::from_secs(1);

#[tokio::main]
async fn main() -> pleiad::Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    let address = socket.local_addr()?;
    let server = try_spawn(|mailbox| serve(mailbox, socket));

    let clients: Vec<_> = (0..CLIENTS).map(|n| spawn_future(client(n, address))).collect();
    let mut answered = 0;
    for client in clients {
        client.await??;
        answered += 1;
    }

    // Nobody sends it messages, so the server gets nothing but this.
    server.terminate();
    let seen = server.await?;
    println!("{answered} tasks have an answer, the server has {seen} different datagrams");
    Ok(())
}

/// Gives how many different datagrams have come when it is asked to stop.
async fn serve(mailbox: Mailbox<NoMessage>, socket: UdpSocket) -> pleiad::Result<usize> {
    let mut seen = HashSet::new();
    // Bytes that do not fit are cut off, without an error.
    let mut buffer = [0; DATAGRAM_BYTES_MAX];
    loop {
        let (length, from) = tokio::select! {
            received = socket.recv_from(&mut buffer) => received?,
            () = mailbox.stopping() => return Ok(seen.len()),
        };
        let datagram = &buffer[..length];
        if seen.insert((from, datagram.to_vec())) {
            println!("received {:?}, from {from}", String::from_utf8_lossy(datagram));
        }
        socket.send_to(datagram, from).await?;
    }
}

/// Sends one datagram, and waits for it to come back.
async fn client(number: usize, server: SocketAddr) -> pleiad::Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    // From now on, it hears this address only.
    socket.connect(server).await?;
    let datagram = format!("hello from task {number}");
    let mut answer = [0; DATAGRAM_BYTES_MAX];
    for _ in 0..ATTEMPTS {
        socket.send(datagram.as_bytes()).await?;
        let Ok(received) = timeout(PATIENCE, socket.recv(&mut answer)).await else {
            println!("task {number} has no answer and tries again");
            continue;
        };
        if answer[..received?] != *datagram.as_bytes() {
            return Err(Error::msg(format!("task {number} has the answer of another")));
        }
        return Ok(());
    }
    Err(Error::msg(format!("task {number} has no answer after {ATTEMPTS} attempts")))
}

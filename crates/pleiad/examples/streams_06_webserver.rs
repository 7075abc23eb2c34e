//! A web server with a task for each connection, and one answer for all.
//!
//! Shows how little a connection costs, a limit for everything that a client may do, and a server
//! that ends when it is asked to. Without arguments, it asks itself and tells how fast that was.
//!
//! ```sh
//! cargo run --release --example streams_06_webserver
//! cargo run --release --example streams_06_webserver -- 127.0.0.1:8000    # until Ctrl-C
//! ```
//!
//! ```text
//! 10 clients, each with 1000 requests one after the other
//! 10000 requests in 1.27 s: 7847 requests/s
//! the server has had 10000 connections
//! ```

use std::env;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use pleiad::io::Lines;
use pleiad::{Error, Mailbox, NoMessage, spawn, spawn_future};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

const CLIENTS: usize = 10;
const REQUESTS: usize = 1_000;
/// Connections that may wait to be accepted.
const WAITING_MAX: u32 = 4_096;
/// For all of a request's head.
const HEAD_BYTES_MAX: u64 = 8_192;
const HEAD_TIME_MAX: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(100);

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\
                        Connection: close\r\n\r\npong\n";

#[tokio::main]
async fn main() -> pleiad::Result<()> {
    match env::args().nth(1) {
        None => ask_itself().await,
        Some(address) => serve_until_interrupted(&address).await,
    }
}

async fn serve_until_interrupted(address: &str) -> pleiad::Result<()> {
    let listener = listen(address)?;
    println!("listening on http://{}, until Ctrl-C", listener.local_addr()?);
    let server = spawn(|mailbox| serve(mailbox, listener));
    tokio::signal::ctrl_c().await?;
    server.terminate();
    println!("the server has had {} connections", server.await?);
    Ok(())
}

async fn ask_itself() -> pleiad::Result<()> {
    // Port 0: any that is free.
    let listener = listen("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let server = spawn(|mailbox| serve(mailbox, listener));

    println!("{CLIENTS} clients, each with {REQUESTS} requests one after the other");
    let start = Instant::now();
    let clients: Vec<_> = (0..CLIENTS).map(|_| spawn_future(client(address))).collect();
    for client in clients {
        client.await??;
    }
    let (requests, seconds) = (CLIENTS * REQUESTS, start.elapsed().as_secs_f64());
    let pace = requests as f64 / seconds;
    println!("{requests} requests in {seconds:.2} s: {pace:.0} requests/s");

    server.terminate();
    println!("the server has had {} connections", server.await?);
    Ok(())
}

/// As `TcpListener::bind`, but with more room for those who come at once.
fn listen(address: &str) -> pleiad::Result<TcpListener> {
    let cannot = |error| Error::msg(format!("cannot listen on {address}: {error}"));
    let address: SocketAddr = address.parse().map_err(|_| {
        Error::msg(format!("{address:?} is no address: try 127.0.0.1:8000, or [::1]:8000"))
    })?;
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let socket = socket.map_err(cannot)?;
    // A server that ended a moment ago is no reason to wait.
    socket.set_reuseaddr(true).map_err(cannot)?;
    socket.bind(address).map_err(cannot)?;
    socket.listen(WAITING_MAX).map_err(cannot)
}

/// Gives how many connections there were when it is asked to stop.
async fn serve(mailbox: Mailbox<NoMessage>, listener: TcpListener) -> u64 {
    let mut connections = 0;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = mailbox.stopping() => return connections,
        };
        match accepted {
            Ok((stream, peer)) => {
                connections += 1;
                spawn_future(async move {
                    if let Err(error) = answer(stream).await {
                        println!("{peer}: {error}");
                    }
                })
                .detach();
            }
            // Most often, too many files are open: some connections have to end first.
            Err(error) => {
                println!("cannot accept a connection: {error}");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn answer(mut stream: TcpStream) -> pleiad::Result<()> {
    let Ok(read) = timeout(HEAD_TIME_MAX, read_head(&mut stream)).await else {
        return Err(Error::msg(format!("no request within {HEAD_TIME_MAX:?}")));
    };
    read?;
    stream.write_all(ANSWER).await?;
    stream.shutdown().await?;
    Ok(())
}

/// A head is lines up to the first empty one.
async fn read_head(stream: &mut TcpStream) -> pleiad::Result<()> {
    let mut lines = Lines::new(stream.take(HEAD_BYTES_MAX));
    while let Some(line) = lines.next_bytes().await? {
        if line.is_empty() {
            return Ok(());
        }
    }
    Err(Error::msg(format!("the request ends in its head, or that is over {HEAD_BYTES_MAX} bytes")))
}

async fn client(server: SocketAddr) -> pleiad::Result<()> {
    let mut answer = Vec::new();
    for _ in 0..REQUESTS {
        let mut stream = TcpStream::connect(server).await?;
        stream.write_all(REQUEST).await?;
        answer.clear();
        stream.read_to_end(&mut answer).await?;
        if answer != ANSWER {
            return Err(Error::msg(format!(
                "not the answer: {}",
                String::from_utf8_lossy(&answer)
            )));
        }
    }
    Ok(())
}

//! What a link carries between two processes of this machine, beside plain TCP in the same run.
//!
//! `cargo bench -p pleiad-net --bench links [-- ROUNDS] [WORDS]`: each round measures everything once, in
//! turn, or only what has the words in its name; printed are the medians. The far side is this program again.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pleiad_net::Node;
use pleiad_task::{Mailbox, Reply, SendError, TaskRef, spawn, spawn_future};
use serde::{Deserialize, Serialize};
use serde_bytes::{ByteArray, ByteBuf};

/// What the far side is asked.
#[derive(Serialize, Deserialize)]
enum Message {
    Small(ByteArray<64>),
    Large(ByteBuf),
    Echo(ByteArray<64>, Reply<ByteArray<64>>),
    /// How many have come.
    Count(Reply<u64>),
}

const SMALL: ByteArray<64> = ByteArray::new([7; 64]);
const LARGE_BYTES: usize = 1 << 20;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["far", home] => far(Path::new(home)),
        ["tcp", ..] => tcp_far(),
        _ => {
            let rounds = args.iter().find_map(|arg| arg.parse().ok()).unwrap_or(3);
            let is_word = |arg: &&String| !arg.starts_with('-') && arg.parse::<usize>().is_err();
            near(rounds, args.iter().find(is_word).map_or("", String::as_str))
        }
    }
}

// ---- the far side ----

#[tokio::main(flavor = "current_thread")]
async fn far(home: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let node = Node::builder().name("far").home(home).start().await?;
    let task = spawn(serve);
    node.register("bench", &task)?;
    // Bodies come to a task on a thread of its own: what it costs to have them is not that of a question.
    let sink = on_own_thread(|| spawn(serve).detach())?;
    node.register("sink", &sink)?;
    // Until the near side ends.
    let mut end = tokio::io::stdin();
    tokio::io::AsyncReadExt::read(&mut end, &mut [0]).await?;
    Ok(())
}

/// Runs on a thread that goes on for as long as the program.
fn on_own_thread<T: Send + 'static>(
    start: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Box<dyn std::error::Error>> {
    let (send, receive) = std::sync::mpsc::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            let _ = send.send(start());
            std::future::pending::<()>().await;
        });
    });
    Ok(receive.recv()?)
}

async fn serve(mut mailbox: Mailbox<Message>) {
    let mut count = 0;
    while let Some(message) = mailbox.recv().await {
        match message {
            Message::Small(_) | Message::Large(_) => count += 1,
            Message::Echo(body, reply) => reply.send(body),
            Message::Count(reply) => reply.send(count),
        }
    }
}

/// Answers 64 bytes by 64 bytes, until it is told to swallow.
fn tcp_far() -> Result<(), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    loop {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        std::thread::spawn(move || -> std::io::Result<()> {
            let mut mode = [0];
            stream.read_exact(&mut mode)?;
            let mut buffer = vec![0; LARGE_BYTES];
            if mode == *b"e" {
                loop {
                    stream.read_exact(&mut buffer[..64])?;
                    stream.write_all(&buffer[..64])?;
                }
            }
            while stream.read(&mut buffer)? > 0 {}
            stream.write_all(b"k")
        });
    }
}

/// Ends with this.
struct Far(Child);

impl Far {
    fn start(args: &[&str]) -> std::io::Result<Self> {
        let program = std::env::current_exe()?;
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
        Ok(Self(command.spawn()?))
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

// ---- the near side ----

#[tokio::main(flavor = "current_thread")]
async fn near(rounds: usize, words: &str) -> Result<(), Box<dyn std::error::Error>> {
    let home = tempfile::tempdir()?;
    let path = home.path().to_str().ok_or("the directory has no name")?;
    let _far = Far::start(&["far", path])?;
    let node = Node::builder().name("near").home(home.path()).start().await?;
    // The far side may start later.
    let task: TaskRef<Message> = node.locate("bench").timeout(Duration::from_secs(10)).await?;
    let sink: TaskRef<Message> = node.locate("sink").timeout(Duration::from_secs(10)).await?;
    let mut tcp = Far::start(&["tcp"])?;
    let mut address = String::new();
    let stdout = tcp.0.stdout.as_mut().ok_or("no output")?;
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut address)?;
    let address = address.trim();

    let mut table = Table::default();
    let row = |name: &str| name.contains(words);
    for _ in 0..rounds {
        if row("one-way 64 B, send") {
            table.add("one-way 64 B, send", "M/s", one_way(&task).await? / 1e6);
        }
        if row("there and back, TCP") {
            table.add("there and back, TCP", "µs p50", tcp_ask(address)?);
        }
        if row("there and back, ask") {
            table.add("there and back, ask", "µs p50", ask(&task).await?);
        }
        if row("64 asks in flight") {
            table.add("64 asks in flight", "k/s", asks(&task, 64).await? / 1e3);
        }
        if row("deliver, pipelined") {
            table.add("deliver, pipelined", "k/s", deliver(&task).await? / 1e3);
        }
        if row("1 MiB bodies, TCP") {
            table.add(
                "1 MiB bodies, TCP",
                "GB/s",
                tcp_stream(address, LARGE_BYTES, 2 << 30)? / 1e9,
            );
        }
        if row("1 MiB bodies, deliver") {
            table.add("1 MiB bodies, deliver", "GB/s", bodies(&sink).await? / 1e9);
        }
        if row("ask while bodies go") {
            table.add("ask while bodies go", "µs p50", ask_under_bulk(&task, &sink).await?);
        }
    }
    table.print();
    Ok(())
}

async fn one_way(task: &TaskRef<Message>) -> Result<f64, Box<dyn std::error::Error>> {
    const COUNT: u64 = 2_000_000;
    let before = task.ask(Message::Count).await?;
    let start = Instant::now();
    for _ in 0..COUNT {
        match task.send(Message::Small(SMALL)) {
            Ok(()) => (),
            Err(SendError::Full { message, .. }) => task.deliver(message).await?,
            Err(error) => return Err(error.into()),
        }
    }
    let after = task.ask(Message::Count).await?;
    assert_eq!(after - before, COUNT, "every message has come");
    Ok(COUNT as f64 / start.elapsed().as_secs_f64())
}

async fn ask(task: &TaskRef<Message>) -> Result<f64, Box<dyn std::error::Error>> {
    let mut times = Vec::new();
    for _ in 0..5_000 {
        let start = Instant::now();
        task.ask(|reply| Message::Echo(SMALL, reply)).await?;
        times.push(start.elapsed());
    }
    Ok(median(&mut times))
}

async fn asks(task: &TaskRef<Message>, at_once: usize) -> Result<f64, Box<dyn std::error::Error>> {
    const EACH: usize = 5_000;
    let start = Instant::now();
    let askers: Vec<_> = (0..at_once)
        .map(|_| {
            let task = task.clone();
            tokio::spawn(async move {
                for _ in 0..EACH {
                    let echo = task.ask(|reply| Message::Echo(SMALL, reply)).await;
                    assert!(echo.is_ok(), "{echo:?}");
                }
            })
        })
        .collect();
    for asker in askers {
        asker.await?;
    }
    Ok((at_once * EACH) as f64 / start.elapsed().as_secs_f64())
}

async fn deliver(task: &TaskRef<Message>) -> Result<f64, Box<dyn std::error::Error>> {
    const COUNT: usize = 1_000_000;
    const AT_ONCE: usize = 1_000;
    let start = Instant::now();
    let mut flying = VecDeque::new();
    for _ in 0..COUNT {
        if flying.len() == AT_ONCE {
            let first: std::pin::Pin<Box<pleiad_task::Deliver<'_, Message>>> =
                flying.pop_front().ok_or("none is flying")?;
            first.await?;
        }
        let mut delivery = Box::pin(task.deliver(Message::Small(SMALL)));
        // It goes when it is polled.
        std::future::poll_fn(|cx| {
            let _ = delivery.as_mut().poll(cx);
            std::task::Poll::Ready(())
        })
        .await;
        flying.push_back(delivery);
    }
    for delivery in flying {
        delivery.await?;
    }
    Ok(COUNT as f64 / start.elapsed().as_secs_f64())
}

async fn bodies(task: &TaskRef<Message>) -> Result<f64, Box<dyn std::error::Error>> {
    const COUNT: usize = 1_000;
    let before = task.ask(Message::Count).await?;
    let body = ByteBuf::from(vec![7; LARGE_BYTES]);
    let start = Instant::now();
    for _ in 0..COUNT {
        match task.send(Message::Large(body.clone())) {
            Ok(()) => (),
            Err(SendError::Full { message, .. }) => task.deliver(message).await?,
            Err(error) => return Err(error.into()),
        }
    }
    let after = task.ask(Message::Count).await?;
    assert_eq!(after - before, COUNT as u64, "every body has come");
    Ok((COUNT * LARGE_BYTES) as f64 / start.elapsed().as_secs_f64())
}

async fn ask_under_bulk(
    task: &TaskRef<Message>,
    sink: &TaskRef<Message>,
) -> Result<f64, Box<dyn std::error::Error>> {
    let sink = sink.clone();
    let sender = on_own_thread(move || {
        spawn_future(async move {
            let body = ByteBuf::from(vec![7; LARGE_BYTES]);
            while sink.deliver(Message::Large(body.clone())).await.is_ok() {}
        })
        .detach()
    })?;
    let p50 = ask(task).await?;
    sender.kill();
    sender.ended().await;
    Ok(p50)
}

fn tcp_ask(address: &str) -> Result<f64, Box<dyn std::error::Error>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.write_all(b"e")?;
    let mut body = [0; 64];
    let mut times = Vec::new();
    for _ in 0..5_000 {
        let start = Instant::now();
        stream.write_all(&body)?;
        stream.read_exact(&mut body)?;
        times.push(start.elapsed());
    }
    Ok(median(&mut times))
}

/// Bytes a second.
fn tcp_stream(
    address: &str,
    piece: usize,
    bytes: usize,
) -> Result<f64, Box<dyn std::error::Error>> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"s")?;
    let body = vec![7; piece];
    let start = Instant::now();
    for _ in 0..bytes / piece {
        stream.write_all(&body)?;
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    stream.read_exact(&mut [0])?;
    Ok(bytes as f64 / start.elapsed().as_secs_f64())
}

/// In microseconds.
fn median(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e6
}

// ---- what is printed ----

#[derive(Default)]
struct Table {
    rows: Vec<(&'static str, &'static str, Vec<f64>)>,
}

impl Table {
    fn add(&mut self, what: &'static str, unit: &'static str, figure: f64) {
        eprintln!("{what}: {figure:.2} {unit}");
        match self.rows.iter_mut().find(|(known, ..)| *known == what) {
            Some((.., figures)) => figures.push(figure),
            None => self.rows.push((what, unit, vec![figure])),
        }
    }

    fn print(&mut self) {
        for (what, unit, figures) in &mut self.rows {
            figures.sort_by(f64::total_cmp);
            let median = figures[figures.len() / 2];
            let (low, high) = (figures[0], figures[figures.len() - 1]);
            println!("{what:<24} {median:>9.2} {unit:<7} ({low:.2} to {high:.2})");
        }
    }
}

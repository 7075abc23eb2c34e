//! How fast a file goes from one process to another: beside a copy, a copy over plain TCP, and the
//! hash alone.
//!
//! `cargo bench -p pleiad-net --bench files -- [MIB] [DIRECTORY]`; by default 1024 and that for temporary
//! files. Each is done three times, and the best counts.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pleiad_net::{Node, NodeBuilder};

const ROUNDS: usize = 3;
const BUFFER: usize = 1 << 20;

type Done<T> = Result<T, Box<dyn Error>>;

fn main() -> Done<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if let Some(directory) = std::env::var_os("PLEIAD_BENCH_FILES") {
        return runtime.block_on(receive(Path::new(&directory)));
    }
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let mib: usize = args.first().map_or(Ok(1024), |text| text.parse())?;
    let temporary = std::env::temp_dir();
    let within = args.get(1).map_or(temporary.as_path(), Path::new);
    let directory = tempfile::tempdir_in(within)?;
    runtime.block_on(measure(directory.path(), mib))
}

async fn measure(directory: &Path, mib: usize) -> Done<()> {
    let data = directory.join("data");
    let mut file = File::create(&data)?;
    let mut block = vec![0; BUFFER];
    for n in 0..mib {
        block.iter_mut().enumerate().for_each(|(at, byte)| *byte = (at * 31 + n * 7) as u8);
        file.write_all(&block)?;
    }
    drop(file);
    let report = |what: &str, best: Duration| {
        let speed = (mib * BUFFER) as f64 / best.as_secs_f64() / 1e9;
        writeln!(io::stdout(), "{what:28} {speed:6.2} GB/s")
    };

    let copy = directory.join("copy");
    let best = best(|| Command::new("cp").arg(&data).arg(&copy).status().map(drop))?;
    report("cp", best)?;
    fs::remove_file(&copy)?;
    let best = self::best(|| {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(File::open(&data)?)?;
        std::hint::black_box(hasher.finalize());
        Ok(())
    })?;
    report("read and hashed", best)?;

    let (mut receiver, port) = start_receiver(directory)?;
    let best = self::best(|| {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        pump(&mut File::open(&data)?, &mut stream)?;
        stream.shutdown(std::net::Shutdown::Write)?;
        stream.read_exact(&mut [0])
    })?;
    report("plain TCP, without a hash", best)?;

    let node = builder(directory, "sender").start().await?;
    let peer = node.peer("receiver").await.ok_or("the receiver has not come")?;
    let mut best = Duration::MAX;
    for n in 0..ROUNDS {
        let begin = Instant::now();
        node.send_file(&peer, &data).to(n.to_string()).await?;
        best = best.min(begin.elapsed());
        node.delete_file(&peer, &n.to_string()).await?;
    }
    report("send_file: TLS and hash", best)?;
    node.close().await;
    receiver.kill()?;
    receiver.wait()?;
    Ok(())
}

fn best(mut act: impl FnMut() -> io::Result<()>) -> io::Result<Duration> {
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        act()?;
        best = best.min(begin.elapsed());
    }
    Ok(best)
}

fn builder(directory: &Path, name: &str) -> NodeBuilder {
    Node::builder().name(name).home(directory.join("home"))
}

fn start_receiver(directory: &Path) -> Done<(Child, u16)> {
    let mut child = Command::new(std::env::current_exe()?)
        .env("PLEIAD_BENCH_FILES", directory)
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = child.stdout.take().ok_or("no standard output")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    Ok((child, line.trim().parse()?))
}

/// The other process.
async fn receive(directory: &Path) -> Done<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    writeln!(io::stdout(), "{}", listener.local_addr()?.port())?;
    let _node = builder(directory, "receiver").files(directory.join("files")).start().await?;
    for stream in listener.incoming() {
        let mut stream = stream?;
        let raw = directory.join("raw");
        pump(&mut stream, &mut File::create(&raw)?)?;
        stream.write_all(&[1])?;
        fs::remove_file(&raw)?;
    }
    Ok(())
}

fn pump(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            read => to.write_all(&buffer[..read])?,
        }
    }
}

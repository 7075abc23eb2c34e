//! A bad network: forwards connections to a node, and does to them what networks do.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::Random;

#[derive(Clone)]
pub(crate) struct Forwarder {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    target: Mutex<Option<SocketAddr>>,
    /// To the node, and from it: nothing is read.
    stalled: [watch::Sender<bool>; 2],
    cuts: watch::Sender<u64>,
    delay: Mutex<Duration>,
    /// Connections are cut after up to so many bytes. 0: never.
    cut_after: AtomicU64,
    random: Mutex<Random>,
    connections: AtomicU64,
}

impl Forwarder {
    pub(crate) async fn start(seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            target: Mutex::new(None),
            stalled: [watch::Sender::new(false), watch::Sender::new(false)],
            cuts: watch::Sender::new(0),
            delay: Mutex::default(),
            cut_after: AtomicU64::new(0),
            random: Mutex::new(Random(seed)),
            connections: AtomicU64::new(0),
        });
        let of_task = shared.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(forward(of_task.clone(), near));
            }
        });
        Self { address, shared }
    }

    pub(crate) fn to(&self, target: &str) {
        *self.shared.target.lock().unwrap() = Some(target.parse().expect("an address"));
    }

    /// Stops reading: what is to the node, what is from it.
    pub(crate) fn stall(&self, to: bool, from: bool) {
        self.shared.stalled[0].send_replace(to);
        self.shared.stalled[1].send_replace(from);
    }

    /// Closes all connections that there are.
    pub(crate) fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    pub(crate) fn cut_after(&self, bytes: u64) {
        self.shared.cut_after.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn delay(&self, delay: Duration) {
        *self.shared.delay.lock().unwrap() = delay;
    }

    /// How many there were.
    pub(crate) fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }
}

async fn forward(shared: Arc<Shared>, near: TcpStream) {
    shared.connections.fetch_add(1, Ordering::Relaxed);
    let target = *shared.target.lock().unwrap();
    let Ok(far) = TcpStream::connect(target.expect("it is known by now")).await else { return };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let mut cuts = shared.cuts.subscribe();
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    tokio::select! {
        () = pump(&shared, 0, near_read, far_write) => (),
        () = pump(&shared, 1, far_read, near_write) => (),
        _ = cuts.changed() => (),
    }
}

async fn pump(shared: &Shared, way: usize, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let mut stalled = shared.stalled[way].subscribe();
    let mut buffer = vec![0; 16 << 10];
    let cut_after = shared.cut_after.load(Ordering::Relaxed);
    let mut left = match cut_after {
        0 => u64::MAX,
        bytes => 1 + shared.random.lock().unwrap().below(bytes),
    };
    loop {
        if stalled.wait_for(|stalled| !stalled).await.is_err() {
            return;
        }
        let read = match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(read) => read,
        };
        if stalled.wait_for(|stalled| !stalled).await.is_err() {
            return;
        }
        let delay = *shared.delay.lock().unwrap();
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let goes = read.min(usize::try_from(left).unwrap_or(usize::MAX));
        left -= goes as u64;
        if to.write_all(&buffer[..goes]).await.is_err() || left == 0 {
            return;
        }
    }
}

//! The node's own thread: accepts and makes connections, gives signs of life, looks after the time.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{self, Handle};
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinSet};

use crate::addresses::Target;
use crate::error::ConnectError;
use crate::greet::{self, Reached};
use crate::mesh::Mesh;

/// Connections that have not said who they are. For a further one, the oldest is closed: whoever is a
/// member has said so within milliseconds.
const STRANGERS_MAX: usize = 4096;

/// After an error of the system while accepting, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// After a name that was not resolved.
const RESOLVE_AGAIN: Duration = Duration::from_secs(10);

/// Ends when it is dropped.
pub(crate) struct OwnThread {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl OwnThread {
    pub(crate) fn start() -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::Builder::new().name("pleiad-net".to_owned()).spawn(move || {
            let _ = runtime.block_on(stopped);
        })?;
        Ok(Self { handle, stop: Some(stop), thread: Some(thread) })
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for OwnThread {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

/// Accepts connections until the node closes.
pub(crate) async fn listen(mesh: Arc<Mesh>, listener: TcpListener) {
    let mut strangers = Strangers::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = mesh.closing() => return,
        };
        let (tcp, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                strangers.close_oldest();
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        tracing::trace!(%address, "a connection has come");
        strangers.take(mesh.clone(), tcp);
    }
}

/// Connections that have not said who they are.
struct Strangers {
    max: usize,
    greetings: JoinSet<()>,
    /// The oldest first; those that have ended may still be there.
    by_age: VecDeque<AbortHandle>,
}

impl Strangers {
    fn new() -> Self {
        // Other things need files too.
        let files = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
        let max = usize::try_from(files / 4).unwrap_or(usize::MAX).clamp(1, STRANGERS_MAX);
        Self { max, greetings: JoinSet::new(), by_age: VecDeque::new() }
    }

    fn take(&mut self, mesh: Arc<Mesh>, tcp: TcpStream) {
        while self.greetings.try_join_next().is_some() {}
        if self.greetings.len() >= self.max {
            self.close_oldest();
        }
        if self.by_age.len() >= 2 * self.max {
            self.by_age.retain(|greeting| !greeting.is_finished());
        }
        self.by_age.push_back(self.greetings.spawn(async move {
            if let Err(error) = greet::accept(&mesh, tcp).await {
                log_refused(&error);
            }
        }));
    }

    fn close_oldest(&mut self) {
        while let Some(oldest) = self.by_age.pop_front() {
            if !oldest.is_finished() {
                tracing::info!("too many connections do not say who they are: closing the oldest");
                return oldest.abort();
            }
        }
    }
}

fn log_refused(error: &ConnectError) {
    use std::error::Error as _;
    let cause = error.source().map(ToString::to_string).unwrap_or_default();
    tracing::info!(%error, cause, "a connection was not taken");
}

/// Does what is due, when it is due, until the node closes.
pub(crate) async fn keep_time(mesh: Arc<Mesh>) {
    loop {
        let now = mesh.now();
        let mut next = now + Duration::from_secs(1);
        for link in mesh.links() {
            if let Some(at) = link.handle_timeout() {
                next = next.min(at);
            }
        }
        let dials: Vec<SocketAddr> = {
            let mut membership = mesh.membership();
            membership.handle_timeout(now);
            if let Some(at) = membership.poll_timeout() {
                next = next.min(at);
            }
            std::iter::from_fn(|| membership.poll_dial()).collect()
        };
        for address in dials {
            let mesh = mesh.clone();
            tokio::spawn(async move { dial(&mesh, address).await });
        }
        tokio::select! {
            () = tokio::time::sleep(next - mesh.now()) => (),
            () = mesh.due.notified() => (),
        }
        if mesh.closed.load(Ordering::Acquire) && mesh.links().is_empty() {
            return;
        }
    }
}

/// Has the peer there connected, now and whenever it is gone.
pub(crate) async fn want(mesh: Arc<Mesh>, target: Target) {
    loop {
        match target.resolve().await {
            Ok(addresses) => {
                let mut membership = mesh.membership();
                addresses.into_iter().for_each(|at| membership.want(mesh.now(), at));
                drop(membership);
                mesh.due.notify_one();
                return;
            }
            Err(error) => {
                tracing::warn!(peer = %target, %error, "a peer's address is not known");
                mesh.handle_unknown(&target.to_string(), &error);
            }
        }
        tokio::select! {
            () = tokio::time::sleep(RESOLVE_AGAIN) => (),
            () = mesh.closing() => return,
        }
    }
}

async fn dial(mesh: &Arc<Mesh>, address: SocketAddr) {
    match greet::dial(mesh, address).await {
        Ok(Reached::Peer(node)) => {
            mesh.membership().handle_reached(address, node);
            // It was to connect from its side, and has not; or it is gone already.
            if mesh.link(node).is_none() {
                mesh.membership().handle_gone(mesh.now(), node);
            }
        }
        Ok(Reached::Itself) => {
            let mut membership = mesh.membership();
            membership.unwant(address);
            membership.handle_failed(mesh.now(), address);
        }
        Err(error) => {
            log_refused(&error);
            mesh.handle_unreachable(address, &error);
            mesh.membership().handle_failed(mesh.now(), address);
        }
    }
    mesh.due.notify_one();
}

//! The agent's side: never waits for the launcher but in [`Launcher::next_event`].

use std::collections::{HashSet, VecDeque};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net;
use std::os::unix::process::CommandExt as _;
use std::process::{self, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{AddressFamily, Shutdown, SockFlag, SockType, shutdown, socketpair};
use tokio::io::Interest;
use tokio::net::UnixStream;

use super::wire::{Body, INLINE_BYTES_MAX, Order, Report, encode_request};
use super::{
    Launch, LaunchId, LauncherEvent, OWN_PROGRAM, ROLE_LAUNCHER, ROLE_VARIABLE, Stage, StopHow, sys,
};

/// Reports taken in one go, before the caller gets a turn.
const REPORTS_AT_ONCE: usize = 64;

/// Larger than any report.
const REPORT_BYTES_MAX: usize = 128;

/// Pause when the kernel has too many descriptors on their way, the end of which it does not tell.
const CROWDED_RETRY: Duration = Duration::from_millis(2);

/// Starts programs, each of which ends with all its descendants before its end is told.
///
/// Dropping it ends everything that it has started, within seconds but unseen; see
/// [`shutdown`](Self::shutdown).
#[derive(Debug)]
pub struct Launcher {
    socket: UnixStream,
    process: LauncherProcess,
    /// Orders for which the socket has had no room: as many as there are launches and stops.
    queue: VecDeque<Packet>,
    /// The first of the queue waits for time, not for the socket.
    crowded: bool,
    incoming: Incoming,
}

impl Launcher {
    /// Starts the launcher's process, from this same executable.
    ///
    /// # Errors
    ///
    /// Those of making a process or a socket.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with I/O and time.
    pub fn start() -> io::Result<Self> {
        Self::start_from(OWN_PROGRAM.as_ref())
    }

    /// As [`start`](Self::start), from another executable whose `main` can become the launcher:
    /// a path, or a name to be found in `PATH`.
    ///
    /// # Errors
    ///
    /// Those of making a process or a socket; [`io::ErrorKind::NotFound`] if there is no such
    /// program.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with I/O and time.
    pub fn start_from(program: &OsStr) -> io::Result<Self> {
        let (socket, process) = start_process(program)?;
        // Asked for its readiness only: what passes through it is packets, not a stream.
        let socket = net::UnixStream::from(socket);
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket: UnixStream::from_std(socket)?,
            process,
            queue: VecDeque::new(),
            crowded: false,
            incoming: Incoming::default(),
        })
    }

    /// Starts a program. What becomes of it comes by [`next_event`](Self::next_event).
    ///
    /// Never waits: what the launcher has no room for is queued, with its descriptors.
    pub fn launch(&mut self, launch: Launch) -> LaunchId {
        // What is known of the programs of a launcher that has died must not be taken for news of
        // those of the next.
        static LATEST: AtomicU64 = AtomicU64::new(0);
        let id = LATEST.fetch_add(1, Ordering::Relaxed) + 1;
        self.incoming.live.insert(id);
        match Packet::launch(id, launch) {
            _ if self.incoming.ended => {
                self.incoming.not_started(id, io::ErrorKind::BrokenPipe.into());
            }
            Ok(packet) => self.order(packet),
            Err(error) => self.incoming.not_started(id, error),
        }
        LaunchId(id)
    }

    /// Stops a program, whose end comes by [`next_event`](Self::next_event). Without effect on one
    /// that has ended. A kill may follow a polite stop.
    pub fn stop(&mut self, id: LaunchId, how: StopHow) {
        if self.incoming.live.contains(&id.0) && !self.incoming.ended {
            let bytes = Order::Stop { id: id.0, how }.encode();
            self.order(Packet { launch: None, bytes, descriptors: Vec::new() });
        }
    }

    /// Waits for news, and hands on what is queued meanwhile. After
    /// [`LauncherEvent::LauncherEnded`] it waits for ever, unless a launch is refused.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe: no event is lost.
    pub async fn next_event(&mut self) -> LauncherEvent {
        loop {
            if let Some(event) = self.incoming.events.pop_front() {
                return event;
            }
            if self.incoming.ended {
                return std::future::pending().await;
            }
            self.turn().await;
            if self.incoming.ended {
                self.queue.clear();
                self.incoming.live.clear();
                self.process.reap();
                self.incoming.events.push_back(LauncherEvent::LauncherEnded);
            }
        }
    }

    /// Ends everything that runs, and returns when nothing is left. At most about 3 s: programs
    /// are told by SIGTERM, and killed after 2 s.
    pub async fn shutdown(mut self) {
        if self.incoming.ended {
            return;
        }
        self.queue.clear();
        let _ = shutdown(self.socket.as_raw_fd(), Shutdown::Write);
        while !matches!(self.next_event().await, LauncherEvent::LauncherEnded) {}
    }

    /// The process id of the launcher.
    pub fn process_id(&self) -> u32 {
        self.process.0.id()
    }

    /// Waits until something has happened, which may be without an event.
    async fn turn(&mut self) {
        let (crowded, queued) = (self.crowded, !self.queue.is_empty());
        tokio::select! {
            biased;
            ready = self.socket.readable() => match ready {
                Ok(()) => {
                    // The error says that all has been read, and is for the readiness alone.
                    let receive = || self.incoming.receive(self.socket.as_fd());
                    let _ = self.socket.try_io(Interest::READABLE, receive);
                }
                Err(_) => self.incoming.ended = true,
            },
            ready = self.socket.writable(), if queued && !crowded => match ready {
                Ok(()) => self.flush(),
                Err(_) => self.incoming.ended = true,
            },
            () = tokio::time::sleep(CROWDED_RETRY), if crowded => self.flush(),
        }
    }

    fn order(&mut self, packet: Packet) {
        self.queue.push_back(packet);
        if self.queue.len() == 1 {
            self.flush();
        }
    }

    fn flush(&mut self) {
        self.crowded = false;
        let socket = self.socket.as_fd();
        while let Some(packet) = self.queue.front() {
            // `WouldBlock` inside makes `writable` wait.
            let sent = self.socket.try_io(Interest::WRITABLE, || packet.send(socket, false));
            if let Err(error) = sent {
                match error.raw_os_error() {
                    // As it comes from the readiness, this one may be without a number.
                    _ if error.kind() == io::ErrorKind::WouldBlock => return,
                    Some(libc::EINTR) => continue,
                    Some(libc::ETOOMANYREFS | libc::ENOBUFS | libc::ENOMEM) => {
                        self.crowded = true;
                        return;
                    }
                    // The end is told by the reading side, after the last reports.
                    Some(libc::EPIPE | libc::ECONNRESET) => {}
                    _ => {
                        if let Some(id) = packet.launch {
                            self.incoming.not_started(id, error);
                        }
                    }
                }
            }
            self.queue.pop_front();
        }
    }
}

/// What has come from the launcher and its guards.
#[derive(Default, Debug)]
struct Incoming {
    events: VecDeque<LauncherEvent>,
    /// Launches whose end has not been told.
    live: HashSet<u64>,
    ended: bool,
}

impl Incoming {
    /// Takes what is there. `WouldBlock` if that was all.
    fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        for _ in 0..REPORTS_AT_ONCE {
            match receive_report(socket)? {
                Some(report) => self.handle_report(report),
                None => {
                    self.ended = true;
                    break;
                }
            }
        }
        Ok(())
    }

    fn handle_report(&mut self, report: Report) {
        // A guard may be killed between its last report and its end: the first report counts.
        let news = match report {
            Report::Started { id, .. } => self.live.contains(&id),
            Report::NotStarted { id, .. } | Report::Ended { id, .. } | Report::Lost { id } => {
                self.live.remove(&id)
            }
        };
        if news {
            self.events.push_back(report.into());
        }
    }

    fn not_started(&mut self, id: u64, error: io::Error) {
        self.live.remove(&id);
        let id = LaunchId(id);
        self.events.push_back(LauncherEvent::NotStarted { id, stage: Stage::Request, error });
    }
}

impl From<Report> for LauncherEvent {
    fn from(report: Report) -> Self {
        match report {
            Report::Started { id, pid } => Self::Started { id: LaunchId(id), pid },
            Report::NotStarted { id, stage, errno } => {
                let error = io::Error::from_raw_os_error(errno);
                Self::NotStarted { id: LaunchId(id), stage, error }
            }
            Report::Ended { id, status, usage } => Self::Ended { id: LaunchId(id), status, usage },
            Report::Lost { id } => Self::Lost { id: LaunchId(id) },
        }
    }
}

/// The next report that is there; `None` if there will be no more.
pub(super) fn receive_report(socket: BorrowedFd<'_>) -> io::Result<Option<Report>> {
    let mut bytes = [0; REPORT_BYTES_MAX];
    loop {
        let packet = match sys::receive(socket, &mut bytes, &mut []) {
            Ok(packet) => packet,
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => return Err(error),
                // The other end has closed with orders unread; its reports are still to be read.
                io::ErrorKind::Interrupted | io::ErrorKind::ConnectionReset => continue,
                _ => return Ok(None),
            },
        };
        if packet.size == 0 {
            return Ok(None);
        }
        match Report::decode(&bytes[..packet.size]) {
            Ok(report) => return Ok(Some(report)),
            Err(malformed) => tracing::warn!(%malformed, "launcher report ignored"),
        }
    }
}

/// An order on its way to the launcher.
#[derive(Debug)]
pub(super) struct Packet {
    launch: Option<u64>,
    bytes: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

impl Packet {
    pub(super) fn launch(id: u64, launch: Launch) -> io::Result<Self> {
        let body = encode_request(&launch)?;
        let Launch { stdin, stdout, stderr, extra, grace, .. } = launch;
        let mut order =
            Order::Launch { id, grace, extra: extra.is_some(), body: Body::Inline(&body) };
        let mut descriptors = vec![stdin, stdout, stderr];
        descriptors.extend(extra);
        if body.len() > INLINE_BYTES_MAX
            && let Order::Launch { body: place, .. } = &mut order
        {
            let file = memfd_create(c"pleiad-launch", MFdFlags::MFD_CLOEXEC)?;
            let mut file = File::from(file);
            file.write_all(&body)?;
            descriptors.push(file.into());
            *place = Body::File(body.len());
        }
        Ok(Self { launch: Some(id), bytes: order.encode(), descriptors })
    }

    pub(super) fn send(&self, socket: BorrowedFd<'_>, wait: bool) -> io::Result<()> {
        sys::send(socket, &self.bytes, &self.descriptors, wait)
    }
}

/// Starts an executable in the launcher's role.
pub(super) fn start_process(program: &OsStr) -> io::Result<(OwnedFd, LauncherProcess)> {
    let (ours, theirs) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    // Nothing that would make the standard library fork: this process may be very large.
    let child = Command::new(program)
        .arg0("pleiad-launcher")
        .env(ROLE_VARIABLE, ROLE_LAUNCHER)
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .spawn()?;
    Ok((ours, LauncherProcess(child)))
}

/// The launcher's process, which ends when the socket is closed.
#[derive(Debug)]
pub(super) struct LauncherProcess(process::Child);

impl LauncherProcess {
    fn reap(&mut self) {
        let _ = self.0.try_wait();
    }
}

impl Drop for LauncherProcess {
    fn drop(&mut self) {
        if let Ok(Some(_)) = self.0.try_wait() {
            return;
        }
        // It takes seconds at most, but not ours. Without the thread, a dead process is left.
        let id = self.0.id();
        let wait = move || {
            let child = nix::unistd::Pid::from_raw(id.cast_signed());
            let _ = nix::sys::wait::waitpid(child, None);
        };
        let _ = std::thread::Builder::new().name("launcher-end".into()).spawn(wait);
    }
}

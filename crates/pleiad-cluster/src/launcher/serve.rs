//! The launcher's process: one guard for each program, and no orphans.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::{Pid, dup2_stdin, getpid, pipe2, setsid};
use pleiad_types::ExitStatus;

use super::guard::{self, STOP_KILL, STOP_ORPHAN, STOP_POLITE};
use super::sys::{self, Child, Effect, Forked, Notifier, Packet};
use super::wire::{Body, DESCRIPTORS_MAX, Malformed, Order, PACKET_BYTES_MAX, Report};
use super::{ORPHAN_GRACE, ROLE_VARIABLE, Stage, StopHow, tree};

/// Signals whose effect the launcher changes for itself, and guards put back for programs.
pub(super) const CHANGED: [Signal; 6] = [
    Signal::SIGCHLD,
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGPIPE,
];

/// Time that guards get beyond what their programs get, before they are killed themselves.
const GUARD_GRACE: Duration = Duration::from_secs(1);

/// Is the launcher until its agent is gone and everything has ended.
pub(super) fn serve() -> ! {
    let code = match Server::new().and_then(Server::run) {
        Ok(()) => 0,
        Err(error) => {
            let _ = writeln!(io::stderr(), "pleiad launcher failed: {error}");
            1
        }
    };
    sys::exit_now(code);
}

/// Guards that wait for a program. Beyond it they end: each holds some memory.
const IDLE_MAX: usize = 64;

struct Server {
    socket: OwnedFd,
    notifier: Notifier,
    environment: Vec<CString>,
    /// Open files that a program may have, which were the launcher's own at first.
    files: Option<(rlim_t, rlim_t)>,
    own: Pid,
    guards: HashMap<i32, Guard>,
    /// Guards whose program has ended, which wait for another: making one costs as much as all else
    /// between an order and its program. The last is the warmest.
    idle: Vec<i32>,
    // Invariant: exactly the busy guards, by launch.
    launches: HashMap<u64, i32>,
    /// Where guards say that they are done, by process id.
    done: File,
    done_sender: File,
    /// Reports that wait for room in the socket: few, as guards report by themselves.
    reports: Vec<Report>,
    /// Set once everything is to end: when to kill guards that have not.
    ending: Option<Instant>,
}

struct Guard {
    /// The last launch it was given, and the one before: of that, it may still have to send the
    /// last report, as it takes the next order before.
    launches: [Option<u64>; 2],
    /// Its tasks go here; `None` tells it to end when it is done.
    socket: Option<OwnedFd>,
}

impl Server {
    fn new() -> io::Result<Self> {
        let socket = io::stdin().as_fd().try_clone_to_owned()?;
        dup2_stdin(File::open("/dev/null")?)?;
        close_all_on_exec()?;
        // Fails if this process leads a group, which is as good.
        let _ = setsid();
        let _ = prctl::set_name(c"pleiad-launcher");
        prctl::set_child_subreaper(true)?;
        // Programs shall not inherit what the agent was told to ignore.
        sys::reset_signals();
        for signal in CHANGED.into_iter().filter(|signal| *signal != Signal::SIGCHLD) {
            sys::set_signal(signal, Effect::Ignored)?;
        }
        let notifier = Notifier::install(&[Signal::SIGCHLD, Signal::SIGTERM])?;
        SigSet::empty().thread_set_mask()?;
        let (done, done_sender) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        Ok(Self {
            socket,
            notifier,
            environment: environment(),
            files: raise_files(),
            own: getpid(),
            guards: HashMap::new(),
            idle: Vec::new(),
            done: done.into(),
            done_sender: done_sender.into(),
            launches: HashMap::new(),
            reports: Vec::new(),
            ending: None,
        })
    }

    fn run(mut self) -> io::Result<()> {
        let mut bytes = vec![0; PACKET_BYTES_MAX];
        let mut control = nix::cmsg_space!([std::os::fd::RawFd; DESCRIPTORS_MAX]);
        loop {
            let signals = self.notifier.take();
            if signals.contain(Signal::SIGTERM) {
                self.end();
            }
            if signals.contain(Signal::SIGCHLD) || self.ending.is_some() {
                let none_left = self.reap();
                if self.ending.is_some() && none_left {
                    self.flush();
                    return Ok(());
                }
            }
            self.take_done();
            self.flush();
            if self.ending.is_some() {
                self.wait()?;
                continue;
            }
            match sys::receive(self.socket.as_fd(), &mut bytes, &mut control) {
                Ok(packet) if packet.size == 0 => self.end(),
                Ok(packet) => self.handle_packet(&bytes[..packet.size], packet),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => self.wait()?,
                    io::ErrorKind::Interrupted => {}
                    _ => self.end(),
                },
            }
        }
    }

    /// Waits until there is something to do.
    fn wait(&mut self) -> io::Result<()> {
        let mut events = PollFlags::empty();
        events.set(PollFlags::POLLIN, self.ending.is_none());
        events.set(PollFlags::POLLOUT, !self.reports.is_empty());
        let timeout = match self.ending {
            // Orphans that arrive tell nobody.
            Some(_) => PollTimeout::from(20u8),
            None => PollTimeout::NONE,
        };
        let mut polled = [
            PollFd::new(self.notifier.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.done.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.socket.as_fd(), events),
        ];
        // A closed socket is always ready; at the end it is of no interest.
        let polled = if events.is_empty() { &mut polled[..2] } else { &mut polled[..] };
        match poll(polled, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn handle_packet(&mut self, bytes: &[u8], packet: Packet) {
        let order = match Order::decode(bytes) {
            Ok(order) => order,
            Err(Malformed) => {
                let _ = writeln!(io::stderr(), "pleiad launcher: malformed order");
                return;
            }
        };
        match order {
            Order::Launch { id, .. }
                if packet.truncated || packet.descriptors.len() != order.descriptors() =>
            {
                self.not_started(id, Stage::Request, libc::EMFILE);
            }
            Order::Launch { id, body, .. } => {
                let once = matches!(body, Body::File(_));
                if let Err(error) = self.launch(id, bytes, packet.descriptors, once) {
                    let errno = error.raw_os_error().unwrap_or(libc::EAGAIN);
                    self.not_started(id, Stage::Process, errno);
                }
            }
            Order::Stop { id, how } => self.stop(id, how),
        }
    }

    /// Hands the order on to a guard, which takes no other after it if `once`: one that has grown
    /// by a large order would show in the memory of all its programs.
    fn launch(
        &mut self,
        id: u64,
        order: &[u8],
        mut descriptors: Vec<OwnedFd>,
        once: bool,
    ) -> io::Result<()> {
        loop {
            let (pid, is_new) = match self.idle.pop() {
                Some(pid) => (pid, false),
                None => (self.fork_guard(&mut descriptors)?, true),
            };
            let Some(guard) = self.guards.get_mut(&pid) else { continue };
            let Some(socket) = &guard.socket else { continue };
            match sys::send(socket.as_fd(), order, &descriptors, false) {
                Ok(()) => {
                    guard.launches = [Some(id), guard.launches[0]];
                    if once {
                        guard.socket = None;
                    }
                    self.launches.insert(id, pid);
                    return Ok(());
                }
                Err(error) => {
                    // Killed while it waited, most likely: another one can do it.
                    guard.socket = None;
                    if is_new {
                        return Err(error);
                    }
                }
            }
        }
    }

    fn stop(&mut self, launch: u64, how: StopHow) {
        let Some(pid) = self.launches.get(&launch) else { return };
        let signal = match how {
            StopHow::Polite => STOP_POLITE,
            StopHow::Kill => STOP_KILL,
        };
        let _ = kill(Pid::from_raw(*pid), signal);
        // The signal does not say which program is meant, and may come late: no other may follow.
        if let Some(guard) = self.guards.get_mut(pid) {
            guard.socket = None;
        }
    }

    /// Makes a guard, which must not keep the `others`, on their way to another or to itself.
    fn fork_guard(&mut self, others: &mut Vec<OwnedFd>) -> io::Result<i32> {
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        // A guard takes its signals one by one, from the first on.
        let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
        let forked = sys::fork();
        if let Ok(Forked::Child) = forked {
            others.clear();
            // Each guard sees the end of its own socket only if no other holds it.
            self.guards.clear();
            drop(ours);
            guard::run(&guard::Setting {
                tasks: theirs,
                done: &self.done_sender,
                agent: &self.socket,
                environment: &self.environment,
                files: self.files,
                launcher: self.own,
            });
        }
        before.thread_set_mask()?;
        match forked? {
            Forked::Parent { child } => {
                self.guards.insert(child, Guard { launches: [None; 2], socket: Some(ours) });
                Ok(child)
            }
            Forked::Child => sys::exit_now(1),
        }
    }

    /// Takes back the guards that are done.
    fn take_done(&mut self) {
        const PID_BYTES: usize = size_of::<i32>();
        let mut bytes = [0; 64 * PID_BYTES];
        let Ok(size) = self.done.read(&mut bytes) else { return };
        for pid in bytes[..size].as_chunks().0 {
            let pid = i32::from_ne_bytes(*pid);
            let Some(guard) = self.guards.get_mut(&pid) else { continue };
            // Not given another since: it was busy until now.
            if let Some(launch) = guard.launches[0] {
                self.launches.remove(&launch);
            }
            if self.idle.len() >= IDLE_MAX {
                guard.socket = None;
            }
            if guard.socket.is_some() {
                self.idle.push(pid);
            }
        }
    }

    fn not_started(&mut self, id: u64, stage: Stage, errno: i32) {
        self.reports.push(Report::NotStarted { id, stage, errno });
    }

    fn flush(&mut self) {
        while let Some(report) = self.reports.first() {
            match sys::send(self.socket.as_fd(), &report.encode(), &[], false) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Ok(()) | Err(_) => drop(self.reports.remove(0)),
            }
        }
    }

    /// Reaps guards and orphans. Returns whether nothing is left.
    fn reap(&mut self) -> bool {
        let mut orphans = self.ending.is_some();
        let none_left = loop {
            match sys::reap(Child::Any) {
                Ok(Some(ended)) => match self.guards.remove(&ended.pid) {
                    Some(guard) => {
                        self.idle.retain(|pid| *pid != ended.pid);
                        let failed = ended.status != ExitStatus::Code(0);
                        // What it guarded is ours now.
                        orphans |= failed;
                        for id in guard.launches.into_iter().flatten() {
                            self.launches.remove(&id);
                            // It may have been done, but whether its last report was sent is not
                            // known; a second one does no harm.
                            if failed {
                                self.reports.push(Report::Lost { id });
                            }
                        }
                    }
                    // Its children are ours now.
                    None => orphans = true,
                },
                Ok(None) => break false,
                Err(_) => break true,
            }
        };
        if orphans && !none_left {
            let late = self.ending.is_some_and(|kill_at| kill_at <= Instant::now());
            tree::kill_children(|pid| !late && self.guards.contains_key(&pid));
        }
        none_left
    }

    /// Tells all guards to end their trees.
    fn end(&mut self) {
        if self.ending.is_none() {
            self.ending = Some(Instant::now() + ORPHAN_GRACE + GUARD_GRACE);
            for (pid, guard) in &mut self.guards {
                let _ = kill(Pid::from_raw(*pid), STOP_ORPHAN);
                guard.socket = None;
            }
        }
    }
}

/// Nothing but what it is given shall reach a program. Descriptors made later are born like this.
fn close_all_on_exec() -> io::Result<()> {
    if sys::close_on_exec_from(3).is_err() {
        for entry in fs::read_dir("/proc/self/fd")? {
            let number = entry?.file_name().to_str().and_then(|name| name.parse().ok());
            if let Some(number) = number.filter(|number| *number >= 3) {
                sys::close_on_exec_one(number);
            }
        }
    }
    Ok(())
}

/// Takes as many open files as the system allows, one of which is needed for each guard, and gives
/// the limit that there was before.
fn raise_files() -> Option<(rlim_t, rlim_t)> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).ok()?;
    Some((soft, hard))
}

/// What programs inherit: everything but this process's role.
fn environment() -> Vec<CString> {
    std::env::vars_os()
        .filter(|(name, _)| name != ROLE_VARIABLE)
        .filter_map(|(mut pair, value)| {
            pair.push("=");
            pair.push(value);
            CString::new(pair.into_vec()).ok()
        })
        .collect()
}

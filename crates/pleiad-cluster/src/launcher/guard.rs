//! A guard: starts one program at a time, and ends everything that descends from it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::unistd::{Pid, chdir, getpid, getppid, setsid};
use pleiad_types::ExitStatus;

use super::sys::{self, Child, Effect, Ended, Pointers};
use super::wire::{
    Body, DESCRIPTORS_MAX, EnvChange, Malformed, Order, PACKET_BYTES_MAX, Report, Request,
    variable_name,
};
use super::{ORPHAN_GRACE, ProcessLimits, Stage, Usage, tree};

/// The launcher's order for a polite stop, for a stop at once, and for a stop because the agent is
/// gone. The last is also what the kernel sends when the launcher dies.
pub(super) const STOP_POLITE: Signal = Signal::SIGUSR1;
pub(super) const STOP_KILL: Signal = Signal::SIGUSR2;
pub(super) const STOP_ORPHAN: Signal = Signal::SIGTERM;

/// Where programs are searched for if their environment has no `PATH`.
const PATH_DEFAULT: &[u8] = b"/usr/local/bin:/usr/bin:/bin";

/// What a guard keeps of the launcher that it is a copy of.
pub(super) struct Setting<'a> {
    /// Orders come here; its end is the guard's.
    pub(super) tasks: OwnedFd,
    /// Takes the guard's process id when it is ready for another order.
    pub(super) done: &'a File,
    /// Reports go here.
    pub(super) agent: &'a OwnedFd,
    pub(super) environment: &'a [CString],
    /// The limit of open files that programs begin with, if it is another than the launcher's.
    pub(super) files: Option<(rlim_t, rlim_t)>,
    pub(super) launcher: Pid,
}

/// One program to start.
struct Task<'a> {
    id: u64,
    grace: Duration,
    extra: bool,
    body: Body<'a>,
    descriptors: Vec<OwnedFd>,
}

/// Is a guard, for one program after another, until its socket or the launcher has ended.
///
/// All signals must be blocked: they are taken one by one.
pub(super) fn run(setting: &Setting<'_>) -> ! {
    // A panic must not unwind into the launcher's loop, which this is a copy of.
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| serve(setting)));
    sys::exit_now(if matches!(done, Ok(Ok(()))) { 0 } else { 1 });
}

fn serve(setting: &Setting<'_>) -> io::Result<()> {
    become_guard(setting)?;
    let mut bytes = vec![0; PACKET_BYTES_MAX];
    let mut control = nix::cmsg_space!([std::os::fd::RawFd; DESCRIPTORS_MAX]);
    loop {
        // There is nothing to guard meanwhile, so this signal may simply end this process.
        let mut mask = SigSet::all();
        mask.remove(STOP_ORPHAN);
        let mut polled = [PollFd::new(setting.tasks.as_fd(), PollFlags::POLLIN)];
        match ppoll(&mut polled, None, Some(mask)) {
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let packet = sys::receive(setting.tasks.as_fd(), &mut bytes, &mut control)?;
        if packet.size == 0 {
            return Ok(());
        }
        let order = Order::decode(&bytes[..packet.size])?;
        let Order::Launch { id, grace, extra, body } = order else { return Err(Malformed.into()) };
        let descriptors = packet.descriptors;
        if packet.truncated || descriptors.len() != order.descriptors() {
            let report = Report::NotStarted { id, stage: Stage::Request, errno: libc::EMFILE };
            Reports { agent: setting.agent, waiting: None }.finish(report);
        } else {
            guard(Task { id, grace, extra, body, descriptors }, setting);
        }
    }
}

fn guard(mut task: Task<'_>, setting: &Setting<'_>) {
    let mut reports = Reports { agent: setting.agent, waiting: None };
    let (id, grace) = (task.id, task.grace);
    let mut usage = Usage::default();
    let report = match start(&mut task, setting.environment) {
        Ok(program) => {
            // The program's streams end when it closes them, not when the guard does.
            task.descriptors.clear();
            reports.send(Report::Started { id, pid: program.as_raw().cast_unsigned() });
            let orphaned = supervise(program, grace, &mut reports, &mut usage);
            let status = end_tree(program, &mut usage);
            reports.flush(true);
            // What was ended with the launcher says nothing of the program.
            if orphaned { Report::Lost { id } } else { Report::Ended { id, status, usage } }
        }
        Err(NotStarted { stage, error }) => {
            task.descriptors.clear();
            let errno = error.raw_os_error().unwrap_or(libc::EINVAL);
            Report::NotStarted { id, stage, errno }
        }
    };
    // Before the report, as the agent's answer may be an order that needs a guard.
    let _ = (&mut &*setting.done).write_all(&getpid().as_raw().to_ne_bytes());
    reports.finish(report);
}

struct NotStarted {
    stage: Stage,
    error: io::Error,
}

trait AtStage<T> {
    fn at(self, stage: Stage) -> Result<T, NotStarted>;
}

impl<T, E: Into<io::Error>> AtStage<T> for Result<T, E> {
    fn at(self, stage: Stage) -> Result<T, NotStarted> {
        self.map_err(|error| NotStarted { stage, error: error.into() })
    }
}

fn become_guard(setting: &Setting<'_>) -> io::Result<()> {
    let _ = prctl::set_name(c"pleiad-guard");
    prctl::set_child_subreaper(true)?;
    prctl::set_pdeathsig(STOP_ORPHAN)?;
    if getppid() != setting.launcher {
        // It died before it could have told.
        return Err(Errno::EPIPE.into());
    }
    // What the launcher has changed. It stays blocked here, so this is for the program alone.
    for signal in super::serve::CHANGED {
        sys::set_signal(signal, Effect::Default)?;
    }
    if let Some((soft, hard)) = setting.files {
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?;
    }
    Ok(())
}

/// Starts the program; its `exec` has succeeded when this returns.
fn start(task: &mut Task<'_>, base: &[CString]) -> Result<Pid, NotStarted> {
    let file;
    let body = match task.body {
        Body::Inline(bytes) => bytes,
        Body::File(size) => {
            let from = task.descriptors.pop().ok_or(Malformed).at(Stage::Request)?;
            file = read_body(from, size).at(Stage::Request)?;
            &file
        }
    };
    let request = Request::decode(body).at(Stage::Request)?;
    let environment = environment(&request, base);
    let paths = paths(request.program, &environment);
    let arg0 = request.arg0.unwrap_or(request.program);
    let args: Pointers<'_> = std::iter::once(arg0).chain(request.args.iter().copied()).collect();
    let env: Pointers<'_> = environment.into_iter().collect();

    let guard = getpid();
    let mut failed = None;
    let mut child = || {
        let Err(why) = become_program(&request, &paths, &args, &env, task, guard);
        failed = Some(why);
    };
    let pid = sys::spawn_in_shared_memory(&mut child).at(Stage::Process)?;
    match failed {
        None => Ok(Pid::from_raw(pid)),
        Some(why) => {
            let _ = sys::reap_blocking(Child::Pid(pid));
            Err(why)
        }
    }
}

fn read_body(from: OwnedFd, size: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(size + 1);
    let mut file = File::from(from);
    // The agent's end has written it, and both share one position.
    io::Seek::rewind(&mut file)?;
    file.take(size as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() == size { Ok(bytes) } else { Err(Malformed.into()) }
}

/// The launcher's environment with the request's changes.
fn environment<'a>(request: &Request<'a>, base: &'a [CString]) -> Vec<&'a CStr> {
    let changes: BTreeMap<&[u8], EnvChange<'_>> =
        request.env.iter().map(|change| (change.name(), *change)).collect();
    let base = if request.env_clear { &[] } else { base };
    let kept = base
        .iter()
        .map(CString::as_c_str)
        .filter(|pair| changes.is_empty() || !changes.contains_key(variable_name(pair)));
    let set = request.env.iter().filter_map(|change| match change {
        EnvChange::Set(pair) if changes.get(change.name()) == Some(change) => Some(*pair),
        _ => None,
    });
    kept.chain(set).collect()
}

/// Where to look for the program.
fn paths<'a>(program: &'a CStr, environment: &[&CStr]) -> Vec<Cow<'a, CStr>> {
    let name = program.to_bytes();
    if name.contains(&b'/') {
        return vec![Cow::Borrowed(program)];
    }
    let path = environment
        .iter()
        .find_map(|pair| pair.to_bytes().strip_prefix(b"PATH="))
        .unwrap_or(PATH_DEFAULT);
    path.split(|byte| *byte == b':')
        .filter_map(|folder| {
            // An empty entry is the working directory.
            let folder = if folder.is_empty() { b"." } else { folder };
            CString::new([folder, b"/", name].concat()).ok().map(Cow::Owned)
        })
        .collect()
}

/// In the program's process, whose memory is the guard's. Returns only on failure.
fn become_program(
    request: &Request<'_>,
    paths: &[Cow<'_, CStr>],
    args: &Pointers<'_>,
    env: &Pointers<'_>,
    task: &Task<'_>,
    guard: Pid,
) -> Result<Infallible, NotStarted> {
    setsid().at(Stage::Process)?;
    prctl::set_pdeathsig(Signal::SIGKILL).at(Stage::Process)?;
    if getppid() != guard {
        sys::exit_now(127);
    }
    // Those received are all above 2, and the extra one comes last, so none is overwritten early.
    let streams = if task.extra { 4 } else { 3 };
    for (to, descriptor) in (0..).zip(task.descriptors.iter().take(streams)) {
        sys::place_descriptor(descriptor.as_fd(), to).at(Stage::Streams)?;
    }
    if let Some(workdir) = request.workdir {
        chdir(workdir).at(Stage::Workdir)?;
    }
    set_limits(&request.limits).at(Stage::Limits)?;
    SigSet::empty().thread_set_mask().at(Stage::Process)?;
    Err(exec_first(paths, args, env)).at(Stage::Program)
}

/// As `execvp` does: the first that is there. One that may not be run is told if no other is.
fn exec_first(paths: &[Cow<'_, CStr>], args: &Pointers<'_>, env: &Pointers<'_>) -> io::Error {
    let mut told = io::Error::from_raw_os_error(libc::ENOENT);
    for path in paths {
        let error = sys::exec(path, args, env);
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR) => {}
            Some(libc::EACCES) => told = error,
            _ => return error,
        }
    }
    told
}

fn set_limits(limits: &ProcessLimits) -> io::Result<()> {
    // No core files: with thousands of jobs they fill the disk.
    limit(Resource::RLIMIT_CORE, 0, 0)?;
    if let Some(bytes) = limits.memory {
        limit(Resource::RLIMIT_DATA, bytes, bytes)?;
    }
    if let Some(seconds) = limits.cpu_seconds {
        limit(Resource::RLIMIT_CPU, seconds, seconds.saturating_add(1))?;
    }
    if let Some(files) = limits.files {
        limit(Resource::RLIMIT_NOFILE, files, files)?;
    }
    Ok(())
}

/// Within what this process may use itself: a limit only ever lowers.
fn limit(resource: Resource, soft: rlim_t, hard: rlim_t) -> io::Result<()> {
    let (_, own) = getrlimit(resource)?;
    setrlimit(resource, soft.min(own), hard.min(own))?;
    Ok(())
}

/// A stop that is under way.
#[derive(Clone, Copy, Debug)]
struct Stopping {
    terminate_at: Option<Instant>,
    kill_at: Option<Instant>,
}

/// Waits for the program's end, and stops it when told to. Leaves it to be reaped. True if it was
/// stopped because the launcher or the agent has died.
fn supervise(program: Pid, grace: Duration, reports: &mut Reports<'_>, usage: &mut Usage) -> bool {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGCHLD, STOP_POLITE, STOP_KILL, STOP_ORPHAN] {
        signals.add(signal);
    }
    let mut stopping = Stopping { terminate_at: None, kill_at: None };
    let mut stopped = false;
    let mut orphaned = false;
    loop {
        let retry = reports.flush(false);
        let deadline = [stopping.terminate_at, stopping.kill_at, retry].into_iter().flatten().min();
        let timeout = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let signal = sys::wait_signal(&signals, timeout);
        let now = Instant::now();
        match signal {
            Some(Signal::SIGCHLD) if has_ended(program, usage) => return orphaned,
            Some(STOP_POLITE) if !stopped => {
                stopped = true;
                signal_group(program, Signal::SIGINT);
                stopping =
                    Stopping { terminate_at: Some(now + grace / 2), kill_at: Some(now + grace) };
            }
            Some(STOP_ORPHAN) => {
                stopped = true;
                orphaned = true;
                signal_group(program, Signal::SIGTERM);
                let kill_at = now + grace.min(ORPHAN_GRACE);
                let kill_at = stopping.kill_at.map_or(kill_at, |before| before.min(kill_at));
                stopping = Stopping { terminate_at: None, kill_at: Some(kill_at) };
            }
            Some(STOP_KILL) => {
                stopped = true;
                stopping.kill_at = Some(now);
            }
            _ => {}
        }
        if stopping.terminate_at.is_some_and(|at| at <= now) {
            stopping.terminate_at = None;
            signal_group(program, Signal::SIGTERM);
        }
        if stopping.kill_at.is_some_and(|at| at <= now) {
            // Its descendants in other groups follow when it has ended.
            stopping = Stopping { terminate_at: None, kill_at: None };
            signal_group(program, Signal::SIGKILL);
        }
    }
}

/// Signals the program and its group, and wakes what is stopped, so that it can react.
fn signal_group(program: Pid, signal: Signal) {
    let _ = killpg(program, signal);
    if signal != Signal::SIGKILL {
        let _ = killpg(program, Signal::SIGCONT);
    }
}

/// Whether the program has ended; reaps the others that have.
fn has_ended(program: Pid, usage: &mut Usage) -> bool {
    loop {
        match sys::peek(Child::Any) {
            Ok(Some(ended)) if ended.pid != program.as_raw() => {
                let _ = reap(Child::Pid(ended.pid), usage);
            }
            Ok(Some(_)) => return true,
            Ok(None) | Err(_) => return false,
        }
    }
}

/// Ends what the program has left behind.
fn end_tree(program: Pid, usage: &mut Usage) -> ExitStatus {
    // The program is dead but not reaped, so its number still means its group and nothing else.
    let _ = killpg(program, Signal::SIGKILL);
    let ended = reap(Child::Pid(program.as_raw()), usage);
    let mut pause = Duration::from_millis(1);
    loop {
        match reap(Child::Any, usage) {
            Ok(Some(_)) => {}
            Ok(None) => {
                tree::kill_children(|_| false);
                // Most end at once. A process in an uninterruptible wait takes its time.
                let mut signals = SigSet::empty();
                signals.add(Signal::SIGCHLD);
                let _ = sys::wait_signal(&signals, Some(pause));
                pause = (pause * 2).min(Duration::from_millis(50));
            }
            Err(_) => break,
        }
    }
    match ended {
        Ok(Some(ended)) => ended.status,
        // Cannot be: it was seen to have ended, and only this reaps it.
        Ok(None) | Err(_) => ExitStatus::Signal(libc::SIGKILL),
    }
}

/// Reaps a child and adds up what it has used.
fn reap(child: Child, usage: &mut Usage) -> io::Result<Option<Ended>> {
    let ended = sys::reap(child)?;
    if let Some(Ended { usage: of_child, .. }) = ended {
        usage.user += of_child.user;
        usage.system += of_child.system;
        usage.memory_max = usage.memory_max.max(of_child.memory_max);
    }
    Ok(ended)
}

/// The way back to the agent.
struct Reports<'a> {
    agent: &'a OwnedFd,
    waiting: Option<Report>,
}

/// Time between attempts to send a report while the agent does not read.
const RETRY: Duration = Duration::from_millis(10);

impl Reports<'_> {
    /// Sends it now if the socket has room, or keeps it for [`flush`](Self::flush): a guard must
    /// not wait for an agent that is stopped, as it could not stop its program meanwhile.
    fn send(&mut self, report: Report) {
        self.waiting = Some(report);
        self.flush(false);
    }

    /// Returns when to try again.
    fn flush(&mut self, wait: bool) -> Option<Instant> {
        let report = self.waiting?;
        match sys::send(self.agent.as_fd(), &report.encode(), &[], wait) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Some(Instant::now() + RETRY),
            // An error is the end of the agent: nobody is left to be told.
            Ok(()) | Err(_) => {
                self.waiting = None;
                None
            }
        }
    }

    /// Sends the last report. Waits, as nothing is left to be guarded.
    fn finish(&mut self, report: Report) {
        self.waiting = Some(report);
        self.flush(true);
    }
}

//! The guard: starts one program, and ends everything that descends from it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, rlim_t, setrlimit};
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::sys::time::TimeValLike as _;
use nix::unistd::{Pid, chdir, getpid, getppid, setsid};
use pleiad_types::ExitStatus;

use super::sys::{self, Child, Effect, Pointers};
use super::wire::{Body, EnvChange, Malformed, Report, Request, variable_name};
use super::{ORPHAN_GRACE, ProcessLimits, Stage, Usage, tree};

/// The launcher's order for a polite stop, for a stop at once, and for a stop because the agent is
/// gone. The last is also what the kernel sends when the launcher dies.
pub(super) const STOP_POLITE: Signal = Signal::SIGUSR1;
pub(super) const STOP_KILL: Signal = Signal::SIGUSR2;
pub(super) const STOP_ORPHAN: Signal = Signal::SIGTERM;

/// Where programs are searched for if their environment has no `PATH`.
const PATH_DEFAULT: &[u8] = b"/usr/local/bin:/usr/bin:/bin";

/// What the launcher gives to a guard.
pub(super) struct Task<'a> {
    pub(super) id: u64,
    pub(super) grace: Duration,
    pub(super) extra: bool,
    pub(super) body: Body<'a>,
    pub(super) descriptors: Vec<OwnedFd>,
    pub(super) environment: &'a [CString],
    pub(super) socket: &'a OwnedFd,
    pub(super) launcher: Pid,
}

/// Is the guard, until its program and all that descends from it have ended.
///
/// All signals must be blocked: they are taken one by one.
pub(super) fn run(task: Task<'_>) -> ! {
    // A panic must not unwind into the launcher's loop, which this is a copy of.
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| guard(task)));
    sys::exit_now(if done.is_ok() { 0 } else { 1 });
}

fn guard(mut task: Task<'_>) {
    let mut reports = Reports { socket: task.socket, waiting: None };
    let (id, grace) = (task.id, task.grace);
    match become_guard(&task).and_then(|()| start(&mut task)) {
        Ok(program) => {
            // The program's streams end when it closes them, not when the guard does.
            task.descriptors.clear();
            reports.send(Report::Started { id, pid: program.as_raw().cast_unsigned() });
            supervise(program, grace, &mut reports);
            let status = end_tree(program);
            reports.flush(true);
            reports.finish(Report::Ended { id, status, usage: usage() });
        }
        Err(NotStarted { stage, error }) => {
            task.descriptors.clear();
            let errno = error.raw_os_error().unwrap_or(libc::EINVAL);
            reports.finish(Report::NotStarted { id, stage, errno });
        }
    }
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

fn become_guard(task: &Task<'_>) -> Result<(), NotStarted> {
    let _ = prctl::set_name(c"pleiad-guard");
    prctl::set_child_subreaper(true).at(Stage::Process)?;
    prctl::set_pdeathsig(STOP_ORPHAN).at(Stage::Process)?;
    if getppid() != task.launcher {
        // It died before it could have told.
        return Err(Errno::EPIPE).at(Stage::Process);
    }
    // What the launcher has changed. It stays blocked here, so this is for the program alone.
    for signal in super::serve::CHANGED {
        sys::set_signal(signal, Effect::Default).at(Stage::Process)?;
    }
    Ok(())
}

/// Starts the program; its `exec` has succeeded when this returns.
fn start(task: &mut Task<'_>) -> Result<Pid, NotStarted> {
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
    let environment = environment(&request, task.environment);
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

/// Waits for the program's end, and stops it when told to. Leaves it to be reaped.
fn supervise(program: Pid, grace: Duration, reports: &mut Reports<'_>) {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGCHLD, STOP_POLITE, STOP_KILL, STOP_ORPHAN] {
        signals.add(signal);
    }
    let mut stopping = Stopping { terminate_at: None, kill_at: None };
    let mut stopped = false;
    loop {
        let retry = reports.flush(false);
        let deadline = [stopping.terminate_at, stopping.kill_at, retry].into_iter().flatten().min();
        let timeout = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let signal = sys::wait_signal(&signals, timeout);
        let now = Instant::now();
        match signal {
            Some(Signal::SIGCHLD) if has_ended(program) => return,
            Some(STOP_POLITE) if !stopped => {
                stopped = true;
                signal_group(program, Signal::SIGINT);
                stopping =
                    Stopping { terminate_at: Some(now + grace / 2), kill_at: Some(now + grace) };
            }
            Some(STOP_ORPHAN) => {
                stopped = true;
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
fn has_ended(program: Pid) -> bool {
    loop {
        match sys::peek(Child::Any) {
            Ok(Some(ended)) if ended.pid != program.as_raw() => {
                let _ = sys::reap(Child::Pid(ended.pid));
            }
            Ok(Some(_)) => return true,
            Ok(None) | Err(_) => return false,
        }
    }
}

/// Ends what the program has left behind.
fn end_tree(program: Pid) -> ExitStatus {
    // The program is dead but not reaped, so its number still means its group and nothing else.
    let _ = killpg(program, Signal::SIGKILL);
    let ended = sys::reap(Child::Pid(program.as_raw()));
    let mut pause = Duration::from_millis(1);
    loop {
        match sys::reap(Child::Any) {
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

fn usage() -> Usage {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_CHILDREN) else { return Usage::default() };
    let time = |time: nix::sys::time::TimeVal| {
        Duration::from_micros(u64::try_from(time.num_microseconds()).unwrap_or(0))
    };
    Usage {
        user: time(usage.user_time()),
        system: time(usage.system_time()),
        memory_max: u64::try_from(usage.max_rss()).unwrap_or(0).saturating_mul(1024),
    }
}

/// The way back to the agent.
struct Reports<'a> {
    socket: &'a OwnedFd,
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
        match sys::send(self.socket.as_fd(), &report.encode(), &[], wait) {
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

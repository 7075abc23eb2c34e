#![expect(
    unsafe_code,
    reason = "processes, signals and descriptors from outside have no safe calls"
)]
//! The system calls that no crate offers safely. Everything unsafe of the launcher is here.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::io;
use std::io::{IoSlice, IoSliceMut};
use std::marker::PhantomData;
use std::mem::{MaybeUninit, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::time::Duration;

use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use pleiad_types::ExitStatus;

use super::Usage;

/// Which side of a fork this is.
pub(super) enum Forked {
    Child,
    Parent { child: i32 },
}

/// Copies this process.
///
/// The child may allocate. Only the launcher calls this. It has one thread of its own; an async
/// main may have left parked runtime threads beside it, which hold no locks but those of the
/// allocator at worst, and the C library makes the allocator usable after a fork.
pub(super) fn fork() -> io::Result<Forked> {
    // SAFETY: see above; the child goes on with code that takes no lock that another thread could
    // hold, and never returns to the caller's frames beyond the launcher's loop.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        child => Ok(Forked::Parent { child }),
    }
}

/// Ends this process at once: no destructors, no flushing of what was copied from the parent.
pub(super) fn exit_now(code: i32) -> ! {
    // SAFETY: has no precondition.
    unsafe { libc::_exit(code) }
}

/// Runs `child` in a new process that shares this one's memory, and waits until it has ended or
/// become another program. What `child` writes is seen here. If `child` returns, its process ends.
///
/// Copying even a small process costs more than all else between fork and exec together.
pub(super) fn spawn_in_shared_memory(child: &mut dyn FnMut()) -> io::Result<i32> {
    extern "C" fn run(child: *mut c_void) -> c_int {
        // SAFETY: points to the reference below, which is alive and unused while this runs.
        let child = unsafe { &mut *child.cast::<&mut dyn FnMut()>() };
        child();
        exit_now(127)
    }

    // The child's path is a few system calls deep.
    const STACK_BYTES: usize = 64 << 10;
    let mut stack: Vec<MaybeUninit<u128>> = Vec::with_capacity(STACK_BYTES / size_of::<u128>());
    let mut child = child;
    let argument: *mut &mut dyn FnMut() = &raw mut child;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the stack is aligned for any type, grows down from its end, is large enough, and
    // outlives the child's use of it, as CLONE_VFORK holds this thread until the child has ended or
    // called exec. The guard has no other thread, so nothing else runs in this memory meanwhile. A
    // panic cannot cross `extern "C"`: it aborts the child.
    let pid = unsafe {
        let top = stack.as_mut_ptr().add(stack.capacity());
        libc::clone(run, top.cast(), flags, argument.cast())
    };
    if pid == -1 { Err(io::Error::last_os_error()) } else { Ok(pid) }
}

/// Strings as `exec` wants them: pointers, ended by a null pointer.
pub(super) struct Pointers<'a> {
    // Invariant: ends with the only null pointer; the others point to strings that live for 'a.
    pointers: Vec<*const c_char>,
    strings: PhantomData<&'a CStr>,
}

impl<'a> FromIterator<&'a CStr> for Pointers<'a> {
    fn from_iter<I: IntoIterator<Item = &'a CStr>>(strings: I) -> Self {
        let mut pointers: Vec<_> = strings.into_iter().map(CStr::as_ptr).collect();
        pointers.push(null());
        Self { pointers, strings: PhantomData }
    }
}

/// Becomes another program. Returns only if that fails.
pub(super) fn exec(path: &CStr, args: &Pointers<'_>, env: &Pointers<'_>) -> io::Error {
    // SAFETY: path is a C string, and the invariant of `Pointers` is what execve asks for.
    unsafe { libc::execve(path.as_ptr(), args.pointers.as_ptr(), env.pointers.as_ptr()) };
    io::Error::last_os_error()
}

/// Makes `from` the descriptor `to`, open in the program to come.
pub(super) fn place_descriptor(from: BorrowedFd<'_>, to: RawFd) -> io::Result<()> {
    let result = if from.as_raw_fd() == to {
        // SAFETY: changes a flag of an open descriptor.
        unsafe { libc::fcntl(to, libc::F_SETFD, 0) }
    } else {
        // SAFETY: only in a child that is about to become another program: nothing in it uses what
        // `to` was before, and its table of descriptors is its own.
        unsafe { libc::dup2(from.as_raw_fd(), to) }
    };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Marks all descriptors from `first` on to be closed by `exec`.
pub(super) fn close_on_exec_from(first: u32) -> io::Result<()> {
    // By number, as older C libraries lack the function.
    // SAFETY: changes flags of descriptors only.
    let result =
        unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// As [`close_on_exec_from`], for kernels before 5.11.
pub(super) fn close_on_exec_one(descriptor: RawFd) {
    // SAFETY: changes a flag; a descriptor that is not open is an error without effect.
    unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) };
}

/// A child that has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ended {
    pub(super) pid: i32,
    pub(super) status: ExitStatus,
    /// By it and by the children that it has waited for.
    pub(super) usage: Usage,
}

/// Which child to wait for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Child {
    Any,
    Pid(i32),
}

/// The next child that has ended, which is then gone; `None` if none has.
///
/// Not by `nix`, which loses children that a real-time signal has ended.
///
/// # Errors
///
/// `ECHILD` if there are no children.
pub(super) fn reap(child: Child) -> io::Result<Option<Ended>> {
    wait(child, libc::WNOHANG)
}

/// As [`reap`], and the child stays to be reaped: its process id stays taken.
pub(super) fn peek(child: Child) -> io::Result<Option<Ended>> {
    wait(child, libc::WNOHANG | libc::WNOWAIT)
}

/// Waits for the end of a child.
pub(super) fn reap_blocking(child: Child) -> io::Result<Option<Ended>> {
    wait(child, 0)
}

fn wait(child: Child, flags: c_int) -> io::Result<Option<Ended>> {
    let (kind, id) = match child {
        Child::Any => (libc::P_ALL, 0),
        Child::Pid(pid) => (libc::P_PID, pid.cast_unsigned()),
    };
    loop {
        // SAFETY: all zeros is a valid value of this plain C structure.
        let mut info: libc::siginfo_t = unsafe { zeroed() };
        // SAFETY: as above.
        let mut usage: libc::rusage = unsafe { zeroed() };
        let (info_to, usage_to) = (&raw mut info, &raw mut usage);
        let flags = libc::WEXITED | flags;
        // The C library's function leaves out the usage.
        // SAFETY: both are valid places to write to.
        let result = unsafe { libc::syscall(libc::SYS_waitid, kind, id, info_to, flags, usage_to) };
        if result == -1 {
            let error = io::Error::last_os_error();
            if error.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            return Err(error);
        }
        // SAFETY: waitid has filled in the fields of a SIGCHLD, or left the pid zero.
        let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
        return Ok((pid != 0).then(|| {
            let exited = info.si_code == libc::CLD_EXITED;
            let status = if exited { ExitStatus::Code(status) } else { ExitStatus::Signal(status) };
            Ended { pid, status, usage: usage_of(&usage) }
        }));
    }
}

fn usage_of(usage: &libc::rusage) -> Usage {
    let time = |time: libc::timeval| {
        Duration::from_secs(u64::try_from(time.tv_sec).unwrap_or(0))
            + Duration::from_micros(u64::try_from(time.tv_usec).unwrap_or(0))
    };
    Usage {
        user: time(usage.ru_utime),
        system: time(usage.ru_stime),
        memory_max: u64::try_from(usage.ru_maxrss).unwrap_or(0).saturating_mul(1024),
    }
}

/// Takes the next pending signal of `set`, which must be blocked. `None` after `timeout`.
pub(super) fn wait_signal(set: &SigSet, timeout: Option<Duration>) -> Option<Signal> {
    let timeout = timeout.map(|timeout| libc::timespec {
        tv_sec: timeout.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    });
    let timeout = timeout.as_ref().map_or(null(), |timeout| &raw const *timeout);
    // SAFETY: set and timeout are valid or null, and a null info asks for no more than the number.
    let signal = unsafe { libc::sigtimedwait(set.as_ref(), null_mut(), timeout) };
    Signal::try_from(signal).ok()
}

/// Gives a signal its default or no effect.
pub(super) fn set_signal(signal: Signal, effect: Effect) -> io::Result<()> {
    let handler = match effect {
        Effect::Default => SigHandler::SigDfl,
        Effect::Ignored => SigHandler::SigIgn,
    };
    // SAFETY: no code of ours runs in these handlers.
    unsafe { sigaction(signal, &SigAction::new(handler, SaFlags::empty(), SigSet::empty())) }?;
    Ok(())
}

/// Gives every signal its default effect, those for real-time use among them, but not the two by
/// which a fault of this process is explained.
pub(super) fn reset_signals() {
    for signal in (1..=libc::SIGRTMAX()).filter(|s| ![libc::SIGSEGV, libc::SIGBUS].contains(s)) {
        // SAFETY: no code of ours runs in these handlers. An error says that the signal has only
        // its default, or is the C library's own.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Effect {
    Default,
    Ignored,
}

/// Turns signals into something that can be polled for, whatever thread they arrive on.
///
/// Not a signalfd: an async main may have started threads that do not block the signals, and the
/// kernel may deliver to any of them.
///
/// One at a time in a process.
pub(super) struct Notifier {
    event: EventFd,
    before: Vec<(Signal, SigAction)>,
}

static NOTIFIED: AtomicU32 = AtomicU32::new(0);
static NOTIFY: AtomicI32 = AtomicI32::new(-1);

impl Notifier {
    pub(super) fn install(signals: &[Signal]) -> io::Result<Self> {
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        NOTIFIED.store(0, Ordering::SeqCst);
        NOTIFY.store(event.as_fd().as_raw_fd(), Ordering::SeqCst);
        let mut notifier = Self { event, before: Vec::new() };
        let handler = SigHandler::Handler(note);
        let action =
            SigAction::new(handler, SaFlags::SA_RESTART | SaFlags::SA_NOCLDSTOP, SigSet::empty());
        for signal in signals {
            // SAFETY: the handler makes only calls that are allowed in one.
            let before = unsafe { sigaction(*signal, &action) }?;
            notifier.before.push((*signal, before));
        }
        Ok(notifier)
    }

    /// The signals since the last call, as bits.
    pub(super) fn take(&self) -> Signals {
        // Without the swap: it is asked far more often than there is something.
        if NOTIFIED.load(Ordering::Relaxed) == 0 {
            return Signals(0);
        }
        // The event first: a signal in between then costs a needless round, not a missed one.
        let _ = self.event.read();
        Signals(NOTIFIED.swap(0, Ordering::SeqCst))
    }
}

impl AsFd for Notifier {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        for (signal, before) in &self.before {
            // SAFETY: puts back what was in force before.
            let _ = unsafe { sigaction(*signal, before) };
        }
        NOTIFY.store(-1, Ordering::SeqCst);
    }
}

/// A set of signals below 32.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Signals(u32);

impl Signals {
    pub(super) fn contain(self, signal: Signal) -> bool {
        self.0 & bit(signal as c_int) != 0
    }
}

fn bit(signal: c_int) -> u32 {
    1u32.checked_shl(signal.cast_unsigned()).unwrap_or(0)
}

extern "C" fn note(signal: c_int) {
    NOTIFIED.fetch_or(bit(signal), Ordering::SeqCst);
    let one = 1u64.to_ne_bytes();
    // SAFETY: write may be called in a signal handler, errno is put back as it was, and a closed
    // descriptor is an error without effect.
    unsafe {
        let errno = libc::__errno_location();
        let before = *errno;
        libc::write(NOTIFY.load(Ordering::SeqCst), one.as_ptr().cast(), one.len());
        *errno = before;
    }
}

/// Sends a packet with descriptors, without waiting.
pub(super) fn send(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[OwnedFd],
    wait: bool,
) -> io::Result<()> {
    let descriptors: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&descriptors)];
    let rights = if descriptors.is_empty() { &rights[..0] } else { &rights[..] };
    let wait = if wait { MsgFlags::empty() } else { MsgFlags::MSG_DONTWAIT };
    sendmsg::<()>(
        socket.as_raw_fd(),
        &[IoSlice::new(bytes)],
        rights,
        wait | MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    Ok(())
}

/// A packet that has arrived.
pub(super) struct Packet {
    pub(super) size: usize,
    pub(super) descriptors: Vec<OwnedFd>,
    /// It had more bytes or descriptors than could be taken.
    pub(super) truncated: bool,
}

/// Takes the next packet, without waiting. A size of zero is the end.
pub(super) fn receive(
    socket: BorrowedFd<'_>,
    bytes: &mut [u8],
    control: &mut [u8],
) -> io::Result<Packet> {
    let mut slices = [IoSliceMut::new(bytes)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(control), flags)?;
    let mut descriptors = Vec::new();
    let mut truncated = message.flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC);
    match message.cmsgs() {
        Ok(controls) => {
            for control in controls {
                if let ControlMessageOwned::ScmRights(received) = control {
                    // SAFETY: the kernel has just made these descriptors for us alone.
                    descriptors
                        .extend(received.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
                }
            }
        }
        Err(_) => truncated = true,
    }
    Ok(Packet { size: message.bytes, descriptors, truncated })
}

//! The first thing in `main`: a program that uses pleiad is also its own launcher and worker.

#![expect(unsafe_code, reason = "takes over the file descriptor that the launcher has made")]

use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::launcher;
use crate::worker::{self, Kind};

/// The first argument of a worker.
pub(crate) const WORKER_ROLE: &str = "pleiad-worker";

static CALLED: AtomicBool = AtomicBool::new(false);

/// Makes this program able to be its own worker. Call it first thing in `main`.
///
/// pleiad runs jobs in copies of the program that asks for them. In such a copy this function does
/// the work and never returns; in the program itself it returns at once. What stands before it in
/// `main` is run in each copy too.
///
/// ```no_run
/// // First thing in `main`:
/// pleiad_cluster::init();
/// ```
pub fn init() {
    launcher::serve_if_asked();
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|arg| arg == WORKER_ROLE) {
        let machine = args.next().unwrap_or_default().to_string_lossy().into_owned();
        let keeps_output = args.next().is_some_and(|arg| arg == "keep");
        serve_as_worker(&machine, keeps_output);
    }
    CALLED.store(true, Ordering::Release);
}

/// Lets this process have as many files open at once as the system allows it, and gives that
/// number. Each program that runs takes two or three of them.
///
/// Call it after a cluster was started: its programs then keep the limit that there was before,
/// which some of them need to be small.
///
/// # Errors
///
/// If the system does not tell or change the limit.
pub fn raise_open_files_limit() -> std::io::Result<u64> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

/// Whether this program can be started as a worker.
pub(crate) fn was_called() -> bool {
    CALLED.load(Ordering::Acquire)
}

/// Whether this program is a test or a benchmark, whose `main` cannot begin with [`init`].
pub(crate) fn is_test_harness() -> bool {
    let by_nextest = std::env::var_os("NEXTEST").is_some();
    // cargo puts tests, and nothing that it runs otherwise, into a folder `deps`.
    let in_deps = std::env::current_exe().is_ok_and(|exe| {
        exe.parent().and_then(|dir| dir.file_name()).is_some_and(|dir| dir == "deps")
    });
    by_nextest || in_deps
}

fn serve_as_worker(machine: &str, keeps_output: bool) -> ! {
    const SOCKET: i32 = 3;
    // SAFETY: only asks whether the descriptor is open, and marks it.
    let is_open = unsafe { libc::fcntl(SOCKET, libc::F_SETFD, libc::FD_CLOEXEC) } == 0;
    if is_open {
        // SAFETY: the launcher has put the socket there for this process, and nothing else in it
        // knows of it: `main` has only just begun.
        let socket = UnixStream::from(unsafe { OwnedFd::from_raw_fd(SOCKET) });
        if socket.peer_addr().is_ok() {
            worker::serve(socket, Kind::Process { keeps_output }, machine);
        }
    }
    let text = "this is how pleiad starts its own workers; there is none to serve here\n";
    let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
    process::exit(2)
}

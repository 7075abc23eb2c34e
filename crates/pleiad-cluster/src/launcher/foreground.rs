//! One program for the command line, in the place of the command itself.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use super::client::{Packet, receive_report, start_process};
use super::sys::{self, Notifier};
use super::wire::{Order, Report};
use super::{ForegroundEnd, Launch, OWN_PROGRAM, ProcessLimits, StopHow};

const ID: u64 = 1;

/// Runs a program with this process's standard streams, and returns when it has ended with all its
/// descendants.
///
/// SIGINT, SIGTERM and SIGHUP to this process stop the program politely, a second one at once. So
/// does reaching `limit`. The program is in its own session, without a controlling terminal.
///
/// # Errors
///
/// Why the program could not be started, with the step that failed.
pub fn launch_foreground(
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, Option<OsString>)>,
    workdir: Option<PathBuf>,
    limits: ProcessLimits,
    limit: Option<Duration>,
    grace: Duration,
) -> io::Result<ForegroundEnd> {
    let notifier = Notifier::install(&[Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP])?;
    let (socket, _process) = start_process(OWN_PROGRAM.as_ref())?;
    let launch = Launch {
        program,
        args,
        arg0: None,
        env,
        env_clear: false,
        workdir,
        limits,
        stdin: io::stdin().as_fd().try_clone_to_owned()?,
        stdout: io::stdout().as_fd().try_clone_to_owned()?,
        stderr: io::stderr().as_fd().try_clone_to_owned()?,
        extra: None,
        grace,
    };
    Packet::launch(ID, launch)?.send(socket.as_fd(), true)?;
    let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
    Foreground { socket, notifier, deadline, stopping: false, limit_reached: false }.run()
}

struct Foreground {
    socket: OwnedFd,
    notifier: Notifier,
    deadline: Option<Instant>,
    stopping: bool,
    limit_reached: bool,
}

impl Foreground {
    fn run(mut self) -> io::Result<ForegroundEnd> {
        loop {
            let signals = self.notifier.take();
            if [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]
                .into_iter()
                .any(|signal| signals.contain(signal))
            {
                self.stop();
            }
            if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                self.deadline = None;
                self.limit_reached = true;
                self.stop();
            }
            match receive_report(self.socket.as_fd()) {
                Ok(Some(report)) => {
                    if let Some(end) = self.handle_report(report) {
                        return end;
                    }
                }
                Ok(None) => return Err(io::Error::other("the launcher was killed")),
                Err(_) => self.wait()?,
            }
        }
    }

    fn handle_report(&self, report: Report) -> Option<io::Result<ForegroundEnd>> {
        match report {
            Report::Started { .. } => None,
            Report::NotStarted { stage, errno, .. } => {
                let why = io::Error::from_raw_os_error(errno);
                Some(Err(io::Error::new(why.kind(), format!("failed to {stage}: {why}"))))
            }
            Report::Ended { .. } if self.limit_reached => Some(Ok(ForegroundEnd::LimitReached)),
            Report::Ended { status, .. } => Some(Ok(ForegroundEnd::Ended(status))),
            Report::Lost { .. } => {
                Some(Err(io::Error::other("the guard of the program was killed")))
            }
        }
    }

    fn stop(&mut self) {
        let how = if self.stopping { StopHow::Kill } else { StopHow::Polite };
        self.stopping = true;
        let order = Order::Stop { id: ID, how }.encode();
        // If the launcher is gone, the next read says so.
        let _ = sys::send(self.socket.as_fd(), &order, &[], true);
    }

    fn wait(&self) -> io::Result<()> {
        let timeout = self.deadline.map_or(PollTimeout::NONE, |deadline| {
            // Rounded up, so that it does not spin through the last millisecond.
            let left = deadline.saturating_duration_since(Instant::now());
            PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
        });
        let mut polled = [
            PollFd::new(self.notifier.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut polled, timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

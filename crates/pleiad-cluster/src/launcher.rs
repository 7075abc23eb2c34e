//! Starts programs so that nothing they start can outlive them.
//!
//! Three storeys of processes, each with one purpose:
//!
//! - The **agent** is the user's process. It may be large and full of threads, so it never forks:
//!   it starts one launcher, and asks it over a socket.
//! - The **launcher** is this same executable in another role. It forks a guard for each program
//!   that runs at once, and ends all of them when the agent's end of the socket closes, however the
//!   agent ended.
//! - A **guard** starts one program at a time, collects everything that descends from it, and ends
//!   all of it when the program has ended, when told to, or when the launcher dies. Only then does
//!   it take another, which saves a fork: 0.8 ms of processor time for each `true` instead of 1.1,
//!   of which 0.7 are for `true` itself.
//!
//! Each storey notices the death of the one above (closed socket, death signal) and inherits the
//! orphans of the one below (it is their subreaper), so one `kill -9` anywhere leaves nothing.
//!
//! Linux only: subreapers, death signals and `/proc` have no common counterpart on other systems,
//! where [`Launcher::start`] returns [`io::ErrorKind::Unsupported`].

use std::ffi::OsString;
use std::fmt;
use std::io;
#[cfg(unix)]
use std::os::fd::OwnedFd;
#[cfg(windows)]
use std::os::windows::io::OwnedHandle as OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use pleiad_types::ExitStatus;

#[cfg(target_os = "linux")]
mod client;
#[cfg(target_os = "linux")]
mod foreground;
#[cfg(target_os = "linux")]
mod guard;
#[cfg(target_os = "linux")]
mod serve;
#[cfg(not(target_os = "linux"))]
mod stub;
#[cfg(target_os = "linux")]
mod sys;
#[cfg(target_os = "linux")]
mod tree;
#[cfg(target_os = "linux")]
mod wire;

#[cfg(target_os = "linux")]
pub use self::{client::Launcher, foreground::launch_foreground};
#[cfg(not(target_os = "linux"))]
pub use stub::{Launcher, launch_foreground};

/// The variable that tells a copy of the executable which role to play.
#[cfg(target_os = "linux")]
const ROLE_VARIABLE: &str = "PLEIAD_ROLE";
#[cfg(target_os = "linux")]
const ROLE_LAUNCHER: &str = "launcher";

/// This very program, even if its file has been replaced since it was started.
pub(crate) const OWN_PROGRAM: &str = "/proc/self/exe";

/// Time that programs get to end when their agent or launcher has died. Nothing may be left 5 s
/// after the death of an agent.
#[cfg(target_os = "linux")]
const ORPHAN_GRACE: Duration = Duration::from_secs(2);

/// Becomes the launcher, and never returns, if this process was started to be one.
///
/// Call it first in `main`: whatever runs before it runs in the launcher as well.
pub fn serve_if_asked() {
    #[cfg(target_os = "linux")]
    if std::env::var_os(ROLE_VARIABLE).is_some_and(|role| role == ROLE_LAUNCHER) {
        serve::serve();
    }
}

/// A program to start, and everything it is given.
#[derive(Debug)]
pub struct Launch {
    /// Searched for in the `PATH` of the program's own environment, unless it has a slash. A
    /// relative path counts from `workdir`.
    pub program: OsString,
    /// Without the program's own name.
    pub args: Vec<OsString>,
    /// The program's own name as it sees it; `program` if not given.
    pub arg0: Option<OsString>,
    /// Variables to set, or to remove, in the environment that the agent had when it started the
    /// launcher. Of several changes to one variable, the last counts.
    pub env: Vec<(OsString, Option<OsString>)>,
    /// Whether to begin with no variables at all.
    pub env_clear: bool,
    /// The agent's own when it started the launcher, if not given.
    pub workdir: Option<PathBuf>,
    /// What the program may use.
    pub limits: ProcessLimits,
    /// Becomes descriptor 0.
    pub stdin: OwnedFd,
    /// Becomes descriptor 1.
    pub stdout: OwnedFd,
    /// Becomes descriptor 2.
    pub stderr: OwnedFd,
    /// Becomes descriptor 3. All others are closed.
    pub extra: Option<OwnedFd>,
    /// Time from a polite stop to the end by force; half of it passes before the second signal.
    pub grace: Duration,
}

/// What one process of a program may use. Each process that it starts may use as much again.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ProcessLimits {
    /// Bytes of private memory; allocation fails beyond it.
    pub memory: Option<u64>,
    /// Seconds of processor time; SIGXCPU ends the process, and SIGKILL a second later.
    pub cpu_seconds: Option<u64>,
    /// Open files, sockets and pipes.
    pub files: Option<u64>,
}

/// Names one [`Launch`] of a [`Launcher`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LaunchId(u64);

impl fmt::Display for LaunchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "launch-{}", self.0)
    }
}

/// How to stop a program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StopHow {
    /// SIGINT to its process group, SIGTERM after half of its grace, then [`StopHow::Kill`].
    Polite,
    /// SIGKILL to it and to all that descends from it.
    Kill,
}

/// News of a launched program. Each launch ends with exactly one of `NotStarted`, `Ended`, `Lost`,
/// unless `LauncherEnded` comes first.
#[derive(Debug)]
pub enum LauncherEvent {
    /// The program runs: its `exec` has succeeded.
    Started {
        /// Which launch.
        id: LaunchId,
        /// The program's process id, which is also its process group and session.
        pid: u32,
    },
    /// The program does not run and never has.
    NotStarted {
        /// Which launch.
        id: LaunchId,
        /// What could not be done.
        stage: Stage,
        /// Why.
        error: io::Error,
    },
    /// The program has ended, and everything that descended from it.
    Ended {
        /// Which launch.
        id: LaunchId,
        /// How the program itself ended.
        status: ExitStatus,
        /// What it and its descendants have used.
        usage: Usage,
    },
    /// Its guard or the launcher was killed. The program was ended with it; how it would have ended
    /// is not known.
    Lost {
        /// Which launch.
        id: LaunchId,
    },
    /// The launcher has died, and all that it ran. No event follows.
    LauncherEnded,
}

/// The step of a launch that failed. Reads as what could not be done: "failed to …".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Stage {
    /// To ask the launcher: it has ended, or an argument has a zero byte.
    Request,
    /// To make the processes.
    Process,
    /// To connect the standard streams.
    Streams,
    /// To enter the working directory.
    Workdir,
    /// To set the limits.
    Limits,
    /// To run the program: no such program, or not executable.
    Program,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Request => "ask the launcher",
            Self::Process => "make a process",
            Self::Streams => "connect the standard streams",
            Self::Workdir => "enter the working directory",
            Self::Limits => "set the limits",
            Self::Program => "run the program",
        })
    }
}

/// What a program and all its descendants have used.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Usage {
    /// Processor time in user code.
    pub user: Duration,
    /// Processor time in the kernel.
    pub system: Duration,
    /// Bytes of memory that the largest of the processes held at once.
    pub memory_max: u64,
}

/// How a program in the foreground ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ForegroundEnd {
    /// By itself, or by a signal.
    Ended(ExitStatus),
    /// It was stopped because its time limit was reached.
    LimitReached,
}

/// For the launcher's own tests, which need a program whose `main` can become the launcher. Not a
/// part of the interface.
#[doc(hidden)]
pub mod testing {
    pub use super::{
        Launch, LaunchId, Launcher, LauncherEvent, ProcessLimits, Stage, StopHow, Usage,
        launch_foreground, serve_if_asked,
    };
}

//! Systems on which nothing can hold a program's descendants together.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::{ForegroundEnd, Launch, LaunchId, LauncherEvent, ProcessLimits, StopHow};

/// Starts programs; not on this system.
#[derive(Debug)]
pub struct Launcher(std::convert::Infallible);

impl Launcher {
    /// Starts the launcher's process.
    ///
    /// # Errors
    ///
    /// Always [`io::ErrorKind::Unsupported`] on this system.
    pub fn start() -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// As [`start`](Self::start), from another executable.
    ///
    /// # Errors
    ///
    /// Always [`io::ErrorKind::Unsupported`] on this system.
    pub fn start_from(_program: &OsStr) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Starts a program.
    pub fn launch(&mut self, _launch: Launch) -> LaunchId {
        match self.0 {}
    }

    /// Stops a program.
    pub fn stop(&mut self, _id: LaunchId, _how: StopHow) {
        match self.0 {}
    }

    /// Waits for news.
    pub async fn next_event(&mut self) -> LauncherEvent {
        match self.0 {}
    }

    /// The process id of the launcher.
    pub fn process_id(&self) -> u32 {
        match self.0 {}
    }

    /// Ends everything.
    pub async fn shutdown(self) {
        match self.0 {}
    }
}

/// Runs a program in the foreground.
///
/// # Errors
///
/// Always [`io::ErrorKind::Unsupported`] on this system.
pub fn launch_foreground(
    _program: OsString,
    _args: Vec<OsString>,
    _env: Vec<(OsString, Option<OsString>)>,
    _workdir: Option<PathBuf>,
    _limits: ProcessLimits,
    _limit: Option<Duration>,
    _grace: Duration,
) -> io::Result<ForegroundEnd> {
    Err(io::ErrorKind::Unsupported.into())
}

//! What the tests share.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// No state takes longer to come, even on a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_secs(60);

/// A directory for one test, in which `pleiad` is run.
pub(crate) struct World(tempfile::TempDir);

/// How a run of `pleiad` ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl World {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: impl AsRef<Path>, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn read(&self, name: impl AsRef<Path>) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// The names of the files in the directory, in order.
    pub(crate) fn names(&self) -> Vec<OsString> {
        let mut names: Vec<_> =
            fs::read_dir(self.0.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    }

    /// The program with these words, not started yet.
    pub(crate) fn pleiad(&self, words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pleiad"));
        command.args(words).current_dir(self.0.path()).env("LC_ALL", "C.UTF-8");
        command.env("PLEIAD_HOME", self.path(".home"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// `pleiad run` with these words, to its end.
    pub(crate) fn run(&self, words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Ended {
        self.run_with(b"", words)
    }

    /// `pleiad run` with this standard input.
    pub(crate) fn run_with(
        &self,
        input: &[u8],
        words: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Ended {
        let mut command = self.pleiad(["run"]);
        command.args(words).stdin(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        thread::scope(|scope| {
            // It may end before it has read everything.
            scope.spawn(move || drop(stdin.write_all(input)));
            Ended::of(child)
        })
    }

    /// What bash prints in the same directory.
    pub(crate) fn bash(&self, script: &str) -> Vec<u8> {
        let output = Command::new("bash")
            .args(["-O", "globstar", "-c", script])
            .current_dir(self.0.path())
            .env("LC_ALL", "C.UTF-8")
            .output()
            .unwrap();
        assert!(output.status.success(), "{script}");
        output.stdout
    }

    /// Waits until there is such a file.
    pub(crate) fn wait_for_file(&self, name: &str) {
        let path = self.path(name);
        wait_until(name, || path.exists());
    }

    /// Processes that have this directory in their command line.
    pub(crate) fn processes(&self) -> Vec<String> {
        let marker = self.0.path().as_os_str().as_bytes().to_vec();
        let command_lines = fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let line = fs::read(entry.ok()?.path().join("cmdline")).ok()?;
            let has_marker = line.windows(marker.len()).any(|window| window == marker);
            has_marker.then(|| String::from_utf8_lossy(&line).replace('\0', " "))
        });
        command_lines.collect()
    }
}

impl Ended {
    pub(crate) fn of(child: Child) -> Self {
        Self::from(child.wait_with_output().unwrap())
    }

    pub(crate) fn text(&self) -> &str {
        str::from_utf8(&self.stdout).unwrap()
    }

    /// Checks that all went well, and gives what was printed.
    #[track_caller]
    pub(crate) fn succeeded(&self) -> &str {
        assert_eq!((self.code, self.stderr.as_str()), (0, ""), "{self:?}");
        self.text()
    }

    /// Checks the exit status, and that the messages contain each of `parts`.
    #[track_caller]
    pub(crate) fn failed<const N: usize>(&self, code: i32, parts: [&str; N]) {
        assert_eq!(self.code, code, "{}", self.stderr);
        for part in parts {
            assert!(self.stderr.contains(part), "{part:?} is missing in:\n{}", self.stderr);
        }
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let code = output.status.code().expect("pleiad always exits by itself");
        let stderr = String::from_utf8(output.stderr).expect("messages are always UTF-8");
        Self { code, stdout: output.stdout, stderr }
    }
}

#[track_caller]
pub(crate) fn wait_until(what: &str, mut is_true: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_true() {
        assert!(start.elapsed() < PATIENCE, "waited for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn signal(child: &Child, name: &str) {
    let id = child.id().to_string();
    assert!(Command::new("kill").args([format!("-{name}"), id]).status().unwrap().success());
}

/// The most memory that a process has had so far, in bytes.
pub(crate) fn memory_max(child: &Child) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

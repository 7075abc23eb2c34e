//! Runs an example that talks to others, and to who uses it: line by line.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::example::{Output, program};

/// For each line that is waited for; it takes milliseconds.
const LINE_TIME_MAX: Duration = Duration::from_secs(60);

/// An example that runs. It is killed when this is dropped.
pub(crate) struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: mpsc::Receiver<String>,
    stderr: mpsc::Receiver<String>,
    said: Vec<String>,
}

impl Process {
    /// Starts it with its own keys, which are in `home`: nodes of different homes do not know each other.
    pub(crate) fn start(home: &Path, example: &str, args: &[&str]) -> Self {
        let mut child = Command::new(program(example))
            .args(args)
            .env("PLEIAD_HOME", home)
            .env("RUST_BACKTRACE", "0")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        let stdout = lines(child.stdout.take().unwrap());
        let stderr = lines(child.stderr.take().unwrap());
        Self { child, stdin, stdout, stderr, said: Vec::new() }
    }

    /// Waits until it has printed such a line, if it has not yet; gives the line.
    #[track_caller]
    pub(crate) fn says(&mut self, expected: &str) -> String {
        let end = Instant::now() + LINE_TIME_MAX;
        loop {
            self.said.extend(self.stdout.try_iter());
            if let Some(line) = self.output().find(expected) {
                return line.to_owned();
            }
            match self.stdout.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => self.said.push(line),
                Err(error) => {
                    let errors: Vec<String> = self.stderr.try_iter().collect();
                    panic!("{error}: no line {expected:?} in {:#?}, {errors:#?}", self.said);
                }
            }
        }
    }

    /// Types a line.
    pub(crate) fn types(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// Types no more.
    pub(crate) fn types_no_more(&mut self) {
        self.stdin = None;
    }

    /// As Ctrl-C.
    pub(crate) fn interrupt(&self) {
        self.signal(Signal::SIGINT);
    }

    pub(crate) fn kill(&self) {
        self.signal(Signal::SIGKILL);
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Waits until it ends by itself; gives how, and all that it has printed.
    #[track_caller]
    pub(crate) fn ends(mut self) -> (ExitStatus, Output) {
        let rest = |lines: &mpsc::Receiver<String>| {
            let mut read = Vec::new();
            loop {
                match lines.recv_timeout(LINE_TIME_MAX) {
                    Ok(line) => read.push(line),
                    Err(mpsc::RecvTimeoutError::Disconnected) => return read,
                    Err(error) => panic!("{error}: it has not ended after {read:#?}"),
                }
            }
        };
        let (more, errors) = (rest(&self.stdout), rest(&self.stderr));
        let status = self.child.wait().unwrap();
        let mut lines = std::mem::take(&mut self.said);
        lines.extend(more);
        (status, Output { lines, errors })
    }

    /// As [`ends`](Self::ends): it must be a success, without a word on standard error.
    #[track_caller]
    pub(crate) fn ends_well(self) -> Output {
        let (status, output) = self.ends();
        assert!(status.success(), "{status}: {output:#?}");
        assert!(output.errors.is_empty(), "{output:#?}");
        output
    }

    fn output(&self) -> Output {
        Output { lines: self.said.clone(), errors: Vec::new() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(stream: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    let lines = BufReader::new(stream).lines();
    thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
    receiver
}

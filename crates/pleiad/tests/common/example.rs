//! Runs an example as its reader would, and looks at what it prints.

#![allow(dead_code, clippy::allow_attributes, reason = "each test program uses a part of it")]

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Each takes a few seconds at most on a machine that is not busy.
const TIME_MAX: Duration = Duration::from_secs(120);

/// Asserts that the table of `tested` examples has each whose name begins so, and that each begins
/// with what it shows and says how to run it.
#[track_caller]
pub(crate) fn check(prefix: &str, tested: &[(&str, fn())]) {
    let names: Vec<&str> = tested.iter().map(|(name, _)| *name).collect();
    assert_eq!(self::names(prefix), names);
    for name in names {
        let text = fs::read_to_string(source(name)).unwrap();
        assert!(text.starts_with("//! "), "{name} does not begin with what it shows");
        let command = format!("--example {name}");
        assert!(text.contains(&command), "{name} does not say how to run it");
    }
}

/// The names of all examples that begin so, in their order.
pub(crate) fn names(prefix: &str) -> Vec<String> {
    let files = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut names: Vec<String> =
        files.map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    names.retain(|name| name.starts_with(prefix));
    names.sort();
    names
}

/// A temporary folder in which an example runs.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn run(&self, example: &str, args: &[&str]) -> Output {
        run(example, args, self.0.path())
    }
}

/// Runs an example to its end, which must be a success in time, and without a word on standard
/// error.
pub(crate) fn run(example: &str, args: &[&str], folder: &Path) -> Output {
    let (status, output) = run_to_end(example, args, folder);
    assert!(status.success(), "{example}: {status}, {output:#?}");
    assert!(output.errors.is_empty(), "{example} has written to standard error: {output:#?}");
    output
}

/// Runs an example to its end, however that is, but in time.
pub(crate) fn run_to_end(example: &str, args: &[&str], folder: &Path) -> (ExitStatus, Output) {
    let mut child = Command::new(program(example))
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();

    // The streams end when the last process has closed them: no worker may outlive the example.
    let stdout = read(child.stdout.take().unwrap());
    let stderr = read(child.stderr.take().unwrap());
    let streams = stdout.recv_timeout(TIME_MAX).and_then(|stdout| {
        let stderr = stderr.recv_timeout(TIME_MAX)?;
        Ok((stdout, stderr))
    });
    let Ok((stdout, stderr)) = streams else {
        child.kill().unwrap();
        child.wait().unwrap();
        panic!("{example} has not ended after {TIME_MAX:?}");
    };
    let status = child.wait().unwrap();
    let lines = |text: &str| text.lines().map(str::to_owned).collect();
    (status, Output { lines: lines(&stdout), errors: lines(&stderr) })
}

/// Where its program is, which must be newer than its source.
pub(crate) fn program(example: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let program = own.ancestors().nth(2).unwrap().join("examples").join(example);
    let changed = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    // `cargo test` builds the examples, but `cargo test --test NAME` does not.
    let is_fresh = changed(&program) >= changed(&source(example));
    let features = if example.starts_with("nodes_") { " --features net" } else { "" };
    assert!(is_fresh, "{example} is not built: run `cargo build -p pleiad --examples{features}`");
    program
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

fn source(example: &str) -> PathBuf {
    folder().join(example).with_extension("rs")
}

fn read(mut stream: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        sender.send(text)
    });
    receiver
}

/// What an example has printed. In an expected line, `*` stands for anything.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) lines: Vec<String>,
    /// What it has written to standard error.
    pub(crate) errors: Vec<String>,
}

impl Output {
    #[track_caller]
    pub(crate) fn shows(&self, expected: &str) {
        assert!(self.count(expected) > 0, "no line {expected:?} in {self:#?}");
    }

    /// That standard error begins with such a line.
    #[track_caller]
    pub(crate) fn complains(&self, expected: &str) {
        let is_so = self.errors.first().is_some_and(|line| matches(line, expected));
        assert!(is_so, "no error {expected:?} in {self:#?}");
    }

    #[track_caller]
    pub(crate) fn is(&self, expected: &[&str]) {
        self.ends_with(expected);
        self.has_lines(expected.len());
    }

    #[track_caller]
    pub(crate) fn ends_with(&self, expected: &[&str]) {
        let begin = self.lines.len().saturating_sub(expected.len());
        for (line, expected) in self.lines[begin..].iter().zip(expected) {
            assert!(matches(line, expected), "{line:?} instead of {expected:?} in {self:#?}");
        }
        assert!(self.lines.len() >= expected.len(), "too short: {self:#?}");
    }

    #[track_caller]
    pub(crate) fn has_lines(&self, count: usize) {
        assert_eq!(self.lines.len(), count, "{self:#?}");
    }

    /// The first line that is as expected.
    pub(crate) fn find(&self, expected: &str) -> Option<&str> {
        self.lines.iter().map(String::as_str).find(|line| matches(line, expected))
    }

    pub(crate) fn count(&self, expected: &str) -> usize {
        self.lines.iter().filter(|line| matches(line, expected)).count()
    }
}

/// Whether the parts of `expected` between the `*` stand in `line` one after the other.
fn matches(line: &str, expected: &str) -> bool {
    let Some((first, others)) = expected.split_once('*') else { return line == expected };
    let Some(rest) = line.strip_prefix(first) else { return false };
    rest.char_indices().map(|(at, _)| &rest[at..]).chain([""]).any(|rest| matches(rest, others))
}

//! Processes that are nodes.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStderr, ChildStdout};

use crate::support::{Ended, World, signal};

/// A command that goes on until it is ended; at the latest, when this is dropped.
pub(crate) struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
    stderr: BufReader<ChildStderr>,
}

impl Running {
    pub(crate) fn start(world: &World, words: &[&str]) -> Self {
        let mut child = world.pleiad(words).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Self { child, stdout, stderr }
    }

    /// `pleiad node`, when others can find it.
    pub(crate) fn node(world: &World, name: &str) -> Self {
        Self::node_with(world, name, &[])
    }

    /// As [`node`](Self::node), with these options.
    pub(crate) fn node_with(world: &World, name: &str, options: &[&str]) -> Self {
        let mut node = Self::start(world, &[&["node", "--name", name], options].concat());
        let line = node.error_line();
        assert!(line.starts_with(&format!("pleiad: node {name} listens at 127.0.0.1:")), "{line}");
        node
    }

    /// The next line of standard output.
    pub(crate) fn line(&mut self) -> String {
        next_line(&mut self.stdout)
    }

    /// The next line of standard output that has this text.
    pub(crate) fn line_with(&mut self, text: &str) -> String {
        loop {
            let line = self.line();
            assert!(!line.is_empty(), "it has ended without {text:?}");
            if line.contains(text) {
                return line;
            }
        }
    }

    /// The next line of standard error.
    pub(crate) fn error_line(&mut self) -> String {
        next_line(&mut self.stderr)
    }

    /// Ends it by this signal, and gives its exit status.
    pub(crate) fn end(&mut self, name: &str) -> Option<i32> {
        signal(&self.child, name);
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn next_line(from: &mut impl BufRead) -> String {
    let mut line = String::new();
    from.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

/// A command that ends by itself.
pub(crate) fn pleiad(world: &World, words: &[&str]) -> Ended {
    Ended::of(world.pleiad(words).spawn().unwrap())
}

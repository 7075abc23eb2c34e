//! The other process of a measurement on this machine.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::{env, process};

use anyhow::Context;
use tempfile::TempDir;

use crate::args::Reach;
use crate::problem::Problem;

/// A node in another process, in a cluster that nobody else is in. Ends when this is dropped.
pub(super) struct FarSide {
    child: Child,
    home: TempDir,
    name: String,
}

impl FarSide {
    pub(super) fn start() -> Result<Self, Problem> {
        let home = tempfile::tempdir().context("cannot make a directory for the measurement");
        let home = home.map_err(Problem::failure)?;
        let name = format!("bench-{}", process::id());
        let child = spawn(home.path(), &name).context("cannot start the other process");
        Ok(Self { child: child.map_err(Problem::failure)?, home, name })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// How it is reached.
    pub(super) fn reach(&self, reach: &Reach) -> Reach {
        Reach {
            home: Some(self.home.path().to_owned()),
            peer: Vec::new(),
            join: None,
            listen: Vec::new(),
            timeout: reach.timeout,
        }
    }
}

fn spawn(home: &Path, name: &str) -> std::io::Result<Child> {
    Command::new(env::current_exe()?)
        .args(["node", "--until-eof", "--name", name, "--home"])
        .arg(home)
        // It ends with this process, however that ends.
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

impl Drop for FarSide {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

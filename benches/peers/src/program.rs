//! Peers in other languages: programs of their own, compiled when they are first needed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::row::{Threads, Work};

/// Another language, and what its program knows to do.
pub(crate) struct Program {
    pub(crate) name: &'static str,
    /// About how many bytes an idle task takes.
    pub(crate) idle: u64,
    works: &'static [(Work, &'static str)],
    source: &'static str,
    file: &'static str,
    compile: fn(&Path) -> Command,
    run: fn(&Path, Threads) -> Command,
}

pub(crate) const PROGRAMS: &[Program] = &[ERLANG, GO];

const ERLANG: Program = Program {
    name: "erlang",
    idle: 3_000,
    works: &[
        (Work::Memory, "memory"),
        (Work::Spawn, "spawn"),
        (Work::Ask, "ask"),
        (Work::Unbounded, "unbounded"),
    ],
    source: include_str!("../other/peers.erl"),
    file: "peers.erl",
    compile: |_| {
        let mut command = Command::new("erlc");
        command.arg("peers.erl");
        command
    },
    run: |folder, threads| {
        let threads = format!("{0}:{0}", threads.count());
        let mut command = Command::new("erl");
        command.args(["-noshell", "+S", &threads, "+P", "4000000", "-pa"]).arg(folder);
        command.args(["-run", "peers", "main"]);
        command
    },
};

const GO: Program = Program {
    name: "go",
    idle: 3_000,
    works: &[
        (Work::Memory, "memory"),
        (Work::Spawn, "spawn"),
        (Work::Future, "future"),
        (Work::Ask, "ask"),
        (Work::Bounded, "bounded"),
    ],
    source: include_str!("../other/peers.go"),
    file: "peers.go",
    compile: |_| {
        let mut command = Command::new("go");
        command.args(["build", "-o", "peers-go", "peers.go"]);
        command
    },
    run: |folder, threads| {
        let mut command = Command::new(folder.join("peers-go"));
        command.env("GOMAXPROCS", threads.count().to_string());
        command
    },
};

impl Program {
    pub(crate) fn does(&self, work: Work) -> bool {
        self.works.iter().any(|(known, _)| *known == work)
    }

    /// Compiles it into a folder beside this program, unless it is there already.
    pub(crate) fn prepare(&self) -> Result<PathBuf, String> {
        let me = std::env::current_exe().map_err(|error| error.to_string())?;
        let folder = me.with_file_name("peers-other");
        let (source, mark) = (folder.join(self.file), folder.join(format!("{}.done", self.name)));
        let compiled = fs::read_to_string(&mark).is_ok_and(|text| text == self.source);
        if !compiled {
            fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
            fs::write(&source, self.source).map_err(|error| error.to_string())?;
            let mut command = (self.compile)(&folder);
            let tool = command.get_program().display().to_string();
            let output = command.current_dir(&folder).output().map_err(|error| {
                if error.kind() == io::ErrorKind::NotFound {
                    format!("{tool} not found")
                } else {
                    format!("{tool}: {error}")
                }
            })?;
            if !output.status.success() {
                return Err(format!("{tool}: {}", String::from_utf8_lossy(&output.stderr)));
            }
            fs::write(&mark, self.source).map_err(|error| error.to_string())?;
        }
        Ok(folder)
    }

    /// Does `work`: with so many tasks for memory, for about so many milliseconds else.
    pub(crate) fn command(&self, folder: &Path, work: Work, threads: Threads, n: u64) -> Command {
        let (_, word) = self.works.iter().find(|(known, _)| *known == work).expect("it does it");
        let mut command = (self.run)(folder, threads);
        command.arg(word).arg(n.to_string());
        command
    }
}

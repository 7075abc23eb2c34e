//! A walk through directories that gives what fits a pattern, in byte order of the whole path.

use std::ffi::OsStr;
use std::fs::{self, DirEntry};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::super::exists;
use super::pattern::{Component, Pattern};

/// A directory that could not be read; the walk goes on without it.
#[derive(Debug)]
pub(crate) struct WalkError {
    pub(crate) path: PathBuf,
    pub(crate) source: io::Error,
}

/// Holds the names of the directories on its way, and no others.
pub(super) struct Walk {
    pattern: Pattern,
    // What is left to do, the next last.
    steps: Vec<Step>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Give {
        path: Vec<u8>,
    },
    /// Look into `path`, which is empty or ends with a slash, for the components in `states`.
    Enter {
        path: Vec<u8>,
        states: u64,
    },
}

impl Walk {
    pub(super) fn new(pattern: Pattern) -> Self {
        let path = if pattern.absolute { b"/".to_vec() } else { Vec::new() };
        let steps = match pattern.components.is_empty() {
            true if pattern.absolute => vec![Step::Give { path }],
            true => Vec::new(),
            false => vec![Step::Enter { path, states: 1 }],
        };
        Self { pattern, steps }
    }

    fn enter(&mut self, path: Vec<u8>, states: u64) -> Result<(), WalkError> {
        let states = self.closure(states);
        if states.count_ones() == 1
            && let at = states.trailing_zeros() as usize
            && let Component::Literal(name) = &self.pattern.components[at]
        {
            let name = name.clone();
            self.step_literally(path, at, &name);
            return Ok(());
        }
        let mut steps = Vec::new();
        let directory =
            if path.is_empty() { Path::new(".") } else { Path::new(OsStr::from_bytes(&path)) };
        let failed = |source| WalkError { path: directory.to_owned(), source };
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if is_nothing(&error) => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        let mut result = Ok(());
        for entry in entries {
            match entry {
                Ok(entry) => self.steps_for(&entry, &path, states, &mut steps),
                Err(error) => result = Err(failed(error)),
            }
        }
        // A directory's files come where its name with the slash stands: `a-b` before `a/b`.
        steps.sort_unstable_by(|a, b| b.path().cmp(&a.path()));
        self.steps.append(&mut steps);
        result
    }

    fn step_literally(&mut self, mut path: Vec<u8>, at: usize, name: &[u8]) {
        path.extend_from_slice(name);
        if at + 1 < self.pattern.components.len() {
            path.push(b'/');
            self.steps.push(Step::Enter { path, states: 1 << (at + 1) });
        } else if self.pattern.directories_only {
            if Path::new(OsStr::from_bytes(&path)).is_dir() {
                path.push(b'/');
                self.steps.push(Step::Give { path });
            }
        } else if exists(&path) {
            self.steps.push(Step::Give { path });
        }
    }

    fn steps_for(&self, entry: &DirEntry, path: &[u8], states: u64, steps: &mut Vec<Step>) {
        let name = entry.file_name().into_vec();
        let last = self.pattern.components.len() - 1;
        let (mut gives, mut below, mut below_real) = (false, 0_u64, 0_u64);
        for at in ones(states) {
            let component = &self.pattern.components[at];
            if !component.fits(&name) {
                continue;
            }
            gives |= at == last;
            if *component == Component::Recursive {
                below_real |= 1 << at;
            } else if at < last {
                below |= 1 << (at + 1);
            }
        }
        if !gives && below | below_real == 0 {
            return;
        }
        // As in shells, `**` does not follow symbolic links, and everything else does.
        let kind = entry.file_type();
        let is_real = kind.as_ref().is_ok_and(fs::FileType::is_dir);
        let is_directory =
            is_real || (kind.is_ok_and(|kind| kind.is_symlink()) && entry.path().is_dir());
        let full = [path, &name].concat();
        let with_slash = [full.as_slice(), b"/"].concat();
        let states = below | if is_real { below_real } else { 0 };
        if gives && self.pattern.directories_only {
            if is_directory {
                steps.push(Step::Give { path: with_slash.clone() });
            }
        } else if gives {
            steps.push(Step::Give { path: full });
        }
        if is_directory && states != 0 {
            steps.push(Step::Enter { path: with_slash, states });
        }
    }

    /// `**` may also stand for no directory at all.
    fn closure(&self, mut states: u64) -> u64 {
        for (at, component) in self.pattern.components.iter().enumerate() {
            let may_be_nothing = *component == Component::Recursive;
            if states & (1 << at) != 0 && may_be_nothing && at + 1 < self.pattern.components.len() {
                states |= 1 << (at + 1);
            }
        }
        states
    }
}

impl Iterator for Walk {
    type Item = Result<Vec<u8>, WalkError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.steps.pop()? {
                Step::Give { path } => return Some(Ok(path)),
                Step::Enter { path, states } => {
                    if let Err(error) = self.enter(path, states) {
                        return Some(Err(error));
                    }
                }
            }
        }
    }
}

impl Step {
    fn path(&self) -> (&[u8], bool) {
        match self {
            Self::Give { path } => (path, false),
            Self::Enter { path, .. } => (path, true),
        }
    }
}

fn ones(states: u64) -> impl Iterator<Item = usize> {
    (0..64).filter(move |at| states & (1 << at) != 0)
}

fn is_nothing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

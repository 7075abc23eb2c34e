//! Files by pattern, in the order in which a shell lists them (by bytes, as with `LC_ALL=C`).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use super::{exists, show};

mod pattern;
mod walk;

use pattern::Pattern;
use walk::Walk;
pub(crate) use walk::WalkError;

/// The arguments of `--each`: patterns, or names that a shell has found already.
#[derive(Clone, Debug)]
pub(crate) struct Globs(Vec<Glob>);

#[derive(Clone, Debug)]
enum Glob {
    Name(OsString),
    Patterns(Vec<Pattern>),
}

/// Why a pattern gives no files.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum GlobError {
    #[error("there is no file {}{}", show(.name), tilde(.name))]
    NoSuchFile { name: OsString },
    #[error("no file matches {}: looked in {}{}", show(.pattern), show(.directory.as_os_str()), tilde(.pattern))]
    NoMatch { pattern: OsString, directory: PathBuf },
    #[error("no file matches {}: there is no directory {}{}", show(.pattern), show(.directory.as_os_str()), tilde(.pattern))]
    NoDirectory { pattern: OsString, directory: PathBuf },
    #[error("{} has more than 64 parts", show(.0))]
    TooDeep(OsString),
}

impl Globs {
    /// Checks that each argument names at least one file.
    pub(crate) fn find(arguments: &[OsString]) -> Result<Self, GlobError> {
        arguments.iter().map(|argument| Glob::find(argument)).collect::<Result<_, _>>().map(Self)
    }

    /// How many files there are, if every one has been named.
    pub(crate) fn total(&self) -> Option<u64> {
        let named = self.0.iter().all(|glob| matches!(glob, Glob::Name(_)));
        named.then_some(self.0.len() as u64)
    }

    /// The files of one argument after those of the one before it, each argument's in byte order.
    pub(crate) fn walk(&self) -> impl Iterator<Item = Result<OsString, WalkError>> + Send + use<> {
        self.0.clone().into_iter().flat_map(|glob| {
            let (name, patterns) = match glob {
                Glob::Name(name) => (Some(name), Vec::new()),
                Glob::Patterns(patterns) => (None, patterns),
            };
            name.into_iter().map(Ok).chain(
                patterns.into_iter().flat_map(Walk::new).map(|path| path.map(OsString::from_vec)),
            )
        })
    }
}

impl Glob {
    fn find(argument: &OsStr) -> Result<Self, GlobError> {
        if exists(argument.as_bytes()) {
            return Ok(Self::Name(argument.to_owned()));
        }
        let patterns = pattern::expand_braces(argument.as_bytes())
            .iter()
            .map(|text| Pattern::parse(text))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| GlobError::TooDeep(argument.to_owned()))?;
        // A directory that cannot be read is told when the walk comes to it.
        if patterns.iter().any(|pattern| Walk::new(pattern.clone()).next().is_some()) {
            return Ok(Self::Patterns(patterns));
        }
        if patterns.iter().all(|pattern| !pattern.is_wild()) {
            return Err(GlobError::NoSuchFile { name: argument.to_owned() });
        }
        let pattern = argument.to_owned();
        let directory = PathBuf::from(OsString::from_vec(patterns[0].directory()));
        Err(match std::path::absolute(&directory) {
            Ok(directory) if directory.is_dir() => GlobError::NoMatch { pattern, directory },
            _ => GlobError::NoDirectory { pattern, directory },
        })
    }
}

fn tilde(pattern: &OsStr) -> &'static str {
    match pattern.as_bytes() {
        [b'~', ..] => {
            "\n  a shell does not expand ~ inside quotes: write it before them, ~/'*.txt'"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests;

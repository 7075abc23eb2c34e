//! Where the values of the jobs come from.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::quote;

mod array;
mod glob;

pub(crate) use array::Array;
pub(crate) use glob::{GlobError, Globs};

/// One value. A line longer than this is rather a file with other separators, and the kernel
/// refuses arguments beyond 128 KiB on most systems.
const VALUE_BYTES_MAX: u64 = 4 << 20;

/// The values of one job, one from each source.
pub(crate) type Values = Vec<OsString>;

/// What the user asked to run over.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// Files by pattern.
    Each(Globs),
    /// The lines of a file, or of standard input if there is no path.
    Lines { path: Option<PathBuf>, separator: u8 },
    /// Numbers.
    Array(Array),
    /// Every combination of one value of each list, the last one changing fastest.
    Lists(Vec<Vec<OsString>>),
}

/// Why values cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SourceError {
    /// Its entries are left out; the rest goes on.
    #[error("cannot read directory {}, its files are left out", show(.path.as_os_str()))]
    Directory { path: PathBuf, source: io::Error },
    #[error("cannot read the values from {name}")]
    Read { name: String, source: io::Error },
    #[error("value {number} of {name} is longer than {max} MiB\n  \
             are its values separated by NUL bytes? then add -0", max = VALUE_BYTES_MAX >> 20)]
    TooLong { name: String, number: u64 },
    #[error(
        "line {number} of {name} has a NUL byte, which no argument can have\n  \
             are its values separated by NUL bytes? then add -0"
    )]
    Nul { name: String, number: u64 },
}

/// The values, read while the jobs run.
pub(crate) type Reading = Box<dyn Iterator<Item = Result<Values, SourceError>> + Send>;

impl Source {
    /// How many values each job gets.
    pub(crate) fn width(&self) -> usize {
        match self {
            Self::Lists(lists) => lists.len(),
            _ => 1,
        }
    }

    /// How many jobs there are, if that is known without reading anything.
    pub(crate) fn total(&self) -> Option<u64> {
        match self {
            Self::Each(globs) => globs.total(),
            Self::Lines { .. } => None,
            Self::Array(array) => Some(array.total()),
            Self::Lists(lists) => lists
                .iter()
                .try_fold(1_u64, |total, list| total.checked_mul(list.len() as u64))
                .or(Some(u64::MAX)),
        }
    }

    /// Counts the jobs by reading all values once, if they can be read twice.
    pub(crate) fn count(&self) -> Option<u64> {
        match self {
            Self::Lines { path: None, .. } => None,
            Self::Lines { path: Some(path), .. } if !path.is_file() => None,
            other => Some(other.read().ok()?.filter(Result::is_ok).count() as u64),
        }
    }

    /// Starts to read.
    pub(crate) fn read(&self) -> Result<Reading, SourceError> {
        Ok(match self {
            Self::Each(globs) => Box::new(globs.walk().map(|found| {
                found.map(|path| vec![path]).map_err(|error| SourceError::Directory {
                    path: error.path,
                    source: error.source,
                })
            })),
            Self::Lines { path: None, separator } => {
                lines(BufReader::with_capacity(1 << 16, io::stdin()), "standard input", *separator)
            }
            Self::Lines { path: Some(path), separator } => {
                let name = show(path.as_os_str());
                let file = File::open(path)
                    .map_err(|source| SourceError::Read { name: name.clone(), source })?;
                lines(BufReader::with_capacity(1 << 16, file), &name, *separator)
            }
            Self::Array(array) => Box::new(array.numbers().map(|n| Ok(vec![n.to_string().into()]))),
            Self::Lists(lists) => Box::new(combinations(lists.clone()).map(Ok)),
        })
    }
}

fn lines<R: BufRead + Send + 'static>(mut input: R, name: &str, separator: u8) -> Reading {
    let name = name.to_owned();
    let mut number = 0;
    let mut failed = false;
    Box::new(std::iter::from_fn(move || {
        if failed {
            return None;
        }
        let mut line = Vec::new();
        number += 1;
        let error = match input.by_ref().take(VALUE_BYTES_MAX + 1).read_until(separator, &mut line)
        {
            Ok(0) => return None,
            Ok(_) => {
                if line.last() == Some(&separator) {
                    line.pop();
                }
                if line.len() as u64 > VALUE_BYTES_MAX {
                    SourceError::TooLong { name: name.clone(), number }
                } else if line.contains(&0) {
                    SourceError::Nul { name: name.clone(), number }
                } else {
                    return Some(Ok(vec![OsString::from_vec(line)]));
                }
            }
            Err(source) => SourceError::Read { name: name.clone(), source },
        };
        failed = true;
        Some(Err(error))
    }))
}

fn combinations(lists: Vec<Vec<OsString>>) -> impl Iterator<Item = Values> + Send {
    let mut next = if lists.iter().any(Vec::is_empty) { None } else { Some(vec![0; lists.len()]) };
    std::iter::from_fn(move || {
        let places = next.as_mut()?;
        let values = lists.iter().zip(places.iter()).map(|(list, &i)| list[i].clone()).collect();
        let mut carry = true;
        for (place, list) in places.iter_mut().zip(&lists).rev() {
            *place += 1;
            carry = *place == list.len();
            if !carry {
                break;
            }
            *place = 0;
        }
        if carry {
            next = None;
        }
        Some(values)
    })
}

/// A value as it is shown to people.
pub(crate) fn show(value: &OsStr) -> String {
    let mut text = String::new();
    quote::show_word(&mut text, value);
    text
}

/// Whether there is something of this name, even a link that leads nowhere.
fn exists(path: &[u8]) -> bool {
    Path::new(OsStr::from_bytes(path)).symlink_metadata().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_values_without_their_separator() {
        assert_eq!(read(b"a\n\nb c\r\n\xff", b'\n'), [&b"a"[..], b"", b"b c\r", b"\xff"]);
        assert_eq!(read(b"a\nb\0c\0", 0), [&b"a\nb"[..], b"c"]);
        assert!(read(b"", b'\n').is_empty());
    }

    #[test]
    fn a_line_that_cannot_be_an_argument_is_an_error_and_ends_the_reading() {
        let mut reading = lines(&b"a\nb\0c\nd\n"[..], "names.txt", b'\n');
        assert!(reading.next().unwrap().is_ok());
        let error = reading.next().unwrap().unwrap_err();
        assert!(error.to_string().starts_with("line 2 of names.txt has a NUL byte"), "{error}");
        assert!(reading.next().is_none());

        let long = io::repeat(b'x').take(VALUE_BYTES_MAX + 10);
        let mut reading = lines(BufReader::new(long), "-", b'\n');
        assert!(matches!(reading.next(), Some(Err(SourceError::TooLong { number: 1, .. }))));
    }

    #[test]
    fn lists_combine_with_the_last_one_changing_fastest() {
        let list = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        let source = Source::Lists(vec![list("a b"), list("1 2 3")]);
        assert_eq!(source.total(), Some(6));
        assert_eq!(source.width(), 2);
        let all: Vec<_> = source.read().unwrap().map(|v| v.unwrap().join(OsStr::new(""))).collect();
        assert_eq!(all, ["a1", "a2", "a3", "b1", "b2", "b3"]);
        assert_eq!(Source::Lists(vec![list("a"), vec![]]).read().unwrap().count(), 0);
    }

    fn read(input: &'static [u8], separator: u8) -> Vec<Vec<u8>> {
        lines(input, "-", separator).map(|v| v.unwrap().remove(0).into_vec()).collect()
    }
}

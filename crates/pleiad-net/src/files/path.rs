//! Where a file is in a directory for files: names of others are not to lead out of it.

use std::fmt;

use pleiad_types::limits::{FILE_PATH_BYTES_MAX, NAME_BYTES_MAX};
use thiserror::Error;

/// The directory, in one for files, where parts of files are until they are whole.
pub(super) const PARTS: &str = ".pleiad-parts";

/// Names that lead to a file, from the directory for files on: at least one, and none that leads up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FilePath {
    text: String,
}

/// Why a path does not name a file in a directory for files.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FilePathError {
    /// It has no bytes, or more than the limit; or one of its names has.
    #[error(
        "a path has 1 to {FILE_PATH_BYTES_MAX} bytes, and each name in it 1 to {NAME_BYTES_MAX}"
    )]
    Length,
    /// It begins at the root of the file system.
    #[error("a path must be relative to the directory for files, and this begins with /")]
    Absolute,
    /// It leads up, or stays where it is.
    #[error("a path must not contain . or .. as a name")]
    Dots,
    /// It contains a control character, such as a new line.
    #[error("a path must not contain control characters")]
    Control,
    /// It is where parts of files are kept.
    #[error("{PARTS} is for parts of files: use another name")]
    Reserved,
}

impl FilePath {
    pub(super) fn parse(text: &str) -> Result<Self, FilePathError> {
        if text.is_empty() || text.len() > FILE_PATH_BYTES_MAX {
            return Err(FilePathError::Length);
        }
        if text.starts_with('/') {
            return Err(FilePathError::Absolute);
        }
        if text.chars().any(char::is_control) {
            return Err(FilePathError::Control);
        }
        for name in text.split('/') {
            match name {
                "." | ".." => return Err(FilePathError::Dots),
                PARTS => return Err(FilePathError::Reserved),
                _ if name.is_empty() || name.len() > NAME_BYTES_MAX => {
                    return Err(FilePathError::Length);
                }
                _ => (),
            }
        }
        Ok(Self { text: text.to_owned() })
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// The name of the file.
    pub(super) fn name(&self) -> &str {
        self.text.rsplit('/').next().unwrap_or(&self.text)
    }

    /// The directories that lead to it.
    pub(super) fn directories(&self) -> impl DoubleEndedIterator<Item = &str> {
        let end = self.text.rfind('/').unwrap_or(0);
        self.text[..end].split('/').filter(|name| !name.is_empty())
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_split_into_directories_and_a_name() {
        let path = FilePath::parse("in/2026/data.bin").unwrap();
        assert_eq!(path.name(), "data.bin");
        assert_eq!(path.directories().collect::<Vec<_>>(), ["in", "2026"]);
        let alone = FilePath::parse("data.bin").unwrap();
        assert_eq!((alone.name(), alone.directories().count()), ("data.bin", 0));
        assert_eq!(
            FilePath::parse("..data/...").map(|path| path.to_string()).unwrap(),
            "..data/..."
        );
    }

    #[test]
    fn what_leads_out_of_the_directory_is_no_path() {
        for (text, error) in [
            ("", FilePathError::Length),
            ("/etc/passwd", FilePathError::Absolute),
            ("../dst_evil/x", FilePathError::Dots),
            ("in/../../x", FilePathError::Dots),
            ("in/..", FilePathError::Dots),
            ("./x", FilePathError::Dots),
            ("in//x", FilePathError::Length),
            ("in/", FilePathError::Length),
            ("in/\0x", FilePathError::Control),
            ("in/a\nb", FilePathError::Control),
            (".pleiad-parts/x", FilePathError::Reserved),
            ("in/.pleiad-parts", FilePathError::Reserved),
        ] {
            assert_eq!(FilePath::parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn a_path_has_a_limit_and_so_has_each_name() {
        assert!(FilePath::parse(&"x".repeat(NAME_BYTES_MAX)).is_ok());
        assert_eq!(FilePath::parse(&"x".repeat(NAME_BYTES_MAX + 1)), Err(FilePathError::Length));
        let long = "x/".repeat(FILE_PATH_BYTES_MAX / 2) + "x";
        assert_eq!(FilePath::parse(&long), Err(FilePathError::Length));
    }
}

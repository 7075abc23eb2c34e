//! A directory with everything that the jobs have left.
//!
//! ```text
//! DIR/7/stdout        what job 7 wrote, while it runs
//! DIR/7/stderr
//! DIR/7/status.json   how it ended; there only once it has
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::record::Record;

/// The directory.
#[derive(Debug)]
pub(crate) struct Results(PathBuf);

/// Why results cannot be kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ResultsError {
    #[error("cannot write results into {}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

impl Results {
    /// Creates the directory if it is missing, and sees whether it can be written to.
    pub(crate) fn open(directory: &Path) -> Result<Self, ResultsError> {
        let failed = |source| ResultsError::Write { path: directory.to_owned(), source };
        fs::create_dir_all(directory).map_err(failed)?;
        tempfile::Builder::new().prefix(".pleiad-").tempfile_in(directory).map_err(failed)?;
        // Jobs may run in another directory.
        std::path::absolute(directory).map(Self).map_err(failed)
    }

    /// Where a job's files are.
    pub(crate) fn directory(&self, number: u64) -> PathBuf {
        self.0.join(number.to_string())
    }

    /// Makes room for a job; what an earlier run said about it goes.
    pub(crate) fn prepare(&self, number: u64) -> Result<PathBuf, ResultsError> {
        let path = self.directory(number);
        let failed = |source| ResultsError::Write { path: path.clone(), source };
        match fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
        match fs::remove_file(path.join("status.json")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
            _ => Ok(path),
        }
    }

    /// Says how a job ended. The file appears as a whole or not at all.
    pub(crate) fn finish(&self, record: &Record<'_>) -> Result<(), ResultsError> {
        let path = self.directory(record.job).join("status.json");
        let new = path.with_extension("json.new");
        let write = || {
            fs::write(&new, serde_json::to_string(record)? + "\n")?;
            fs::rename(&new, &path)
        };
        write().map_err(|source| ResultsError::Write { path: path.clone(), source })
    }
}

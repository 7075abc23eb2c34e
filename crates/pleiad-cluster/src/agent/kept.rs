//! What the jobs of one worker print, kept apart for each.

use std::fs::File;
use std::sync::Arc;

use pleiad_types::limits::OUTPUT_MEMORY_BYTES;

use crate::program::Captured;

/// The files to which a worker's jobs print.
pub(super) struct KeptOutput {
    pub(super) stdout: OutputFile,
    pub(super) stderr: OutputFile,
    /// What the job, whose end follows, has printed.
    pub(super) printed: Option<(Captured, Captured)>,
}

impl KeptOutput {
    pub(super) fn read_up_to(&mut self, stdout: u64, stderr: u64) {
        self.printed = Some((self.stdout.read_up_to(stdout), self.stderr.read_up_to(stderr)));
    }
}

/// A file without a name to which the jobs of one worker print, one after the other.
pub(super) struct OutputFile {
    pub(super) file: Arc<File>,
    /// How much has been given out.
    pub(super) read: u64,
    /// How much of that has been taken off the disk.
    freed: u64,
}

impl OutputFile {
    pub(super) fn new(file: File) -> Self {
        Self { file: Arc::new(file), read: 0, freed: 0 }
    }

    pub(super) fn length(&self) -> u64 {
        self.file.metadata().map_or(0, |m| m.len())
    }

    /// What has been printed since the last time: copied if it is small, else left in the file.
    fn read_up_to(&mut self, to: u64) -> Captured {
        // A worker that lies about its lengths gets no more than there is.
        let to = to.min(self.length()).max(self.read);
        let from = std::mem::replace(&mut self.read, to);
        let part = Captured::part(self.file.clone(), from, to - from);
        if to - from > OUTPUT_MEMORY_BYTES as u64 {
            self.free(from);
            self.freed = to;
            return part;
        }
        let captured = part.bytes().map_or_else(|_| Captured::memory(""), Captured::memory);
        if to - self.freed > OUTPUT_MEMORY_BYTES as u64 {
            self.free(to);
        }
        captured
    }

    /// Gives the disk back what has been copied, where the system can.
    fn free(&mut self, to: u64) {
        #[cfg(target_os = "linux")]
        if let (Ok(offset), Ok(length)) =
            (i64::try_from(self.freed), i64::try_from(to - self.freed))
            && length > 0
        {
            use nix::fcntl::{FallocateFlags, fallocate};
            let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
            let _ = fallocate(&*self.file, hole, offset, length);
        }
        self.freed = to;
    }
}

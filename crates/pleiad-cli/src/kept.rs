//! Output that waits for its turn: in memory up to a limit, beyond it in one temporary file.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use pleiad::Captured;

/// Memory for output of jobs that ended before one ahead of them.
const MEMORY_BYTES: usize = 64 << 20;

/// One stream of a job's output.
#[derive(Clone, Debug)]
pub(crate) enum Kept {
    /// As it came.
    Captured(Captured),
    /// Copied, so that it holds no more memory than it has bytes.
    Memory(Box<[u8]>),
    /// A piece of the temporary file.
    Spooled { file: Arc<File>, start: u64, bytes: u32 },
}

/// Where output is kept.
#[derive(Debug)]
pub(crate) struct Keeper {
    in_memory: usize,
    memory_bytes: usize,
    spool: Option<Arc<File>>,
    spool_end: u64,
}

impl Kept {
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Captured(captured) => captured.is_empty(),
            Self::Memory(bytes) => bytes.is_empty(),
            Self::Spooled { bytes, .. } => *bytes == 0,
        }
    }

    pub(crate) fn reader(&self) -> io::Result<Box<dyn Read + '_>> {
        Ok(match self {
            Self::Captured(captured) => Box::new(captured.reader()?),
            Self::Memory(bytes) => Box::new(&**bytes),
            Self::Spooled { file, start, bytes } => {
                Box::new(Piece { file, start: *start, end: *start + u64::from(*bytes) })
            }
        })
    }

    /// Calls `take` with one block after the other.
    pub(crate) fn each_block(
        &self,
        mut take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        match self {
            Self::Memory(bytes) => take(bytes),
            Self::Captured(captured) if let Some(bytes) = captured.in_memory() => take(bytes),
            other => {
                let mut reader = other.reader()?;
                let mut block = vec![0; 1 << 16];
                loop {
                    match reader.read(&mut block) {
                        Ok(0) => return Ok(()),
                        Ok(n) => take(&block[..n])?,
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) => return Err(error),
                    }
                }
            }
        }
    }
}

impl Keeper {
    pub(crate) fn new() -> Self {
        Self::with_memory(MEMORY_BYTES)
    }

    fn with_memory(memory_bytes: usize) -> Self {
        Self { in_memory: 0, memory_bytes, spool: None, spool_end: 0 }
    }

    /// Puts output away until [`Keeper::release`].
    ///
    /// # Errors
    ///
    /// If the temporary file cannot be written; then nothing has changed.
    pub(crate) fn keep(&mut self, output: Captured) -> io::Result<Kept> {
        let Some(bytes) = output.in_memory() else { return Ok(Kept::Captured(output)) };
        if self.in_memory + bytes.len() <= self.memory_bytes {
            self.in_memory += bytes.len();
            return Ok(Kept::Memory(bytes.as_ref().into()));
        }
        let Ok(len) = u32::try_from(bytes.len()) else { return Ok(Kept::Captured(output)) };
        let file = match &self.spool {
            Some(file) => Arc::clone(file),
            None => Arc::clone(self.spool.insert(Arc::new(tempfile::tempfile()?))),
        };
        // This one and the one in `self`: nobody else has a piece of the file.
        if Arc::strong_count(&file) == 2 {
            file.set_len(0)?;
            self.spool_end = 0;
        }
        let start = self.spool_end;
        file.write_all_at(bytes, start)?;
        self.spool_end += u64::from(len);
        Ok(Kept::Spooled { file, start, bytes: len })
    }

    /// Tells that the turn of `kept` has come.
    pub(crate) fn release(&mut self, kept: &Kept) {
        if let Kept::Memory(bytes) = kept {
            self.in_memory -= bytes.len();
        }
    }
}

struct Piece<'a> {
    file: &'a File,
    start: u64,
    end: u64,
}

impl Read for Piece<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.start).unwrap_or(usize::MAX);
        let wanted = left.min(buffer.len());
        let n = self.file.read_at(&mut buffer[..wanted], self.start)?;
        self.start += n as u64;
        Ok(n)
    }
}

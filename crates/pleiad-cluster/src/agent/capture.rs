//! Reading what programs and workers write.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;

use bytes::{Bytes, BytesMut};
use pleiad_types::Attempt;
use pleiad_types::limits::{OUTPUT_MEMORY_BYTES, STDERR_TAIL_BYTES};
use tempfile::TempPath;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, watch};

use super::AgentEvent;
use crate::engine::Inbound;
use crate::launcher::LaunchId;
use crate::program::{Captured, Chunk, Stream};

/// All that a program has written.
pub(crate) struct BothCaptured {
    pub(super) stdout: Captured,
    pub(super) stderr: Captured,
    /// Why some of it is missing.
    pub(super) failed: Option<String>,
}

/// One stream to be read to its end.
pub(super) struct CapturedStream {
    pub(super) reader: Option<OwnedFd>,
    pub(super) stream: Stream,
    pub(super) attempt: Attempt,
    /// Where it goes as it comes.
    pub(super) chunks: Option<mpsc::Sender<Chunk>>,
    /// Keep only the end.
    pub(super) only_tail: bool,
    pub(super) over: watch::Receiver<Over>,
}

/// What is known of the end of those who write.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Over {
    /// The program was ended on request: a reader that sleeps is not waited for.
    pub(super) stopped: bool,
    /// Whoever could write should have ended.
    pub(super) late: bool,
}

/// Reads both streams to their ends and reports.
pub(super) async fn both(
    launch: LaunchId,
    stdout: CapturedStream,
    stderr: CapturedStream,
    sender: mpsc::WeakUnboundedSender<Inbound>,
) {
    let (stdout, stderr) = tokio::join!(stdout.read(), stderr.read());
    let mut failed = None;
    let mut unwrap = |captured: io::Result<Captured>| {
        captured.unwrap_or_else(|e| {
            failed = Some(e.to_string());
            Captured::memory("")
        })
    };
    let (stdout, stderr) = (unwrap(stdout), unwrap(stderr));
    if let Some(sender) = sender.upgrade() {
        let both = Box::new(BothCaptured { stdout, stderr, failed });
        let _ = sender.send(Inbound::Agent(AgentEvent::Captured(launch, both)));
    }
}

impl CapturedStream {
    async fn read(mut self) -> io::Result<Captured> {
        const READ_BYTES: usize = 64 << 10;
        let Some(reader) = self.reader.take() else { return Ok(Captured::memory("")) };
        let mut reader = pipe::Receiver::from_owned_fd(reader)?;
        let mut kept = BytesMut::new();
        let mut spilled: Option<Spilled> = None;
        // After an error the stream is read on, so that the program can end.
        let mut failed = None;
        loop {
            // Most programs write little: begin small.
            kept.reserve(if kept.is_empty() { 512 } else { READ_BYTES });
            let before = kept.len();
            let read = tokio::select! {
                biased;
                read = reader.read_buf(&mut kept) => read?,
                _ = self.over.wait_for(|over| over.late) => {
                    return Err(io::Error::other("a process outside the job holds it open"));
                }
            };
            if read == 0 {
                break;
            }
            if let Some(chunks) = &self.chunks {
                let bytes = Bytes::copy_from_slice(&kept[before..]);
                let chunk = Chunk { attempt: self.attempt, stream: self.stream, bytes };
                let sent = tokio::select! {
                    sent = chunks.send(chunk) => sent.is_ok(),
                    _ = self.over.wait_for(|over| over.stopped) => false,
                };
                if !sent {
                    // Nobody reads: the program goes on all the same.
                    self.chunks = None;
                }
            }
            if self.only_tail {
                if kept.len() > READ_BYTES {
                    let cut = kept.len() - STDERR_TAIL_BYTES;
                    kept = BytesMut::from(&kept[cut..]);
                }
            } else if kept.len() >= OUTPUT_MEMORY_BYTES || spilled.is_some() {
                let bytes = kept.split().freeze();
                if failed.is_none() {
                    match Spilled::write(spilled.take(), bytes).await {
                        Ok(written) => spilled = Some(written),
                        Err(e) => failed = Some(e),
                    }
                }
            }
        }
        match (failed, spilled) {
            (Some(e), _) => Err(e),
            (None, None) => Ok(Captured::memory(kept.freeze())),
            (None, Some(spilled)) => Ok(Captured::file(spilled.path, spilled.bytes)),
        }
    }
}

/// Output too large for memory.
struct Spilled {
    file: File,
    path: TempPath,
    bytes: u64,
}

impl Spilled {
    /// Writes in a thread that may wait for the disk.
    async fn write(spilled: Option<Self>, bytes: Bytes) -> io::Result<Self> {
        let write = move || {
            let mut spilled = match spilled {
                Some(spilled) => spilled,
                None => {
                    let file = tempfile::Builder::new().prefix("pleiad-output-").tempfile();
                    let (file, path) = file.map_err(no_temporary_file)?.into_parts();
                    Self { file, path, bytes: 0 }
                }
            };
            spilled.file.write_all(&bytes)?;
            spilled.bytes += bytes.len() as u64;
            Ok(spilled)
        };
        tokio::task::spawn_blocking(write).await.map_err(io::Error::other)?
    }
}

fn no_temporary_file(error: io::Error) -> io::Error {
    let kind = error.kind();
    let text = format!("{error}; set TMPDIR to a directory that has room and can be written to");
    io::Error::new(kind, text)
}

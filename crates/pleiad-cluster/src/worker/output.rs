//! What a worker has to say to its agent, written in few large writes.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::wire::{self, FromWorker, Run};

/// How long frames may wait for more when the job after them has begun already.
const COALESCE: Duration = Duration::from_micros(100);

/// Frames are written without waiting for more from this size on.
const FLUSH_BYTES: usize = 64 << 10;

/// Frames on their way to the agent.
#[derive(Debug)]
pub(crate) struct Outbox {
    frames: Mutex<Frames>,
    /// Held while writing, taken before `frames` is emptied, so that the order stays.
    stream: Mutex<UnixStream>,
    waiting: Condvar,
    /// Whether the process ends when it cannot write, because it has no other purpose.
    ends_process: bool,
}

#[derive(Debug, Default)]
struct Frames {
    bytes: Vec<u8>,
    closed: bool,
}

impl Outbox {
    pub(crate) fn new(stream: UnixStream, ends_process: bool) -> Self {
        let frames = Mutex::default();
        Self { frames, stream: Mutex::new(stream), waiting: Condvar::new(), ends_process }
    }

    /// Sends a frame at once.
    pub(crate) fn send(&self, frame: &FromWorker) {
        frame.encode(&mut self.frames().bytes);
        self.flush();
    }

    fn add(&self, encode: impl FnOnce(&mut Vec<u8>)) {
        let mut frames = self.frames();
        let was_empty = frames.bytes.is_empty();
        encode(&mut frames.bytes);
        let full = frames.bytes.len() >= FLUSH_BYTES;
        drop(frames);
        if full {
            self.flush();
        } else if was_empty {
            self.waiting.notify_one();
        }
    }

    /// Adds a frame, to be sent soon.
    pub(crate) fn add_frame(&self, frame: &FromWorker) {
        self.add(|out| frame.encode(out));
    }

    pub(super) fn add_done(&self, run: Run, nanos: u64, result: &[u8]) {
        self.add(|out| wire::encode_done(out, run, nanos, result));
    }

    /// Writes all there is.
    ///
    /// If that fails, the agent is gone, or a job has closed the socket. The agent would wait for
    /// ever for what has been lost, so that a process ends, which the agent sees.
    pub(super) fn flush(&self) {
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = std::mem::take(&mut self.frames().bytes);
        if !bytes.is_empty() {
            if let Err(e) = stream.write_all(&bytes)
                && self.ends_process
            {
                let _ = writeln!(std::io::stderr(), "this worker cannot answer any more: {e}");
                std::process::exit(1);
            }
            // The buffer is used again, unless a large result has made it large.
            let mut frames = self.frames();
            if frames.bytes.capacity() == 0 && bytes.capacity() <= 4 * FLUSH_BYTES {
                frames.bytes = bytes;
                frames.bytes.clear();
            }
        }
    }

    /// Writes, in a thread of its own, what nobody else has flushed.
    pub(super) fn run_writer(&self) {
        let mut frames = self.frames();
        loop {
            while frames.bytes.is_empty() && !frames.closed {
                frames = self.waiting.wait(frames).unwrap_or_else(PoisonError::into_inner);
            }
            if frames.closed {
                return;
            }
            // Nothing waits for these frames but their reader: let a few more come.
            let wait = self.waiting.wait_timeout_while(frames, COALESCE, |f| !f.closed);
            drop(wait.unwrap_or_else(PoisonError::into_inner));
            self.flush();
            frames = self.frames();
        }
    }

    pub(super) fn close(&self) {
        self.flush();
        self.frames().closed = true;
        self.waiting.notify_all();
    }

    fn frames(&self) -> MutexGuard<'_, Frames> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

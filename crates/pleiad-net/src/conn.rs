//! One connection: TLS over a socket that never blocks.
//!
//! Reading and writing are plain calls, which any thread may make at any time. Who calls them, and when,
//! is up to [`drive`](crate::drive).

use std::cell::RefCell;
use std::io::{self, BufRead, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use pleiad_proto::Portion;
use pleiad_proto::wire::{FrameKind, LaneKind, Violation, missing_bytes, split_frame};
use pleiad_types::Time;
use tokio::sync::Notify;

/// Read at once: more is left to the next turn, so that others get theirs.
const READ_BYTES: usize = 256 << 10;

/// Between two writes of threads that write by themselves.
const REST: Duration = Duration::from_micros(50);

/// Read from the socket by one call: four records of TLS.
const RAW_BYTES: usize = 64 << 10;

/// Encrypted bytes that wait for the socket, after which nothing more is encrypted.
const WAITING_BYTES: usize = 256 << 10;

/// See the [module](self).
pub(crate) struct Conn {
    pub(crate) lane: LaneKind,
    socket: TcpStream,
    tls: Mutex<Tls>,
    /// What was read and makes no whole frame yet. Held while its frames are dealt with, so that they are
    /// in order.
    plain: Mutex<BytesMut>,
    /// Somebody wants to read, or to write, though another is at it.
    read_wanted: AtomicBool,
    wanted: AtomicBool,
    over: AtomicBool,
    /// When a thread wrote by itself.
    wrote: AtomicU64,
    opened: Instant,
    /// When something was read the last time: milliseconds after it was opened.
    heard_ms: AtomicU64,
    /// Wakes those who drive it: there is something to write, or it is over.
    pub(crate) write: Notify,
    /// The socket takes no more: who drives it waits for that.
    pub(crate) blocked: AtomicBool,
}

thread_local! {
    /// What comes from a socket, before it is decrypted: one for all connections of a thread.
    static RAW: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

struct Tls {
    connection: rustls::Connection,
    /// Bytes that were given to it and are not in the socket.
    waiting: usize,
}

/// What a read has come to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ReadEnd {
    /// There is nothing more for now.
    Drained,
    /// There may be more.
    More,
    /// The connection is over.
    Over,
}

/// Why a connection is over.
#[derive(Debug)]
pub(crate) enum Broken {
    /// It was closed, or the network has failed.
    Closed(io::Error),
    /// What came makes no sense.
    Violation(Violation),
}

/// A frame that has come.
pub(crate) type RawFrame = (FrameKind, Bytes);

impl Conn {
    /// `socket` must not block.
    pub(crate) fn new(
        lane: LaneKind,
        socket: TcpStream,
        mut connection: rustls::Connection,
        read_before: BytesMut,
    ) -> Self {
        connection.set_buffer_limit(None);
        Self {
            lane,
            socket,
            tls: Mutex::new(Tls { connection, waiting: 0 }),
            plain: Mutex::new(read_before),
            read_wanted: AtomicBool::new(false),
            wanted: AtomicBool::new(false),
            over: AtomicBool::new(false),
            wrote: AtomicU64::new(0),
            opened: Instant::now(),
            heard_ms: AtomicU64::new(0),
            write: Notify::new(),
            blocked: AtomicBool::new(false),
        }
    }

    /// For those who wait until it can be read or written.
    pub(crate) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// How long nothing has come.
    pub(crate) fn silence(&self) -> Duration {
        let heard = Duration::from_millis(self.heard_ms.load(Ordering::Relaxed));
        self.opened.elapsed().saturating_sub(heard)
    }

    /// It is not to blame for the silence until now.
    pub(crate) fn forgive(&self) {
        let now = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard_ms.store(now, Ordering::Relaxed);
    }

    /// Ends it. Whether it was not over yet.
    pub(crate) fn close(&self) -> bool {
        let was_over = self.over.swap(true, Ordering::AcqRel);
        if !was_over {
            let _ = self.socket.shutdown(Shutdown::Both);
            self.write.notify_one();
        }
        !was_over
    }

    /// Whether it is a while since a thread wrote by itself: else there is much to say, and it is better
    /// said together. Counts as such a write.
    pub(crate) fn is_rested(&self, now: Time) -> bool {
        let before = self.wrote.swap(now.as_nanos(), Ordering::Relaxed);
        now.since(Time::from_nanos(before)) > REST
    }

    // ---- reading ----

    /// Reads what there is, and gives whole frames to `handle`, in order. Does nothing if another thread
    /// is at it: that one goes on, since the system says only once that something has come.
    pub(crate) fn read(
        &self,
        mut handle: impl FnMut(&mut Vec<RawFrame>),
    ) -> Result<ReadEnd, Broken> {
        self.read_wanted.store(true, Ordering::SeqCst);
        let mut end = ReadEnd::Drained;
        while end == ReadEnd::Drained && self.read_wanted.load(Ordering::SeqCst) {
            let Some(mut plain) = try_lock(&self.plain) else { return Ok(ReadEnd::Drained) };
            self.read_wanted.store(false, Ordering::SeqCst);
            end = self.read_locked(&mut plain, &mut handle)?;
        }
        Ok(end)
    }

    fn read_locked(
        &self,
        plain: &mut BytesMut,
        handle: &mut impl FnMut(&mut Vec<RawFrame>),
    ) -> Result<ReadEnd, Broken> {
        let mut frames = Vec::new();
        let mut budget = READ_BYTES;
        loop {
            let end = self.read_some(plain);
            // Whatever was read before the end counts.
            let split = split_frames(plain, &mut frames);
            budget = budget.saturating_sub(RAW_BYTES);
            if !frames.is_empty() || matches!(end, Ok((_, true))) {
                handle(&mut frames);
                frames.clear();
            }
            split.map_err(Broken::Violation)?;
            match end {
                Ok((ReadEnd::More, _)) if budget > 0 => (),
                Ok((end, _)) => return Ok(end),
                Err(error) => return Err(Broken::Closed(error)),
            }
        }
    }

    /// Reads once from the socket. Whether something came.
    fn read_some(&self, plain: &mut BytesMut) -> io::Result<(ReadEnd, bool)> {
        RAW.with_borrow_mut(|raw| {
            raw.resize(RAW_BYTES, 0);
            self.read_into(raw, plain)
        })
    }

    fn read_into(&self, buffer: &mut [u8], plain: &mut BytesMut) -> io::Result<(ReadEnd, bool)> {
        let read = match (&self.socket).read(buffer) {
            Ok(0) => return Ok((ReadEnd::Over, false)),
            Ok(read) => {
                self.forgive();
                read
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Ok((ReadEnd::Drained, false));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                return Ok((ReadEnd::More, false));
            }
            Err(error) => return Err(error),
        };
        let mut raw = &buffer[..read];
        // At once, and with what is still to come of a large frame: else it would be moved many times.
        plain.reserve(read.max(missing_bytes(plain)));
        let mut tls = lock(&self.tls);
        while !raw.is_empty() {
            tls.connection.read_tls(&mut raw)?;
            let state = tls
                .connection
                .process_new_packets()
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            let is_over = state.peer_has_closed();
            let mut readable = state.plaintext_bytes_to_read();
            let mut reader = tls.connection.reader();
            while readable > 0 {
                let chunk = reader.fill_buf()?;
                let length = chunk.len();
                plain.extend_from_slice(chunk);
                reader.consume(length);
                readable -= length;
            }
            if is_over {
                return Ok((ReadEnd::Over, true));
            }
        }
        // Less than there was room for: that was all.
        let end = if read < buffer.len() { ReadEnd::Drained } else { ReadEnd::More };
        Ok((end, true))
    }

    // ---- writing ----

    /// Writes what `next` gives, until there is nothing more, or the socket takes no more. Does nothing
    /// if another thread is at it: that one goes on.
    pub(crate) fn flush(&self, mut next: impl FnMut() -> Option<Portion>) -> io::Result<()> {
        self.wanted.store(true, Ordering::SeqCst);
        while self.wanted.load(Ordering::SeqCst) {
            let Some(mut tls) = try_lock(&self.tls) else { return Ok(()) };
            self.wanted.store(false, Ordering::SeqCst);
            let end = self.flush_locked(&mut tls, &mut next);
            drop(tls);
            end?;
        }
        Ok(())
    }

    fn flush_locked(
        &self,
        tls: &mut Tls,
        next: &mut impl FnMut() -> Option<Portion>,
    ) -> io::Result<()> {
        loop {
            let mut is_done = false;
            while tls.waiting < WAITING_BYTES {
                let Some(portion) = next() else {
                    is_done = true;
                    break;
                };
                tls.waiting += portion.len();
                let mut writer = tls.connection.writer();
                writer.write_all(&portion.head)?;
                writer.write_all(&portion.tail)?;
            }
            while tls.connection.wants_write() {
                match tls.connection.write_tls(&mut &self.socket) {
                    Ok(_) => (),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        self.blocked.store(true, Ordering::Release);
                        self.write.notify_one();
                        return Ok(());
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                    Err(error) => return Err(error),
                }
            }
            tls.waiting = 0;
            if is_done {
                return Ok(());
            }
        }
    }

    /// Says to the other side that nothing more comes.
    pub(crate) fn send_close_notify(&self) {
        if let Some(mut tls) = try_lock(&self.tls) {
            tls.connection.send_close_notify();
            while tls.connection.wants_write() {
                if tls.connection.write_tls(&mut &self.socket).is_err() {
                    break;
                }
            }
        }
    }
}

fn split_frames(plain: &mut BytesMut, frames: &mut Vec<RawFrame>) -> Result<(), Violation> {
    while let Some(frame) = split_frame(plain)? {
        frames.push(frame);
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

impl std::fmt::Debug for Conn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "connection for {:?}", self.lane)
    }
}

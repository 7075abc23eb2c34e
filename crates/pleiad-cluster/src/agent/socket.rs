//! The tasks at the agent's end of a worker's socket and streams.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use nix::sys::socket::{Shutdown, shutdown};
use pleiad_types::LastBytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf, pipe};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::AgentEvent;
use super::workers::WorkerId;
use crate::engine::Inbound;
use crate::worker::wire::{self, FromWorker};

pub(super) async fn write_frames(
    mut writer: OwnedWriteHalf,
    mut frames: mpsc::UnboundedReceiver<Bytes>,
) {
    while let Some(bytes) = frames.recv().await {
        if writer.write_all(&bytes).await.is_err() {
            // The reader learns of it too, and reports.
            return;
        }
    }
}

pub(super) async fn read_frames(
    id: WorkerId,
    mut reader: OwnedReadHalf,
    stderr: Option<JoinHandle<()>>,
    sender: mpsc::WeakUnboundedSender<Inbound>,
) {
    const READ_BYTES: usize = 64 << 10;
    let report = |event| {
        if let Some(sender) = sender.upgrade() {
            let _ = sender.send(Inbound::Agent(event));
        }
    };
    let mut read = BytesMut::new();
    let why = 'read: loop {
        let missing = wire::missing_bytes(&read).ok().flatten().unwrap_or(0);
        read.reserve(missing.max(READ_BYTES));
        match reader.read_buf(&mut read).await {
            Ok(0) => break None,
            Ok(_) => {}
            Err(_) => break None,
        }
        let mut frames = Vec::new();
        loop {
            let frame = match wire::next_frame(&mut read) {
                Ok(None) => break,
                Ok(Some(frame)) => FromWorker::decode(frame),
                Err(e) => Err(e),
            };
            match frame {
                Ok(frame) => frames.push(frame),
                Err(e) => break 'read Some(e.to_string()),
            }
        }
        if !frames.is_empty() {
            report(AgentEvent::Frames(id, frames));
        }
    };
    if why.is_some() {
        // Nothing else it says is of use: let it end, and its streams with it.
        let _ = shutdown(reader.as_ref().as_raw_fd(), Shutdown::Both);
    }
    if let Some(task) = stderr {
        // What it has said at its end belongs to the news of its end. A process that it has left
        // behind may hold the stream open, until the guard has ended that.
        const LAST_WORDS: Duration = Duration::from_secs(2);
        let _ = tokio::time::timeout(LAST_WORDS, task).await;
    }
    report(AgentEvent::WorkerClosed(id, why));
}

pub(super) async fn pass_on_stderr(reader: OwnedFd, tail: Arc<Mutex<LastBytes>>) {
    let Ok(mut reader) = pipe::Receiver::from_owned_fd(reader) else { return };
    let mut buffer = vec![0; 8 << 10];
    let mut stderr = tokio::io::stderr();
    while let Ok(n @ 1..) = reader.read(&mut buffer).await {
        tail.lock().unwrap_or_else(PoisonError::into_inner).add(&buffer[..n]);
        let _ = stderr.write_all(&buffer[..n]).await;
        let _ = stderr.flush().await;
    }
}

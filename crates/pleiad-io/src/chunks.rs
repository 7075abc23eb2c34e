use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::limits::READ_BYTES;

/// What a stream brings, in chunks of one size; the last one is as long as the rest.
///
/// For chunks of whatever size comes, use [`AsyncReadExt::read_buf`] or `ReaderStream` of
/// `tokio-util`.
///
/// ```
/// use pleiad_io::Chunks;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut chunks = Chunks::new(&b"abcdefg"[..], 3);
/// assert_eq!(chunks.next_chunk().await?.as_deref(), Some(&b"abc"[..]));
/// assert_eq!(chunks.next_chunk().await?.as_deref(), Some(&b"def"[..]));
/// assert_eq!(chunks.next_chunk().await?.as_deref(), Some(&b"g"[..]));
/// assert_eq!(chunks.next_chunk().await?, None);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Chunks<R> {
    stream: R,
    // Invariant: fewer than `bytes` between calls.
    buffer: BytesMut,
    bytes: usize,
}

impl<R: AsyncRead + Unpin> Chunks<R> {
    /// Chunks of so many bytes. Nothing beyond the chunk that was asked for is read from `stream`.
    ///
    /// # Panics
    ///
    /// If `bytes` is 0.
    pub fn new(stream: R, bytes: usize) -> Self {
        assert!(bytes > 0, "chunks need a size");
        Self { stream, buffer: BytesMut::new(), bytes }
    }

    /// The next chunk; `None` at the end of the stream.
    ///
    /// # Errors
    ///
    /// What the stream says. What has come of the chunk is kept for the next call.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time: nothing is lost.
    pub async fn next_chunk(&mut self) -> io::Result<Option<Bytes>> {
        while self.buffer.len() < self.bytes {
            if read_some(&mut self.stream, &mut self.buffer, self.bytes).await? == 0 {
                break;
            }
        }
        let chunk = self.buffer.split().freeze();
        Ok(Some(chunk).filter(Buf::has_remaining))
    }

    /// The stream, and what has come of a chunk that is not yet whole.
    pub fn into_parts(self) -> (R, Bytes) {
        (self.stream, self.buffer.freeze())
    }
}

/// Reads what is there, until `buffer` has `bytes` bytes; 0 at the end. Memory grows as bytes come.
pub(crate) async fn read_some<R>(
    stream: &mut R,
    buffer: &mut BytesMut,
    bytes: usize,
) -> io::Result<usize>
where
    R: AsyncRead + Unpin + ?Sized,
{
    let missing = bytes - buffer.len();
    buffer.reserve(missing.min(buffer.len().max(READ_BYTES)));
    stream.read_buf(&mut buffer.limit(missing)).await
}

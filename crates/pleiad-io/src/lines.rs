use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::limits::{LINE_BYTES_MAX, READ_BYTES};

/// The lines of a stream, without their ends.
///
/// A line ends with `\n` or `\r\n`; the last one also with the stream. Its length is limited: default
/// [`LINE_BYTES_MAX`]. What comes before a line that is too long, or is not text, and what comes after
/// it, is read as if nothing had happened.
///
/// ```
/// use pleiad_io::{LineError, Lines};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut lines = Lines::new(&b"one\r\nfar too long\nlast"[..]).bytes_max(8);
///
/// assert_eq!(lines.next_line().await?.as_deref(), Some("one"));
/// assert!(matches!(lines.next_line().await, Err(LineError::TooLong { limit: 8 })));
/// assert_eq!(lines.next_bytes().await?.as_deref(), Some(&b"last"[..]));
/// assert_eq!(lines.next_line().await?, None);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Lines<R> {
    stream: R,
    // Invariant: no end of line before `searched`.
    buffer: BytesMut,
    searched: usize,
    /// The rest of a line that is too long is to be left out.
    is_skipping: bool,
    bytes_max: usize,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    /// Reads lines from `stream`, which it reads ahead; a buffered reader is not needed.
    pub fn new(stream: R) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
            searched: 0,
            is_skipping: false,
            bytes_max: LINE_BYTES_MAX,
        }
    }

    /// Refuses lines of more than so many bytes, their ends not counted. Default:
    /// [`LINE_BYTES_MAX`].
    #[must_use]
    pub fn bytes_max(mut self, bytes: usize) -> Self {
        self.bytes_max = bytes;
        self
    }

    /// The next line as text; `None` at the end of the stream.
    ///
    /// # Errors
    ///
    /// [`LineError::NotUtf8`], with the line's bytes; otherwise as [`next_bytes`](Self::next_bytes).
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time: nothing is lost.
    pub async fn next_line(&mut self) -> Result<Option<String>, LineError> {
        let Some(line) = self.next_bytes().await? else { return Ok(None) };
        match str::from_utf8(&line) {
            Ok(text) => Ok(Some(text.to_owned())),
            Err(_) => Err(LineError::NotUtf8(line)),
        }
    }

    /// The next line as bytes, of any encoding that has ASCII's ends of line; `None` at the end of
    /// the stream.
    ///
    /// # Errors
    ///
    /// [`LineError::TooLong`] as soon as a line is known to be; [`LineError::Io`].
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time: nothing is lost.
    pub async fn next_bytes(&mut self) -> Result<Option<Bytes>, LineError> {
        loop {
            let end = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n');
            if let Some(end) = end {
                let mut line = self.buffer.split_to(self.searched + end);
                self.buffer.advance(1);
                self.searched = 0;
                if !self.is_skipping {
                    line.truncate(bytes_before_return(&line));
                    return self.allowed(line).map(Some);
                }
                self.is_skipping = false;
                continue;
            }
            if self.is_skipping {
                self.buffer.clear();
            } else if bytes_before_return(&self.buffer) > self.bytes_max {
                self.is_skipping = true;
                self.buffer.clear();
                self.searched = 0;
                return Err(LineError::TooLong { limit: self.bytes_max });
            }
            self.searched = self.buffer.len();
            self.buffer.reserve(READ_BYTES);
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                self.searched = 0;
                self.is_skipping = false;
                let last = self.buffer.split();
                return if last.is_empty() { Ok(None) } else { self.allowed(last).map(Some) };
            }
        }
    }

    /// The stream.
    pub fn get_ref(&self) -> &R {
        &self.stream
    }

    /// The stream, and what was read ahead from it.
    pub fn into_parts(self) -> (R, Bytes) {
        (self.stream, self.buffer.freeze())
    }

    fn allowed(&self, line: BytesMut) -> Result<Bytes, LineError> {
        if line.len() > self.bytes_max {
            return Err(LineError::TooLong { limit: self.bytes_max });
        }
        Ok(line.freeze())
    }
}

/// The length without a carriage return at the end, which may belong to the end of the line.
fn bytes_before_return(line: &[u8]) -> usize {
    line.strip_suffix(b"\r").unwrap_or(line).len()
}

/// Why there is no line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LineError {
    /// The line is over the limit. It is left out; the next call gives the one after it.
    #[error("a line is longer than the limit of {limit} bytes")]
    TooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The line, which is here, is not UTF-8. The next call gives the one after it.
    #[error("a line is not UTF-8: {}", String::from_utf8_lossy(.0))]
    NotUtf8(Bytes),
    /// The stream cannot be read. What has come of a line is kept.
    #[error("cannot read from the stream")]
    Io(#[from] io::Error),
}

use std::io;
use std::mem;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::limits::{LINE_BYTES_MAX, READ_BYTES};

/// The lines of a stream, without their ends or [with them](Self::keep_ends).
///
/// A line ends with `\n` or `\r\n`; the last one also with the stream. Its length is limited: default
/// [`LINE_BYTES_MAX`]. What comes before a line that is too long, or is not text, and what comes after
/// it, is read as if nothing had happened.
///
/// It owns the stream, or borrows it: `Lines::new(&mut stream)`. Who answers each line writes to the
/// stream through [`get_mut`](Self::get_mut).
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
    keeps_ends: bool,
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
            keeps_ends: false,
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

    /// Gives each line with its end, `\n` or `\r\n`: together, they are what has come, byte for byte.
    /// A last line that was not ended is seen by that. Default: `false`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), pleiad_io::LineError> {
    /// let mut lines = pleiad_io::Lines::new(&b"one\r\ntwo\nlast"[..]).keep_ends(true);
    /// assert_eq!(lines.next_line().await?.as_deref(), Some("one\r\n"));
    /// assert_eq!(lines.next_line().await?.as_deref(), Some("two\n"));
    /// assert_eq!(lines.next_line().await?.as_deref(), Some("last"));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn keep_ends(mut self, keep: bool) -> Self {
        self.keeps_ends = keep;
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
                let line = self.buffer.split_to(self.searched + end + 1);
                self.searched = 0;
                if !mem::take(&mut self.is_skipping) {
                    let bytes = bytes_before_return(&line[..line.len() - 1]);
                    return self.allowed(line, bytes).map(Some);
                }
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
                let bytes = last.len();
                return if bytes == 0 { Ok(None) } else { self.allowed(last, bytes).map(Some) };
            }
        }
    }

    /// The stream.
    pub fn get_ref(&self) -> &R {
        &self.stream
    }

    /// The stream, to write to it. What is read from it here is missing in the lines.
    ///
    /// ```
    /// use pleiad_io::Lines;
    /// use tokio::io::AsyncWriteExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut client, server) = tokio::io::duplex(64);
    /// client.write_all(b"maia\natlas\n").await?;
    ///
    /// let mut lines = Lines::new(server);
    /// while let Some(name) = lines.next_line().await? {
    ///     lines.get_mut().write_all(format!("hello, {name}\n").as_bytes()).await?;
    /// #   if name == "atlas" {
    /// #       break;
    /// #   }
    /// }
    /// # drop(lines);
    /// # let mut answers = Lines::new(client);
    /// # assert_eq!(answers.next_line().await?.as_deref(), Some("hello, maia"));
    /// # assert_eq!(answers.next_line().await?.as_deref(), Some("hello, atlas"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn get_mut(&mut self) -> &mut R {
        &mut self.stream
    }

    /// The stream, and what was read ahead from it.
    pub fn into_parts(self) -> (R, Bytes) {
        (self.stream, self.buffer.freeze())
    }

    /// The line, if it is allowed. So many bytes of it are no end of line.
    fn allowed(&self, mut line: BytesMut, bytes: usize) -> Result<Bytes, LineError> {
        if bytes > self.bytes_max {
            return Err(LineError::TooLong { limit: self.bytes_max });
        }
        if !self.keeps_ends {
            line.truncate(bytes);
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

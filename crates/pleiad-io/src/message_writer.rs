use std::io;

use bytes::buf::Chain;
use bytes::{Buf, Bytes};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::limits::MESSAGE_BYTES_MAX;
use crate::message_stream::HEADER_BYTES;

/// Sends messages for a [`MessageReader`](crate::MessageReader).
///
/// ```
/// use pleiad_io::{MessageSendError, MessageWriter};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut bytes = Vec::new();
/// let mut writer = MessageWriter::new(&mut bytes).bytes_max(5);
///
/// writer.send("hello").await?;
/// let refused = writer.send("too long").await.unwrap_err();
/// assert!(matches!(refused, MessageSendError::TooLarge { bytes: 8, .. }));
/// assert_eq!(bytes, b"\0\0\0\x05hello");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct MessageWriter<W> {
    stream: W,
    /// What is not yet written of the last message.
    rest: Option<Frame>,
    bytes_max: usize,
}

type Frame = Chain<io::Cursor<[u8; HEADER_BYTES]>, Bytes>;

impl<W: AsyncWrite + Unpin> MessageWriter<W> {
    /// Sends to `stream`.
    pub fn new(stream: W) -> Self {
        Self { stream, rest: None, bytes_max: MESSAGE_BYTES_MAX }
    }

    /// Refuses messages of more than so many bytes. Default: [`MESSAGE_BYTES_MAX`]; 4 GiB - 1 is the
    /// largest that can be sent at all. The reader must allow as much.
    #[must_use]
    pub fn bytes_max(mut self, bytes: usize) -> Self {
        self.bytes_max = bytes;
        self
    }

    /// Sends a message, and waits until the stream has taken all of it. That says nothing about the
    /// peer: it may have received it or not.
    ///
    /// The body is not copied. What is borrowed is to be made [`Bytes`] of:
    /// [`Bytes::copy_from_slice`].
    ///
    /// # Errors
    ///
    /// [`MessageSendError::TooLarge`], with no effect, if it is over the limit;
    /// [`MessageSendError::Io`] if the stream does not take it: do not send anything after that.
    ///
    /// # Cancel safety
    ///
    /// The stream stays whole: if this is dropped, the message is not sent, or the rest of it is sent
    /// by the next [`send`](Self::send), [`flush`](Self::flush) or [`shutdown`](Self::shutdown).
    pub async fn send(&mut self, message: impl Into<Bytes>) -> Result<(), MessageSendError> {
        let body = message.into();
        let header = match u32::try_from(body.len()) {
            Ok(bytes) if body.len() <= self.bytes_max => bytes.to_be_bytes(),
            _ => {
                return Err(MessageSendError::TooLarge {
                    bytes: body.len(),
                    limit: self.bytes_max,
                });
            }
        };
        self.write_rest().await?;
        self.rest = Some(io::Cursor::new(header).chain(body));
        Ok(self.flush().await?)
    }

    /// Waits until the stream has taken everything: only of use after a `send` that was dropped.
    ///
    /// # Errors
    ///
    /// What the stream says.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time.
    pub async fn flush(&mut self) -> io::Result<()> {
        self.write_rest().await?;
        self.stream.flush().await
    }

    /// Ends the stream; the peer's reader gives `None` after the last message.
    ///
    /// # Errors
    ///
    /// What the stream says.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time, and called again.
    pub async fn shutdown(&mut self) -> io::Result<()> {
        self.flush().await?;
        self.stream.shutdown().await
    }

    /// The stream.
    pub fn get_ref(&self) -> &W {
        &self.stream
    }

    /// The stream. What a dropped `send` has left unwritten is lost: [`flush`](Self::flush) first.
    pub fn into_inner(self) -> W {
        self.stream
    }

    async fn write_rest(&mut self) -> io::Result<()> {
        if let Some(rest) = &mut self.rest {
            self.stream.write_all_buf(rest).await?;
            self.rest = None;
        }
        Ok(())
    }
}

/// Why a message was not sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MessageSendError {
    /// The message is over the limit. Nothing was sent; others may be.
    #[error("a message of {bytes} bytes is over the limit of {limit}")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The stream does not take it. A part may have been sent: close the stream.
    #[error("cannot write to the stream")]
    Io(#[from] io::Error),
}

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::limits::{MESSAGE_BYTES_MAX, READ_BYTES};
use crate::message_stream::HEADER_BYTES;

/// Receives the messages that a [`MessageWriter`](crate::MessageWriter) sends.
///
/// ```
/// use pleiad_io::{MessageReader, MessageWriter};
/// use tokio::net::{TcpListener, TcpStream};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let listener = TcpListener::bind("127.0.0.1:0").await?;
/// let mut writer = MessageWriter::new(TcpStream::connect(listener.local_addr()?).await?);
/// let (stream, _) = listener.accept().await?;
/// let mut reader = MessageReader::new(stream).bytes_max(1024);
///
/// writer.send("one").await?;
/// writer.send(vec![2; 2]).await?;
/// writer.shutdown().await?;
///
/// assert_eq!(reader.recv().await?.as_deref(), Some(&b"one"[..]));
/// assert_eq!(reader.recv().await?.as_deref(), Some(&[2, 2][..]));
/// assert_eq!(reader.recv().await?, None);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct MessageReader<R> {
    stream: R,
    // What has come and was not given out: less than one message after a wait.
    buffer: BytesMut,
    bytes_max: usize,
}

impl<R: AsyncRead + Unpin> MessageReader<R> {
    /// Receives from `stream`, which it reads ahead.
    pub fn new(stream: R) -> Self {
        Self { stream, buffer: BytesMut::new(), bytes_max: MESSAGE_BYTES_MAX }
    }

    /// Refuses messages of more than so many bytes. Default: [`MESSAGE_BYTES_MAX`].
    #[must_use]
    pub fn bytes_max(mut self, bytes: usize) -> Self {
        self.bytes_max = bytes;
        self
    }

    /// The next message; `None` when the stream has ended after a whole message.
    ///
    /// Memory is only taken for what has arrived, whatever length the peer announces.
    ///
    /// # Errors
    ///
    /// See [`MessageRecvError`]. After each of them but [`MessageRecvError::Io`], every further call
    /// gives it again.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time: no message is lost, and none is torn.
    pub async fn recv(&mut self) -> Result<Option<Bytes>, MessageRecvError> {
        loop {
            let missing = match self.announced()? {
                None => HEADER_BYTES - self.buffer.len(),
                Some(body) if self.buffer.len() - HEADER_BYTES >= body => {
                    self.buffer.advance(HEADER_BYTES);
                    return Ok(Some(self.buffer.split_to(body).freeze()));
                }
                Some(body) => HEADER_BYTES + body - self.buffer.len(),
            };
            // As much as has come already: large messages take few steps, announced ones no memory.
            self.buffer.reserve(missing.min(self.buffer.len()).max(READ_BYTES));
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return self.ended();
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

    /// The length of the next body, if it is known and allowed.
    fn announced(&self) -> Result<Option<usize>, MessageRecvError> {
        let Some(header) = self.buffer.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let announced = u32::from_be_bytes(*header);
        match usize::try_from(announced) {
            Ok(bytes) if bytes <= self.bytes_max => Ok(Some(bytes)),
            _ => Err(MessageRecvError::TooLarge { bytes: announced, limit: self.bytes_max }),
        }
    }

    fn ended(&self) -> Result<Option<Bytes>, MessageRecvError> {
        match (self.buffer.len(), self.announced()?) {
            (0, _) => Ok(None),
            (came, None) => Err(MessageRecvError::TruncatedLength { came }),
            (came, Some(bytes)) => {
                Err(MessageRecvError::TruncatedBody { came: came - HEADER_BYTES, bytes })
            }
        }
    }
}

/// Why there is no message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MessageRecvError {
    /// The peer announces a message over the limit. It was not read; close the stream.
    #[error("the peer announces a message of {bytes} bytes, more than the limit of {limit}")]
    TooLarge {
        /// Its length.
        bytes: u32,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The stream has ended within the length of a message.
    #[error("the stream has ended after {came} of {HEADER_BYTES} bytes of a message's length")]
    TruncatedLength {
        /// Bytes that came.
        came: usize,
    },
    /// The stream has ended within the body of a message.
    #[error("the stream has ended after {came} of {bytes} bytes of a message")]
    TruncatedBody {
        /// Bytes that came.
        came: usize,
        /// Its length.
        bytes: usize,
    },
    /// The stream cannot be read.
    #[error("cannot read from the stream")]
    Io(#[from] io::Error),
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn an_announced_message_takes_no_memory_before_it_comes() {
        let (mut peer, stream) = tokio::io::duplex(64);
        let mut reader = MessageReader::new(stream);
        peer.write_u32(MESSAGE_BYTES_MAX as u32).await.unwrap();

        tokio::select! {
            biased;
            _ = reader.recv() => panic!("the body has not come"),
            () = std::future::ready(()) => {}
        }

        assert_eq!(reader.buffer.len(), HEADER_BYTES);
        assert!(reader.buffer.capacity() <= 4 * READ_BYTES);
    }
}

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf};

use crate::message_reader::{MessageReader, MessageRecvError};
use crate::message_writer::{MessageSendError, MessageWriter};

/// The length in front of each message: an unsigned number, most significant byte first.
pub(crate) const HEADER_BYTES: usize = 4;

/// Whole messages, both ways, over one stream of bytes.
///
/// Each message is four bytes that tell its length, most significant first, and then its body of
/// 0 to [`MESSAGE_BYTES_MAX`](crate::limits::MESSAGE_BYTES_MAX) bytes. Messages arrive whole and in
/// order, as long as the stream does; there are no acknowledgements. The peer may be hostile: what it
/// announces takes no memory before it arrives, and no more than the limit.
///
/// [`split`](Self::split) gives two halves, so that one task receives and another sends.
///
/// # Examples
///
/// ```
/// use pleiad_io::MessageStream;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (here, there) = tokio::io::duplex(64);
/// let echo = tokio::spawn(async move {
///     let mut messages = MessageStream::new(there);
///     while let Ok(Some(message)) = messages.recv().await {
///         messages.send(message).await.expect("the other end is here");
///     }
/// });
///
/// let (mut reader, mut writer) = MessageStream::new(here).split();
/// writer.send("hello").await?;
/// assert_eq!(reader.recv().await?.as_deref(), Some(&b"hello"[..]));
///
/// writer.shutdown().await?;
/// assert_eq!(reader.recv().await?, None);
/// echo.await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct MessageStream<S> {
    reader: MessageReader<ReadHalf<S>>,
    writer: MessageWriter<WriteHalf<S>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> MessageStream<S> {
    /// Sends and receives over `stream`, which it reads ahead.
    pub fn new(stream: S) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        Self { reader: MessageReader::new(reader), writer: MessageWriter::new(writer) }
    }

    /// Refuses messages of more than so many bytes, both ways. Default:
    /// [`MESSAGE_BYTES_MAX`](crate::limits::MESSAGE_BYTES_MAX).
    #[must_use]
    pub fn bytes_max(self, bytes: usize) -> Self {
        Self { reader: self.reader.bytes_max(bytes), writer: self.writer.bytes_max(bytes) }
    }

    /// Sends a message: see [`MessageWriter::send`].
    ///
    /// # Errors
    ///
    /// See [`MessageSendError`].
    pub async fn send(&mut self, message: impl Into<Bytes>) -> Result<(), MessageSendError> {
        self.writer.send(message).await
    }

    /// The next message; `None` when the stream has ended after a whole message: see
    /// [`MessageReader::recv`].
    ///
    /// # Errors
    ///
    /// See [`MessageRecvError`].
    pub async fn recv(&mut self) -> Result<Option<Bytes>, MessageRecvError> {
        self.reader.recv().await
    }

    /// Two halves, for two tasks.
    ///
    /// The stream is closed when both are dropped; [`shutdown`](MessageWriter::shutdown) of the writer
    /// ends one direction before that. TCP and Unix sockets have halves of their own, with which
    /// dropping the writer ends its direction, however its task has ended:
    ///
    /// ```
    /// use pleiad_io::{MessageReader, MessageWriter};
    /// use tokio::net::{TcpListener, TcpStream};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// let (here, there) = TcpStream::connect(listener.local_addr()?).await?.into_split();
    /// let (mut reader, mut writer) = (MessageReader::new(here), MessageWriter::new(there));
    /// # let (stream, _) = listener.accept().await?;
    /// # let mut peer = pleiad_io::MessageStream::new(stream);
    ///
    /// writer.send("that is all").await?;
    /// drop(writer);
    ///
    /// assert_eq!(peer.recv().await?.as_deref(), Some(&b"that is all"[..]));
    /// assert_eq!(peer.recv().await?, None);
    /// peer.send("I have understood").await?;
    /// assert_eq!(reader.recv().await?.as_deref(), Some(&b"I have understood"[..]));
    /// # Ok(())
    /// # }
    /// ```
    pub fn split(self) -> (MessageReader<ReadHalf<S>>, MessageWriter<WriteHalf<S>>) {
        (self.reader, self.writer)
    }
}

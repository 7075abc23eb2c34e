use std::io;
use std::pin::Pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncRead;
use tokio::time::{Instant, timeout_at};

use crate::chunks::read_some;

/// Reads `bytes` bytes from `stream`, or what comes before its end or a time-out. It is awaited.
///
/// Nothing beyond them is read, and memory grows only as they come. Default: no time-out.
///
/// ```
/// use std::time::Duration;
///
/// use pleiad_io::{Part, read_up_to};
/// use tokio::io::AsyncWriteExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (mut here, mut there) = tokio::io::duplex(64);
/// here.write_all(b"abcde").await?;
///
/// let first = read_up_to(&mut there, 3).await?;
/// assert_eq!(first, Part::Whole("abc".into()));
///
/// let second = read_up_to(&mut there, 3).idle_timeout(Duration::from_millis(10)).await?;
/// assert_eq!(second, Part::TimedOut("de".into()));
///
/// drop(here);
/// assert_eq!(read_up_to(&mut there, 3).await?, Part::Ended("".into()));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`ReadUpToError`], with what was read before, if the stream cannot be read.
///
/// # Cancel safety
///
/// Not cancel-safe: what was read is lost if it is dropped. Use its time-outs, or
/// [`Chunks`](crate::Chunks).
pub fn read_up_to<R>(stream: &mut R, bytes: usize) -> ReadUpTo<'_, R>
where
    R: AsyncRead + Unpin + ?Sized,
{
    ReadUpTo { stream, bytes, timeout: None, idle_timeout: None }
}

/// Reads a number of bytes: see [`read_up_to`].
#[derive(Debug)]
#[must_use = "bytes are read when this is awaited"]
pub struct ReadUpTo<'a, R: ?Sized> {
    stream: &'a mut R,
    bytes: usize,
    timeout: Option<Duration>,
    idle_timeout: Option<Duration>,
}

/// What [`read_up_to`] has read, and why it is not more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// As many bytes as were asked for.
    Whole(Bytes),
    /// Fewer, and then the stream has ended.
    Ended(Bytes),
    /// Fewer, and then nothing came in time. More may come later.
    TimedOut(Bytes),
}

impl Part {
    /// The bytes, however many there are.
    pub fn into_bytes(self) -> Bytes {
        match self {
            Self::Whole(bytes) | Self::Ended(bytes) | Self::TimedOut(bytes) => bytes,
        }
    }
}

impl<R: AsyncRead + Unpin + ?Sized> ReadUpTo<'_, R> {
    /// Gives up so long after the start. Default: never.
    pub fn timeout(mut self, after: Duration) -> Self {
        self.timeout = Some(after);
        self
    }

    /// Gives up when nothing has come for so long. Default: never.
    pub fn idle_timeout(mut self, after: Duration) -> Self {
        self.idle_timeout = Some(after);
        self
    }

    async fn run(self) -> Result<Part, ReadUpToError> {
        let mut buffer = BytesMut::new();
        // One that is too far away for the clock is never.
        let last = self.timeout.and_then(|after| Instant::now().checked_add(after));
        while buffer.len() < self.bytes {
            let idle = self.idle_timeout.and_then(|after| Instant::now().checked_add(after));
            let read = read_some(self.stream, &mut buffer, self.bytes);
            let done = match last.into_iter().chain(idle).min() {
                None => Ok(read.await),
                Some(deadline) => timeout_at(deadline, read).await,
            };
            match done {
                Err(_) => return Ok(Part::TimedOut(buffer.freeze())),
                Ok(Ok(0)) => return Ok(Part::Ended(buffer.freeze())),
                Ok(Ok(_)) => {}
                Ok(Err(source)) => return Err(ReadUpToError { read: buffer.freeze(), source }),
            }
        }
        Ok(Part::Whole(buffer.freeze()))
    }
}

impl<'a, R: AsyncRead + Unpin + Send + ?Sized> IntoFuture for ReadUpTo<'a, R> {
    type Output = Result<Part, ReadUpToError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

/// The stream cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read from the stream after {} bytes", .read.len())]
#[non_exhaustive]
pub struct ReadUpToError {
    /// What was read before.
    pub read: Bytes,
    /// What the stream says.
    pub source: io::Error,
}

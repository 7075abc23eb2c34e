use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use pleiad_types::LastBytes;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::limits::READ_BYTES;

/// The end of what a program has written to its standard error.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tail {
    /// The last bytes.
    pub bytes: Bytes,
    /// How many bytes came before these, and were not kept.
    pub dropped: u64,
    /// The pipe was still open when this was taken: there may be more to come.
    pub is_open: bool,
}

impl Tail {
    /// The last bytes as text; what is not UTF-8 is replaced.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.bytes)
    }
}

impl fmt::Display for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.dropped > 0 {
            write!(f, "[{} bytes before this]", self.dropped)?;
        }
        f.write_str(self.text().trim_end())
    }
}

/// Where a [`Tail`] grows.
#[derive(Debug, Clone, Default)]
pub(crate) struct TailKeeper(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    bytes: LastBytes,
    total: u64,
    is_open: bool,
}

impl TailKeeper {
    /// Reads to the end and keeps the last bytes.
    pub(crate) fn keep<R>(
        &self,
        mut reader: R,
        bytes_max: usize,
    ) -> impl Future<Output = ()> + use<R>
    where
        R: AsyncRead + Unpin,
    {
        {
            let mut kept = self.lock();
            kept.bytes = LastBytes::new(bytes_max);
            kept.is_open = true;
        }
        let keeper = self.clone();
        async move {
            let mut chunk = vec![0; READ_BYTES];
            // A pipe that cannot be read any more has ended as far as we can know.
            while let Ok(n @ 1..) = reader.read(&mut chunk).await {
                keeper.lock().push(&chunk[..n]);
            }
            keeper.lock().is_open = false;
        }
    }

    pub(crate) fn tail(&self) -> Tail {
        let kept = self.lock();
        let last = kept.bytes.last();
        Tail {
            bytes: Bytes::copy_from_slice(last),
            dropped: kept.total - last.len() as u64,
            is_open: kept.is_open,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        self.bytes.add(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_bytes_are_kept_and_the_others_counted() {
        let keeper = TailKeeper::default();
        let text: String = (0..10_000).map(|n| format!("{n}\n")).collect();

        keeper.keep(text.as_bytes(), 10).await;

        let tail = keeper.tail();
        assert_eq!(tail.text(), "9998\n9999\n");
        assert_eq!(tail.dropped, text.len() as u64 - 10);
        assert!(!tail.is_open);
    }

    #[tokio::test]
    async fn a_tail_of_no_bytes_only_counts() {
        let keeper = TailKeeper::default();
        keeper.keep(&b"abc"[..], 0).await;
        assert_eq!(keeper.tail(), Tail { bytes: Bytes::new(), dropped: 3, is_open: false });
    }
}

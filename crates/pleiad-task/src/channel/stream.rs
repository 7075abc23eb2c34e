use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use futures_core::Stream;

use crate::channel::hub::Hub;
use crate::channel::ring::{Outlet, Ring};
use crate::channel::subscription::{Direct, End, Key, Shared, WhenFull};
use crate::mailbox::TryRecvError;
use crate::queue::{Queue, TryRecv};

/// A subscriber that is no task, with a mailbox of its own: see
/// [`Channel::stream`](crate::Channel::stream).
///
/// A [`Stream`] of what is published since it was made, in order for each publisher. It ends when the
/// channel is closed, or has [disconnected](WhenFull::Disconnect) it, and all has been read. When it
/// is dropped, it is unsubscribed. It does not keep the channel alive.
#[must_use = "it is unsubscribed when it is dropped"]
pub struct Subscriber<T> {
    channel: Weak<Hub<T>>,
    name: Arc<str>,
    key: Key,
    queue: Arc<Queue<T>>,
    /// Messages taken out of the queue and not yet read.
    batch: VecDeque<T>,
    shared: Arc<Shared>,
}

impl<T: Clone + Send + 'static> Subscriber<T> {
    pub(super) fn new(channel: &Arc<Hub<T>>, capacity: usize, when_full: WhenFull) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let key = Key::Stream(NEXT.fetch_add(1, Ordering::Relaxed));
        let capacity = capacity.clamp(1, i32::MAX as usize);
        let queue = Arc::new(Queue::new(capacity as u32));
        let ring = (when_full == WhenFull::DropOldest).then(|| Arc::new(Ring::new(capacity)));
        if let Some(ring) = &ring {
            queue.add_source(Box::new(Outlet(ring.clone())));
        }
        let shared = Arc::new(Shared::default());
        let end = Buffer(queue.clone());
        let map = Some;
        let entry = Arc::new(Direct { key, end, map, when_full, ring, shared: shared.clone() });
        if channel.subscribe(key, |_| (entry, ())).is_err() {
            queue.close();
        }
        let name = channel.name.clone();
        let channel = Arc::downgrade(channel);
        Self { channel, name, key, queue, batch: VecDeque::new(), shared }
    }

    /// The oldest message; waits until there is one. `None` when there never will be one.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, no message is lost.
    pub async fn recv(&mut self) -> Option<T> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// A message that is there now.
    ///
    /// # Errors
    ///
    /// [`TryRecvError::Empty`] if there is none, [`TryRecvError::Closed`] if there never will be.
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        self.queue.try_recv(&mut self.batch, false).map_err(|error| match error {
            TryRecv::Empty => TryRecvError::Empty,
            TryRecv::Closed => TryRecvError::Closed,
        })
    }

    /// As [`recv`](Self::recv), for own futures.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.queue.poll_recv(&mut self.batch, cx, false)
    }
}

impl<T> Subscriber<T> {
    /// How many messages have not come here, because there was no room, or because they made room
    /// for newer ones.
    pub fn missed(&self) -> u64 {
        self.shared.missed()
    }
}

impl<T: Clone + Send + 'static> Stream for Subscriber<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.poll_recv(cx)
    }
}

// Nothing in it is pinned.
impl<T> Unpin for Subscriber<T> {}

impl<T> Drop for Subscriber<T> {
    fn drop(&mut self) {
        if let Some(channel) = self.channel.upgrade() {
            drop(channel.unsubscribe(self.key));
        }
        self.queue.deafen();
    }
}

impl<T> fmt::Debug for Subscriber<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "subscriber of {}", self.name)
    }
}

/// Where the messages of a stream are.
struct Buffer<T>(Arc<Queue<T>>);

impl<T> Clone for Buffer<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Send + 'static> End<T> for Buffer<T> {
    fn queue(&self) -> &Queue<T> {
        &self.0
    }

    fn hang_up(&self) {
        self.0.close();
    }
}

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use pleiad_task::{Subscriber, TryRecvError};
use tokio::sync::oneshot;

use crate::message::Message;

/// What is published on a channel of another node, as a [`Stream`]: see
/// [`RemoteChannel::stream`](crate::RemoteChannel::stream).
///
/// It ends when the channel is closed, or its node lost, and all has been read: which of both, its
/// [`closed`](crate::RemoteChannel::closed) tells. When it is dropped, it is unsubscribed.
#[must_use = "it is unsubscribed when it is dropped"]
pub struct RemoteSubscriber<T> {
    messages: Subscriber<T>,
    /// Tells by its end that nobody reads any more.
    _reader: oneshot::Sender<()>,
}

impl<T: Message + Clone> RemoteSubscriber<T> {
    pub(super) fn new(messages: Subscriber<T>, reader: oneshot::Sender<()>) -> Self {
        Self { messages, _reader: reader }
    }

    /// The oldest message; waits until there is one. `None` when there never will be one.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, no message is lost.
    pub async fn recv(&mut self) -> Option<T> {
        self.messages.recv().await
    }

    /// A message that is there now.
    ///
    /// # Errors
    ///
    /// [`TryRecvError::Empty`] if there is none, [`TryRecvError::Closed`] if there never will be.
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        self.messages.try_recv()
    }

    /// As [`recv`](Self::recv), for own futures.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.messages.poll_recv(cx)
    }

    /// How many messages made room for newer ones, here: see
    /// [`WhenFull::DropOldest`](pleiad_task::WhenFull::DropOldest).
    pub fn missed(&self) -> u64 {
        self.messages.missed()
    }
}

impl<T: Message + Clone> Stream for RemoteSubscriber<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.poll_recv(cx)
    }
}

// Nothing in it is pinned.
impl<T> Unpin for RemoteSubscriber<T> {}

impl<T> fmt::Debug for RemoteSubscriber<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.messages, f)
    }
}

use std::fmt;
use std::future::poll_fn;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use crate::mailbox::Mailbox;
use crate::swap::offer::Offer;
use crate::swap::slot::{Slot, Waiting};

/// The mailbox of a swappable task: a [`Mailbox`] where offers arrive too.
pub struct SwapMailbox<M, S> {
    pub(super) mailbox: Mailbox<M>,
    pub(super) slot: Arc<Slot<M, S>>,
}

/// What a swappable task gets.
#[derive(Debug)]
pub enum SwapEvent<M, S> {
    /// A message.
    Message(M),
    /// A function to go on with. Dropping the offer refuses it.
    Swap(Offer<M, S>),
    /// Nobody can send any more, or the task is asked to stop.
    Closed,
}

impl<M, S> SwapMailbox<M, S>
where
    M: Send + 'static,
{
    /// The next message or offer; offers come first.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, nothing is lost.
    pub async fn next(&mut self) -> SwapEvent<M, S> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<SwapEvent<M, S>> {
        if let Some(offer) = self.take_offer() {
            return Poll::Ready(SwapEvent::Swap(offer));
        }
        match self.mailbox.poll_recv(cx) {
            Poll::Ready(Some(message)) => Poll::Ready(SwapEvent::Message(message)),
            Poll::Ready(None) => Poll::Ready(SwapEvent::Closed),
            // Who offers from here on finds a waiting receiver, and wakes it.
            Poll::Pending => {
                self.take_offer().map_or(Poll::Pending, |offer| Poll::Ready(SwapEvent::Swap(offer)))
            }
        }
    }

    /// The offer that waits, for tasks that are busy with something else than messages.
    pub fn take_offer(&mut self) -> Option<Offer<M, S>> {
        if !self.slot.offered.load(Ordering::Acquire) {
            return None;
        }
        let mut state = self.slot.lock();
        self.slot.offered.store(false, Ordering::Relaxed);
        let Waiting { function, name, verdict, .. } = state.waiting.take()?;
        Some(Offer { function, name, verdict, slot: self.slot.clone() })
    }
}

impl<M, S> Drop for SwapMailbox<M, S> {
    fn drop(&mut self) {
        let mut state = self.slot.lock();
        state.closed = true;
        let waiting = state.waiting.take();
        drop(state);
        drop(waiting);
    }
}

impl<M, S> Deref for SwapMailbox<M, S> {
    type Target = Mailbox<M>;

    fn deref(&self) -> &Mailbox<M> {
        &self.mailbox
    }
}

impl<M, S> DerefMut for SwapMailbox<M, S> {
    fn deref_mut(&mut self) -> &mut Mailbox<M> {
        &mut self.mailbox
    }
}

impl<M, S> fmt::Debug for SwapMailbox<M, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.mailbox, f)
    }
}

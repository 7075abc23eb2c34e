//! The queue of a task of another node: nothing is ever in it, all goes to where the task is.

use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::far::{FarEnd, How};
use crate::queue::bits::{CLOSED, DEAF, FAR, FAR_SHUT, SENDERS, SHUT};
use crate::queue::{Delivery, Queue, Refusal, State};
use crate::sync::atomic::Ordering;

impl<M> Queue<M> {
    /// Of a task of another node, with one sender here.
    pub(crate) fn to_far(end: Arc<FarEnd<M>>) -> Self {
        let mut queue = Self::new(0);
        queue.preset(FAR | CLOSED);
        queue.lock().rare.get_or_insert_default().far = Some(end);
        queue
    }

    #[inline]
    pub(crate) fn is_far(&self) -> bool {
        self.attention() & FAR != 0
    }

    /// Where everything goes, of a task of another node.
    #[inline]
    pub(crate) fn far(&self) -> Option<Arc<FarEnd<M>>> {
        if self.is_far() { self.lock().far_end() } else { None }
    }

    /// Whether nobody has a reference any more.
    pub(crate) fn is_deserted(&self) -> bool {
        self.attention() & SHUT != 0 || self.senders.load(Ordering::Acquire) == 0
    }

    /// How many messages would be taken at this moment.
    pub(crate) fn room(&self) -> Result<usize, Refusal> {
        if self.is_far() {
            return Ok(usize::MAX);
        }
        let state = self.lock();
        let attention = self.attention.load(Ordering::Relaxed);
        if attention & (CLOSED | DEAF) != 0 {
            return Err(Refusal::Closed);
        }
        let used = state.queue.len() + self.unread();
        let room = (self.capacity as usize).saturating_sub(used);
        if attention & SENDERS != 0 || room == 0 { Err(Refusal::Full) } else { Ok(room) }
    }

    /// As [`push`](Self::push) for each of the messages, from the front, until one is refused; those
    /// stay. The lock is taken once.
    pub(crate) fn push_many(&self, messages: &mut Vec<M>) -> Result<(), Refusal> {
        let mut state = self.lock();
        let attention = self.attention.load(Ordering::Relaxed);
        if attention & (CLOSED | DEAF | SENDERS) != 0 {
            drop(state);
            return self.push_each(messages);
        }
        let used = state.queue.len() + self.unread();
        let room = (self.capacity as usize).saturating_sub(used).min(messages.len());
        if room > 0 {
            state.queue.extend(messages.drain(..room));
            self.wake_receiver(state);
        }
        if messages.is_empty() { Ok(()) } else { Err(Refusal::Full) }
    }

    /// To a task that is elsewhere again, and for those who are refused.
    #[cold]
    fn push_each(&self, messages: &mut Vec<M>) -> Result<(), Refusal> {
        let mut rest = mem::take(messages).into_iter();
        while let Some(message) = rest.next() {
            if let Err((refusal, message)) = self.push(message) {
                messages.push(message);
                messages.extend(rest);
                return Err(refusal);
            }
        }
        Ok(())
    }

    /// Sends `message` to where the task is.
    #[cold]
    pub(super) fn push_far(&self, message: M, how: How) -> Result<(), (Refusal, M)> {
        match self.far() {
            Some(far) => far.send(message, how),
            None => Err((Refusal::Closed, message)),
        }
    }

    /// Somebody does not wait any more for the answer to a question that was sent there.
    pub(crate) fn say_unwanted(&self) {
        if let Some(far) = self.far() {
            far.target().unwanted();
        }
    }

    pub(super) fn close_far(&self) {
        if self.mark_unless(SHUT | FAR_SHUT, FAR_SHUT, true).is_some()
            && let Some(far) = self.far()
        {
            far.target().close();
        }
    }

    /// As `poll_deliver`. `acknowledged`: whether it is ready only when the message is in the mailbox there.
    #[cold]
    pub(super) fn poll_deliver_far(
        &self,
        delivery: &mut Delivery<M>,
        acknowledged: bool,
        cx: &Context<'_>,
    ) -> Poll<Result<(), (Refusal, M)>> {
        let mut on_its_way = match mem::replace(delivery, Delivery::Done) {
            Delivery::New(message) => {
                let Some(far) = self.far() else {
                    return Poll::Ready(Err((Refusal::Closed, message)));
                };
                let begun =
                    if acknowledged { far.deliver(message) } else { far.send_or_wait(message) };
                match begun {
                    Ok(Some(begun)) => Box::new(begun),
                    Ok(None) => return Poll::Ready(Ok(())),
                    Err(refused) => return Poll::Ready(Err(refused)),
                }
            }
            Delivery::Far(on_its_way) => on_its_way,
            Delivery::Waiting(_) | Delivery::Done => return Poll::Ready(Ok(())),
        };
        match on_its_way.poll(&mut Context::from_waker(cx.waker())) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
            Poll::Ready(Err((refusal, attached))) => {
                Poll::Ready(Err((refusal.into(), on_its_way.restored(attached))))
            }
            Poll::Pending => {
                *delivery = Delivery::Far(on_its_way);
                Poll::Pending
            }
        }
    }
}

impl<M> State<M> {
    pub(super) fn far_end(&self) -> Option<Arc<FarEnd<M>>> {
        self.rare.as_ref()?.far.clone()
    }
}

//! The senders' half of a [`Queue`].

use std::mem;
use std::task::{Context, Poll, Waker};

#[cfg(feature = "far")]
use crate::far::How;
use crate::queue::bits::{CLOSED, DEAF, SENDERS, SHUT, URGENT};
#[cfg(feature = "far")]
use crate::queue::bits::{FAR, FAR_SHUT};
use crate::queue::{Queue, State, UNBOUNDED};
use crate::sync::atomic::{Ordering, fence};

/// Why a message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    Full,
    Closed,
    /// The node of the task was lost. [`refusal_detail`](crate::far::refusal_detail) says which: it is
    /// not in here, so that a push costs no more than without all this.
    #[cfg(feature = "far")]
    Lost,
    /// It cannot be sent to another node; the detail says why.
    #[cfg(feature = "far")]
    Unsendable,
}

/// A message on its way into a queue, which may have to wait.
pub(crate) enum Delivery<M> {
    New(M),
    Waiting(u64),
    /// To a task of another node.
    #[cfg(feature = "far")]
    Far(Box<crate::far::FarDelivery<M>>),
    Done,
}

pub(super) struct WaitingMessage<M> {
    pub(super) ticket: u64,
    pub(super) message: M,
    pub(super) waker: Waker,
}

impl<M> Queue<M> {
    pub(crate) fn add_sender(&self) {
        self.senders.fetch_add(1, Ordering::Relaxed);
    }

    /// As [`add_sender`](Self::add_sender), also if there was none left: then it is open again.
    pub(crate) fn add_own_sender(&self) {
        let _state = self.lock();
        self.add_sender();
        if self.attention.load(Ordering::Relaxed) & SHUT == 0 {
            self.clear(CLOSED);
        }
    }

    /// As [`add_sender`](Self::add_sender), if there is one.
    pub(crate) fn add_sender_if_any(&self) -> bool {
        self.may_have_senders()
            && self
                .senders
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n > 0).then(|| n + 1))
                .is_ok()
    }

    /// The last one closes the queue. Once it is closed for good, nobody counts any more.
    #[inline]
    pub(crate) fn remove_sender(&self) {
        if self.attention() & SHUT == 0 && self.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.close_if_deserted();
        }
    }

    /// Puts `message` into the queue, if there is room; or sends it to where its task is.
    #[inline]
    pub(crate) fn push(&self, message: M) -> Result<(), (Refusal, M)> {
        #[cfg(feature = "far")]
        if self.is_far() {
            return self.push_far(message, How::Normal);
        }
        self.push_here(message)
    }

    #[inline]
    fn push_here(&self, message: M) -> Result<(), (Refusal, M)> {
        let mut state = self.lock();
        let attention = self.attention.load(Ordering::Relaxed);
        if attention & (CLOSED | DEAF | SENDERS) != 0 {
            let refusal =
                if attention & (CLOSED | DEAF) != 0 { Refusal::Closed } else { Refusal::Full };
            return Err((refusal, message));
        }
        if !self.has_room(&state) {
            return Err((Refusal::Full, message));
        }
        state.queue.push(message);
        self.wake_receiver(state);
        Ok(())
    }

    /// Puts `message` into the queue, whether there is room or not: for what is bounded elsewhere.
    pub(crate) fn push_exempt(&self, message: M) -> Result<(), M> {
        #[cfg(feature = "far")]
        if self.is_far() {
            return self.push_far(message, How::Exempt).map_err(|(_, message)| message);
        }
        let mut state = self.lock();
        if self.attention.load(Ordering::Relaxed) & (DEAF | SHUT) != 0 {
            return Err(message);
        }
        state.queue.push(message);
        self.wake_receiver(state);
        Ok(())
    }

    /// Puts `message` before all that are not urgent. There is room for as many as the capacity.
    pub(crate) fn push_urgent(&self, message: M) -> Result<(), (Refusal, M)> {
        #[cfg(feature = "far")]
        if self.is_far() {
            return self.push_far(message, How::Urgent);
        }
        let mut state = self.lock();
        if self.attention.load(Ordering::Relaxed) & (CLOSED | DEAF) != 0 {
            return Err((Refusal::Closed, message));
        }
        let rare = state.rare.get_or_insert_default();
        if rare.urgent.len() >= self.capacity as usize {
            return Err((Refusal::Full, message));
        }
        rare.urgent.push_back(message);
        self.set(URGENT);
        self.wake_receiver(state);
        Ok(())
    }

    /// Puts the message of `delivery` into the queue, as soon as there is room and no older one
    /// waits. Once it has become [`Delivery::Waiting`], it must be polled until ready or
    /// [cancelled](Self::cancel).
    #[inline]
    pub(crate) fn poll_deliver(
        &self,
        delivery: &mut Delivery<M>,
        cx: &Context<'_>,
    ) -> Poll<Result<(), (Refusal, M)>> {
        if !matches!(delivery, Delivery::New(_)) {
            return self.poll_begun(delivery, cx);
        }
        match mem::replace(delivery, Delivery::Done) {
            Delivery::New(message) => match self.push_here(message) {
                Ok(()) => Poll::Ready(Ok(())),
                Err((refusal, message)) => self.begin(delivery, refusal, message, cx),
            },
            _ => Poll::Ready(Ok(())),
        }
    }

    /// The message of `delivery` was refused: it may wait, or go elsewhere.
    #[cold]
    fn begin(
        &self,
        delivery: &mut Delivery<M>,
        refusal: Refusal,
        message: M,
        cx: &Context<'_>,
    ) -> Poll<Result<(), (Refusal, M)>> {
        *delivery = match refusal {
            Refusal::Full => Delivery::Waiting(self.wait(message, cx)),
            #[cfg(feature = "far")]
            _ if self.is_far() => Delivery::New(message),
            _ => return Poll::Ready(Err((refusal, message))),
        };
        self.poll_begun(delivery, cx)
    }

    fn poll_begun(
        &self,
        delivery: &mut Delivery<M>,
        cx: &Context<'_>,
    ) -> Poll<Result<(), (Refusal, M)>> {
        #[cfg(feature = "far")]
        if self.is_far() {
            return self.poll_deliver_far(delivery, true, cx);
        }
        let Delivery::Waiting(ticket) = mem::replace(delivery, Delivery::Done) else {
            return Poll::Ready(Ok(()));
        };
        let mut state = self.lock();
        let attention = self.attention.load(Ordering::Relaxed);
        let Some(rare) = state.rare.as_mut() else { return Poll::Ready(Ok(())) };
        let Ok(index) = rare.waiting.binary_search_by_key(&ticket, |waiting| waiting.ticket) else {
            return Poll::Ready(Ok(()));
        };
        if attention & (CLOSED | DEAF) != 0 {
            let refused = rare.waiting.remove(index);
            // Its waker is not to be dropped under the lock.
            drop(state);
            return Poll::Ready(
                refused.map_or(Ok(()), |waiting| Err((Refusal::Closed, waiting.message))),
            );
        }
        let waiting = &mut rare.waiting[index];
        let displaced = (!waiting.waker.will_wake(cx.waker()))
            .then(|| mem::replace(&mut waiting.waker, cx.waker().clone()));
        *delivery = Delivery::Waiting(ticket);
        drop(state);
        drop(displaced);
        Poll::Pending
    }

    /// As [`poll_deliver`](Self::poll_deliver), for a message that says itself that it has come, by an
    /// answer: in the queue, or on its way to another node.
    #[inline]
    pub(crate) fn poll_ask(
        &self,
        delivery: &mut Delivery<M>,
        cx: &Context<'_>,
    ) -> Poll<Result<(), (Refusal, M)>> {
        #[cfg(feature = "far")]
        if self.is_far() {
            return self.poll_deliver_far(delivery, false, cx);
        }
        self.poll_deliver(delivery, cx)
    }

    /// Takes back the message of `delivery`, if it is not in the queue. If it is on its way to another
    /// node, nobody knows whether it will be.
    pub(crate) fn take_back(&self, delivery: &mut Delivery<M>) -> Option<M> {
        match mem::replace(delivery, Delivery::Done) {
            Delivery::New(message) => Some(message),
            Delivery::Waiting(ticket) => self.cancel(ticket),
            #[cfg(feature = "far")]
            Delivery::Far(far) => Some(far.into_message()),
            Delivery::Done => None,
        }
    }

    /// Takes back a message that waits, if it still does.
    pub(crate) fn cancel(&self, ticket: u64) -> Option<M> {
        let mut state = self.lock();
        let rare = state.rare.as_mut()?;
        let index = rare.waiting.binary_search_by_key(&ticket, |waiting| waiting.ticket).ok()?;
        let cancelled = rare.waiting.remove(index);
        if rare.waiting.is_empty() {
            self.clear(SENDERS);
        }
        drop(state);
        cancelled.map(|waiting| waiting.message)
    }

    /// Queues `message` behind those that wait, and gives its ticket.
    fn wait(&self, message: M, cx: &Context<'_>) -> u64 {
        let mut state = self.lock();
        let rare = state.rare.get_or_insert_default();
        let ticket = rare.next_ticket;
        rare.next_ticket += 1;
        rare.waiting.push_back(WaitingMessage { ticket, message, waker: cx.waker().clone() });
        self.set(SENDERS);
        // The other half of `read`: either we see the room that it has made, or it sees us.
        fence(Ordering::SeqCst);
        let woken = self.admit(&mut state);
        drop(state);
        woken.into_iter().for_each(Waker::wake);
        ticket
    }

    /// Nothing more is accepted. What is in the queue is still read.
    pub(crate) fn close(&self) {
        #[cfg(feature = "far")]
        if self.is_far() {
            return self.close_far();
        }
        let woken = self.close_as(&mut self.lock(), CLOSED | SHUT);
        woken.into_iter().for_each(Waker::wake);
    }

    #[cold]
    fn close_if_deserted(&self) {
        let mut state = self.lock();
        // The receiver may have made itself a sender meanwhile.
        if self.senders.load(Ordering::Acquire) > 0 {
            return;
        }
        #[cfg(feature = "far")]
        if let Some(far) = &state.far_end() {
            drop(state);
            return far.target().deserted();
        }
        let woken = self.close_as(&mut state, CLOSED);
        drop(state);
        woken.into_iter().for_each(Waker::wake);
    }

    fn close_as(&self, state: &mut State<M>, bits: u32) -> Vec<Waker> {
        self.set(bits);
        let mut woken: Vec<Waker> = self.receiver_to_wake(state).into_iter().collect();
        if let Some(rare) = &mut state.rare {
            woken.extend(rare.waiting.iter().map(|waiting| waiting.waker.clone()));
        }
        woken
    }

    fn may_have_senders(&self) -> bool {
        let attention = self.attention();
        #[cfg(feature = "far")]
        if attention & FAR != 0 {
            return attention & (SHUT | FAR_SHUT) == 0;
        }
        attention & CLOSED == 0
    }

    // ---- under the lock ----

    fn has_room(&self, state: &State<M>) -> bool {
        self.capacity == UNBOUNDED || state.queue.len() + self.unread() < self.capacity as usize
    }

    /// Takes messages that wait into the queue, as long as there is room; gives whom to wake.
    pub(super) fn admit(&self, state: &mut State<M>) -> Vec<Waker> {
        let mut woken = Vec::new();
        if self.attention.load(Ordering::Relaxed) & (SENDERS | CLOSED | DEAF) != SENDERS {
            return woken;
        }
        while self.has_room(state)
            && let Some(waiting) = state.rare.as_mut().and_then(|rare| rare.waiting.pop_front())
        {
            state.queue.push(waiting.message);
            woken.push(waiting.waker);
        }
        if state.rare.as_ref().is_none_or(|rare| rare.waiting.is_empty()) {
            self.clear(SENDERS);
        }
        if !woken.is_empty() {
            woken.extend(self.receiver_to_wake(state));
        }
        woken
    }
}

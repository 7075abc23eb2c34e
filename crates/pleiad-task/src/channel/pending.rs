use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use crate::channel::round::Published;

/// A subscriber for whose room a message waits.
pub(super) trait Waits: Send {
    /// Whether it is in: if not, the subscriber has ended.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<bool>;

    /// Whether the subscription has ended.
    fn is_over(&self) -> bool;

    /// Waits no longer. Whether it has been in vain.
    fn take_back(&mut self) -> bool;
}

/// The subscribers that have no room for a message. Each has a waker of its own, so that one that has
/// room costs no look at the others.
#[derive(Default)]
pub(super) struct Pending {
    slots: Vec<Slot>,
    /// How many of the slots are in use.
    left: usize,
    /// There is none until something is polled.
    woken: Option<Arc<Woken>>,
}

struct Slot {
    /// None: that is settled.
    waits: Option<Box<dyn Waits>>,
    waker: Option<Waker>,
}

struct Woken(Mutex<State>);

struct State {
    /// Slots that are to be polled.
    indices: Vec<usize>,
    /// Of who waits for all.
    waker: Waker,
}

/// Wakes one slot.
struct SlotWaker {
    index: usize,
    woken: Arc<Woken>,
}

impl Pending {
    pub(super) fn push(&mut self, waits: Box<dyn Waits>) {
        self.slots.push(Slot { waits: Some(waits), waker: None });
        self.left += 1;
    }

    pub(super) fn len(&self) -> usize {
        self.left
    }

    pub(super) fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// Gives the message to those who have room meanwhile.
    pub(super) fn poll(&mut self, published: &mut Published, cx: &mut Context<'_>) {
        if self.is_empty() {
            return;
        }
        let count = self.slots.len();
        let woken = self.woken.get_or_insert_with(|| {
            let indices = (0..count).collect();
            Arc::new(Woken(Mutex::new(State { indices, waker: cx.waker().clone() })))
        });
        for index in woken.take(cx.waker()) {
            let Slot { waits: Some(waits), waker } = &mut self.slots[index] else { continue };
            let waker = waker.get_or_insert_with(|| {
                Waker::from(Arc::new(SlotWaker { index, woken: woken.clone() }))
            });
            if let Poll::Ready(is_in) = waits.poll(&mut Context::from_waker(waker)) {
                published.reached += usize::from(is_in);
                self.slots[index] = Slot { waits: None, waker: None };
                self.left -= 1;
            }
        }
    }

    /// Gives up those whose subscription has ended.
    pub(super) fn give_up_ended(&mut self, published: &mut Published) {
        self.give_up_if(published, |waits| waits.is_over());
    }

    /// Gives up all: who has no room yet has missed it.
    pub(super) fn give_up(&mut self, published: &mut Published) {
        self.give_up_if(published, |_| true);
    }

    fn give_up_if(&mut self, published: &mut Published, which: impl Fn(&dyn Waits) -> bool) {
        for slot in &mut self.slots {
            if let Some(mut waits) = slot.waits.take_if(|waits| which(&**waits)) {
                self.left -= 1;
                let in_vain = waits.take_back();
                published.missed += usize::from(in_vain);
                published.reached += usize::from(!in_vain);
            }
        }
    }
}

impl Woken {
    /// Which slots are to be polled. From now on, `waker` is told of others.
    fn take(&self, waker: &Waker) -> Vec<usize> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = state.waker.will_wake(waker);
        let displaced = (!known).then(|| std::mem::replace(&mut state.waker, waker.clone()));
        let indices = std::mem::take(&mut state.indices);
        drop(state);
        drop(displaced);
        indices
    }
}

impl Wake for SlotWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut state = self.woken.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.indices.push(self.index);
        let waker = state.waker.clone();
        drop(state);
        waker.wake();
    }
}

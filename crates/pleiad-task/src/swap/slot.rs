use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::identity::short;
use crate::swap::offer::{Function, Verdict};

/// What references and mailbox share: the offer that waits.
pub(super) struct Slot<M, S> {
    /// Whether there is one, to look without a lock.
    pub(super) offered: AtomicBool,
    state: Mutex<SlotState<M, S>>,
}

pub(super) struct SlotState<M, S> {
    pub(super) waiting: Option<Waiting<M, S>>,
    next_number: u64,
    pub(super) closed: bool,
    /// The function that runs.
    pub(super) current: &'static str,
}

pub(super) struct Waiting<M, S> {
    pub(super) number: u64,
    pub(super) function: Function<M, S>,
    pub(super) name: &'static str,
    pub(super) verdict: oneshot::Sender<Verdict>,
}

impl<M, S> Slot<M, S> {
    pub(super) fn new(function: &'static str) -> Self {
        let current = short(function);
        let state = SlotState { waiting: None, next_number: 0, closed: false, current };
        Self { offered: AtomicBool::new(false), state: Mutex::new(state) }
    }

    /// Puts an offer there, and gives its number; nothing if the task takes none any more.
    pub(super) fn put(
        &self,
        function: Function<M, S>,
        name: &'static str,
        verdict: oneshot::Sender<Verdict>,
    ) -> Option<u64> {
        let mut state = self.lock();
        if state.closed {
            return None;
        }
        let number = state.next_number;
        state.next_number += 1;
        let before = state.waiting.replace(Waiting { number, function, name, verdict });
        self.offered.store(true, Ordering::Release);
        drop(state);
        if let Some(before) = before {
            let _ = before.verdict.send(Verdict::Superseded);
        }
        Some(number)
    }

    /// Takes an offer back; whether the task had not looked at it.
    pub(super) fn withdraw(&self, number: u64) -> bool {
        let mut state = self.lock();
        let withdrawn = state.waiting.take_if(|waiting| waiting.number == number);
        drop(state);
        withdrawn.is_some()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, SlotState<M, S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

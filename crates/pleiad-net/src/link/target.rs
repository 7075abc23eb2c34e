use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use pleiad_proto::wire::LaneKind;
use pleiad_task::far::{self, Attached, Encoded, FarRefusal, FarTarget, How, Submission};
use pleiad_task::{ExitReason, WeakAnyTask};
use pleiad_types::limits::STREAM_MESSAGES_MAX;

use crate::link::Link;

/// A task of a peer, as long as something here refers to it.
pub(crate) struct Target {
    pub(crate) link: Arc<Link>,
    pub(crate) task: u64,
    pub(crate) name: Arc<str>,
    closed: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    bound: Vec<WeakAnyTask>,
    ended: Option<ExitReason>,
}

impl Target {
    pub(super) fn new(link: Arc<Link>, task: u64, name: Arc<str>) -> Arc<Self> {
        let (closed, state) = (AtomicBool::new(false), Mutex::default());
        Arc::new(Self { link, task, name, closed, state })
    }

    /// The task has ended: all that stand for it here end too.
    pub(super) fn end(&self, reason: &ExitReason) {
        let bound = {
            let mut state = self.state();
            state.ended.get_or_insert_with(|| reason.clone());
            std::mem::take(&mut state.bound)
        };
        for task in bound.iter().filter_map(WeakAnyTask::upgrade) {
            far::end(&task, reason.clone());
        }
    }

    /// One that stands for it here, if there is one, to be used again.
    pub(super) fn bound(&self) -> Option<pleiad_task::AnyTask> {
        self.state().bound.iter().find_map(WeakAnyTask::upgrade)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FarTarget for Target {
    fn send(&self, body: &[u8], attached: &mut Vec<Attached>, how: How) -> Result<(), FarRefusal> {
        if self.closed.load(Ordering::Acquire) {
            return Err(FarRefusal::Closed);
        }
        self.link.send(self.task, body, attached, how)
    }

    fn send_large(
        &self,
        body: &Bytes,
        attached: &mut Vec<Attached>,
        how: How,
    ) -> Result<(), FarRefusal> {
        if self.closed.load(Ordering::Acquire) {
            return Err(FarRefusal::Closed);
        }
        self.link.send_large(self.task, body, attached, how)
    }

    fn submit(&self, encoded: Encoded, how: How, acknowledged: bool) -> Submission {
        if self.closed.load(Ordering::Acquire) {
            return Box::pin(async move { Err((FarRefusal::Closed, encoded.attached)) });
        }
        Box::pin(self.link.clone().submit(self.task, encoded, how, acknowledged))
    }

    fn stop(&self, grace: Option<Duration>) {
        self.link.with_session(|session| session.stop(self.task, grace));
        self.link.flush_soon(LaneKind::Messages, false);
    }

    fn kill(&self) {
        self.link.with_session(|session| session.kill(self.task));
        self.link.flush_soon(LaneKind::Messages, false);
    }

    fn close(&self) {
        if !self.closed.swap(true, Ordering::AcqRel) {
            self.link.with_session(|session| session.close(self.task));
            self.link.flush_soon(LaneKind::Messages, false);
        }
    }

    fn unwanted(&self) {
        self.link.look_for_unwanted();
    }

    fn queued(&self) -> usize {
        let queued = self.link.with_session(|session| session.on_the_way(self.task));
        usize::try_from(queued).unwrap_or(usize::MAX)
    }

    fn capacity(&self) -> u32 {
        u32::try_from(STREAM_MESSAGES_MAX).unwrap_or(u32::MAX)
    }

    fn bind(&self, task: WeakAnyTask) {
        let ended = {
            let mut state = self.state();
            state.bound.retain(|known| known.upgrade().is_some());
            state.bound.push(task.clone());
            state.ended.clone()
        };
        if let Some((task, reason)) = task.upgrade().zip(ended) {
            far::end(&task, reason);
        }
    }

    fn deserted(&self) {
        let bound: Vec<_> = self.state().bound.iter().filter_map(WeakAnyTask::upgrade).collect();
        self.link.release_deserted(self.task, &bound);
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.link.forget_import(self.task);
    }
}

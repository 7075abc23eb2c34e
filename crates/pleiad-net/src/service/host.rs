//! The task that starts what peers ask for.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;

use pleiad_task::{Mailbox, Reply, Task, TaskBuilder};
use pleiad_types::limits::SERVICE_WAITING_MAX;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::message::Message;
use crate::service::request::{Request, Trouble};
use crate::service::serve::WhenBusy;

/// The function that is served, in the form that all have.
pub(super) type Function<A, R, M> = Arc<dyn Fn(A, Mailbox<M>) -> Work<R> + Send + Sync>;

/// It runs.
pub(super) type Work<R> = Pin<Box<dyn Future<Output = Result<R, String>> + Send>>;

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Serving,
    /// Nothing new is started.
    Stopping,
    /// What runs is ended.
    Terminating,
}

/// See the [module](self).
pub(super) struct Host<A, R, M> {
    pub(super) name: Arc<str>,
    pub(super) function: Function<A, R, M>,
    pub(super) at_once: usize,
    pub(super) when_busy: WhenBusy,
    pub(super) near: Handle,
    pub(super) phase: watch::Receiver<Phase>,
    /// One for each task that runs.
    running: JoinSet<()>,
    // Invariant: at most `SERVICE_WAITING_MAX`, and none while fewer than `at_once` run.
    waiting: VecDeque<Request<A, R, M>>,
}

impl<A: Message, R: Message, M: Message> Host<A, R, M> {
    pub(super) fn new(
        name: Arc<str>,
        function: Function<A, R, M>,
        (at_once, when_busy): (usize, WhenBusy),
        near: Handle,
        phase: watch::Receiver<Phase>,
    ) -> Self {
        let (running, waiting) = (JoinSet::new(), VecDeque::new());
        Self { name, function, at_once, when_busy, near, phase, running, waiting }
    }

    /// Until it is stopped, or nobody can ask for anything any more.
    pub(super) async fn run(mut self, mut mailbox: Mailbox<Request<A, R, M>>) {
        let mut phase = self.phase.clone();
        let stopping = reached(&mut phase, Phase::Stopping);
        tokio::pin!(stopping);
        loop {
            tokio::select! {
                biased;
                () = &mut stopping => break,
                Some(_) = self.running.join_next(), if !self.running.is_empty() => {
                    self.start_waiting();
                }
                request = mailbox.recv() => match request {
                    Some(request) => self.take(request),
                    None => break,
                },
            }
        }
        mailbox.close();
        self.waiting.drain(..).for_each(|request| request.end.send(Err(Trouble::Stopped)));
        while let Ok(request) = mailbox.try_recv() {
            request.end.send(Err(Trouble::Stopped));
        }
        while self.running.join_next().await.is_some() {}
    }

    fn take(&mut self, request: Request<A, R, M>) {
        if self.running.len() < self.at_once {
            return self.start(request);
        }
        if self.waiting.len() >= SERVICE_WAITING_MAX {
            self.waiting.retain(|waiting| waiting.end.is_wanted());
        }
        if self.when_busy == WhenBusy::Refuse || self.waiting.len() >= SERVICE_WAITING_MAX {
            let (running, waiting) = (self.running.len() as u64, self.waiting.len() as u64);
            return request.end.send(Err(Trouble::Busy { running, waiting }));
        }
        self.waiting.push_back(request);
    }

    fn start_waiting(&mut self) {
        while self.running.len() < self.at_once
            && let Some(request) = self.waiting.pop_front()
        {
            self.start(request);
        }
    }

    fn start(&mut self, request: Request<A, R, M>) {
        let Request { args, started, end } = request;
        if !end.is_wanted() {
            return;
        }
        let function = self.function.clone();
        let builder = TaskBuilder::new().name(self.name.clone()).on(&self.near);
        let task = builder.try_spawn(move |mailbox| function(args, mailbox));
        if let Some(started) = started {
            started.send((*task).clone());
        }
        self.running.spawn_on(attend(task, end, self.phase.clone()), &self.near);
    }
}

/// Gives the result to whoever waits for it; ends the task when nobody does.
async fn attend<R: Message, M: Message>(
    task: Task<M, R>,
    mut end: Reply<Result<R, Trouble>>,
    mut phase: watch::Receiver<Phase>,
) {
    let any = task.any();
    let mut join = task.join();
    let result = tokio::select! {
        biased;
        result = &mut join => result,
        () = end.unwanted() => {
            any.terminate();
            let _ = join.await;
            return;
        }
        () = reached(&mut phase, Phase::Terminating) => {
            any.terminate();
            join.await
        }
    };
    end.send(result.map_err(|exit| Trouble::of(&exit)));
}

/// Waits until it is so far. If there is no handle any more, it never will be.
async fn reached(phase: &mut watch::Receiver<Phase>, wanted: Phase) {
    if phase.wait_for(|phase| *phase >= wanted).await.is_err() {
        std::future::pending::<()>().await;
    }
}

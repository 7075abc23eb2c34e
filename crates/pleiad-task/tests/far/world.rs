//! Nodes of one process, and links between them that are calls. Only messages are really bytes.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use pleiad_task::far::{
    self, Accepted, Answerer, Arrival, Arrived, Attached, Encoded, FarRefusal, FarTarget, FarTask,
    How, Inlet, Pending, Reference, Refused, Stopped, Submission, Unanswered,
};
use pleiad_task::{NodeId, TaskId, TaskRef, WeakAnyTask};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;

/// A process that takes part. Which tasks are its own is said when one is [exported](Node::export).
#[derive(Clone)]
pub(crate) struct Node(Arc<Inner>);

struct Inner {
    id: NodeId,
    name: &'static str,
    /// Tasks of others to which there are references here.
    imports: Mutex<HashMap<TaskId, Arc<Path>>>,
}

/// The way from a node to a task of another.
pub(crate) struct Path {
    from: Node,
    to: Node,
    inlet: Arc<dyn Inlet>,
    bound: Mutex<Vec<WeakAnyTask>>,
    /// What the way does with the next messages.
    refusal: Mutex<Option<FarRefusal>>,
    changed: Notify,
    /// Whether an acknowledgement ever comes.
    acknowledges: Mutex<bool>,
    /// What has come, and has no room.
    waiting: Mutex<VecDeque<Arrival>>,
    pub(crate) accepted: Mutex<Vec<Accepted>>,
    pub(crate) sent: Mutex<Vec<How>>,
    pub(crate) said: Mutex<Vec<String>>,
    pub(crate) deserted: AtomicUsize,
}

impl Node {
    pub(crate) fn new(number: u64, name: &'static str) -> Self {
        Self(Arc::new(Inner { id: NodeId(number), name, imports: Mutex::default() }))
    }

    /// A reference, for `to`, to a task of this node.
    pub(crate) fn export<M>(&self, task: &TaskRef<M>, to: &Self) -> TaskRef<M>
    where
        M: Serialize + DeserializeOwned + Send + 'static,
    {
        far::reference(self.far_task(far::inlet(task), to))
    }

    /// As [`export`](Self::export), with the way there.
    pub(crate) fn export_with_path<M>(
        &self,
        task: &TaskRef<M>,
        to: &Self,
    ) -> (TaskRef<M>, Arc<Path>)
    where
        M: Serialize + DeserializeOwned + Send + 'static,
    {
        let reference = self.export(task, to);
        let path = lock(&to.0.imports)[&reference.id()].clone();
        (reference, path)
    }

    fn far_task(&self, inlet: Arc<dyn Inlet>, to: &Self) -> FarTask {
        let identity = inlet.any().identity();
        let id = far::task_id(self.0.id, identity.id().number()).expect("neither is 0");
        let mut imports = lock(&to.0.imports);
        let path = imports.entry(id).or_insert_with(|| Path::new(to, self, inlet)).clone();
        let known = lock(&path.bound).iter().find_map(WeakAnyTask::upgrade);
        FarTask {
            id,
            name: identity.name().into(),
            node_name: self.0.name.into(),
            target: path,
            known: known.map(|task| far::hold(&task)),
        }
    }
}

/// What leaves one node, as it comes to another.
fn carry(attached: Vec<Attached>, from: &Node, to: &Node) -> Vec<Arrived> {
    let carried = attached.into_iter().map(|attached| match attached {
        Attached::Task(Reference::Here(inlet)) => {
            Arrived::Task(Reference::Far(from.far_task(inlet, to)))
        }
        Attached::Task(Reference::Far(task)) => {
            let target: Arc<dyn std::any::Any + Send + Sync> = task.target;
            let path = target.downcast::<Path>().expect("all are paths");
            if path.to.0.id == to.0.id {
                Arrived::Task(Reference::Here(path.inlet.clone()))
            } else {
                Arrived::Task(Reference::Far(path.to.far_task(path.inlet.clone(), to)))
            }
        }
        Attached::Reply(pending) => {
            Arrived::Reply(Box::new(Back { pending, from: to.clone(), to: from.clone() }))
        }
    });
    carried.collect()
}

impl Path {
    fn new(from: &Node, to: &Node, inlet: Arc<dyn Inlet>) -> Arc<Self> {
        Arc::new(Self {
            from: from.clone(),
            to: to.clone(),
            inlet,
            bound: Mutex::default(),
            refusal: Mutex::default(),
            changed: Notify::new(),
            acknowledges: Mutex::new(true),
            waiting: Mutex::default(),
            accepted: Mutex::default(),
            sent: Mutex::default(),
            said: Mutex::default(),
            deserted: AtomicUsize::new(0),
        })
    }

    pub(crate) fn refuse(&self, refusal: Option<FarRefusal>) {
        *lock(&self.refusal) = refusal;
        self.changed.notify_waiters();
    }

    pub(crate) fn never_acknowledge(&self) {
        *lock(&self.acknowledges) = false;
    }

    /// The messages that had no room come in, as far as there is some.
    pub(crate) fn pump(&self) {
        let mut waiting = std::mem::take(&mut *lock(&self.waiting));
        let accepted = self.inlet.accept(&mut waiting);
        let closed = accepted.stopped == Some(Stopped::Closed);
        lock(&self.accepted).push(accepted);
        if closed {
            waiting.drain(..).for_each(|arrival| arrival.refuse(&Unanswered::Closed));
        }
        let mut kept = lock(&self.waiting);
        waiting.append(&mut kept);
        *kept = waiting;
    }

    pub(crate) fn end(&self, reason: &pleiad_task::ExitReason) -> Vec<bool> {
        let tasks: Vec<_> = lock(&self.bound).iter().filter_map(WeakAnyTask::upgrade).collect();
        tasks.iter().map(|task| far::end(task, reason.clone())).collect()
    }

    fn check(&self) -> Result<(), FarRefusal> {
        lock(&self.refusal).clone().map_or(Ok(()), Err)
    }

    fn arrival(&self, body: &[u8], attached: Vec<Attached>, how: How) -> Arrival {
        lock(&self.sent).push(how);
        Arrival::new(body.to_vec().into(), carry(attached, &self.from, &self.to), how)
    }
}

impl FarTarget for Path {
    fn send(&self, body: &[u8], attached: &mut Vec<Attached>, how: How) -> Result<(), FarRefusal> {
        self.check()?;
        let arrival = self.arrival(body, std::mem::take(attached), how);
        lock(&self.waiting).push_back(arrival);
        self.pump();
        Ok(())
    }

    fn submit(&self, encoded: Encoded, how: How, acknowledged: bool) -> Submission {
        let path = lock(&self.from.0.imports)
            .values()
            .find(|path| std::ptr::eq(&raw const ***path, self))
            .expect("it is one of these")
            .clone();
        Box::pin(async move {
            let Encoded { body, attached } = encoded;
            while let Err(refusal) = path.check() {
                if refusal != FarRefusal::Full {
                    return Err((refusal, attached));
                }
                path.changed.notified().await;
            }
            if !acknowledged {
                let mut attached = attached;
                return path.send(&body, &mut attached, how).map_err(|refusal| (refusal, attached));
            }
            let arrival = path.arrival(&body, attached, how);
            let delivered = path.inlet.deliver(arrival).await;
            if !*lock(&path.acknowledges) {
                std::future::pending::<()>().await;
            }
            delivered.map_err(|refused| {
                let refusal = match refused {
                    Refused::Full => FarRefusal::Full,
                    Refused::Closed => FarRefusal::Closed,
                    Refused::Undecodable(why) => FarRefusal::Unsendable(why),
                    Refused::Lost(peer) => FarRefusal::Lost(peer),
                };
                (refusal, Vec::new())
            })
        })
    }

    fn stop(&self, grace: Option<Duration>) {
        lock(&self.said).push(format!("stop {grace:?}"));
    }

    fn kill(&self) {
        lock(&self.said).push("kill".to_owned());
        self.inlet.any().kill();
    }

    fn close(&self) {
        lock(&self.said).push("close".to_owned());
        self.refuse(Some(FarRefusal::Closed));
    }

    fn queued(&self) -> usize {
        lock(&self.waiting).len()
    }

    fn capacity(&self) -> u32 {
        7
    }

    fn bind(&self, task: WeakAnyTask) {
        lock(&self.bound).push(task.clone());
        far::monitor(&self.inlet.any(), move |exit| {
            if let Some(task) = task.upgrade() {
                far::end(&task, exit.reason);
            }
        });
    }

    fn deserted(&self) {
        let tasks: Vec<_> = lock(&self.bound).iter().filter_map(WeakAnyTask::upgrade).collect();
        if tasks.iter().all(far::is_deserted) {
            self.deserted.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// The way back of an answer.
struct Back {
    pending: Box<dyn Pending>,
    from: Node,
    to: Node,
}

impl Answerer for Back {
    fn answer(self: Box<Self>, encoded: Encoded) {
        self.pending.answer(&encoded.body, carry(encoded.attached, &self.from, &self.to));
    }

    fn fail(self: Box<Self>, why: Unanswered) {
        // As on the way, where a task is named by its node and its number.
        let why = match why {
            Unanswered::Unread(by) if by.node().is_none() => {
                Unanswered::Unread(far::task_id(self.from.0.id, by.number()).expect("neither is 0"))
            }
            other => other,
        };
        self.pending.fail(why);
    }

    fn is_wanted(&self) -> bool {
        self.pending.is_wanted()
    }

    fn poll_unwanted(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.pending.poll_unwanted(cx)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics")
}

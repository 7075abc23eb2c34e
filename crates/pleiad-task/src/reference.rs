use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::any::{AnyTask, Ended};
use crate::ask::Ask;
use crate::cell::{AnyCell, TaskCell};
use crate::exit::Exit;
use crate::identity::{Identity, TaskId};
use crate::monitor::{Monitor, MonitorError};
use crate::queue::{Refusal, bits};
use crate::recipient::Recipient;
use crate::reply::Reply;
use crate::send::{Deliver, SendError};

/// A reference to a task that takes messages of the type `M`.
///
/// Cheap to clone, compare and hash; may be a part of messages; prints as `counter/12`. It stays
/// valid when the task has ended: what is sent then comes back as an error.
///
/// As long as there is a reference, the task's mailbox is open. When the last is dropped, the task
/// gets what is still in its mailbox, and then `None`. Timers do not count; names, channels to
/// which the task is subscribed, and tasks that it monitors, do. See [`WeakTaskRef`].
///
/// Messages of one sender to one task arrive in the order in which they were sent, at most once.
///
/// The task may be one of another node: then it prints as `counter/12@shop`, and what it is sent
/// travels there; a message may be lost with the node, or with the way there. All else is as here,
/// unless it is said.
pub struct TaskRef<M> {
    pub(crate) cell: Arc<TaskCell<M>>,
}

/// A reference that does not keep the mailbox open.
pub struct WeakTaskRef<M> {
    cell: Weak<TaskCell<M>>,
}

impl<M: Send + 'static> TaskRef<M> {
    /// Puts `message` into the mailbox, without ever waiting.
    ///
    /// `Ok` says that it is taken: it is in the mailbox of a task of this process, or will be sent to
    /// that of another node. It does not say that it has been or will be read.
    ///
    /// # Errors
    ///
    /// [`SendError::Full`] and [`SendError::Closed`]; for a task of another node, also
    /// [`SendError::Lost`] and [`SendError::Unsendable`]; `Full` is then of the way there. The message
    /// comes back.
    #[inline]
    pub fn send(&self, message: M) -> Result<(), SendError<M>> {
        self.cell.queue.push(message).map_err(|(refusal, message)| self.refused(refusal, message))
    }

    /// Puts `message` into the mailbox before all that are not urgent: to interrupt a task that has
    /// much to do. Urgent messages are in order among themselves; there is room for as many as the
    /// mailbox has for others.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send).
    pub fn send_urgent(&self, message: M) -> Result<(), SendError<M>> {
        let sent = self.cell.queue.push_urgent(message);
        sent.map_err(|(refusal, message)| self.refused(refusal, message))
    }

    /// Puts `message` into the mailbox, and waits for room if there is none. Of a task of another node:
    /// waits until it is in the mailbox there.
    ///
    /// Who waits first, goes first; as long as one waits, [`send`](Self::send) finds the mailbox
    /// full. Default: waits as long as the task takes messages; see [`Deliver::timeout`]. A task that
    /// waits for room in its own mailbox, and does nothing else meanwhile, waits for ever.
    ///
    /// # Errors
    ///
    /// [`DeliverError::Closed`](crate::DeliverError::Closed), and with a time-out
    /// [`DeliverError::TimedOut`](crate::DeliverError::TimedOut); for a task of another node, see
    /// [`DeliverError`](crate::DeliverError). The message comes back.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it is ready, the message is dropped too, unless it has got in
    /// since the last poll: room is given to those who wait without asking them again. A
    /// [time-out](Deliver::timeout) says which it was.
    pub fn deliver(&self, message: M) -> Deliver<'_, M> {
        Deliver::new(self, message)
    }

    /// Asks a question and waits for the answer: `question` makes a message of the place where the
    /// answer goes.
    ///
    /// Waits for room in the mailbox, then for the answer. The wait ends at once when the task ends,
    /// or drops the question. Default: no other limit; see [`Ask::timeout`]. A task that asks itself,
    /// or two that ask each other, and do nothing else meanwhile, wait for ever.
    ///
    /// ```
    /// # use pleiad_task::{Mailbox, Reply, spawn};
    /// enum Count {
    ///     Add(u64),
    ///     Get(Reply<u64>),
    /// }
    ///
    /// async fn counter(mut mailbox: Mailbox<Count>) {
    ///     let mut n = 0;
    ///     while let Some(message) = mailbox.recv().await {
    ///         match message {
    ///             Count::Add(k) => n += k,
    ///             Count::Get(reply) => reply.send(n),
    ///         }
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let task = spawn(counter);
    /// task.send(Count::Add(2))?;
    /// assert_eq!(task.ask(Count::Get).await?, 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// See [`AskError`](crate::AskError).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the question may or may not have been asked; the answer is dropped.
    pub fn ask<T: Send + 'static>(&self, question: impl FnOnce(Reply<T>) -> M) -> Ask<'_, M, T> {
        Ask::new(self, question)
    }

    /// Tells this task of the end of `other`: `message` makes a message of it.
    ///
    /// It arrives exactly once, with the true reason, also if `other` has ended before, and after
    /// every message that `other` has sent to this task; unless this task ends or is
    /// [closed](Self::close) first. It needs no room in the mailbox. Until then, this task's mailbox
    /// stays open. Each call is a monitor of its own. `message` runs in `other`, at its end.
    ///
    /// # Errors
    ///
    /// [`MonitorError::Itself`] if `other` is this task; [`MonitorError::Closed`] if this task takes
    /// no more messages.
    pub fn monitor<N: Send + 'static>(
        &self,
        other: &TaskRef<N>,
        message: impl FnOnce(Exit) -> M + Send + 'static,
    ) -> Result<Monitor, MonitorError> {
        Monitor::new(self, other.cell.clone(), message)
    }

    /// Tells `monitor` of the end of this task: [`monitor`](Self::monitor), from the other side.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn notify<N: Send + 'static>(
        &self,
        monitor: &TaskRef<N>,
        message: impl FnOnce(Exit) -> N + Send + 'static,
    ) -> Result<Monitor, MonitorError> {
        monitor.monitor(self, message)
    }

    /// Waits until the task has ended, and gives how. Ready at once if it has.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time.
    pub fn ended(&self) -> Ended {
        Ended::new(self.cell.clone())
    }

    /// How the task has ended; `None` as long as it lives, as far as is known here.
    pub fn exit(&self) -> Option<Exit> {
        self.cell.exit()
    }

    /// Whether the task has not ended, as far as is known here.
    pub fn is_alive(&self) -> bool {
        self.cell.queue.attention() & bits::ENDED == 0
    }

    /// Has the task end when it has read what is in its mailbox: nothing more is accepted, not even the
    /// ends of tasks that it monitors, and after the last message it gets `None`. For all who have a
    /// reference, and for good. Does not wait; see [`ended`](Self::ended).
    pub fn close(&self) {
        self.cell.queue.close();
    }

    /// Asks the task to stop. Does not wait; see [`ended`](Self::ended).
    ///
    /// (To have it read what is there first, [`close`](Self::close) it.)
    ///
    /// The task gets `None` from its mailbox at once, before what is still in there (it may still
    /// read that by [`try_recv`](crate::Mailbox::try_recv)); [`Mailbox::stopping`] is ready. It may
    /// then send results and clean up, and await while it does. When its grace is over (default:
    /// [`STOP_GRACE`](pleiad_types::limits::STOP_GRACE), see
    /// [`TaskBuilder::grace`](crate::TaskBuilder::grace)), it is dropped at the await where it is. A
    /// task that has no mailbox, or has dropped it, cannot see this: it is dropped at once.
    ///
    /// However it then ends, the reason is what happened: returned, if it still returned, else
    /// terminated. A task that does not await cannot be ended by anybody, and the end of `main` waits
    /// for it too: tokio's `Runtime::shutdown_background` leaves it behind.
    ///
    /// [`Mailbox::stopping`]: crate::Mailbox::stopping
    pub fn terminate(&self) {
        self.cell.stop(None);
    }

    /// As [`terminate`](Self::terminate), with this grace instead of the task's own. If the task has
    /// been asked before, with another grace, this one counts, from now on.
    pub fn terminate_within(&self, grace: Duration) {
        self.cell.stop(Some(grace));
    }

    /// Drops the task at its next await, or where it waits, without asking.
    pub fn kill(&self) {
        self.cell.kill();
    }

    /// Whether the program's end waits for this task: see [`join_all`](crate::join_all). It never waits
    /// for one of another node.
    pub fn set_daemon(&self, daemon: bool) {
        self.cell.set_daemon(daemon);
    }

    /// A place to send values of another type to, of which `message` makes messages: for senders
    /// that know only a part of what this task takes.
    ///
    /// ```
    /// # use pleiad_task::{Mailbox, Recipient, spawn};
    /// enum Input {
    ///     Line(String),
    ///     Tick(u64),
    /// }
    ///
    /// fn clock(ticks: &Recipient<u64>) {
    ///     ticks.send(1).expect("there is room");
    /// }
    ///
    /// # async fn screen(mut mailbox: Mailbox<Input>) {
    /// #     assert!(matches!(mailbox.recv().await, Some(Input::Tick(1))));
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let task = spawn(screen);
    /// clock(&task.recipient(Input::Tick));
    /// # task.await.unwrap();
    /// # }
    /// ```
    pub fn recipient<T: Send + 'static>(
        &self,
        message: impl Fn(T) -> M + Send + Sync + 'static,
    ) -> Recipient<T> {
        Recipient::new(self.clone(), message)
    }

    /// Gives the task a name, by which it is [located](Self::locate) in this process until it ends.
    /// It may have several. The name keeps its mailbox open.
    ///
    /// # Errors
    ///
    /// [`NameTaken`](crate::NameTaken) if a task or channel has the name.
    pub fn register(&self, name: &str) -> Result<(), crate::NameTaken> {
        crate::names::register(name, self)
    }

    /// Takes the name away again. Whether it had it.
    pub fn unregister(&self, name: &str) -> bool {
        let known = self.cell.queue.life_mut(|life, _| {
            let index = life.registered.iter().position(|known| **known == *name)?;
            Some(life.registered.swap_remove(index))
        });
        known.is_some() && crate::names::forget(name, self.id())
    }

    /// The task of this name.
    ///
    /// # Errors
    ///
    /// [`FindError`](crate::FindError): nothing has the name, or what has it takes other messages.
    pub fn find(name: &str) -> Result<Self, crate::FindError> {
        crate::names::find(name)
    }

    /// As [`find`](Self::find), but waits until the name appears. See
    /// [`Locate::timeout`](crate::Locate::timeout).
    pub fn locate(name: &str) -> crate::Locate<Self> {
        crate::Locate::new(name)
    }

    /// This task, without what it takes.
    pub fn any(&self) -> AnyTask {
        AnyTask::new(self.cell.clone())
    }

    #[cold]
    fn refused(&self, refusal: Refusal, message: M) -> SendError<M> {
        let task = self.identity();
        match refusal {
            Refusal::Closed => SendError::Closed { task, message },
            Refusal::Full => {
                SendError::Full { task, capacity: self.cell.queue.capacity(), message }
            }
            #[cfg(feature = "far")]
            Refusal::Lost => SendError::Lost { task, peer: crate::far::refusal_detail(), message },
            #[cfg(feature = "far")]
            Refusal::Unsendable => {
                SendError::Unsendable { task, why: crate::far::refusal_detail(), message }
            }
        }
    }
}

impl<M> TaskRef<M> {
    /// For a cell that counts a sender more already.
    pub(crate) fn adopt(cell: Arc<TaskCell<M>>) -> Self {
        Self { cell }
    }

    /// The task's number.
    pub fn id(&self) -> TaskId {
        self.cell.id()
    }

    /// The task's number and name.
    pub fn identity(&self) -> Identity {
        self.cell.identity()
    }

    /// Messages in the mailbox that have not been read, as far as is known here: of a task of another
    /// node, those on their way. A moment later it may be another number.
    pub fn queued(&self) -> usize {
        self.cell.queue.len()
    }

    /// A reference that does not keep the mailbox open.
    pub fn downgrade(&self) -> WeakTaskRef<M> {
        WeakTaskRef { cell: Arc::downgrade(&self.cell) }
    }
}

impl<M> WeakTaskRef<M> {
    #[cfg(feature = "far")]
    pub(crate) fn cell(&self) -> Option<Arc<TaskCell<M>>> {
        self.cell.upgrade()
    }

    /// A reference, if the mailbox is still kept open by one, and nobody has closed it.
    pub fn upgrade(&self) -> Option<TaskRef<M>> {
        let cell = self.cell.upgrade()?;
        cell.queue.add_sender_if_any().then(|| TaskRef::adopt(cell))
    }
}

impl<M> Clone for TaskRef<M> {
    fn clone(&self) -> Self {
        self.cell.queue.add_sender();
        Self { cell: self.cell.clone() }
    }
}

impl<M> Drop for TaskRef<M> {
    fn drop(&mut self) {
        self.cell.queue.remove_sender();
    }
}

impl<M> PartialEq for TaskRef<M> {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

impl<M> Eq for TaskRef<M> {}

impl<M> Hash for TaskRef<M> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id().hash(state);
    }
}

impl<M> fmt::Display for TaskRef<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.identity(), f)
    }
}

impl<M> fmt::Debug for TaskRef<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<M> Clone for WeakTaskRef<M> {
    fn clone(&self) -> Self {
        Self { cell: self.cell.clone() }
    }
}

impl<M> fmt::Debug for WeakTaskRef<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cell.upgrade() {
            Some(cell) => write!(f, "weak {}", cell.identity()),
            None => f.write_str("weak (a task that has ended)"),
        }
    }
}

const _: () = {
    // A million idle tasks fit into 400 MB only if this stays as small as it is.
    #[cfg(not(pleiad_loom))]
    assert!(size_of::<TaskCell<u64>>() <= 88);
    const fn is_any<T: AnyCell>() {}
    is_any::<TaskCell<u64>>();
};

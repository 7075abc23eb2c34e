use std::fmt;
use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pleiad_task::{Exit, NoMessage, TaskId, TaskRef};
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::message::Message;
use crate::service::error::{CallError, Place};
use crate::service::request::Request;
use crate::service::started::Start;

/// A service that was found, on this node or another: to [call](Self::call) its function, or to
/// [start](Self::start) it as a task. Cheap to clone; prints as `words@shop`.
///
/// # What ends with it
///
/// Tasks that were started by it end when it is [closed](Self::close), or when all handles of it and of
/// these tasks are dropped, or when this node closes or is lost: they are
/// [asked to stop](TaskRef::terminate), and have their grace. So nothing is left behind on other nodes.
pub struct RemoteService<A, R, M = NoMessage> {
    inner: Arc<Inner<A, R, M>>,
}

pub(super) struct Inner<A, R, M> {
    pub(super) host: TaskRef<Request<A, R, M>>,
    pub(super) place: Place,
    pub(super) near: Handle,
    /// Whether it is closed.
    pub(super) closing: watch::Sender<bool>,
    watchers: Mutex<Vec<Watcher<M>>>,
}

/// Has the end of a task told to somebody. Whether it is still to be.
type Watcher<M> = Arc<dyn Fn(&TaskRef<M>) -> bool + Send + Sync>;

impl<A: Message, R: Message, M: Message> RemoteService<A, R, M> {
    pub(super) fn new(name: &'static str, host: TaskRef<Request<A, R, M>>, near: Handle) -> Self {
        let identity = host.identity();
        let here = format!("{}/{}", identity.name(), identity.id().number());
        let whole = identity.to_string();
        let at = whole.strip_prefix(&here).unwrap_or_default().to_owned();
        let place = Place { service: name, at };
        let (closing, watchers) = (watch::Sender::new(false), Mutex::default());
        Self { inner: Arc::new(Inner { host, place, near, closing, watchers }) }
    }

    /// Starts the function with these arguments as a task of the node that serves it, as many as are
    /// wanted: see [`RemoteTask`](crate::RemoteTask). If too many run, it waits for its turn, or is refused;
    /// that is the choice of the [service](crate::Serve::when_busy).
    ///
    /// # Errors
    ///
    /// See [`CallError`].
    ///
    /// # Cancel safety
    ///
    /// If it is dropped, the task is not started, or ended.
    pub fn start(&self, args: A) -> Start<'_, A, R, M> {
        Start::new(&self.inner, args)
    }

    /// Tells a task of the end of every task that is [started](Self::start) from now on: `message` makes a
    /// message of it. As long as the task lives, and the service is not closed, its mailbox stays open.
    ///
    /// A failure comes with its text; tasks that are lost with their node are told as that. See
    /// [`TaskRef::monitor`].
    pub fn monitor<N: Send + 'static>(
        &self,
        task: &TaskRef<N>,
        message: impl Fn(Exit) -> N + Send + Sync + 'static,
    ) {
        let (task, message) = (task.clone(), Arc::new(message));
        let watcher: Watcher<M> = Arc::new(move |started: &TaskRef<M>| {
            let message = message.clone();
            task.monitor(started, move |exit| message(exit)).is_ok()
        });
        self.inner.watchers.lock().unwrap_or_else(PoisonError::into_inner).push(watcher);
    }

    /// Ends everything that was started or called by it and still runs, and makes it unusable, for all who
    /// have it.
    pub fn close(&self) {
        self.inner.closing.send_replace(true);
        let lock = || self.inner.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        let watchers = std::mem::take(&mut *lock());
        drop(watchers);
    }

    /// The task that stands for it: its node is that of the service, see
    /// [`Node::peer_of`](crate::Node::peer_of).
    pub fn id(&self) -> TaskId {
        self.inner.host.id()
    }

    /// Whether it is served, as far as is known here, and not closed.
    pub fn is_available(&self) -> bool {
        self.inner.host.is_alive() && !*self.inner.closing.borrow()
    }

    /// Waits until it is not served any more, and nothing of it runs, or until its node is lost.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time.
    pub async fn ended(&self) {
        self.inner.host.ended().await;
    }
}

impl<A: Message, R: Message> RemoteService<A, R> {
    /// Calls the function with these arguments, and waits for its result. Default: no time limit; but the
    /// wait ends with the node that serves it.
    ///
    /// # Errors
    ///
    /// See [`CallError`]. A panic of the function, or the error that it has returned, comes as
    /// [`CallError::Failed`].
    ///
    /// # Cancel safety
    ///
    /// If it is dropped, the function is not called, or is dropped at the await where it is.
    pub fn call(&self, args: A) -> Call<'_, A, R> {
        Call { inner: &self.inner, args, timeout: None }
    }
}

impl<A, R, M: Message> Inner<A, R, M> {
    /// Has the end of a task told to all who want to know.
    pub(super) fn watch(&self, task: &TaskRef<M>) {
        let lock = || self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        // The task may have ended, and their functions run at once.
        let watchers = lock().clone();
        let over: Vec<_> = watchers.into_iter().filter(|watcher| !watcher(task)).collect();
        if !over.is_empty() {
            lock().retain(|known| !over.iter().any(|over| Arc::ptr_eq(known, over)));
        }
    }

    /// Does it in time, and as long as the service is not closed.
    pub(super) async fn limit<T>(
        &self,
        timeout: Option<Duration>,
        work: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        let mut closing = self.closing.subscribe();
        let late = async {
            match timeout {
                None => std::future::pending().await,
                Some(after) => {
                    tokio::time::sleep(after).await;
                    CallError::TimedOut { service: self.place.service(), after }
                }
            }
        };
        tokio::select! {
            biased;
            _ = closing.wait_for(|closing| *closing) => Err(CallError::Closed(self.place.service())),
            result = work => result,
            error = late => Err(error),
        }
    }
}

/// A call on its way: see [`RemoteService::call`].
#[must_use = "the function is called when this is awaited"]
pub struct Call<'a, A, R> {
    inner: &'a Inner<A, R, NoMessage>,
    args: A,
    timeout: Option<Duration>,
}

impl<A: Message, R: Message> Call<'_, A, R> {
    /// Gives up after so long, and ends what runs. Default: never.
    pub fn timeout(mut self, after: Duration) -> Self {
        self.timeout = Some(after);
        self
    }

    async fn call(self) -> Result<R, CallError> {
        let Self { inner, args, timeout } = self;
        let call = async {
            match inner.host.ask(|end| Request { args, started: None, end }).await {
                Ok(Ok(result)) => Ok(result),
                Ok(Err(trouble)) => Err(inner.place.troubled(trouble)),
                Err(error) => Err(inner.place.unasked(error)),
            }
        };
        inner.limit(timeout, call).await
    }
}

impl<'a, A: Message, R: Message> IntoFuture for Call<'a, A, R> {
    type Output = Result<R, CallError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.call())
    }
}

impl<A, R> fmt::Debug for Call<'_, A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "call of {}", self.inner.place.service())
    }
}

impl<A, R, M> Clone for RemoteService<A, R, M> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<A, R, M> fmt::Display for RemoteService<A, R, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.place.service())
    }
}

impl<A, R, M> fmt::Debug for RemoteService<A, R, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "service {self}")
    }
}

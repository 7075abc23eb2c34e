use std::any::Any;
use std::fmt;
use std::future::IntoFuture;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use pleiad_task::far::{self, Answered};
use pleiad_task::{NoMessage, TaskRef};
use tokio::sync::{oneshot, watch};

use crate::message::Message;
use crate::service::error::{CallError, Place};
use crate::service::remote::Inner;
use crate::service::request::{Request, Trouble};

/// A task that a service runs for us: a [`TaskRef`], and the result to come.
///
/// Awaiting it gives what its function has returned, or how it ended instead. It gives its reference back
/// first: a task that nobody else can send to then gets `None` from its mailbox.
///
/// Dropping it does not end the task, as long as there is a handle of the
/// [service](crate::RemoteService) or of another task of it; its result is lost. See
/// [`TaskRef::terminate`].
#[must_use = "if this is dropped, so is the result"]
pub struct RemoteTask<R, M = NoMessage> {
    task: TaskRef<M>,
    result: oneshot::Receiver<Result<R, CallError>>,
    closed: CallError,
    /// Keeps the service open.
    service: Arc<dyn Any + Send + Sync>,
}

impl<R, M> Deref for RemoteTask<R, M> {
    type Target = TaskRef<M>;

    fn deref(&self) -> &TaskRef<M> {
        &self.task
    }
}

impl<R: Message, M: Message> IntoFuture for RemoteTask<R, M> {
    type Output = Result<R, CallError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { task, result, closed, service } = self;
        drop(task);
        Box::pin(async move {
            let result = result.await.unwrap_or(Err(closed));
            drop(service);
            result
        })
    }
}

/// A task on its way: see [`RemoteService::start`](crate::RemoteService::start).
#[must_use = "the task is started when this is awaited"]
pub struct Start<'a, A, R, M> {
    inner: &'a Arc<Inner<A, R, M>>,
    args: A,
    timeout: Option<Duration>,
}

impl<'a, A: Message, R: Message, M: Message> Start<'a, A, R, M> {
    pub(super) fn new(inner: &'a Arc<Inner<A, R, M>>, args: A) -> Self {
        Self { inner, args, timeout: None }
    }

    /// Gives up after so long; if it comes to be started, it is ended. The task itself may run as long as
    /// it wants. Default: never.
    pub fn timeout(mut self, after: Duration) -> Self {
        self.timeout = Some(after);
        self
    }

    async fn start(self) -> Result<RemoteTask<R, M>, CallError> {
        let Self { inner, args, timeout } = self;
        let start = async {
            let (end, ended) = far::reply(&inner.host);
            let question = |started| Request { args, started: Some(started), end };
            match inner.host.ask(question).await {
                Ok(task) => Ok((task, ended)),
                Err(pleiad_task::AskError::Unanswered(_)) => Err(match ended.await {
                    Ok(Err(trouble)) => inner.place.troubled(trouble),
                    Ok(Ok(_)) => CallError::Stopped(inner.place.service()),
                    Err(why) => inner.place.unanswered(why),
                }),
                Err(error) => Err(inner.place.unasked(error)),
            }
        };
        let (task, ended) = inner.limit(timeout, start).await?;
        inner.watch(&task);
        let (tell, result) = oneshot::channel();
        let closing = inner.closing.subscribe();
        inner.near.spawn(keep(ended, tell, closing, inner.place.clone()));
        let closed = CallError::Closed(inner.place.service());
        Ok(RemoteTask { task, result, closed, service: inner.clone() })
    }
}

/// Waits for the result of a task, as long as the service is not closed: if nobody waits for it, the task
/// is ended where it runs.
async fn keep<A: Message, R: Message, M: Message>(
    ended: Answered<Request<A, R, M>, Result<R, Trouble>>,
    tell: oneshot::Sender<Result<R, CallError>>,
    mut closing: watch::Receiver<bool>,
    place: Place,
) {
    tokio::select! {
        biased;
        answer = ended => {
            let _ = tell.send(match answer {
                Ok(Ok(result)) => Ok(result),
                Ok(Err(trouble)) => Err(place.troubled(trouble)),
                Err(why) => Err(place.unanswered(why)),
            });
        }
        // Or there is no handle any more.
        _ = closing.wait_for(|closing| *closing) => (),
    }
}

impl<'a, A: Message, R: Message, M: Message> IntoFuture for Start<'a, A, R, M> {
    type Output = Result<RemoteTask<R, M>, CallError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.start())
    }
}

impl<A, R, M> fmt::Debug for Start<'_, A, R, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "start of {}", self.inner.place.service())
    }
}

impl<R, M> fmt::Display for RemoteTask<R, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.task, f)
    }
}

impl<R, M> fmt::Debug for RemoteTask<R, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

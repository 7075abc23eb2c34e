use std::fmt;
use std::future::{IntoFuture, Ready, ready};
use std::sync::{Arc, Weak};

use pleiad_task::{AnyTask, Mailbox, NoMessage, TaskBuilder, WeakTaskRef};
use pleiad_types::limits::SERVICE_RUNNING;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::error::RegisterError;
use crate::kind::Kind;
use crate::mesh::Mesh;
use crate::message::Message;
use crate::registry::Offer;
use crate::service::Service;
use crate::service::error::CallError;
use crate::service::host::{Function, Host, Phase};
use crate::service::remote::RemoteService;
use crate::service::request::Request;
use crate::system::json::{self, Json, JsonCall};
use crate::system::wire::Refusal;

/// Gives a service its function: see [`Node::serve`](crate::Node::serve).
#[must_use = "it is served when this is awaited"]
pub struct Serve<A, R, M> {
    mesh: Arc<Mesh>,
    name: &'static str,
    function: Function<A, R, M>,
    at_once: usize,
    when_busy: WhenBusy,
}

/// What a service does with calls when as many run as [may](Serve::at_once).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum WhenBusy {
    /// They wait for their turn, in the order in which they came. Of those that wait, there are at most
    /// [`SERVICE_WAITING_MAX`](pleiad_types::limits::SERVICE_WAITING_MAX); others are refused.
    #[default]
    Wait,
    /// They are [refused](crate::CallError::Busy).
    Refuse,
}

impl<A: Message, R: Message, M: Message> Serve<A, R, M> {
    fn new<Fut>(
        mesh: &Arc<Mesh>,
        service: Service<A, R, M>,
        function: impl Fn(A, Mailbox<M>) -> Fut + Send + Sync + 'static,
    ) -> Self
    where
        Fut: Future<Output = Result<R, String>> + Send + 'static,
    {
        Self {
            mesh: mesh.clone(),
            name: service.name(),
            function: Arc::new(move |args, mailbox| Box::pin(function(args, mailbox))),
            at_once: SERVICE_RUNNING,
            when_busy: WhenBusy::default(),
        }
    }

    /// How many calls may run at once, those of all callers together: at least one. Default:
    /// [`SERVICE_RUNNING`].
    pub fn at_once(mut self, calls: usize) -> Self {
        self.at_once = calls.max(1);
        self
    }

    /// What happens to those that are more. Default: they wait.
    pub fn when_busy(mut self, when_busy: WhenBusy) -> Self {
        self.when_busy = when_busy;
        self
    }

    fn serve(self) -> Result<ServiceHandle, RegisterError> {
        let Self { mesh, name, function, at_once, when_busy } = self;
        let (phase, known) = watch::channel(Phase::Serving);
        let near = mesh.near().clone();
        let host = Host::new(name.into(), function, (at_once, when_busy), near.clone(), known);
        let builder = TaskBuilder::new().name(name).daemon(true).on(&near);
        let task = builder.spawn(|mailbox| host.run(mailbox)).detach();
        let json = Json::Call(json_call(name, task.downgrade(), near));
        let offer = Offer { kind: Kind::of_service::<A, R, M>(), json, subject: None };
        // If the name is taken, the task has nobody who could send to it, and ends.
        mesh.register(name, &task, offer)?;
        Ok(ServiceHandle { mesh: Arc::downgrade(&mesh), name, host: task.any(), phase })
    }
}

/// Calls the function with arguments as JSON.
fn json_call<A: Message, R: Message, M: Message>(
    name: &'static str,
    host: WeakTaskRef<Request<A, R, M>>,
    near: Handle,
) -> JsonCall {
    Arc::new(move |args: String| {
        let (host, near) = (host.upgrade(), near.clone());
        Box::pin(async move {
            let args = json::read::<A>(&args).map_err(Refusal::Json)?;
            let host = host.ok_or(Refusal::NoSuchName)?;
            let service = RemoteService::new(name, host, near);
            let result = async { service.start(args).await?.await }.await;
            match result {
                Ok(value) => serde_json::to_string(&value)
                    .map_err(|error| Refusal::Failed(format!("its result is no JSON: {error}"))),
                Err(CallError::Busy { .. }) => Err(Refusal::Busy),
                Err(error) => Err(Refusal::Failed(error.to_string())),
            }
        })
    })
}

/// A function without a mailbox: when it is to stop, it is dropped at once.
pub(crate) fn plain<A: Message, R: Message, Fut>(
    mesh: &Arc<Mesh>,
    service: Service<A, R>,
    function: impl Fn(A) -> Fut + Send + Sync + 'static,
) -> Serve<A, R, NoMessage>
where
    Fut: Future<Output = R> + Send + 'static,
{
    let function = Arc::new(function);
    Serve::new(mesh, service, move |args, mailbox| {
        let function = function.clone();
        async move {
            drop(mailbox);
            Ok(function(args).await)
        }
    })
}

pub(crate) fn fallible<A: Message, R: Message, E: fmt::Display, Fut>(
    mesh: &Arc<Mesh>,
    service: Service<A, R>,
    function: impl Fn(A) -> Fut + Send + Sync + 'static,
) -> Serve<A, R, NoMessage>
where
    Fut: Future<Output = Result<R, E>> + Send + 'static,
{
    let function = Arc::new(function);
    Serve::new(mesh, service, move |args, mailbox| {
        let function = function.clone();
        async move {
            drop(mailbox);
            function(args).await.map_err(text)
        }
    })
}

pub(crate) fn tasks<A: Message, R: Message, M: Message, Fut>(
    mesh: &Arc<Mesh>,
    service: Service<A, R, M>,
    function: impl Fn(A, Mailbox<M>) -> Fut + Send + Sync + 'static,
) -> Serve<A, R, M>
where
    Fut: Future<Output = R> + Send + 'static,
{
    let function = Arc::new(function);
    Serve::new(mesh, service, move |args, mailbox| {
        let function = function.clone();
        async move { Ok(function(args, mailbox).await) }
    })
}

pub(crate) fn fallible_tasks<A: Message, R: Message, M: Message, E: fmt::Display, Fut>(
    mesh: &Arc<Mesh>,
    service: Service<A, R, M>,
    function: impl Fn(A, Mailbox<M>) -> Fut + Send + Sync + 'static,
) -> Serve<A, R, M>
where
    Fut: Future<Output = Result<R, E>> + Send + 'static,
{
    let function = Arc::new(function);
    Serve::new(mesh, service, move |args, mailbox| {
        let function = function.clone();
        async move { function(args, mailbox).await.map_err(text) }
    })
}

/// As tasks that are spawned by `try_spawn` have it: with the causes, if the error has them so.
fn text(error: impl fmt::Display) -> String {
    format!("{error:#}")
}

impl<A: Message, R: Message, M: Message> IntoFuture for Serve<A, R, M> {
    type Output = Result<ServiceHandle, RegisterError>;
    type IntoFuture = Ready<Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        ready(self.serve())
    }
}

/// A service of this node, to stop it.
///
/// If it is dropped, the service goes on: until the node closes.
pub struct ServiceHandle {
    mesh: Weak<Mesh>,
    name: &'static str,
    host: AnyTask,
    phase: watch::Sender<Phase>,
}

impl ServiceHandle {
    /// Takes the name away, and starts nothing more: calls that come or wait are
    /// [told so](crate::CallError::Stopped). What runs goes on to its end; see [`ended`](Self::ended).
    pub fn stop(&self) {
        self.advance(Phase::Stopping);
    }

    /// As [`stop`](Self::stop), and has all that runs [terminated](pleiad_task::TaskRef::terminate).
    pub fn terminate(&self) {
        self.advance(Phase::Terminating);
    }

    /// Waits until it is stopped, or its node has closed, and nothing of it runs any more.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time.
    pub async fn ended(&self) {
        self.host.ended().await;
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.name
    }

    fn advance(&self, phase: Phase) {
        if let Some(mesh) = self.mesh.upgrade() {
            mesh.registry.remove(self.name, self.host.id());
        }
        self.phase.send_modify(|known| *known = phase.max(*known));
    }
}

impl<A, R, M> fmt::Debug for Serve<A, R, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "serve {:?}", self.name)
    }
}

impl fmt::Debug for ServiceHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "handle of service {:?}", self.name)
    }
}

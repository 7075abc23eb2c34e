use std::fmt;
use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::error::LocateError;
use crate::kind::Kind;
use crate::locate::Locate;
use crate::mesh::Mesh;
use crate::message::Message;
use crate::peer::Peer;
use crate::service::Service;
use crate::service::remote::RemoteService;
use crate::service::request::Request;

/// Waits for a service to appear: see [`Node::service`](crate::Node::service).
#[must_use = "it is located when this is awaited"]
pub struct LocateService<A, R, M> {
    service: Service<A, R, M>,
    locate: Locate<Request<A, R, M>>,
    near: Handle,
}

impl<A: Message, R: Message, M: Message> LocateService<A, R, M> {
    pub(crate) fn new(mesh: &Arc<Mesh>, service: Service<A, R, M>) -> Self {
        let kind = Kind::of_service::<A, R, M>();
        let locate = Locate::new(mesh.clone(), service.name(), kind);
        Self { service, locate, near: mesh.near().clone() }
    }

    /// Gives up after so long. Default: never.
    pub fn timeout(mut self, after: Duration) -> Self {
        self.locate = self.locate.timeout(after);
        self
    }

    /// Only at this peer. The wait then ends with it.
    pub fn on(mut self, peer: &Peer) -> Self {
        self.locate = self.locate.on(peer);
        self
    }
}

impl<A: Message, R: Message, M: Message> IntoFuture for LocateService<A, R, M> {
    type Output = Result<RemoteService<A, R, M>, LocateError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let host = self.locate.await?;
            Ok(RemoteService::new(self.service.name(), host, self.near))
        })
    }
}

impl<A, R, M> fmt::Debug for LocateService<A, R, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "locate {:?}", self.service)
    }
}

use std::fmt;
use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::channel::remote::RemoteChannel;
use crate::channel::request::Request;
use crate::error::LocateError;
use crate::kind::Kind;
use crate::locate::Locate;
use crate::mesh::Mesh;
use crate::message::Message;
use crate::peer::Peer;

/// Waits for a channel to appear: see [`Node::channel`](crate::Node::channel).
#[must_use = "it is located when this is awaited"]
pub struct LocateChannel<T> {
    mesh: Arc<Mesh>,
    name: Arc<str>,
    locate: Locate<Request<T>>,
}

impl<T: Message + Clone> LocateChannel<T> {
    pub(crate) fn new(mesh: &Arc<Mesh>, name: &str) -> Self {
        let locate = Locate::new(mesh.clone(), name, Kind::of_channel::<T>());
        Self { mesh: mesh.clone(), name: name.into(), locate }
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

impl<T: Message + Clone> IntoFuture for LocateChannel<T> {
    type Output = Result<RemoteChannel<T>, LocateError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let host = self.locate.await?;
            Ok(RemoteChannel::new(self.mesh, self.name, host))
        })
    }
}

impl<T> fmt::Debug for LocateChannel<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "locate channel {:?}", self.name)
    }
}

//! Nodes of one cluster in one process, over real sockets.

use std::panic::Location;
use std::time::Duration;

use pleiad_net::Node;

pub(crate) struct Lab {
    home: tempfile::TempDir,
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self { home: tempfile::tempdir().expect("a directory") }
    }

    pub(crate) async fn node(&self, name: &str) -> Node {
        let builder = Node::builder().name(name).home(self.home.path());
        builder.lost_after(Duration::from_secs(1)).start().await.expect("it starts")
    }
}

/// What takes longer than this is a failure.
#[track_caller]
pub(crate) fn soon<F: IntoFuture>(future: F) -> impl Future<Output = F::Output> {
    let (limit, caller) = (Duration::from_secs(10), Location::caller());
    let limited = tokio::time::timeout(limit, future.into_future());
    async move { limited.await.unwrap_or_else(|_| panic!("it takes too long at {caller}")) }
}

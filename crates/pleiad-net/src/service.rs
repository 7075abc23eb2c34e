//! Functions that other nodes may call, or start as tasks.

use std::fmt;
use std::marker::PhantomData;

use pleiad_task::NoMessage;

pub(crate) mod error;
mod host;
pub(crate) mod locate;
pub(crate) mod remote;
mod request;
pub(crate) mod serve;
pub(crate) mod started;

/// The name of a function that other nodes may call, and its types: arguments `A`, result `R`, and the
/// messages `M` that it takes while it runs, if it does.
///
/// A constant of a crate that both sides use. [`Node::serve`](crate::Node::serve) gives it a function;
/// [`Node::service`](crate::Node::service) finds it. Several arguments are a tuple or a struct.
///
/// ```
/// # use std::time::Duration;
/// # use pleiad_net::{Node, Service};
/// const WORDS: Service<String, usize> = Service::new("words");
///
/// async fn words(text: String) -> usize {
///     text.split_whitespace().count()
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let home = tempfile::tempdir()?;
/// let shop = Node::builder().name("shop").home(home.path()).start().await?;
/// shop.serve(WORDS, words).await?;
///
/// // In another process.
/// let node = Node::builder().home(home.path()).start().await?;
/// let remote = node.service(WORDS).timeout(Duration::from_secs(5)).await?;
/// assert_eq!(remote.call("to be or not".to_owned()).await?, 4);
/// # Ok(())
/// # }
/// ```
///
/// # What is promised
///
/// - *Only what is registered runs*: a peer names a service and gives arguments, and nothing else.
/// - *At most once*: a call is made once, or not at all; if the node is lost meanwhile, nobody knows.
/// - *No order*: calls run side by side, each as a task of its own, also those of one caller.
/// - *Nothing goes on for nobody*: a call whose caller does not wait any more (dropped, timed out, or
///   lost with its node) is ended; see [`RemoteService`](crate::RemoteService) for tasks that were
///   started.
pub struct Service<A, R, M = NoMessage> {
    name: &'static str,
    types: PhantomData<Types<A, R, M>>,
}

/// No value of them is in it.
type Types<A, R, M> = fn(A, M) -> R;

/// A [`Service`] whose tasks take messages of the type `M`: see
/// [`Node::serve_tasks`](crate::Node::serve_tasks).
///
/// ```
/// # use std::time::Duration;
/// # use pleiad_net::{Node, TaskService};
/// # use pleiad_task::Mailbox;
/// const SUM: TaskService<u64, u64, u64> = TaskService::new("sum");
///
/// async fn sum(mut sum: u64, mut mailbox: Mailbox<u64>) -> u64 {
///     while let Some(n) = mailbox.recv().await {
///         sum += n;
///     }
///     sum
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let home = tempfile::tempdir()?;
/// let shop = Node::builder().name("shop").home(home.path()).start().await?;
/// shop.serve_tasks(SUM, sum).await?;
///
/// // In another process.
/// let node = Node::builder().home(home.path()).start().await?;
/// let task = node.service(SUM).await?.start(40).await?;
/// task.send(1)?;
/// task.send(1)?;
/// assert_eq!(task.await?, 42);
/// # Ok(())
/// # }
/// ```
pub type TaskService<A, M, R> = Service<A, R, M>;

impl<A, R, M> Service<A, R, M> {
    /// A service of this name. It is a name as those of tasks and channels, and no two of a node may have
    /// the same.
    pub const fn new(name: &'static str) -> Self {
        Self { name, types: PhantomData }
    }

    /// Its name.
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

impl<A, R, M> Clone for Service<A, R, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A, R, M> Copy for Service<A, R, M> {}

impl<A, R, M> fmt::Debug for Service<A, R, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "service {:?}", self.name)
    }
}

//! The task of a node that others talk to about files.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use pleiad_task::{Mailbox, Reply, TaskBuilder, TaskRef};
use pleiad_types::NodeId;
use pleiad_types::limits::{EVENTS_MAX, FILE_TIMEOUT, FILES_SENT_AT_ONCE, FILES_TAKEN_AT_ONCE};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};

use crate::files::depot::{Depot, refusal_of};
use crate::files::events::FileArrived;
use crate::files::messages::{Answer, FILES, Fetch, FileRefusal, Offer, Request};
use crate::files::path::{FilePath, FilePathError};
use crate::files::send::{self, Sending, Source, Unsent};
use crate::files::taker::{self, Considered, Goal, Writer};
use crate::files::transfer::Limits;
use crate::mesh::Mesh;

/// What a node has to do with files.
#[derive(Debug)]
pub(crate) struct Files {
    depot: Option<Arc<Depot>>,
    pub(super) limits: Limits,
    pub(super) arrivals: broadcast::Sender<FileArrived>,
    taken: Arc<Semaphore>,
    pub(super) sent: Semaphore,
}

/// What is chosen for a node.
#[derive(Debug, Clone)]
pub(crate) struct FileOptions {
    pub(crate) directory: Option<PathBuf>,
    pub(crate) file_bytes_max: u64,
    pub(crate) files_bytes_max: u64,
}

impl Files {
    /// Reads the disk.
    pub(crate) fn open(options: &FileOptions) -> std::io::Result<Arc<Self>> {
        let limits = Limits {
            file_bytes_max: options.file_bytes_max,
            files_bytes_max: options.files_bytes_max,
        };
        let open = |path: &Path| Depot::open(path, limits).map(Arc::new);
        Ok(Arc::new(Self {
            depot: options.directory.as_deref().map(open).transpose()?,
            limits,
            arrivals: broadcast::Sender::new(EVENTS_MAX),
            taken: Arc::new(Semaphore::new(FILES_TAKEN_AT_ONCE)),
            sent: Semaphore::new(FILES_SENT_AT_ONCE),
        }))
    }

    /// Starts the task, which ends when nobody can reach it any more.
    pub(crate) fn serve(self: &Arc<Self>, mesh: &Arc<Mesh>) -> TaskRef<Request> {
        let server = Server { files: self.clone(), mesh: Arc::downgrade(mesh) };
        let near = mesh.near();
        let task = TaskBuilder::new().name(FILES).daemon(true).on(near);
        task.spawn(|mailbox| server.run(mailbox)).detach()
    }
}

#[derive(Clone)]
struct Server {
    files: Arc<Files>,
    mesh: Weak<Mesh>,
}

impl Server {
    async fn run(self, mut mailbox: Mailbox<Request>) {
        while let Some(request) = mailbox.recv().await {
            let server = self.clone();
            match request {
                Request::Offer(offer, reply) => {
                    tokio::spawn(async move { reply.send(server.consider(offer).await) });
                }
                Request::Fetch(fetch, reply) => {
                    tokio::spawn(async move { server.give(fetch, reply).await });
                }
                Request::Delete(path, reply) => {
                    tokio::spawn(async move { reply.send(server.delete(path).await) });
                }
            }
        }
    }

    fn depot(&self) -> Result<Arc<Depot>, FileRefusal> {
        self.files.depot.clone().ok_or(FileRefusal::NoDirectory)
    }

    fn permit(&self) -> Result<OwnedSemaphorePermit, FileRefusal> {
        self.files.taken.clone().try_acquire_owned().map_err(|_| FileRefusal::Busy)
    }

    // ---- taking ----

    async fn consider(&self, offer: Offer) -> Answer {
        match self.try_consider(offer).await {
            Ok(answer) => answer,
            Err(refusal) => Answer::Refused(refusal),
        }
    }

    async fn try_consider(&self, offer: Offer) -> Result<Answer, FileRefusal> {
        let depot = self.depot()?;
        let path = FilePath::parse(&offer.path)?;
        let permit = self.permit()?;
        let arrived = self.arrived(&offer, &depot, &path);
        let goal = Goal::Depot(depot, path);
        let considered = blocking(move || taker::consider(goal, offer, Some(permit))).await?;
        Ok(match considered {
            Considered::Refused(refusal) => Answer::Refused(refusal),
            Considered::AskHash => Answer::Hash,
            Considered::Same => {
                let _ = self.files.arrivals.send(FileArrived { was_there: true, ..arrived });
                Answer::Same
            }
            Considered::Take(mut writer) => {
                let arrivals = self.files.arrivals.clone();
                writer.on_arrival(move || drop(arrivals.send(arrived)));
                start(*writer, &Handle::current())
            }
        })
    }

    /// What will be told when the file is there.
    fn arrived(&self, offer: &Offer, depot: &Depot, path: &FilePath) -> FileArrived {
        let node = NodeId(offer.from);
        let link = self.mesh.upgrade().and_then(|mesh| mesh.link(node));
        let from = link.map_or_else(|| node.to_string(), |link| link.name().to_string());
        FileArrived {
            path: depot.full_path(path),
            name: path.to_string(),
            bytes: offer.bytes,
            node,
            from,
            was_there: false,
        }
    }

    // ---- giving and deleting ----

    async fn give(&self, fetch: Fetch, mut reply: Reply<Result<(), FileRefusal>>) {
        let given = tokio::select! {
            given = self.try_give(fetch) => given,
            () = reply.unwanted() => return,
        };
        reply.send(given);
    }

    async fn try_give(&self, fetch: Fetch) -> Result<(), FileRefusal> {
        let depot = self.depot()?;
        let path = FilePath::parse(&fetch.path)?;
        let _permit = self.permit()?;
        let _turn = self.files.sent.acquire().await;
        let open = move || {
            let file = depot.parent_of(&path)?.read(path.name())?;
            Source::of(file)
        };
        let source = blocking(open).await?.map_err(refusal_of)?;
        let sending = Sending {
            from: self.mesh.upgrade().map_or(0, |mesh| mesh.me().0),
            path: fetch.path,
            overwrite: false,
            timeout: FILE_TIMEOUT,
            progress: None,
            runtime: &Handle::current(),
        };
        match send::send(source, &fetch.taker, sending).await {
            Ok(_) => Ok(()),
            Err(Unsent::Refused(refusal)) => Err(refusal),
            Err(Unsent::Changed) => Err(FileRefusal::Changed),
            Err(Unsent::Disk(error)) => Err(refusal_of(error)),
            Err(Unsent::Lost(why) | Unsent::Violation(why)) => Err(FileRefusal::Unsent(why)),
            Err(Unsent::TimedOut(after)) => {
                Err(FileRefusal::Unsent(format!("nothing was taken for {after:?}")))
            }
        }
    }

    async fn delete(&self, path: String) -> Result<(), FileRefusal> {
        let depot = self.depot()?;
        let path = FilePath::parse(&path)?;
        let _permit = self.permit()?;
        blocking(move || depot.delete(&path)).await?
    }
}

/// Starts the task that writes a file.
pub(super) fn start(writer: Writer, runtime: &Handle) -> Answer {
    let (offset, hash) = writer.have();
    // Its room is that on the way.
    let task = TaskBuilder::new().name("^file").capacity(1).daemon(true).on(runtime);
    let writer = task.spawn_blocking(move |mailbox| writer.run(mailbox)).detach();
    Answer::Send { writer, offset, hash }
}

/// Runs what waits for the disk.
async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> T + Send + 'static,
) -> Result<T, FileRefusal> {
    let done = tokio::task::spawn_blocking(act).await;
    done.map_err(|_| FileRefusal::Disk("its thread was not started, or has failed".to_owned()))
}

impl From<FilePathError> for FileRefusal {
    fn from(error: FilePathError) -> Self {
        Self::Path(error.to_string())
    }
}

use std::fmt;
use std::future::IntoFuture;
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pleiad_task::{Mailbox, TaskBuilder};
use pleiad_types::limits::FILE_TIMEOUT;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::files::dir::Dir;
use crate::files::error::FileError;
use crate::files::messages::{Answer, Fetch, FileRefusal, Offer, Request};
use crate::files::path::FilePath;
use crate::files::send::{self, time_to_read};
use crate::files::taker::{self, Considered, Goal};
use crate::files::transfer::{Found, Limits};
use crate::files::{FileProgress, locate, server};
use crate::node::Node;
use crate::peer::Peer;

/// A file that is fetched from a peer: see [`Node::fetch_file`].
#[must_use = "a file is fetched when this is awaited"]
pub struct FetchFile<'a> {
    node: Node,
    peer: Peer,
    from: String,
    to: Option<PathBuf>,
    overwrite: bool,
    timeout: Duration,
    progress: Option<Box<dyn FnMut(FileProgress) + Send + 'a>>,
}

/// A file was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileFetched {
    /// Where it is.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// The same file was there before, and was left as it was.
    pub was_there: bool,
}

impl<'a> FetchFile<'a> {
    pub(super) fn new(node: Node, peer: &Peer, from: &str) -> Self {
        Self {
            node,
            peer: peer.clone(),
            from: from.to_owned(),
            to: None,
            overwrite: false,
            timeout: FILE_TIMEOUT,
            progress: None,
        }
    }

    /// Where the file is to be here; if that ends with `/` or is a directory, the file keeps its name
    /// there. The directory must exist. Default: its name, in the current directory.
    pub fn to(mut self, path: impl Into<PathBuf>) -> Self {
        self.to = Some(path.into());
        self
    }

    /// Whether it may take the place of another file. Default: no.
    pub fn overwrite(mut self, overwrite: bool) -> Self {
        self.overwrite = overwrite;
        self
    }

    /// Gives up when there was no progress for so long. Default: 10 s. To read what is there already takes
    /// as long as it takes, at 50 MB/s or more.
    pub fn timeout(mut self, silence: Duration) -> Self {
        self.timeout = silence;
        self
    }

    /// Is called now and then with how far it is, where this is awaited.
    pub fn progress(mut self, progress: impl FnMut(FileProgress) + Send + 'a) -> Self {
        self.progress = Some(Box::new(progress));
        self
    }

    async fn fetch(mut self) -> Result<FileFetched, FileError> {
        let from = FilePath::parse(&self.from)?;
        let path = self.to.take().unwrap_or_default();
        let named = |name: &str| if name.is_empty() { path.clone() } else { path.join(name) };
        let is_directory = path.as_os_str().is_empty()
            || path.as_os_str().as_encoded_bytes().ends_with(b"/")
            || path.is_dir();
        let path = if is_directory { named(from.name()) } else { path };
        let unwritable = |source| FileError::Unwritable { path: path.clone(), source };
        let (dir, name) = open_parent(&path).map_err(unwritable)?;

        let found = dir.find(&name).map_err(unwritable)?;
        let there = if let Found::File(bytes) = found { bytes } else { 0 };
        let peer = self.peer.name().to_owned();
        let files = locate(&self.node, &self.peer, self.timeout).await?;
        let near = self.node.mesh().near().clone();
        let (seen, mut changes) = watch::channel(FileProgress { bytes: 0, of: 0 });
        let end: Arc<Mutex<Option<End>>> = Arc::default();
        let own = OwnTaker {
            dir: Arc::new(dir),
            name,
            limits: self.node.files().limits,
            overwrite: self.overwrite,
            seen,
            end: end.clone(),
            near: near.clone(),
        };
        let task = TaskBuilder::new().name("^fetch").daemon(true).on(&near);
        let taker = task.spawn(|mailbox| own.run(mailbox)).detach();
        let fetch = Fetch { path: self.from.clone(), taker };
        let mut answer = pin!(files.ask(|reply| Request::Fetch(fetch, reply)));

        let mut deadline = Instant::now() + self.timeout + time_to_read(there);
        let answer = loop {
            tokio::select! {
                answer = &mut answer => break answer,
                Ok(()) = changes.changed() => {
                    deadline = Instant::now() + self.timeout;
                    let progress = *changes.borrow_and_update();
                    if let Some(tell) = &mut self.progress {
                        tell(progress);
                    }
                }
                () = tokio::time::sleep_until(deadline) => {
                    return Err(FileError::TimedOut { peer, after: self.timeout });
                }
            }
        };
        let end = end.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (answer, end) {
            (_, Some(End::Refused(why))) => Err(FileError::NotTaken { path, why }),
            (Ok(Ok(())), Some(End::There { bytes, was_there })) => {
                Ok(FileFetched { path, bytes, was_there })
            }
            (Ok(Ok(())), None) => {
                let what = "it says that it has sent what has not come".to_owned();
                Err(FileError::Misunderstood { peer, what })
            }
            (Ok(Err(why)), _) => Err(FileError::Refused { peer, path: self.from, why }),
            (Err(error), _) => {
                let unsent = send::of_ask(error);
                Err(FileError::of_unsent(unsent, &peer, &path, &self.from))
            }
        }
    }
}

/// The directory in which a file of our own is to be, and its name there.
fn open_parent(path: &Path) -> std::io::Result<(Dir, String)> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::InvalidFilename))?;
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    Ok((Dir::open(parent)?, name.to_owned()))
}

/// What has become of it here.
enum End {
    There { bytes: u64, was_there: bool },
    Refused(FileRefusal),
}

/// Takes one file, from whoever was asked for it.
struct OwnTaker {
    dir: Arc<Dir>,
    name: String,
    limits: Limits,
    overwrite: bool,
    seen: watch::Sender<FileProgress>,
    end: Arc<Mutex<Option<End>>>,
    near: Handle,
}

impl OwnTaker {
    async fn run(self, mut mailbox: Mailbox<Request>) {
        while let Some(request) = mailbox.recv().await {
            if let Request::Offer(offer, reply) = request {
                reply.send(self.consider(offer).await);
            }
        }
    }

    async fn consider(&self, mut offer: Offer) -> Answer {
        offer.overwrite = self.overwrite;
        let (dir, name, limits) = (self.dir.clone(), self.name.clone(), self.limits);
        let goal = Goal::Own { dir, name, limits };
        let bytes = offer.bytes;
        let considered = self.near.spawn_blocking(move || taker::consider(goal, offer, None)).await;
        let set = |end: &Mutex<Option<End>>, value| {
            *end.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        };
        match considered {
            Ok(Considered::AskHash) => Answer::Hash,
            Ok(Considered::Same) => {
                set(&self.end, End::There { bytes, was_there: true });
                Answer::Same
            }
            Ok(Considered::Take(mut writer)) => {
                let end = self.end.clone();
                writer.on_arrival(move || set(&end, End::There { bytes, was_there: false }));
                writer.show_to(self.seen.clone());
                server::start(*writer, &self.near)
            }
            Ok(Considered::Refused(refusal)) => {
                set(&self.end, End::Refused(refusal.clone()));
                Answer::Refused(refusal)
            }
            Err(_) => Answer::Refused(FileRefusal::Disk("its thread has failed".to_owned())),
        }
    }
}

impl<'a> IntoFuture for FetchFile<'a> {
    type Output = Result<FileFetched, FileError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.fetch())
    }
}

impl fmt::Debug for FetchFile<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fetch of {:?} from {}", self.from, self.peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::FILES;
    use crate::registry::Offer;

    #[tokio::test]
    async fn a_peer_that_says_to_have_sent_what_has_not_come_is_not_believed() {
        let home = tempfile::tempdir().unwrap();
        let node = |name: &str| Node::builder().name(name).home(home.path()).start();
        let (shop, client) = (node("shop").await.unwrap(), node("client").await.unwrap());
        let names = shop.mesh().registry.list();
        let (name, honest) = names.iter().find(|(name, _)| name == FILES).unwrap();
        assert!(shop.mesh().registry.remove(name, honest.id()));
        let liar = pleiad_task::spawn(async |mut mailbox: Mailbox<Request>| {
            while let Some(Request::Fetch(_, reply)) = mailbox.recv().await {
                reply.send(Ok(()));
            }
        });
        shop.mesh().register(FILES, &liar, Offer::of_system::<Request>()).unwrap();

        let peer = client.peer("shop").await.unwrap();
        let fetched = client.fetch_file(&peer, "x").to(home.path().join("x")).await;
        assert!(matches!(fetched, Err(FileError::Misunderstood { .. })), "{fetched:?}");
        assert!(!home.path().join("x").exists());
    }
}

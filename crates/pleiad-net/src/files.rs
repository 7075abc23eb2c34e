//! Files between nodes.
//!
//! There is no protocol of their own. A node has a task for files, which is asked what to do with one; if
//! it is to be sent, there is another task that writes it, and the parts of the file are messages to
//! that. So they have a connection of their own and delay no others, are held back when the disk is slow,
//! and both sides hear when the other is gone.

mod depot;
mod dir;
mod error;
mod events;
mod fetch;
mod messages;
mod path;
mod send;
mod server;
mod taker;
mod transfer;

use std::fmt;
use std::future::IntoFuture;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use pleiad_task::TaskRef;
use pleiad_types::limits::FILE_TIMEOUT;

use crate::kind::Kind;
use crate::locate::Locate;
use crate::node::Node;
use crate::peer::Peer;

pub(crate) use messages::Request;
use path::FilePath;
use send::{Sending, Source};

pub use error::FileError;
pub use events::{FileArrived, FileEvent, FileEvents};
pub use fetch::{FetchFile, FileFetched};
pub(crate) use messages::FILES;
pub use messages::FileRefusal;
pub use path::FilePathError;
pub(crate) use server::{FileOptions, Files};

/// How far a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileProgress {
    /// Bytes that are on their way or there, those of an earlier time included.
    pub bytes: u64,
    /// All that the file has.
    pub of: u64,
}

/// A file was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileSent {
    /// Where it is in the peer's directory for files.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// How much of that was sent: 0, if the same file was there; less than all, if a part was.
    pub moved: u64,
}

/// A file that is sent to a peer: see [`Node::send_file`].
#[must_use = "a file is sent when this is awaited"]
pub struct SendFile<'a> {
    node: Node,
    peer: Peer,
    from: PathBuf,
    to: Option<String>,
    overwrite: bool,
    timeout: Duration,
    progress: Option<Box<dyn FnMut(FileProgress) + Send + 'a>>,
}

/// Files.
impl Node {
    /// Sends a file to a peer that has a [directory](crate::NodeBuilder::files) for that.
    ///
    /// ```
    /// # use pleiad_net::{FileEvent, Node};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let home = tempfile::tempdir()?;
    /// # let data = home.path().join("data.bin");
    /// # std::fs::write(&data, "some data")?;
    /// # let directory = home.path().join("files");
    /// let shop = Node::builder().name("shop").files(directory);
    /// # let shop = shop.home(home.path());
    /// let shop = shop.start().await?;
    /// let mut arrivals = shop.file_events();
    ///
    /// // In another program:
    /// let client = Node::builder().name("client");
    /// # let client = client.home(home.path());
    /// let client = client.start().await?;
    /// let peer = client.peer("shop").await.ok_or("the node has closed")?;
    /// let sent = client.send_file(&peer, data).to("in/").await?;
    /// assert_eq!(sent.path, "in/data.bin");
    ///
    /// let Some(FileEvent::Arrived(file)) = arrivals.next().await else { panic!() };
    /// assert_eq!((file.name.as_str(), file.from.as_str()), ("in/data.bin", "client"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # What is promised
    ///
    /// - *Whole*: under its name there, the file is as it was here, by its BLAKE3 hash; until then, there
    ///   is what was before. That holds if a node or its process ends, and is not about a machine that
    ///   loses its power: nothing is forced onto the disk.
    /// - *Once*: if the same file is there already, nothing is sent, and it stays as it is. Another is
    ///   replaced only by [`overwrite`](SendFile::overwrite).
    /// - *Inside*: it never is outside of the peer's directory. Directories in it are made; links in it are
    ///   not followed.
    /// - *Alike*: permissions (of user, group and others) and the time of the last change are kept.
    /// - *Further*: after a loss, the same call to the same or a new peer of that directory goes on where
    ///   it was. What is there is compared first.
    ///
    /// A node sends 4 files at once; further ones wait for their turn.
    ///
    /// # Errors
    ///
    /// See [`FileError`].
    ///
    /// # Cancel safety
    ///
    /// If it is dropped, the file is there or not, never a part of it under its name; the same call goes
    /// on where it was.
    pub fn send_file<'a>(&self, peer: &Peer, path: impl Into<PathBuf>) -> SendFile<'a> {
        SendFile {
            node: self.clone(),
            peer: peer.clone(),
            from: path.into(),
            to: None,
            overwrite: false,
            timeout: FILE_TIMEOUT,
            progress: None,
        }
    }

    /// Fetches a file from the [directory](crate::NodeBuilder::files) of a peer. What is promised is the same as for
    /// [`send_file`](Self::send_file). This node needs no directory for that.
    ///
    /// # Errors
    ///
    /// See [`FileError`].
    ///
    /// # Cancel safety
    ///
    /// As [`send_file`](Self::send_file).
    pub fn fetch_file<'a>(&self, peer: &Peer, path: &str) -> FetchFile<'a> {
        FetchFile::new(self.clone(), peer, path)
    }

    /// Deletes a file in the [directory](crate::NodeBuilder::files) of a peer, and the directories in it that are
    /// empty then. Waits for at most 10 s.
    ///
    /// # Errors
    ///
    /// See [`FileError`]; [`FileRefusal::NotFound`], if there is none. After a loss or a time-out, it may be
    /// deleted or not.
    ///
    /// # Cancel safety
    ///
    /// If it is dropped, the file may be deleted or not.
    pub async fn delete_file(&self, peer: &Peer, path: &str) -> Result<(), FileError> {
        FilePath::parse(path)?;
        let files = locate(self, peer, FILE_TIMEOUT).await?;
        let delete = |reply| Request::Delete(path.to_owned(), reply);
        let deleted = files.ask(delete).timeout(FILE_TIMEOUT).await;
        let unsent = match deleted {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(refusal)) => send::Unsent::Refused(refusal),
            Err(error) => send::of_ask(error),
        };
        Err(FileError::of_unsent(unsent, peer.name(), path.as_ref(), path))
    }

    /// Files of other nodes, as they arrive from now on in the [directory](crate::NodeBuilder::files) of
    /// this one.
    pub fn file_events(&self) -> FileEvents {
        FileEvents::new(self.mesh().clone(), self.files().arrivals.subscribe())
    }

    /// Tells a task of files of other nodes, as they arrive. `message` makes a message of an event. Ends
    /// with the task.
    pub fn watch_files<M: Send + 'static>(
        &self,
        task: &TaskRef<M>,
        message: impl Fn(FileEvent) -> M + Send + 'static,
    ) {
        self.tell(self.file_events(), task, message);
    }
}

impl<'a> SendFile<'a> {
    /// Where the file is to be in the peer's directory for files: a relative path with `/`. If it ends with
    /// `/`, the file keeps its name there. Default: its name.
    pub fn to(mut self, path: impl Into<String>) -> Self {
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

    /// Is called with how far it is, for each part, where this is awaited.
    pub fn progress(mut self, progress: impl FnMut(FileProgress) + Send + 'a) -> Self {
        self.progress = Some(Box::new(progress));
        self
    }

    async fn send(mut self) -> Result<FileSent, FileError> {
        let to = self.to.take().unwrap_or_default();
        let path = if to.is_empty() || to.ends_with('/') {
            let name = self.from.file_name().and_then(|name| name.to_str());
            to + name.ok_or_else(|| FileError::Name(self.from.clone()))?
        } else {
            to
        };
        FilePath::parse(&path)?;
        let near = self.node.mesh().near().clone();
        let files = self.node.files().clone();
        let _turn = files.sent.acquire().await;

        let from = self.from.clone();
        let opened = near.spawn_blocking(move || Source::open(&from)).await;
        let source = opened
            .unwrap_or_else(|failed| Err(failed.into()))
            .map_err(|source| FileError::Unreadable { path: self.from.clone(), source })?;
        let taker = locate(&self.node, &self.peer, self.timeout).await?;
        let sending = Sending {
            from: self.node.id().0,
            path: path.clone(),
            overwrite: self.overwrite,
            timeout: self.timeout,
            progress: self.progress.take(),
            runtime: &near,
        };
        match send::send(source, &taker, sending).await {
            Ok(sent) => Ok(FileSent { path, bytes: sent.bytes, moved: sent.moved }),
            Err(unsent) => Err(FileError::of_unsent(unsent, self.peer.name(), &self.from, &path)),
        }
    }
}

impl<'a> IntoFuture for SendFile<'a> {
    type Output = Result<FileSent, FileError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

impl fmt::Debug for SendFile<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sending of {} to {}", self.from.display(), self.peer)
    }
}

/// The task of a peer that deals with files.
async fn locate(
    node: &Node,
    peer: &Peer,
    timeout: Duration,
) -> Result<TaskRef<Request>, FileError> {
    let locate = Locate::new(node.mesh().clone(), FILES, Kind::of_task::<Request>())
        .on(peer)
        .timeout(timeout);
    locate.await.map_err(|error| FileError::of_locate(error, peer.name()))
}

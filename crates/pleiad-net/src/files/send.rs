//! Sends a file to a task that takes it: for our own program, and for a peer that wants one.

use std::fs::File;
use std::future::Future;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use nix::fcntl::OFlag;
use pleiad_task::far::{self, Encoded, FarRefusal, FarTarget, How, Reference};
use pleiad_task::{AskError, TaskRef};
use pleiad_types::limits::{FILE_CHUNK_BYTES, FILE_SPEED_MIN};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::files::FileProgress;
use crate::files::messages::{Answer, FileRefusal, Hash, Offer, Part, Request};
use crate::files::taker::hash_of;

/// Parts of a file that are read ahead.
const AHEAD: usize = 2;

/// A file to be sent.
pub(super) struct Source {
    file: Arc<File>,
    about: About,
}

/// What would be another if the file was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct About {
    bytes: u64,
    mode: u32,
    modified: (i64, u32),
}

/// How it is to be sent.
pub(super) struct Sending<'a> {
    pub(super) from: u64,
    /// Where to, as the other side knows it.
    pub(super) path: String,
    pub(super) overwrite: bool,
    /// Without progress.
    pub(super) timeout: Duration,
    pub(super) progress: Option<Box<dyn FnMut(FileProgress) + Send + 'a>>,
    /// Where files are read.
    pub(super) runtime: &'a Handle,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) bytes: u64,
    /// So many of them went over.
    pub(super) moved: u64,
}

/// Why it was not.
#[derive(Debug)]
pub(super) enum Unsent {
    Refused(FileRefusal),
    /// The other side is gone.
    Lost(String),
    TimedOut(Duration),
    Changed,
    Disk(io::Error),
    /// What the other side says makes no sense.
    Violation(String),
}

/// What the thread that reads has to say.
enum Read {
    Again,
    /// The part, and where it ends.
    Chunk(Encoded, u64),
    End(Hash),
    Failed(Unsent),
}

impl Source {
    /// Opens a file of our own program.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        // The end of a pipe would wait for the other.
        let flags = OFlag::O_NONBLOCK.bits();
        let file = File::options().read(true).custom_flags(flags).open(path)?;
        Self::of(file)
    }

    /// What is no file is an error.
    pub(super) fn of(file: File) -> io::Result<Self> {
        if !file.metadata()?.is_file() {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        let about = about(&file)?;
        Ok(Self { file: Arc::new(file), about })
    }

    fn check_unchanged(&self) -> Result<(), Unsent> {
        let now = about(&self.file).map_err(Unsent::Disk)?;
        if now == self.about { Ok(()) } else { Err(Unsent::Changed) }
    }

    /// Reads it, from `offset` on if what is there has the hash `there`.
    fn read(&self, offset: u64, there: Hash, to: &mpsc::Sender<Read>) -> Result<Hash, Unsent> {
        let mut hasher = hash_of(&self.file, offset).map_err(Unsent::Disk)?;
        let mut at = offset;
        if offset > 0 && hasher.finalize() != there {
            hasher.reset();
            at = 0;
            if to.blocking_send(Read::Again).is_err() {
                return Err(Unsent::Lost(String::new()));
            }
        }
        let mut buffer = vec![0; FILE_CHUNK_BYTES];
        while at < self.about.bytes {
            let left = usize::try_from(self.about.bytes - at).unwrap_or(usize::MAX);
            buffer.truncate(left);
            self.file.read_exact_at(&mut buffer, at).map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => Unsent::Changed,
                _ => Unsent::Disk(error),
            })?;
            hasher.update(&buffer);
            let part = Part::Chunk { offset: at, bytes: std::mem::take(&mut buffer) };
            let encoded = encode(&part)?;
            // It is used again.
            if let Part::Chunk { bytes, .. } = part {
                buffer = bytes;
            }
            at += buffer.len() as u64;
            if to.blocking_send(Read::Chunk(encoded, at)).is_err() {
                return Err(Unsent::Lost(String::new()));
            }
        }
        self.check_unchanged()?;
        Ok(hasher.finalize().into())
    }
}

fn about(file: &File) -> io::Result<About> {
    let about = file.metadata()?;
    let nanoseconds = u32::try_from(about.mtime_nsec()).unwrap_or(0);
    Ok(About {
        bytes: about.len(),
        mode: about.permissions().mode() & 0o777,
        modified: (about.mtime(), nanoseconds),
    })
}

/// Offers a file, and sends it if it is wanted.
///
/// Whoever drops this may go on later, as after a loss.
pub(super) async fn send(
    source: Source,
    taker: &TaskRef<Request>,
    mut sending: Sending<'_>,
) -> Result<Sent, Unsent> {
    let source = Arc::new(source);
    let bytes = source.about.bytes;
    let mut offer = Offer {
        from: sending.from,
        path: std::mem::take(&mut sending.path),
        bytes,
        mode: source.about.mode,
        modified: source.about.modified,
        overwrite: sending.overwrite,
        hash: None,
    };
    let patience = sending.timeout + time_to_read(bytes);
    let mut answer = ask(taker, patience, &offer).await?;
    if matches!(answer, Answer::Hash) {
        let reading = source.clone();
        let hashed = sending.runtime.spawn_blocking(move || {
            let hash = hash_of(&reading.file, u64::MAX).map_err(Unsent::Disk)?.finalize();
            reading.check_unchanged()?;
            Ok(hash.into())
        });
        offer.hash = Some(hashed.await.map_err(|_| ended())??);
        answer = ask(taker, patience, &offer).await?;
    }
    match answer {
        Answer::Refused(refusal) => Err(Unsent::Refused(refusal)),
        Answer::Same => Ok(Sent { bytes, moved: 0 }),
        Answer::Hash => Err(Unsent::Violation("it asks for a hash that it has".to_owned())),
        Answer::Send { offset, .. } if offset > bytes => {
            Err(Unsent::Violation("it has more than there is".to_owned()))
        }
        Answer::Send { writer, offset, hash } => {
            let moved = move_file(source, &writer, (offset, hash), &mut sending).await?;
            Ok(Sent { bytes, moved })
        }
    }
}

async fn ask(taker: &TaskRef<Request>, after: Duration, offer: &Offer) -> Result<Answer, Unsent> {
    let offer = offer.clone();
    taker.ask(|reply| Request::Offer(offer, reply)).timeout(after).await.map_err(of_ask)
}

/// Sends what is not there yet. Gives how many bytes that was.
async fn move_file(
    source: Arc<Source>,
    writer: &TaskRef<Part>,
    (offset, there): (u64, Hash),
    sending: &mut Sending<'_>,
) -> Result<u64, Unsent> {
    let Reference::Far(far) = far::travelling(writer) else {
        return Err(Unsent::Violation("its writer is a task of this node".to_owned()));
    };
    let target = far.target.clone();
    let (bytes, timeout) = (source.about.bytes, sending.timeout);
    let (to, mut read) = mpsc::channel(AHEAD);
    sending.runtime.spawn_blocking(move || {
        let last = match source.read(offset, there, &to) {
            Ok(hash) => Read::End(hash),
            Err(unsent) => Read::Failed(unsent),
        };
        // If nobody hears it, nobody waits for it.
        let _ = to.blocking_send(last);
    });
    let mut watched = pin!(writer.ask(Part::Watch));
    let mut from = offset;
    loop {
        let next = tokio::select! {
            biased;
            ended = &mut watched => return Err(early(ended)),
            next = read.recv() => next.unwrap_or_else(|| Read::Failed(ended())),
        };
        let (encoded, at) = match next {
            Read::Again => {
                from = 0;
                (encode(&Part::Again)?, 0)
            }
            Read::Chunk(encoded, end) => (encoded, end),
            Read::End(hash) => {
                submit(&target, encode(&Part::End(hash))?, timeout, watched.as_mut()).await?;
                break;
            }
            Read::Failed(unsent) => return Err(unsent),
        };
        submit(&target, encoded, timeout, watched.as_mut()).await?;
        if let Some(progress) = &mut sending.progress {
            progress(FileProgress { bytes: at, of: bytes });
        }
    }
    match tokio::time::timeout(timeout, watched).await {
        Err(_) => Err(Unsent::TimedOut(timeout)),
        Ok(Ok(Ok(()))) => Ok(bytes - from),
        Ok(ended) => Err(early(ended)),
    }
}

type Watched = Result<Result<(), FileRefusal>, AskError>;

/// Puts a message on its way when there is room, and does not wait until it is there: so the next can
/// follow.
async fn submit(
    target: &Arc<dyn FarTarget>,
    encoded: Encoded,
    timeout: Duration,
    mut watched: std::pin::Pin<&mut impl Future<Output = Watched>>,
) -> Result<(), Unsent> {
    let submission = target.submit(encoded, How::Normal, false);
    tokio::select! {
        biased;
        submitted = tokio::time::timeout(timeout, submission) => match submitted {
            Ok(Ok(())) => Ok(()),
            Ok(Err((FarRefusal::Lost(peer), _))) => Err(Unsent::Lost(peer)),
            // It has ended, and says why.
            Ok(Err(_)) => match tokio::time::timeout(timeout, watched).await {
                Ok(ended) => Err(early(ended)),
                Err(_) => Err(Unsent::TimedOut(timeout)),
            },
            Err(_) => Err(Unsent::TimedOut(timeout)),
        },
        ended = &mut watched => Err(early(ended)),
    }
}

/// The writer has ended before the file was sent.
fn early(watched: Watched) -> Unsent {
    match watched {
        Ok(Ok(())) => Unsent::Violation("it says that the file is there before it is".to_owned()),
        Ok(Err(refusal)) => Unsent::Refused(refusal),
        Err(error) => of_ask(error),
    }
}

pub(super) fn of_ask(error: AskError) -> Unsent {
    match error {
        AskError::TimedOut { after, .. } | AskError::NotAsked { after, .. } => {
            Unsent::TimedOut(after)
        }
        AskError::Lost { peer, .. } => Unsent::Lost(peer),
        AskError::Undecodable { why, .. } | AskError::Unsendable { why, .. } => {
            Unsent::Violation(why)
        }
        _ => ended(),
    }
}

fn ended() -> Unsent {
    Unsent::Lost("its task for files has ended".to_owned())
}

fn encode(part: &Part) -> Result<Encoded, Unsent> {
    far::encode(part).map_err(|error| Unsent::Violation(error.to_string()))
}

/// How long the other side may take to read a file that is there.
pub(super) fn time_to_read(bytes: u64) -> Duration {
    Duration::from_secs(bytes / FILE_SPEED_MIN)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn a_file_that_was_changed_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, "one").unwrap();
        let source = Source::open(&path).unwrap();
        assert!(source.check_unchanged().is_ok());
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        assert!(matches!(source.check_unchanged(), Err(Unsent::Changed)), "another time");
        let source = Source::open(&path).unwrap();
        file.set_len(2).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        assert!(matches!(source.check_unchanged(), Err(Unsent::Changed)), "another length");
    }

    #[test]
    fn a_file_that_becomes_shorter_while_it_is_read_has_changed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, "one").unwrap();
        let source = Source::open(&path).unwrap();
        std::fs::write(&path, "o").unwrap();
        let (to, _read) = mpsc::channel(AHEAD);
        assert!(matches!(source.read(0, [0; 32], &to), Err(Unsent::Changed)));
    }

    #[test]
    fn a_directory_and_a_pipe_are_no_files() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Source::open(dir.path()).is_err());
        let pipe = dir.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(Source::open(&pipe).is_err());
    }
}

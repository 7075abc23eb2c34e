//! Takes files that others send: looks at an offer, writes what comes, and gives it its name when it is
//! whole.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pleiad_task::{Mailbox, RecvTimeoutError, Reply};
use pleiad_types::limits::{FILE_CHUNK_BYTES, FILE_IDLE_MAX};
use tokio::sync::{OwnedSemaphorePermit, watch};

use crate::files::FileProgress;
use crate::files::depot::{Depot, Room, refusal_of};
use crate::files::dir::Dir;
use crate::files::messages::{FileRefusal, Hash, Offer, Part};
use crate::files::path::FilePath;
use crate::files::transfer::{self, Coming, Found, Limits, Step};

/// Read at once to hash what is there.
const READ_BYTES: usize = 1 << 18;

/// Messages of a file that has ended, of which one may ask how.
const LATE_MESSAGES_MAX: usize = 64;

/// How the transfer of a file has ended.
type Ended = Result<(), FileRefusal>;

/// Where a file is to be.
#[derive(Debug)]
pub(super) enum Goal {
    /// In the directory for files of others.
    Depot(Arc<Depot>, FilePath),
    /// Where our own program wants it.
    Own { dir: Arc<Dir>, name: String, limits: Limits },
}

/// What comes of an offer.
pub(super) enum Considered {
    Refused(FileRefusal),
    AskHash,
    Same,
    Take(Box<Writer>),
}

/// Writes one file.
pub(super) struct Writer {
    goal: Goal,
    offer: Offer,
    part: PartFile,
    coming: Coming,
    hasher: blake3::Hasher,
    /// To be called when the file has its name.
    on_arrival: Option<Box<dyn FnOnce() + Send>>,
    /// Who sees how far it is. When nobody looks any more, it ends.
    seen: Option<watch::Sender<FileProgress>>,
    _room: Option<Room>,
    permit: Option<OwnedSemaphorePermit>,
}

/// The file while it is not whole. It stays when this is dropped, unless it was discarded.
struct PartFile {
    file: File,
    name: String,
}

impl Goal {
    fn limits(&self) -> &Limits {
        match self {
            Self::Depot(depot, _) => depot.limits(),
            Self::Own { limits, .. } => limits,
        }
    }

    fn find(&self) -> io::Result<Found> {
        match self {
            Self::Depot(depot, path) => depot.find(path),
            Self::Own { dir, name, .. } => dir.find(name),
        }
    }

    fn read(&self) -> io::Result<File> {
        match self {
            Self::Depot(depot, path) => depot.parent_of(path)?.read(path.name()),
            Self::Own { dir, name, .. } => dir.read(name),
        }
    }

    fn parts(&self) -> &Dir {
        match self {
            Self::Depot(depot, _) => depot.parts(),
            Self::Own { dir, .. } => dir,
        }
    }

    /// The name of its part: the same whenever it is sent, so that it goes on where it was.
    fn part_name(&self) -> String {
        match self {
            Self::Depot(_, path) => short_hash(path.as_str()),
            Self::Own { name, .. } => format!(".pleiad-part-{}", short_hash(name)),
        }
    }

    fn settle(&self, part: &str, offer: &Offer) -> io::Result<()> {
        match self {
            Self::Depot(depot, path) => depot.settle(part, path, offer.bytes, offer.overwrite),
            Self::Own { dir, name, .. } if offer.overwrite => dir.replace(part, dir, name),
            Self::Own { dir, name, .. } => dir.place(part, dir, name),
        }
    }
}

fn short_hash(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex()[..32].to_owned()
}

/// Looks at an offer. Reads the disk, and blocks as long as that takes.
pub(super) fn consider(
    goal: Goal,
    offer: Offer,
    permit: Option<OwnedSemaphorePermit>,
) -> Considered {
    match try_consider(goal, offer, permit) {
        Ok(considered) => considered,
        Err(refusal) => Considered::Refused(refusal),
    }
}

fn try_consider(
    goal: Goal,
    offer: Offer,
    permit: Option<OwnedSemaphorePermit>,
) -> Result<Considered, FileRefusal> {
    let found = goal.find().map_err(refusal_of)?;
    let mut step = transfer::consider(&offer, found, goal.limits());
    if let Step::Compare(hash) = step {
        let there = hash_of(&goal.read().map_err(refusal_of)?, u64::MAX).map_err(refusal_of)?;
        if there.finalize() == hash {
            return Ok(Considered::Same);
        }
        step = transfer::compared_unequal(&offer);
    }
    match step {
        Step::Refuse(refusal) => Err(refusal),
        Step::AskHash => Ok(Considered::AskHash),
        Step::Take | Step::Compare(_) => {
            Writer::begin(goal, offer, found, permit).map(|writer| Considered::Take(writer.into()))
        }
    }
}

impl Writer {
    fn begin(
        goal: Goal,
        offer: Offer,
        found: Found,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<Self, FileRefusal> {
        let name = goal.part_name();
        let file = goal.parts().lock(&name).map_err(refusal_of)?.ok_or(FileRefusal::UnderWay)?;
        let part = PartFile { file, name };
        let begun = Self::try_begin(&goal, &offer, found, &part);
        let (room, have, hasher) = match begun {
            Ok(begun) => begun,
            Err(refusal) => {
                part.discard(goal.parts());
                return Err(refusal);
            }
        };
        let coming = Coming::new(offer.bytes, have);
        let (on_arrival, seen, _room) = (None, None, room);
        Ok(Self { goal, offer, part, coming, hasher, on_arrival, seen, _room, permit })
    }

    /// Room for it, and what of it is there already.
    fn try_begin(
        goal: &Goal,
        offer: &Offer,
        found: Found,
        part: &PartFile,
    ) -> Result<(Option<Room>, u64, blake3::Hasher), FileRefusal> {
        let room = match goal {
            Goal::Depot(depot, _) => Some(depot.reserve(&part.name, offer, found)?),
            Goal::Own { .. } => None,
        };
        let mut have = part.file.metadata().map_err(refusal_of)?.len();
        if have > offer.bytes {
            part.file.set_len(0).map_err(refusal_of)?;
            have = 0;
        }
        if goal.parts().room().map_err(refusal_of)? < offer.bytes - have {
            return Err(FileRefusal::DiskFull);
        }
        let hasher = hash_of(&part.file, have).map_err(refusal_of)?;
        Ok((room, have, hasher))
    }

    pub(super) fn on_arrival(&mut self, tell: impl FnOnce() + Send + 'static) {
        self.on_arrival = Some(Box::new(tell));
    }

    pub(super) fn show_to(&mut self, seen: watch::Sender<FileProgress>) {
        self.seen = Some(seen);
    }

    /// How many bytes are there, and their hash.
    pub(super) fn have(&self) -> (u64, Hash) {
        (self.coming.have(), self.hasher.finalize().into())
    }

    /// Writes what comes, in a thread that may block, until the file is whole, or cannot be. What has come
    /// stays only if the sender is gone.
    pub(super) fn run(mut self, mut mailbox: Mailbox<Part>) {
        // As long as there is the thread.
        let _permit = self.permit.take();
        let Some((end, watch)) = self.write(&mut mailbox) else { return };
        if let Some(reply) = watch.or_else(|| await_watch(&mut mailbox)) {
            reply.send(end);
        }
    }

    /// How it has ended, and who waits for that. `None`: there is nobody.
    fn write(mut self, mailbox: &mut Mailbox<Part>) -> Option<(Ended, Option<Reply<Ended>>)> {
        let mut watch = None;
        loop {
            let handled = match mailbox.recv_timeout_blocking(FILE_IDLE_MAX) {
                Ok(Part::Watch(reply)) => {
                    watch = Some(reply);
                    continue;
                }
                Ok(part) => self.handle(part),
                Err(RecvTimeoutError::TimedOut) => return Some((Err(FileRefusal::Silent), watch)),
                Err(_) => return None,
            };
            match handled {
                Ok(false) if self.is_unwanted() => return None,
                Ok(false) => (),
                Ok(true) => return Some((self.finish(), watch)),
                Err(refusal) => {
                    self.discard();
                    return Some((Err(refusal), watch));
                }
            }
        }
    }

    /// Whether that was all.
    fn handle(&mut self, part: Part) -> Result<bool, FileRefusal> {
        match part {
            Part::Watch(_) => (),
            Part::Again => {
                self.coming.handle_again()?;
                self.hasher.reset();
                self.part.file.set_len(0).map_err(refusal_of)?;
            }
            Part::Chunk { offset, bytes } => {
                self.coming.handle_chunk(offset, bytes.len(), FILE_CHUNK_BYTES)?;
                self.part.file.write_all_at(&bytes, offset).map_err(refusal_of)?;
                self.hasher.update(&bytes);
                if let Some(seen) = &self.seen {
                    let (bytes, of) = (self.coming.have(), self.offer.bytes);
                    seen.send_replace(FileProgress { bytes, of });
                }
            }
            Part::End(hash) => {
                self.coming.handle_end()?;
                if self.hasher.finalize() != hash {
                    return Err(FileRefusal::Hash);
                }
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_unwanted(&self) -> bool {
        self.seen.as_ref().is_some_and(watch::Sender::is_closed)
    }

    /// The file is whole: it gets its name.
    fn finish(self) -> Result<(), FileRefusal> {
        let Self { goal, offer, part, on_arrival, .. } = self;
        let settled = part.file.set_permissions(Permissions::from_mode(offer.mode & 0o777));
        let settled = settled
            .and_then(|()| part.file.set_modified(time_of(offer.modified)))
            .and_then(|()| goal.settle(&part.name, &offer));
        if let Err(error) = settled {
            part.discard(goal.parts());
            return Err(refusal_of(error));
        }
        if let Some(tell) = on_arrival {
            tell();
        }
        Ok(())
    }

    fn discard(self) {
        self.part.discard(self.goal.parts());
    }
}

/// It has ended before it was asked how. What was on the way is nothing any more; whoever sends more than
/// that does not ask.
fn await_watch(mailbox: &mut Mailbox<Part>) -> Option<Reply<Ended>> {
    for _ in 0..LATE_MESSAGES_MAX {
        if let Part::Watch(reply) = mailbox.recv_timeout_blocking(FILE_IDLE_MAX).ok()? {
            return Some(reply);
        }
    }
    None
}

impl PartFile {
    /// Deletes it, as long as it is locked.
    fn discard(self, parts: &Dir) {
        if let Err(error) = parts.delete(&self.name) {
            tracing::warn!(part = self.name, %error, "cannot delete a part of a file");
        }
    }
}

/// Hashes the first `length` bytes, or all if there are fewer.
pub(super) fn hash_of(file: &File, length: u64) -> io::Result<blake3::Hasher> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; READ_BYTES];
    let mut at = 0;
    while at < length {
        let wanted = usize::try_from(length - at).unwrap_or(usize::MAX).min(READ_BYTES);
        let read = read_at(file, &mut buffer[..wanted], at)?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
        at += read as u64;
    }
    Ok(hasher)
}

fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    loop {
        match file.read_at(buffer, at) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            read => return read,
        }
    }
}

/// A time that no system knows is taken for 1970.
fn time_of((seconds, nanoseconds): (i64, u32)) -> SystemTime {
    let epoch = SystemTime::UNIX_EPOCH;
    let since = Duration::from_secs(seconds.unsigned_abs());
    let time = if seconds < 0 { epoch.checked_sub(since) } else { epoch.checked_add(since) };
    let part = Duration::from_nanos(u64::from(nanoseconds.min(999_999_999)));
    time.and_then(|time| time.checked_add(part)).unwrap_or(epoch)
}

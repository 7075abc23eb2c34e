//! The directory of a node for files of others: what is there, what is on its way, and how much it may
//! become.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use pleiad_types::limits::{FILE_PART_AGE_MAX, FILE_PARTS_MAX};

use crate::files::dir::Dir;
use crate::files::messages::{FileRefusal, Offer};
use crate::files::path::{FilePath, PARTS};
use crate::files::transfer::{self, Found, Limits};

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Depot {
    path: PathBuf,
    root: Dir,
    parts: Dir,
    limits: Limits,
    books: Mutex<Books>,
    /// Held while directories are made or deleted.
    layout: Mutex<()>,
}

#[derive(Debug, Default)]
struct Books {
    /// Bytes of whole files, as far as is known: they are counted when that is needed.
    used: Option<u64>,
    /// Bytes for which room is kept, by the name of the part.
    reserved: HashMap<String, u64>,
}

/// Room that is kept for a file, until this is dropped.
#[derive(Debug)]
pub(super) struct Room {
    depot: Arc<Depot>,
    part: String,
}

impl Depot {
    /// Makes the directory if there is none, and cleans it up.
    pub(super) fn open(path: &Path, limits: Limits) -> io::Result<Self> {
        std::fs::create_dir_all(path)?;
        let path = path.canonicalize()?;
        let root = Dir::open(&path)?;
        let parts = root.child_or_new(PARTS, 0o700)?;
        let (books, layout) = (Mutex::default(), Mutex::default());
        let depot = Self { path, root, parts, limits, books, layout };
        depot.clean_up()?;
        Ok(depot)
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(super) fn parts(&self) -> &Dir {
        &self.parts
    }

    /// Where a file is, for others of this machine.
    pub(super) fn full_path(&self, path: &FilePath) -> PathBuf {
        self.path.join(path.as_str())
    }

    /// The directory in which a file is.
    pub(super) fn parent_of(&self, path: &FilePath) -> io::Result<Dir> {
        self.root.parent_of(path)
    }

    pub(super) fn find(&self, path: &FilePath) -> io::Result<Found> {
        match self.root.parent_of(path) {
            Ok(parent) => parent.find(path.name()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Nothing),
            Err(error) => Err(error),
        }
    }

    /// Keeps room for a file whose part is locked.
    pub(super) fn reserve(
        self: &Arc<Self>,
        part: &str,
        offer: &Offer,
        found: Found,
    ) -> Result<Room, FileRefusal> {
        self.clean_up().map_err(refusal_of)?;
        let mut books = self.books();
        let parts = self.parts.files().map_err(refusal_of)?;
        let lying = parts.iter().filter(|(name, ..)| !books.reserved.contains_key(name));
        let kept: u64 = lying.filter(|(name, ..)| name != part).map(|(_, bytes, _)| bytes).sum();
        let coming: u64 = books.reserved.values().sum();
        let count = || self.root.bytes(PARTS).map_err(refusal_of);
        let has_room = |used: u64| {
            let used = used.saturating_add(kept).saturating_add(coming);
            transfer::has_room(offer, found, used, &self.limits)
        };
        let known = books.used;
        if !known.is_some_and(has_room) {
            // Others may have deleted some of it.
            let used = *books.used.insert(count()?);
            if !has_room(used) {
                return Err(FileRefusal::NoRoom { max: self.limits.files_bytes_max });
            }
        }
        books.reserved.insert(part.to_owned(), offer.bytes);
        drop(books);
        Ok(Room { depot: self.clone(), part: part.to_owned() })
    }

    /// Gives a whole file its place.
    pub(super) fn settle(
        &self,
        part: &str,
        path: &FilePath,
        bytes: u64,
        overwrite: bool,
    ) -> io::Result<()> {
        let layout = self.layout();
        let parent = self.root.parent_or_new(path)?;
        let found = parent.find(path.name())?;
        if found == Found::Other {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        if overwrite {
            self.parts.replace(part, &parent, path.name())?;
        } else {
            self.parts.place(part, &parent, path.name())?;
        }
        drop(layout);
        let replaced = if let Found::File(bytes) = found { bytes } else { 0 };
        if let Some(used) = &mut self.books().used {
            *used = used.saturating_sub(replaced).saturating_add(bytes);
        }
        Ok(())
    }

    /// Deletes a file, and the directories that are empty then.
    pub(super) fn delete(&self, path: &FilePath) -> Result<(), FileRefusal> {
        let _layout = self.layout();
        let parent = self.root.parent_of(path).map_err(refusal_of)?;
        let bytes = match parent.find(path.name()).map_err(refusal_of)? {
            Found::File(bytes) => bytes,
            Found::Nothing => return Err(FileRefusal::NotFound),
            Found::Other => return Err(FileRefusal::NotRegular),
        };
        parent.delete(path.name()).map_err(refusal_of)?;
        if let Some(used) = &mut self.books().used {
            *used = used.saturating_sub(bytes);
        }
        let mut names: Vec<&str> = path.directories().collect();
        while let Some(last) = names.pop() {
            let above = names
                .iter()
                .try_fold(self.root.try_clone(), |dir, name| dir.map(|dir| dir.child(name)));
            let deleted = above.and_then(|above| above.and_then(|dir| dir.delete_directory(last)));
            if deleted.is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Deletes parts that nobody has gone on with for long, and the oldest if there are too many.
    fn clean_up(&self) -> io::Result<()> {
        let mut parts = self.parts.files()?;
        parts.sort_by_key(|(_, _, changed)| std::cmp::Reverse(*changed));
        let now = SystemTime::now();
        for (index, (name, _, changed)) in parts.iter().enumerate() {
            let age = now.duration_since(*changed).unwrap_or_default();
            // One that is being written stays.
            if (index >= FILE_PARTS_MAX || age > FILE_PART_AGE_MAX)
                && let Some(_lock) = self.parts.lock(name)?
            {
                self.parts.delete(name)?;
            }
        }
        Ok(())
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn layout(&self) -> MutexGuard<'_, ()> {
        self.layout.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.depot.books().reserved.remove(&self.part);
    }
}

/// What to say of an error of the disk.
pub(super) fn refusal_of(error: io::Error) -> FileRefusal {
    match error.kind() {
        io::ErrorKind::NotFound => FileRefusal::NotFound,
        io::ErrorKind::AlreadyExists => FileRefusal::Exists,
        io::ErrorKind::InvalidInput | io::ErrorKind::IsADirectory => FileRefusal::NotRegular,
        io::ErrorKind::NotADirectory => FileRefusal::Way,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => FileRefusal::DiskFull,
        // The number of a symbolic link that is not followed, where the kind has no name.
        _ if error.raw_os_error() == Some(nix::errno::Errno::ELOOP as i32) => FileRefusal::Way,
        _ => FileRefusal::Disk(error.to_string()),
    }
}

//! A directory, and what is in it: by its open descriptor and single names, so that nothing leads out of
//! it. Links are not followed, whoever makes them, and whenever.

use std::fs::{File, TryLockError};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::SystemTime;

use nix::dir;
use nix::errno::Errno;
use nix::fcntl::{self, AtFlags, OFlag};
use nix::sys::stat::{self, Mode, SFlag};
use nix::sys::statvfs;
use nix::unistd::{self, UnlinkatFlags};

use crate::files::path::FilePath;
use crate::files::transfer::Found;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Dir(OwnedFd);

const DIRECTORY: OFlag = OFlag::O_DIRECTORY.union(OFlag::O_RDONLY).union(OFlag::O_CLOEXEC);

impl Dir {
    /// The directory at a path of our own user, of which links are followed.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(fcntl::open(path, DIRECTORY, Mode::empty())?))
    }

    pub(super) fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// A directory in it.
    pub(super) fn child(&self, name: &str) -> io::Result<Self> {
        let flags = DIRECTORY | OFlag::O_NOFOLLOW;
        Ok(Self(fcntl::openat(&self.0, name, flags, Mode::empty())?))
    }

    /// A directory in it, which is made if there is nothing.
    pub(super) fn child_or_new(&self, name: &str, mode: u32) -> io::Result<Self> {
        match stat::mkdirat(&self.0, name, Mode::from_bits_truncate(mode)) {
            Ok(()) | Err(Errno::EEXIST) => self.child(name),
            Err(error) => Err(error.into()),
        }
    }

    /// The directory in which a file is, or is to be.
    pub(super) fn parent_of(&self, path: &FilePath) -> io::Result<Self> {
        path.directories().try_fold(self.try_clone()?, |dir, name| dir.child(name))
    }

    /// The same; those that are not there are made.
    pub(super) fn parent_or_new(&self, path: &FilePath) -> io::Result<Self> {
        path.directories().try_fold(self.try_clone()?, |dir, name| dir.child_or_new(name, 0o777))
    }

    /// Opens a file to read it. What is none is an error.
    pub(super) fn read(&self, name: &str) -> io::Result<File> {
        // One end of a pipe would wait for the other.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = File::from(fcntl::openat(&self.0, name, flags, Mode::empty())?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        Ok(file)
    }

    /// Opens a file to read and write it, which nobody else does; it is made if there is none. `None`:
    /// somebody else does.
    pub(super) fn lock(&self, name: &str) -> io::Result<Option<File>> {
        loop {
            let file = self.read_and_write(name)?;
            match file.try_lock() {
                Ok(()) => (),
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error),
            }
            let is_it = stat::fstat(&file)?;
            if is_it.st_nlink > 1 {
                // It has its place, and whoever gave it that has ended before this name was deleted.
                self.delete(name)?;
                continue;
            }
            // Who had it before may have given it another name meanwhile, or none.
            match stat::fstatat(&self.0, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
                Ok(found) if (found.st_dev, found.st_ino) == (is_it.st_dev, is_it.st_ino) => {
                    return Ok(Some(file));
                }
                Ok(_) | Err(Errno::ENOENT) => (),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn read_and_write(&self, name: &str) -> io::Result<File> {
        let flags = OFlag::O_RDWR
            | OFlag::O_CREAT
            | OFlag::O_NOFOLLOW
            | OFlag::O_NONBLOCK
            | OFlag::O_CLOEXEC;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let file = File::from(fcntl::openat(&self.0, name, flags, mode)?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        Ok(file)
    }

    /// What is there.
    pub(super) fn find(&self, name: &str) -> io::Result<Found> {
        match stat::fstatat(&self.0, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(found) if is_file(&found) => {
                Ok(Found::File(u64::try_from(found.st_size).unwrap_or(0)))
            }
            Ok(_) => Ok(Found::Other),
            Err(Errno::ENOENT) => Ok(Found::Nothing),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives a file its place in another directory, and puts it in the place of what is there.
    pub(super) fn replace(&self, name: &str, to: &Self, to_name: &str) -> io::Result<()> {
        Ok(fcntl::renameat(&self.0, name, &to.0, to_name)?)
    }

    /// The same, if nothing is there.
    pub(super) fn place(&self, name: &str, to: &Self, to_name: &str) -> io::Result<()> {
        match unistd::linkat(&self.0, name, &to.0, to_name, AtFlags::empty()) {
            Ok(()) => self.delete(name),
            // Some file systems know no second name of a file.
            Err(Errno::EPERM | Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EMLINK) => {
                if to.find(to_name)? != Found::Nothing {
                    return Err(io::Error::from(io::ErrorKind::AlreadyExists));
                }
                self.replace(name, to, to_name)
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn delete(&self, name: &str) -> io::Result<()> {
        Ok(unistd::unlinkat(&self.0, name, UnlinkatFlags::NoRemoveDir)?)
    }

    /// Deletes a directory in it, if that is empty.
    pub(super) fn delete_directory(&self, name: &str) -> io::Result<()> {
        Ok(unistd::unlinkat(&self.0, name, UnlinkatFlags::RemoveDir)?)
    }

    /// The files in it: name, bytes, and when they were changed.
    pub(super) fn files(&self) -> io::Result<Vec<(String, u64, SystemTime)>> {
        let mut files = Vec::new();
        for name in self.names()? {
            if let Ok(file) = self.read(&name) {
                let about = file.metadata()?;
                files.push((name, about.len(), about.modified()?));
            }
        }
        Ok(files)
    }

    /// The bytes of all files in it, and in the directories in it, except in the one called `except`.
    pub(super) fn bytes(&self, except: &str) -> io::Result<u64> {
        let mut bytes: u64 = 0;
        // By names, since open directories are few, and so is the room for calls within calls.
        let mut ways: Vec<Vec<String>> = vec![Vec::new()];
        while let Some(way) = ways.pop() {
            let dir = way.iter().try_fold(self.try_clone()?, |dir, name| dir.child(name));
            // What is gone meanwhile, or may not be read, is not counted.
            let Ok(dir) = dir else { continue };
            for name in dir.names()? {
                match stat::fstatat(&dir.0, name.as_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
                    Ok(found) if is_file(&found) => {
                        bytes = bytes.saturating_add(u64::try_from(found.st_size).unwrap_or(0));
                    }
                    Ok(found) if is_directory(&found) && (!way.is_empty() || name != except) => {
                        ways.push(way.iter().cloned().chain([name]).collect());
                    }
                    _ => (),
                }
            }
        }
        Ok(bytes)
    }

    /// Bytes for which its disk has room.
    pub(super) fn room(&self) -> io::Result<u64> {
        let about = statvfs::fstatvfs(&self.0)?;
        // Their types are others on other systems.
        let (blocks, size) = (about.blocks_available() as u64, about.fragment_size() as u64);
        Ok(blocks.saturating_mul(size))
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let here = fcntl::openat(self.0.as_fd(), ".", DIRECTORY, Mode::empty())?;
        let mut names = Vec::new();
        for entry in dir::Dir::from_fd(here)?.iter() {
            let entry = entry?;
            if let Ok(name) = entry.file_name().to_str()
                && name != "."
                && name != ".."
            {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }
}

fn is_file(found: &stat::FileStat) -> bool {
    SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG
}

fn is_directory(found: &stat::FileStat) -> bool {
    SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_is_locked_once_and_by_its_name() {
        let (home, dir) = dir();
        let file = dir.lock("x").unwrap().unwrap();
        assert!(dir.lock("x").unwrap().is_none());
        dir.replace("x", &dir, "y").unwrap();
        assert!(dir.lock("x").unwrap().is_some(), "it is another file");
        drop(file);
        assert!(home.path().join("y").exists());
    }

    /// Goal: a file that has its place is never written again as a part.
    /// Method: the state after a process has ended between the two steps of `place`.
    #[test]
    fn a_part_that_has_got_its_place_is_a_part_no_more() {
        let (home, dir) = dir();
        fs::write(home.path().join("part"), "whole").unwrap();
        fs::hard_link(home.path().join("part"), home.path().join("file")).unwrap();
        let mut part = dir.lock("part").unwrap().unwrap();
        part.write_all(b"other").unwrap();
        assert_eq!(fs::read(home.path().join("file")).unwrap(), b"whole");
    }

    #[test]
    fn a_file_is_placed_only_where_nothing_is() {
        let (home, dir) = dir();
        fs::write(home.path().join("part"), "new").unwrap();
        symlink("nowhere", home.path().join("link")).unwrap();
        fs::write(home.path().join("file"), "old").unwrap();
        for name in ["link", "file"] {
            let error = dir.place("part", &dir, name).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists, "{name}");
        }
        dir.place("part", &dir, "free").unwrap();
        assert!(!home.path().join("part").exists());
        assert_eq!(fs::read(home.path().join("free")).unwrap(), b"new");
        assert_eq!(fs::read(home.path().join("file")).unwrap(), b"old");
    }

    #[test]
    fn bytes_are_counted_in_all_directories_but_one_and_not_through_links() {
        let (home, dir) = dir();
        fs::create_dir_all(home.path().join("a/b")).unwrap();
        fs::create_dir_all(home.path().join("not")).unwrap();
        for path in ["one", "a/two", "a/b/three", "not/four"] {
            fs::write(home.path().join(path), [0; 10]).unwrap();
        }
        symlink(home.path(), home.path().join("a/up")).unwrap();
        symlink(home.path().join("one"), home.path().join("a/link")).unwrap();
        assert_eq!(dir.bytes("not").unwrap(), 30);
    }

    #[test]
    fn a_pipe_is_not_waited_for() {
        let (home, dir) = dir();
        unistd::mkfifo(&home.path().join("pipe"), Mode::S_IRWXU).unwrap();
        assert!(dir.read("pipe").is_err());
        assert!(dir.lock("pipe").is_err());
        assert_eq!(dir.find("pipe").unwrap(), Found::Other);
    }

    fn dir() -> (tempfile::TempDir, Dir) {
        let home = tempfile::tempdir().unwrap();
        let dir = Dir::open(home.path()).unwrap();
        (home, dir)
    }
}

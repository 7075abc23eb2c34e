//! The nodes of one user on this machine. They meet by files in a directory that only this user can
//! write.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::unistd::{geteuid, gethostname};
use pleiad_types::NodeId;
use pleiad_types::limits::{CLUSTER_BYTES_MAX, NEIGHBOUR_BYTES_MAX, NEIGHBOURS_MAX};
use tracing::debug;

use entry::Entry;

mod entry;

/// The directory in which the nodes of this cluster meet if nothing else is said: in the user's
/// directory for running programs, or else in that for their state. The latter may be shared by
/// several machines, so there it is one for each.
///
/// # Errors
///
/// [`HereError::Cluster`], [`HereError::NoHome`].
pub(crate) fn default_directory(cluster: &str) -> Result<PathBuf, HereError> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let fits = (1..=CLUSTER_BYTES_MAX).contains(&cluster.len());
    if !fits || cluster.starts_with('.') || !cluster.chars().all(is_plain) {
        return Err(HereError::Cluster(cluster.chars().take(CLUSTER_BYTES_MAX).collect()));
    }
    let directories = directories::BaseDirs::new().ok_or(HereError::NoHome)?;
    if let Some(runtime) = directories.runtime_dir() {
        return Ok(runtime.join("pleiad").join(cluster));
    }
    let state = directories.state_dir().unwrap_or_else(|| directories.data_local_dir());
    let machine = gethostname().unwrap_or_default();
    Ok(state.join("pleiad").join(cluster).join("here").join(machine))
}

/// A node's entry among those of its user on this machine; taken away when this is dropped.
#[derive(Debug)]
pub(crate) struct Here {
    directory: PathBuf,
    file: PathBuf,
}

/// Another node of this user on this machine, or what is left of one that was killed.
#[derive(Debug)]
pub(crate) struct Neighbour {
    pub(crate) node: NodeId,
    pub(crate) name: String,
    pub(crate) process: u32,
    pub(crate) addresses: Vec<SocketAddr>,
    file: PathBuf,
    mark: Mark,
}

impl Here {
    /// Makes the directory if it is not there, writes the node's entry, then reads those of the
    /// others. Of two nodes that join at once, at least one sees the other.
    ///
    /// What is no entry is left out, and named in the log at level debug. Blocks its thread, but not
    /// for long: at most 1,024 files of 4 KiB are read.
    ///
    /// # Errors
    ///
    /// [`HereError`]; then nothing has been written.
    pub(crate) fn join(
        directory: &Path,
        node: NodeId,
        name: &str,
        addresses: &[SocketAddr],
    ) -> Result<(Self, Vec<Neighbour>), HereError> {
        let process = std::process::id();
        let entry = Entry { name: name.to_owned(), process, addresses: addresses.to_vec() };
        let text = entry.to_text().ok_or_else(|| HereError::Name(name.escape_debug().collect()))?;
        prepare(directory)?;
        let here = Self { directory: directory.to_owned(), file: directory.join(file_name(node)) };
        here.write(node, &text).map_err(|error| HereError::Write(here.file.clone(), error))?;
        let neighbours = here.read(node)?;
        Ok((here, neighbours))
    }

    /// Takes away the entry of a node that is not there any more: it has refused the connection.
    /// Whether it did: an entry that was written again since it was read stays.
    pub(crate) fn forget(&self, gone: &Neighbour) -> bool {
        let is_same = Mark::of_path(&gone.file).is_ok_and(|mark| mark == gone.mark);
        is_same && fs::remove_file(&gone.file).is_ok()
    }

    fn write(&self, node: NodeId, text: &str) -> io::Result<()> {
        let draft = self.directory.join(format!(".{}", file_name(node)));
        let written = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(&draft)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .and_then(|()| fs::rename(&draft, &self.file));
        if written.is_err() {
            let _ = fs::remove_file(&draft);
        }
        written
    }

    fn read(&self, me: NodeId) -> Result<Vec<Neighbour>, HereError> {
        let failed = |error| HereError::Read(self.directory.clone(), error);
        let files = fs::read_dir(&self.directory).map_err(failed)?;
        let mut neighbours = Vec::new();
        for file in files.take(NEIGHBOURS_MAX) {
            let file = file.map_err(failed)?;
            let name = file.file_name();
            let Some(node) = name.to_str().and_then(node_of) else {
                debug!(file = ?name, "left out: not the name of an entry");
                continue;
            };
            if node == me {
                continue;
            }
            match Neighbour::read(node, file.path()) {
                Ok(neighbour) => neighbours.push(neighbour),
                Err(error) => debug!(file = ?name, %error, "left out"),
            }
        }
        Ok(neighbours)
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.file) {
            debug!(file = ?self.file, %error, "the entry of this node could not be taken away");
        }
    }
}

impl Neighbour {
    fn read(node: NodeId, path: PathBuf) -> io::Result<Self> {
        // Not to wait: it may be a named pipe.
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(&path)?;
        let meta = file.metadata()?;
        if !meta.is_file() || meta.uid() != geteuid().as_raw() {
            return Err(io::Error::other("not a file of this user"));
        }
        let text = read_text(file)?;
        let entry = Entry::from_text(&text).ok_or_else(|| io::Error::other("not an entry"))?;
        let Entry { name, process, addresses } = entry;
        Ok(Self { node, name, process, addresses, file: path, mark: Mark::of(&meta) })
    }
}

fn read_text(file: File) -> io::Result<String> {
    let mut text = String::new();
    let bytes_max = NEIGHBOUR_BYTES_MAX as u64;
    let read = file.take(bytes_max + 1).read_to_string(&mut text)?;
    if read > NEIGHBOUR_BYTES_MAX { Err(io::Error::other("too long")) } else { Ok(text) }
}

/// By what a file is known again that has not been written since.
#[derive(Debug, PartialEq)]
struct Mark {
    inode: u64,
    written: (i64, i64),
    bytes: u64,
}

impl Mark {
    fn of(meta: &fs::Metadata) -> Self {
        let written = (meta.mtime(), meta.mtime_nsec());
        Self { inode: meta.ino(), written, bytes: meta.size() }
    }

    fn of_path(path: &Path) -> io::Result<Self> {
        Ok(Self::of(&fs::symlink_metadata(path)?))
    }
}

fn file_name(node: NodeId) -> String {
    format!("{:016x}", node.0)
}

/// The node whose entry has this name.
fn node_of(file: &str) -> Option<NodeId> {
    let node = NodeId(u64::from_str_radix(file, 16).ok()?);
    (file_name(node) == file).then_some(node)
}

/// Makes the directory, and looks whether nobody else can write in it.
fn prepare(directory: &Path) -> Result<(), HereError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|error| HereError::Write(directory.to_owned(), error))?;
    let meta = fs::symlink_metadata(directory)
        .map_err(|error| HereError::Read(directory.to_owned(), error))?;
    if !meta.is_dir() {
        return Err(HereError::NotADirectory(directory.to_owned()));
    }
    if meta.uid() != geteuid().as_raw() {
        return Err(HereError::OtherUser { directory: directory.to_owned(), user: meta.uid() });
    }
    if meta.mode() & 0o022 != 0 {
        return Err(HereError::Writable(directory.to_owned()));
    }
    Ok(())
}

/// Why a node cannot meet the others of its user on this machine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HereError {
    /// The name of the cluster would be no name of a directory.
    #[error(
        "{0:?} is no name of a cluster: give 1 to {CLUSTER_BYTES_MAX} letters, digits, '-', '_' and \
         '.', the first not a '.'"
    )]
    Cluster(String),
    /// The name of the node does not fit into an entry.
    #[error(
        "\"{0}\" is no name of a node: give 1 to {max} bytes without control characters",
        max = pleiad_types::limits::NAME_BYTES_MAX
    )]
    Name(String),
    /// The user has no home directory.
    #[error("this user has no home directory: set XDG_RUNTIME_DIR or HOME")]
    NoHome,
    /// What has its place is no directory, or a link to one.
    #[error("{0:?} is not a directory: take it away, or give another one")]
    NotADirectory(PathBuf),
    /// Somebody else could tell us lies.
    #[error("{directory:?} belongs to another user (number {user}): give another directory")]
    OtherUser {
        /// The directory.
        directory: PathBuf,
        /// The user's number.
        user: u32,
    },
    /// Somebody else could tell us lies.
    #[error("other users may write in {0:?}: take that from them by chmod 700")]
    Writable(PathBuf),
    /// The directory cannot be read.
    #[error("cannot read {0:?}")]
    Read(PathBuf, #[source] io::Error),
    /// The directory cannot be made, or the entry cannot be written.
    #[error("cannot write {0:?}")]
    Write(PathBuf, #[source] io::Error),
}

#[cfg(test)]
mod tests;

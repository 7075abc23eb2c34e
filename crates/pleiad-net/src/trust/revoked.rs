use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use pleiad_types::limits;

use super::files::{Present, read_trusted, write_secret};
use super::fingerprint::Fingerprint;
use super::key_error::KeyError;

/// The members that are no longer trusted, by the fingerprints of their certificates.
///
/// A handle: clones share one list, and each handshake looks into it. A connection that stands is
/// not ended by this. A machine that has the [`ClusterKey`](crate::ClusterKey) makes itself a new
/// certificate at each start, so it cannot be revoked; make a new cluster then.
///
/// The file has a fingerprint a line; what follows it on the line, and lines that begin with `#`,
/// are notes. It is of this machine: each machine that is to refuse a member needs it.
#[derive(Debug, Clone, Default)]
pub struct Revoked {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    path: Option<PathBuf>,
    // Invariant: at most limits::REVOKED_MAX entries.
    list: RwLock<BTreeSet<Fingerprint>>,
}

impl Revoked {
    /// Reads the list from its file. If there is none, nobody is revoked. Default: a list in memory.
    ///
    /// # Errors
    ///
    /// [`KeyError::Damaged`], with the number of the line, if a line does not begin with a
    /// fingerprint; [`KeyError::OpenToOthers`] if others may write to it;
    /// [`KeyError::TooManyRevoked`] beyond 10 000; [`KeyError::File`].
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let list = RwLock::new(fingerprints(path, &text_of(path)?)?);
        Ok(Self { shared: Arc::new(Shared { path: Some(path.to_owned()), list }) })
    }

    /// Reads the file again. With an error, the list stays as it was.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn reload(&self) -> Result<(), KeyError> {
        if let Some(path) = &self.shared.path {
            self.set(fingerprints(path, &text_of(path)?)?);
        }
        Ok(())
    }

    /// Revokes a member, here and in the file, for ever. `note` says why, or who it was.
    ///
    /// Several processes may do this at the same time.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load). Nobody was revoked then.
    pub fn revoke(&self, member: Fingerprint, note: &str) -> Result<(), KeyError> {
        let Some(path) = &self.shared.path else {
            let mut list = self.shared.list.write().unwrap_or_else(PoisonError::into_inner);
            if list.len() >= limits::REVOKED_MAX {
                return Err(KeyError::TooManyRevoked);
            }
            list.insert(member);
            return Ok(());
        };
        let _alone = lock(path)?;
        let mut text = text_of(path)?;
        let mut list = fingerprints(path, &text)?;
        if list.insert(member) {
            if list.len() > limits::REVOKED_MAX {
                return Err(KeyError::TooManyRevoked);
            }
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            let note: String = note.chars().filter(|c| !c.is_control()).take(200).collect();
            text.push_str(format!("{member} {note}").trim_end());
            text.push('\n');
            write_secret(path, text.as_bytes(), Present::Replace)?;
        }
        self.set(list);
        Ok(())
    }

    /// Whether this member is no longer trusted.
    pub fn contains(&self, member: &Fingerprint) -> bool {
        self.shared.list.read().unwrap_or_else(PoisonError::into_inner).contains(member)
    }

    fn set(&self, list: BTreeSet<Fingerprint>) {
        *self.shared.list.write().unwrap_or_else(PoisonError::into_inner) = list;
    }
}

fn text_of(path: &Path) -> Result<String, KeyError> {
    let text = read_trusted(path)?.unwrap_or_default();
    String::from_utf8(text)
        .map_err(|_| KeyError::Damaged { path: path.to_owned(), what: "it is not text".to_owned() })
}

fn fingerprints(path: &Path, text: &str) -> Result<BTreeSet<Fingerprint>, KeyError> {
    let mut list = BTreeSet::new();
    for (number, line) in (1..).zip(text.lines()) {
        let Some(word) = line.split_whitespace().next() else { continue };
        if word.starts_with('#') {
            continue;
        }
        list.insert(word.parse().map_err(|error| KeyError::Damaged {
            path: path.to_owned(),
            what: format!("line {number}: {error}"),
        })?);
    }
    if list.len() > limits::REVOKED_MAX {
        return Err(KeyError::TooManyRevoked);
    }
    Ok(list)
}

/// Keeps other processes from changing the file until it is dropped.
fn lock(path: &Path) -> Result<File, KeyError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let path = PathBuf::from(name);
    let error = |error| KeyError::file("lock", &path, error);
    let file =
        File::options().create(true).truncate(false).write(true).open(&path).map_err(error)?;
    file.lock().map_err(error)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::thread;

    use super::super::fingerprint::hash;
    use super::*;

    fn member(n: u32) -> Fingerprint {
        Fingerprint::from_bytes(hash(&n.to_le_bytes()))
    }

    #[test]
    fn what_one_handle_revokes_another_sees_after_reloading() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("revoked");
        let here = Revoked::load(&path).unwrap();
        let there = Revoked::load(&path).unwrap();

        here.revoke(member(1), "lost on the train\nreally").unwrap();
        assert!(here.contains(&member(1)) && !there.contains(&member(1)));
        there.reload().unwrap();
        assert!(there.contains(&member(1)) && !there.contains(&member(2)));
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("{} lost on the trainreally\n", member(1)));
    }

    #[test]
    fn nothing_is_lost_when_several_revoke_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("revoked");
        thread::scope(|scope| {
            for n in 0..8 {
                let path = &path;
                scope.spawn(move || Revoked::load(path).unwrap().revoke(member(n), "").unwrap());
            }
        });
        let all = Revoked::load(&path).unwrap();
        assert!((0..8).all(|n| all.contains(&member(n))));
    }

    #[test]
    fn a_broken_file_is_refused_with_its_line_and_the_list_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("revoked");
        let revoked = Revoked::load(&path).unwrap();
        revoked.revoke(member(1), "").unwrap();

        let text = format!("# a note\n\n{}\n{}\n", member(2), &member(3).to_string()[..10]);
        write_secret(&path, text.as_bytes(), Present::Replace).unwrap();
        let error = revoked.reload().unwrap_err().to_string();
        assert!(error.contains("line 4: not a fingerprint"), "{error}");
        assert!(revoked.contains(&member(1)) && !revoked.contains(&member(2)));
        revoked.revoke(member(4), "").unwrap_err();
    }
}

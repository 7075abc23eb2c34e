use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cluster_key::ClusterKey;
use super::files::private_dir;
use super::key_error::KeyError;
use super::member::Member;
use super::revoked::Revoked;

/// The directory in which a user's keys lie: `PLEIAD_HOME`, else `pleiad` in the user's directory
/// for the state of programs (on Linux `~/.local/state/pleiad`). Its mode is 0700.
///
/// Files: `cluster.key`, `membership` (after joining another cluster), `revoked`.
#[derive(Debug, Clone)]
pub struct Home {
    dir: PathBuf,
}

impl Home {
    /// The user's; made at first use.
    ///
    /// # Errors
    ///
    /// [`KeyError::NoHome`]; [`KeyError::OpenToOthers`] if others may write to the directory;
    /// [`KeyError::File`] if it cannot be made.
    pub fn of_user() -> Result<Self, KeyError> {
        let dir = match std::env::var_os("PLEIAD_HOME") {
            Some(dir) if !dir.is_empty() => PathBuf::from(dir),
            _ => {
                let dirs = directories::BaseDirs::new().ok_or(KeyError::NoHome)?;
                dirs.state_dir().unwrap_or_else(|| dirs.data_local_dir()).join("pleiad")
            }
        };
        Self::at(&dir)
    }

    /// This directory; made if it is not there.
    ///
    /// # Errors
    ///
    /// As [`of_user`](Self::of_user).
    pub fn at(dir: &Path) -> Result<Self, KeyError> {
        private_dir(dir)?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// The path of the directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The key of the user's own cluster; made if there is none. Processes that do this at the same
    /// time get the same one.
    ///
    /// # Errors
    ///
    /// As [`ClusterKey::load`] and [`ClusterKey::save`].
    pub fn cluster_key(&self) -> Result<ClusterKey, KeyError> {
        let path = self.dir.join("cluster.key");
        if let Some(key) = ClusterKey::load_if_there(&path)? {
            return Ok(key);
        }
        let key = ClusterKey::create("default")?;
        match key.save(&path) {
            Ok(()) => Ok(key),
            Err(KeyError::Exists { .. }) => ClusterKey::load(&path),
            Err(error) => Err(error),
        }
    }

    /// What this user's nodes are: a member of the cluster that was joined, else of the own one.
    ///
    /// # Errors
    ///
    /// As [`Member::load`], [`cluster_key`](Self::cluster_key) and [`Revoked::load`].
    pub fn member(&self) -> Result<Member, KeyError> {
        let revoked = self.revoked()?;
        match Member::load_if_there(&self.membership(), revoked.clone())? {
            Some(member) => Ok(member),
            None => Member::of(Arc::new(self.cluster_key()?), revoked),
        }
    }

    /// Who is no member any more, as this user's nodes know.
    ///
    /// # Errors
    ///
    /// As [`Revoked::load`].
    pub fn revoked(&self) -> Result<Revoked, KeyError> {
        Revoked::load(&self.dir.join("revoked"))
    }

    /// Where to [save](Member::save) a membership, so that [`member`](Self::member) finds it.
    pub fn membership(&self) -> PathBuf {
        self.dir.join("membership")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    #[test]
    fn those_who_make_the_default_cluster_at_once_get_the_same_one() {
        for _ in 0..10 {
            let dir = tempfile::tempdir().unwrap();
            let dir = dir.path().join("pleiad");
            let start = Barrier::new(8);
            let ids: BTreeSet<_> = thread::scope(|scope| {
                let make = || {
                    start.wait();
                    Home::at(&dir).unwrap().cluster_key().unwrap().id()
                };
                let threads: Vec<_> = (0..8).map(|_| scope.spawn(make)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert_eq!(ids.len(), 1);
            let names: Vec<_> =
                fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert_eq!(names, ["cluster.key"]);
        }
    }

    #[test]
    fn a_membership_goes_before_the_own_cluster() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path()).unwrap();
        let own = home.member().unwrap();
        assert_eq!(own.cluster(), home.cluster_key().unwrap().id());
        assert!(own.cluster_key().is_some());

        let other = ClusterKey::create("other").unwrap();
        Member::joined_for_tests(&other).save(&home.membership()).unwrap();
        let joined = home.member().unwrap();
        assert_eq!((joined.cluster(), joined.cluster_name()), (other.id(), Some("other")));
        assert!(joined.cluster_key().is_none());
    }
}

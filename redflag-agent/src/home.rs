//! The state directory: where the agent keeps its key, identity, counters, outbox and memory.
//!
//! The directory is private to its owner. One process at a time works in it ([`AgentHome::lock`]); reading `status` needs no lock.

use crate::error::{Error, Result};
use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

/// The state directory when nothing else is asked for.
pub const DEFAULT_STATE_DIR: &str = "/var/lib/redflag-agent";

/// A state directory that exists and is private.
#[derive(Clone, Debug)]
pub struct AgentHome {
    path: PathBuf,
}

/// Held while a process works in a state directory; released when dropped, and by the end of the process.
#[derive(Debug)]
pub struct HomeLock {
    file: File,
}

impl HomeLock {
    /// Lets the processes this one starts hold the lock too: the directory stays taken while one of them works, even if this process
    /// is killed.
    pub(crate) fn keep_in_children(&self) -> Result<()> {
        rustix::io::fcntl_setfd(&self.file, rustix::io::FdFlags::empty()).map_err(|error| Error::state("keep", "the lock")(error.into()))
    }
}

impl Drop for HomeLock {
    fn drop(&mut self) {
        // Released for every copy of the descriptor, also one that a process between its fork and its exec still has. If this fails,
        // closing the file releases it a moment later.
        let _ = self.file.unlock();
    }
}

impl AgentHome {
    /// Opens the state directory at `path`, making it (mode 0700) when it is missing.
    ///
    /// # Errors
    /// When it cannot be made, belongs to somebody else, or others may enter it.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(Error::state("create the state directory", &path))?;
        let metadata = std::fs::metadata(&path).map_err(Error::state("inspect", &path))?;
        let owner = rustix::process::geteuid().as_raw();
        if metadata.uid() != owner {
            let message = format!("it belongs to user {}, and this is user {owner}; run as its owner or use --state-dir", metadata.uid());
            return Err(Error::damaged(path, message));
        }
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            let message = format!("others may read it (mode {mode:o}); run `chmod 700 {}`", path.display());
            return Err(Error::damaged(path, message));
        }
        Ok(Self { path })
    }

    /// Opens the state directory at `path` without making it.
    ///
    /// # Errors
    /// As [`AgentHome::open`], and when there is none.
    pub fn existing(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        if path.is_dir() { Self::open(path) } else { Err(Error::NotEnrolled { path }) }
    }

    /// The state directory at `path` as it is, to be looked at only; none when there is no directory.
    #[cfg(feature = "agent")]
    pub(crate) fn as_found(path: &Path) -> Option<Self> {
        path.is_dir().then(|| Self { path: path.to_owned() })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the directory for this process.
    ///
    /// # Errors
    /// [`Error::Busy`] while another process holds it.
    pub fn lock(&self) -> Result<HomeLock> {
        let path = self.file("lock");
        let file =
            OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path).map_err(Error::state("open", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(HomeLock { file }),
            Err(TryLockError::WouldBlock) => Err(Error::Busy { path: self.path.clone() }),
            Err(TryLockError::Error(error)) => Err(Error::state("lock", path)(error)),
        }
    }

    /// Waits until this process may change what is pinned: the agent and a person may both do so, and neither may undo the other's change.
    #[cfg(feature = "agent")]
    pub(crate) fn lock_pins(&self) -> Result<HomeLock> {
        let path = self.file("pins.lock");
        let file =
            OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path).map_err(Error::state("open", &path))?;
        file.lock().map_err(Error::state("lock", path))?;
        Ok(HomeLock { file })
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A directory inside, made when missing.
    pub(crate) fn directory(&self, name: &str) -> Result<PathBuf> {
        let path = self.file(name);
        DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(Error::state("create", &path))?;
        crate::durable::sync_directory_of(&path)?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_is_made_private_and_refused_when_it_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b");
        AgentHome::open(&path).unwrap();
        let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        mode(0o750);
        assert!(AgentHome::open(&path).unwrap_err().to_string().contains("chmod 700"));
        mode(0o700);
        AgentHome::open(&path).unwrap();
    }

    #[test]
    fn one_process_at_a_time_holds_the_lock() {
        let directory = tempfile::tempdir().unwrap();
        let home = AgentHome::open(directory.path().join("state")).unwrap();
        let lock = home.lock().unwrap();
        assert!(matches!(home.lock(), Err(Error::Busy { .. })));
        drop(lock);
        home.lock().unwrap();
    }
}

//! A copy of the fleet as it is at one moment, made while others write.
//!
//! SQLite's online backup begins anew whenever another connection writes between two of its steps. A read transaction around all
//! steps keeps them on one moment instead; in WAL mode it holds up nobody, but what is written meanwhile stays in the write-ahead log.

use crate::{error::Failure, feed};
use redflag_core::store::{StoreError, StoreErrorKind};
use rusqlite::{
    Connection, OpenFlags,
    backup::{Backup, StepResult},
};
use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

/// Pages of one step: 4 MiB.
const PAGES_A_STEP: i32 = 1_024;

/// How far a backup is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackupProgress {
    /// Pages copied.
    pub pages_done: u64,
    /// Pages of the file.
    pub pages_total: u64,
}

/// Copies what `source` sees in its read transaction to a new file.
pub(crate) fn copy(source: &Connection, path: &Path, mut progress: impl FnMut(BackupProgress)) -> Result<(), Failure> {
    // Of a relative name, SQLite may think that it means something else than a file.
    let path = &std::path::absolute(path).map_err(|error| unusable(path, &error))?;
    let unfinished = Unfinished::create(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut target = Connection::open_with_flags(path, flags)?;
    target.pragma_update(None, "synchronous", "FULL")?;
    // The first read chooses the moment.
    feed::newest(source)?;
    let backup = Backup::new(source, &mut target)?;
    loop {
        let step = backup.step(PAGES_A_STEP)?;
        let counted = backup.progress();
        let [total, left] = [counted.pagecount, counted.remaining].map(|pages| u64::try_from(pages).unwrap_or(0));
        progress(BackupProgress { pages_done: total.saturating_sub(left), pages_total: total });
        match step {
            StepResult::Done => break,
            StepResult::More => {}
            _ => return Err(StoreError::caused(StoreErrorKind::Unavailable, "somebody else uses the file of the backup").into()),
        }
    }
    drop(backup);
    unfinished.finish(target)
}

fn unusable(path: &Path, error: &io::Error) -> StoreError {
    StoreError::caused(StoreErrorKind::Unavailable, format!("creating {}: {error}", path.display()))
}

/// A file that goes, with its journal, unless it is finished.
struct Unfinished(Option<PathBuf>);

impl Unfinished {
    /// Creates the file, for its owner alone.
    fn create(path: &Path) -> Result<Self, StoreError> {
        let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        created.map_err(|error| unusable(path, &error))?;
        Ok(Self(Some(path.to_owned())))
    }

    fn finish(mut self, target: Connection) -> Result<(), Failure> {
        target.close().map_err(|(_, error)| error)?;
        self.0 = None;
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let Some(path) = self.0.take() else { return };
        let mut journal = path.clone().into_os_string();
        journal.push("-journal");
        for left in [path, journal.into()] {
            if let Err(error) = fs::remove_file(&left)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!("cannot remove {} of a backup that failed: {error}", left.display());
            }
        }
    }
}

//! A file of a test's own.

use redflag_store_sqlite::{Options, SqliteStore};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A place for a file, which goes with the directory.
pub(crate) fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("fleet.db");
    (directory, path)
}

pub(crate) fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(path, Options::default()).expect("the store opens")
}

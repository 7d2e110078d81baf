//! What the tests of this crate share: stores in files of their own.

use async_trait::async_trait;
use redflag_core::{conformance::Harness, store::Store};
use redflag_store_sqlite::{Options, SqliteStore};
use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};
use tempfile::TempDir;

/// Stores in files of one temporary directory.
#[derive(Debug)]
pub(crate) struct Files {
    directory: TempDir,
    made: AtomicU32,
    /// Which store has which file, by the address of the store.
    paths: Mutex<Vec<(usize, PathBuf)>>,
}

impl Default for Files {
    fn default() -> Self {
        Self { directory: tempfile::tempdir().expect("a temporary directory"), made: AtomicU32::new(0), paths: Mutex::default() }
    }
}

impl Files {
    fn open(&self, path: PathBuf) -> Arc<dyn Store> {
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&path, Options::default()).expect("the store opens"));
        self.paths.lock().expect("no test panics holding it").push((address(&store), path));
        store
    }
}

fn address(store: &Arc<dyn Store>) -> usize {
    Arc::as_ptr(store).cast::<()>().addr()
}

#[async_trait]
impl Harness for Files {
    async fn fresh(&self) -> Arc<dyn Store> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        self.open(self.directory.path().join(format!("{number}.db")))
    }

    async fn reopen(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        let path = {
            let mut paths = self.paths.lock().expect("no test panics holding it");
            let place = paths.iter().position(|(known, _)| *known == address(&store)).expect("a store of this harness");
            paths.swap_remove(place).1
        };
        drop(store);
        self.open(path)
    }
}

/// Stores in memory.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct InMemory;

#[async_trait]
impl Harness for InMemory {
    async fn fresh(&self) -> Arc<dyn Store> {
        Arc::new(SqliteStore::in_memory().expect("the store opens"))
    }

    async fn reopen(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        store
    }
}

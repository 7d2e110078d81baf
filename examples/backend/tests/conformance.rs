//! The conformance kit on redb files, and its differential test at any volume.
//!
//! `REDFLAG_CASES` sets how many histories are compared (20 when unset), `REDFLAG_SEED` the first seed (0 when unset); a failure
//! names the seed to give back.

use async_trait::async_trait;
use redflag_core::{
    conformance::{Harness, Shape, compare_with_memory},
    store::Store,
};
use redflag_example_backend::RedbStore;
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex},
};
use tempfile::TempDir;

redflag_core::conformance_tests!(Files::default());

/// Stores in files of one temporary directory.
struct Files {
    directory: TempDir,
    /// Which store has which file, by the address of the store: the kit knows stores, not files.
    paths: Mutex<HashMap<usize, PathBuf>>,
}

impl Default for Files {
    fn default() -> Self {
        Self { directory: tempfile::tempdir().expect("a temporary directory"), paths: Mutex::default() }
    }
}

impl Files {
    fn open(&self, path: PathBuf) -> Arc<dyn Store> {
        let store: Arc<dyn Store> = Arc::new(RedbStore::open(&path).expect("the store opens"));
        self.paths.lock().expect("no test panics holding it").insert(address(&store), path);
        store
    }
}

fn address(store: &Arc<dyn Store>) -> usize {
    Arc::as_ptr(store).addr()
}

#[async_trait]
impl Harness for Files {
    async fn fresh(&self) -> Arc<dyn Store> {
        let file = tempfile::Builder::new().suffix(".redb").tempfile_in(self.directory.path());
        let (_, path) = file.and_then(|file| file.keep().map_err(Into::into)).expect("a file of its own");
        self.open(path)
    }

    async fn reopen(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        let path = self.paths.lock().expect("no test panics holding it").remove(&address(&store)).expect("a store of this harness");
        drop(store);
        self.open(path)
    }
}

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |value| value.parse().unwrap_or_else(|_| panic!("{name} is no number: {value:?}")))
}

#[tokio::test]
async fn random_histories_read_like_the_memory_store() {
    let first = setting("REDFLAG_SEED", 0);
    for seed in first..first + setting("REDFLAG_CASES", 20) {
        if let Err(difference) = compare_with_memory(&Files::default(), seed, Shape::default(), Some(20)).await {
            panic!(
                "{difference}\nreplay: REDFLAG_SEED={seed} REDFLAG_CASES=1 cargo test -p redflag-example-backend --test conformance random"
            );
        }
    }
}

//! Disks that are full or read-only: told as such, nothing partial, healed without anybody's help when there is room again.

use redflag_core::{
    conformance::{Shape, Witness, generate::Rng, history, streams},
    store::{BatchStore, StoreErrorKind},
};
use redflag_faults::{Campaign, Disk, Tmpfs, Writing};
use redflag_store_sqlite::{Options, SqliteStore};
use std::sync::Arc;

const SHAPE: Shape = Shape { agents: 2, steps: 200, packages: 60 };

/// Submits the next works of every stream, at most so many of each; answers how it failed, if it did.
async fn write(store: &SqliteStore, witness: &mut Witness, works: usize) -> Option<StoreErrorKind> {
    let batches: Arc<dyn BatchStore> = Arc::new(store.clone());
    Writing::begin(&batches, witness, works).ended(witness).await.pop()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_told_and_heals_by_itself() {
    let test = "-p redflag-store-sqlite --test faults a_full_disk_is_told_and_heals_by_itself";
    let mut campaign = Campaign::new("SQLite: disk full", test, 30);
    let mut full = 0;
    while let Some((seed, mut rng)) = campaign.seed() {
        let mut kibibytes = 1_024;
        let disk = Tmpfs::new(kibibytes);
        let store = SqliteStore::open(disk.path().join("fleet.db"), Options::default()).unwrap();
        let mut witness = Witness::new(streams(history(seed, SHAPE)));
        while !witness.finished() && campaign.cycle() {
            if let Some(kind) = write(&store, &mut witness, usize::MAX).await {
                assert_eq!(kind, StoreErrorKind::Unavailable, "seed {seed}: a full disk of {kibibytes} KiB");
                full += 1;
            }
            witness.audit(&store).await.unwrap();
            witness.findings().whole().unwrap();
            kibibytes += 4 * (1 + u32::try_from(rng.below(40)).unwrap());
            disk.resize(kibibytes);
        }
        campaign.add(&witness.settle(&store).await.unwrap());
    }
    assert!(full > 0, "the disk was never full");
    campaign.end(&format!("{full} times out of room"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fails_and_becomes_read_only_loses_nothing_acknowledged() {
    let mut witness = Witness::new(streams(history(1, SHAPE)));
    let mut disk = Disk::new(48);
    let mut rng = Rng::new(1);
    for _ in 0..3 {
        let store = SqliteStore::open(disk.path().join("fleet.db"), Options::default()).unwrap();
        assert_eq!(write(&store, &mut witness, 5 + rng.below(5)).await, None);
        disk.fail();
        let kind = write(&store, &mut witness, 5).await.expect("nothing can be written to a disk that failed");
        assert!(matches!(kind, StoreErrorKind::Unavailable | StoreErrorKind::OutcomeUnknown), "{kind:?}");
        witness.audit(&store).await.expect("what is there can be read");
        witness.findings().whole().unwrap();
        drop(store);
        disk = disk.cut().restored();
        let store = SqliteStore::open(disk.path().join("fleet.db"), Options::default()).unwrap();
        witness.audit(&store).await.unwrap();
        witness.findings().whole().unwrap();
    }
}

#[tokio::test]
async fn a_read_only_directory_is_told_and_left_as_it_is() {
    let disk = Tmpfs::new(4_096);
    let file = disk.path().join("fleet.db");
    let open = || SqliteStore::open(&file, Options::default());
    disk.protect(true);
    assert_eq!(open().unwrap_err().kind(), &StoreErrorKind::Unavailable, "there is no file yet");
    disk.protect(false);
    assert!(!file.exists());
    let mut witness = Witness::new(streams(history(1, SHAPE)));
    assert_eq!(write(&open().unwrap(), &mut witness, 5).await, None);
    let before = std::fs::read(&file).unwrap();
    disk.protect(true);
    assert_eq!(open().unwrap_err().kind(), &StoreErrorKind::Unavailable, "the file cannot be written to");
    disk.protect(false);
    assert_eq!(std::fs::read(&file).unwrap(), before);
    let store = open().unwrap();
    witness.audit(&store).await.unwrap();
    witness.settle(&store).await.unwrap();
}

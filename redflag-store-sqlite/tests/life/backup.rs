//! Copies made while others write.

use super::{lived, open, place};
use redflag_core::{
    conformance::generate::agent,
    store::{Expected, RecordStore, StateStore, StoreErrorKind},
};
use redflag_store_sqlite::{BackupProgress, SqliteStore};
use std::{
    os::unix::fs::PermissionsExt as _,
    sync::{Arc, Mutex},
};
use tokio::runtime::Handle;

/// 40 MB of documents.
async fn fill(store: &SqliteStore) {
    for number in 0..700 {
        store.put("large", &format!("{number:03}"), &"x".repeat(60_000), Expected::Absent).await.expect("the document is new");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_holds_one_moment_while_others_write() {
    let (directory, path) = place();
    let fleet = lived(&path).await;
    let store = open(&path);
    fill(&store).await;
    let expected = fleet.store().derived(agent(1)).await.unwrap();
    let copy = directory.path().join("copy.db");
    let seen = Arc::new(Mutex::new(Vec::<BackupProgress>::new()));
    let (runtime, writing, seen_there) = (Handle::current(), store.clone(), Arc::clone(&seen));
    // A document between any two steps: each a commit of another connection.
    let progress = move |progress: BackupProgress| {
        let mut seen = seen_there.lock().unwrap();
        assert!(seen.len() < 100, "a backup that begins anew at every write never ends");
        let key = format!("{:03}", seen.len());
        runtime.block_on(writing.put("during", &key, "v", Expected::Absent)).unwrap();
        seen.push(progress);
    };
    store.backup_to(&copy, progress).await.unwrap();
    let seen = seen.lock().unwrap().clone();
    assert!(seen.len() >= 10, "{} steps", seen.len());
    assert!(seen.windows(2).all(|pair| pair[0].pages_done < pair[1].pages_done), "a backup never begins anew: {seen:?}");
    assert!(seen.iter().all(|step| step.pages_total == seen[0].pages_total));
    assert_eq!(seen.last().map(|last| last.pages_done), Some(seen[0].pages_total));
    assert_eq!(store.list("during", None, 500).await.unwrap().len(), seen.len());
    assert_eq!(std::fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    let copied = open(&copy);
    assert_eq!(copied.list("during", None, 500).await.unwrap(), []);
    assert_eq!(copied.list("large", None, 1_000).await.unwrap(), store.list("large", None, 1_000).await.unwrap());
    assert_eq!(copied.derived(agent(1)).await.unwrap(), expected);
    let connection = rusqlite::Connection::open(&copy).unwrap();
    assert_eq!(connection.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0)).unwrap(), "ok");
    copied.put("during", "000", "the copy lives its own life", Expected::Absent).await.unwrap();
}

#[tokio::test]
async fn a_backup_takes_the_place_of_nothing() {
    let (directory, path) = place();
    let store = open(&path);
    let taken = directory.path().join("taken");
    std::fs::write(&taken, "precious").unwrap();
    let error = store.backup_to(&taken, |_| ()).await.unwrap_err();
    assert_eq!(error.kind(), &StoreErrorKind::Unavailable);
    assert_eq!(std::fs::read_to_string(&taken).unwrap(), "precious");
    let nowhere = store.backup_to(directory.path().join("no/such/directory/copy"), |_| ()).await.unwrap_err();
    assert_eq!(nowhere.kind(), &StoreErrorKind::Unavailable);
}

#[tokio::test]
async fn a_backup_that_fails_leaves_no_file() {
    let (directory, path) = place();
    let store = open(&path);
    fill(&store).await;
    let copy = directory.path().join("copy.db");
    let failed = store.backup_to(&copy, |_| panic!("a defect, as this test needs one")).await;
    assert_eq!(failed.unwrap_err().kind(), &StoreErrorKind::Unavailable);
    let mut left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort_unstable();
    assert_eq!(left, ["fleet.db", "fleet.db-shm", "fleet.db-wal"]);
    store.backup_to(&copy, |_| ()).await.unwrap();
    assert_eq!(open(&copy).list("large", None, 1).await.unwrap().len(), 1);
}

/// As a name, `:memory:` means no file to SQLite, and the copy would be gone.
#[tokio::test]
async fn a_backup_is_a_file_whatever_its_name() {
    let (_directory, path) = place();
    let name = std::path::Path::new(":memory:");
    let copied = open(&path).backup_to(name, |_| ()).await;
    let bytes = std::fs::metadata(name).map(|file| file.len());
    std::fs::remove_file(name).unwrap();
    assert!(copied.is_ok() && bytes.unwrap() > 0, "{copied:?}");
    assert_eq!(open(&path).backup_to("", |_| ()).await.unwrap_err().kind(), &StoreErrorKind::Unavailable);
}

#[tokio::test]
async fn a_fleet_in_memory_can_be_kept() {
    let (_directory, path) = place();
    let store = SqliteStore::in_memory().unwrap();
    store.put("n", "k", "v", Expected::Absent).await.unwrap();
    store.backup_to(&path, |_| ()).await.unwrap();
    assert_eq!(open(&path).get("n", "k").await.unwrap().unwrap().value, "v");
}

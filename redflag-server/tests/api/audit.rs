//! The audit log on both databases: any number of writers, sealing, and every way to alter it.

use crate::support::*;
use redflag_core::{
    Fleet,
    audit::{
        AuditKind, FactName,
        entry::{By, Note},
    },
    names::Text,
};
use redflag_server::{
    Settings,
    audit::{AuditKey, AuditLog, Verified},
    clock, open_fleet,
};
use tokio::task::JoinSet;

/// Processes that write at once, each with a connection of its own.
const WRITERS: u64 = 8;

pub(crate) async fn verified(log: &AuditLog, key: &AuditKey) -> Result<Verified, String> {
    log.verify(vec![key.public_key()], |_| ()).await.map_err(|error| error.to_string())
}

fn halted(who: &str, count: u64) -> Note {
    Note::new(AuditKind::Halted, By::CommandLine { name: Text::lossy(who) }, clock::now()).with(FactName::Count, count)
}

/// Opens the same database again and again.
pub(crate) trait Opens: AsyncFn() -> Fleet {}
impl<F: AsyncFn() -> Fleet> Opens for F {}

pub(crate) async fn any_number_of_writers_leave_one_chain_without_gap(open: impl Opens) {
    const NOTES: u64 = 20;
    let harness = Harness::over(open().await);
    let agent = harness.agent("web-1").await;
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let log = AuditLog::new(open().await);
        writers.spawn(async move {
            for count in 0..NOTES {
                log.note(halted(&format!("writer {writer}"), count)).await.unwrap();
                log.seal_feed().await.unwrap();
            }
        });
    }
    for sequence in 1..=10 {
        let version = format!("2.{sequence}");
        harness.reported(&agent, sequence, "apt", &[offer("bash", "1", &version, "important")]).await;
    }
    writers.join_all().await;

    let (log, key) = (AuditLog::new(open().await), AuditKey::new());
    log.seal_feed().await.unwrap();
    let newest = log.checkpoint(&key).await.unwrap().unwrap();
    let found = verified(&log, &key).await.unwrap();
    let batches = found.batches;
    assert!(batches >= 10, "{found:?}");
    let entries = log.entries(1..=u64::MAX).await.unwrap();
    let noted = |who: &str| {
        let counts = entries.iter().filter(|link| link.entry.by == By::CommandLine { name: Text::lossy(who) });
        counts.map(|link| link.entry.facts[&FactName::Count].to_string().parse::<u64>().unwrap()).collect::<Vec<_>>()
    };
    for writer in 0..WRITERS {
        assert_eq!(noted(&format!("writer {writer}")), (0..NOTES).collect::<Vec<_>>(), "in the order they were written");
    }
    let others = entries.iter().filter(|link| !matches!(link.entry.kind, AuditKind::Halted | AuditKind::Batch)).count() as u64;
    assert_eq!(found.log.entries, others + WRITERS * NOTES + batches);
    assert_eq!((newest.checkpoint.size, found.log.covered), (found.log.entries, found.log.entries));
    assert!(!found.unsealed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_of_sqlite_leave_one_chain() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("fleet.db").display().to_string();
    any_number_of_writers_leave_one_chain_without_gap(async || {
        open_fleet(&Settings { database: database.clone(), ..Settings::default() }).await.unwrap()
    })
    .await;
}

//! What a store promises of its file: settings in force, schema versions, append-only tables, words, errors, the end.

#[path = "common/own_file.rs"]
mod own_file;
#[path = "common/seeded.rs"]
mod seeded;

use own_file::{open, place};
use redflag_core::{
    Fleet,
    conformance::{
        Shape,
        generate::{agent, at, enrolment, report_id, report_of, scope_of},
        history,
    },
    event::EventWord,
    store::{BatchStore, Durability, EventStore, Expected, Mode, RecordStore, StateStore, StoreErrorKind},
    words::{AvailabilityKind, Severity, Status, VersionOutcome},
};
use redflag_store_sqlite::{Options, SqliteStore, Synchronous};
use rusqlite::Connection;
use seeded::{first_report, offers};
use std::path::{Path, PathBuf};

/// A store with one agent, which reported 20 updates.
async fn filled(path: &Path) -> SqliteStore {
    let store = open(path);
    let fleet = Fleet::new(store.clone());
    fleet.enrol(enrolment(0)).await.expect("the agent is enrolled");
    let answer = fleet.record_report(agent(0), first_report(&offers(&[("apt", 20)])), at(1)).await.expect("the report is taken");
    assert_eq!((answer.events, answer.report_id), (20, report_id(1)));
    store
}

#[tokio::test]
async fn what_was_answered_is_there_after_opening_again() {
    let (_directory, path) = place();
    let before = filled(&path).await.replay(agent(0), 0, 100).await.unwrap();
    assert_eq!(before.len(), 20);
    assert_eq!(open(&path).replay(agent(0), 0, 100).await.unwrap(), before);
}

#[tokio::test]
async fn the_guarantee_is_that_of_the_settings_in_force() {
    let (_directory, path) = place();
    assert_eq!(open(&path).guarantees().durable_on_ack, Durability::Power);
    let journal: String = Connection::open(&path).unwrap().pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
    assert_eq!(journal, "wal");
    let normal = SqliteStore::open(&path, Options { synchronous: Synchronous::Normal, ..Options::default() }).unwrap();
    assert_eq!(normal.guarantees().durable_on_ack, Durability::Process);
    assert_eq!(SqliteStore::in_memory().unwrap().guarantees().durable_on_ack, Durability::None);
}

/// Clause D5: a place that cannot journal as durability needs is refused, not taken with a weaker promise.
#[tokio::test]
async fn settings_that_are_not_in_force_are_refused() {
    let error = SqliteStore::open(":memory:", Options::default()).unwrap_err();
    assert!(!Path::new(":memory:").exists(), "no file of that name is left behind");
    assert_eq!(error.kind(), &StoreErrorKind::Misconfigured);
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let (_directory, path) = place();
    drop(open(&path));
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 2).unwrap();
    let error = SqliteStore::open(&path, Options::default()).unwrap_err();
    assert_eq!(error.kind(), &StoreErrorKind::SchemaTooNew);
    let version: i64 = Connection::open(&path).unwrap().pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version, 2);
}

#[tokio::test]
async fn a_failing_migration_changes_nothing() {
    let (_directory, path) = place();
    // A file of somebody else, in which one of our tables cannot be made.
    let foreign = Connection::open(&path).unwrap();
    foreign.execute_batch("CREATE TABLE records (theirs TEXT); INSERT INTO records VALUES ('kept')").unwrap();
    SqliteStore::open(&path, Options::default()).unwrap_err();
    let tables: Vec<String> =
        foreign.prepare("SELECT name FROM sqlite_schema").unwrap().query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert_eq!(tables, ["records"]);
    assert_eq!(foreign.query_row("SELECT theirs FROM records", [], |row| row.get::<_, String>(0)).unwrap(), "kept");
}

#[tokio::test]
async fn what_is_no_database_is_refused() {
    let (directory, path) = place();
    std::fs::write(&path, "not a database, but long enough to be taken for the header of one ".repeat(20)).unwrap();
    assert_eq!(SqliteStore::open(&path, Options::default()).unwrap_err().kind(), &StoreErrorKind::Corrupt);
    let nowhere = directory.path().join("no/such/directory/fleet.db");
    assert_eq!(SqliteStore::open(nowhere, Options::default()).unwrap_err().kind(), &StoreErrorKind::Unavailable);
}

/// Clause R4: one page, which is that of the agent's row.
#[tokio::test]
async fn an_unchanged_report_writes_one_page() {
    const PAGE_IN_LOG: u64 = 4_096 + 24;
    let (_directory, path) = place();
    let fleet = Fleet::new(filled(&path).await);
    let logged = || std::fs::metadata(path.with_extension("db-wal")).unwrap().len();
    let before = logged();
    let again = report_of(report_id(2), 2, vec![scope_of("apt", at(2), &offers(&[("apt", 20)])[0].1, &[])]);
    let answer = fleet.record_report(agent(0), again, at(2)).await.unwrap();
    assert_eq!(answer.outcomes.counts(), (0, 20, 0));
    assert_eq!(logged() - before, PAGE_IN_LOG);
}

/// Clause S8: what code can write, the schema takes; what it cannot, the schema refuses.
#[test]
fn the_schema_knows_exactly_the_words_of_core() {
    let (_directory, path) = place();
    drop(open(&path));
    let connection = Connection::open(&path).unwrap();
    let codes = |words: usize| -1..=i64::try_from(words).unwrap();
    let check = |words: usize, insert: &str| {
        for code in codes(words) {
            let taken = connection.execute(insert, [code]).is_ok();
            assert_eq!(taken, (0..i64::try_from(words).unwrap()).contains(&code), "code {code} in: {insert}");
        }
    };
    let state = |columns: &str| format!("INSERT INTO current_package_state SELECT ?1 + 10, {columns}, 1, NULL, NULL, 1, NULL, 0, 0, NULL");
    check(Status::ALL.len(), &state("?1, 0, 0, 0"));
    connection.execute("DELETE FROM current_package_state", []).unwrap();
    check(Severity::ALL.len(), &state("0, ?1, 0, 0"));
    connection.execute("DELETE FROM current_package_state", []).unwrap();
    check(AvailabilityKind::ALL.len(), &state("0, 0, 0, ?1"));
    let counter = |columns: &str| format!("INSERT INTO update_counters SELECT 1, 'm' || ?1, {columns}, 1");
    check(Status::ALL.len(), &counter("?1, 0, 0, 0"));
    check(Severity::ALL.len(), &counter("9, ?1, 0, 0"));
    check(AvailabilityKind::ALL.len(), &counter("8, 0, 0, ?1"));
    check(Severity::ALL.len(), "INSERT INTO open_changes SELECT 1, 1, ?1, 1");
    check(EventWord::ALL.len(), "INSERT INTO update_events SELECT ?1 + 10, 1, 1, NULL, 1, 1, ?1, NULL, NULL, NULL, NULL, NULL, '{}', NULL");
    check(
        AvailabilityKind::ALL.len(),
        "INSERT INTO update_events SELECT ?1 + 100, 1, 1, NULL, 1, 1, 0, 1, NULL, ?1, NULL, NULL, NULL, NULL",
    );
    check(VersionOutcome::ALL.len(), "INSERT INTO update_version_history SELECT 1, 1, ?1 + 10, NULL, '1', ?1, NULL, NULL, 0");
    check(
        Severity::ALL.len(),
        "INSERT INTO candidates SELECT NULL, CAST(printf('%032d', ?1 + 10) AS BLOB), '1', NULL, ?1, NULL, 0, NULL, NULL, NULL, NULL, NULL",
    );
}

#[tokio::test]
async fn another_writer_is_waited_for_and_then_told() {
    let (_directory, path) = place();
    let store = SqliteStore::open(&path, Options { busy_timeout: std::time::Duration::from_millis(1), ..Options::default() }).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = store.put("n", "k", "v", Expected::Absent).await.unwrap_err();
    assert_eq!(error.kind(), &StoreErrorKind::Unavailable);
    assert_eq!(store.get("n", "k").await.unwrap(), None, "readers do not wait for a writer");
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(store.put("n", "k", "v", Expected::Absent).await.unwrap(), Some(1));
}

#[tokio::test]
async fn damage_is_told_and_not_passed_on() {
    let (_directory, path) = place();
    let store = filled(&path).await;
    Connection::open(&path).unwrap().execute("UPDATE agents SET tags = '[\"\"]'", []).unwrap();
    assert_eq!(store.agent(agent(0)).await.unwrap_err().kind(), &StoreErrorKind::Corrupt);
}

#[tokio::test]
async fn a_dropped_future_leaves_the_store_healthy() {
    use std::{future::poll_fn, pin::pin, task::Poll};
    let (_directory, path) = place();
    let store = filled(&path).await;
    for round in 0..50_u64 {
        let key = round.to_string();
        let mut put = pin!(store.put("n", &key, "v", Expected::Absent));
        let mut get = pin!(store.get("n", &key));
        // Started, then dropped wherever they are.
        poll_fn(|context| {
            let _pending = (put.as_mut().poll(context), get.as_mut().poll(context));
            Poll::Ready(())
        })
        .await;
    }
    assert_eq!(store.put("n", "after", "v", Expected::Absent).await.unwrap(), Some(1));
    assert_eq!(store.get("n", "after").await.unwrap().unwrap().revision, 1);
    assert_eq!(store.replay(agent(0), 0, 100).await.unwrap().len(), 20);
}

#[tokio::test]
async fn dropping_the_store_ends_its_thread_and_closes_the_file() {
    let (_directory, path) = place();
    drop(filled(&path).await);
    // The last connection of a file takes the write-ahead log with it.
    assert!(!path.with_extension("db-wal").exists());
}

/// Rows of the log and of states have no foreign keys; the transaction that writes them writes what they refer to.
#[tokio::test]
async fn every_ref_refers_to_a_row_and_every_counter_counts() {
    let (_directory, path) = place();
    let store = open(&path);
    for work in history(5, Shape { steps: 150, ..Shape::default() }) {
        // Refusals are part of a history.
        let _refused = store.run(&work, Mode::Commit).await;
    }
    drop(store);
    let connection = Connection::open(&path).unwrap();
    let count = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert!(count("SELECT COUNT(*) FROM update_events") > 100, "the history is not a trivial one");
    for (table, column, target, key) in [
        ("update_events", "agent_ref", "agents", "agent_ref"),
        ("update_events", "package_ref", "packages", "package_ref"),
        ("update_events", "candidate_ref", "candidates", "candidate_ref"),
        ("update_events", "installed_ref", "texts", "text_ref"),
        ("update_events", "reason_ref", "texts", "text_ref"),
        ("current_package_state", "agent_ref", "agents", "agent_ref"),
        ("current_package_state", "package_ref", "packages", "package_ref"),
        ("current_package_state", "candidate_ref", "candidates", "candidate_ref"),
        ("current_package_state", "installed_ref", "texts", "text_ref"),
        ("current_package_state", "reason_ref", "texts", "text_ref"),
        ("update_version_history", "package_ref", "packages", "package_ref"),
        ("update_version_history", "agent_ref", "agents", "agent_ref"),
        ("update_counters", "agent_ref", "agents", "agent_ref"),
        ("chosen_event_ids", "agent_ref", "agents", "agent_ref"),
    ] {
        let lost = format!("SELECT COUNT(*) FROM {table} WHERE {column} IS NOT NULL AND {column} NOT IN (SELECT {key} FROM {target})");
        assert_eq!(count(&lost), 0, "{table}.{column}");
    }
    let without = |rows: &str, of: &str| count(&format!("SELECT COUNT(*) FROM (SELECT {rows} EXCEPT SELECT {of})"));
    assert_eq!(without("agent_ref, batch_number FROM update_events", "agent_ref, number FROM update_batches"), 0);
    assert_eq!(without("agent_ref, sequence FROM chosen_event_ids", "agent_ref, sequence FROM update_events"), 0);
    assert_eq!(without("agent_ref, sequence FROM update_version_history", "agent_ref, sequence FROM update_events"), 0);
    assert_eq!(without("agent_ref, package_ref FROM update_events", "agent_ref, package_ref FROM current_package_state"), 0);
    let newest = "SELECT MAX(b.sequence) FROM update_events AS b WHERE b.agent_ref = a.agent_ref AND b.package_ref = a.package_ref";
    assert_eq!(
        count(&format!("SELECT COUNT(*) FROM update_events AS a WHERE a.previous IS NOT ({newest} AND b.sequence < a.sequence)")),
        0
    );
    assert_eq!(count(&format!("SELECT COUNT(*) FROM current_package_state AS a WHERE a.sequence IS NOT ({newest})")), 0);
    assert!(count("SELECT COUNT(*) FROM update_events WHERE previous IS NOT NULL") > 20, "packages have more than one event");
    let counted = "agent_ref, manager, status, severity, security, availability, count FROM update_counters WHERE count > 0";
    let recounted = "s.agent_ref, p.manager, s.status, c.severity, c.security, s.availability, COUNT(*)
         FROM current_package_state AS s JOIN packages AS p USING (package_ref) JOIN candidates AS c USING (candidate_ref)
         GROUP BY 1, 2, 3, 4, 5, 6";
    assert_eq!((without(counted, recounted), without(recounted, counted)), (0, 0));
    assert_eq!(count("SELECT COUNT(*) FROM pragma_foreign_key_check"), 0);
    assert_eq!(connection.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0)).unwrap(), "ok");
}

#[tokio::test]
async fn a_new_file_and_its_companions_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("redflag.db");
    let store = SqliteStore::open(&path, Options::default()).unwrap();
    let modes: Vec<(PathBuf, u32)> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.path(), entry.metadata().unwrap().permissions().mode() & 0o777))
        .collect();
    assert!(modes.len() >= 2, "the file and its write-ahead log: {modes:?}");
    assert!(modes.iter().all(|(_, mode)| *mode == 0o600), "{modes:?}");
    drop(store);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    drop(SqliteStore::open(&path, Options::default()).unwrap());
    let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o640, "an operator's own choice is left as it is");
}

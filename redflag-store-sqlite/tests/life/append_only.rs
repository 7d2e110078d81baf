//! What cannot be changed or deleted, whoever asks (clause D1).

use super::{count, lived, place, remove};
use redflag_core::conformance::generate::at;
use rusqlite::Connection;
use std::path::PathBuf;
use tempfile::TempDir;

/// What a pass may delete.
const LOG: [&str; 7] = ["rejections", "chosen_event_ids", "update_events", "update_batches", "reports", "update_version_history", "bases"];
/// What nobody may.
const FOR_EVER: [&str; 3] = ["feed", "feed_tombstones", "removed_agents"];
/// What follows from the log, stands for the whole fleet or belongs to others.
const CHANGES: [&str; 12] = [
    "agents",
    "candidates",
    "commands",
    "current_package_state",
    "generation",
    "maintenance",
    "open_changes",
    "open_changes_of_fleet",
    "packages",
    "records",
    "texts",
    "update_counters",
];

/// A file in which every append-only table has rows of the agent of ref 1 or of a removed one.
async fn lived_and_closed() -> (TempDir, PathBuf) {
    let (directory, path) = place();
    let fleet = lived(&path).await;
    remove(&fleet, 2, at(1)).await.expect("the agent is removed");
    (directory, path)
}

/// A change of every row of a table, in its first column that is no generated one.
fn update(connection: &Connection, table: &str) -> String {
    let first = format!("SELECT name FROM pragma_table_info('{table}') LIMIT 1");
    let column: String = connection.query_row(&first, [], |row| row.get(0)).expect("a table has a column");
    format!("UPDATE {table} SET {column} = {column}")
}

#[tokio::test]
async fn the_log_is_append_only() {
    let (_directory, path) = lived_and_closed().await;
    let connection = Connection::open(&path).unwrap();
    for table in LOG.into_iter().chain(FOR_EVER) {
        let before = count(&connection, &format!("SELECT COUNT(*) FROM {table}"));
        assert!(before > 0, "{table} has rows to refuse changes of");
        for change in [update(&connection, table), format!("DELETE FROM {table}")] {
            let error = connection.execute(&change, []).unwrap_err().to_string();
            assert!(error.contains(&format!("{table} is append-only")), "{change}: {error}");
        }
        assert_eq!(count(&connection, &format!("SELECT COUNT(*) FROM {table}")), before);
    }
}

/// So that no table is added without a decision.
#[tokio::test]
async fn every_table_is_append_only_or_known_to_change() {
    let (_directory, path) = lived_and_closed().await;
    let connection = Connection::open(&path).unwrap();
    let mut select = connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").unwrap();
    let found: Vec<String> = select.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let mut known: Vec<_> = LOG.into_iter().chain(FOR_EVER).chain(CHANGES).collect();
    known.sort_unstable();
    assert_eq!(found, known);
}

#[tokio::test]
async fn a_pass_deletes_rows_of_its_own_agent_alone_and_changes_none() {
    let (_directory, path) = lived_and_closed().await;
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch("BEGIN; INSERT INTO maintenance (agent_ref) VALUES (1)").unwrap();
    let refused = |change: &str| assert!(connection.execute(change, []).is_err(), "{change}");
    for table in LOG {
        refused(&format!("DELETE FROM {table} WHERE agent_ref = 2"));
        if table != "bases" {
            refused(&update(&connection, table));
        }
        let deleted = connection.execute(&format!("DELETE FROM {table} WHERE agent_ref = 1"), []).unwrap();
        assert!(deleted > 0, "{table}");
    }
    for table in FOR_EVER {
        refused(&format!("DELETE FROM {table}"));
        refused(&update(&connection, table));
    }
    let left = connection.execute_batch("COMMIT").unwrap_err().to_string();
    assert!(left.contains("FOREIGN KEY"), "a mark that is left: {left}");
    connection.execute_batch("DELETE FROM maintenance; COMMIT").unwrap();
    for unmarked in ["VALUES (0, 0)", "VALUES (5, 5)", "VALUES (5, 1)"] {
        refused(&format!("INSERT INTO maintenance (agent_ref, ends) {unmarked}"));
    }
}

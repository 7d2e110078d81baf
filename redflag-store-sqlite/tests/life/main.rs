//! The life of a file: what goes from it, what stays, who hears of more, and copies.

#[path = "../common/own_file.rs"]
mod own_file;
#[path = "../common/seeded.rs"]
mod seeded;

mod append_only;
mod backup;
mod feed;
mod moving;
mod removal;

use own_file::{open, place};
use redflag_core::{
    Fleet,
    conformance::{
        Shape,
        generate::{agent, at, rescan, text},
        history,
    },
    event::Actor,
    retention::RetentionWindow,
    store::{BatchStore, Mode, StoreError},
    time::Timestamp,
};
use rusqlite::Connection;
use std::{path::Path, time::Duration};

/// After this long, whatever was to come counts as lost. Nothing waits for it to pass but a defect.
const LOST: Duration = Duration::from_secs(30);

/// Three agents to whom everything happened, half of whose logs is pruned: no table is empty.
async fn lived(path: &Path) -> Fleet {
    let store = open(path);
    for work in history(5, Shape { steps: 200, ..Shape::default() }) {
        // Refusals are part of a history.
        let _refused = store.run(&work, Mode::Commit).await;
    }
    let fleet = Fleet::new(store);
    for host in 0..3 {
        fleet.command(agent(host), rescan(1), at(1)).await.expect("a command is asked for");
        let batches = fleet.store().agent_batches(agent(host), 0, 1_000).await.expect("batches");
        let middle = batches[batches.len() / 2].receipt.received_at;
        let pruned = fleet.prune(agent(host), window(), thirty_days_after(middle)).await.expect("the log is pruned");
        assert!(0 < pruned.batches && pruned.batches < batches.len() as u64, "{pruned:?} of {}", batches.len());
    }
    fleet
}

fn window() -> RetentionWindow {
    RetentionWindow::days(30).expect("30 days are allowed")
}

/// When a window of 30 days begins at `time`.
fn thirty_days_after(time: Timestamp) -> Timestamp {
    time.saturating_add(Duration::from_secs(30 * 86_400))
}

async fn remove(fleet: &Fleet, host: u32, at: Timestamp) -> Result<(), StoreError> {
    fleet.remove_agent(agent(host), Actor::Operator(text("ada")), None, at).await.map(drop)
}

/// The tables that have a column of this name.
fn tables_with(connection: &Connection, column: &str) -> Vec<String> {
    let sql = "SELECT t.name FROM sqlite_schema AS t, pragma_table_info(t.name) AS c WHERE t.type = 'table' AND c.name = ?1 ORDER BY 1";
    let mut select = connection.prepare(sql).expect("prepares");
    select.query_map([column], |row| row.get(0)).expect("runs").map(|name| name.expect("a name")).collect()
}

fn count(connection: &Connection, sql: &str) -> i64 {
    connection.query_row(sql, [], |row| row.get(0)).unwrap_or_else(|error| panic!("{sql}: {error}"))
}

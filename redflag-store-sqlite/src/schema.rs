//! Migrations and the settings of a connection, each read back after it was made (clauses D4 and D5).

use crate::{
    Synchronous,
    error::{Failure, Phase, kind},
};
use redflag_core::store::{StoreError, StoreErrorKind};
use rusqlite::Connection;
use rusqlite_migration::{Error as MigrationError, M, MigrationDefinitionError, Migrations};
use std::time::Duration;

/// Prepared statements kept by a connection; more than the crate has.
const STATEMENTS_KEPT: usize = 128;

const STEPS: &[M<'_>] = &[M::up(include_str!("../migrations/0001_fleet.sql"))];
const MIGRATIONS: Migrations<'_> = Migrations::from_slice(STEPS);

/// Brings the schema to the newest version; a failing migration changes nothing.
pub(crate) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    MIGRATIONS.to_latest(connection).map_err(|error| match error {
        MigrationError::MigrationDefinition(MigrationDefinitionError::DatabaseTooFarAhead) => {
            StoreError::caused(StoreErrorKind::SchemaTooNew, error)
        }
        MigrationError::RusqliteError { ref err, .. } => StoreError::caused(kind(err, Phase::Statement), error),
        _ => StoreError::caused(StoreErrorKind::Corrupt, error),
    })
}

/// Where a connection's pages live, which decides how it journals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    File,
    Memory,
}

/// Makes and reads back the settings that durability and integrity need.
pub(crate) fn configure(connection: &Connection, place: Place, synchronous: Synchronous, busy: Duration) -> Result<(), StoreError> {
    connection.busy_timeout(busy).map_err(Failure::from)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    let (journal, level) = match (place, synchronous) {
        (Place::Memory, _) => ("memory", 0),
        (Place::File, Synchronous::Normal) => ("wal", 1),
        (Place::File, Synchronous::Full) => ("wal", 2),
    };
    set(connection, "journal_mode", &journal)?;
    set(connection, "synchronous", &level)?;
    set(connection, "foreign_keys", &1)?;
    set(connection, "cache_size", &CACHE_KIBIBYTES)?;
    demand(connection, "journal_mode", journal)?;
    demand(connection, "synchronous", &level.to_string())?;
    demand(connection, "foreign_keys", "1")
}

/// Makes the settings of a connection that only reads; the file keeps its journal mode by itself.
pub(crate) fn configure_reader(connection: &Connection, busy: Duration) -> Result<(), StoreError> {
    connection.busy_timeout(busy).map_err(Failure::from)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    set(connection, "cache_size", &CACHE_KIBIBYTES)?;
    set(connection, "query_only", &1)?;
    demand(connection, "journal_mode", "wal")?;
    demand(connection, "query_only", "1")
}

/// Page cache of one connection, negative as SQLite wants it for a size in KiB.
const CACHE_KIBIBYTES: i64 = -32 * 1024;

fn set(connection: &Connection, pragma: &str, value: &dyn rusqlite::ToSql) -> Result<(), StoreError> {
    Ok(connection.pragma_update(None, pragma, value).map_err(Failure::from)?)
}

fn demand(connection: &Connection, pragma: &str, wanted: &str) -> Result<(), StoreError> {
    let as_text = |row: &rusqlite::Row<'_>| {
        row.get_ref(0).map(|value| match value {
            rusqlite::types::ValueRef::Integer(number) => number.to_string(),
            other => other.as_str().unwrap_or("?").to_owned(),
        })
    };
    let found: String = connection.pragma_query_value(None, pragma, as_text).map_err(Failure::from)?;
    if found == wanted {
        return Ok(());
    }
    Err(StoreError::caused(StoreErrorKind::Misconfigured, format!("{pragma} is {found:?}, not {wanted:?}")))
}

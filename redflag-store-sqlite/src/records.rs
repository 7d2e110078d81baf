//! Documents with compare-and-set.

use crate::{error::Failure, stored::get};
use redflag_core::{
    limits,
    store::{Expected, Record, StoreError, StoreErrorKind},
};
use rusqlite::{Connection, OptionalExtension, Row, params};

fn record(row: &Row<'_>) -> Result<Record, Failure> {
    Ok(Record { value: get(row, 0)?, revision: get(row, 1)? })
}

pub(crate) fn find(connection: &Connection, namespace: &str, key: &str) -> Result<Option<Record>, Failure> {
    let mut select = connection.prepare_cached("SELECT value, revision FROM records WHERE namespace = ?1 AND key = ?2")?;
    select.query_row([namespace, key], |row| Ok(record(row))).optional()?.transpose()
}

/// Refuses what the port says no backend takes.
pub(crate) fn check(value: &str) -> Result<(), StoreError> {
    if value.len() <= limits::RECORD_BYTES_MAX && !value.contains('\0') {
        return Ok(());
    }
    let message = format!("a record of {} bytes, more than {} or with NUL", value.len(), limits::RECORD_BYTES_MAX);
    Err(StoreError::caused(StoreErrorKind::DataRefused, message))
}

pub(crate) fn put(connection: &Connection, namespace: &str, key: &str, value: &str, expected: Expected) -> Result<Option<u64>, Failure> {
    let revision = match (find(connection, namespace, key)?, expected) {
        (None, Expected::Absent) => 1,
        (Some(record), Expected::Revision(revision)) if record.revision == revision => revision + 1,
        _ => return Ok(None),
    };
    let mut upsert = connection.prepare_cached(
        "INSERT INTO records (namespace, key, value, revision) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (namespace, key) DO UPDATE SET value = excluded.value, revision = excluded.revision",
    )?;
    upsert.execute(params![namespace, key, value, revision])?;
    Ok(Some(revision))
}

pub(crate) fn delete(connection: &Connection, namespace: &str, key: &str, revision: u64) -> Result<bool, Failure> {
    // No revision is beyond 63 bits.
    let Ok(revision) = i64::try_from(revision) else { return Ok(false) };
    let mut delete = connection.prepare_cached("DELETE FROM records WHERE namespace = ?1 AND key = ?2 AND revision = ?3")?;
    Ok(delete.execute(params![namespace, key, revision])? == 1)
}

pub(crate) const NEXT_NAMESPACE: &str = "SELECT MIN(namespace) FROM records WHERE namespace >= COALESCE(?1, '') AND namespace IS NOT ?1";

/// Up to `limit` namespaces after `after`; each is found by its key, however many records it has.
pub(crate) fn namespaces(connection: &Connection, after: Option<String>, limit: u32) -> Result<Vec<String>, Failure> {
    let mut select = connection.prepare_cached(NEXT_NAMESPACE)?;
    let (mut namespaces, mut after) = (Vec::new(), after);
    for _ in 0..limit {
        after = select.query_one([after], |row| Ok(get(row, 0)))??;
        let Some(next) = &after else { break };
        namespaces.push(next.clone());
    }
    Ok(namespaces)
}

pub(crate) fn list(connection: &Connection, namespace: &str, after: Option<&str>, limit: u32) -> Result<Vec<(String, Record)>, Failure> {
    let mut select = connection.prepare_cached(
        "SELECT value, revision, key FROM records WHERE namespace = ?1 AND key >= COALESCE(?2, '') AND key IS NOT ?2 ORDER BY key LIMIT ?3",
    )?;
    let mut found = select.query(params![namespace, after, limit])?;
    let mut records = Vec::new();
    while let Some(row) = found.next()? {
        records.push((get(row, 2)?, record(row)?));
    }
    Ok(records)
}

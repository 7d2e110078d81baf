//! Small documents with compare-and-set. Reading and replacing share one write transaction, so of two writers one wins.

use crate::{
    documents::{self, find, read},
    error::Failure,
    tables::RECORDS,
};
use redb::{ReadTransaction, WriteTransaction};
use redflag_core::{
    limits,
    store::{Expected, Record},
};
use std::ops::Bound;

pub(crate) fn get(transaction: &ReadTransaction, namespace: &str, key: &str) -> Result<Option<Record>, Failure> {
    find(&transaction.open_table(RECORDS)?, (namespace, key))
}

/// Refuses what the port says no backend takes, although this one could.
fn check(value: &str) -> Result<(), Failure> {
    if value.len() <= limits::RECORD_BYTES_MAX && !value.contains('\0') {
        return Ok(());
    }
    Err(Failure::refused(format!("a record of {} bytes, more than {} or with NUL", value.len(), limits::RECORD_BYTES_MAX)))
}

pub(crate) fn put(
    transaction: &WriteTransaction,
    (namespace, key): (&str, &str),
    value: &str,
    expected: Expected,
) -> Result<Option<u64>, Failure> {
    check(value)?;
    let records = transaction.open_table(RECORDS)?;
    let found: Option<Record> = find(&records, (namespace, key))?;
    let revision = match (found, expected) {
        (None, Expected::Absent) => 1,
        (Some(record), Expected::Revision(revision)) if record.revision == revision => revision + 1,
        _ => return Ok(None),
    };
    let record = Record { value: value.to_owned(), revision };
    drop(records);
    documents::put(transaction, RECORDS, [((namespace, key), record)])?;
    Ok(Some(revision))
}

pub(crate) fn delete(transaction: &WriteTransaction, (namespace, key): (&str, &str), revision: u64) -> Result<bool, Failure> {
    let mut records = transaction.open_table(RECORDS)?;
    let found: Option<Record> = find(&records, (namespace, key))?;
    let expected = found.is_some_and(|record| record.revision == revision);
    if expected {
        records.remove((namespace, key))?;
    }
    Ok(expected)
}

pub(crate) fn list(
    transaction: &ReadTransaction,
    namespace: &str,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<(String, Record)>, Failure> {
    let records = transaction.open_table(RECORDS)?;
    // No text sorts before the empty one.
    let start = after.map_or(Bound::Included((namespace, "")), |after| Bound::Excluded((namespace, after)));
    let mut listed = Vec::new();
    for entry in records.range((start, Bound::Unbounded))?.take(limit as usize) {
        let (place, record) = entry?;
        let (of, key) = place.value();
        if of != namespace {
            break;
        }
        listed.push((key.to_owned(), read(record.value())?));
    }
    Ok(listed)
}

pub(crate) fn namespaces(transaction: &ReadTransaction, after: Option<&str>, limit: u32) -> Result<Vec<String>, Failure> {
    /// The text that sorts right after another.
    fn next(text: &str) -> String {
        format!("{text}\0")
    }
    let records = transaction.open_table(RECORDS)?;
    let mut namespaces = Vec::new();
    let mut start = after.map_or(String::new(), next);
    while namespaces.len() < limit as usize
        && let Some(entry) = records.range((start.as_str(), "")..)?.next()
    {
        let namespace = entry?.0.value().0.to_owned();
        start = next(&namespace);
        namespaces.push(namespace);
    }
    Ok(namespaces)
}

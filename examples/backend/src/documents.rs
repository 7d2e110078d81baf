//! Documents: core's values in their own serde forms, as JSON, under keys.

use crate::{
    error::Failure,
    tables::{Json, Uuid},
};
use redb::{Key, ReadableTable, TableDefinition, WriteTransaction};
use serde::{Serialize, de::DeserializeOwned};
use std::{borrow::Borrow, ops::RangeBounds};

/// Reads what [`put`] wrote.
pub(crate) fn read<T: DeserializeOwned>(json: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(json).map_err(Failure::corrupt)
}

/// The document under a key.
pub(crate) fn find<'k, K: Key + 'static, T: DeserializeOwned>(
    table: &impl ReadableTable<K, Json>,
    key: impl Borrow<K::SelfType<'k>>,
) -> Result<Option<T>, Failure> {
    table.get(key)?.map(|json| read(json.value())).transpose()
}

/// The document that has a number, found by its id.
pub(crate) fn find_by_id<T: DeserializeOwned>(
    numbers: &impl ReadableTable<(Uuid, Uuid), u64>,
    table: &impl ReadableTable<(Uuid, u64), Json>,
    (agent, id): (Uuid, Uuid),
) -> Result<Option<T>, Failure> {
    let Some(number) = numbers.get((agent, id))? else { return Ok(None) };
    find(table, (agent, number.value()))
}

/// The documents of a range, in key order.
pub(crate) fn all<K: Key + 'static, T: DeserializeOwned>(range: redb::Range<'_, K, Json>) -> Result<Vec<T>, Failure> {
    range.map(|entry| read(entry?.1.value())).collect()
}

/// Writes documents, each under its key; what was there is replaced.
pub(crate) fn put<'k, K: Key + 'static, T: Serialize>(
    transaction: &WriteTransaction,
    table: TableDefinition<'_, K, Json>,
    rows: impl IntoIterator<Item = (K::SelfType<'k>, T)>,
) -> Result<(), Failure> {
    let mut table = transaction.open_table(table)?;
    for (key, document) in rows {
        table.insert(key, serde_json::to_vec(&document).map_err(Failure::refused)?.as_slice())?;
    }
    Ok(())
}

/// Removes every row of a range.
pub(crate) fn clear<'k, K: Key + 'static, V: redb::Value + 'static>(
    transaction: &WriteTransaction,
    table: TableDefinition<'_, K, V>,
    range: impl RangeBounds<K::SelfType<'k>> + 'k,
) -> Result<(), Failure> {
    Ok(transaction.open_table(table)?.retain_in(range, |_, _| false)?)
}

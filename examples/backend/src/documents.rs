//! Core's values as JSON documents: core's own serde forms.

use crate::{error::Failure, tables::Json};
use redb::{Key, ReadableTable};
use serde::{Serialize, de::DeserializeOwned};
use std::borrow::Borrow;

/// A value that is kept as one JSON document.
pub(crate) trait Document: Sized {
    /// The document of this value.
    fn write(&self) -> Result<Vec<u8>, Failure>;

    /// Reads what [`Document::write`] wrote.
    fn read(json: &[u8]) -> Result<Self, Failure>;
}

/// The document under a key.
pub(crate) fn find<'k, K: Key + 'static, T: Document>(
    table: &impl ReadableTable<K, Json>,
    key: impl Borrow<K::SelfType<'k>>,
) -> Result<Option<T>, Failure> {
    table.get(key)?.map(|json| T::read(json.value())).transpose()
}

/// The documents of a range, in key order.
pub(crate) fn all<K: Key + 'static, T: Document>(range: redb::Range<'_, K, Json>) -> Result<Vec<T>, Failure> {
    range.map(|entry| T::read(entry?.1.value())).collect()
}

impl<T: Serialize + DeserializeOwned> Document for T {
    fn write(&self) -> Result<Vec<u8>, Failure> {
        serde_json::to_vec(self).map_err(Failure::refused)
    }

    fn read(json: &[u8]) -> Result<Self, Failure> {
        serde_json::from_slice(json).map_err(Failure::corrupt)
    }
}

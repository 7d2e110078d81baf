//! Records that end by themselves, kept under the digest of a secret: links, sessions, API tokens.

use crate::ids::Secret;
use redflag_core::{
    store::{Expected, Record, Store, StoreError, StoreErrorKind},
    time::Timestamp,
};
use serde::{Serialize, de::DeserializeOwned};

const RECORDS_PER_READ: u32 = 100;

/// What ends by itself.
pub(super) trait Expiring: Serialize + DeserializeOwned {
    /// The namespace of its records, which is also the purpose its secrets are digested for.
    const NAMESPACE: &str;

    /// When it ends.
    fn expires_at(&self) -> Timestamp;
}

/// Under which key a record is kept whose secret is `secret`.
pub(super) fn key<T: Expiring>(secret: &Secret) -> String {
    secret.at_rest(T::NAMESPACE)
}

/// Keeps `value` under a fresh secret.
pub(super) async fn insert<T: Expiring>(store: &dyn Store, secret: &Secret, value: &T) -> Result<(), StoreError> {
    match store.put(T::NAMESPACE, &key::<T>(secret), &json(value), Expected::Absent).await? {
        Some(_) => Ok(()),
        None => Err(StoreError::caused(StoreErrorKind::Corrupt, "a fresh secret of 256 bits is already stored")),
    }
}

/// The record that `secret` opens, whether it has ended or not.
pub(super) async fn find<T: Expiring>(store: &dyn Store, secret: &Secret) -> Result<Option<(Record, T)>, StoreError> {
    let record = store.get(T::NAMESPACE, &key::<T>(secret)).await?;
    record.map(|record| read(&record.value).map(|value| (record, value))).transpose()
}

/// Deletes what has ended, so that it does not pile up, and what is `dropped`; answers the rest. What somebody else deletes meanwhile
/// is gone as well.
pub(super) async fn sweep<T: Expiring>(
    store: &dyn Store,
    now: Timestamp,
    dropped: impl Fn(&T) -> bool + Send + Sync,
) -> Result<Vec<(String, Record, T)>, StoreError> {
    let mut kept = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let records = store.list(T::NAMESPACE, after.as_deref(), RECORDS_PER_READ).await?;
        let Some((last, _)) = records.last() else { return Ok(kept) };
        after = Some(last.clone());
        for (key, record) in records {
            let value: T = read(&record.value)?;
            if value.expires_at() <= now || dropped(&value) {
                store.delete(T::NAMESPACE, &key, record.revision).await?;
            } else {
                kept.push((key, record, value));
            }
        }
    }
}

/// The value of a record.
pub(super) fn read<T: Expiring>(value: &str) -> Result<T, StoreError> {
    serde_json::from_str(value).map_err(|error| StoreError::caused(StoreErrorKind::Corrupt, error))
}

/// The text of a record.
pub(super) fn json<T: Expiring>(value: &T) -> String {
    serde_json::to_string(value).expect("records of our own always serialise")
}

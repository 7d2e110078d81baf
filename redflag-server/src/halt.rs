//! The emergency halt: while it is set, no command is handed out and none may be begun. What runs already ends by itself.

use redflag_core::{
    names::Text,
    store::{Expected, Record, Store, StoreError, StoreErrorKind},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

const NAMESPACE: &str = "settings";
const KEY: &str = "halt";

/// Who halted all commands, when and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Halt {
    /// Who.
    pub by: Text,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: Text,
}

/// Whether commands are halted.
///
/// # Errors
/// When the store fails.
pub async fn halted(store: &dyn Store) -> Result<Option<Halt>, StoreError> {
    store.get(NAMESPACE, KEY).await?.as_ref().map(parse).transpose()
}

/// Halts all commands. Where they are halted already, that stays as it is and is answered.
///
/// # Errors
/// When the store fails.
pub async fn halt(store: &dyn Store, halt: Halt) -> Result<Halt, StoreError> {
    let value = serde_json::to_string(&halt).map_err(|error| StoreError::caused(StoreErrorKind::Corrupt, error))?;
    match store.put(NAMESPACE, KEY, &value, Expected::Absent).await? {
        Some(_) => Ok(halt),
        // Lifted again in between, it is as if it had been set for a moment.
        None => Ok(halted(store).await?.unwrap_or(halt)),
    }
}

/// Lets commands be handed out again; answers the halt that was lifted.
///
/// # Errors
/// When the store fails.
pub async fn lift(store: &dyn Store) -> Result<Option<Halt>, StoreError> {
    while let Some(record) = store.get(NAMESPACE, KEY).await? {
        if store.delete(NAMESPACE, KEY, record.revision).await? {
            return parse(&record).map(Some);
        }
    }
    Ok(None)
}

fn parse(record: &Record) -> Result<Halt, StoreError> {
    serde_json::from_str(&record.value).map_err(|error| StoreError::caused(StoreErrorKind::Corrupt, error))
}

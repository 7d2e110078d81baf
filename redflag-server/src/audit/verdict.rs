//! The newest verdict of `audit verify` on the stored log, kept beside it so that pages can tell of it. It is sealed by nothing: who can write
//! into the database can write it, too. It reminds people to verify, and proves nothing.

use super::{AuditLog, log::corrupt};
use redflag_core::{
    store::{Expected, StoreError},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

const VERDICT: (&str, &str) = ("audit-verified", "last");

/// What was found, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// When.
    pub at: Timestamp,
    /// The entries that were read.
    pub entries: u64,
    /// What is wrong, for people; none when nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrong: Option<String>,
}

impl AuditLog {
    /// Keeps a verdict in the place of the one before.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn keep_verdict(&self, verdict: &Verdict) -> Result<(), StoreError> {
        let (store, (namespace, key)) = (self.fleet().store(), VERDICT);
        let value = serde_json::to_string(verdict).map_err(|error| corrupt(error.to_string()))?;
        let expected = store.get(namespace, key).await?.map_or(Expected::Absent, |record| Expected::Revision(record.revision));
        // When somebody else verified meanwhile, theirs will do.
        store.put(namespace, key, &value, expected).await.map(drop)
    }

    /// The verdict that is kept; none when there is none, or it cannot be read.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn verdict(&self) -> Result<Option<Verdict>, StoreError> {
        let (namespace, key) = VERDICT;
        let record = self.fleet().store().get(namespace, key).await?;
        Ok(record.and_then(|record| serde_json::from_str(&record.value).ok()))
    }
}

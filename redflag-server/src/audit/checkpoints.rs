//! Checkpoints as records, each under its number: written only where none is, so that a log has one row of them.

use super::{
    AuditKey, AuditLog,
    log::{corrupt, last_record},
};
use crate::clock;
use redflag_core::{
    audit::{
        chain::{Place, key},
        checkpoint::Checkpoint,
    },
    ids::Digest,
    store::{Expected, StoreError, StoreErrorKind},
};

/// The namespace of checkpoints.
pub(super) const CHECKPOINTS: &str = "audit-checkpoints";

/// A checkpoint as it is stored; nothing of it was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCheckpoint {
    /// What it says.
    pub checkpoint: Checkpoint,
    /// The [`redflag_core::signing::key_id`] of the key that is said to have signed it.
    pub key_id: Digest,
    /// The envelope.
    pub envelope: String,
}

impl AuditLog {
    /// Signs a checkpoint over everything that is in the log now, unless the newest stands for it already; answers the newest. None for an
    /// empty log.
    ///
    /// # Errors
    /// When the store fails, or the end of the log is damaged.
    ///
    /// # Cancel safety
    /// Cancelled, the checkpoint is there or it is not.
    pub async fn checkpoint(&self, signing: &AuditKey) -> Result<Option<StoredCheckpoint>, StoreError> {
        loop {
            let newest = self.newest_checkpoint().await?;
            let place = self.place().await?;
            if place.number == newest.as_ref().map_or(0, |newest| newest.checkpoint.size) {
                return Ok(newest);
            }
            let checkpoint = match &newest {
                Some(newest) => newest.checkpoint.next(&place, clock::now()),
                None => Checkpoint::first(self.id(&place).await?, &place, clock::now()),
            };
            let (key, envelope) = (key(checkpoint.number), signing.sign(&checkpoint));
            // When another server was quicker, or the outcome is not known, the next turn sees it.
            match self.fleet().store().put(CHECKPOINTS, &key, &envelope, Expected::Absent).await {
                Ok(Some(_)) => return Ok(Some(StoredCheckpoint { checkpoint, key_id: signing.id(), envelope })),
                Ok(None) => {}
                Err(error) if *error.kind() == StoreErrorKind::OutcomeUnknown => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The newest checkpoint.
    ///
    /// # Errors
    /// When the store fails, or what is stored is no checkpoint.
    pub async fn newest_checkpoint(&self) -> Result<Option<StoredCheckpoint>, StoreError> {
        let last = last_record(self.fleet().store(), CHECKPOINTS).await?;
        last.map(|(key, record)| read(&key, record.value)).transpose()
    }

    /// Up to `limit` checkpoints whose number is above `after`, in order.
    ///
    /// # Errors
    /// As [`AuditLog::newest_checkpoint`].
    pub async fn checkpoints_after(&self, after: u64, limit: u32) -> Result<Vec<StoredCheckpoint>, StoreError> {
        let records = self.fleet().store().list(CHECKPOINTS, Some(&key(after)), limit).await?;
        records.into_iter().map(|(key, record)| read(&key, record.value)).collect()
    }

    /// Which log it is: the digest of its first entry, or of the one that goes on where the first ones were lost.
    async fn id(&self, place: &Place) -> Result<Digest, StoreError> {
        let first = self.blocks(&key(0)).await?.into_iter().next();
        first
            .and_then(|(_, block)| block.links.first().map(|link| link.digest))
            .ok_or_else(|| corrupt(format!("the audit log has {} entries, and no first", place.number)))
    }
}

fn read(key: &str, envelope: String) -> Result<StoredCheckpoint, StoreError> {
    let unreadable = |error| corrupt(format!("checkpoint {key} of the audit log: {error}"));
    let (checkpoint, key_id) = Checkpoint::read_unproven(envelope.as_bytes()).map_err(unreadable)?;
    Ok(StoredCheckpoint { checkpoint, key_id, envelope })
}

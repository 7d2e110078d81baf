//! Sealing: the batches of the feed as entries, in its order.

use super::{AuditLog, log::corrupt};
use redflag_core::{
    audit::{
        SealedBatch,
        entry::{By, Note},
    },
    event::Actor,
    feed::{FeedEntry, FeedPosition},
    limits,
    store::{StoreError, StoreErrorKind},
};

impl AuditLog {
    /// Seals what came to the feed since it was last sealed, by whatever process; returns when there is no more. Interrupted, the first
    /// of it is sealed, and the next call goes on.
    ///
    /// # Errors
    /// When the store fails.
    ///
    /// # Cancel safety
    /// As if interrupted.
    pub async fn seal_feed(&self) -> Result<(), StoreError> {
        loop {
            let sealed = self.place().await?.sealed;
            let entries = self.fleet().store().feed(sealed, limits::AUDIT_BLOCK_ENTRIES_MAX as u32).await?;
            if entries.is_empty() {
                return Ok(());
            }
            let mut notes = Vec::with_capacity(entries.len());
            for entry in &entries {
                notes.push(self.batch(entry).await?);
            }
            // When another server was quicker, its entries say the same.
            self.seal(sealed, notes).await?;
        }
    }

    async fn batch(&self, entry: &FeedEntry) -> Result<Note, StoreError> {
        let batch = match self.sealed(entry).await {
            Ok(batch) => batch,
            // What cannot be read is sealed all the same: `verify` names it, and what comes after it must not wait for ever.
            Err(error) if *error.kind() == StoreErrorKind::Corrupt => {
                let source = &error as &dyn std::error::Error;
                tracing::error!(error = source, position = %entry.position, "a batch cannot be read and is sealed without its content");
                SealedBatch::of_tombstone(entry)
            }
            Err(error) => return Err(error),
        };
        let at = entry.record.as_ref().map_or_else(crate::clock::now, |record| record.receipt.received_at);
        let by = match entry.record.as_ref().map(|record| &record.actor) {
            Some(Actor::Operator(name)) => By::Operator { name: name.clone() },
            Some(Actor::System(_)) => By::Server,
            Some(Actor::Agent) | None => By::Agent { agent: entry.agent },
        };
        Ok(Note::of_batch(batch, by, at))
    }

    /// What is to be said of a batch as it stands in the store now.
    pub(super) async fn sealed(&self, entry: &FeedEntry) -> Result<SealedBatch, StoreError> {
        let Some(record) = &entry.record else { return Ok(SealedBatch::of_tombstone(entry)) };
        let (store, receipt) = (self.fleet().store(), &record.receipt);
        let events = store.replay(entry.agent, record.first_sequence - 1, receipt.accepted).await?;
        let rejections = if receipt.rejected > 0 { store.rejections(entry.agent, receipt.batch).await? } else { Vec::new() };
        if events.len() == receipt.accepted as usize {
            return Ok(SealedBatch::of_content(entry, record, &events, &rejections));
        }
        // It went while it was read, or events of it are lost.
        let again = store.feed(FeedPosition(entry.position.0 - 1), 1).await?;
        match again.first() {
            Some(entry) if entry.record.is_none() => Ok(SealedBatch::of_tombstone(entry)),
            _ => Err(corrupt(format!("position {} of the feed: {} of {} events", entry.position, events.len(), receipt.accepted))),
        }
    }
}

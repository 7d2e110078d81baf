//! Verifying a stored log, and the batches it seals that are still there.

use super::{
    AuditLog,
    checkpoints::CHECKPOINTS,
    log::{BLOCKS, BLOCKS_PER_READ},
};
use redflag_core::{
    audit::{
        SealedBatch,
        chain::key,
        entry::Entry,
        verify::{Fault, FaultAt, Summary, Verifier},
    },
    feed::{FeedEntry, FeedPosition},
    limits,
    public_key::PublicKey,
    store::{Record, StoreError, StoreErrorKind},
};
use serde::Serialize;
use std::collections::VecDeque;

/// Checkpoints that are read at a time.
const CHECKPOINTS_PER_READ: u32 = 500;

/// What a log without fault holds, and how it stands to the feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// The log.
    pub log: Summary,
    /// Batches that are there, and are as they were sealed.
    pub batches: u64,
    /// Batches that retention or a removal took since; the log keeps their digests.
    pub batches_gone: u64,
    /// Whether the feed goes on behind what is sealed; a running server seals it within seconds.
    pub unsealed: bool,
}

/// Why a log is not verified.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// It was altered or damaged.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// It cannot be read.
    #[error("reading the audit log")]
    Store(#[from] StoreError),
}

impl AuditLog {
    /// Reads the whole log and every batch it seals, from the first on, and says what is wrong first. Checkpoints must be signed by one of
    /// `keys`. `progress` is told the number of each entry that was read.
    ///
    /// Entries that come meanwhile may be read or not.
    ///
    /// # Errors
    /// [`VerifyError::Fault`], which names the first bad entry; or when the store fails.
    pub async fn verify(&self, keys: Vec<PublicKey>, mut progress: impl FnMut(u64)) -> Result<Verified, VerifyError> {
        let mut reading = Reading { log: self, verifier: Verifier::new(keys), checkpoints: Some(key(0)), feed: VecDeque::new() };
        let (mut after, mut batches, mut batches_gone) = (key(0), 0, 0);
        loop {
            let blocks = reading.records(BLOCKS, &after, BLOCKS_PER_READ, FaultAt::Entry(reading.verifier.place().number + 1)).await?;
            let Some((last, _)) = blocks.last() else { break };
            after.clone_from(last);
            for (key, record) in &blocks {
                reading.checkpoints_for(key).await?;
                for entry in reading.verifier.block(key, &record.value)? {
                    progress(entry.number);
                    match &entry.batch {
                        Some(batch) if reading.batch(&entry, batch).await? => batches += 1,
                        Some(_) => batches_gone += 1,
                        None => {}
                    }
                }
            }
        }
        reading.checkpoints_for(&key(u64::MAX)).await?;
        let sealed = reading.verifier.place().sealed;
        let log = reading.verifier.finish()?;
        let unsealed = !self.fleet().store().feed(sealed, 1).await?.is_empty();
        Ok(Verified { log, batches, batches_gone, unsealed })
    }
}

/// A log as far as it was read.
struct Reading<'a> {
    log: &'a AuditLog,
    verifier: Verifier,
    /// The key after which the next checkpoints are; none when all were read.
    checkpoints: Option<String>,
    /// The feed behind what was read.
    feed: VecDeque<FeedEntry>,
}

impl Reading<'_> {
    /// Takes the checkpoints that may stand for entries of the block with this key.
    async fn checkpoints_for(&mut self, block: &str) -> Result<(), VerifyError> {
        // A block is shorter than this many entries, so a checkpoint further ahead stands for none of it.
        while let Some(after) = self.checkpoints.clone()
            && key(self.verifier.checkpointed().saturating_sub(limits::AUDIT_BLOCK_ENTRIES_MAX as u64)).as_str() <= block
        {
            let number = after.parse::<u64>().unwrap_or_default() + 1;
            let records = self.records(CHECKPOINTS, &after, CHECKPOINTS_PER_READ, FaultAt::Checkpoint(number)).await?;
            self.checkpoints = records.last().map(|(key, _)| key.clone());
            for (under, record) in records {
                self.verifier.checkpoint(&record.value)?;
                if Some(&under) == self.checkpoints.as_ref() && under != key(self.verifier.checkpoints()) {
                    let what = format!("it is kept under {under}");
                    return Err(Fault { at: FaultAt::Checkpoint(self.verifier.checkpoints()), what }.into());
                }
            }
        }
        Ok(())
    }

    /// The next records; when one cannot be read, those before it, and when it is the first, that it is bad.
    async fn records(&self, namespace: &str, after: &str, limit: u32, first: FaultAt) -> Result<Vec<(String, Record)>, VerifyError> {
        let store = self.log.fleet().store();
        let unreadable = |error: &StoreError| *error.kind() == StoreErrorKind::Corrupt;
        match store.list(namespace, Some(after), limit).await {
            Err(error) if unreadable(&error) => match store.list(namespace, Some(after), 1).await {
                Err(error) if unreadable(&error) => Err(unread(first, &error).into()),
                other => Ok(other?),
            },
            other => Ok(other?),
        }
    }

    /// Whether a batch is still there; then it is as it was sealed.
    async fn batch(&mut self, entry: &Entry, sealed: &SealedBatch) -> Result<bool, VerifyError> {
        let fault = |what: &str| VerifyError::from(Fault { at: FaultAt::Entry(entry.number), what: what.to_owned() });
        let before = FeedPosition(sealed.position.0 - 1);
        if self.feed.is_empty() {
            let store = self.log.fleet().store();
            self.feed = match store.feed(before, limits::FEED_ENTRIES_DEFAULT).await {
                Err(error) if *error.kind() == StoreErrorKind::Corrupt => {
                    store.feed(before, 1).await.map_err(|error| self.unless_unread(entry, error))?
                }
                other => other?,
            }
            .into();
        }
        let Some(found) = self.feed.pop_front() else {
            return Err(fault("the batch it seals, and all after it, are missing from the feed"));
        };
        if (found.position, found.agent, found.number, found.digest) != (sealed.position, sealed.agent, sealed.number, sealed.digest) {
            return Err(fault("the batch it seals, or its place in the feed, is not as it was"));
        }
        if found.record.is_none() {
            return Ok(false);
        }
        if sealed.content.is_none() {
            return Err(fault("the batch it seals was gone or damaged then, and is there"));
        }
        let now = self.log.sealed(&found).await.map_err(|error| self.unless_unread(entry, error))?;
        match now.content {
            // It went while it was read.
            None => Ok(false),
            content if content == sealed.content => Ok(true),
            Some(_) => Err(fault("events or rejections of the batch it seals are not as they were")),
        }
    }

    fn unless_unread(&self, entry: &Entry, error: StoreError) -> VerifyError {
        if *error.kind() == StoreErrorKind::Corrupt { unread(FaultAt::Entry(entry.number), &error).into() } else { error.into() }
    }
}

/// Something that is there and cannot be read.
fn unread(at: FaultAt, error: &StoreError) -> Fault {
    let why = std::error::Error::source(error).map_or_else(String::new, |source| format!(": {source}"));
    Fault { at, what: format!("it, or the batch it seals, cannot be read{why}") }
}

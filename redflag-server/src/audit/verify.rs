//! Verifying a stored log, and what it says of batches and commands that are still there; what is not must have gone by an entry.

use super::{
    AuditLog,
    checkpoints::CHECKPOINTS,
    gone::Deletions,
    log::{BLOCKS, BLOCKS_PER_READ},
};
use redflag_core::{
    audit::{
        SealedBatch,
        chain::key,
        command,
        damage::Damage,
        entry::Entry,
        verify::{Fault, FaultAt, Summary, Verifier},
    },
    feed::{FeedEntry, FeedPosition},
    ids::{AgentId, CommandId},
    limits,
    public_key::PublicKey,
    store::{Record, StoreError, StoreErrorKind},
};
use serde::Serialize;
use std::collections::VecDeque;

/// Checkpoints that are read at a time.
const CHECKPOINTS_PER_READ: u32 = 500;

/// What a log without fault holds, and how it stands to what is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// The log.
    pub log: Summary,
    /// Batches that are there, and are as they were sealed.
    pub batches: u64,
    /// Batches that retention or a removal took since, by an entry that says so; the log keeps their digests.
    pub batches_gone: u64,
    /// Batches that had gone when they were sealed, so that no entry has to say why.
    pub batches_gone_before: u64,
    /// Entries about commands that are there, and are as these entries say.
    pub commands: u64,
    /// Entries about commands that went with their agent, by an entry that says so.
    pub commands_gone: u64,
    /// Batches and entries about commands that have gone without an entry that says so, before a gap in the log, where it may have been lost.
    pub gone_unexplained: u64,
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
    /// Reads the whole log, every batch it seals and every command it tells of, from the first on, and says what is wrong first. Checkpoints
    /// must be signed by one of `keys`. `progress` is told the number of each entry that was read.
    ///
    /// Entries that come meanwhile may be read or not. What is gone without an entry that says so is named only where no entry is bad: a bad
    /// one might have been the one that says so.
    ///
    /// # Errors
    /// [`VerifyError::Fault`], which names the first bad entry; or when the store fails.
    pub async fn verify(&self, keys: Vec<PublicKey>, mut progress: impl FnMut(u64)) -> Result<Verified, VerifyError> {
        let mut reading = Reading::new(self, keys);
        let mut after = key(0);
        loop {
            let blocks = reading.records(BLOCKS, &after, BLOCKS_PER_READ, FaultAt::Entry(reading.verifier.place().number + 1)).await?;
            let Some((last, _)) = blocks.last() else { break };
            after.clone_from(last);
            for (key, record) in &blocks {
                reading.checkpoints_for(key).await?;
                for entry in reading.verifier.block(key, &record.value)? {
                    progress(entry.number);
                    reading.entry(&entry).await?;
                }
            }
        }
        reading.checkpoints_for(&key(u64::MAX)).await?;
        reading.finish().await
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
    deletions: Deletions,
    /// The first behind the last gap that is gone though no entry says so, and how many such there are.
    unexplained: Option<(Fault, u64)>,
    counts: Counts,
}

/// What was held against what is stored.
#[derive(Default)]
struct Counts {
    batches: u64,
    batches_gone: u64,
    batches_gone_before: u64,
    commands: u64,
    commands_gone: u64,
    gone_unexplained: u64,
}

/// How something that an entry is about stands now.
enum Found {
    /// It is there, as the entry says.
    There,
    /// It has gone.
    Gone,
}

impl<'a> Reading<'a> {
    fn new(log: &'a AuditLog, keys: Vec<PublicKey>) -> Self {
        let (verifier, checkpoints, feed) = (Verifier::new(keys), Some(key(0)), VecDeque::new());
        Self { log, verifier, checkpoints, feed, deletions: Deletions::default(), unexplained: None, counts: Counts::default() }
    }

    /// What was read, when there is no more.
    async fn finish(self) -> Result<Verified, VerifyError> {
        let sealed = self.verifier.place().sealed;
        let log = self.verifier.finish()?;
        if let Some((fault, _)) = self.unexplained {
            return Err(fault.into());
        }
        let unsealed = !self.log.fleet().store().feed(sealed, 1).await?.is_empty();
        let Counts { batches, batches_gone, batches_gone_before, commands, commands_gone, gone_unexplained } = self.counts;
        Ok(Verified { log, batches, batches_gone, batches_gone_before, commands, commands_gone, gone_unexplained, unsealed })
    }

    /// Holds what an entry is about against what it says.
    async fn entry(&mut self, entry: &Entry) -> Result<(), VerifyError> {
        if let Some(batch) = &entry.batch {
            match self.batch(entry, batch).await? {
                Found::There => self.counts.batches += 1,
                Found::Gone if batch.content.is_none() => self.counts.batches_gone_before += 1,
                Found::Gone => {
                    self.counts.batches_gone += 1;
                    if !self.deletions.explain_batch(self.log, batch.agent, entry.at).await? {
                        self.unexplained(entry, "the batch it seals has gone, and no entry says that retention or a removal takes it");
                    }
                }
            }
        } else if let Some(damage) = &entry.damage {
            // The entry that says why may be among those that were lost.
            self.counts.gone_unexplained += self.unexplained.take().map_or(0, |(_, count)| count);
            let kept = self.log.damaged(entry.number).await.map_err(|error| self.unless_unread(entry, error))?;
            if (kept.len() as u64, Damage::digest_of(&kept)) != (damage.records, damage.digest) {
                let what = "what could not be read when the log went on here is not kept as it was".to_owned();
                return Err(Fault { at: FaultAt::Entry(entry.number), what }.into());
            }
        } else if let Some((agent, id)) = command::of_entry(entry) {
            match self.command(entry, agent, id).await? {
                Found::There => self.counts.commands += 1,
                Found::Gone => {
                    self.counts.commands_gone += 1;
                    if !self.deletions.explain_command(self.log, agent).await? {
                        let what = format!("command {id} of agent {agent} has gone, and no entry says that the agent is removed");
                        self.unexplained(entry, &what);
                    }
                }
            }
        }
        Ok(())
    }

    fn unexplained(&mut self, entry: &Entry, what: &str) {
        let first = || (Fault { at: FaultAt::Entry(entry.number), what: what.to_owned() }, 0);
        self.unexplained.get_or_insert_with(first).1 += 1;
    }

    /// Holds a command against what an entry says of it.
    async fn command(&self, entry: &Entry, agent: AgentId, id: CommandId) -> Result<Found, VerifyError> {
        let stored = self.log.fleet().store().command(agent, id).await;
        let Some(record) = stored.map_err(|error| self.unless_unread(entry, error))? else { return Ok(Found::Gone) };
        match command::hold_against(entry, &record) {
            Ok(()) => Ok(Found::There),
            Err(what) => Err(Fault { at: FaultAt::Entry(entry.number), what: format!("command {id} of agent {agent}: {what}") }.into()),
        }
    }

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

    /// Holds a batch against how it was sealed.
    async fn batch(&mut self, entry: &Entry, sealed: &SealedBatch) -> Result<Found, VerifyError> {
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
            return Ok(Found::Gone);
        }
        if sealed.content.is_none() {
            return Err(fault("the batch it seals was gone or damaged then, and is there"));
        }
        let now = self.log.sealed(&found).await.map_err(|error| self.unless_unread(entry, error))?;
        match now.content {
            // It went while it was read.
            None => Ok(Found::Gone),
            content if content == sealed.content => Ok(Found::There),
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
    Fault { at, what: format!("it, or what it is about, cannot be read{why}") }
}

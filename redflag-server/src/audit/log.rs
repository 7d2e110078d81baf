//! Appending to the log, and reading it.

use super::DamagedEnd;
use crate::{clock, ids};
use redflag_core::{
    Fleet,
    audit::{
        AuditKind, FactName,
        chain::{Block, Link, Place, key},
        entry::{By, Entry, Note},
    },
    feed::FeedPosition,
    limits,
    store::{Expected, Record, Store, StoreError, StoreErrorKind},
};
use std::{
    ops::RangeInclusive,
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::Mutex;

/// The namespace of blocks.
pub(super) const BLOCKS: &str = "audit";
/// Blocks that are read at a time: at most a megabyte.
pub(super) const BLOCKS_PER_READ: u32 = 16;

/// The audit log of a fleet. Clones share what they know of it.
#[derive(Clone, Debug)]
pub struct AuditLog {
    fleet: Fleet,
    /// Where the chain stood when this process last saw it. Whoever appends holds it until the block is written: within a process writers
    /// take turns, and only those of different processes can be in each other's way.
    tail: Arc<Mutex<Option<Place>>>,
    /// When it last saw that.
    seen: Arc<std::sync::Mutex<Option<Instant>>>,
}

/// What became of an attempt to append.
enum Appended {
    /// So many of the notes, from the first on, are entries now.
    Notes(usize),
    /// Somebody else sealed more of the feed.
    SealedMeanwhile,
}

impl AuditLog {
    /// The log of `fleet`.
    #[must_use]
    pub fn new(fleet: Fleet) -> Self {
        Self { fleet, tail: Arc::default(), seen: Arc::default() }
    }

    /// The fleet.
    #[must_use]
    pub const fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// Puts something down; it is an entry when this returns. The first entry of a log is that it begins.
    ///
    /// # Errors
    /// When the store fails, or the end of the log is damaged.
    ///
    /// # Cancel safety
    /// Cancelled, the note is an entry or it is not.
    pub async fn note(&self, note: Note) -> Result<(), StoreError> {
        self.note_all(vec![note]).await
    }

    /// Puts several things down in a row; between blocks of them others may come.
    ///
    /// # Errors
    /// As [`AuditLog::note`]; the first of them may be entries then.
    ///
    /// # Cancel safety
    /// Cancelled, the first of them are entries and the others are not.
    pub async fn note_all(&self, mut notes: Vec<Note>) -> Result<(), StoreError> {
        while !notes.is_empty() {
            if let Appended::Notes(count) = self.append(&notes, None).await? {
                notes.drain(..count);
            }
        }
        Ok(())
    }

    /// Puts batches down that follow `sealed` in the feed; false when somebody else did meanwhile, and nothing or only the first of these
    /// are entries.
    pub(super) async fn seal(&self, mut sealed: FeedPosition, mut batches: Vec<Note>) -> Result<bool, StoreError> {
        while !batches.is_empty() {
            match self.append(&batches, Some(sealed)).await? {
                Appended::Notes(count) => {
                    batches.drain(..count);
                    sealed.0 += count as u64;
                }
                Appended::SealedMeanwhile => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Where the chain stands now.
    ///
    /// # Errors
    /// When the store fails, or the end of the log is damaged.
    pub async fn place(&self) -> Result<Place, StoreError> {
        let mut tail = self.tail.lock().await;
        self.catch_up(&mut tail).await
    }

    /// The entries of these numbers, as they are stored, in order; those that are not there are left out.
    ///
    /// # Errors
    /// When the store fails, or a block in which one stands is damaged.
    pub async fn entries(&self, numbers: RangeInclusive<u64>) -> Result<Vec<Link>, StoreError> {
        let (first, last) = (*numbers.start(), *numbers.end());
        // A block that holds the first begins at most so much before it.
        let mut after = key(first.saturating_sub(limits::AUDIT_BLOCK_ENTRIES_MAX as u64));
        let mut links = Vec::new();
        loop {
            let blocks = self.blocks(&after).await?;
            let Some((key, block)) = blocks.last() else { return Ok(links) };
            let done = block.place().number >= last;
            after.clone_from(key);
            let found = blocks.into_iter().flat_map(|(_, block)| block.links).filter(|link| numbers.contains(&link.entry.number));
            links.extend(found);
            if done {
                return Ok(links);
            }
        }
    }

    /// Up to `limit` entries that pass, newest first, from below `before` or the newest of all; and below which number to go on, if there
    /// is more. A call looks at some thousand entries at most, so it may find few or none and still say where to go on.
    ///
    /// # Errors
    /// As [`AuditLog::entries`].
    pub async fn backwards(
        &self,
        before: Option<u64>,
        limit: usize,
        passes: impl Fn(&Entry) -> bool,
    ) -> Result<(Vec<Link>, Option<u64>), StoreError> {
        const LOOKED_AT_A_TIME: u64 = 500;
        const LOOKS_MAX: u64 = 10;
        let end = self.place().await?.number + 1;
        let mut before = before.map_or(end, |before| before.min(end));
        let mut found = Vec::new();
        for _ in 0..LOOKS_MAX {
            let first = before.saturating_sub(LOOKED_AT_A_TIME).max(1);
            if before <= 1 {
                return Ok((found, None));
            }
            for link in self.entries(first..=before - 1).await?.into_iter().rev() {
                before = link.entry.number;
                if passes(&link.entry) {
                    found.push(link);
                }
                if found.len() == limit {
                    return Ok((found, Some(before).filter(|before| *before > 1)));
                }
            }
            before = first;
        }
        Ok((found, Some(before).filter(|before| *before > 1)))
    }

    /// The next blocks whose keys are above this.
    pub(super) async fn blocks(&self, after: &str) -> Result<Vec<(String, Block)>, StoreError> {
        let records = self.fleet.store().list(BLOCKS, Some(after), BLOCKS_PER_READ).await?;
        records.into_iter().map(|(key, record)| read(&key, &record.value).map(|block| (key, block))).collect()
    }

    async fn append(&self, notes: &[Note], sealed: Option<FeedPosition>) -> Result<Appended, StoreError> {
        let mut tail = self.tail.lock().await;
        let mut before = match *tail {
            Some(place) => place,
            None => self.catch_up(&mut tail).await?,
        };
        // Whenever a turn is lost, another process appended: the log grows all the same.
        loop {
            if sealed.is_some_and(|sealed| sealed != before.sealed) {
                return Ok(Appended::SealedMeanwhile);
            }
            let begins = (before.number == 0).then(begins);
            let added = usize::from(begins.is_some());
            let block = Block::after(before, begins.into_iter().chain(notes.iter().cloned())).map_err(corrupt)?;
            let Some((block, after)) = block else { return Ok(Appended::Notes(0)) };
            if self.put(&block).await? {
                *tail = Some(after);
                return Ok(Appended::Notes(block.links.len() - added));
            }
            before = self.catch_up(&mut tail).await?;
        }
    }

    /// Writes a block where none is; false when there is one.
    async fn put(&self, block: &Block) -> Result<bool, StoreError> {
        let (store, key, text) = (self.fleet.store(), block.key(), block.to_text());
        match store.put(BLOCKS, &key, &text, Expected::Absent).await {
            Ok(revision) => Ok(revision.is_some()),
            // Only here can a block be ours that we did not see written.
            Err(error) if *error.kind() == StoreErrorKind::OutcomeUnknown => {
                Ok(store.get(BLOCKS, &key).await?.is_some_and(|record| record.value == text))
            }
            Err(error) => Err(error),
        }
    }

    /// Whether something can be put down: to be asked before something is done that must be.
    ///
    /// # Errors
    /// As [`AuditLog::place`].
    pub async fn ready(&self) -> Result<(), StoreError> {
        self.place().await.map(drop)
    }

    /// The same, as this process saw it not longer than `age` ago: for what every waiting agent asks, and what would wait in turns for the
    /// database otherwise.
    ///
    /// # Errors
    /// As [`AuditLog::place`].
    pub async fn ready_lately(&self, age: Duration) -> Result<(), StoreError> {
        let seen = *self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.is_some_and(|seen| seen.elapsed() < age) { Ok(()) } else { self.ready().await }
    }

    async fn catch_up(&self, tail: &mut Option<Place>) -> Result<Place, StoreError> {
        let place = self.read_on(*tail).await.map_err(|error| match error.kind() {
            StoreErrorKind::Corrupt => {
                let why = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
                StoreError::caused(StoreErrorKind::Corrupt, DamagedEnd { why })
            }
            _ => error,
        })?;
        *tail = Some(place);
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        Ok(place)
    }

    /// Where the chain stands, which stood there before.
    async fn read_on(&self, tail: Option<Place>) -> Result<Place, StoreError> {
        let mut place = match tail {
            Some(place) => place,
            None => match last_record(self.fleet.store(), BLOCKS).await? {
                Some((key, record)) => read(&key, &record.value)?.place(),
                None => Place::START,
            },
        };
        loop {
            let blocks = self.blocks(&key(place.number)).await?;
            let Some((_, last)) = blocks.last() else { return Ok(place) };
            place = last.place();
        }
    }
}

/// The last record of a namespace whose keys are numbers, without reading all of it: in steps that double as long as there is something
/// behind them, and halve where there is nothing.
pub(super) async fn last_record(store: &dyn Store, namespace: &str) -> Result<Option<(String, Record)>, StoreError> {
    let (mut last, mut number, mut step) = (None, 0_u64, 1_u64);
    loop {
        let found = store.list(namespace, Some(&key(number.saturating_add(step))), 1).await?.pop();
        match found {
            Some((key, record)) => {
                number = key.parse().map_err(|_| corrupt(format!("{key:?} is no key of {namespace}")))?;
                last = Some((key, record));
                step = step.saturating_mul(2);
            }
            None if step == 0 => return Ok(last),
            None => step /= 2,
        }
    }
}

/// The first note of every log.
fn begins() -> Note {
    let nonce: String = ids::random::<32>().iter().map(|byte| format!("{byte:02x}")).collect();
    Note::new(AuditKind::LogBegun, By::Server, clock::now()).with(FactName::Nonce, nonce)
}

fn read(key: &str, text: &str) -> Result<Block, StoreError> {
    Block::read(text).map_err(|error| corrupt(format!("block {key} of the audit log: {error}")))
}

pub(super) fn corrupt(what: impl Into<String>) -> StoreError {
    StoreError::caused(StoreErrorKind::Corrupt, what.into())
}

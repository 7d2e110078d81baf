//! Verification of a log: entries and checkpoints in, the first bad entry out.
//!
//! Everything is read in order and held against what came before; nothing is kept but where the chain stands. A log comes as the blocks
//! and checkpoints that are stored, or as the lines of an export: of each entry its [`Link`], of each checkpoint its envelope behind the
//! last entry it stands for.

use super::{
    chain::{Block, Link, Place, key},
    checkpoint::Checkpoint,
    damage::Gap,
    entry::Entry,
};
use crate::{ids::Digest, public_key::PublicKey, strict_json};
use serde::Serialize;
use std::{collections::VecDeque, fmt};

/// Reads a log from its beginning.
#[derive(Clone, Debug)]
pub struct Verifier {
    keys: Vec<PublicKey>,
    place: Place,
    log: Option<Digest>,
    /// The newest checkpoint whose signature and place among the others are known to be good.
    newest: Option<Checkpoint>,
    /// Those whose entries are still to come.
    pending: VecDeque<Checkpoint>,
    /// Entries that a checkpoint stands for, all of them verified.
    covered: u64,
    gaps: Vec<Gap>,
}

/// What is wrong with a log: where it begins, and how it showed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {what}")]
pub struct Fault {
    /// The first that is bad.
    pub at: FaultAt,
    /// How it showed.
    pub what: String,
}

/// What of a log is bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultAt {
    /// The entry of this number; nothing after it can be believed.
    Entry(u64),
    /// The checkpoint of this number.
    Checkpoint(u64),
}

impl fmt::Display for FaultAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry(number) => write!(f, "entry {number}"),
            Self::Checkpoint(number) => write!(f, "checkpoint {number}"),
        }
    }
}

/// What a log without fault holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Which log: the digest of its first entry; none for an empty one.
    pub log: Option<Digest>,
    /// Entries.
    pub entries: u64,
    /// The digest of the last.
    pub head: Digest,
    /// Checkpoints.
    pub checkpoints: u64,
    /// Entries that the newest checkpoint stands for; those after it could have been cut off or replaced.
    pub covered: u64,
    /// The [`Checkpoint::digest`] of the newest.
    pub newest: Option<Digest>,
    /// Where entries were lost and the log says that it goes on behind them. Whoever can write into the database can damage it and say so:
    /// somebody has to know of each.
    pub gaps: Vec<Gap>,
}

impl Verifier {
    /// A verifier that believes checkpoints signed by `keys`.
    #[must_use]
    pub const fn new(keys: Vec<PublicKey>) -> Self {
        Self { keys, place: Place::START, log: None, newest: None, pending: VecDeque::new(), covered: 0, gaps: Vec::new() }
    }

    /// Where the chain stands, as far as it was read.
    #[must_use]
    pub const fn place(&self) -> Place {
        self.place
    }

    /// The entries that the newest checkpoint read stands for; they may be still to come.
    #[must_use]
    pub fn checkpointed(&self) -> u64 {
        self.newest.as_ref().map_or(0, |checkpoint| checkpoint.size)
    }

    /// The checkpoints read.
    #[must_use]
    pub fn checkpoints(&self) -> u64 {
        self.newest.as_ref().map_or(0, |checkpoint| checkpoint.number)
    }

    /// Takes the next line of an export.
    ///
    /// # Errors
    /// The fault, when it shows one.
    pub fn line(&mut self, line: &str) -> Result<(), Fault> {
        // Both forms are strict, so their first key tells them apart.
        if line.starts_with(r#"{"payload""#) {
            return self.checkpoint(line);
        }
        self.link_line(line).map(drop)
    }

    /// Takes the next stored block; answers its entries.
    ///
    /// # Errors
    /// The fault, when it shows one.
    pub fn block(&mut self, under: &str, text: &str) -> Result<Vec<Entry>, Fault> {
        let mut expected = key(self.place.number + 1);
        if under > expected.as_str() {
            let continued = Block::read(text).ok().filter(|block| block.links.iter().any(|link| link.entry.damage.is_some()));
            let continued = continued.ok_or_else(|| self.next_is_bad(format!("it is missing; the next block is {under}")))?;
            expected = continued.key();
        }
        let (before, lines) = Block::lines(text).map_err(|error| self.next_is_bad(error))?;
        if under != expected || before != self.place {
            return Err(self.next_is_bad(format!("the block {under} does not follow from the entry before")));
        }
        lines.map(|line| self.link_line(line).map(|link| link.entry)).collect()
    }

    /// Takes the next entry.
    ///
    /// # Errors
    /// The fault, when it shows one.
    pub fn link(&mut self, link: &Link) -> Result<(), Fault> {
        let after = self.place.after(&link.entry).map_err(|what| self.next_is_bad(what))?;
        if after.digest != link.digest {
            return Err(self.next_is_bad("it, or its digest, is not as it was written"));
        }
        if let Some(damage) = &link.entry.damage {
            self.gap(damage.after, link);
        }
        self.place = after;
        self.log.get_or_insert(after.digest);
        while let Some(checkpoint) = self.pending.pop_front_if(|checkpoint| checkpoint.size == after.number) {
            self.hold_against(&checkpoint)?;
        }
        Ok(())
    }

    /// The lost entries between `after` and this one, and the checkpoints that stood for some of them.
    fn gap(&mut self, after: u64, continued: &Link) {
        let mut signed = 0;
        while let Some(checkpoint) = self.pending.pop_front_if(|checkpoint| checkpoint.size < continued.entry.number) {
            signed = checkpoint.size - after;
        }
        if self.log.is_none() {
            // The first entry was lost; checkpoints know which log it was.
            self.log = self.newest.as_ref().map(|checkpoint| checkpoint.log);
        }
        self.gaps.push(Gap { after, continued: continued.entry.number, digest: continued.digest, signed });
    }

    /// Takes the next checkpoint, before or just behind the last entry it stands for.
    ///
    /// # Errors
    /// The fault, when it shows one.
    pub fn checkpoint(&mut self, envelope: &str) -> Result<(), Fault> {
        let number = self.checkpoints() + 1;
        let fault = |what: String| Fault { at: FaultAt::Checkpoint(number), what };
        let checkpoint = Checkpoint::read(envelope.as_bytes(), &self.keys).map_err(|error| fault(error.to_string()))?;
        checkpoint.follows(self.newest.as_ref()).map_err(fault)?;
        if checkpoint.size < self.place.number {
            let what = format!("it stands for {} entries, and comes behind {}", checkpoint.size, self.place.number);
            return Err(Fault { at: FaultAt::Checkpoint(number), what });
        }
        self.newest = Some(checkpoint.clone());
        if checkpoint.size == self.place.number {
            return self.hold_against(&checkpoint);
        }
        self.pending.push_back(checkpoint);
        Ok(())
    }

    /// What was read, when there is no more.
    ///
    /// # Errors
    /// The fault, when a checkpoint stands for entries that did not come.
    pub fn finish(self) -> Result<Summary, Fault> {
        if let Some(checkpoint) = self.pending.front() {
            let what = format!("it is missing; checkpoint {} stands for {} entries", checkpoint.number, checkpoint.size);
            return Err(self.next_is_bad(what));
        }
        Ok(Summary {
            log: self.log,
            entries: self.place.number,
            head: self.place.digest,
            checkpoints: self.checkpoints(),
            covered: self.covered,
            newest: self.newest.as_ref().map(Checkpoint::digest),
            gaps: self.gaps,
        })
    }

    /// Holds the chain against a checkpoint that stands for just what was read.
    fn hold_against(&mut self, checkpoint: &Checkpoint) -> Result<(), Fault> {
        if checkpoint.head == self.place.digest && Some(checkpoint.log) == self.log {
            self.covered = checkpoint.size;
            return Ok(());
        }
        let (first, last) = ((self.covered + 1).min(checkpoint.size), checkpoint.size);
        let what = format!("checkpoint {} was signed over other entries {first} to {last}", checkpoint.number);
        Err(Fault { at: FaultAt::Entry(first), what })
    }

    fn link_line(&mut self, line: &str) -> Result<Link, Fault> {
        let link: Link = strict_json::read(line.as_bytes()).map_err(|error| self.next_is_bad(error))?;
        self.link(&link)?;
        Ok(link)
    }

    fn next_is_bad(&self, what: impl Into<String>) -> Fault {
        Fault { at: FaultAt::Entry(self.place.number + 1), what: what.into() }
    }
}

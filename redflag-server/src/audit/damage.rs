//! A log whose end cannot be read: nothing can be put down, because nobody knows what to follow. A person says that it goes on.
//!
//! What cannot be read is kept, byte for byte, beside the log, and the entry that goes on covers it. While a server runs that knows the end
//! from before, it goes on by itself, and there is nothing to be done but what `verify` says.

use super::{
    AuditLog,
    log::{BLOCKS, BLOCKS_PER_READ, corrupt},
};
use redflag_core::{
    audit::{
        FactName,
        chain::{Block, Link, Place, key},
        damage::Damage,
        entry::{By, Note},
    },
    limits,
    names::Text,
    store::{Expected, StoreError},
    time::Timestamp,
};

/// The namespace of what could not be read, under the key of the entry that goes on and its own.
const DAMAGED: &str = "audit-damaged";

/// The end of the log cannot be read.
#[derive(Debug, thiserror::Error)]
#[error(
    "nothing can be put down in the audit log, because its end cannot be read: {why}; `redflag-server audit verify` says from where on, and \
     `redflag-server audit continue` goes on behind it (see \"When the end of the audit log is damaged\" in docs/operations.md)"
)]
pub struct DamagedEnd {
    /// How it showed.
    pub(super) why: String,
}

/// The end of a log, as far as it can be read.
struct End {
    /// Where the chain stood before what cannot be read.
    before: Place,
    /// What cannot be read, by key.
    damaged: Vec<(String, String)>,
    /// What an entry went on behind already, and is still in its place.
    passed: Vec<(String, String)>,
}

impl AuditLog {
    /// Goes on behind the damaged end, with an entry that says so; none when the end can be read. Interrupted, the next call goes on.
    ///
    /// Servers must not run: one that knows the end from before would go on from there.
    ///
    /// # Errors
    /// When the store fails, or cannot read its own records.
    pub async fn continue_behind_damage(&self, by: By, reason: &Text, now: Timestamp) -> Result<Option<Link>, StoreError> {
        let End { before, damaged, passed } = self.end().await?;
        if damaged.is_empty() {
            self.take_out(&passed).await?;
            return Ok(None);
        }
        let number = self.behind(&before, damaged.len() as u64).await?;
        for (under, text) in &damaged {
            self.keep(number, under, text).await?;
        }
        let damage = Damage { after: before.number, records: damaged.len() as u64, digest: Damage::digest_of(&damaged) };
        let note = Note::of_damage(damage, by, now).with(FactName::Reason, reason);
        let (block, _) = Block::behind_damage(before, number, note).map_err(corrupt)?;
        // When somebody was quicker, this says so.
        if self.fleet().store().put(BLOCKS, &block.key(), &block.to_text(), Expected::Absent).await?.is_none() {
            return Err(corrupt(format!("somebody else goes on at entry {number}; is a server running?")));
        }
        self.take_out(&damaged).await?;
        self.place().await?;
        Ok(block.links.into_iter().next())
    }

    /// The records that an entry went on behind, as they are kept.
    pub(super) async fn damaged(&self, continued: u64) -> Result<Vec<(String, String)>, StoreError> {
        let (store, prefix) = (self.fleet().store(), key(continued));
        let (mut found, mut after) = (Vec::new(), prefix.clone());
        loop {
            let records = store.list(DAMAGED, Some(&after), BLOCKS_PER_READ).await?;
            let Some((last, _)) = records.last() else { return Ok(found) };
            after.clone_from(last);
            for (under, record) in records {
                let Some(under) = under.strip_prefix(&prefix).and_then(|rest| rest.strip_prefix('/')) else { return Ok(found) };
                found.push((under.to_owned(), record.value));
            }
        }
    }

    /// Reads the log to its end; nothing of it is verified.
    async fn end(&self) -> Result<End, StoreError> {
        let mut end = End { before: Place::START, damaged: Vec::new(), passed: Vec::new() };
        let mut after = key(0);
        loop {
            let records = self.fleet().store().list(BLOCKS, Some(&after), BLOCKS_PER_READ).await?;
            let Some((last, _)) = records.last() else { return Ok(end) };
            after.clone_from(last);
            for (under, record) in records {
                match Block::read(&record.value).ok().filter(|_| under.parse::<u64>().is_ok()) {
                    Some(block) => {
                        // What was damaged before a block that can be read is no end, and stays, unless that block goes on behind it.
                        let damaged = std::mem::take(&mut end.damaged);
                        let damage = block.links.first().and_then(|link| link.entry.damage);
                        if damage.is_some_and(|damage| damage.digest == Damage::digest_of(&damaged)) {
                            end.passed.extend(damaged);
                        }
                        end.before = block.place();
                    }
                    None => end.damaged.push((under, record.value)),
                }
            }
        }
    }

    /// A number that none of the entries that were lost in so many records can have had.
    async fn behind(&self, before: &Place, records: u64) -> Result<u64, StoreError> {
        let signed = self.newest_checkpoint().await?.map_or(0, |newest| newest.checkpoint.size);
        if signed > limits::COMMAND_COUNTER_MAX {
            return Err(corrupt(format!("the newest checkpoint stands for {signed} entries")));
        }
        Ok((before.number + records * limits::AUDIT_BLOCK_ENTRIES_MAX as u64).max(signed) + 1)
    }

    async fn keep(&self, number: u64, under: &str, text: &str) -> Result<(), StoreError> {
        let (store, name) = (self.fleet().store(), format!("{}/{under}", key(number)));
        if store.put(DAMAGED, &name, text, Expected::Absent).await?.is_none()
            && store.get(DAMAGED, &name).await?.is_none_or(|kept| kept.value != text)
        {
            return Err(corrupt(format!("{name} is kept already, and is something else")));
        }
        Ok(())
    }

    async fn take_out(&self, damaged: &[(String, String)]) -> Result<(), StoreError> {
        for (under, text) in damaged {
            let record = self.fleet().store().get(BLOCKS, under).await?.filter(|record| record.value == *text);
            if let Some(record) = record {
                self.fleet().store().delete(BLOCKS, under, record.revision).await?;
            }
        }
        Ok(())
    }
}

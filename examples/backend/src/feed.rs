//! The feed: every batch of the fleet in commit order, at positions without gap.
//!
//! Positions are given inside the transaction that writes the batch. redb lets one write transaction live at a time, so the order of
//! positions is the order of commits, and one that rolls back gives its positions back: nothing more is needed for clauses F1 to F4.
//! The feed keeps the digest of every batch from the start, in the form of a tombstone, and so has nothing to do when a record goes.

use crate::{
    documents::{find, put, read},
    error::Failure,
    tables::{self, BATCHES, FEED, Json},
};
use redb::{ReadTransaction, ReadableTable, WriteTransaction};
use redflag_core::{
    batch::BatchRecord,
    feed::{FeedEntry, FeedPosition, Tombstone},
    ids::AgentId,
};
use std::ops::Bound;

/// What stands for a batch in the feed.
pub(crate) fn tombstone(record: &BatchRecord) -> Tombstone {
    Tombstone { number: record.receipt.number, digest: record.feed_digest() }
}

/// Gives the next positions to batches of an agent.
pub(crate) fn append(transaction: &WriteTransaction, agent: AgentId, batches: impl Iterator<Item = Tombstone>) -> Result<(), Failure> {
    let next = last(&transaction.open_table(FEED)?)? + 1;
    put(transaction, FEED, (next..).zip(batches.map(|batch| (agent, batch))))
}

/// The newest position.
pub(crate) fn newest(transaction: &ReadTransaction) -> Result<FeedPosition, Failure> {
    Ok(FeedPosition(last(&transaction.open_table(FEED)?)?))
}

fn last(feed: &impl ReadableTable<u64, Json>) -> Result<u64, Failure> {
    Ok(feed.last()?.map_or(0, |(position, _)| position.value()))
}

pub(crate) fn entries(transaction: &ReadTransaction, after: FeedPosition, limit: u32) -> Result<Vec<FeedEntry>, Failure> {
    let (feed, batches) = (transaction.open_table(FEED)?, transaction.open_table(BATCHES)?);
    let mut entries = Vec::new();
    for entry in feed.range((Bound::Excluded(after.0), Bound::Unbounded))?.take(limit as usize) {
        let (position, document) = entry?;
        let (agent, Tombstone { number, digest }) = read(document.value())?;
        let record = find(&batches, (tables::agent(agent), number))?;
        entries.push(FeedEntry { position: FeedPosition(position.value()), agent, number, digest, record });
    }
    Ok(entries)
}

/// The number of an agent's newest batch at or below a position.
pub(crate) fn batches_until(transaction: &ReadTransaction, agent: AgentId, position: FeedPosition) -> Result<u64, Failure> {
    for entry in transaction.open_table(FEED)?.range(..=position.0)?.rev() {
        let (of, Tombstone { number, .. }): (AgentId, _) = read(entry?.1.value())?;
        if of == agent {
            return Ok(number);
        }
    }
    Ok(0)
}

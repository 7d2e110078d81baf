//! The feed: every batch at a position of its own, without gap (clauses F1 to F4).
//!
//! There is one writer, so a unit of work takes the next positions in its own transaction: commit order and feed order are one, and a
//! row holds the whole run of its batches.

use crate::{
    error::Failure,
    log::all,
    removed,
    rows::{self, batch_columns},
    stored::get,
};
use redflag_core::{
    batch::BatchRecord,
    feed::{FeedEntry, FeedPosition, Tombstone},
    ids::AgentId,
};
use rusqlite::{Connection, OptionalExtension, Row, params};

/// Puts batches of these numbers, which ascend, at the end of the feed; answers whether there were any.
pub(crate) fn append(connection: &Connection, agent_ref: i64, numbers: impl Iterator<Item = u64>) -> Result<bool, Failure> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some((first, batches)) if *first + *batches == number => *batches += 1,
            _ => runs.push((number, 1)),
        }
    }
    if runs.is_empty() {
        return Ok(false);
    }
    let mut next = newest(connection)?.0 + 1;
    let mut insert =
        connection.prepare_cached("INSERT INTO feed (first_position, agent_ref, first_number, batches) VALUES (?1, ?2, ?3, ?4)")?;
    for (first_number, batches) in runs {
        insert.execute(params![next, agent_ref, first_number, batches])?;
        next += batches;
    }
    Ok(true)
}

/// Keeps what stands in the feed for batches without a record.
pub(crate) fn insert_tombstones(connection: &Connection, agent_ref: i64, tombstones: &[Tombstone]) -> Result<(), Failure> {
    let mut insert = connection.prepare_cached("INSERT INTO feed_tombstones (agent_ref, number, digest) VALUES (?1, ?2, ?3)")?;
    for Tombstone { number, digest } in tombstones {
        insert.execute(params![agent_ref, number, digest.as_bytes()])?;
    }
    Ok(())
}

pub(crate) const NEWEST: &str = "SELECT first_position + batches - 1 FROM feed ORDER BY first_position DESC LIMIT 1";

/// The newest position.
pub(crate) fn newest(connection: &Connection) -> Result<FeedPosition, Failure> {
    let newest = connection.prepare_cached(NEWEST)?.query_row([], |row| Ok(get(row, 0))).optional()?.transpose()?;
    Ok(newest.map_or(FeedPosition::START, FeedPosition))
}

/// Up to `limit` entries after a position.
pub(crate) fn entries(connection: &Connection, after: FeedPosition, limit: u32) -> Result<Vec<FeedEntry>, Failure> {
    let (mut entries, limit) = (Vec::new(), u64::from(limit));
    let mut select = connection.prepare_cached(RUNS)?;
    // No position is beyond 63 bits.
    let mut found = select.query([i64::try_from(after.0).unwrap_or(i64::MAX)])?;
    let mut last = after.0;
    while (entries.len() as u64) < limit
        && let Some(row) = found.next()?
    {
        let run = Run::read(row)?;
        let passed = last.checked_sub(run.first_position - 1).ok_or_else(|| Failure::corrupt(format!("a gap in the feed after {last}")))?;
        // The newest run is there also for whoever has read it.
        let count = run.batches.saturating_sub(passed).min(limit - entries.len() as u64);
        if count > 0 {
            run.entries(connection, passed, count, &mut entries)?;
            last += count;
        }
    }
    Ok(entries)
}

/// The run that holds the position after `?1`, or would, and those that follow.
pub(crate) const RUNS: &str = "
    SELECT f.first_position, f.agent_ref, f.first_number, f.batches, COALESCE(a.agent_id, r.agent_id)
    FROM feed AS f
    LEFT JOIN agents AS a ON a.agent_ref = f.agent_ref
    LEFT JOIN removed_agents AS r ON r.agent_ref = f.agent_ref
    WHERE f.first_position >= COALESCE((SELECT MAX(first_position) FROM feed WHERE first_position <= ?1), 1)
    ORDER BY f.first_position";

/// Batches of one agent at positions that follow each other.
struct Run {
    first_position: u64,
    agent_ref: i64,
    first_number: u64,
    batches: u64,
    agent: AgentId,
}

impl Run {
    fn read(row: &Row<'_>) -> Result<Self, Failure> {
        let (first_position, agent_ref, first_number, batches) = (get(row, 0)?, get(row, 1)?, get(row, 2)?, get(row, 3)?);
        Ok(Self { first_position, agent_ref, first_number, batches, agent: get(row, 4)? })
    }

    /// The entries of `count` batches of the run, after the first `passed`.
    fn entries(&self, connection: &Connection, passed: u64, count: u64, entries: &mut Vec<FeedEntry>) -> Result<(), Failure> {
        let first = self.first_number + passed;
        let numbers = params![self.agent_ref, first, first + count];
        let records = all(connection, RECORDS, numbers, |row| rows::batch(row, 0, self.agent))?;
        let whole = records.len() as u64 == count;
        let tombstones = if whole { Vec::new() } else { all(connection, TOMBSTONES, numbers, tombstone)? };
        let (mut records, mut tombstones) = (records.into_iter().peekable(), tombstones.into_iter().peekable());
        for number in first..first + count {
            let record = records.next_if(|record| record.receipt.number == number);
            let kept = tombstones.next_if(|tombstone| tombstone.number == number).map(|tombstone| tombstone.digest);
            let digest = record.as_ref().map(BatchRecord::feed_digest).or(kept);
            let digest = digest.ok_or_else(|| Failure::corrupt(format!("batch {number} of agent {} has no digest", self.agent)))?;
            let position = FeedPosition(self.first_position + (number - self.first_number));
            entries.push(FeedEntry { position, agent: self.agent, number, digest, record });
        }
        Ok(())
    }
}

pub(crate) const RECORDS: &str = concat!(
    "SELECT ",
    batch_columns!(),
    " FROM update_batches AS b WHERE b.agent_ref = ?1 AND b.number >= ?2 AND b.number < ?3 ORDER BY b.number"
);

pub(crate) const TOMBSTONES: &str =
    "SELECT number, digest FROM feed_tombstones WHERE agent_ref = ?1 AND number >= ?2 AND number < ?3 ORDER BY number";

fn tombstone(row: &Row<'_>) -> Result<Tombstone, Failure> {
    Ok(Tombstone { number: get(row, 0)?, digest: get(row, 1)? })
}

pub(crate) const UNTIL: &str = "
    SELECT first_number - 1 + MIN(batches, ?2 - first_position + 1)
    FROM feed
    WHERE agent_ref = ?1 AND first_position <= ?2
    ORDER BY first_position DESC
    LIMIT 1";

/// The number of an agent's newest batch at or below a position; 0 when there is none.
pub(crate) fn batches_until(connection: &Connection, agent: AgentId, position: FeedPosition) -> Result<u64, Failure> {
    let agent_ref = match rows::agent_ref(connection, agent)? {
        Some(agent_ref) => Some(agent_ref),
        None => removed::find(connection, agent)?.map(|(agent_ref, _)| agent_ref),
    };
    let Some(agent_ref) = agent_ref else { return Ok(0) };
    let mut select = connection.prepare_cached(UNTIL)?;
    // One less than the largest integer, so that the difference to it fits.
    let position = i64::try_from(position.0).unwrap_or(i64::MAX).min(i64::MAX - 1);
    let number = select.query_row([agent_ref, position], |row| Ok(get(row, 0))).optional()?.transpose()?;
    Ok(number.unwrap_or(0))
}

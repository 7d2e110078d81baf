//! Lists of updates: rows by their refs, which the index found; and the counters of one agent.

use crate::{error::Failure, index::Listed, rows, stored::get};
use redflag_core::{
    counters::CounterKey,
    query::{UpdatePage, UpdateQuery, UpdateStats},
};
use rusqlite::{Connection, Row};

/// The page of these rows; one too many says that the list goes on.
pub(crate) fn filled(connection: &Connection, query: &UpdateQuery, listed: Listed) -> Result<UpdatePage, Failure> {
    let Listed { rows, stats } = listed;
    let wanted = query.size.get() as usize;
    let mut items = Vec::with_capacity(rows.len().min(wanted));
    for (agent_ref, package_ref) in rows.iter().take(wanted) {
        let row = rows::update(connection, *agent_ref, *package_ref)?;
        items.push(row.ok_or_else(|| Failure::corrupt("a state whose agent, package or candidate is missing"))?);
    }
    let next = if rows.len() > wanted { items.last().map(|row| query.cursor_after(row)) } else { None };
    Ok(UpdatePage { items, stats, next })
}

/// The counts of an agent's open updates.
pub(crate) fn open_stats(connection: &Connection, agent_ref: i64) -> Result<UpdateStats, Failure> {
    let mut select = connection.prepare_cached(COUNTERS)?;
    let mut found = select.query([agent_ref])?;
    let mut stats = UpdateStats::default();
    while let Some(row) = found.next()? {
        let key = counter_key(row)?;
        if key.status.open() {
            stats.add(&key, get(row, 5)?);
        }
    }
    Ok(stats)
}

pub(crate) const COUNTERS: &str =
    "SELECT manager, status, severity, security, availability, count FROM update_counters WHERE agent_ref = ?1 AND count <> 0";

/// Five columns: manager, status, severity, security, availability.
pub(crate) fn counter_key(row: &Row<'_>) -> Result<CounterKey, Failure> {
    Ok(CounterKey {
        manager: get(row, 0)?,
        status: get(row, 1)?,
        severity: get(row, 2)?,
        security: get(row, 3)?,
        availability: get(row, 4)?,
    })
}

//! Passes that delete: removal, retention and rebuild, and nothing else (clause D1).
//!
//! A pass marks its agent in the table `maintenance`, for which the triggers of the append-only tables look, and takes the mark away
//! when it is done, all in the transaction of its unit of work. Foreign keys refuse to commit a transaction that leaves a mark.

use crate::{
    error::Failure,
    sql::{integer, key, keys},
    trend,
};
use redflag_core::{agent::Pruned, time::Timestamp};
use rusqlite::{Connection, Params, params};

/// Runs `work`, which may delete rows of the agent.
pub(crate) fn pass(connection: &Connection, agent_ref: i64, work: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    run(connection, "INSERT INTO maintenance (agent_ref) VALUES (?1)", [agent_ref])?;
    work()?;
    run(connection, "DELETE FROM maintenance WHERE agent_ref = ?1", [agent_ref])
}

/// Every table of which removal takes the agent's rows, those that refer to others first.
const REMOVED: &[&str] = &[
    "DELETE FROM rejections WHERE agent_ref = ?1",
    "DELETE FROM chosen_event_ids WHERE agent_ref = ?1",
    "DELETE FROM update_batches WHERE agent_ref = ?1",
    "DELETE FROM reports WHERE agent_ref = ?1",
    "DELETE FROM commands WHERE agent_ref = ?1",
    "DELETE FROM bases WHERE agent_ref = ?1",
    "DELETE FROM agents WHERE agent_ref = ?1",
];

pub(crate) const REMOVED_EVENTS: &str = "DELETE FROM update_events WHERE event_key BETWEEN ?1 AND ?2";

/// Every table of what follows from the log, but for states and the trend.
const DERIVED: &[&str] = &["DELETE FROM update_version_history WHERE agent_ref = ?1", "DELETE FROM update_counters WHERE agent_ref = ?1"];

pub(crate) const DERIVED_STATES: &str = "DELETE FROM current_package_state WHERE state_key BETWEEN ?1 AND ?2";

/// Takes everything of the agent but its feed entries, within a pass.
pub(crate) fn remove(connection: &Connection, agent_ref: i64) -> Result<(), Failure> {
    clear_derived(connection, agent_ref)?;
    run(connection, REMOVED_EVENTS, keys(agent_ref)?)?;
    REMOVED.iter().try_for_each(|delete| run(connection, delete, [agent_ref]))
}

/// Takes what follows from the agent's log, within a pass.
pub(crate) fn clear_derived(connection: &Connection, agent_ref: i64) -> Result<(), Failure> {
    run(connection, DERIVED_STATES, keys(agent_ref)?)?;
    trend::clear(connection, agent_ref)?;
    DERIVED.iter().try_for_each(|delete| run(connection, delete, [agent_ref]))
}

/// What retention takes of batches; `?2` is the last of them.
pub(crate) const PRUNED_BATCHES: [&str; 2] = [
    "DELETE FROM rejections WHERE agent_ref = ?1 AND batch_number <= ?2",
    "DELETE FROM update_batches WHERE agent_ref = ?1 AND number <= ?2",
];
/// What it takes of ids that callers chose: by their events, from `?2` to `?3`, so that a step reads no more ids than it takes.
pub(crate) const PRUNED_IDS: &str = "
    DELETE FROM chosen_event_ids
    WHERE agent_ref = ?1
    AND event_id IN (SELECT event_id FROM update_events WHERE event_key BETWEEN ?2 AND ?3 AND event_id IS NOT NULL)";
pub(crate) const PRUNED_REPORTS: &str = "DELETE FROM reports WHERE agent_ref = ?1 AND received_at < ?2";

/// Takes the start of the agent's log and its older reports, within a pass.
pub(crate) fn prune(connection: &Connection, agent_ref: i64, pruned: Pruned, reports_before: Timestamp) -> Result<(), Failure> {
    let (first, last) = (key(agent_ref, 0)?, key(agent_ref, integer(pruned.events)?)?);
    run(connection, PRUNED_IDS, [agent_ref, first, last])?;
    run(connection, REMOVED_EVENTS, [first, last])?;
    PRUNED_BATCHES.iter().try_for_each(|delete| run(connection, delete, params![agent_ref, pruned.batches]))?;
    run(connection, PRUNED_REPORTS, params![agent_ref, reports_before.as_micros()])
}

fn run(connection: &Connection, sql: &str, parameters: impl Params) -> Result<(), Failure> {
    connection.prepare_cached(sql)?.execute(parameters)?;
    Ok(())
}

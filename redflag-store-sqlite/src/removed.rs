//! What is kept of agents that were removed (clause D2).

use crate::{
    error::Failure,
    log::all,
    stored::{Json, get, json},
};
use redflag_core::{ids::AgentId, names::Text, removal::RemovedAgent};
use rusqlite::{Connection, OptionalExtension, Row, params};

/// What [`read`] reads.
macro_rules! select_removed {
    ($rest:literal) => {
        concat!(
            "SELECT agent_id, name, enrolled_at, removed_at, actor, reason, batches, events, agent_ref FROM removed_agents WHERE ",
            $rest
        )
    };
}

fn read(row: &Row<'_>) -> Result<RemovedAgent, Failure> {
    Ok(RemovedAgent {
        agent: get(row, 0)?,
        name: get(row, 1)?,
        enrolled_at: get(row, 2)?,
        removed_at: get(row, 3)?,
        actor: get::<Json<_>>(row, 4)?.0,
        reason: get(row, 5)?,
        batches: get(row, 6)?,
        events: get(row, 7)?,
    })
}

pub(crate) const FIND: &str = select_removed!("agent_id = ?1");
pub(crate) const PAGE: &str = select_removed!("agent_id > ?1 ORDER BY agent_id LIMIT ?2");

/// What is kept of an agent, with its ref.
pub(crate) fn find(connection: &Connection, agent: AgentId) -> Result<Option<(i64, RemovedAgent)>, Failure> {
    let mut select = connection.prepare_cached(FIND)?;
    let found = select.query_row([agent.as_uuid().as_bytes()], |row| Ok(get(row, 8).and_then(|reference| Ok((reference, read(row)?)))));
    found.optional()?.transpose()
}

/// Up to `limit` removed agents whose id is above `after`.
pub(crate) fn page(connection: &Connection, after: Option<AgentId>, limit: u32) -> Result<Vec<RemovedAgent>, Failure> {
    // No bytes sort before none.
    let after = after.map_or_else(Vec::new, |agent| agent.as_uuid().as_bytes().to_vec());
    all(connection, PAGE, params![after, limit], read)
}

pub(crate) fn insert(connection: &Connection, agent_ref: i64, removed: &RemovedAgent) -> Result<(), Failure> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO removed_agents (agent_ref, agent_id, name, enrolled_at, removed_at, actor, reason, batches, events)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    insert.execute(params![
        agent_ref,
        removed.agent.as_uuid().as_bytes(),
        removed.name.as_str(),
        removed.enrolled_at.as_micros(),
        removed.removed_at.as_micros(),
        json(&removed.actor),
        removed.reason.as_ref().map(Text::as_str),
        removed.batches,
        removed.events,
    ])?;
    Ok(())
}

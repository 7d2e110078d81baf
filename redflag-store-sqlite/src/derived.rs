//! Everything that follows from an agent's log, read whole.

use crate::{
    error::Failure,
    lists,
    log::{self, all},
    rows::{self, select_updates},
    sql::keys,
    stored::get,
    trend,
};
use redflag_core::{ids::AgentId, rebuild::Derived};
use rusqlite::Connection;

/// What is kept of an agent, of the moment that the connection sees; none when it is unknown.
pub(crate) fn of_agent(connection: &Connection, agent: AgentId) -> Result<Option<Derived>, Failure> {
    let Some((agent_ref, head)) = rows::head(connection, agent)? else { return Ok(None) };
    let mut states = all(connection, STATES, keys(agent_ref)?, |row| Ok(rows::update_of(row)?.state))?;
    states.sort_unstable_by(|a, b| a.package.cmp(&b.package));
    let mut counters = all(connection, lists::COUNTERS, [agent_ref], |row| Ok((lists::counter_key(row)?, get(row, 5)?)))?;
    counters.sort_unstable();
    Ok(Some(Derived {
        sequence: head.events,
        pruned: head.pruned,
        states,
        history: all(connection, HISTORY, [agent_ref], log::version_change)?,
        counters,
        open_changes: trend::of_agent(connection, agent_ref)?,
    }))
}

pub(crate) const STATES: &str = select_updates!("WHERE s.state_key BETWEEN ?1 AND ?2");

pub(crate) const HISTORY: &str = log::select_history!("WHERE h.agent_ref = ?1 ORDER BY h.sequence");

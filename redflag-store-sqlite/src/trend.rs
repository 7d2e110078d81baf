//! By how much open updates grew, by day, and the trend that follows (see [`TrendQuery`]): of every agent, and once more of the whole
//! fleet, whose trend would otherwise read every day of every agent.

use crate::{error::Failure, log::all, sql::Statement, stored::get};
use redflag_core::{
    counters::OpenChange,
    query::{TrendPoint, TrendQuery, evaluate_trend},
};
use rusqlite::{Connection, Row, params};

/// Adds differences of an agent.
pub(crate) fn add(connection: &Connection, agent_ref: i64, changes: &[OpenChange]) -> Result<(), Failure> {
    let mut to_agent = connection.prepare_cached(
        "INSERT INTO open_changes (agent_ref, day, severity, difference) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (agent_ref, day, severity) DO UPDATE SET difference = difference + excluded.difference",
    )?;
    let mut to_fleet = connection.prepare_cached(
        "INSERT INTO open_changes_of_fleet (day, severity, difference) VALUES (?1, ?2, ?3)
         ON CONFLICT (day, severity) DO UPDATE SET difference = difference + excluded.difference",
    )?;
    for OpenChange { day, severity, difference } in changes {
        to_agent.execute(params![agent_ref, day.number(), severity.code(), difference])?;
        to_fleet.execute(params![day.number(), severity.code(), difference])?;
    }
    Ok(())
}

pub(crate) const TAKEN_FROM_FLEET: &str = "
    INSERT INTO open_changes_of_fleet (day, severity, difference)
    SELECT day, severity, -difference FROM open_changes WHERE agent_ref = ?1
    ON CONFLICT (day, severity) DO UPDATE SET difference = difference + excluded.difference";

/// Takes everything of an agent away.
pub(crate) fn clear(connection: &Connection, agent_ref: i64) -> Result<(), Failure> {
    connection.prepare_cached(TAKEN_FROM_FLEET)?.execute([agent_ref])?;
    connection.prepare_cached("DELETE FROM open_changes WHERE agent_ref = ?1")?.execute([agent_ref])?;
    Ok(())
}

pub(crate) const OF_AGENT: &str =
    "SELECT day, severity, difference FROM open_changes WHERE agent_ref = ?1 AND difference <> 0 ORDER BY day, severity";

/// The differences of an agent that are not zero, by day and severity.
pub(crate) fn of_agent(connection: &Connection, agent_ref: i64) -> Result<Vec<OpenChange>, Failure> {
    all(connection, OF_AGENT, [agent_ref], change)
}

fn change(row: &Row<'_>) -> Result<OpenChange, Failure> {
    Ok(OpenChange { day: get(row, 0)?, severity: get(row, 1)?, difference: get(row, 2)? })
}

/// Open updates at the end of each day.
pub(crate) fn points(connection: &Connection, query: &TrendQuery) -> Result<Vec<TrendPoint>, Failure> {
    let statement = sums(query);
    Ok(evaluate_trend(all(connection, statement.sql(), statement.parameters(), change)?, query))
}

/// The sums by day and severity; all that was before the first day counts as of the first.
pub(crate) fn sums(query: &TrendQuery) -> Statement {
    let mut statement = Statement::new("SELECT MAX(day, ");
    statement.bind(i64::from(query.first().number())).push("), severity, SUM(difference) FROM ");
    match query.agent() {
        None => statement.push("open_changes_of_fleet WHERE TRUE"),
        Some(agent) => {
            let agent = agent.as_uuid().as_bytes().to_vec();
            statement.push("open_changes WHERE agent_ref = (SELECT agent_ref FROM agents WHERE agent_id = ").bind(agent).push(")")
        }
    };
    statement.push(" AND day <= ").bind(i64::from(query.last().number())).push(" GROUP BY 1, 2");
    statement
}

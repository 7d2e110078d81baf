//! The queue of commands: each a record as JSON, with what it is found by beside it.

use crate::{
    error::Failure,
    log::all,
    sql::Statement,
    stored::{Json, get, json},
};
use redflag_core::{
    command::record::CommandRecord,
    ids::{AgentId, CommandId},
    query::{CommandFilter, CommandPage, CommandQuery, CommandRow},
    time::Timestamp,
    work::CommandNeeds,
};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::collections::BTreeMap;

const ONE: &str = "SELECT record FROM commands WHERE agent_ref = ?1 AND command_id = ?2";
const OPEN: &str = "SELECT record FROM commands WHERE agent_ref = ?1 AND due_at IS NOT NULL";
/// By the index of what is due: in that of agents every command would be looked at.
const DUE: &str = "SELECT DISTINCT agent_id FROM commands INDEXED BY commands_due
     WHERE due_at <= ?1 AND agent_id > ?2
     ORDER BY agent_id
     LIMIT ?3";

fn record(row: &Row<'_>, index: usize) -> Result<CommandRecord, Failure> {
    Ok(get::<Json<_>>(row, index)?.0)
}

fn one(connection: &Connection, agent_ref: i64, command: CommandId) -> Result<Option<CommandRecord>, Failure> {
    let mut select = connection.prepare_cached(ONE)?;
    select.query_row(params![agent_ref, command.as_uuid().as_bytes()], |row| Ok(record(row, 0))).optional()?.transpose()
}

pub(crate) fn find(connection: &Connection, agent: AgentId, command: CommandId) -> Result<Option<CommandRecord>, Failure> {
    match crate::rows::agent_ref(connection, agent)? {
        Some(agent_ref) => one(connection, agent_ref, command),
        None => Ok(None),
    }
}

/// What a unit of work asks for of an agent.
pub(crate) fn load(connection: &Connection, agent_ref: i64, needs: &CommandNeeds) -> Result<BTreeMap<CommandId, CommandRecord>, Failure> {
    let mut commands = BTreeMap::new();
    if needs.open {
        let open: Vec<CommandRecord> = all(connection, OPEN, [agent_ref], |row| record(row, 0))?;
        commands.extend(open.into_iter().map(|command| (command.id, command)));
    }
    for id in &needs.ids {
        commands.extend(one(connection, agent_ref, *id)?.map(|command| (*id, command)));
    }
    Ok(commands)
}

/// A page, newest first, with the count of the whole list.
pub(crate) fn page(connection: &Connection, query: &CommandQuery) -> Result<CommandPage, Failure> {
    let count = narrowed(Statement::new("SELECT COUNT(*) FROM commands AS c WHERE true"), query);
    let total = connection.prepare_cached(count.sql())?.query_row(count.parameters(), |row| row.get(0))?;
    let page = rows_of(query);
    let row = |row: &Row<'_>| Ok(CommandRow { agent_name: get(row, 0)?, record: record(row, 1)? });
    Ok(CommandPage::cut(all(connection, page.sql(), page.parameters(), row)?, total, query.size))
}

/// One row more than the page holds tells whether the list goes on.
fn rows_of(query: &CommandQuery) -> Statement {
    let select = Statement::new("SELECT a.name, c.record FROM commands AS c JOIN agents AS a ON a.agent_ref = c.agent_ref WHERE true");
    let mut page = narrowed(select, query);
    if let Some(after) = &query.after {
        page.push(" AND (c.requested_at, c.agent_id, c.command_id) < (").bind(after.requested_at.as_micros());
        page.push(", ").bind(after.agent.as_uuid().as_bytes().to_vec());
        page.push(", ").bind(after.command.as_uuid().as_bytes().to_vec()).push(")");
    }
    page.push(" ORDER BY c.requested_at DESC, c.agent_id DESC, c.command_id DESC LIMIT ").bind(query.size.get() + 1);
    page
}

fn narrowed(mut statement: Statement, query: &CommandQuery) -> Statement {
    if let Some(agent) = query.agent {
        statement.push(" AND c.agent_id = ").bind(agent.as_uuid().as_bytes().to_vec());
    }
    match query.state {
        CommandFilter::Any => {}
        CommandFilter::Open => {
            statement.push(" AND c.due_at IS NOT NULL");
        }
        CommandFilter::Only(state) => {
            statement.push(" AND c.state = ").bind(state.code());
        }
    }
    statement
}

/// Agents with a command that is due.
pub(crate) fn due(connection: &Connection, at: Timestamp, after: Option<AgentId>, limit: u32) -> Result<Vec<AgentId>, Failure> {
    // No id is the nil UUID, which sorts before all others.
    let after = after.map_or([0; 16], |after| after.as_uuid().into_bytes());
    all(connection, DUE, params![at.as_micros(), after, limit], |row| get(row, 0))
}

/// Writes new and changed commands of an agent.
pub(crate) fn write(connection: &Connection, agent_ref: i64, commands: &[CommandRecord]) -> Result<(), Failure> {
    if commands.is_empty() {
        return Ok(());
    }
    let mut upsert = connection.prepare_cached(
        "INSERT INTO commands (agent_ref, agent_id, command_id, requested_at, state, due_at, record) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (agent_ref, command_id)
         DO UPDATE SET state = excluded.state, due_at = excluded.due_at, record = excluded.record",
    )?;
    for command in commands {
        upsert.execute(params![
            agent_ref,
            command.audience.agent.as_uuid().as_bytes(),
            command.id.as_uuid().as_bytes(),
            command.request.at.as_micros(),
            command.state.code(),
            command.due_at().map(Timestamp::as_micros),
            json(command),
        ])?;
    }
    Ok(())
}

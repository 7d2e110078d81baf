//! The queue of commands: one document a command, under its agent and its id. Lists and what is due are found by reading them all.

use crate::{
    documents::{all, find, put},
    error::Failure,
    lists,
    tables::{self, COMMANDS},
};
use redb::{ReadTransaction, ReadableTable, WriteTransaction};
use redflag_core::{
    command::record::CommandRecord,
    ids::{AgentId, CommandId},
    query::{self, CommandPage, CommandQuery, CommandRow},
    time::Timestamp,
    work::CommandNeeds,
};
use std::collections::BTreeMap;

/// What a unit of work asks for of an agent.
pub(crate) fn load(
    transaction: &WriteTransaction,
    agent: AgentId,
    needs: &CommandNeeds,
) -> Result<BTreeMap<CommandId, CommandRecord>, Failure> {
    if needs.none() {
        return Ok(BTreeMap::new());
    }
    let mut commands: Vec<CommandRecord> = all(transaction.open_table(COMMANDS)?.range(tables::ids_of(agent))?)?;
    commands.retain(|command| needs.names(command));
    Ok(commands.into_iter().map(|command| (command.id, command)).collect())
}

/// Writes new and changed commands of an agent.
pub(crate) fn write(transaction: &WriteTransaction, agent: AgentId, commands: &[CommandRecord]) -> Result<(), Failure> {
    put(transaction, COMMANDS, commands.iter().map(|command| ((tables::agent(agent), tables::command(command.id)), command)))
}

pub(crate) fn one(transaction: &ReadTransaction, agent: AgentId, command: CommandId) -> Result<Option<CommandRecord>, Failure> {
    find(&transaction.open_table(COMMANDS)?, (tables::agent(agent), tables::command(command)))
}

/// A page, newest first, with the count of the whole list.
pub(crate) fn page(transaction: &ReadTransaction, query: &CommandQuery) -> Result<CommandPage, Failure> {
    let table = transaction.open_table(COMMANDS)?;
    let mut rows = Vec::new();
    for head in lists::heads(transaction, query.agent)? {
        let records: Vec<CommandRecord> = all(table.range(tables::ids_of(head.agent))?)?;
        rows.extend(records.into_iter().map(|record| CommandRow { agent_name: head.name.clone(), record }));
    }
    Ok(query::evaluate_commands(rows, query))
}

/// Agents with a command that is due.
pub(crate) fn due(transaction: &ReadTransaction, at: Timestamp, after: Option<AgentId>, limit: u32) -> Result<Vec<AgentId>, Failure> {
    let commands: Vec<CommandRecord> = all(transaction.open_table(COMMANDS)?.range::<(tables::Uuid, tables::Uuid)>(..)?)?;
    let due = commands.iter().filter(|command| command.due_at().is_some_and(|due| due <= at));
    let mut agents: Vec<_> = due.map(|command| command.audience.agent).filter(|agent| after.is_none_or(|after| *agent > after)).collect();
    agents.dedup();
    agents.truncate(limit as usize);
    Ok(agents)
}

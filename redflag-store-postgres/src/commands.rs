//! The queue of commands: each a record as JSON, with what it is found by beside it.

use crate::{
    error::Failure,
    sql::Pieces,
    stored::{Json, bigint, code, get, json},
    transaction::Transaction,
};
use redflag_core::{
    command::record::CommandRecord,
    ids::{AgentId, CommandId},
    query::{CommandFilter, CommandPage, CommandQuery, CommandRow},
    time::Timestamp,
    work::CommandNeeds,
};
use sqlx::postgres::PgRow;
use std::collections::BTreeMap;
use uuid::Uuid;

const ONE: &str = "SELECT c.record FROM agents AS a JOIN commands AS c ON c.agent_ref = a.agent_ref
     WHERE a.agent_id = $1 AND c.command_id = $2";

/// Through the index of those that have not ended, and by their keys.
const NEEDED: &str = "SELECT record FROM commands WHERE $2 AND agent_ref = $1 AND due_at IS NOT NULL
     UNION ALL
     SELECT record FROM commands WHERE agent_ref = $1 AND command_id = ANY($3) AND NOT ($2 AND due_at IS NOT NULL)";

/// What is due first, by its index: in the order of agents every command would be looked at.
const DUE: &str = "WITH due AS MATERIALIZED (SELECT agent_id FROM commands WHERE due_at <= $1)
     SELECT DISTINCT agent_id FROM due
     WHERE $2::uuid IS NULL OR agent_id > $2
     ORDER BY agent_id
     LIMIT $3";

fn record(row: &PgRow, index: usize) -> Result<CommandRecord, Failure> {
    Ok(get::<Json<_>>(row, index)?.0)
}

pub(crate) async fn find(transaction: &mut Transaction, agent: AgentId, command: CommandId) -> Result<Option<CommandRecord>, Failure> {
    let select = sqlx::query(ONE).bind(agent.as_uuid()).bind(command.as_uuid());
    transaction.row(select).await?.map(|row| record(&row, 0)).transpose()
}

/// What a unit of work asks for of an agent.
pub(crate) async fn load(
    transaction: &mut Transaction,
    agent_ref: i32,
    needs: &CommandNeeds,
) -> Result<BTreeMap<CommandId, CommandRecord>, Failure> {
    if needs.none() {
        return Ok(BTreeMap::new());
    }
    let ids: Vec<Uuid> = needs.ids.iter().map(|id| id.as_uuid()).collect();
    let rows = transaction.rows(sqlx::query(NEEDED).bind(agent_ref).bind(needs.open).bind(ids)).await?;
    rows.iter().map(|row| record(row, 0).map(|record| (record.id, record))).collect()
}

/// A page, newest first, with the count of the whole list.
pub(crate) async fn page(transaction: &mut Transaction, query: &CommandQuery) -> Result<CommandPage, Failure> {
    let mut count = Pieces::new("SELECT COUNT(*) FROM commands AS c WHERE true");
    narrow(&mut count, query);
    let total = transaction.row(count.build()).await?.map_or(Ok(0), |row| get(&row, 0))?;
    let mut page = Pieces::new("SELECT a.name, c.record FROM commands AS c JOIN agents AS a ON a.agent_ref = c.agent_ref WHERE true");
    narrow(&mut page, query);
    if let Some(after) = &query.after {
        page.push(" AND (c.requested_at, c.agent_id, c.command_id) < (").bind(after.requested_at.as_micros());
        page.push(", ").bind(after.agent.as_uuid()).push(", ").bind(after.command.as_uuid()).push(")");
    }
    page.push(" ORDER BY c.requested_at DESC, c.agent_id DESC, c.command_id DESC LIMIT ").bind(i64::from(query.size.get()) + 1);
    let rows = transaction.rows(page.build()).await?;
    let row = |row: &PgRow| Ok(CommandRow { agent_name: get(row, 0)?, record: record(row, 1)? });
    Ok(CommandPage::cut(rows.iter().map(row).collect::<Result<_, Failure>>()?, total, query.size))
}

fn narrow(pieces: &mut Pieces, query: &CommandQuery) {
    if let Some(agent) = query.agent {
        pieces.push(" AND c.agent_id = ").bind(agent.as_uuid());
    }
    match query.state {
        CommandFilter::Any => {}
        CommandFilter::Open => {
            pieces.push(" AND c.due_at IS NOT NULL");
        }
        CommandFilter::Only(state) => {
            pieces.push(" AND c.state = ").bind(code(state.code()));
        }
    }
}

/// Agents with a command that is due.
pub(crate) async fn due(transaction: &mut Transaction, at: Timestamp, after: Option<AgentId>, limit: u32) -> Result<Vec<AgentId>, Failure> {
    let select = sqlx::query(DUE).bind(at.as_micros()).bind(after.map(AgentId::as_uuid)).bind(i64::from(limit));
    transaction.rows(select).await?.iter().map(|row| get(row, 0)).collect()
}

/// Writes new and changed commands of an agent.
pub(crate) async fn write(transaction: &mut Transaction, agent_ref: i32, commands: &[CommandRecord]) -> Result<(), Failure> {
    let Some(first) = commands.first() else { return Ok(()) };
    let revisions = commands.iter().map(|command| bigint(command.revision)).collect::<Result<Vec<_>, _>>()?;
    let upsert = sqlx::query(
        "INSERT INTO commands AS c (agent_ref, agent_id, command_id, revision, requested_at, state, due_at, record)
         SELECT $1, $2, * FROM UNNEST($3::uuid[], $4::bigint[], $5::bigint[], $6::smallint[], $7::bigint[], $8::text[])
         ON CONFLICT (agent_ref, command_id)
         DO UPDATE SET revision = excluded.revision, state = excluded.state, due_at = excluded.due_at, record = excluded.record",
    )
    .bind(agent_ref)
    .bind(first.audience.agent.as_uuid())
    .bind(commands.iter().map(|command| command.id.as_uuid()).collect::<Vec<_>>())
    .bind(revisions)
    .bind(commands.iter().map(|command| command.request.at.as_micros()).collect::<Vec<_>>())
    .bind(commands.iter().map(|command| code(command.state.code())).collect::<Vec<_>>())
    .bind(commands.iter().map(|command| command.due_at().map(Timestamp::as_micros)).collect::<Vec<_>>())
    .bind(commands.iter().map(json).collect::<Vec<_>>());
    transaction.execute(upsert).await.map(|_| ())
}

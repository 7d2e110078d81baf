//! Removed agents: what goes with them and what stays (clause D2).

use crate::{
    error::Failure,
    pass,
    stored::{Json, count, get, integer, json},
    transaction::Transaction,
};
use redflag_core::{feed::Tombstone, ids::AgentId, names::Text, removal::RemovedAgent};
use sqlx::postgres::PgRow;

/// What goes with an agent: its rows of every table, but those that say what is in the feed.
const DELETIONS: &[&str] = &[
    "DELETE FROM update_events WHERE agent_ref = $1",
    "DELETE FROM chosen_event_ids WHERE agent_ref = $1",
    "DELETE FROM rejections WHERE agent_ref = $1",
    "DELETE FROM update_batches WHERE agent_ref = $1",
    "DELETE FROM reports WHERE agent_ref = $1",
    "DELETE FROM base_package_state WHERE agent_ref = $1",
    "DELETE FROM current_package_state WHERE agent_ref = $1",
    "DELETE FROM update_version_history WHERE agent_ref = $1",
    "DELETE FROM update_counters WHERE agent_ref = $1",
    "DELETE FROM open_changes WHERE agent_ref = $1",
    "DELETE FROM commands WHERE agent_ref = $1",
    "DELETE FROM agent_facts WHERE agent_ref = $1",
    "DELETE FROM agents WHERE agent_ref = $1",
];

/// Deletes every row of an agent that is there, notes what it was, and answers its ref.
pub(crate) async fn remove(transaction: &mut Transaction, agent_ref: Option<i32>, removed: &RemovedAgent) -> Result<i32, Failure> {
    if let Some(agent_ref) = agent_ref {
        pass::delete(transaction, agent_ref, DELETIONS).await?;
    }
    let insert = sqlx::query(
        "INSERT INTO removed_agents (agent_ref, agent_id, name, enrolled_at, removed_at, actor, reason, batches, events)
         VALUES (COALESCE($1, nextval(pg_get_serial_sequence('agents', 'agent_ref'))::integer), $2, $3, $4, $5, $6, $7, $8, $9)
         RETURNING agent_ref",
    )
    .bind(agent_ref)
    .bind(removed.agent.as_uuid())
    .bind(removed.name.as_str())
    .bind(removed.enrolled_at.as_micros())
    .bind(removed.removed_at.as_micros())
    .bind(json(&removed.actor))
    .bind(removed.reason.as_ref().map(Text::as_str))
    .bind(integer(removed.batches)?)
    .bind(integer(removed.events)?);
    let row = transaction.row(insert).await?.ok_or_else(|| Failure::corrupt("a removed agent that got no ref"))?;
    get(&row, 0)
}

/// Keeps what stands in the feed for batches that go, or have gone elsewhere.
pub(crate) async fn bury(transaction: &mut Transaction, agent_ref: i32, tombstones: &[Tombstone]) -> Result<(), Failure> {
    if tombstones.is_empty() {
        return Ok(());
    }
    let numbers = tombstones.iter().map(|tombstone| integer(tombstone.number)).collect::<Result<Vec<_>, _>>()?;
    let insert =
        sqlx::query("INSERT INTO feed_tombstones (agent_ref, number, digest) SELECT $1, * FROM UNNEST($2::integer[], $3::bytea[])")
            .bind(agent_ref)
            .bind(numbers)
            .bind(tombstones.iter().map(|tombstone| tombstone.digest.as_bytes().as_slice()).collect::<Vec<_>>());
    transaction.execute(insert).await.map(|_| ())
}

/// What [`removed`] reads, of `removed_agents AS d`.
macro_rules! removed_columns {
    () => {
        "d.agent_id, d.name, d.enrolled_at, d.removed_at, d.actor, d.reason, d.batches, d.events"
    };
}

/// The columns of `removed_columns!` from `at`.
fn removed(row: &PgRow, at: usize) -> Result<RemovedAgent, Failure> {
    Ok(RemovedAgent {
        agent: get(row, at)?,
        name: get(row, at + 1)?,
        enrolled_at: get(row, at + 2)?,
        removed_at: get(row, at + 3)?,
        actor: get::<Json<_>>(row, at + 4)?.0,
        reason: get(row, at + 5)?,
        batches: count(row, at + 6)?,
        events: count(row, at + 7)?,
    })
}

/// A removed agent, with the ref that was its own.
pub(crate) async fn find(transaction: &mut Transaction, agent: AgentId) -> Result<Option<(i32, RemovedAgent)>, Failure> {
    let select = concat!("SELECT d.agent_ref, ", removed_columns!(), " FROM removed_agents AS d WHERE d.agent_id = $1");
    let row = transaction.row(sqlx::query(select).bind(agent.as_uuid())).await?;
    row.map(|row| Ok((get(&row, 0)?, removed(&row, 1)?))).transpose()
}

/// Up to `limit` removed agents whose id is above `after`, in the order of their ids.
pub(crate) async fn list(transaction: &mut Transaction, after: Option<AgentId>, limit: u32) -> Result<Vec<RemovedAgent>, Failure> {
    let select = sqlx::query(concat!(
        "SELECT ",
        removed_columns!(),
        " FROM removed_agents AS d WHERE $1::uuid IS NULL OR d.agent_id > $1 ORDER BY d.agent_id LIMIT $2"
    ))
    .bind(after.map(|after| after.as_uuid()))
    .bind(i64::from(limit));
    transaction.rows(select).await?.iter().map(|row| removed(row, 0)).collect()
}

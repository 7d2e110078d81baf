//! What follows from an agent's log, read and replaced as a whole (clause S1), and the differences of open updates that are part
//! of it.

use crate::{
    error::Failure,
    log,
    rows::{self, counter_key, state_columns, state_tables},
    stored::{code, count, get},
    transaction::Transaction,
};
use hashbrown::HashMap;
use redflag_core::{agent::Pruned, counters::OpenChange, ids::AgentId, rebuild::Derived};

/// What goes before it is replaced.
pub(crate) const DELETIONS: &[&str] = &[
    "DELETE FROM current_package_state WHERE agent_ref = $1",
    "DELETE FROM update_version_history WHERE agent_ref = $1",
    "DELETE FROM update_counters WHERE agent_ref = $1",
    "DELETE FROM open_changes WHERE agent_ref = $1",
];

/// Everything that follows from the agent's log, in the order that core gives it.
pub(crate) async fn find(transaction: &mut Transaction, agent: AgentId) -> Result<Option<Derived>, Failure> {
    let select = "SELECT agent_ref, events, pruned_batches, pruned_events, pruned_day FROM agents WHERE agent_id = $1";
    let Some(row) = transaction.row(sqlx::query(select).bind(agent.as_uuid())).await? else { return Ok(None) };
    let agent_ref: i32 = get(&row, 0)?;
    let pruned = Pruned { batches: count(&row, 2)?, events: count(&row, 3)?, day: get(&row, 4)? };

    let states = concat!("SELECT ", state_columns!(), " FROM current_package_state AS s", state_tables!(), "WHERE s.agent_ref = $1");
    let states = transaction.rows(sqlx::query(states).bind(agent_ref)).await?;
    let mut states = states.iter().map(|row| rows::state(row, 0)).collect::<Result<Vec<_>, _>>()?;
    states.sort_unstable_by(|a, b| a.package.cmp(&b.package));

    let history = log::whole_history(transaction, agent_ref).await?;

    let counters = sqlx::query(
        "SELECT manager, status, severity, security, availability, count FROM update_counters WHERE agent_ref = $1 AND count <> 0",
    );
    let counters = transaction.rows(counters.bind(agent_ref)).await?;
    let mut counters = counters.iter().map(|row| Ok((counter_key(row, 0)?, get(row, 5)?))).collect::<Result<Vec<_>, Failure>>()?;
    counters.sort_unstable();

    let changes = "SELECT day, severity, difference FROM open_changes WHERE agent_ref = $1 AND difference <> 0 ORDER BY day, severity";
    let changes = transaction.rows(sqlx::query(changes).bind(agent_ref)).await?;
    let change = |row| Ok(OpenChange { day: get(row, 0)?, severity: get(row, 1)?, difference: get(row, 2)? });
    let open_changes = changes.iter().map(change).collect::<Result<_, Failure>>()?;

    Ok(Some(Derived { sequence: count(&row, 1)?, pruned, states, history, counters, open_changes }))
}

/// The newest event of each package in an agent's log, by the package's ref.
pub(crate) async fn last_sequences(transaction: &mut Transaction, agent_ref: i32) -> Result<HashMap<i32, i32>, Failure> {
    let select = sqlx::query("SELECT package_ref, MAX(sequence) FROM update_events WHERE agent_ref = $1 GROUP BY package_ref");
    transaction.rows(select.bind(agent_ref)).await?.iter().map(|row| Ok((get(row, 0)?, get(row, 1)?))).collect()
}

/// Adds differences of open updates.
pub(crate) async fn add_open_changes(transaction: &mut Transaction, agent_ref: i32, changes: &[OpenChange]) -> Result<(), Failure> {
    if changes.is_empty() {
        return Ok(());
    }
    let upsert = sqlx::query(
        "INSERT INTO open_changes (agent_ref, day, severity, difference)
         SELECT $1, * FROM UNNEST($2::integer[], $3::smallint[], $4::bigint[])
         ON CONFLICT (agent_ref, day, severity) DO UPDATE SET difference = open_changes.difference + excluded.difference",
    )
    .bind(agent_ref)
    .bind(changes.iter().map(|change| change.day.number()).collect::<Vec<_>>())
    .bind(changes.iter().map(|change| code(change.severity.code())).collect::<Vec<_>>())
    .bind(changes.iter().map(|change| change.difference).collect::<Vec<_>>());
    transaction.execute(upsert).await.map(|_| ())
}

//! What a unit of work leaves for those who follow it: a ticket for the feed, and what it changed for the mirrors of the states.

use crate::{catalog::Refs, error::Failure, mirror::Kind, stored::integer, transaction::Transaction};
use redflag_core::work::{Changes, Loaded};

pub(crate) async fn leave(
    transaction: &mut Transaction,
    agent_ref: i32,
    loaded: &Loaded,
    changes: &Changes,
    refs: &Refs,
) -> Result<(), Failure> {
    tickets(transaction, agent_ref, changes).await?;
    states(transaction, agent_ref, loaded, changes, refs).await
}

/// The numbers of the batches that are new in the feed, in its order.
fn new_entries(changes: &Changes) -> impl Iterator<Item = u64> {
    let gone = if changes.removed.is_none() && changes.pruning.is_none() { &*changes.tombstones } else { &[] };
    gone.iter().map(|tombstone| tombstone.number).chain(changes.batches.iter().map(|record| record.receipt.number))
}

/// Whether the changes leave a ticket.
pub(crate) fn feeds(changes: &Changes) -> bool {
    new_entries(changes).next().is_some()
}

/// One ticket for each run of numbers.
async fn tickets(transaction: &mut Transaction, agent_ref: i32, changes: &Changes) -> Result<(), Failure> {
    let numbers: Vec<u64> = new_entries(changes).collect();
    if numbers.is_empty() {
        return Ok(());
    }
    let runs: Vec<_> = numbers.chunk_by(|a, b| a + 1 == *b).collect();
    let insert = sqlx::query(
        "INSERT INTO feed_tickets (agent_ref, first_number, batches)
         SELECT $1, r.first_number, r.batches
         FROM UNNEST($2::integer[], $3::integer[]) WITH ORDINALITY AS r (first_number, batches, place)
         ORDER BY r.place",
    )
    .bind(agent_ref)
    .bind(runs.iter().map(|run| integer(run[0])).collect::<Result<Vec<_>, _>>()?)
    .bind(runs.iter().map(|run| integer(run.len() as u64)).collect::<Result<Vec<_>, _>>()?);
    transaction.execute(insert).await.map(|_| ())
}

/// States that changed at one time are named one by one; whoever finds none named reads all states of the agent.
async fn states(transaction: &mut Transaction, agent_ref: i32, loaded: &Loaded, changes: &Changes, refs: &Refs) -> Result<(), Failure> {
    let renamed = matches!((&loaded.head, &changes.head), (Some(before), Some(after)) if before.name != after.name);
    let replaced = changes.derived.is_some() || changes.removed.is_some();
    if changes.states.is_empty() && !renamed && !replaced {
        return Ok(());
    }
    let changed_at = changes.states.first().map(|state| state.changed_at);
    let at_once = !replaced && changes.states.iter().all(|state| Some(state.changed_at) == changed_at);
    let named = changed_at.filter(|_| at_once);
    let states = if named.is_some() { &*changes.states } else { &[] };
    let insert = sqlx::query("INSERT INTO state_changes (agent_ref, states, changed_at, package_refs, kinds) VALUES ($1, $2, $3, $4, $5)")
        .bind(agent_ref)
        .bind(integer(states.len() as u64)?)
        .bind(named.map(|at| at.as_micros()))
        .bind(named.map(|_| refs.states.iter().map(|(package, _)| *package).collect::<Vec<_>>()))
        .bind(named.map(|_| states.iter().map(|state| Kind::of(state).0).collect::<Vec<_>>()));
    transaction.execute(insert).await.map(|_| ())
}

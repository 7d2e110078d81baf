//! Retention: taking the start of an agent's log away (clause D3).

use crate::{
    catalog::OfferRefs,
    error::Failure,
    pass,
    rows::{self, state_columns, state_tables},
    sql::position,
    stored::integer,
    transaction::Transaction,
};
use redflag_core::{agent::Pruned, ids::AgentId, state::PackageState, work::Pruning};

/// Deletes batches and events of the agent up to `pruned` with all that belongs to them, and keeps the base states that stand for
/// them. `refs` are those of the base states.
pub(crate) async fn prune(
    transaction: &mut Transaction,
    agent_ref: i32,
    pruned: &Pruned,
    pruning: &Pruning,
    refs: &[(i32, OfferRefs)],
) -> Result<(), Failure> {
    let Pruning { reports_before, bases } = pruning;
    pass::mark(transaction, agent_ref).await?;
    let (batches, events) = (position(pruned.batches), position(pruned.events));
    for (deletion, until) in [
        // By the events that bear them, because ids are found by id.
        (
            "DELETE FROM chosen_event_ids AS k USING update_events AS e
             WHERE e.agent_ref = $1 AND e.sequence <= $2 AND k.agent_ref = $1 AND k.event_id = e.event_id",
            events,
        ),
        ("DELETE FROM update_events WHERE agent_ref = $1 AND sequence <= $2", events),
        ("DELETE FROM rejections WHERE agent_ref = $1 AND batch_number <= $2", batches),
        ("DELETE FROM update_batches WHERE agent_ref = $1 AND number <= $2", batches),
        ("DELETE FROM reports WHERE agent_ref = $1 AND received_at < $2", reports_before.as_micros()),
    ] {
        transaction.execute(sqlx::query(deletion).bind(agent_ref).bind(until)).await?;
    }
    keep(transaction, agent_ref, bases, refs).await
}

async fn keep(transaction: &mut Transaction, agent_ref: i32, bases: &[PackageState], refs: &[(i32, OfferRefs)]) -> Result<(), Failure> {
    if bases.is_empty() {
        return Ok(());
    }
    let offers = || refs.iter().map(|(_, offer)| offer);
    let upsert = sqlx::query(
        "INSERT INTO base_package_state
         (agent_ref, package_ref, candidate_ref, installed_ref, reason_ref, availability, revision, discovered_at, changed_at, detail)
         SELECT $1, * FROM UNNEST($2::integer[], $3::integer[], $4::integer[], $5::integer[], $6::smallint[], $7::integer[],
             $8::bigint[], $9::bigint[], $10::text[])
         ON CONFLICT (agent_ref, package_ref) DO UPDATE SET
             candidate_ref = excluded.candidate_ref, installed_ref = excluded.installed_ref, reason_ref = excluded.reason_ref,
             availability = excluded.availability, revision = excluded.revision, discovered_at = excluded.discovered_at,
             changed_at = excluded.changed_at, detail = excluded.detail",
    )
    .bind(agent_ref)
    .bind(refs.iter().map(|(package, _)| *package).collect::<Vec<_>>())
    .bind(offers().map(|offer| offer.candidate).collect::<Vec<_>>())
    .bind(offers().map(|offer| offer.installed).collect::<Vec<_>>())
    .bind(offers().map(|offer| offer.reason).collect::<Vec<_>>())
    .bind(offers().map(|offer| offer.availability).collect::<Vec<_>>())
    .bind(bases.iter().map(|state| integer(state.revision)).collect::<Result<Vec<_>, _>>()?)
    .bind(bases.iter().map(|state| state.discovered_at.as_micros()).collect::<Vec<_>>())
    .bind(bases.iter().map(|state| state.changed_at.as_micros()).collect::<Vec<_>>())
    .bind(bases.iter().map(PackageState::detail_json).collect::<Vec<_>>());
    transaction.execute(upsert).await.map(|_| ())
}

/// The base states of an agent, in key order.
pub(crate) async fn bases(transaction: &mut Transaction, agent: AgentId) -> Result<Vec<PackageState>, Failure> {
    let select = sqlx::query(concat!(
        "SELECT ",
        state_columns!(),
        " FROM agents AS a JOIN base_package_state AS s ON s.agent_ref = a.agent_ref",
        state_tables!(),
        "WHERE a.agent_id = $1"
    ))
    .bind(agent.as_uuid());
    let rows = transaction.rows(select).await?;
    let mut bases = rows.iter().map(|row| rows::state(row, 0)).collect::<Result<Vec<_>, _>>()?;
    bases.sort_unstable_by(|a, b| a.package.cmp(&b.package));
    Ok(bases)
}

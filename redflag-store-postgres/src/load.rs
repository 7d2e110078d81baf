//! Loading: what a unit of work must see, read inside its write transaction, behind the lock on the agent's row.

use crate::{
    error::Failure,
    rows::{self, batch_columns, head_columns, report_columns, state_columns, state_tables},
    stored::{arch, get},
    transaction::Transaction,
};
use redflag_core::{
    ids::{AgentId, BatchId, EventId, ReportId},
    names::{Manager, PackageKey},
    report::StoredReport,
    state::States,
    work::{ChosenEventId, Loaded, Needs, StateNeeds},
};
use sqlx::postgres::PgRow;
use std::collections::HashMap;
use uuid::Uuid;

/// Locks the agent until the transaction ends and loads what `needs` names, with the agent's ref when it is enrolled.
///
/// The lock comes first, so that units of work of one agent follow each other and never wait for one another in two orders
/// (clause R5).
pub(crate) async fn load(transaction: &mut Transaction, needs: &Needs) -> Result<(Option<i32>, Loaded), Failure> {
    let lock = sqlx::query(concat!("SELECT a.agent_ref, ", head_columns!(), " FROM agents AS a WHERE a.agent_id = $1 FOR UPDATE OF a"))
        .bind(needs.agent.as_uuid());
    let Some(row) = transaction.row(lock).await? else { return Ok((None, Loaded::default())) };
    let agent_ref: i32 = get(&row, 0)?;
    let head = Some(rows::head(&row, 1)?);
    let batch = match needs.batch {
        Some(batch) => stored_batch(transaction, agent_ref, needs.agent, batch).await?,
        None => None,
    };
    let report = match needs.report {
        Some(report) => stored_report(transaction, agent_ref, report).await?,
        None => None,
    };
    let states = match &needs.states {
        StateNeeds::None => States::default(),
        StateNeeds::Packages(packages) => states_of_packages(transaction, agent_ref, packages).await?,
        StateNeeds::Managers(managers) => states_of_managers(transaction, agent_ref, managers).await?,
    };
    let events = chosen_ids(transaction, agent_ref, &needs.events).await?;
    Ok((Some(agent_ref), Loaded { head, removed: None, states, batch, report, events }))
}

async fn stored_batch(
    transaction: &mut Transaction,
    agent_ref: i32,
    agent: AgentId,
    batch: BatchId,
) -> Result<Option<redflag_core::batch::BatchRecord>, Failure> {
    let select = sqlx::query(concat!("SELECT ", batch_columns!(), " FROM update_batches AS b WHERE b.agent_ref = $1 AND b.batch_id = $2"))
        .bind(agent_ref)
        .bind(batch.as_uuid());
    transaction.row(select).await?.map(|row| rows::batch(&row, 0, agent)).transpose()
}

async fn stored_report(transaction: &mut Transaction, agent_ref: i32, report: ReportId) -> Result<Option<StoredReport>, Failure> {
    let select = sqlx::query(concat!("SELECT ", report_columns!(), " FROM reports AS r WHERE r.agent_ref = $1 AND r.report_id = $2"))
        .bind(agent_ref)
        .bind(report.as_uuid());
    transaction.row(select).await?.map(|row| rows::report(&row)).transpose()
}

async fn states_of_packages(transaction: &mut Transaction, agent_ref: i32, packages: &[PackageKey]) -> Result<States, Failure> {
    if packages.is_empty() {
        return Ok(States::default());
    }
    let select = sqlx::query(concat!(
        "SELECT ",
        state_columns!(),
        " FROM UNNEST($2::text[], $3::text[], $4::text[]) AS q (manager, name, arch)
         JOIN packages AS k ON k.name = q.name AND k.manager = q.manager AND k.arch = q.arch
         JOIN current_package_state AS s ON s.agent_ref = $1 AND s.package_ref = k.package_ref",
        state_tables!()
    ))
    .bind(agent_ref)
    .bind(packages.iter().map(|package| package.manager.as_str()).collect::<Vec<_>>())
    .bind(packages.iter().map(|package| package.name.as_str()).collect::<Vec<_>>())
    .bind(packages.iter().map(arch).collect::<Vec<_>>());
    by_package(transaction.rows(select).await?)
}

async fn states_of_managers(transaction: &mut Transaction, agent_ref: i32, managers: &[Manager]) -> Result<States, Failure> {
    let select = sqlx::query(concat!(
        "SELECT ",
        state_columns!(),
        " FROM current_package_state AS s",
        state_tables!(),
        "WHERE s.agent_ref = $1 AND p.manager = ANY($2::text[])"
    ))
    .bind(agent_ref)
    .bind(managers.iter().map(Manager::as_str).collect::<Vec<_>>());
    by_package(transaction.rows(select).await?)
}

fn by_package(rows: Vec<PgRow>) -> Result<States, Failure> {
    rows.into_iter().map(|row| rows::state(&row, 0)).collect()
}

async fn chosen_ids(transaction: &mut Transaction, agent_ref: i32, events: &[EventId]) -> Result<HashMap<EventId, ChosenEventId>, Failure> {
    if events.is_empty() {
        return Ok(HashMap::new());
    }
    let select = sqlx::query(
        "SELECT k.event_id, k.sequence, k.digest, b.batch_id, k.batch_index
         FROM chosen_event_ids AS k
         JOIN update_batches AS b ON b.agent_ref = k.agent_ref AND b.number = k.batch_number
         WHERE k.agent_ref = $1 AND k.event_id = ANY($2)",
    )
    .bind(agent_ref)
    .bind(events.iter().map(|event| event.as_uuid()).collect::<Vec<Uuid>>());
    let known = |row: PgRow| {
        let event = get(&row, 0)?;
        let known = ChosenEventId { event, sequence: get(&row, 1)?, digest: get(&row, 2)?, batch: get(&row, 3)?, index: get(&row, 4)? };
        Ok((event, known))
    };
    transaction.rows(select).await?.into_iter().map(known).collect()
}

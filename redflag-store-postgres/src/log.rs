//! Reading the log: events, batches, rejections, reports and version history.

use crate::{
    error::Failure,
    rows::{self, batch_columns, report_columns, select_events},
    sql::{Pieces, position},
    stored::{count, get, package_key},
    transaction::Transaction,
};
use redflag_core::{
    batch::{BatchRecord, RejectedItem},
    event::RecordedEvent,
    ids::{AgentId, BatchId, UpdateId},
    query::{BatchPage, BatchQuery, BatchRow},
    rejection::{Rejection, RejectionCode},
    report::StoredReport,
    state::VersionChange,
};
use sqlx::postgres::PgRow;

/// Along the chain of the package's events, from its newest to the first that is kept.
pub(crate) const EVENTS: &str = concat!(
    "WITH RECURSIVE chain (agent_ref, sequence) AS (
         SELECT s.agent_ref, s.last_sequence
         FROM agents AS a
         JOIN packages AS p ON p.name = $2 AND p.manager = $3 AND p.arch = $4
         JOIN current_package_state AS s ON s.agent_ref = a.agent_ref AND s.package_ref = p.package_ref
         WHERE a.agent_id = $1
         UNION ALL
         SELECT e.agent_ref, e.previous_sequence
         FROM chain AS k
         JOIN update_events AS e ON e.agent_ref = k.agent_ref AND e.sequence = k.sequence
         WHERE e.previous_sequence IS NOT NULL
     ) ",
    select_events!("chain AS k", "e.agent_ref = k.agent_ref AND e.sequence = k.sequence", "ORDER BY e.sequence")
);
pub(crate) const REPLAY: &str =
    select_events!("agents AS a", "e.agent_ref = a.agent_ref", "WHERE a.agent_id = $1 AND e.sequence > $2 ORDER BY e.sequence LIMIT $3");

pub(crate) async fn events(transaction: &mut Transaction, id: &UpdateId) -> Result<Vec<RecordedEvent>, Failure> {
    let package = &id.package;
    let select = sqlx::query(EVENTS).bind(id.agent.as_uuid());
    let select = select.bind(package.name.as_str()).bind(package.manager.as_str()).bind(package.arch_text());
    transaction.rows(select).await?.iter().map(|row| rows::event(row, id.agent)).collect()
}

pub(crate) async fn replay(transaction: &mut Transaction, agent: AgentId, after: u64, limit: u32) -> Result<Vec<RecordedEvent>, Failure> {
    let select = sqlx::query(REPLAY).bind(agent.as_uuid()).bind(position(after)).bind(i64::from(limit));
    transaction.rows(select).await?.iter().map(|row| rows::event(row, agent)).collect()
}

/// What [`version_change`] reads, of `update_version_history AS h` with `packages AS p`.
macro_rules! history_columns {
    () => {
        "p.manager, p.name, p.arch, h.from_version, h.to_version, h.outcome, h.command_id, h.reason, h.at, h.sequence"
    };
}

pub(crate) const HISTORY: &str = concat!(
    "SELECT ",
    history_columns!(),
    " FROM agents AS a
     JOIN update_version_history AS h ON h.agent_ref = a.agent_ref
     JOIN packages AS p ON p.package_ref = h.package_ref
     WHERE a.agent_id = $1 AND p.name = $2 AND p.manager = $3 AND p.arch = $4
     ORDER BY h.sequence"
);

pub(crate) async fn history(transaction: &mut Transaction, id: &UpdateId) -> Result<Vec<VersionChange>, Failure> {
    let package = &id.package;
    let select = sqlx::query(HISTORY).bind(id.agent.as_uuid());
    let select = select.bind(package.name.as_str()).bind(package.manager.as_str()).bind(package.arch_text());
    transaction.rows(select).await?.iter().map(version_change).collect()
}

/// The version history of all packages of an agent, by sequence.
pub(crate) async fn whole_history(transaction: &mut Transaction, agent_ref: i32) -> Result<Vec<VersionChange>, Failure> {
    let select = sqlx::query(concat!(
        "SELECT ",
        history_columns!(),
        " FROM update_version_history AS h
         JOIN packages AS p ON p.package_ref = h.package_ref
         WHERE h.agent_ref = $1
         ORDER BY h.sequence"
    ))
    .bind(agent_ref);
    transaction.rows(select).await?.iter().map(version_change).collect()
}

fn version_change(row: &PgRow) -> Result<VersionChange, Failure> {
    Ok(VersionChange {
        package: package_key(row, 0)?,
        from_version: get(row, 3)?,
        to_version: get(row, 4)?,
        outcome: get(row, 5)?,
        command: get(row, 6)?,
        reason: get(row, 7)?,
        at: get(row, 8)?,
        sequence: count(row, 9)?,
    })
}

pub(crate) async fn batch(transaction: &mut Transaction, agent: AgentId, batch: BatchId) -> Result<Option<BatchRecord>, Failure> {
    let select = sqlx::query(concat!(
        "SELECT ",
        batch_columns!(),
        " FROM agents AS a JOIN update_batches AS b ON b.agent_ref = a.agent_ref WHERE a.agent_id = $1 AND b.batch_id = $2"
    ))
    .bind(agent.as_uuid())
    .bind(batch.as_uuid());
    transaction.row(select).await?.map(|row| rows::batch(&row, 0, agent)).transpose()
}

/// Up to `limit` batches of an agent with a number above `after`, in order.
pub(crate) async fn agent_batches(
    transaction: &mut Transaction,
    agent: AgentId,
    after: u64,
    limit: u32,
) -> Result<Vec<BatchRecord>, Failure> {
    let select = sqlx::query(concat!(
        "SELECT ",
        batch_columns!(),
        " FROM agents AS a
         JOIN update_batches AS b ON b.agent_ref = a.agent_ref
         WHERE a.agent_id = $1 AND b.number > $2
         ORDER BY b.number LIMIT $3"
    ))
    .bind(agent.as_uuid())
    .bind(position(after))
    .bind(i64::from(limit));
    transaction.rows(select).await?.iter().map(|row| rows::batch(row, 0, agent)).collect()
}

pub(crate) async fn rejections(transaction: &mut Transaction, agent: AgentId, batch: BatchId) -> Result<Vec<RejectedItem>, Failure> {
    let select = sqlx::query(
        "SELECT j.batch_index, j.code, j.field, j.message, j.excerpt, j.name IS NOT NULL, j.manager, j.name, COALESCE(j.arch, '')
         FROM agents AS a
         JOIN update_batches AS b ON b.agent_ref = a.agent_ref AND b.batch_id = $2
         JOIN rejections AS j ON j.agent_ref = b.agent_ref AND j.batch_number = b.number
         WHERE a.agent_id = $1
         ORDER BY j.batch_index",
    )
    .bind(agent.as_uuid())
    .bind(batch.as_uuid());
    let item = |row: &PgRow| {
        let code: String = get(row, 1)?;
        let code: RejectionCode = serde_json::from_value(code.into()).map_err(|error| Failure::corrupt(format!("a rejection: {error}")))?;
        Ok(RejectedItem {
            batch,
            index: get::<u16>(row, 0)?.into(),
            rejection: Rejection { code, field: get(row, 2)?, message: get(row, 3)? },
            package: if get(row, 5)? { Some(package_key(row, 6)?) } else { None },
            excerpt: get(row, 4)?,
        })
    };
    transaction.rows(select).await?.iter().map(item).collect()
}

pub(crate) async fn reports(transaction: &mut Transaction, agent: AgentId, limit: u32) -> Result<Vec<StoredReport>, Failure> {
    let select = sqlx::query(concat!(
        "SELECT ",
        report_columns!(),
        " FROM agents AS a JOIN reports AS r ON r.agent_ref = a.agent_ref WHERE a.agent_id = $1 ORDER BY r.report_ref DESC LIMIT $2"
    ))
    .bind(agent.as_uuid())
    .bind(i64::from(limit));
    transaction.rows(select).await?.iter().map(|row| rows::report(row, 0)).collect()
}

/// A page of batches, newest first.
pub(crate) async fn batches(transaction: &mut Transaction, query: &BatchQuery) -> Result<BatchPage, Failure> {
    let mut count = Pieces::new("SELECT COUNT(*) FROM update_batches AS b WHERE TRUE");
    narrow(&mut count, query);
    let total = transaction.row(count.build()).await?.map_or(Ok(0), |row| get(&row, 0))?;
    let mut page = Pieces::new(concat!(
        "SELECT a.agent_id, a.name, ",
        batch_columns!(),
        " FROM update_batches AS b JOIN agents AS a ON a.agent_ref = b.agent_ref WHERE TRUE"
    ));
    narrow(&mut page, query);
    page.push(" ORDER BY b.received_at DESC, a.agent_id DESC, b.number DESC");
    page.push(" LIMIT ").bind(i64::from(query.size.get())).push(" OFFSET ").bind(position(query.page.offset(query.size)));
    let row = |row: &PgRow| Ok(BatchRow { agent_name: get(row, 1)?, record: rows::batch(row, 2, get(row, 0)?)? });
    let items = transaction.rows(page.build()).await?.iter().map(row).collect::<Result<_, Failure>>()?;
    Ok(BatchPage { items, total })
}

fn narrow(pieces: &mut Pieces, query: &BatchQuery) {
    if let Some(agent) = query.agent {
        pieces.push(" AND b.agent_ref = (SELECT agent_ref FROM agents WHERE agent_id = ").bind(agent.as_uuid()).push(")");
    }
    if query.with_rejections {
        pieces.push(" AND b.rejected > 0");
    }
}

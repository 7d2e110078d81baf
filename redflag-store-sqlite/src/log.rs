//! Reading the log: events, batches, rejections, reports, version history, and the base states that stand for its pruned start.

use crate::{
    error::Failure,
    rows::{self, batch_columns, report_columns, select_events},
    sql::{Statement, key, keys},
    stored::{Json, get, package_key},
};
use redflag_core::{
    batch::{BatchRecord, RejectedItem},
    event::RecordedEvent,
    ids::{AgentId, BatchId, UpdateId},
    query::{BatchPage, BatchQuery, BatchRow},
    rejection::{Rejection, RejectionCode},
    report::StoredReport,
    state::{PackageState, VersionChange},
};
use rusqlite::{Connection, Params, Row, params};

/// The rows of a statement, each read by `read`.
pub(crate) fn all<T>(
    connection: &Connection,
    sql: &str,
    parameters: impl Params,
    read: impl Fn(&Row<'_>) -> Result<T, Failure>,
) -> Result<Vec<T>, Failure> {
    let mut select = connection.prepare_cached(sql)?;
    let mut found = select.query(parameters)?;
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        rows.push(read(row)?);
    }
    Ok(rows)
}

/// The refs of an update, when both its agent and its package are known.
pub(crate) fn refs(connection: &Connection, id: &UpdateId) -> Result<Option<(i64, i64)>, Failure> {
    Ok(rows::agent_ref(connection, id.agent)?.zip(rows::package_ref(connection, &id.package)?))
}

/// From the state of a package to its newest event, and from each event to the one before it.
pub(crate) const EVENTS: &str = concat!(
    "WITH RECURSIVE of_package (event_key) AS (
         SELECT ?1 + s.sequence FROM current_package_state AS s WHERE s.state_key = ?2
         UNION ALL
         SELECT ?1 + e.previous
         FROM of_package AS o
         CROSS JOIN update_events AS e ON e.event_key = o.event_key
         WHERE e.previous IS NOT NULL
     ) ",
    select_events!("WHERE e.event_key IN of_package ORDER BY e.event_key")
);
pub(crate) const REPLAY: &str = select_events!("WHERE e.event_key > ?1 AND e.event_key <= ?2 ORDER BY e.event_key LIMIT ?3");

pub(crate) fn events(connection: &Connection, id: &UpdateId) -> Result<Vec<RecordedEvent>, Failure> {
    let Some((agent_ref, package_ref)) = refs(connection, id)? else { return Ok(Vec::new()) };
    all(connection, EVENTS, [key(agent_ref, 0)?, key(agent_ref, package_ref)?], |row| rows::event(row, id.agent))
}

pub(crate) fn replay(connection: &Connection, agent: AgentId, after: u64, limit: u32) -> Result<Vec<RecordedEvent>, Failure> {
    let Some(agent_ref) = rows::agent_ref(connection, agent)? else { return Ok(Vec::new()) };
    let [first, last] = keys(agent_ref)?;
    // No sequence is beyond the last key.
    let after = i64::try_from(after).ok().and_then(|after| first.checked_add(after)).unwrap_or(last);
    all(connection, REPLAY, params![after, last, limit], |row| rows::event(row, agent))
}

/// What [`version_change`] reads, to be followed by a `WHERE` and an `ORDER BY`.
macro_rules! select_history {
    ($rest:literal) => {
        concat!(
            "SELECT p.manager, p.name, p.arch, h.from_version, h.to_version, h.outcome, h.command_id, h.reason, h.at, h.sequence
             FROM update_version_history AS h
             JOIN packages AS p ON p.package_ref = h.package_ref ",
            $rest
        )
    };
}
pub(crate) use select_history;

pub(crate) const HISTORY: &str = select_history!("WHERE h.agent_ref = ?1 AND h.package_ref = ?2 ORDER BY h.sequence");

pub(crate) fn history(connection: &Connection, id: &UpdateId) -> Result<Vec<VersionChange>, Failure> {
    let Some((agent_ref, package_ref)) = refs(connection, id)? else { return Ok(Vec::new()) };
    all(connection, HISTORY, [agent_ref, package_ref], version_change)
}

/// The columns of `select_history!`.
pub(crate) fn version_change(row: &Row<'_>) -> Result<VersionChange, Failure> {
    Ok(VersionChange {
        package: package_key(row, 0)?,
        from_version: get(row, 3)?,
        to_version: get(row, 4)?,
        outcome: get(row, 5)?,
        command: get(row, 6)?,
        reason: get(row, 7)?,
        at: get(row, 8)?,
        sequence: get(row, 9)?,
    })
}

pub(crate) fn rejections(connection: &Connection, agent: AgentId, batch: BatchId) -> Result<Vec<RejectedItem>, Failure> {
    let sql = "
        SELECT j.batch_index, j.code, j.field, j.message, j.excerpt, j.name IS NOT NULL, j.manager, j.name, COALESCE(j.arch, '')
        FROM agents AS a
        CROSS JOIN update_batches AS b ON b.agent_ref = a.agent_ref AND b.batch_id = ?2
        CROSS JOIN rejections AS j ON j.agent_ref = b.agent_ref AND j.batch_number = b.number
        WHERE a.agent_id = ?1
        ORDER BY j.batch_index";
    all(connection, sql, params![agent.as_uuid().as_bytes(), batch.as_uuid().as_bytes()], |row| {
        let code: String = get(row, 1)?;
        let code: RejectionCode = serde_json::from_value(code.into()).map_err(|error| Failure::corrupt(format!("a rejection: {error}")))?;
        Ok(RejectedItem {
            batch,
            index: get(row, 0)?,
            rejection: Rejection { code, field: get(row, 2)?, message: get(row, 3)? },
            package: if get(row, 5)? { Some(package_key(row, 6)?) } else { None },
            excerpt: get(row, 4)?,
        })
    })
}

pub(crate) fn reports(connection: &Connection, agent: AgentId, limit: u32) -> Result<Vec<StoredReport>, Failure> {
    let Some(agent_ref) = rows::agent_ref(connection, agent)? else { return Ok(Vec::new()) };
    let sql = concat!("SELECT ", report_columns!(), " FROM reports AS r WHERE r.agent_ref = ?1 ORDER BY r.report_ref DESC LIMIT ?2");
    all(connection, sql, params![agent_ref, limit], rows::report)
}

pub(crate) const BATCHES_AFTER: &str =
    concat!("SELECT ", batch_columns!(), " FROM update_batches AS b WHERE b.agent_ref = ?1 AND b.number > ?2 ORDER BY b.number LIMIT ?3");

/// Up to `limit` batches of an agent with a number above `after`.
pub(crate) fn agent_batches(connection: &Connection, agent: AgentId, after: u64, limit: u32) -> Result<Vec<BatchRecord>, Failure> {
    let Some(agent_ref) = rows::agent_ref(connection, agent)? else { return Ok(Vec::new()) };
    // No number is beyond 63 bits.
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    all(connection, BATCHES_AFTER, params![agent_ref, after, limit], |row| rows::batch(row, 0, agent))
}

pub(crate) const BASES: &str = "SELECT state FROM bases WHERE agent_ref = ?1";

/// The base states of an agent, in key order.
pub(crate) fn bases(connection: &Connection, agent: AgentId) -> Result<Vec<PackageState>, Failure> {
    let Some(agent_ref) = rows::agent_ref(connection, agent)? else { return Ok(Vec::new()) };
    let mut bases = all(connection, BASES, [agent_ref], |row| Ok(get::<Json<PackageState>>(row, 0)?.0))?;
    bases.sort_unstable_by(|a, b| a.package.cmp(&b.package));
    Ok(bases)
}

/// A page of batches, newest first.
pub(crate) fn batches(connection: &Connection, query: &BatchQuery) -> Result<BatchPage, Failure> {
    let agent = query.agent.map(|agent| agent.as_uuid().as_bytes().to_vec());
    let mut count = Statement::new(if query.with_rejections {
        "SELECT COUNT(*) FROM update_batches AS b WHERE b.rejected > 0"
    } else {
        // Batches of an agent are numbered without gap, so that none has to be looked at.
        "SELECT COALESCE(SUM(a.batches - a.pruned_batches), 0) FROM agents AS a WHERE TRUE"
    });
    let mut page = Statement::new(concat!(
        "SELECT a.agent_id, a.name, ",
        batch_columns!(),
        " FROM update_batches AS b CROSS JOIN agents AS a ON a.agent_ref = b.agent_ref WHERE TRUE"
    ));
    if query.with_rejections {
        page.push(" AND b.rejected > 0");
    }
    if let Some(agent) = agent {
        let of_agent = "(SELECT agent_ref FROM agents WHERE agent_id = ";
        count.push(if query.with_rejections { " AND b.agent_ref = " } else { " AND a.agent_ref = " }).push(of_agent);
        count.bind(agent.clone()).push(")");
        page.push(" AND b.agent_ref = ").push(of_agent).bind(agent).push(")");
    }
    page.push(" ORDER BY b.received_at DESC, a.agent_id DESC, b.number DESC");
    page.push(" LIMIT ").bind(query.size.get()).push(" OFFSET ").bind(query.page.offset(query.size));
    let total = connection.prepare_cached(count.sql())?.query_one(count.parameters(), |row| Ok(get(row, 0)))??;
    let items = all(connection, page.sql(), page.parameters(), |row| {
        Ok(BatchRow { agent_name: get(row, 1)?, record: rows::batch(row, 2, get(row, 0)?)? })
    })?;
    Ok(BatchPage { items, total })
}

//! Lists of updates and their counts (clauses Q1, Q2 and Q4).
//!
//! A page is found in two steps on one moment of the database: first the keys of its rows, in order, then the rows themselves.
//! The first step names the order by the columns of one index, so that PostgreSQL can walk it and end with the page. A list by
//! severity is the lists by name of each severity, one after the other: how long each is, the counters say, so that whole
//! severities before a page are passed over unread.

use crate::{
    error::Failure,
    rows::{self, counter_key, state_columns, state_tables},
    sql::{Pieces, position},
    stored::{arch, code, get},
    transaction::Transaction,
};
use redflag_core::{
    counters::CounterKey,
    ids::UpdateId,
    query::{PageStart, Position, Sort, SortKey, StatusFilter, UpdateFilter, UpdatePage, UpdateQuery, UpdateRow, UpdateStats},
    words::{Severity, Status},
};
use std::collections::HashMap;

/// A page with the counts of its whole list.
pub(crate) async fn page(transaction: &mut Transaction, query: &UpdateQuery, after: Option<&Position>) -> Result<UpdatePage, Failure> {
    let stats = stats(transaction, &query.filter).await?;
    let offset = match &query.start {
        PageStart::Number(number) => number.offset(query.size),
        PageStart::After(_) => 0,
    };
    let wanted = query.size.get() as usize;
    let mut keys = if offset < stats.total { keys(transaction, query, after, offset, &stats).await? } else { Keys::default() };
    let more = keys.agents.len() > wanted;
    keys.agents.truncate(wanted);
    keys.packages.truncate(wanted);
    let items = by_keys(transaction, keys).await?;
    let next = if more { items.last().map(|row| query.cursor_after(row)) } else { None };
    Ok(UpdatePage { items, stats, next })
}

/// The refs of rows, in their order.
#[derive(Default)]
struct Keys {
    agents: Vec<i32>,
    packages: Vec<i32>,
}

/// The keys of a page, and of one more row if there is one.
async fn keys(
    transaction: &mut Transaction,
    query: &UpdateQuery,
    after: Option<&Position>,
    offset: u64,
    stats: &UpdateStats,
) -> Result<Keys, Failure> {
    let wanted = query.size.get() as usize + 1;
    let mut keys = Keys::default();
    let mut skip = offset;
    for part in Part::of(query, after, stats) {
        if skip >= part.rows {
            skip -= part.rows;
            continue;
        }
        let limit = wanted - keys.agents.len();
        for row in transaction.rows(key_statement(query, &part, limit, skip).build()).await? {
            keys.agents.push(get(&row, 0)?);
            keys.packages.push(get(&row, 1)?);
        }
        skip = 0;
        if keys.agents.len() == wanted {
            break;
        }
    }
    Ok(keys)
}

/// A part of a list that stands in the order of one index.
pub(crate) struct Part<'a> {
    severity: Option<Severity>,
    after: Option<&'a Position>,
    rows: u64,
}

impl<'a> Part<'a> {
    pub(crate) fn of(query: &UpdateQuery, after: Option<&'a Position>, stats: &UpdateStats) -> Vec<Self> {
        if query.sort.key != SortKey::Severity {
            return vec![Self { severity: None, after, rows: stats.total }];
        }
        let reverse = query.sort.reverse;
        let passed =
            |severity: Severity| after.is_some_and(|after| if reverse { severity > after.severity } else { severity < after.severity });
        let part = |severity: Severity| Self {
            severity: Some(severity),
            after: after.filter(|after| after.severity == severity),
            rows: stats.by_severity.get(&severity).copied().unwrap_or(0),
        };
        let mut parts: Vec<_> = Severity::ALL.iter().copied().filter(|severity| !passed(*severity)).map(part).collect();
        if reverse {
            parts.reverse();
        }
        parts
    }
}

/// The columns of an order, of which the first few stand in one index.
struct Order {
    columns: &'static [&'static str],
    indexed: usize,
}

impl Order {
    /// See [`SortKey`]; severities are parts of a list.
    const fn of(key: SortKey) -> Self {
        match key {
            SortKey::Severity | SortKey::Name => Self { columns: &["p.name", "p.manager", "p.arch", "a.agent_id"], indexed: 3 },
            SortKey::Agent => Self { columns: &["a.name", "a.agent_id", "p.name", "p.manager", "p.arch"], indexed: 2 },
            SortKey::LastChange => Self { columns: &["s.changed_at", "p.name", "p.manager", "p.arch", "a.agent_id"], indexed: 1 },
        }
    }
}

pub(crate) fn key_statement(query: &UpdateQuery, part: &Part<'_>, limit: usize, offset: u64) -> Pieces {
    let order = Order::of(query.sort.key);
    let mut pieces = Pieces::new(
        "SELECT s.agent_ref, s.package_ref
         FROM current_package_state AS s
         JOIN packages AS p ON p.package_ref = s.package_ref
         JOIN agents AS a ON a.agent_ref = s.agent_ref
         WHERE TRUE",
    );
    narrow(&mut pieces, &query.filter);
    if let Some(severity) = part.severity {
        pieces.push(" AND s.severity = ").bind(code(severity.code()));
    }
    if let Some(after) = part.after {
        seek(&mut pieces, &order, after, query.sort);
    }
    pieces.push(" ORDER BY ");
    for (place, column) in order.columns.iter().enumerate() {
        pieces.push(if place == 0 { "" } else { ", " }).push(column).push(if query.sort.reverse { " DESC" } else { "" });
    }
    pieces.push(" LIMIT ").bind(i64::try_from(limit).unwrap_or(i64::MAX)).push(" OFFSET ").bind(position(offset));
    pieces
}

fn narrow(pieces: &mut Pieces, filter: &UpdateFilter) {
    let UpdateFilter { status, agent, manager, severity, availability, security, search } = filter;
    match status {
        StatusFilter::Any => {}
        StatusFilter::Is(status) => {
            pieces.push(" AND s.status = ").bind(code(status.code()));
        }
        StatusFilter::Open => {
            for closed in Status::ALL.iter().filter(|status| !status.open()) {
                pieces.push(" AND s.status <> ").bind(code(closed.code()));
            }
        }
    }
    if let Some(agent) = agent {
        pieces.push(" AND a.agent_id = ").bind(agent.as_uuid());
    }
    if let Some(manager) = manager {
        pieces.push(" AND p.manager = ").bind(manager.as_str().to_owned());
    }
    if let Some(severity) = severity {
        pieces.push(" AND s.severity = ").bind(code(severity.code()));
    }
    if let Some(availability) = availability {
        pieces.push(" AND s.availability = ").bind(code(availability.code()));
    }
    if let Some(security) = security {
        pieces.push(" AND (SELECT c.security FROM candidates AS c WHERE c.candidate_ref = s.candidate_ref) = ").bind(*security);
    }
    if let Some(search) = search {
        pieces.push(" AND strpos(lower(p.name), ").bind(search.as_str().to_owned()).push(") > 0");
    }
}

/// Everything after `after`; the columns of the index alone once more, because it can be entered by them.
fn seek(pieces: &mut Pieces, order: &Order, after: &Position, sort: Sort) {
    let (enter, beyond) = if sort.reverse { (" <= ", " < ") } else { (" >= ", " > ") };
    for (columns, comparison) in [(&order.columns[..order.indexed], enter), (order.columns, beyond)] {
        pieces.push(" AND (");
        for (place, column) in columns.iter().enumerate() {
            pieces.push(if place == 0 { "" } else { ", " }).push(column);
        }
        pieces.push(")").push(comparison).push("(");
        for (place, column) in columns.iter().enumerate() {
            pieces.push(if place == 0 { "" } else { ", " });
            bind_column(pieces, column, after);
        }
        pieces.push(")");
    }
}

fn bind_column(pieces: &mut Pieces, column: &str, position: &Position) {
    match column {
        "s.changed_at" => pieces.bind(position.changed_at.as_micros()),
        "a.name" => pieces.bind(position.agent_name.as_str().to_owned()),
        "a.agent_id" => pieces.bind(position.agent.as_uuid()),
        "p.name" => pieces.bind(position.package.name.as_str().to_owned()),
        "p.manager" => pieces.bind(position.package.manager.as_str().to_owned()),
        _ => pieces.bind(arch(&position.package).to_owned()),
    };
}

/// The rows of `keys`, in their order.
async fn by_keys(transaction: &mut Transaction, keys: Keys) -> Result<Vec<UpdateRow>, Failure> {
    if keys.agents.is_empty() {
        return Ok(Vec::new());
    }
    let wanted = keys.agents.len();
    let select = sqlx::query(concat!(
        "SELECT a.agent_id, a.name, ",
        state_columns!(),
        " FROM UNNEST($1::integer[], $2::integer[]) WITH ORDINALITY AS k (agent_ref, package_ref, place)
         JOIN current_package_state AS s ON s.agent_ref = k.agent_ref AND s.package_ref = k.package_ref
         JOIN agents AS a ON a.agent_ref = s.agent_ref",
        state_tables!(),
        "ORDER BY k.place"
    ))
    .bind(keys.agents)
    .bind(keys.packages);
    let rows = transaction.rows(select).await?;
    if rows.len() != wanted {
        return Err(Failure::corrupt("a state whose agent, package or candidate is missing"));
    }
    rows.iter().map(rows::update).collect()
}

pub(crate) const UPDATE: &str = concat!(
    "SELECT a.agent_id, a.name, ",
    state_columns!(),
    " FROM agents AS a
     JOIN packages AS k ON k.name = $2 AND k.manager = $3 AND k.arch = $4
     JOIN current_package_state AS s ON s.agent_ref = a.agent_ref AND s.package_ref = k.package_ref",
    state_tables!(),
    "WHERE a.agent_id = $1"
);

/// One update.
pub(crate) async fn find(transaction: &mut Transaction, id: &UpdateId) -> Result<Option<UpdateRow>, Failure> {
    let package = &id.package;
    let select = sqlx::query(UPDATE).bind(id.agent.as_uuid());
    let select = select.bind(package.name.as_str()).bind(package.manager.as_str()).bind(arch(package));
    transaction.row(select).await?.map(|row| rows::update(&row)).transpose()
}

/// The counts of a list: from the counters, unless it is narrowed by a text, which they do not tell apart.
pub(crate) async fn stats(transaction: &mut Transaction, filter: &UpdateFilter) -> Result<UpdateStats, Failure> {
    let (select, agent_column) = if filter.search.is_none() { (COUNTERS, " AND k.agent_ref") } else { (MATCHES, " AND s.agent_ref") };
    let mut pieces = Pieces::new(select);
    if let Some(agent) = filter.agent {
        pieces.push(agent_column).push(" = (SELECT agent_ref FROM agents WHERE agent_id = ").bind(agent.as_uuid()).push(")");
    }
    if let Some(search) = &filter.search {
        pieces.push(" AND strpos(lower(p.name), ").bind(search.as_str().to_owned()).push(") > 0");
    }
    pieces.push(" GROUP BY 1, 2, 3, 4, 5");
    let mut stats = UpdateStats::default();
    for row in transaction.rows(pieces.build()).await? {
        let key = counter_key(&row, 0)?;
        if passes(filter, &key) {
            stats.add(&key, get(&row, 5)?);
        }
    }
    Ok(stats)
}

const COUNTERS: &str = "
    SELECT k.manager, k.status, k.severity, k.security, k.availability, SUM(k.count)::bigint
    FROM update_counters AS k
    WHERE TRUE";

const MATCHES: &str = "
    SELECT p.manager, s.status, s.severity, c.security, s.availability, COUNT(*)
    FROM packages AS p
    JOIN current_package_state AS s ON s.package_ref = p.package_ref
    JOIN candidates AS c ON c.candidate_ref = s.candidate_ref
    WHERE TRUE";

/// The counts of each agent's open updates, by the agent's ref.
pub(crate) async fn open_stats(transaction: &mut Transaction, agents: &[i32]) -> Result<HashMap<i32, UpdateStats>, Failure> {
    let select = sqlx::query(
        "SELECT k.agent_ref, k.manager, k.status, k.severity, k.security, k.availability, k.count
         FROM update_counters AS k WHERE k.agent_ref = ANY($1)",
    )
    .bind(agents);
    let mut stats: HashMap<i32, UpdateStats> = HashMap::new();
    for row in transaction.rows(select).await? {
        let key = counter_key(&row, 1)?;
        if key.status.open() {
            stats.entry(get(&row, 0)?).or_default().add(&key, get(&row, 6)?);
        }
    }
    Ok(stats)
}

/// Whether what is counted by `key` passes; agent and search were settled before.
fn passes(filter: &UpdateFilter, key: &CounterKey) -> bool {
    let UpdateFilter { status, agent: _, manager, severity, availability, security, search: _ } = filter;
    status.matches(key.status)
        && manager.as_ref().is_none_or(|wanted| *wanted == key.manager)
        && severity.is_none_or(|wanted| wanted == key.severity)
        && availability.is_none_or(|wanted| wanted == key.availability)
        && security.is_none_or(|wanted| wanted == key.security)
}

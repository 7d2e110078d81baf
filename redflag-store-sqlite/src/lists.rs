//! Lists of updates and their counts (clauses Q1, Q2 and Q4).
//!
//! A page is found in two steps on one moment of the database: first the keys of its rows, in order, over tables of integers;
//! then each row by its key. The first step walks the tables in the order asked for (`CROSS JOIN` tells SQLite which), so that it
//! ends with the page instead of sorting everything.

use crate::{
    error::Failure,
    rows,
    sql::Statement,
    stored::{arch, get},
};
use redflag_core::{
    counters::CounterKey,
    ids::AgentId,
    query::{PageStart, Position, Sort, SortKey, StatusFilter, UpdateFilter, UpdatePage, UpdateQuery, UpdateStats},
    words::Status,
};
use rusqlite::{Connection, Row};

/// A page with the counts of its whole list.
pub(crate) fn page(connection: &Connection, query: &UpdateQuery, after: Option<&Position>) -> Result<UpdatePage, Failure> {
    let stats = stats(connection, &query.filter)?;
    let offset = match &query.start {
        PageStart::Number(number) => number.offset(query.size),
        PageStart::After(_) => 0,
    };
    let mut items = Vec::new();
    let mut more = false;
    if offset < stats.total {
        let wanted = query.size.get() as usize;
        let keys = keys(connection, query, after, offset)?;
        more = keys.len() > wanted;
        for (agent_ref, package_ref) in keys.into_iter().take(wanted) {
            let row = rows::update(connection, agent_ref, package_ref)?;
            items.push(row.ok_or_else(|| Failure::corrupt("a state whose agent, package or candidate is missing"))?);
        }
    }
    let next = if more { items.last().map(|row| query.cursor_after(row)) } else { None };
    Ok(UpdatePage { items, stats, next })
}

/// The refs of the rows of a page, and of one more if there is one.
fn keys(connection: &Connection, query: &UpdateQuery, after: Option<&Position>, offset: u64) -> Result<Vec<(i64, i64)>, Failure> {
    let statement = key_statement(query, after, offset);
    let mut select = connection.prepare_cached(statement.sql())?;
    let mut found = select.query(statement.parameters())?;
    let mut keys = Vec::new();
    while let Some(row) = found.next()? {
        keys.push((get(row, 0)?, get(row, 1)?));
    }
    Ok(keys)
}

/// Which table is walked first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Walk {
    /// The states of one agent, then sorted.
    OneAgent,
    /// Severities, most serious first, and in each the packages by name.
    Severities,
    /// Packages by name, and of each the agents that have it.
    Packages,
    /// Agents by name, and of each its packages.
    Agents,
    /// All states, then sorted.
    States,
}

impl Walk {
    fn of(query: &UpdateQuery) -> Self {
        match (query.filter.agent, query.sort.key, &query.filter.search) {
            (Some(_), ..) => Self::OneAgent,
            (None, SortKey::Severity, _) => Self::Severities,
            (None, SortKey::Name, _) | (None, _, Some(_)) => Self::Packages,
            (None, SortKey::Agent, None) => Self::Agents,
            (None, SortKey::LastChange, None) => Self::States,
        }
    }

    const fn tables(self) -> &'static str {
        match self {
            Self::OneAgent | Self::Agents => {
                "agents AS a
                 CROSS JOIN current_package_state AS s ON s.agent_ref = a.agent_ref
                 CROSS JOIN packages AS p ON p.package_ref = s.package_ref"
            }
            Self::Severities => {
                "severities AS v
                 CROSS JOIN packages AS p
                 CROSS JOIN current_package_state AS s ON s.package_ref = p.package_ref AND s.severity = v.severity
                 CROSS JOIN agents AS a ON a.agent_ref = s.agent_ref"
            }
            Self::Packages => {
                "packages AS p
                 CROSS JOIN current_package_state AS s ON s.package_ref = p.package_ref
                 CROSS JOIN agents AS a ON a.agent_ref = s.agent_ref"
            }
            Self::States => {
                "current_package_state AS s
                 CROSS JOIN packages AS p ON p.package_ref = s.package_ref
                 CROSS JOIN agents AS a ON a.agent_ref = s.agent_ref"
            }
        }
    }

    /// The columns of the order; see [`SortKey`].
    const fn order(self, key: SortKey) -> &'static [&'static str] {
        match (key, self) {
            (SortKey::Severity, Self::Severities) => &["v.severity", "p.name", "p.manager", "p.arch", "a.agent_id"],
            (SortKey::Severity, _) => &["s.severity", "p.name", "p.manager", "p.arch", "a.agent_id"],
            (SortKey::Name, _) => &["p.name", "p.manager", "p.arch", "a.agent_id"],
            (SortKey::Agent, _) => &["a.name", "a.agent_id", "p.name", "p.manager", "p.arch"],
            (SortKey::LastChange, _) => &["s.changed_at", "p.name", "p.manager", "p.arch", "a.agent_id"],
        }
    }
}

pub(crate) fn key_statement(query: &UpdateQuery, after: Option<&Position>, offset: u64) -> Statement {
    let walk = Walk::of(query);
    let order = walk.order(query.sort.key);
    let mut statement = Statement::new("SELECT s.agent_ref, s.package_ref FROM ");
    statement.push(walk.tables()).push(" WHERE TRUE");
    narrow(&mut statement, &query.filter);
    if let Some(position) = after {
        seek(&mut statement, order, position, query.sort);
    }
    statement.push(" ORDER BY ");
    for (place, column) in order.iter().enumerate() {
        statement.push(if place == 0 { "" } else { ", " }).push(column).push(if query.sort.reverse { " DESC" } else { "" });
    }
    statement.push(" LIMIT ").bind(query.size.get() + 1).push(" OFFSET ").bind(offset);
    statement
}

fn narrow(statement: &mut Statement, filter: &UpdateFilter) {
    let UpdateFilter { status, agent, manager, severity, availability, security, search } = filter;
    match status {
        StatusFilter::Any => {}
        StatusFilter::Is(status) => {
            statement.push(" AND s.status = ").bind(status.code());
        }
        StatusFilter::Open => {
            for closed in Status::ALL.iter().filter(|status| !status.open()) {
                statement.push(" AND s.status <> ").bind(closed.code());
            }
        }
    }
    if let Some(agent) = agent {
        statement.push(" AND a.agent_id = ").bind(agent.as_uuid().as_bytes().to_vec());
    }
    if let Some(manager) = manager {
        statement.push(" AND p.manager = ").bind(manager.as_str().to_owned());
    }
    if let Some(severity) = severity {
        statement.push(" AND s.severity = ").bind(severity.code());
    }
    if let Some(availability) = availability {
        statement.push(" AND s.availability = ").bind(availability.code());
    }
    if let Some(security) = security {
        statement.push(" AND (SELECT c.security FROM candidates AS c WHERE c.candidate_ref = s.candidate_ref) = ").bind(*security);
    }
    if let Some(search) = search {
        statement.push(" AND instr(lower(p.name), ").bind(search.as_str().to_owned()).push(") > 0");
    }
}

/// Everything after `position`; the first column alone once more, because an index can be entered by it.
fn seek(statement: &mut Statement, order: &[&'static str], position: &Position, sort: Sort) {
    let (enter, beyond) = if sort.reverse { (" <= ", " < ") } else { (" >= ", " > ") };
    statement.push(" AND ").push(order[0]).push(enter);
    bind_column(statement, order[0], position);
    statement.push(" AND (");
    for (place, column) in order.iter().enumerate() {
        statement.push(if place == 0 { "" } else { ", " }).push(column);
    }
    statement.push(")").push(beyond).push("(");
    for (place, column) in order.iter().enumerate() {
        statement.push(if place == 0 { "" } else { ", " });
        bind_column(statement, column, position);
    }
    statement.push(")");
}

fn bind_column(statement: &mut Statement, column: &str, position: &Position) {
    match column {
        "v.severity" | "s.severity" => statement.bind(position.severity.code()),
        "s.changed_at" => statement.bind(position.changed_at.as_micros()),
        "a.name" => statement.bind(position.agent_name.as_str().to_owned()),
        "a.agent_id" => statement.bind(position.agent.as_uuid().as_bytes().to_vec()),
        "p.name" => statement.bind(position.package.name.as_str().to_owned()),
        "p.manager" => statement.bind(position.package.manager.as_str().to_owned()),
        _ => statement.bind(arch(&position.package).to_owned()),
    };
}

/// The counts of a list: from the counters, unless it is narrowed by a text, which they do not tell apart.
pub(crate) fn stats(connection: &Connection, filter: &UpdateFilter) -> Result<UpdateStats, Failure> {
    let mut statement = match (&filter.search, filter.agent) {
        (None, _) => {
            Statement::new("SELECT k.manager, k.status, k.severity, k.security, k.availability, SUM(k.count) FROM update_counters AS k")
        }
        (Some(_), None) => Statement::new(MATCHES),
        (Some(_), Some(_)) => Statement::new(MATCHES_OF_AGENT),
    };
    statement.push(" WHERE TRUE");
    if let Some(agent) = filter.agent {
        let column = if filter.search.is_some() { " AND s.agent_ref" } else { " AND k.agent_ref" };
        let agent = agent.as_uuid().as_bytes().to_vec();
        statement.push(column).push(" = (SELECT agent_ref FROM agents WHERE agent_id = ").bind(agent).push(")");
    }
    if let Some(search) = &filter.search {
        statement.push(" AND instr(lower(p.name), ").bind(search.as_str().to_owned()).push(") > 0");
    }
    statement.push(" GROUP BY 1, 2, 3, 4, 5");
    let mut select = connection.prepare_cached(statement.sql())?;
    let mut found = select.query(statement.parameters())?;
    let mut stats = UpdateStats::default();
    while let Some(row) = found.next()? {
        let key = counter_key(row)?;
        if passes(filter, &key) {
            stats.add(&key, get(row, 5)?);
        }
    }
    Ok(stats)
}

const MATCHES: &str = "
    SELECT p.manager, s.status, s.severity, c.security, s.availability, COUNT(*)
    FROM packages AS p
    CROSS JOIN current_package_state AS s ON s.package_ref = p.package_ref
    CROSS JOIN candidates AS c ON c.candidate_ref = s.candidate_ref";

const MATCHES_OF_AGENT: &str = "
    SELECT p.manager, s.status, s.severity, c.security, s.availability, COUNT(*)
    FROM current_package_state AS s
    CROSS JOIN packages AS p ON p.package_ref = s.package_ref
    CROSS JOIN candidates AS c ON c.candidate_ref = s.candidate_ref";

/// The counts of an agent's open updates.
pub(crate) fn open_stats(connection: &Connection, agent: AgentId) -> Result<UpdateStats, Failure> {
    stats(connection, &UpdateFilter { agent: Some(agent), ..UpdateFilter::default() })
}

/// Five columns: manager, status, severity, security, availability.
fn counter_key(row: &Row<'_>) -> Result<CounterKey, Failure> {
    Ok(CounterKey {
        manager: get(row, 0)?,
        status: get(row, 1)?,
        severity: get(row, 2)?,
        security: get(row, 3)?,
        availability: get(row, 4)?,
    })
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

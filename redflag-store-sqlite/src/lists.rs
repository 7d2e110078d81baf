//! Lists of updates and their counts (clauses Q1, Q2 and Q4).
//!
//! A page is found in two steps on one moment of the database: first the keys of its rows, in order, then each row by its key.
//! For a list of the whole fleet by severity or name, the tally of that moment says which packages the page holds, however deep it
//! lies; otherwise the tables are walked in the order asked for (`CROSS JOIN` tells SQLite which), so that the walk ends with the
//! page.

use crate::{error::Failure, rows, sql::Statement, stored::get, tally::Tally};
use redflag_core::{
    counters::CounterKey,
    ids::AgentId,
    query::{PageStart, Position, Sort, SortKey, StatusFilter, UpdateFilter, UpdatePage, UpdateQuery, UpdateStats},
    words::Status,
};
use rusqlite::{Connection, Row};

/// A page of one agent's updates with the counts of its whole list; `query` names the agent.
pub(crate) fn page_of_agent(connection: &Connection, query: &UpdateQuery, after: Option<&Position>) -> Result<UpdatePage, Failure> {
    let stats = query.filter.agent.map_or(Ok(UpdateStats::default()), |agent| stats_of_agent(connection, agent, &query.filter))?;
    walked(connection, query, after, stats)
}

/// A page of the whole fleet's updates with the counts of its whole list.
pub(crate) fn page_of_fleet(
    connection: &Connection,
    query: &UpdateQuery,
    after: Option<&Position>,
    tally: &Tally,
) -> Result<UpdatePage, Failure> {
    let stats = tally.stats(&query.filter);
    match query.sort.key {
        SortKey::Severity | SortKey::Name => tallied(connection, query, after, tally, stats),
        SortKey::Agent => by_agent(connection, query, after, stats),
        SortKey::LastChange => walked(connection, query, after, stats),
    }
}

/// A page whose rows are found by walking the tables.
fn walked(connection: &Connection, query: &UpdateQuery, after: Option<&Position>, stats: UpdateStats) -> Result<UpdatePage, Failure> {
    let offset = offset(query);
    let found = if offset < stats.total { keys(connection, &key_statement(query, after, offset))? } else { Vec::new() };
    filled(connection, query, found, stats)
}

/// A page whose packages are found by adding up the tally.
fn tallied(
    connection: &Connection,
    query: &UpdateQuery,
    after: Option<&Position>,
    tally: &Tally,
    stats: UpdateStats,
) -> Result<UpdatePage, Failure> {
    let wanted = query.size.get() as usize + 1;
    let mut before = offset(query);
    let mut found = Vec::new();
    if before < stats.total {
        for run in tally.runs(&query.filter, query.sort, after) {
            if before >= run.count {
                before -= run.count;
                continue;
            }
            let skipped = usize::try_from(std::mem::take(&mut before)).unwrap_or(usize::MAX);
            found.extend(tally.keys(&run, &query.filter, query.sort, skipped).take(wanted - found.len()));
            if found.len() == wanted {
                break;
            }
        }
    }
    filled(connection, query, found, stats)
}

/// A page by agent: agents are passed over by their counts, and only those on the page have their states sorted.
fn by_agent(connection: &Connection, query: &UpdateQuery, after: Option<&Position>, stats: UpdateStats) -> Result<UpdatePage, Failure> {
    let wanted = query.size.get() as usize + 1;
    let mut before = offset(query);
    let mut found = Vec::new();
    if before < stats.total {
        let agents = agents_statement(query, after);
        let mut select = connection.prepare_cached(agents.sql())?;
        let mut rows = select.query(agents.parameters())?;
        while found.len() < wanted
            && let Some(row) = rows.next()?
        {
            let (agent, count): (AgentId, u64) = (get(row, 0)?, get(row, 1)?);
            if before >= count {
                before -= count;
                continue;
            }
            let mut of_agent = query.clone();
            of_agent.filter.agent = Some(agent);
            let within = after.filter(|after| after.agent == agent);
            found.extend(keys(connection, &key_statement(&of_agent, within, before))?);
            before = 0;
        }
    }
    found.truncate(wanted);
    filled(connection, query, found, stats)
}

/// Agents by name, from the one that `after` names, each with how many of its states pass.
pub(crate) fn agents_statement(query: &UpdateQuery, after: Option<&Position>) -> Statement {
    let mut statement = Statement::new("SELECT a.agent_id, ");
    if query.filter.search.is_some() {
        statement.push(
            "(SELECT COUNT(*) FROM current_package_state AS s CROSS JOIN packages AS p ON p.package_ref = s.package_ref
              WHERE s.agent_ref = a.agent_ref",
        );
        narrow(&mut statement, &query.filter);
    } else {
        statement.push("(SELECT COALESCE(SUM(s.count), 0) FROM update_counters AS s WHERE s.agent_ref = a.agent_ref");
        narrow_states(&mut statement, &query.filter);
        if let Some(manager) = &query.filter.manager {
            statement.push(" AND s.manager = ").bind(manager.as_str().to_owned());
        }
    }
    statement.push(") FROM agents AS a");
    let (from, direction) = if query.sort.reverse { (" <= (", " DESC") } else { (" >= (", "") };
    if let Some(after) = after {
        statement.push(" WHERE (a.name, a.agent_id)").push(from).bind(after.agent_name.as_str().to_owned());
        statement.push(", ").bind(after.agent.as_uuid().as_bytes().to_vec()).push(")");
    }
    statement.push(" ORDER BY a.name").push(direction).push(", a.agent_id").push(direction);
    statement
}

/// Rows before the page.
fn offset(query: &UpdateQuery) -> u64 {
    match &query.start {
        PageStart::Number(number) => number.offset(query.size),
        PageStart::After(_) => 0,
    }
}

/// The page of these rows; one too many says that the list goes on.
fn filled(connection: &Connection, query: &UpdateQuery, keys: Vec<(i64, i64)>, stats: UpdateStats) -> Result<UpdatePage, Failure> {
    let wanted = query.size.get() as usize;
    let more = keys.len() > wanted;
    let mut items = Vec::with_capacity(wanted.min(keys.len()));
    for (agent_ref, package_ref) in keys.into_iter().take(wanted) {
        let row = rows::update(connection, agent_ref, package_ref)?;
        items.push(row.ok_or_else(|| Failure::corrupt("a state whose agent, package or candidate is missing"))?);
    }
    let next = if more { items.last().map(|row| query.cursor_after(row)) } else { None };
    Ok(UpdatePage { items, stats, next })
}

/// The refs of rows, agent and package.
fn keys(connection: &Connection, statement: &Statement) -> Result<Vec<(i64, i64)>, Failure> {
    let mut select = connection.prepare_cached(statement.sql())?;
    let mut found = select.query(statement.parameters())?;
    let mut keys = Vec::new();
    while let Some(row) = found.next()? {
        keys.push((get(row, 0)?, get(row, 1)?));
    }
    Ok(keys)
}

/// Which states are walked, and then sorted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Walk {
    OneAgent,
    All,
}

impl Walk {
    const fn of(query: &UpdateQuery) -> Self {
        if query.filter.agent.is_some() { Self::OneAgent } else { Self::All }
    }

    const fn tables(self) -> &'static str {
        match self {
            Self::OneAgent => {
                "agents AS a
                 CROSS JOIN current_package_state AS s ON s.agent_ref = a.agent_ref
                 CROSS JOIN packages AS p ON p.package_ref = s.package_ref"
            }
            Self::All => {
                "current_package_state AS s
                 CROSS JOIN packages AS p ON p.package_ref = s.package_ref
                 CROSS JOIN agents AS a ON a.agent_ref = s.agent_ref"
            }
        }
    }
}

/// The columns of an order; see [`SortKey`].
const fn order(key: SortKey) -> &'static [&'static str] {
    match key {
        SortKey::Severity => &["s.severity", "p.name", "p.manager", "p.arch", "a.agent_id"],
        SortKey::Name => &["p.name", "p.manager", "p.arch", "a.agent_id"],
        SortKey::Agent => &["a.name", "a.agent_id", "p.name", "p.manager", "p.arch"],
        SortKey::LastChange => &["s.changed_at", "p.name", "p.manager", "p.arch", "a.agent_id"],
    }
}

pub(crate) fn key_statement(query: &UpdateQuery, after: Option<&Position>, offset: u64) -> Statement {
    let order = order(query.sort.key);
    let mut statement = Statement::new("SELECT s.agent_ref, s.package_ref FROM ");
    statement.push(Walk::of(query).tables()).push(" WHERE TRUE");
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

pub(crate) fn narrow(statement: &mut Statement, filter: &UpdateFilter) {
    narrow_states(statement, filter);
    if let Some(agent) = filter.agent {
        statement.push(" AND a.agent_id = ").bind(agent.as_uuid().as_bytes().to_vec());
    }
    if let Some(manager) = &filter.manager {
        statement.push(" AND p.manager = ").bind(manager.as_str().to_owned());
    }
    if let Some(search) = &filter.search {
        statement.push(" AND instr(lower(p.name), ").bind(search.as_str().to_owned()).push(") > 0");
    }
}

/// By what stands in the states themselves.
fn narrow_states(statement: &mut Statement, filter: &UpdateFilter) {
    let UpdateFilter { status, agent: _, manager: _, severity, availability, security, search: _ } = filter;
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
    if let Some(severity) = severity {
        statement.push(" AND s.severity = ").bind(severity.code());
    }
    if let Some(availability) = availability {
        statement.push(" AND s.availability = ").bind(availability.code());
    }
    if let Some(security) = security {
        statement.push(" AND s.security = ").bind(*security);
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
        "s.severity" => statement.bind(position.severity.code()),
        "s.changed_at" => statement.bind(position.changed_at.as_micros()),
        "a.name" => statement.bind(position.agent_name.as_str().to_owned()),
        "a.agent_id" => statement.bind(position.agent.as_uuid().as_bytes().to_vec()),
        "p.name" => statement.bind(position.package.name.as_str().to_owned()),
        "p.manager" => statement.bind(position.package.manager.as_str().to_owned()),
        _ => statement.bind(position.package.arch_text().to_owned()),
    };
}

/// The counts of one agent's list: from its counters, unless it is narrowed by a text, which they do not tell apart.
pub(crate) fn stats_of_agent(connection: &Connection, agent: AgentId, filter: &UpdateFilter) -> Result<UpdateStats, Failure> {
    let mut statement = Statement::new(if filter.search.is_some() { MATCHES } else { COUNTERS });
    statement.push("(SELECT agent_ref FROM agents WHERE agent_id = ").bind(agent.as_uuid().as_bytes().to_vec()).push(")");
    if let Some(search) = &filter.search {
        statement.push(" AND instr(lower(p.name), ").bind(search.as_str().to_owned()).push(") > 0 GROUP BY 1, 2, 3, 4, 5");
    }
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

const COUNTERS: &str = "
    SELECT k.manager, k.status, k.severity, k.security, k.availability, k.count
    FROM update_counters AS k
    WHERE k.agent_ref = ";

const MATCHES: &str = "
    SELECT p.manager, s.status, s.severity, s.security, s.availability, COUNT(*)
    FROM current_package_state AS s
    CROSS JOIN packages AS p ON p.package_ref = s.package_ref
    WHERE s.agent_ref = ";

/// The counts of an agent's open updates.
pub(crate) fn open_stats(connection: &Connection, agent: AgentId) -> Result<UpdateStats, Failure> {
    stats_of_agent(connection, agent, &UpdateFilter::default())
}

/// Five columns: manager, status, severity, security, availability.
pub(crate) fn counter_key(row: &Row<'_>) -> Result<CounterKey, Failure> {
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

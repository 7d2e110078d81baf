//! Lists of agents.

use crate::{
    error::Failure,
    lists,
    rows::{self, head_columns},
    sql::Statement,
    stored::get,
};
use redflag_core::{
    query::{AgentPage, AgentQuery, AgentRow, AgentSortKey},
    words::Status,
};
use rusqlite::Connection;

/// A page of agents with the counts of their open updates.
pub(crate) fn page(connection: &Connection, query: &AgentQuery) -> Result<AgentPage, Failure> {
    let mut count = Statement::new("SELECT COUNT(*) FROM agents AS a");
    narrow(&mut count, query);
    let total = connection.prepare_cached(count.sql())?.query_one(count.parameters(), |row| Ok(get(row, 0)))??;
    let mut statement = Statement::new(concat!("SELECT a.agent_ref, ", head_columns!(), " FROM agents AS a"));
    narrow(&mut statement, query);
    let direction = if query.reverse { " DESC" } else { "" };
    statement.push(" ORDER BY ");
    match query.sort {
        AgentSortKey::Name => &mut statement,
        AgentSortKey::LastContact => statement.push("a.last_contact_at").push(direction).push(", "),
        AgentSortKey::Updates => open_updates(&mut statement).push(direction).push(", "),
    };
    statement.push("a.name").push(direction).push(", a.agent_id").push(direction);
    statement.push(" LIMIT ").bind(query.size.get()).push(" OFFSET ").bind(query.page.offset(query.size));
    let mut select = connection.prepare_cached(statement.sql())?;
    let mut found = select.query(statement.parameters())?;
    let mut items = Vec::new();
    while let Some(row) = found.next()? {
        let head = rows::head_of(row, 1)?;
        let open = lists::open_stats(connection, get(row, 0)?)?;
        items.push(AgentRow { head, open });
    }
    Ok(AgentPage { items, total })
}

fn narrow(statement: &mut Statement, query: &AgentQuery) {
    if let Some(search) = &query.search {
        statement.push(" WHERE instr(lower(a.name), ").bind(search.as_str().to_owned()).push(") > 0");
    }
}

/// The number of an agent's open updates.
fn open_updates(statement: &mut Statement) -> &mut Statement {
    statement.push("(SELECT COALESCE(SUM(k.count), 0) FROM update_counters AS k WHERE k.agent_ref = a.agent_ref");
    for closed in Status::ALL.iter().filter(|status| !status.open()) {
        statement.push(" AND k.status <> ").bind(closed.code());
    }
    statement.push(")")
}

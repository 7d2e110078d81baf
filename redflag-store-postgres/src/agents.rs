//! Lists of agents.

use crate::{
    error::Failure,
    lists,
    rows::{self, head_columns, head_tables},
    sql::{Pieces, position},
    stored::{code, get},
    transaction::Transaction,
};
use redflag_core::{
    agent::AgentHead,
    ids::AgentId,
    query::{AgentPage, AgentQuery, AgentRow, AgentSortKey},
    words::Status,
};

pub(crate) async fn find(transaction: &mut Transaction, agent: AgentId) -> Result<Option<AgentHead>, Failure> {
    let select = sqlx::query(concat!("SELECT ", head_columns!(), " FROM", head_tables!(), "WHERE a.agent_id = $1")).bind(agent.as_uuid());
    transaction.row(select).await?.map(|row| rows::head(&row, 0)).transpose()
}

/// A page of agents with the counts of their open updates.
pub(crate) async fn page(transaction: &mut Transaction, query: &AgentQuery) -> Result<AgentPage, Failure> {
    let mut count = Pieces::new("SELECT COUNT(*) FROM agents AS a");
    narrow(&mut count, query);
    let total = transaction.row(count.build()).await?.map_or(Ok(0), |row| get(&row, 0))?;
    let mut page = Pieces::new(concat!("SELECT a.agent_ref, ", head_columns!(), " FROM", head_tables!()));
    narrow(&mut page, query);
    let direction = if query.reverse { " DESC" } else { "" };
    page.push(" ORDER BY ");
    match query.sort {
        AgentSortKey::Name => {}
        // Never heard of comes before all others.
        AgentSortKey::LastContact => {
            page.push(if query.reverse { "a.last_contact_at DESC NULLS LAST, " } else { "a.last_contact_at NULLS FIRST, " });
        }
        AgentSortKey::Updates => {
            open_updates(&mut page).push(direction).push(", ");
        }
    }
    page.push("a.name").push(direction).push(", a.agent_id").push(direction);
    page.push(" LIMIT ").bind(i64::from(query.size.get())).push(" OFFSET ").bind(position(query.page.offset(query.size)));
    let found = transaction.rows(page.build()).await?;
    let refs = found.iter().map(|row| get(row, 0)).collect::<Result<Vec<i32>, _>>()?;
    let mut open = lists::open_stats(transaction, &refs).await?;
    let items = found.iter().zip(refs).map(|(row, agent_ref)| {
        let open = open.remove(&agent_ref).unwrap_or_default();
        Ok(AgentRow { head: rows::head(row, 1)?, open })
    });
    Ok(AgentPage { items: items.collect::<Result<_, Failure>>()?, total })
}

fn narrow(pieces: &mut Pieces, query: &AgentQuery) {
    if let Some(search) = &query.search {
        pieces.push(" WHERE strpos(lower(a.name), ").bind(search.as_str().to_owned()).push(") > 0");
    }
}

/// The number of an agent's open updates.
fn open_updates(pieces: &mut Pieces) -> &mut Pieces {
    pieces.push("(SELECT COALESCE(SUM(k.count), 0) FROM update_counters AS k WHERE k.agent_ref = a.agent_ref");
    for closed in Status::ALL.iter().filter(|status| !status.open()) {
        pieces.push(" AND k.status <> ").bind(code(closed.code()));
    }
    pieces.push(")")
}

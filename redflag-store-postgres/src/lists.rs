//! Lists of updates and of packages, and their counts (clauses Q1, Q2 and Q4).
//!
//! Which rows stand on a page and how many there are in all, the mirror says, of the moment that the transaction sees; the rows
//! themselves are then read by key.

use crate::{
    catalog::Catalog,
    error::Failure,
    load::states_by_key,
    mirror::{Mirror, Row, Start},
    rows::{self, counter_key, state_columns, state_tables},
    sql::Pieces,
    stored::get,
    transaction::Transaction,
};
use redflag_core::{
    counters::OpenChange,
    ids::UpdateId,
    query::{PageStart, Position, TrendPoint, TrendQuery, UpdateFilter, UpdatePage, UpdateQuery, UpdateRow, UpdateStats, evaluate_trend},
    state::PackageState,
    words::Severity,
};
use sqlx::{Row as _, postgres::PgRow};
use std::collections::HashMap;

/// A page with the counts of its whole list.
pub(crate) async fn page(
    transaction: &mut Transaction,
    catalog: &Catalog,
    mirror: &Mirror,
    query: &UpdateQuery,
    after: Option<&Position>,
) -> Result<UpdatePage, Failure> {
    let start = match (after, &query.start) {
        (Some(after), _) => Start::After(after),
        (None, PageStart::Number(number)) => Start::Offset(number.offset(query.size)),
        (None, PageStart::After(_)) => Start::Offset(0),
    };
    let wanted = query.size.get() as usize;
    // One more than wanted tells whether the list goes on.
    let (stats, mut found) = mirror.page(&query.filter, query.sort, start, wanted + 1);
    let more = found.len() > wanted;
    found.truncate(wanted);
    let items = by_key(transaction, catalog, mirror, &found).await?;
    let next = if more { items.last().map(|row| query.cursor_after(row)) } else { None };
    Ok(UpdatePage { items, stats, next })
}

/// These rows, in their order.
async fn by_key(transaction: &mut Transaction, catalog: &Catalog, mirror: &Mirror, found: &[Row]) -> Result<Vec<UpdateRow>, Failure> {
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let agents = found.iter().map(|row| mirror.agent(*row).agent_ref).collect();
    let packages = found.iter().map(|row| mirror.package(*row).package_ref).collect();
    let states = states_by_key(transaction, catalog, agents, packages).await?;
    if states.len() != found.len() {
        return Err(Failure::corrupt("a state that is listed and not there"));
    }
    let update = |(state, row): (PackageState, &Row)| {
        let agent = mirror.agent(*row);
        UpdateRow { agent: agent.id, agent_name: agent.name.clone(), state }
    };
    Ok(states.into_iter().zip(found).map(update).collect())
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
    let select = select.bind(package.name.as_str()).bind(package.manager.as_str()).bind(package.arch_text());
    transaction.row(select).await?.map(|row| rows::update(&row)).transpose()
}

/// Open updates by day: those of now, which the mirror counts, but for what came later.
pub(crate) async fn trend(transaction: &mut Transaction, mirror: &Mirror, query: &TrendQuery) -> Result<Vec<TrendPoint>, Failure> {
    let mut select = Pieces::new("SELECT o.day, o.severity, SUM(o.difference)::bigint FROM open_changes AS o WHERE o.day >= ");
    select.bind(query.first().number());
    if let Some(agent) = query.agent() {
        select.push(" AND o.agent_ref = (SELECT a.agent_ref FROM agents AS a WHERE a.agent_id = ").bind(agent.as_uuid()).push(")");
    }
    let rows = transaction.rows(select.push(" GROUP BY o.day, o.severity").build()).await?;
    let change = |row: &PgRow| Ok(OpenChange { day: get(row, 0)?, severity: get(row, 1)?, difference: row.try_get(2)? });
    let later = rows.iter().map(change).collect::<Result<Vec<_>, Failure>>()?;
    let now = mirror.stats(&UpdateFilter { agent: query.agent(), ..UpdateFilter::default() }).by_severity;
    let before = Severity::ALL.iter().map(|severity| {
        let now = now.get(severity).copied().map_or(0, u64::cast_signed);
        let since: i64 = later.iter().filter(|change| change.severity == *severity).map(|change| change.difference).sum();
        OpenChange { day: query.first(), severity: *severity, difference: now - since }
    });
    Ok(evaluate_trend(before.chain(later.iter().copied()), query))
}

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

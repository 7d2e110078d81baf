//! States, counts and lists, answered by core's reference evaluators over every state.
//!
//! Reading everything is what makes this backend short and slow. A backend that must be fast answers the same queries from its
//! own indexes; the evaluators then are what its answers are compared with.

use crate::{
    documents::{all, find, read},
    error::Failure,
    tables::{self, AGENTS, COUNTERS, HISTORY, OPEN_CHANGES, OnDay, REMOVED, STATES},
};
use redb::ReadTransaction;
use redflag_core::{
    agent::AgentHead,
    counters::{CounterKey, OpenChange},
    ids::{AgentId, UpdateId},
    query::{
        self, AgentPage, AgentQuery, AgentRow, PackagePage, PackageQuery, TrendPoint, TrendQuery, UpdateFilter, UpdatePage, UpdateQuery,
        UpdateRow, UpdateStats,
    },
    rebuild::Derived,
    removal::RemovedAgent,
    state::{PackageState, VersionChange},
};
use std::ops::{Bound, RangeBounds};

pub(crate) fn update(transaction: &ReadTransaction, id: &UpdateId) -> Result<Option<UpdateRow>, Failure> {
    let Some(head) = agent(transaction, id.agent)? else { return Ok(None) };
    let state = find(&transaction.open_table(STATES)?, tables::update(id))?;
    Ok(state.map(|state| UpdateRow { agent: id.agent, agent_name: head.name, state }))
}

pub(crate) fn updates(transaction: &ReadTransaction, query: &UpdateQuery) -> Result<UpdatePage, Failure> {
    let rows = rows(transaction, &query.filter)?;
    Ok(query::evaluate(rows.iter().map(|row| (row.agent, &row.agent_name, &row.state)), query)?)
}

pub(crate) fn stats(transaction: &ReadTransaction, filter: &UpdateFilter) -> Result<UpdateStats, Failure> {
    // Counts come with every page; asking for one keeps both from ever differing (clause Q2).
    let query = UpdateQuery { filter: filter.clone(), ..UpdateQuery::default() };
    Ok(updates(transaction, &query)?.stats)
}

pub(crate) fn packages(transaction: &ReadTransaction, query: &PackageQuery) -> Result<PackagePage, Failure> {
    let rows = rows(transaction, &query.filter)?;
    Ok(query::evaluate_packages(rows.iter().map(|row| (row.agent, &row.state)), query))
}

pub(crate) fn trend(transaction: &ReadTransaction, query: &TrendQuery) -> Result<Vec<TrendPoint>, Failure> {
    let changes = match query.agent() {
        Some(agent) => open_changes(transaction, tables::open_changes_of(agent))?,
        None => open_changes(transaction, ..)?,
    };
    Ok(query::evaluate_trend(changes, query))
}

/// The version history of one package, in order.
pub(crate) fn history(transaction: &ReadTransaction, id: &UpdateId) -> Result<Vec<VersionChange>, Failure> {
    all(transaction.open_table(HISTORY)?.range(tables::numbered(tables::update(id)))?)
}

/// Everything that follows from an agent's log, but for sums that have come to zero.
pub(crate) fn derived(transaction: &ReadTransaction, of: AgentId) -> Result<Option<Derived>, Failure> {
    let Some(head) = agent(transaction, of)? else { return Ok(None) };
    let mut history: Vec<VersionChange> = all(transaction.open_table(HISTORY)?.range(tables::numbered_packages_of(of))?)?;
    history.sort_unstable_by_key(|change| change.sequence);
    let mut counters = counters(transaction, of)?;
    counters.retain(|(_, count)| *count != 0);
    let mut open_changes = open_changes(transaction, tables::open_changes_of(of))?;
    open_changes.retain(|change| change.difference != 0);
    Ok(Some(Derived { sequence: head.events, pruned: head.pruned, states: states(transaction, of)?, history, counters, open_changes }))
}

pub(crate) fn agent(transaction: &ReadTransaction, agent: AgentId) -> Result<Option<AgentHead>, Failure> {
    find(&transaction.open_table(AGENTS)?, tables::agent(agent))
}

pub(crate) fn agents(transaction: &ReadTransaction, query: &AgentQuery) -> Result<AgentPage, Failure> {
    let mut rows = Vec::new();
    for head in heads(transaction, None)? {
        let mut open = UpdateStats::default();
        for (key, count) in counters(transaction, head.agent)?.iter().filter(|(key, _)| key.status.open()) {
            open.add(key, u64::try_from(*count).map_err(Failure::corrupt)?);
        }
        rows.push(AgentRow { head, open });
    }
    Ok(query::evaluate_agents(rows, query))
}

/// The heads of one agent or of all.
pub(crate) fn heads(transaction: &ReadTransaction, only: Option<AgentId>) -> Result<Vec<AgentHead>, Failure> {
    match only {
        Some(only) => Ok(agent(transaction, only)?.into_iter().collect()),
        None => all(transaction.open_table(AGENTS)?.range::<tables::Uuid>(..)?),
    }
}

/// Every update that could pass: only the agent, by which keys begin, is narrowed here; core filters the rest.
fn rows(transaction: &ReadTransaction, filter: &UpdateFilter) -> Result<Vec<UpdateRow>, Failure> {
    let mut rows = Vec::new();
    for AgentHead { agent, name, .. } in heads(transaction, filter.agent)? {
        let states = states(transaction, agent)?;
        rows.extend(states.into_iter().map(|state| UpdateRow { agent, agent_name: name.clone(), state }));
    }
    Ok(rows)
}

fn states(transaction: &ReadTransaction, agent: AgentId) -> Result<Vec<PackageState>, Failure> {
    all(transaction.open_table(STATES)?.range(tables::packages_of(agent))?)
}

fn counters(transaction: &ReadTransaction, agent: AgentId) -> Result<Vec<(CounterKey, i64)>, Failure> {
    all(transaction.open_table(COUNTERS)?.range(tables::counters_of(agent))?)
}

fn open_changes(transaction: &ReadTransaction, of: impl RangeBounds<OnDay>) -> Result<Vec<OpenChange>, Failure> {
    all(transaction.open_table(OPEN_CHANGES)?.range(of)?)
}

/// Agents that were removed, with ids above `after`.
pub(crate) fn removed_agents(transaction: &ReadTransaction, after: Option<AgentId>, limit: u32) -> Result<Vec<RemovedAgent>, Failure> {
    let start = after.map_or(Bound::Unbounded, |after| Bound::Excluded(tables::agent(after)));
    let later = transaction.open_table(REMOVED)?.range((start, Bound::Unbounded))?;
    later.take(limit as usize).map(|entry| read(entry?.1.value())).collect()
}

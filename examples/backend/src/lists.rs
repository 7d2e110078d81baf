//! Lists of updates and agents, answered by core's reference evaluators over every state.
//!
//! Reading everything is what makes this backend short and slow. A backend that must be fast answers the same queries from its
//! own indexes; the evaluators then are what its answers are compared with.

use crate::{
    documents::{all, find},
    error::Failure,
    tables::{self, AGENTS, STATES},
};
use redb::ReadTransaction;
use redflag_core::{
    agent::AgentHead,
    counters::CounterKey,
    ids::{AgentId, UpdateId},
    query::{self, AgentPage, AgentQuery, AgentRow, UpdateFilter, UpdatePage, UpdateQuery, UpdateRow, UpdateStats},
    state::PackageState,
};

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

pub(crate) fn agent(transaction: &ReadTransaction, agent: AgentId) -> Result<Option<AgentHead>, Failure> {
    find(&transaction.open_table(AGENTS)?, tables::agent(agent))
}

pub(crate) fn agents(transaction: &ReadTransaction, query: &AgentQuery) -> Result<AgentPage, Failure> {
    let mut rows = Vec::new();
    for head in heads(transaction, None)? {
        let mut open = UpdateStats::default();
        for state in states(transaction, head.agent)?.iter().filter(|state| state.status().open()) {
            open.add(&CounterKey::of(state), 1);
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

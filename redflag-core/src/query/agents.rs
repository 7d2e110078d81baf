//! Pages of agents, with the reference evaluator.

use super::{PageNumber, PageSize, Search, UpdateStats};
use crate::agent::AgentHead;
use std::cmp::Ordering;

/// What a list of agents is ordered by; equal rows by name, then id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AgentSortKey {
    /// By name, in byte order.
    #[default]
    Name,
    /// Longest silent first; never heard of before all others.
    LastContact,
    /// Fewest open updates first.
    Updates,
}

/// A page of agents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentQuery {
    /// With a text in the name.
    pub search: Option<Search>,
    /// Ordered by.
    pub sort: AgentSortKey,
    /// Whether the whole order is reversed.
    pub reverse: bool,
    /// Which page.
    pub page: PageNumber,
    /// How many.
    pub size: PageSize,
}

/// One agent in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentRow {
    /// What is kept of it.
    pub head: AgentHead,
    /// Counts over its open updates.
    pub open: UpdateStats,
}

/// One page of agents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentPage {
    /// The rows.
    pub items: Vec<AgentRow>,
    /// All agents that pass.
    pub total: u64,
}

/// Answers a query over all agents: the reference every backend is compared with.
#[must_use]
pub fn evaluate_agents(agents: impl IntoIterator<Item = AgentRow>, query: &AgentQuery) -> AgentPage {
    let passes = |row: &AgentRow| query.search.as_ref().is_none_or(|search| search.matches(row.head.name.as_str()));
    let mut rows: Vec<AgentRow> = agents.into_iter().filter(passes).collect();
    rows.sort_unstable_by(|a, b| {
        let order = match query.sort {
            AgentSortKey::Name => Ordering::Equal,
            AgentSortKey::LastContact => a.head.last_contact_at.cmp(&b.head.last_contact_at),
            AgentSortKey::Updates => a.open.total.cmp(&b.open.total),
        };
        let order = order.then_with(|| a.head.name.cmp(&b.head.name)).then_with(|| a.head.agent.cmp(&b.head.agent));
        if query.reverse { order.reverse() } else { order }
    });
    let total = rows.len() as u64;
    let start = usize::try_from(query.page.offset(query.size)).unwrap_or(usize::MAX);
    AgentPage { items: rows.into_iter().skip(start).take(query.size.get() as usize).collect(), total }
}

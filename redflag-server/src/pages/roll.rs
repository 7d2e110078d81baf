//! The roll of all agents, for what depends on their derived status.
//!
//! A status depends on the time, so no store keeps or counts it (clause R6). The roll reads all heads in pages of
//! [`limits::PAGE_SIZE_MAX`]: one query per 500 agents, whatever the number of their updates.

use super::agent_row::Clock;
use redflag_core::{
    agent::{AgentStatus, AgentStatusWord},
    limits,
    query::{AgentQuery, AgentRow, PageNumber, PageSize},
    store::{Store, StoreError},
};

/// Every agent that passes `query`, in its order, with its status at `clock`; the query's page and size play no part.
pub(super) async fn call(store: &dyn Store, query: &AgentQuery, clock: Clock) -> Result<Vec<(AgentRow, AgentStatus)>, StoreError> {
    let mut roll = Vec::new();
    for number in 1.. {
        let query = AgentQuery { page: PageNumber::new(number)?, size: PageSize::new(limits::PAGE_SIZE_MAX)?, ..query.clone() };
        let page = store.agents(&query).await?;
        let last = page.items.len() < limits::PAGE_SIZE_MAX as usize;
        roll.extend(page.items.into_iter().map(|row| {
            let status = clock.status(&row.head);
            (row, status)
        }));
        if last {
            break;
        }
    }
    Ok(roll)
}

/// How many agents of a roll have each status, in the order of the words.
pub(super) fn counts(roll: &[(AgentRow, AgentStatus)]) -> impl Iterator<Item = (AgentStatusWord, u64)> {
    AgentStatusWord::ALL.iter().map(|word| (*word, roll.iter().filter(|(_, status)| status.status == *word).count() as u64))
}

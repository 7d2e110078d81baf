//! The agents a command is about.

use anyhow::Context as _;
use redflag_core::{
    Fleet,
    agent::AgentHead,
    ids::AgentId,
    limits,
    query::{AgentQuery, PageNumber, PageSize},
};

/// The one named, or all of them in the order of their names.
pub(crate) async fn chosen(fleet: &Fleet, only: Option<AgentId>) -> anyhow::Result<Vec<AgentHead>> {
    if let Some(agent) = only {
        let head = fleet.store().agent(agent).await?;
        return Ok(vec![head.with_context(|| format!("no agent {agent}"))?]);
    }
    let mut heads = Vec::new();
    for number in 1.. {
        let page = AgentQuery { page: PageNumber::new(number)?, size: PageSize::new(limits::PAGE_SIZE_MAX)?, ..AgentQuery::default() };
        let found = fleet.store().agents(&page).await?.items;
        if found.is_empty() {
            break;
        }
        heads.extend(found.into_iter().map(|row| row.head));
    }
    Ok(heads)
}

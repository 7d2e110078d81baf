//! What can be read of one agent, to be compared as one value.

use crate::{
    agent::AgentHead,
    batch::RejectedItem,
    command::record::CommandRecord,
    event::{EventKind, RecordedEvent},
    ids::{AgentId, BatchId, UpdateId},
    query::{
        BatchQuery, BatchRow, CommandQuery, PageNumber, PageSize, PageStart, StatusFilter, UpdateFilter, UpdateQuery, UpdateRow,
        UpdateStats,
    },
    report::StoredReport,
    state::VersionChange,
    store::{Store, StoreError},
};
use std::{collections::BTreeSet, fmt::Debug};

/// Of so many of an agent's newest batches the rejections and the history they caused are read, which takes a call each; a fault
/// can only have torn what was under way.
const RECENT: usize = 12;

/// What a store holds of one agent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) agent: AgentId,
    head: Option<AgentHead>,
    reports: Vec<StoredReport>,
    batches: Vec<BatchRow>,
    rejections: Vec<RejectedItem>,
    log: Vec<RecordedEvent>,
    states: Vec<UpdateRow>,
    stats: UpdateStats,
    history: Vec<VersionChange>,
    commands: Vec<CommandRecord>,
}

impl Image {
    pub(super) async fn of(store: &dyn Store, agent: AgentId) -> Result<Self, StoreError> {
        let batches = batches(store, agent).await?;
        let recent: Vec<BatchId> = batches.iter().take(RECENT).map(|row| row.record.receipt.batch).collect();
        let mut rejections = Vec::new();
        for batch in &recent {
            rejections.extend(store.rejections(agent, *batch).await?);
        }
        let log = store.replay(agent, 0, u32::MAX).await?;
        let installed = |recorded: &&RecordedEvent| {
            recent.contains(&recorded.batch) && matches!(recorded.event.kind, EventKind::InstalledObserved { .. })
        };
        let packages: BTreeSet<_> = log.iter().filter(installed).map(|recorded| recorded.event.package.clone()).collect();
        let mut history = Vec::new();
        for package in packages {
            history.extend(store.history(&UpdateId { agent, package }).await?);
        }
        let filter = UpdateFilter { status: StatusFilter::Any, agent: Some(agent), ..UpdateFilter::default() };
        Ok(Self {
            agent,
            head: store.agent(agent).await?,
            reports: store.reports(agent, u32::MAX).await?,
            states: states(store, &filter).await?,
            stats: store.stats(&filter).await?,
            batches,
            rejections,
            log,
            history,
            commands: commands(store, agent).await?,
        })
    }

    /// The stored batches with how many of their events were accepted.
    pub(super) fn batches(&self) -> Vec<(BatchId, u32)> {
        self.batches.iter().map(|row| (row.record.receipt.batch, row.record.receipt.accepted)).collect()
    }

    /// One line a value.
    pub(super) fn lines(&self) -> Vec<String> {
        fn all<T: Debug>(what: &str, values: &[T]) -> Vec<String> {
            values.iter().map(|value| format!("{what}: {value:?}")).collect()
        }
        [
            all("agent", std::slice::from_ref(&self.head)),
            all("report", &self.reports),
            all("batch", &self.batches),
            all("rejected", &self.rejections),
            all("log", &self.log),
            all("state", &self.states),
            all("stats", std::slice::from_ref(&self.stats)),
            all("history", &self.history),
            all("command", &self.commands),
        ]
        .concat()
    }
}

async fn batches(store: &dyn Store, agent: AgentId) -> Result<Vec<BatchRow>, StoreError> {
    let mut query = BatchQuery { agent: Some(agent), size: PageSize::MAX, ..BatchQuery::default() };
    let mut rows = Vec::new();
    loop {
        let page = store.batches(&query).await?;
        let end = page.items.is_empty() || (rows.len() + page.items.len()) as u64 >= page.total;
        rows.extend(page.items);
        if end {
            return Ok(rows);
        }
        query.page = PageNumber::new(query.page.get() + 1)?;
    }
}

async fn commands(store: &dyn Store, agent: AgentId) -> Result<Vec<CommandRecord>, StoreError> {
    let mut query = CommandQuery { agent: Some(agent), size: PageSize::MAX, ..CommandQuery::default() };
    let mut records = Vec::new();
    loop {
        let page = store.commands(&query).await?;
        records.extend(page.items.into_iter().map(|row| row.record));
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(records),
        }
    }
}

async fn states(store: &dyn Store, filter: &UpdateFilter) -> Result<Vec<UpdateRow>, StoreError> {
    let mut query = UpdateQuery { filter: filter.clone(), size: PageSize::MAX, ..UpdateQuery::default() };
    let mut rows = Vec::new();
    loop {
        let page = store.updates(&query).await?;
        rows.extend(page.items);
        match page.next {
            Some(next) => query.start = PageStart::After(next),
            None => return Ok(rows),
        }
    }
}

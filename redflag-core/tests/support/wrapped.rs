//! A store over the memory store in which single methods can be made wrong, for faults and mutants.

use async_trait::async_trait;
use redflag_core::{
    MemoryStore,
    agent::AgentHead,
    batch::{BatchRecord, RejectedItem},
    command::record::CommandRecord,
    event::RecordedEvent,
    feed::{FeedEntry, FeedPosition},
    ids::{AgentId, BatchId, CommandId, UpdateId},
    query::{
        AgentPage, AgentQuery, BatchPage, BatchQuery, CommandPage, CommandQuery, PackagePage, PackageQuery, TrendPoint, TrendQuery,
        UpdateFilter, UpdatePage, UpdateQuery, UpdateRow, UpdateStats,
    },
    rebuild::Derived,
    removal::RemovedAgent,
    report::StoredReport,
    state::{PackageState, VersionChange},
    store::{BatchStore, CommandStore, EventStore, Expected, Guarantees, Mode, Record, RecordStore, StateStore, StoreError},
    time::Timestamp,
    work::{Answer, UnitOfWork},
};
use std::fmt::Debug;

type Answered<T> = Result<T, StoreError>;

/// What a wrapper does otherwise; everything not named goes straight to the memory store.
#[async_trait]
pub(crate) trait Twist: Debug + Send + Sync {
    async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Answered<Answer> {
        memory.run(work, mode).await
    }
    fn asked(&self, query: &UpdateQuery) -> UpdateQuery {
        query.clone()
    }
    fn filter(&self, filter: &UpdateFilter) -> UpdateFilter {
        filter.clone()
    }
    fn update(&self, found: Option<UpdateRow>) -> Option<UpdateRow> {
        found
    }
    fn events(&self, found: Vec<RecordedEvent>) -> Vec<RecordedEvent> {
        found
    }
    fn agent(&self, found: Option<AgentHead>) -> Option<AgentHead> {
        found
    }
    fn agents(&self, found: AgentPage) -> AgentPage {
        found
    }
    fn record(&self, found: Option<Record>) -> Option<Record> {
        found
    }
    fn records(&self, found: Vec<(String, Record)>) -> Vec<(String, Record)> {
        found
    }
    fn batch(&self, found: Option<BatchRecord>) -> Option<BatchRecord> {
        found
    }
    fn rejections(&self, found: Vec<RejectedItem>) -> Vec<RejectedItem> {
        found
    }
    fn updates(&self, found: UpdatePage, _query: &UpdateQuery) -> UpdatePage {
        found
    }
    fn stats(&self, found: UpdateStats) -> UpdateStats {
        found
    }
    fn log(&self, found: Vec<RecordedEvent>) -> Vec<RecordedEvent> {
        found
    }
    fn batches(&self, found: BatchPage) -> BatchPage {
        found
    }
    fn history(&self, found: Vec<VersionChange>) -> Vec<VersionChange> {
        found
    }
    fn expected(&self, expected: Expected, _current: Option<u64>) -> Expected {
        expected
    }
    fn packages(&self, found: PackagePage, _query: &PackageQuery) -> PackagePage {
        found
    }
    fn trend(&self, found: Vec<TrendPoint>) -> Vec<TrendPoint> {
        found
    }
    fn derived(&self, found: Derived) -> Derived {
        found
    }
    fn removed_agents(&self, found: Vec<RemovedAgent>) -> Vec<RemovedAgent> {
        found
    }
    fn reports(&self, found: Vec<StoredReport>) -> Vec<StoredReport> {
        found
    }
    fn agent_batches(&self, found: Vec<BatchRecord>) -> Vec<BatchRecord> {
        found
    }
    fn bases(&self, found: Vec<PackageState>) -> Vec<PackageState> {
        found
    }
    async fn feed(&self, memory: &MemoryStore, after: FeedPosition, limit: u32) -> Answered<Vec<FeedEntry>> {
        memory.feed(after, limit).await
    }
    async fn feed_grown(&self, memory: &MemoryStore, after: FeedPosition) -> Answered<FeedPosition> {
        memory.feed_grown(after).await
    }
    fn batches_until(&self, found: u64) -> u64 {
        found
    }
    fn namespaces(&self, found: Vec<String>) -> Vec<String> {
        found
    }
    fn command(&self, found: Option<CommandRecord>) -> Option<CommandRecord> {
        found
    }
    fn commands(&self, found: CommandPage, _query: &CommandQuery) -> CommandPage {
        found
    }
    fn due_commands(&self, found: Vec<AgentId>) -> Vec<AgentId> {
        found
    }
    /// Whether a reopened store has lost everything.
    fn forgets(&self) -> bool {
        false
    }
}

#[derive(Debug)]
pub(crate) struct Wrapped<T> {
    pub(crate) memory: MemoryStore,
    pub(crate) twist: T,
}

impl<T> Wrapped<T> {
    pub(crate) fn new(twist: T) -> Self {
        Self { memory: MemoryStore::new(), twist }
    }
}

#[async_trait]
impl<T: Twist> BatchStore for Wrapped<T> {
    async fn run(&self, work: &UnitOfWork, mode: Mode) -> Answered<Answer> {
        self.twist.run(&self.memory, work, mode).await
    }
    async fn batch(&self, agent: AgentId, batch: BatchId) -> Answered<Option<BatchRecord>> {
        Ok(self.twist.batch(self.memory.batch(agent, batch).await?))
    }
    async fn rejections(&self, agent: AgentId, batch: BatchId) -> Answered<Vec<RejectedItem>> {
        Ok(self.twist.rejections(self.memory.rejections(agent, batch).await?))
    }
    fn guarantees(&self) -> Guarantees {
        self.memory.guarantees()
    }
}

#[async_trait]
impl<T: Twist> StateStore for Wrapped<T> {
    async fn update(&self, id: &UpdateId) -> Answered<Option<UpdateRow>> {
        Ok(self.twist.update(self.memory.update(id).await?))
    }
    async fn updates(&self, query: &UpdateQuery) -> Answered<UpdatePage> {
        let asked = self.twist.asked(&UpdateQuery { filter: self.twist.filter(&query.filter), ..query.clone() });
        Ok(self.twist.updates(self.memory.updates(&asked).await?, query))
    }
    async fn stats(&self, filter: &UpdateFilter) -> Answered<UpdateStats> {
        Ok(self.twist.stats(self.memory.stats(&self.twist.filter(filter)).await?))
    }
    async fn history(&self, id: &UpdateId) -> Answered<Vec<VersionChange>> {
        Ok(self.twist.history(self.memory.history(id).await?))
    }
    async fn agent(&self, agent: AgentId) -> Answered<Option<AgentHead>> {
        Ok(self.twist.agent(self.memory.agent(agent).await?))
    }
    async fn agents(&self, query: &AgentQuery) -> Answered<AgentPage> {
        Ok(self.twist.agents(self.memory.agents(query).await?))
    }
    async fn packages(&self, query: &PackageQuery) -> Answered<PackagePage> {
        Ok(self.twist.packages(self.memory.packages(query).await?, query))
    }
    async fn trend(&self, query: &TrendQuery) -> Answered<Vec<TrendPoint>> {
        Ok(self.twist.trend(self.memory.trend(query).await?))
    }
    async fn derived(&self, agent: AgentId) -> Answered<Option<Derived>> {
        Ok(self.memory.derived(agent).await?.map(|found| self.twist.derived(found)))
    }
    async fn removed_agents(&self, after: Option<AgentId>, limit: u32) -> Answered<Vec<RemovedAgent>> {
        Ok(self.twist.removed_agents(self.memory.removed_agents(after, limit).await?))
    }
}

#[async_trait]
impl<T: Twist> EventStore for Wrapped<T> {
    async fn events(&self, id: &UpdateId) -> Answered<Vec<RecordedEvent>> {
        Ok(self.twist.events(self.memory.events(id).await?))
    }
    async fn replay(&self, agent: AgentId, after: u64, limit: u32) -> Answered<Vec<RecordedEvent>> {
        Ok(self.twist.log(self.memory.replay(agent, after, limit).await?))
    }
    async fn batches(&self, query: &BatchQuery) -> Answered<BatchPage> {
        Ok(self.twist.batches(self.memory.batches(query).await?))
    }
    async fn reports(&self, agent: AgentId, limit: u32) -> Answered<Vec<StoredReport>> {
        Ok(self.twist.reports(self.memory.reports(agent, limit).await?))
    }
    async fn agent_batches(&self, agent: AgentId, after: u64, limit: u32) -> Answered<Vec<BatchRecord>> {
        Ok(self.twist.agent_batches(self.memory.agent_batches(agent, after, limit).await?))
    }
    async fn bases(&self, agent: AgentId) -> Answered<Vec<PackageState>> {
        Ok(self.twist.bases(self.memory.bases(agent).await?))
    }
    async fn feed(&self, after: FeedPosition, limit: u32) -> Answered<Vec<FeedEntry>> {
        self.twist.feed(&self.memory, after, limit).await
    }
    async fn feed_grown(&self, after: FeedPosition) -> Answered<FeedPosition> {
        self.twist.feed_grown(&self.memory, after).await
    }
    async fn batches_until(&self, agent: AgentId, position: FeedPosition) -> Answered<u64> {
        Ok(self.twist.batches_until(self.memory.batches_until(agent, position).await?))
    }
}

#[async_trait]
impl<T: Twist> CommandStore for Wrapped<T> {
    async fn command(&self, agent: AgentId, command: CommandId) -> Answered<Option<CommandRecord>> {
        Ok(self.twist.command(self.memory.command(agent, command).await?))
    }
    async fn commands(&self, query: &CommandQuery) -> Answered<CommandPage> {
        Ok(self.twist.commands(self.memory.commands(query).await?, query))
    }
    async fn due_commands(&self, at: Timestamp, after: Option<AgentId>, limit: u32) -> Answered<Vec<AgentId>> {
        Ok(self.twist.due_commands(self.memory.due_commands(at, after, limit).await?))
    }
}

#[async_trait]
impl<T: Twist> RecordStore for Wrapped<T> {
    async fn get(&self, namespace: &str, key: &str) -> Answered<Option<Record>> {
        Ok(self.twist.record(self.memory.get(namespace, key).await?))
    }
    async fn put(&self, namespace: &str, key: &str, value: &str, expected: Expected) -> Answered<Option<u64>> {
        let current = self.memory.get(namespace, key).await?.map(|record| record.revision);
        self.memory.put(namespace, key, value, self.twist.expected(expected, current)).await
    }
    async fn delete(&self, namespace: &str, key: &str, revision: u64) -> Answered<bool> {
        self.memory.delete(namespace, key, revision).await
    }
    async fn list(&self, namespace: &str, after: Option<&str>, limit: u32) -> Answered<Vec<(String, Record)>> {
        Ok(self.twist.records(self.memory.list(namespace, after, limit).await?))
    }
    async fn namespaces(&self, after: Option<&str>, limit: u32) -> Answered<Vec<String>> {
        Ok(self.twist.namespaces(self.memory.namespaces(after, limit).await?))
    }
}

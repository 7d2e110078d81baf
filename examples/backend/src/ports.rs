//! The ports of `redflag_core::store`: each method hands owned copies of what it was given to a transaction.

use crate::{commands, feed, lists, log, records, store::RedbStore};
use async_trait::async_trait;
use redflag_core::{
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
    store::{BatchStore, CommandStore, Durability, EventStore, Expected, Guarantees, Mode, Record, RecordStore, StateStore, StoreError},
    time::Timestamp,
    work::{Answer, UnitOfWork},
};

#[async_trait]
impl BatchStore for RedbStore {
    async fn run(&self, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
        self.run_unit(work.clone(), mode).await
    }

    async fn batch(&self, agent: AgentId, batch: BatchId) -> Result<Option<BatchRecord>, StoreError> {
        self.read(move |transaction| log::batch(transaction, agent, batch)).await
    }

    async fn rejections(&self, agent: AgentId, batch: BatchId) -> Result<Vec<RejectedItem>, StoreError> {
        self.read(move |transaction| log::rejections(transaction, agent, batch)).await
    }

    fn guarantees(&self) -> Guarantees {
        // Every write transaction is durable when its commit returns (see `store::write`).
        Guarantees { durable_on_ack: Durability::Power }
    }
}

#[async_trait]
impl StateStore for RedbStore {
    async fn update(&self, id: &UpdateId) -> Result<Option<UpdateRow>, StoreError> {
        let id = id.clone();
        self.read(move |transaction| lists::update(transaction, &id)).await
    }

    async fn updates(&self, query: &UpdateQuery) -> Result<UpdatePage, StoreError> {
        let query = query.clone();
        self.read(move |transaction| lists::updates(transaction, &query)).await
    }

    async fn stats(&self, filter: &UpdateFilter) -> Result<UpdateStats, StoreError> {
        let filter = filter.clone();
        self.read(move |transaction| lists::stats(transaction, &filter)).await
    }

    async fn history(&self, id: &UpdateId) -> Result<Vec<VersionChange>, StoreError> {
        let id = id.clone();
        self.read(move |transaction| lists::history(transaction, &id)).await
    }

    async fn agent(&self, agent: AgentId) -> Result<Option<AgentHead>, StoreError> {
        self.read(move |transaction| lists::agent(transaction, agent)).await
    }

    async fn agents(&self, query: &AgentQuery) -> Result<AgentPage, StoreError> {
        let query = query.clone();
        self.read(move |transaction| lists::agents(transaction, &query)).await
    }

    async fn packages(&self, query: &PackageQuery) -> Result<PackagePage, StoreError> {
        let query = query.clone();
        self.read(move |transaction| lists::packages(transaction, &query)).await
    }

    async fn trend(&self, query: &TrendQuery) -> Result<Vec<TrendPoint>, StoreError> {
        let query = *query;
        self.read(move |transaction| lists::trend(transaction, &query)).await
    }

    async fn derived(&self, agent: AgentId) -> Result<Option<Derived>, StoreError> {
        self.read(move |transaction| lists::derived(transaction, agent)).await
    }

    async fn removed_agents(&self, after: Option<AgentId>, limit: u32) -> Result<Vec<RemovedAgent>, StoreError> {
        self.read(move |transaction| lists::removed_agents(transaction, after, limit)).await
    }
}

#[async_trait]
impl EventStore for RedbStore {
    async fn events(&self, id: &UpdateId) -> Result<Vec<RecordedEvent>, StoreError> {
        let id = id.clone();
        self.read(move |transaction| log::events(transaction, &id)).await
    }

    async fn replay(&self, agent: AgentId, after: u64, limit: u32) -> Result<Vec<RecordedEvent>, StoreError> {
        self.read(move |transaction| log::replay(transaction, agent, after, limit)).await
    }

    async fn batches(&self, query: &BatchQuery) -> Result<BatchPage, StoreError> {
        let query = query.clone();
        self.read(move |transaction| log::batches(transaction, &query)).await
    }

    async fn reports(&self, agent: AgentId, limit: u32) -> Result<Vec<StoredReport>, StoreError> {
        self.read(move |transaction| log::reports(transaction, agent, limit)).await
    }

    async fn agent_batches(&self, agent: AgentId, after: u64, limit: u32) -> Result<Vec<BatchRecord>, StoreError> {
        self.read(move |transaction| log::agent_batches(transaction, agent, after, limit)).await
    }

    async fn bases(&self, agent: AgentId) -> Result<Vec<PackageState>, StoreError> {
        self.read(move |transaction| log::bases(transaction, agent)).await
    }

    async fn feed(&self, after: FeedPosition, limit: u32) -> Result<Vec<FeedEntry>, StoreError> {
        self.read(move |transaction| feed::entries(transaction, after, limit)).await
    }

    async fn feed_grown(&self, after: FeedPosition) -> Result<FeedPosition, StoreError> {
        loop {
            // Listens before it looks, so that no commit falls between.
            let committed = self.committed();
            let newest = self.read(feed::newest).await?;
            if newest > after {
                return Ok(newest);
            }
            committed.await;
        }
    }

    async fn batches_until(&self, agent: AgentId, position: FeedPosition) -> Result<u64, StoreError> {
        self.read(move |transaction| feed::batches_until(transaction, agent, position)).await
    }
}

#[async_trait]
impl CommandStore for RedbStore {
    async fn command(&self, agent: AgentId, command: CommandId) -> Result<Option<CommandRecord>, StoreError> {
        self.read(move |transaction| commands::one(transaction, agent, command)).await
    }

    async fn commands(&self, query: &CommandQuery) -> Result<CommandPage, StoreError> {
        let query = *query;
        self.read(move |transaction| commands::page(transaction, &query)).await
    }

    async fn due_commands(&self, at: Timestamp, after: Option<AgentId>, limit: u32) -> Result<Vec<AgentId>, StoreError> {
        self.read(move |transaction| commands::due(transaction, at, after, limit)).await
    }
}

#[async_trait]
impl RecordStore for RedbStore {
    async fn get(&self, namespace: &str, key: &str) -> Result<Option<Record>, StoreError> {
        let (namespace, key) = (namespace.to_owned(), key.to_owned());
        self.read(move |transaction| records::get(transaction, &namespace, &key)).await
    }

    async fn put(&self, namespace: &str, key: &str, value: &str, expected: Expected) -> Result<Option<u64>, StoreError> {
        let (namespace, key, value) = (namespace.to_owned(), key.to_owned(), value.to_owned());
        self.write(Mode::Commit, move |transaction| records::put(transaction, (&namespace, &key), &value, expected)).await
    }

    async fn delete(&self, namespace: &str, key: &str, revision: u64) -> Result<bool, StoreError> {
        let (namespace, key) = (namespace.to_owned(), key.to_owned());
        self.write(Mode::Commit, move |transaction| records::delete(transaction, (&namespace, &key), revision)).await
    }

    async fn list(&self, namespace: &str, after: Option<&str>, limit: u32) -> Result<Vec<(String, Record)>, StoreError> {
        let (namespace, after) = (namespace.to_owned(), after.map(str::to_owned));
        self.read(move |transaction| records::list(transaction, &namespace, after.as_deref(), limit)).await
    }

    async fn namespaces(&self, after: Option<&str>, limit: u32) -> Result<Vec<String>, StoreError> {
        let after = after.map(str::to_owned);
        self.read(move |transaction| records::namespaces(transaction, after.as_deref(), limit)).await
    }
}

//! The four ports of `redflag_core::store`: each method hands owned copies of what it was given to a transaction.

use crate::{lists, log, records, store::RedbStore};
use async_trait::async_trait;
use redflag_core::{
    agent::AgentHead,
    batch::{BatchRecord, RejectedItem},
    event::RecordedEvent,
    feed::{FeedEntry, FeedPosition},
    ids::{AgentId, BatchId, UpdateId},
    query::{
        AgentPage, AgentQuery, BatchPage, BatchQuery, PackagePage, PackageQuery, TrendPoint, TrendQuery, UpdateFilter, UpdatePage,
        UpdateQuery, UpdateRow, UpdateStats,
    },
    rebuild::Derived,
    removal::RemovedAgent,
    report::StoredReport,
    state::{PackageState, VersionChange},
    store::{BatchStore, Durability, EventStore, Expected, Guarantees, Mode, Record, RecordStore, StateStore, StoreError, StoreErrorKind},
    work::{Answer, UnitOfWork},
};

/// What this backend does not do yet.
fn not_yet() -> StoreError {
    StoreError::caused(StoreErrorKind::Unavailable, "this backend cannot do that yet")
}

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
        self.read(move |transaction| log::history(transaction, &id)).await
    }

    async fn agent(&self, agent: AgentId) -> Result<Option<AgentHead>, StoreError> {
        self.read(move |transaction| lists::agent(transaction, agent)).await
    }

    async fn agents(&self, query: &AgentQuery) -> Result<AgentPage, StoreError> {
        let query = query.clone();
        self.read(move |transaction| lists::agents(transaction, &query)).await
    }

    async fn packages(&self, _query: &PackageQuery) -> Result<PackagePage, StoreError> {
        Err(not_yet())
    }

    async fn trend(&self, _query: &TrendQuery) -> Result<Vec<TrendPoint>, StoreError> {
        Err(not_yet())
    }

    async fn derived(&self, _agent: AgentId) -> Result<Option<Derived>, StoreError> {
        Err(not_yet())
    }

    async fn removed_agents(&self, _after: Option<AgentId>, _limit: u32) -> Result<Vec<RemovedAgent>, StoreError> {
        Err(not_yet())
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

    async fn agent_batches(&self, _agent: AgentId, _after: u64, _limit: u32) -> Result<Vec<BatchRecord>, StoreError> {
        Err(not_yet())
    }

    async fn bases(&self, _agent: AgentId) -> Result<Vec<PackageState>, StoreError> {
        Err(not_yet())
    }

    async fn feed(&self, _after: FeedPosition, _limit: u32) -> Result<Vec<FeedEntry>, StoreError> {
        Err(not_yet())
    }

    async fn feed_grown(&self, _after: FeedPosition) -> Result<FeedPosition, StoreError> {
        Err(not_yet())
    }

    async fn batches_until(&self, _agent: AgentId, _position: FeedPosition) -> Result<u64, StoreError> {
        Err(not_yet())
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

    async fn namespaces(&self, _after: Option<&str>, _limit: u32) -> Result<Vec<String>, StoreError> {
        Err(not_yet())
    }
}

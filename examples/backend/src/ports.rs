//! The four ports of `redflag_core::store`: each method hands owned copies of what it was given to a transaction.

use crate::{lists, log, records, store::RedbStore};
use async_trait::async_trait;
use redflag_core::{
    agent::AgentHead,
    batch::{BatchRecord, RejectedItem},
    event::RecordedEvent,
    ids::{AgentId, BatchId, UpdateId},
    query::{AgentPage, AgentQuery, BatchPage, BatchQuery, UpdateFilter, UpdatePage, UpdateQuery, UpdateRow, UpdateStats},
    report::StoredReport,
    state::VersionChange,
    store::{BatchStore, Durability, EventStore, Expected, Guarantees, Mode, Record, RecordStore, StateStore, StoreError},
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
        self.read(move |transaction| log::history(transaction, &id)).await
    }

    async fn agent(&self, agent: AgentId) -> Result<Option<AgentHead>, StoreError> {
        self.read(move |transaction| lists::agent(transaction, agent)).await
    }

    async fn agents(&self, query: &AgentQuery) -> Result<AgentPage, StoreError> {
        let query = query.clone();
        self.read(move |transaction| lists::agents(transaction, &query)).await
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
}

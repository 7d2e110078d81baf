//! A store that fails on purpose: scripted faults over any backend, and calls dropped after some polls.

use crate::{
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
    store::{
        BatchStore, CommandStore, EventStore, Expected, Guarantees, Mode, Record, RecordStore, StateStore, Store, StoreError,
        StoreErrorKind,
    },
    time::Timestamp,
    work::{Answer, UnitOfWork},
};
use async_trait::async_trait;
use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
};

/// What goes wrong with one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The store cannot be reached; nothing happens.
    Unavailable,
    /// The write is committed, and the answer is lost: the caller gets [`StoreErrorKind::OutcomeUnknown`].
    AckLost,
    /// The write runs up to its commit, is rolled back, and runs again, as after a serialisation failure.
    Conflict,
}

/// A store over another one whose writes (units of work, and changes of records) meet the faults of a script, one each, in order;
/// after the script's end nothing is in the way any more. Reading never fails.
#[derive(Debug)]
pub struct Faulty {
    store: Arc<dyn Store>,
    script: Mutex<VecDeque<Fault>>,
}

impl Faulty {
    /// `store` with these faults before it.
    pub fn new(store: Arc<dyn Store>, script: impl IntoIterator<Item = Fault>) -> Self {
        Self { store, script: Mutex::new(script.into_iter().collect()) }
    }

    /// Adds faults at the end of the script.
    pub fn then(&self, faults: impl IntoIterator<Item = Fault>) {
        self.script.lock().unwrap_or_else(PoisonError::into_inner).extend(faults);
    }

    fn next(&self) -> Option<Fault> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// A write of a record under the next fault; records have no rehearsal, so a conflict has nothing to run twice.
    async fn record<T>(&self, write: impl Future<Output = Result<T, StoreError>> + Send) -> Result<T, StoreError> {
        match self.next() {
            Some(Fault::Unavailable) => Err(StoreError::new(StoreErrorKind::Unavailable)),
            Some(Fault::AckLost) => write.await.and(Err(StoreError::new(StoreErrorKind::OutcomeUnknown))),
            Some(Fault::Conflict) | None => write.await,
        }
    }
}

/// Polls `future` up to `polls` times and drops it; answers its result if it came in time.
pub async fn dropped_after<T>(future: impl Future<Output = T>, polls: u32) -> Option<T> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(result) => Poll::Ready(Some(result)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

#[async_trait]
impl BatchStore for Faulty {
    async fn run(&self, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
        match self.next() {
            Some(Fault::Unavailable) => Err(StoreError::new(StoreErrorKind::Unavailable)),
            Some(Fault::AckLost) => self.store.run(work, mode).await.and(Err(StoreError::new(StoreErrorKind::OutcomeUnknown))),
            Some(Fault::Conflict) => {
                self.store.run(work, Mode::Rehearse).await?;
                self.store.run(work, mode).await
            }
            None => self.store.run(work, mode).await,
        }
    }

    async fn batch(&self, agent: AgentId, batch: BatchId) -> Result<Option<BatchRecord>, StoreError> {
        self.store.batch(agent, batch).await
    }

    async fn rejections(&self, agent: AgentId, batch: BatchId) -> Result<Vec<RejectedItem>, StoreError> {
        self.store.rejections(agent, batch).await
    }

    fn guarantees(&self) -> Guarantees {
        self.store.guarantees()
    }
}

#[async_trait]
impl StateStore for Faulty {
    async fn update(&self, id: &UpdateId) -> Result<Option<UpdateRow>, StoreError> {
        self.store.update(id).await
    }

    async fn updates(&self, query: &UpdateQuery) -> Result<UpdatePage, StoreError> {
        self.store.updates(query).await
    }

    async fn stats(&self, filter: &UpdateFilter) -> Result<UpdateStats, StoreError> {
        self.store.stats(filter).await
    }

    async fn history(&self, id: &UpdateId) -> Result<Vec<VersionChange>, StoreError> {
        self.store.history(id).await
    }

    async fn agent(&self, agent: AgentId) -> Result<Option<AgentHead>, StoreError> {
        self.store.agent(agent).await
    }

    async fn agents(&self, query: &AgentQuery) -> Result<AgentPage, StoreError> {
        self.store.agents(query).await
    }

    async fn packages(&self, query: &PackageQuery) -> Result<PackagePage, StoreError> {
        self.store.packages(query).await
    }

    async fn trend(&self, query: &TrendQuery) -> Result<Vec<TrendPoint>, StoreError> {
        self.store.trend(query).await
    }

    async fn derived(&self, agent: AgentId) -> Result<Option<Derived>, StoreError> {
        self.store.derived(agent).await
    }

    async fn removed_agents(&self, after: Option<AgentId>, limit: u32) -> Result<Vec<RemovedAgent>, StoreError> {
        self.store.removed_agents(after, limit).await
    }
}

#[async_trait]
impl EventStore for Faulty {
    async fn events(&self, id: &UpdateId) -> Result<Vec<RecordedEvent>, StoreError> {
        self.store.events(id).await
    }

    async fn replay(&self, agent: AgentId, after: u64, limit: u32) -> Result<Vec<RecordedEvent>, StoreError> {
        self.store.replay(agent, after, limit).await
    }

    async fn batches(&self, query: &BatchQuery) -> Result<BatchPage, StoreError> {
        self.store.batches(query).await
    }

    async fn reports(&self, agent: AgentId, limit: u32) -> Result<Vec<StoredReport>, StoreError> {
        self.store.reports(agent, limit).await
    }

    async fn agent_batches(&self, agent: AgentId, after: u64, limit: u32) -> Result<Vec<BatchRecord>, StoreError> {
        self.store.agent_batches(agent, after, limit).await
    }

    async fn bases(&self, agent: AgentId) -> Result<Vec<PackageState>, StoreError> {
        self.store.bases(agent).await
    }

    async fn feed(&self, after: FeedPosition, limit: u32) -> Result<Vec<FeedEntry>, StoreError> {
        self.store.feed(after, limit).await
    }

    async fn feed_grown(&self, after: FeedPosition) -> Result<FeedPosition, StoreError> {
        self.store.feed_grown(after).await
    }

    async fn batches_until(&self, agent: AgentId, position: FeedPosition) -> Result<u64, StoreError> {
        self.store.batches_until(agent, position).await
    }
}

#[async_trait]
impl CommandStore for Faulty {
    async fn command(&self, agent: AgentId, command: CommandId) -> Result<Option<CommandRecord>, StoreError> {
        self.store.command(agent, command).await
    }

    async fn commands(&self, query: &CommandQuery) -> Result<CommandPage, StoreError> {
        self.store.commands(query).await
    }

    async fn due_commands(&self, at: Timestamp, after: Option<AgentId>, limit: u32) -> Result<Vec<AgentId>, StoreError> {
        self.store.due_commands(at, after, limit).await
    }
}

#[async_trait]
impl RecordStore for Faulty {
    async fn get(&self, namespace: &str, key: &str) -> Result<Option<Record>, StoreError> {
        self.store.get(namespace, key).await
    }

    async fn put(&self, namespace: &str, key: &str, value: &str, expected: Expected) -> Result<Option<u64>, StoreError> {
        self.record(self.store.put(namespace, key, value, expected)).await
    }

    async fn delete(&self, namespace: &str, key: &str, revision: u64) -> Result<bool, StoreError> {
        self.record(self.store.delete(namespace, key, revision)).await
    }

    async fn list(&self, namespace: &str, after: Option<&str>, limit: u32) -> Result<Vec<(String, Record)>, StoreError> {
        self.store.list(namespace, after, limit).await
    }

    async fn namespaces(&self, after: Option<&str>, limit: u32) -> Result<Vec<String>, StoreError> {
        self.store.namespaces(after, limit).await
    }
}

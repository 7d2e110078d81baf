//! The memory store: the reference backend, for tests and for embedders who need no durability.

mod stream;

use crate::{
    agent::AgentHead,
    batch::{BatchRecord, RejectedItem},
    command::record::CommandRecord,
    counters::CounterKey,
    event::RecordedEvent,
    feed::{FeedEntry, FeedPosition, Tombstone},
    ids::{AgentId, BatchId, CommandId, Digest, UpdateId},
    names::Text,
    query::{
        self, AgentPage, AgentQuery, AgentRow, BatchPage, BatchQuery, BatchRow, CommandPage, CommandQuery, CommandRow, PackagePage,
        PackageQuery, TrendPoint, TrendQuery, UpdateFilter, UpdatePage, UpdateQuery, UpdateRow, UpdateStats,
    },
    rebuild::Derived,
    removal::RemovedAgent,
    report::StoredReport,
    state::{PackageState, VersionChange},
    store::{
        BatchStore, CommandStore, Durability, EventStore, Expected, Guarantees, Mode, Record, RecordStore, StateStore, StoreError,
        StoreErrorKind,
    },
    time::Timestamp,
    work::{Answer, Changes, Loaded, Needs, UnitOfWork},
};
use async_trait::async_trait;
use std::{
    collections::{BTreeMap, HashMap},
    future::poll_fn,
    sync::{Mutex, MutexGuard},
    task::{Poll, Waker},
};
use stream::Stream;

/// A fleet in memory. Nothing survives its end.
#[derive(Debug, Default)]
pub struct MemoryStore {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    agents: BTreeMap<AgentId, Stream>,
    removed: BTreeMap<AgentId, RemovedAgent>,
    /// Every batch by agent and number; position n stands at index n - 1.
    feed: Vec<(AgentId, u64)>,
    /// Digests of batches whose records are gone.
    tombstones: HashMap<(AgentId, u64), Digest>,
    /// Whoever waits for the feed to go on.
    waiting: Vec<Waker>,
    records: BTreeMap<(String, String), Record>,
}

impl MemoryStore {
    /// An empty fleet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing between taking the lock and giving it back panics with the data half written.
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn of_agent<T>(&self, agent: AgentId, read: impl FnOnce(&Stream) -> T) -> Option<T> {
        self.lock().agents.get(&agent).map(read)
    }
}

#[async_trait]
impl BatchStore for MemoryStore {
    async fn run(&self, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
        let mut inner = self.lock();
        let decided = work.decide(&inner.load(&work.needs()))?;
        if mode == Mode::Commit {
            inner.write(work.needs().agent, decided.changes);
        }
        Ok(decided.answer)
    }

    async fn batch(&self, agent: AgentId, batch: BatchId) -> Result<Option<BatchRecord>, StoreError> {
        Ok(self.of_agent(agent, |stream| stream.batch(batch)).flatten())
    }

    async fn rejections(&self, agent: AgentId, batch: BatchId) -> Result<Vec<RejectedItem>, StoreError> {
        let of_batch = |stream: &Stream| stream.rejections.iter().filter(|item| item.batch == batch).cloned().collect();
        Ok(self.of_agent(agent, of_batch).unwrap_or_default())
    }

    fn guarantees(&self) -> Guarantees {
        Guarantees { durable_on_ack: Durability::None }
    }
}

#[async_trait]
impl StateStore for MemoryStore {
    async fn update(&self, id: &UpdateId) -> Result<Option<UpdateRow>, StoreError> {
        let row = |stream: &Stream| {
            let state = stream.states.get(&id.package)?.clone();
            Some(UpdateRow { agent: id.agent, agent_name: stream.head.name.clone(), state })
        };
        Ok(self.of_agent(id.agent, row).flatten())
    }

    async fn updates(&self, query: &UpdateQuery) -> Result<UpdatePage, StoreError> {
        let inner = self.lock();
        Ok(query::evaluate(inner.states(), query)?)
    }

    async fn stats(&self, filter: &UpdateFilter) -> Result<UpdateStats, StoreError> {
        let inner = self.lock();
        let mut stats = UpdateStats::default();
        for (agent, _, state) in inner.states() {
            if filter.matches(agent, state) {
                stats.add(&CounterKey::of(state), 1);
            }
        }
        Ok(stats)
    }

    async fn history(&self, id: &UpdateId) -> Result<Vec<VersionChange>, StoreError> {
        let of_package = |stream: &Stream| stream.history.iter().filter(|change| change.package == id.package).cloned().collect();
        Ok(self.of_agent(id.agent, of_package).unwrap_or_default())
    }

    async fn agent(&self, agent: AgentId) -> Result<Option<AgentHead>, StoreError> {
        Ok(self.of_agent(agent, |stream| stream.head.clone()))
    }

    async fn agents(&self, query: &AgentQuery) -> Result<AgentPage, StoreError> {
        let inner = self.lock();
        let rows = inner.agents.values().map(|stream| AgentRow { head: stream.head.clone(), open: stream.open_stats() });
        Ok(query::evaluate_agents(rows, query))
    }

    async fn packages(&self, query: &PackageQuery) -> Result<PackagePage, StoreError> {
        let inner = self.lock();
        Ok(query::evaluate_packages(inner.states().map(|(agent, _, state)| (agent, state)), query))
    }

    async fn trend(&self, query: &TrendQuery) -> Result<Vec<TrendPoint>, StoreError> {
        let inner = self.lock();
        let wanted = inner.agents.iter().filter(|(agent, _)| query.agent().is_none_or(|wanted| wanted == **agent));
        Ok(query::evaluate_trend(wanted.flat_map(|(_, stream)| stream.open.sums()), query))
    }

    async fn derived(&self, agent: AgentId) -> Result<Option<Derived>, StoreError> {
        Ok(self.of_agent(agent, Stream::derived))
    }

    async fn removed_agents(&self, after: Option<AgentId>, limit: u32) -> Result<Vec<RemovedAgent>, StoreError> {
        let inner = self.lock();
        let later = inner.removed.values().filter(|removed| after.is_none_or(|after| removed.agent > after));
        Ok(later.take(limit as usize).cloned().collect())
    }
}

impl Inner {
    fn load(&self, needs: &Needs) -> Loaded {
        match self.agents.get(&needs.agent) {
            Some(stream) => stream.load(needs),
            None => Loaded { removed: self.removed.get(&needs.agent).cloned(), ..Loaded::default() },
        }
    }

    fn write(&mut self, agent: AgentId, changes: Changes) {
        let known = |tombstone: &Tombstone| ((agent, tombstone.number), tombstone.digest);
        self.tombstones.extend(changes.tombstones.iter().map(known));
        let new = if changes.removed.is_none() && changes.pruning.is_none() { &*changes.tombstones } else { &[] };
        self.feed.extend(new.iter().map(|tombstone| (agent, tombstone.number)));
        self.feed.extend(changes.batches.iter().map(|record| (agent, record.receipt.number)));
        self.waiting.drain(..).for_each(Waker::wake);
        if let Some(removed) = changes.removed {
            self.agents.remove(&agent);
            self.removed.insert(agent, removed);
            return;
        }
        match (self.agents.get_mut(&agent), &changes.head) {
            (Some(stream), _) => stream.write(changes),
            (None, Some(head)) => {
                let mut stream = Stream::new(head.clone());
                stream.write(changes);
                self.agents.insert(agent, stream);
            }
            // Nothing but feed entries is written of an agent that is not there.
            (None, None) => {}
        }
    }

    fn entry(&self, index: usize) -> Option<FeedEntry> {
        let (agent, number) = *self.feed.get(index)?;
        let record = self.agents.get(&agent).and_then(|stream| stream.batches_after(number - 1).first());
        let record = record.filter(|record| record.receipt.number == number).cloned();
        let digest = record.as_ref().map(BatchRecord::feed_digest).or_else(|| self.tombstones.get(&(agent, number)).copied())?;
        Some(FeedEntry { position: FeedPosition(index as u64 + 1), agent, number, digest, record })
    }

    fn states(&self) -> impl Iterator<Item = (AgentId, &Text, &PackageState)> {
        self.agents.iter().flat_map(|(agent, stream)| stream.states.values().map(|state| (*agent, &stream.head.name, state)))
    }
}

#[async_trait]
impl EventStore for MemoryStore {
    async fn events(&self, id: &UpdateId) -> Result<Vec<RecordedEvent>, StoreError> {
        let of_package = |stream: &Stream| stream.events.iter().filter(|event| event.event.package == id.package).cloned().collect();
        Ok(self.of_agent(id.agent, of_package).unwrap_or_default())
    }

    async fn replay(&self, agent: AgentId, after: u64, limit: u32) -> Result<Vec<RecordedEvent>, StoreError> {
        let later = |stream: &Stream| stream.events_after(after).iter().take(limit as usize).cloned().collect();
        Ok(self.of_agent(agent, later).unwrap_or_default())
    }

    async fn batches(&self, query: &BatchQuery) -> Result<BatchPage, StoreError> {
        let inner = self.lock();
        let passes = |row: &BatchRow| {
            query.agent.is_none_or(|agent| agent == row.record.receipt.agent) && (!query.with_rejections || row.record.receipt.rejected > 0)
        };
        let rows = inner.agents.values().flat_map(|stream| {
            stream.batches.iter().map(|record| BatchRow { agent_name: stream.head.name.clone(), record: record.clone() })
        });
        let mut rows: Vec<_> = rows.filter(passes).collect();
        let newest_first = |row: &BatchRow| {
            let receipt = &row.record.receipt;
            std::cmp::Reverse((receipt.received_at, receipt.agent, receipt.number))
        };
        rows.sort_unstable_by_key(newest_first);
        let total = rows.len() as u64;
        let start = usize::try_from(query.page.offset(query.size)).unwrap_or(usize::MAX);
        Ok(BatchPage { items: rows.into_iter().skip(start).take(query.size.get() as usize).collect(), total })
    }

    async fn reports(&self, agent: AgentId, limit: u32) -> Result<Vec<StoredReport>, StoreError> {
        let newest = |stream: &Stream| stream.reports.iter().rev().take(limit as usize).cloned().collect();
        Ok(self.of_agent(agent, newest).unwrap_or_default())
    }

    async fn agent_batches(&self, agent: AgentId, after: u64, limit: u32) -> Result<Vec<BatchRecord>, StoreError> {
        let later = |stream: &Stream| stream.batches_after(after).iter().take(limit as usize).cloned().collect();
        Ok(self.of_agent(agent, later).unwrap_or_default())
    }

    async fn bases(&self, agent: AgentId) -> Result<Vec<PackageState>, StoreError> {
        Ok(self.of_agent(agent, |stream| stream.bases.values().cloned().collect()).unwrap_or_default())
    }

    async fn feed(&self, after: FeedPosition, limit: u32) -> Result<Vec<FeedEntry>, StoreError> {
        let inner = self.lock();
        let start = usize::try_from(after.0).unwrap_or(usize::MAX).min(inner.feed.len());
        let end = start.saturating_add(limit as usize).min(inner.feed.len());
        let lost = || StoreError::caused(StoreErrorKind::Corrupt, "a feed entry without record and tombstone");
        (start..end).map(|index| inner.entry(index).ok_or_else(lost)).collect()
    }

    async fn feed_grown(&self, after: FeedPosition) -> Result<FeedPosition, StoreError> {
        poll_fn(|context| {
            let mut inner = self.lock();
            let newest = FeedPosition(inner.feed.len() as u64);
            if newest > after {
                return Poll::Ready(Ok(newest));
            }
            if !inner.waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                inner.waiting.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await
    }

    async fn batches_until(&self, agent: AgentId, position: FeedPosition) -> Result<u64, StoreError> {
        let inner = self.lock();
        let end = usize::try_from(position.0).unwrap_or(usize::MAX).min(inner.feed.len());
        Ok(inner.feed[..end].iter().rev().find(|(of, _)| *of == agent).map_or(0, |(_, number)| *number))
    }
}

#[async_trait]
impl CommandStore for MemoryStore {
    async fn command(&self, agent: AgentId, command: CommandId) -> Result<Option<CommandRecord>, StoreError> {
        Ok(self.of_agent(agent, |stream| stream.commands.get(&command).cloned()).flatten())
    }

    async fn commands(&self, query: &CommandQuery) -> Result<CommandPage, StoreError> {
        let inner = self.lock();
        let of_agent = inner.agents.values().filter(|stream| query.agent.is_none_or(|agent| agent == stream.head.agent));
        let rows = of_agent.flat_map(|stream| {
            stream.commands.values().map(|record| CommandRow { agent_name: stream.head.name.clone(), record: record.clone() })
        });
        Ok(query::evaluate_commands(rows, query))
    }

    async fn due_commands(&self, at: Timestamp, after: Option<AgentId>, limit: u32) -> Result<Vec<AgentId>, StoreError> {
        let inner = self.lock();
        let due = |stream: &Stream| stream.commands.values().any(|command| command.due_at().is_some_and(|due| due <= at));
        let later = inner.agents.iter().filter(|(agent, stream)| after.is_none_or(|after| **agent > after) && due(stream));
        Ok(later.take(limit as usize).map(|(agent, _)| *agent).collect())
    }
}

#[async_trait]
impl RecordStore for MemoryStore {
    async fn get(&self, namespace: &str, key: &str) -> Result<Option<Record>, StoreError> {
        Ok(self.lock().records.get(&(namespace.to_owned(), key.to_owned())).cloned())
    }

    async fn put(&self, namespace: &str, key: &str, value: &str, expected: Expected) -> Result<Option<u64>, StoreError> {
        if value.len() > crate::limits::RECORD_BYTES_MAX || value.contains('\0') {
            return Err(StoreError::new(StoreErrorKind::DataRefused));
        }
        let mut inner = self.lock();
        let place = (namespace.to_owned(), key.to_owned());
        let revision = match (inner.records.get(&place), expected) {
            (None, Expected::Absent) => 1,
            (Some(record), Expected::Revision(revision)) if record.revision == revision => revision + 1,
            _ => return Ok(None),
        };
        inner.records.insert(place, Record { value: value.to_owned(), revision });
        Ok(Some(revision))
    }

    async fn delete(&self, namespace: &str, key: &str, revision: u64) -> Result<bool, StoreError> {
        let mut inner = self.lock();
        let place = (namespace.to_owned(), key.to_owned());
        let found = inner.records.get(&place).is_some_and(|record| record.revision == revision);
        if found {
            inner.records.remove(&place);
        }
        Ok(found)
    }

    async fn list(&self, namespace: &str, after: Option<&str>, limit: u32) -> Result<Vec<(String, Record)>, StoreError> {
        let inner = self.lock();
        let later = inner.records.iter().filter(|((place, key), _)| place == namespace && after.is_none_or(|after| key.as_str() > after));
        Ok(later.take(limit as usize).map(|((_, key), record)| (key.clone(), record.clone())).collect())
    }

    async fn namespaces(&self, after: Option<&str>, limit: u32) -> Result<Vec<String>, StoreError> {
        let inner = self.lock();
        let mut namespaces: Vec<_> = inner.records.keys().map(|(namespace, _)| namespace.clone()).collect();
        namespaces.dedup();
        namespaces.retain(|namespace| after.is_none_or(|after| namespace.as_str() > after));
        namespaces.truncate(limit as usize);
        Ok(namespaces)
    }
}

impl MemoryStore {
    /// The maintained counters of an agent that are not zero, for comparing with those of a rebuild.
    #[must_use]
    pub fn counters(&self, agent: AgentId) -> Vec<(CounterKey, i64)> {
        self.of_agent(agent, Stream::derived).unwrap_or_default().counters
    }

    /// Every state of an agent with any status, in key order.
    #[must_use]
    pub fn states(&self, agent: AgentId) -> Vec<PackageState> {
        self.of_agent(agent, Stream::derived).unwrap_or_default().states
    }
}

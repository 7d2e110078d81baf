//! The memory store: the reference backend, for tests and for embedders who need no durability.

use crate::{
    agent::AgentHead,
    batch::{BatchRecord, RejectedItem},
    counters::CounterKey,
    event::RecordedEvent,
    ids::{AgentId, BatchId, EventId, ReportId, UpdateId},
    names::{PackageKey, Text},
    query::{
        self, AgentPage, AgentQuery, AgentRow, BatchPage, BatchQuery, BatchRow, UpdateFilter, UpdatePage, UpdateQuery, UpdateRow,
        UpdateStats,
    },
    report::StoredReport,
    state::{PackageState, VersionChange},
    store::{BatchStore, Durability, EventStore, Expected, Guarantees, Mode, Record, RecordStore, StateStore, StoreError, StoreErrorKind},
    work::{Answer, Changes, ChosenEventId, Loaded, Needs, Refusal, StateNeeds, UnitOfWork},
};
use async_trait::async_trait;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard},
};

/// A fleet in memory. Nothing survives its end.
#[derive(Debug, Default)]
pub struct MemoryStore {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    agents: BTreeMap<AgentId, Stream>,
    records: BTreeMap<(String, String), Record>,
}

/// Everything of one agent.
#[derive(Debug)]
struct Stream {
    head: AgentHead,
    states: HashMap<PackageKey, PackageState>,
    batches: Vec<BatchRecord>,
    events: Vec<RecordedEvent>,
    chosen_ids: HashMap<EventId, ChosenEventId>,
    history: Vec<VersionChange>,
    rejections: Vec<RejectedItem>,
    reports: Vec<StoredReport>,
    counters: BTreeMap<CounterKey, i64>,
}

impl Stream {
    fn new(head: AgentHead) -> Self {
        Self {
            head,
            states: HashMap::new(),
            batches: Vec::new(),
            events: Vec::new(),
            chosen_ids: HashMap::new(),
            history: Vec::new(),
            rejections: Vec::new(),
            reports: Vec::new(),
            counters: BTreeMap::new(),
        }
    }

    fn batch(&self, id: BatchId) -> Option<BatchRecord> {
        self.batches.iter().find(|record| record.receipt.batch == id).cloned()
    }

    fn report(&self, id: ReportId) -> Option<StoredReport> {
        self.reports.iter().find(|report| report.report_id == id).cloned()
    }

    fn load(&self, needs: &Needs) -> Loaded {
        let states = match &needs.states {
            StateNeeds::None => HashMap::new(),
            StateNeeds::Packages(packages) => packages.iter().filter_map(|package| self.states.get_key_value(package)).collect(),
            StateNeeds::Managers(managers) => self.states.iter().filter(|(package, _)| managers.contains(&package.manager)).collect(),
        };
        Loaded {
            head: Some(self.head.clone()),
            states: states.into_iter().map(|(package, state)| (package.clone(), state.clone())).collect(),
            batch: needs.batch.and_then(|id| self.batch(id)),
            report: needs.report.and_then(|id| self.report(id)),
            events: needs.events.iter().filter_map(|id| self.chosen_ids.get(id)).map(|known| (known.event, *known)).collect(),
        }
    }

    fn write(&mut self, changes: Changes) {
        let Changes { head, batches, events, chosen_ids, states, history, rejections, counters, report } = changes;
        self.head = head.unwrap_or_else(|| self.head.clone());
        self.batches.extend(batches);
        self.events.extend(events);
        self.chosen_ids.extend(chosen_ids.into_iter().map(|chosen| (chosen.event, chosen)));
        self.states.extend(states.into_iter().map(|state| (state.package.clone(), state)));
        self.history.extend(history);
        self.rejections.extend(rejections);
        self.reports.extend(report);
        for (key, difference) in counters.iter() {
            *self.counters.entry(key.clone()).or_default() += difference;
        }
    }

    fn open_stats(&self) -> UpdateStats {
        let mut stats = UpdateStats::default();
        for (key, count) in self.counters.iter().filter(|(key, _)| key.status.open()) {
            stats.add(key, u64::try_from(*count).unwrap_or(0));
        }
        stats
    }
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
        let needs = work.needs();
        let mut inner = self.lock();
        let loaded = inner.agents.get(&needs.agent).map_or_else(Loaded::default, |stream| stream.load(&needs));
        let decided = work.decide(&loaded)?;
        if mode == Mode::Rehearse {
            return Ok(decided.answer);
        }
        match (inner.agents.get_mut(&needs.agent), &decided.changes.head) {
            (Some(stream), _) => stream.write(decided.changes),
            (None, Some(head)) => {
                let mut stream = Stream::new(head.clone());
                stream.write(decided.changes);
                inner.agents.insert(needs.agent, stream);
            }
            (None, None) => return Err(Refusal::UnknownAgent { agent: needs.agent }.into()),
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
}

impl Inner {
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
        let later = |stream: &Stream| {
            let start = usize::try_from(after).unwrap_or(usize::MAX);
            stream.events.iter().skip(start).take(limit as usize).cloned().collect()
        };
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
}

impl MemoryStore {
    /// The maintained counters of an agent that are not zero, for comparing with those of a rebuild.
    #[must_use]
    pub fn counters(&self, agent: AgentId) -> Vec<(CounterKey, i64)> {
        let counters =
            |stream: &Stream| stream.counters.iter().filter(|(_, count)| **count != 0).map(|(key, count)| (key.clone(), *count)).collect();
        self.of_agent(agent, counters).unwrap_or_default()
    }

    /// Every state of an agent with any status, in key order.
    #[must_use]
    pub fn states(&self, agent: AgentId) -> Vec<PackageState> {
        let mut states: Vec<_> = self.of_agent(agent, |stream| stream.states.values().cloned().collect()).unwrap_or_default();
        states.sort_unstable_by(|a: &PackageState, b| a.package.cmp(&b.package));
        states
    }
}

//! Everything the memory store keeps of one agent.

use crate::{
    agent::AgentHead,
    batch::{BatchRecord, RejectedItem},
    command::record::CommandRecord,
    counters::{CounterKey, OpenChanges},
    event::RecordedEvent,
    ids::{BatchId, CommandId, EventId, ReportId},
    names::PackageKey,
    query::UpdateStats,
    rebuild::Derived,
    report::StoredReport,
    state::{PackageState, States, VersionChange},
    work::{Changes, ChosenEventId, Loaded, Needs, Pruning, StateNeeds},
};
use std::collections::{BTreeMap, HashMap};

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) head: AgentHead,
    pub(super) states: HashMap<PackageKey, PackageState>,
    pub(super) batches: Vec<BatchRecord>,
    pub(super) events: Vec<RecordedEvent>,
    pub(super) history: Vec<VersionChange>,
    pub(super) rejections: Vec<RejectedItem>,
    pub(super) reports: Vec<StoredReport>,
    pub(super) bases: BTreeMap<PackageKey, PackageState>,
    pub(super) open: OpenChanges,
    pub(super) commands: BTreeMap<CommandId, CommandRecord>,
    chosen_ids: HashMap<EventId, ChosenEventId>,
    counters: BTreeMap<CounterKey, i64>,
}

impl Stream {
    pub(super) fn new(head: AgentHead) -> Self {
        Self {
            head,
            states: HashMap::new(),
            batches: Vec::new(),
            events: Vec::new(),
            history: Vec::new(),
            rejections: Vec::new(),
            reports: Vec::new(),
            bases: BTreeMap::new(),
            open: OpenChanges::default(),
            commands: BTreeMap::new(),
            chosen_ids: HashMap::new(),
            counters: BTreeMap::new(),
        }
    }

    pub(super) fn load(&self, needs: &Needs) -> Loaded {
        let named = |command: &&CommandRecord| needs.commands.names(command);
        let commands = if needs.commands.none() {
            BTreeMap::new()
        } else {
            self.commands.values().filter(named).map(|command| (command.id, command.clone())).collect()
        };
        let states = match &*needs.states_about(&commands) {
            StateNeeds::None => States::default(),
            StateNeeds::Packages(packages) => packages.iter().filter_map(|package| self.states.get(package)).cloned().collect(),
            StateNeeds::Managers(managers) => {
                self.states.values().filter(|state| managers.contains(&state.package.manager)).cloned().collect()
            }
        };
        Loaded {
            head: Some(self.head.clone()),
            removed: None,
            states,
            batch: needs.batch.and_then(|id| self.batch(id)),
            report: needs.report.and_then(|id| self.report(id)),
            events: needs.events.iter().filter_map(|id| self.chosen_ids.get(id)).map(|known| (known.event, *known)).collect(),
            commands,
        }
    }

    /// Writes everything but what concerns the feed and the removal of the agent.
    pub(super) fn write(&mut self, changes: Changes) {
        let Changes {
            head,
            batches,
            events,
            chosen_ids,
            states,
            history,
            rejections,
            counters,
            open_changes,
            reports,
            commands,
            tombstones: _,
            pruning,
            derived,
            removed: _,
        } = changes;
        self.head = head.unwrap_or_else(|| self.head.clone());
        self.batches.extend(batches);
        self.events.extend(events);
        self.chosen_ids.extend(chosen_ids.into_iter().map(|chosen| (chosen.event, chosen)));
        self.states.extend(states.into_iter().map(|state| (state.package.clone(), state)));
        self.history.extend(history);
        self.rejections.extend(rejections);
        self.reports.extend(reports);
        self.commands.extend(commands.into_iter().map(|command| (command.id, command)));
        self.open.add(&open_changes);
        for (key, difference) in counters.iter() {
            *self.counters.entry(key.clone()).or_default() += difference;
        }
        if let Some(pruning) = pruning {
            self.prune(pruning);
        }
        if let Some(derived) = derived {
            self.replace(derived);
        }
    }

    fn prune(&mut self, pruning: Pruning) {
        let Pruning { reports_before, bases } = pruning;
        let pruned = self.head.pruned;
        let gone: Vec<BatchId> = self
            .batches
            .iter()
            .map(|record| &record.receipt)
            .filter(|receipt| receipt.number <= pruned.batches)
            .map(|receipt| receipt.batch)
            .collect();
        self.batches.retain(|record| record.receipt.number > pruned.batches);
        self.rejections.retain(|item| !gone.contains(&item.batch));
        self.events.retain(|event| event.sequence > pruned.events);
        self.chosen_ids.retain(|_, chosen| chosen.sequence > pruned.events);
        self.reports.retain(|report| report.received_at >= reports_before);
        self.bases.extend(bases.into_iter().map(|state| (state.package.clone(), state)));
    }

    fn replace(&mut self, derived: Derived) {
        let Derived { sequence: _, pruned: _, states, history, counters, open_changes } = derived;
        self.states = states.into_iter().map(|state| (state.package.clone(), state)).collect();
        self.history = history;
        self.counters = counters.into_iter().collect();
        self.open = OpenChanges::default();
        self.open.add(&open_changes);
    }

    pub(super) fn batch(&self, id: BatchId) -> Option<BatchRecord> {
        self.batches.iter().find(|record| record.receipt.batch == id).cloned()
    }

    pub(super) fn report(&self, id: ReportId) -> Option<StoredReport> {
        self.reports.iter().find(|report| report.report_id == id).cloned()
    }

    /// Batches with a number above `after`.
    pub(super) fn batches_after(&self, after: u64) -> &[BatchRecord] {
        &self.batches[self.batches.partition_point(|record| record.receipt.number <= after)..]
    }

    /// Events with a sequence above `after`.
    pub(super) fn events_after(&self, after: u64) -> &[RecordedEvent] {
        &self.events[self.events.partition_point(|event| event.sequence <= after)..]
    }

    pub(super) fn open_stats(&self) -> UpdateStats {
        let mut stats = UpdateStats::default();
        for (key, count) in self.counters.iter().filter(|(key, _)| key.status.open()) {
            stats.add(key, u64::try_from(*count).unwrap_or(0));
        }
        stats
    }

    pub(super) fn derived(&self) -> Derived {
        let mut states: Vec<_> = self.states.values().cloned().collect();
        states.sort_unstable_by(|a, b| a.package.cmp(&b.package));
        Derived {
            sequence: self.head.events,
            pruned: self.head.pruned,
            states,
            history: self.history.clone(),
            counters: self.counters.iter().filter(|(_, count)| **count != 0).map(|(key, count)| (key.clone(), *count)).collect(),
            open_changes: self.open.sums(),
        }
    }
}

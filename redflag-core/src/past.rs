//! The past: what the log says a state was, at any point of it (clause S1).
//!
//! The log is immutable, so it is read through the ports and folded without a transaction, by the same [`apply`] that judged the
//! events when they came. Where retention took the start of a log, base states stand for it.

use crate::{
    Fleet,
    agent::Pruned,
    batch::BatchRecord,
    counters::{CounterChanges, OpenChange, OpenChanges},
    event::RecordedEvent,
    feed::FeedPosition,
    ids::{AgentId, UpdateId},
    limits,
    names::PackageKey,
    state::{Context, PackageState, States, VersionChange, apply, version_change},
    store::{Store, StoreError, StoreErrorKind},
    time::Day,
};
use std::collections::BTreeSet;

/// A point of the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// After the event of this number in the agent's stream; 0 is before the first.
    Sequence(u64),
    /// After this position of the fleet's feed.
    Position(FeedPosition),
}

/// What follows from a log: states, history and the differences of open updates.
#[derive(Clone, Debug, Default)]
pub struct Fold {
    states: States,
    history: Vec<VersionChange>,
    open: OpenChanges,
    sequence: u64,
    /// Packages of the events folded.
    changed: BTreeSet<PackageKey>,
}

impl Fold {
    /// What stands for the part of a log that retention took.
    #[must_use]
    pub fn from_bases(pruned: &Pruned, bases: Vec<PackageState>) -> Self {
        let mut fold = Self { sequence: pruned.events, ..Self::default() };
        fold.open.add(&CounterChanges::of_states(&bases).open_changes(pruned.day));
        fold.states = bases.into_iter().collect();
        fold
    }

    /// What goes on after event `sequence` of a stream, from the states it had then.
    pub(crate) fn over(states: States, sequence: u64) -> Self {
        Self { states, sequence, ..Self::default() }
    }

    /// Folds the next event of the stream.
    ///
    /// # Errors
    /// When it is not the next one, or contradicts the events before it: the log is damaged.
    pub fn add_event(&mut self, recorded: &RecordedEvent) -> Result<(), StoreError> {
        let damaged = |what: String| {
            StoreError::caused(
                StoreErrorKind::Corrupt,
                format!("event {} of the log, {}: {what}", recorded.sequence, recorded.event.package),
            )
        };
        if recorded.sequence != self.sequence + 1 {
            return Err(damaged(format!("stands after event {}", self.sequence)));
        }
        let context = Context { actor: recorded.actor.clone(), received_at: recorded.received_at };
        let before = self.states.get(&recorded.event.package);
        let after = apply(before, &recorded.event, &context).map_err(|rejection| damaged(rejection.to_string()))?;
        if after.revision != recorded.revision {
            return Err(damaged(format!("is revision {} where {} follows", recorded.revision, after.revision)));
        }
        self.history.extend(version_change(before, &recorded.event, &context, recorded.sequence));
        let mut counters = CounterChanges::default();
        counters.record(before, Some(&after));
        self.sequence = recorded.sequence;
        self.changed.insert(after.package.clone());
        self.states.insert(after);
        self.open.add(&counters.open_changes(Day::of(recorded.received_at)));
        Ok(())
    }

    /// The number of the last event folded.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The state of one package.
    #[must_use]
    pub fn state(&self, package: &PackageKey) -> Option<&PackageState> {
        self.states.get(package)
    }

    /// Every state, in key order.
    #[must_use]
    pub fn states(&self) -> Vec<PackageState> {
        self.states.clone().into_sorted()
    }

    /// The states that the events folded changed, in key order.
    #[must_use]
    pub fn changed_states(&self) -> Vec<PackageState> {
        self.changed.iter().filter_map(|package| self.states.get(package)).cloned().collect()
    }

    /// The version changes of the events folded, in their order.
    #[must_use]
    pub fn history(&self) -> &[VersionChange] {
        &self.history
    }

    /// The differences of open updates by day and severity; none is zero.
    #[must_use]
    pub fn open_changes(&self) -> Vec<OpenChange> {
        self.open.sums()
    }
}

impl Fleet {
    /// The state of one update at a past moment; none where it did not exist yet or the agent is unknown.
    ///
    /// # Errors
    /// [`StoreErrorKind::Pruned`] when retention took that part of the log; when the log is damaged or the store fails.
    pub async fn state_at(&self, id: &UpdateId, moment: Moment) -> Result<Option<PackageState>, StoreError> {
        let fold = self.fold(id.agent, moment).await?;
        Ok(fold.and_then(|fold| fold.state(&id.package).cloned()))
    }

    /// Every state of an agent at a past moment, in key order; none for an unknown agent. Reads the agent's log up to that moment.
    ///
    /// # Errors
    /// As [`Fleet::state_at`].
    pub async fn states_at(&self, agent: AgentId, moment: Moment) -> Result<Vec<PackageState>, StoreError> {
        Ok(self.fold(agent, moment).await?.map_or_else(Vec::new, |fold| fold.states()))
    }

    async fn fold(&self, agent: AgentId, moment: Moment) -> Result<Option<Fold>, StoreError> {
        let Some(head) = self.store().agent(agent).await? else { return Ok(None) };
        let until = match moment {
            Moment::Sequence(sequence) => sequence.min(head.events),
            Moment::Position(position) => self.sequence_at(agent, &head.pruned, position).await?,
        };
        if until < head.pruned.events {
            return Err(StoreError::new(StoreErrorKind::Pruned));
        }
        fold_log(self.store(), agent, &head.pruned, until).await.map(Some)
    }

    /// The number of the agent's last event at or below a position of the feed.
    async fn sequence_at(&self, agent: AgentId, pruned: &Pruned, position: FeedPosition) -> Result<u64, StoreError> {
        let number = self.store().batches_until(agent, position).await?;
        if number < pruned.batches {
            return Err(StoreError::new(StoreErrorKind::Pruned));
        }
        if number == pruned.batches {
            return Ok(pruned.events);
        }
        let record = self.store().agent_batches(agent, number - 1, 1).await?.pop();
        // Gone since the head was read.
        let record = record.filter(|record| record.receipt.number == number).ok_or_else(|| StoreError::new(StoreErrorKind::Pruned))?;
        Ok(record.first_sequence - 1 + u64::from(record.receipt.accepted))
    }
}

/// What follows from the first `until` events of an agent's log, of which `pruned` are gone. Ends in [`StoreErrorKind::Pruned`] when
/// more are gone by now: what is read then does not fit together.
pub(crate) async fn fold_log(store: &dyn Store, agent: AgentId, pruned: &Pruned, until: u64) -> Result<Fold, StoreError> {
    let folded = fold_slices(store, agent, pruned, until).await;
    match store.agent(agent).await? {
        Some(head) if head.pruned != *pruned => Err(StoreError::new(StoreErrorKind::Pruned)),
        _ => folded,
    }
}

async fn fold_slices(store: &dyn Store, agent: AgentId, pruned: &Pruned, until: u64) -> Result<Fold, StoreError> {
    let mut fold = Fold::from_bases(pruned, store.bases(agent).await?);
    while fold.sequence < until {
        let left = u32::try_from(until - fold.sequence).unwrap_or(u32::MAX).min(limits::LOG_SLICE_EVENTS);
        let events = store.replay(agent, fold.sequence, left).await?;
        if events.is_empty() {
            let message = format!("the log of agent {agent} ends at event {} of {until}", fold.sequence);
            return Err(StoreError::caused(StoreErrorKind::Corrupt, message));
        }
        events.iter().try_for_each(|event| fold.add_event(event))?;
    }
    Ok(fold)
}

/// Every batch record of an agent with a number above `after`, in order.
pub(crate) async fn every_batch(
    store: &dyn Store,
    agent: AgentId,
    mut after: u64,
    mut each: impl FnMut(BatchRecord) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    loop {
        let records = store.agent_batches(agent, after, limits::FEED_ENTRIES_DEFAULT).await?;
        let Some(last) = records.last() else { return Ok(()) };
        after = last.receipt.number;
        records.into_iter().try_for_each(&mut each)?;
    }
}

/// Given up because the agent's stream grew every time it had been read.
pub(crate) fn stopped(agent: AgentId) -> StoreError {
    let message = format!("agent {agent} reported again each time its log had been read, {} times", limits::ATTEMPTS_MAX);
    StoreError::caused(StoreErrorKind::Unavailable, message)
}

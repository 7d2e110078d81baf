//! Retention: taking the start of an agent's log away, without taking from what it amounts to (clause D3).
//!
//! What goes: batches received before the window, from the first on, with their events, rejections and ids, and the reports of that
//! time. What stays: base states in their place, so that states are still the fold of base and log (clause S1); the feed's positions
//! and digests; version history; states, counters and the trend. Two promises end with the window, and are the reason for its shortest
//! length: a batch, event or report id that was pruned is not recognised any more (clauses B5, B7 and R1a), and the past before it
//! cannot be read ([`StoreErrorKind::Pruned`]).

use crate::{
    Fleet,
    agent::{AgentHead, Pruned},
    batch::BatchRecord,
    counters::{CounterChanges, OpenChange, OpenChanges},
    feed::Tombstone,
    ids::AgentId,
    limits,
    past::Fold,
    query::QueryError,
    state::PackageState,
    store::{StoreError, StoreErrorKind},
    time::{Day, Timestamp},
    work::{Answer, Changes, Decided, Loaded, Needs, Pruning, Refusal, UnitOfWork, known_agent},
};
use std::time::Duration;

/// For how long a log is kept: at least [`limits::RETENTION_DAYS_MIN`] days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionWindow(u32);

impl RetentionWindow {
    /// A window of `days`.
    ///
    /// # Errors
    /// Below [`limits::RETENTION_DAYS_MIN`]: agents that retry must still find their reports.
    pub fn days(days: u32) -> Result<Self, QueryError> {
        if days < limits::RETENTION_DAYS_MIN {
            let message = format!("must be at least {} days, not {days}", limits::RETENTION_DAYS_MIN);
            return Err(QueryError::new("window", message));
        }
        Ok(Self(days))
    }

    /// Where the window begins when it ends at `now`.
    #[must_use]
    pub fn begins_at(self, now: Timestamp) -> Timestamp {
        now.saturating_sub(Duration::from_secs(u64::from(self.0) * 86_400))
    }
}

/// Takes the start of an agent's log away.
#[derive(Clone, Debug)]
pub struct Prune {
    /// The agent.
    pub agent: AgentId,
    /// What was gone before; when more has gone since, the work is refused.
    pub from: Pruned,
    /// What will be gone.
    pub to: Pruned,
    /// Reports received before this go too.
    pub reports_before: Timestamp,
    /// The states that the events taken away lead to.
    pub bases: Vec<PackageState>,
    /// What stands in the feed for the batches taken away, in order.
    pub tombstones: Vec<Tombstone>,
    /// What moves the open updates of the events taken away to the day of the base.
    pub open_changes: Vec<OpenChange>,
}

impl Prune {
    pub(crate) fn needs(&self) -> Needs {
        Needs::head(self.agent)
    }

    pub(crate) fn decide(&self, loaded: &Loaded) -> Result<Decided, Refusal> {
        let head = known_agent(self.agent, loaded)?;
        if head.pruned != self.from || self.to.batches > head.batches || self.to.events > head.events {
            return Err(Refusal::AgentMoved { agent: self.agent });
        }
        let changes = Changes {
            head: Some(AgentHead { pruned: self.to, ..head.clone() }),
            pruning: Some(Pruning { reports_before: self.reports_before, bases: self.bases.clone() }),
            tombstones: self.tombstones.clone(),
            open_changes: self.open_changes.clone(),
            ..Changes::default()
        };
        Ok(Decided { changes, answer: Answer::Pruned(self.to) })
    }
}

impl Fleet {
    /// Prunes what the store received of an agent before `window`, as it stands at `now`; answers how much of the stream is gone.
    /// Goes on in steps of some thousand events, each committed for itself: stopping midway leaves no half step.
    ///
    /// # Errors
    /// When the agent is unknown, somebody else prunes it at the same time, its log is damaged, or the store fails.
    pub async fn prune(&self, agent: AgentId, window: RetentionWindow, now: Timestamp) -> Result<Pruned, StoreError> {
        let unknown = || StoreError::from(Refusal::UnknownAgent { agent });
        let head = self.store().agent(agent).await?.ok_or_else(unknown)?;
        let before = window.begins_at(now);
        let mut pruned = head.pruned;
        let mut fold: Option<Fold> = None;
        loop {
            let batches = self.step(agent, pruned, before).await?;
            let Some(last) = batches.last() else { return Ok(pruned) };
            let folded = match fold.take() {
                Some(fold) => fold,
                None => Fold::from_bases(&pruned, self.store().bases(agent).await?),
            };
            let (work, folded) = self.prune_step(agent, pruned, before, &batches, last, folded).await?;
            pruned = match self.run(UnitOfWork::Prune(work)).await? {
                Answer::Pruned(pruned) => pruned,
                other => return Err(crate::fleet::wrong_answer(&other)),
            };
            fold = Some(folded);
        }
    }

    /// What [`Fleet::prune`] would take: answers how much of the stream would be gone, and changes nothing.
    ///
    /// # Errors
    /// When the agent is unknown or the store fails.
    pub async fn prunable(&self, agent: AgentId, window: RetentionWindow, now: Timestamp) -> Result<Pruned, StoreError> {
        let head = self.store().agent(agent).await?.ok_or_else(|| StoreError::from(Refusal::UnknownAgent { agent }))?;
        let before = window.begins_at(now);
        let mut pruned = head.pruned;
        while let Some(last) = self.step(agent, pruned, before).await?.last() {
            pruned = up_to(last);
        }
        Ok(pruned)
    }

    /// The next batches to prune: received before the window, no more events than one step takes, unless the first has more.
    async fn step(&self, agent: AgentId, pruned: Pruned, before: Timestamp) -> Result<Vec<BatchRecord>, StoreError> {
        let records = self.store().agent_batches(agent, pruned.batches, limits::FEED_ENTRIES_DEFAULT).await?;
        let mut events = 0;
        let within = |(place, record): &(usize, BatchRecord)| {
            events += record.receipt.accepted;
            record.receipt.received_at < before && (*place == 0 || events <= limits::LOG_SLICE_EVENTS)
        };
        Ok(records.into_iter().enumerate().take_while(within).map(|(_, record)| record).collect())
    }

    async fn prune_step(
        &self,
        agent: AgentId,
        from: Pruned,
        before: Timestamp,
        batches: &[BatchRecord],
        last: &BatchRecord,
        mut fold: Fold,
    ) -> Result<(Prune, Fold), StoreError> {
        let to = up_to(last);
        while fold.sequence() < to.events {
            let left = u32::try_from(to.events - fold.sequence()).unwrap_or(u32::MAX).min(limits::LOG_SLICE_EVENTS);
            let events = self.store().replay(agent, fold.sequence(), left).await?;
            if events.is_empty() {
                let message = format!("the log of agent {agent} ends at event {} of {}", fold.sequence(), to.events);
                return Err(StoreError::caused(StoreErrorKind::Corrupt, message));
            }
            events.iter().try_for_each(|event| fold.add_event(event))?;
        }
        let states = fold.states();
        let mut moved = OpenChanges::default();
        moved.add(&CounterChanges::of_states(&states).open_changes(to.day));
        moved.subtract(&fold.open_changes());
        let open_changes = moved.sums();
        let bases = fold.changed_states();
        let tombstone = |record: &BatchRecord| Tombstone { number: record.receipt.number, digest: record.feed_digest() };
        let tombstones = batches.iter().map(tombstone).collect();
        let work = Prune { agent, from, to, reports_before: before, bases, tombstones, open_changes };
        // What comes after stands on the new base.
        Ok((work, Fold::from_bases(&to, states)))
    }
}

/// A log that is gone up to this batch.
fn up_to(last: &BatchRecord) -> Pruned {
    let receipt = &last.receipt;
    let events = last.first_sequence - 1 + u64::from(receipt.accepted);
    Pruned { batches: receipt.number, events, day: Day::of(receipt.received_at) }
}

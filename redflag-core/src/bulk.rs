//! Bulk decisions: one decision about every update that matched a filter as of a position of the feed (clause S2).
//!
//! What was shown is folded from the log, so it is exact whatever happened since: an update that changed after it was shown is
//! skipped and counted, never decided. Where an agent's stream has not grown since, its counters answer the same and no log is read.
//! Each agent's part is one or more batches of its own stream, whose ids follow from the operation; carrying an operation out again
//! therefore has no second effect, and goes on where a crash stopped it.

use crate::{
    Fleet,
    event::EventWord,
    feed::FeedPosition,
    ids::{AgentId, BatchId, OperationId},
    limits,
    names::{PackageKey, Text},
    past::Moment,
    query::{AgentQuery, PageNumber, PageSize, UpdateFilter},
    rejection::RejectionCode,
    state::PackageState,
    store::{StoreError, StoreErrorKind},
    time::Timestamp,
    transition::{Transition, transition},
    words::{IgnoreScope, Status},
    work::{Decision, Refusal},
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What is decided about every update of a [`Selection`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "decision", rename_all = "kebab-case", deny_unknown_fields)]
pub enum BulkDecision {
    /// Install exactly the offers shown.
    Approve {
        /// In which words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        comment: Option<Text>,
    },
    /// Take approvals back.
    WithdrawApproval {
        /// In which words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        comment: Option<Text>,
    },
    /// Do not ask.
    Ignore {
        /// The versions shown or the whole packages.
        scope: IgnoreScope,
        /// Until when.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
        /// In which words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Text>,
    },
    /// Ask again.
    Reopen {
        /// In which words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        comment: Option<Text>,
    },
}

impl BulkDecision {
    /// Whether it can be made about an update in this state.
    #[must_use]
    pub fn possible(&self, state: &PackageState) -> bool {
        self.possible_in(state.status())
    }

    fn possible_in(&self, status: Status) -> bool {
        let event = match self {
            Self::Approve { .. } => EventWord::Approved,
            Self::WithdrawApproval { .. } => EventWord::ApprovalWithdrawn,
            Self::Ignore { .. } => EventWord::Ignored,
            Self::Reopen { .. } => EventWord::Reopened,
        };
        transition(event, Some(status)) != Transition::Forbidden
    }

    fn about(&self, state: &PackageState) -> Decision {
        let offer_digest = state.offer_digest();
        match self.clone() {
            Self::Approve { comment } => Decision::Approve { offer_digest, comment },
            Self::WithdrawApproval { comment } => Decision::WithdrawApproval { comment },
            Self::Ignore { scope, until, reason } => Decision::Ignore { offer_digest, scope, until, reason },
            Self::Reopen { comment } => Decision::Reopen { comment },
        }
    }
}

/// Which updates: those that matched a filter when the feed had reached a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// The filter.
    pub filter: UpdateFilter,
    /// The position.
    pub as_of: FeedPosition,
}

/// How many updates of how many agents a bulk decision would be about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selected {
    /// Updates that matched.
    pub matching: u64,
    /// Those of them about which the decision could be made.
    pub possible: u64,
    /// Agents that have at least one of the latter.
    pub agents: u64,
}

/// A bulk decision to carry out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Its id; everything it writes follows from it.
    pub id: OperationId,
    /// Who.
    pub operator: Text,
    /// About which updates.
    pub selection: Selection,
    /// What.
    pub decision: BulkDecision,
}

/// What became of the updates of an operation so far. At its end the three add up to [`Selected::possible`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationCounts {
    /// Decided.
    pub done: u64,
    /// Skipped, because they changed since they were shown.
    pub changed: u64,
    /// Not decided, because their agent was removed meanwhile or the decision was rejected for another reason.
    pub failed: u64,
}

impl Fleet {
    /// Everything that is in the feed now, as a selection has it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn selection_now(&self, filter: UpdateFilter) -> Result<Selection, StoreError> {
        let store = self.store();
        // Only a feed that holds something can be asked how far it reaches without waiting.
        let empty = store.feed(FeedPosition::START, 1).await?.is_empty();
        let as_of = if empty { FeedPosition::START } else { store.feed_grown(FeedPosition::START).await? };
        Ok(Selection { filter, as_of })
    }

    /// Counts what a bulk decision would be about. Of agents that have batches after the position it reads the log.
    ///
    /// # Errors
    /// [`StoreErrorKind::Pruned`] when retention took the log up to the position; when the store fails.
    ///
    /// Cancel safe: it only reads.
    pub async fn select(&self, selection: &Selection, decision: &BulkDecision) -> Result<Selected, StoreError> {
        let [selected] = self.select_each(selection, std::array::from_ref(decision)).await?;
        Ok(selected)
    }

    /// Counts what each of several bulk decisions would be about, in one reading of the logs.
    ///
    /// # Errors
    /// As [`Fleet::select`].
    pub async fn select_each<const N: usize>(
        &self,
        selection: &Selection,
        decisions: &[BulkDecision; N],
    ) -> Result<[Selected; N], StoreError> {
        let mut selected = [Selected::default(); N];
        for agent in self.agents_of(&selection.filter).await? {
            let statuses = self.statuses(agent, selection).await?;
            for (selected, decision) in selected.iter_mut().zip(decisions) {
                let possible = statuses.iter().filter(|(status, _)| decision.possible_in(**status));
                let possible: u64 = possible.map(|(_, count)| count).sum();
                selected.matching += statuses.values().sum::<u64>();
                selected.possible += possible;
                selected.agents += u64::from(possible > 0);
            }
        }
        Ok(selected)
    }

    /// Carries an operation out, agent by agent, and tells `progress` the counts after each. An operation that was stopped midway, or
    /// carried out before, is carried out again with the same effect and the same counts.
    ///
    /// # Errors
    /// [`StoreErrorKind::Pruned`] when retention took the log up to the position; when the store fails. What was decided by then
    /// stays; carrying it out again goes on from there.
    ///
    /// Cancel safe: as after an error.
    pub async fn carry_out(
        &self,
        operation: &Operation,
        received_at: Timestamp,
        mut progress: impl FnMut(&OperationCounts) + Send,
    ) -> Result<OperationCounts, StoreError> {
        let mut counts = OperationCounts::default();
        for agent in self.agents_of(&operation.selection.filter).await? {
            let states = self.matching(agent, &operation.selection).await?;
            let decisions = states.iter().filter(|state| operation.decision.possible(state));
            let decisions: Vec<_> = decisions.map(|state| (state.package.clone(), operation.decision.about(state))).collect();
            for (index, part) in (0..).zip(decisions.chunks(limits::BATCH_EVENTS_MAX as usize)) {
                self.carry_out_part(operation, agent, index, part, received_at, &mut counts).await?;
            }
            progress(&counts);
        }
        Ok(counts)
    }

    async fn carry_out_part(
        &self,
        operation: &Operation,
        agent: AgentId,
        index: u32,
        decisions: &[(PackageKey, Decision)],
        received_at: Timestamp,
        counts: &mut OperationCounts,
    ) -> Result<(), StoreError> {
        let batch = BatchId::of_operation(agent, operation.id, index);
        let decided = self.decide(agent, batch, operation.operator.clone(), decisions.to_vec(), received_at).await;
        let receipt = match decided {
            Ok(receipt) => receipt,
            // Removed since its states were read.
            Err(error) if matches!(error.kind(), StoreErrorKind::Refused(Refusal::UnknownAgent { .. })) => {
                counts.failed += decisions.len() as u64;
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        counts.done += u64::from(receipt.accepted);
        for (_, rejection) in receipt.rejections() {
            match rejection.code {
                RejectionCode::OfferChanged | RejectionCode::IllegalTransition => counts.changed += 1,
                _ => counts.failed += 1,
            }
        }
        Ok(())
    }

    /// How many states of an agent matched, by the status they had then.
    async fn statuses(&self, agent: AgentId, selection: &Selection) -> Result<BTreeMap<Status, u64>, StoreError> {
        let filter = UpdateFilter { agent: Some(agent), ..selection.filter.clone() };
        // Counted first: a stream that has not grown afterwards had not grown when it was counted.
        let counted = self.store().stats(&filter).await?;
        if self.unchanged_since(agent, selection.as_of).await? {
            return Ok(counted.by_status);
        }
        let mut statuses = BTreeMap::new();
        for state in self.matching(agent, selection).await? {
            *statuses.entry(state.status()).or_default() += 1;
        }
        Ok(statuses)
    }

    /// Whether an agent's stream ends at or before a position of the feed.
    async fn unchanged_since(&self, agent: AgentId, position: FeedPosition) -> Result<bool, StoreError> {
        let Some(head) = self.store().agent(agent).await? else { return Ok(false) };
        Ok(self.store().batches_until(agent, position).await? == head.batches)
    }

    /// The states of an agent that matched, as they were then, in key order.
    async fn matching(&self, agent: AgentId, selection: &Selection) -> Result<Vec<PackageState>, StoreError> {
        let mut states = self.states_at(agent, Moment::Position(selection.as_of)).await?;
        states.retain(|state| selection.filter.matches(agent, state));
        Ok(states)
    }

    /// Every agent that can pass the filter.
    async fn agents_of(&self, filter: &UpdateFilter) -> Result<BTreeSet<AgentId>, StoreError> {
        if let Some(agent) = filter.agent {
            return Ok(BTreeSet::from([agent]));
        }
        let mut agents = BTreeSet::new();
        for number in 1.. {
            let query = AgentQuery { page: PageNumber::new(number)?, size: PageSize::MAX, ..AgentQuery::default() };
            let page = self.store().agents(&query).await?;
            if page.items.is_empty() {
                break;
            }
            agents.extend(page.items.into_iter().map(|row| row.head.agent));
        }
        Ok(agents)
    }
}

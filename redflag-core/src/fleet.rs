//! The facade: what an embedder calls.

use crate::{
    agent::Enrolment,
    batch::{Batch, Receipt},
    command::{
        record::CommandRecord,
        step::{CommandStep, Step},
    },
    ids::{AgentId, BatchId},
    limits,
    names::{PackageKey, Text},
    report::{Report, ReportAnswer},
    store::{Mode, Store, StoreError, StoreErrorKind},
    time::Timestamp,
    work::{Answer, Decide, Decision, RecordReport, Refusal, SubmitBatch, UnitOfWork, Withheld},
};
use std::sync::Arc;

/// All agents under one store.
///
/// Writing goes through the methods here; reading through [`Fleet::store`]. Cloning is cheap and shares the store. Every method
/// is cancel safe in the sense of [`crate::store`].
#[derive(Clone, Debug)]
pub struct Fleet {
    store: Arc<dyn Store>,
    batch_events: u32,
}

impl Fleet {
    /// The fleet in `store`.
    pub fn new(store: impl Store + 'static) -> Self {
        Self::shared(Arc::new(store))
    }

    /// The fleet in a store that others hold too.
    #[must_use]
    pub fn shared(store: Arc<dyn Store>) -> Self {
        Self { store, batch_events: limits::BATCH_EVENTS_DEFAULT }
    }

    /// The same fleet with reports cut into batches of `events`, brought within 1 to [`limits::BATCH_EVENTS_MAX`].
    #[must_use]
    pub fn with_batch_events(self, events: u32) -> Self {
        Self { batch_events: events.clamp(1, limits::BATCH_EVENTS_MAX), ..self }
    }

    /// The store, for reading.
    #[must_use]
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// Enrols an agent; the same enrolment again is no error.
    ///
    /// # Errors
    /// When the id belongs to an agent with another key, or the store fails.
    pub async fn enrol(&self, enrolment: Enrolment) -> Result<(), StoreError> {
        self.run(UnitOfWork::EnrolAgent(enrolment)).await.map(|_| ())
    }

    /// Submits a batch: all of it is judged, none of it is harmed by a bad neighbour, and the receipt says what became of each
    /// event.
    ///
    /// # Errors
    /// When the agent is unknown, the batch id was used for other content, or the store fails.
    pub async fn submit(&self, batch: Batch, received_at: Timestamp) -> Result<Receipt, StoreError> {
        let work = SubmitBatch { batch, received_at, withheld: Withheld::default() };
        match self.run(UnitOfWork::SubmitBatch(work)).await? {
            Answer::Batch(receipt) => Ok(receipt),
            other => Err(wrong_answer(&other)),
        }
    }

    /// Records a report of `agent`, the identity its credential proved.
    ///
    /// # Errors
    /// When the agent is unknown, the report id was used for other content, or the store fails.
    pub async fn record_report(&self, agent: AgentId, report: Report, received_at: Timestamp) -> Result<ReportAnswer, StoreError> {
        let (report, batch_events) = (Arc::new(report), self.batch_events);
        let work = RecordReport { agent, report, received_at, batch_events, withheld: Withheld::default() };
        match self.run(UnitOfWork::RecordReport(work)).await? {
            Answer::Report(answer) => Ok(answer),
            other => Err(wrong_answer(&other)),
        }
    }

    /// Records decisions of one operator about packages of one agent. A receipt with number 0 means that none was possible and
    /// nothing was written; its rejections say why.
    ///
    /// # Errors
    /// When the agent is unknown, the batch id was used for other content, or the store fails.
    pub async fn decide(
        &self,
        agent: AgentId,
        batch: BatchId,
        operator: Text,
        decisions: Vec<(PackageKey, Decision)>,
        received_at: Timestamp,
    ) -> Result<Receipt, StoreError> {
        let work = Decide { agent, batch, operator, decisions, received_at };
        match self.run(UnitOfWork::Decide(work)).await? {
            Answer::Decision(receipt) => Ok(receipt),
            other => Err(wrong_answer(&other)),
        }
    }

    /// Takes a step of an agent's queue of commands; answers the command it is about and what follows from it, or what is handed out.
    ///
    /// # Errors
    /// When the step is refused, the agent is unknown, or the store fails. Any step may be repeated.
    pub async fn command(&self, agent: AgentId, step: Step, at: Timestamp) -> Result<Vec<CommandRecord>, StoreError> {
        match self.run(UnitOfWork::Command(CommandStep { agent, step, at })).await? {
            Answer::Commands(commands) => Ok(commands),
            other => Err(wrong_answer(&other)),
        }
    }

    /// Ends what ran out, of all agents, and queues again what its agent has not begun; answers the commands that changed. Any number
    /// of processes may do this at once.
    ///
    /// # Errors
    /// When the store fails; what was done until then stays.
    pub async fn sweep_commands(&self, at: Timestamp) -> Result<Vec<CommandRecord>, StoreError> {
        let (mut changed, mut after) = (Vec::new(), None);
        loop {
            let due = self.store.due_commands(at, after, limits::PAGE_SIZE_MAX).await?;
            let Some(last) = due.last() else { return Ok(changed) };
            after = Some(*last);
            for agent in due {
                match self.command(agent, Step::Sweep, at).await {
                    Ok(swept) => changed.extend(swept),
                    // Removed meanwhile, with its commands.
                    Err(error) if matches!(error.kind(), StoreErrorKind::Refused(Refusal::UnknownAgent { .. })) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }

    /// Runs a unit of work. When the database refuses data that core had accepted, finds the events at fault by rehearsing
    /// prefixes, rejects only them and stores the rest (clause B13).
    pub(crate) async fn run(&self, mut work: UnitOfWork) -> Result<Answer, StoreError> {
        /// More culprits than this are no longer single bad events: the error goes to the caller.
        const CULPRITS_MAX: usize = 64;
        loop {
            let error = match self.store.run(&work, Mode::Commit).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let searchable = work.withheld_mut().is_some_and(|withheld| withheld.len() < CULPRITS_MAX);
            if *error.kind() != StoreErrorKind::DataRefused || !searchable {
                return Err(error);
            }
            let Some(culprit) = self.culprit(&work).await? else { return Err(error) };
            if let Some(withheld) = work.withheld_mut() {
                withheld.add(culprit..culprit + 1);
            }
        }
    }

    /// The first event the database refuses: the one whose addition makes a prefix fail. None when not even the empty prefix
    /// passes or all pass after all.
    async fn culprit(&self, work: &UnitOfWork) -> Result<Option<u32>, StoreError> {
        let (mut passing, mut failing) = (0, u32::try_from(limits::REPORT_FACTS_MAX).unwrap_or(u32::MAX) * 4);
        if !self.prefix_passes(work, passing).await? || self.prefix_passes(work, failing).await? {
            return Ok(None);
        }
        while failing - passing > 1 {
            let middle = passing + (failing - passing) / 2;
            if self.prefix_passes(work, middle).await? {
                passing = middle;
            } else {
                failing = middle;
            }
        }
        Ok(Some(passing))
    }

    async fn prefix_passes(&self, work: &UnitOfWork, events: u32) -> Result<bool, StoreError> {
        let mut prefix = work.clone();
        if let Some(withheld) = prefix.withheld_mut() {
            withheld.add(events..u32::MAX);
        }
        match self.store.run(&prefix, Mode::Rehearse).await {
            Ok(_) => Ok(true),
            Err(error) if *error.kind() == StoreErrorKind::DataRefused => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// A backend that answers another kind of work than it was given is broken.
pub(crate) fn wrong_answer(answer: &Answer) -> StoreError {
    StoreError::caused(StoreErrorKind::Corrupt, format!("the store answered another unit of work: {answer:?}"))
}

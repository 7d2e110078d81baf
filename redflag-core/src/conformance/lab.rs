//! What checks are made of: a store with a few agents and the handful of steps every check takes.

use super::{
    CheckResult, Failure, Harness, ensure_eq,
    generate::{agent, at, checked, enrolment, report_id, report_of, scope_of, text},
};
use crate::{
    Fleet,
    batch::{Batch, Receipt},
    counters::CounterKey,
    event::{Actor, EventInput},
    ids::{AgentId, BatchId, UpdateId},
    names::PackageKey,
    offer::{Offer, OfferInput},
    query::{PageSize, PageStart, StatusFilter, UpdateFilter, UpdateQuery, UpdateRow, UpdateStats},
    report::{Report, ReportAnswer, Scope},
    store::Store,
    time::Timestamp,
    work::{Decision, RecordReport, SubmitBatch, UnitOfWork, Withheld},
};
use std::sync::Arc;

/// A store under test with agents enrolled.
#[derive(Debug)]
pub struct Lab {
    /// The facade over the store.
    pub fleet: Fleet,
    store: Arc<dyn Store>,
}

impl Lab {
    /// A fresh store with the agents 0 to `agents` - 1.
    ///
    /// # Errors
    /// When the store cannot enrol them.
    pub async fn new(harness: &dyn Harness, agents: u32) -> Result<Self, Failure> {
        let lab = Self::over(harness.fresh().await);
        for number in 0..agents {
            lab.fleet.enrol(enrolment(number)).await?;
        }
        Ok(lab)
    }

    /// A lab over a store as it is.
    #[must_use]
    pub fn over(store: Arc<dyn Store>) -> Self {
        Self { fleet: Fleet::shared(Arc::clone(&store)), store }
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// The store, for whoever takes it over.
    #[must_use]
    pub fn into_store(self) -> Arc<dyn Store> {
        self.store
    }

    /// The same store, closed and opened again.
    pub async fn reopened(self, harness: &dyn Harness) -> Self {
        drop(self.fleet);
        Self::over(harness.reopen(self.store).await)
    }

    /// Submits events of agent 0 as `batch`.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn submit(&self, batch: BatchId, events: Vec<EventInput>, received_at: Timestamp) -> Result<Receipt, Failure> {
        self.submit_for(agent(0), batch, events, received_at).await
    }

    /// Submits events of an agent as `batch`.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn submit_for(
        &self,
        agent: AgentId,
        batch: BatchId,
        events: Vec<EventInput>,
        received_at: Timestamp,
    ) -> Result<Receipt, Failure> {
        let batch = Batch::new(agent, batch, Actor::Agent, events).map_err(|refusal| Failure::new(refusal.to_string()))?;
        Ok(self.fleet.submit(batch, received_at).await?)
    }

    /// Report number `number` of agent 0, received `number` seconds after the start.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn report(&self, number: u32, scopes: Vec<Scope>) -> Result<ReportAnswer, Failure> {
        self.report_for(0, number, scopes).await
    }

    /// Report number `number` of an agent.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn report_for(&self, host: u32, number: u32, scopes: Vec<Scope>) -> Result<ReportAnswer, Failure> {
        let report = report_of(report_id(u64::from(number)), u64::from(number), scopes);
        Ok(self.fleet.record_report(agent(host), report, at(number)).await?)
    }

    /// Decides about one package of agent 0.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn decide(
        &self,
        batch: BatchId,
        package: &PackageKey,
        decision: Decision,
        received_at: Timestamp,
    ) -> Result<Receipt, Failure> {
        Ok(self.fleet.decide(agent(0), batch, text("ada"), vec![(package.clone(), decision)], received_at).await?)
    }

    /// One update of agent 0, which must be there.
    ///
    /// # Errors
    /// When it is not, or the store fails.
    pub async fn update(&self, package: &PackageKey) -> Result<UpdateRow, Failure> {
        let id = UpdateId { agent: agent(0), package: package.clone() };
        self.store.update(&id).await?.ok_or_else(|| Failure::new(format!("no update is stored for {package}")))
    }

    /// Every update of the fleet, walked by cursor in pages of the largest size.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn all(&self, filter: UpdateFilter) -> Result<Vec<UpdateRow>, Failure> {
        let size = PageSize::new(crate::limits::PAGE_SIZE_MAX).map_err(|error| Failure::new(error.to_string()))?;
        let mut query = UpdateQuery { filter, size, ..UpdateQuery::default() };
        let mut rows = Vec::new();
        loop {
            let page = self.store.updates(&query).await?;
            rows.extend(page.items);
            match page.next {
                Some(next) => query.start = PageStart::After(next),
                None => return Ok(rows),
            }
        }
    }

    /// Compares stats and list, which must agree (clause Q2).
    ///
    /// # Errors
    /// When they do not, or the store fails.
    pub async fn counts_agree(&self) -> CheckResult {
        for status in [StatusFilter::Open, StatusFilter::Any] {
            let filter = UpdateFilter { status, ..UpdateFilter::default() };
            let mut recounted = UpdateStats::default();
            for row in self.all(filter.clone()).await? {
                recounted.add(&CounterKey::of(&row.state), 1);
            }
            ensure_eq!(self.store.stats(&filter).await?, recounted, "stats of {status:?} updates differ from a recount of the list");
        }
        Ok(())
    }
}

/// Generated offers with their keys.
pub(super) fn pool(seed: u64, manager: &str, count: usize) -> (Vec<OfferInput>, Vec<(PackageKey, Offer)>) {
    let inputs = super::generate::offers(&mut super::generate::Rng::new(seed), manager, count);
    let checked = checked(manager, &inputs);
    (inputs, checked)
}

/// A complete scan of `apt`, scanned `second` seconds after the start.
pub(super) fn apt(second: u32, offers: &[(PackageKey, Offer)]) -> Scope {
    scope_of("apt", at(second), offers, &[])
}

/// The unit of work that submits events of an agent as `batch`.
pub(super) fn batch_work(agent: AgentId, batch: BatchId, events: Vec<EventInput>, received_at: Timestamp) -> Result<UnitOfWork, Failure> {
    let batch = Batch::new(agent, batch, Actor::Agent, events).map_err(|refusal| Failure::new(refusal.to_string()))?;
    Ok(UnitOfWork::SubmitBatch(SubmitBatch { batch, received_at, withheld: Withheld::default() }))
}

/// The unit of work that records a report, cut into batches of `batch_events`.
pub(super) fn report_work(agent: AgentId, report: Report, received_at: Timestamp, batch_events: u32) -> UnitOfWork {
    UnitOfWork::RecordReport(RecordReport { agent, report: report.into(), received_at, batch_events, withheld: Withheld::default() })
}

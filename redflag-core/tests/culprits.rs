//! A database that refuses what core accepted: only the events at fault are rejected, the rest is stored (clause B13).
#![cfg(feature = "conformance")]
#![expect(clippy::unwrap_used, reason = "what fails in a test's helper fails the test")]

mod support;

use async_trait::async_trait;
use redflag_core::{
    Fleet, MemoryStore,
    batch::{Batch, Outcome},
    conformance::generate::{Rng, agent, at, batch_id, checked, discovered, enrolment, event_id, offers, report_id, report_of, scope_of},
    event::{Actor, EventInput},
    names::PackageKey,
    rejection::RejectionCode,
    report::{FactOutcome, ReportStatus},
    store::{BatchStore, EventStore, Mode, StateStore, StoreError, StoreErrorKind},
    work::{Answer, StateNeeds, UnitOfWork},
};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};
use support::wrapped::{Twist, Wrapped};

/// Refuses to store a state of any of these packages, as a database would whose constraint core does not know.
#[derive(Debug, Default)]
struct Refuses {
    packages: Vec<PackageKey>,
    runs: AtomicUsize,
}

#[async_trait]
impl Twist for Refuses {
    async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
        self.runs.fetch_add(1, Relaxed);
        let needs = work.needs();
        let mut loaded = redflag_core::work::Loaded { head: memory.agent(needs.agent).await?, ..Default::default() };
        let states = memory.states(needs.agent).into_iter().filter(|state| match &needs.states {
            StateNeeds::None => false,
            StateNeeds::Packages(packages) => packages.contains(&state.package),
            StateNeeds::Managers(managers) => managers.contains(&state.package.manager),
        });
        loaded.states = states.collect();
        if let Some(batch) = needs.batch {
            loaded.batch = memory.batch(needs.agent, batch).await?;
        }
        let decided = work.decide(&loaded)?;
        if decided.changes.states.iter().any(|state| self.packages.contains(&state.package)) {
            return Err(StoreError::new(StoreErrorKind::DataRefused));
        }
        memory.run(work, mode).await
    }
}

const COUNT: usize = 40;

async fn fleet(bad: &[usize]) -> (Fleet, Arc<Wrapped<Refuses>>) {
    let inputs = offers(&mut Rng::new(1), "apt", COUNT);
    let packages = checked("apt", &inputs).into_iter().map(|(package, _)| package).collect::<Vec<_>>();
    let packages = bad.iter().map(|index| packages[*index].clone()).collect();
    let store = Arc::new(Wrapped::new(Refuses { packages, runs: AtomicUsize::new(0) }));
    let fleet = Fleet::shared(Arc::clone(&store) as _);
    fleet.enrol(enrolment(0)).await.unwrap();
    (fleet, store)
}

fn events() -> Vec<EventInput> {
    let inputs = offers(&mut Rng::new(1), "apt", COUNT);
    (1..).zip(inputs).map(|(number, offer)| discovered(event_id(number), "apt", offer)).collect()
}

#[tokio::test]
async fn only_the_events_a_database_refuses_are_rejected() {
    for bad in [vec![], vec![0], vec![COUNT - 1], vec![7, 8, 23], vec![0, 1, 2, 3, 4, 5, 38, 39]] {
        let (fleet, store) = fleet(&bad).await;
        let batch = Batch::new(agent(0), batch_id(1), Actor::Agent, events()).unwrap();
        let receipt = fleet.submit(batch.clone(), at(1)).await.unwrap();
        let rejected: Vec<_> = receipt.rejections().map(|(index, rejection)| (index as usize, rejection.code)).collect();
        assert_eq!(rejected, bad.iter().map(|index| (*index, RejectionCode::StoreRefused)).collect::<Vec<_>>());
        assert_eq!((receipt.accepted as usize, store.memory.states(agent(0)).len()), (COUNT - bad.len(), COUNT - bad.len()));
        assert!(receipt.outcomes().all(|outcome| !matches!(outcome, Outcome::Duplicate { .. })));
        let kept = store.rejections(agent(0), batch_id(1)).await.unwrap();
        assert_eq!(
            kept.iter().filter_map(|item| item.package.clone()).collect::<Vec<_>>(),
            store.twist.packages,
            "the operator sees which"
        );
        assert_eq!(fleet.submit(batch, at(2)).await.unwrap(), receipt, "the retry finds the stored receipt");
        assert!(store.twist.runs.load(Relaxed) <= 3 + bad.len() * 25, "{} runs for {} culprits", store.twist.runs.load(Relaxed), bad.len());
    }
}

#[tokio::test]
async fn a_report_with_a_refused_fact_is_stored_without_it_and_its_digest_is_not_agreed_on() {
    let (fleet, store) = fleet(&[5, 30]).await;
    let offers = checked("apt", &offers(&mut Rng::new(1), "apt", COUNT));
    let report = |number: u64| report_of(report_id(number), number, vec![scope_of("apt", at(1), &offers, &[])]);
    let answer = fleet.clone().with_batch_events(7).record_report(agent(0), report(1), at(1)).await.unwrap();
    assert_eq!((answer.status, answer.events as usize, answer.outcomes.counts()), (ReportStatus::Recorded, COUNT - 2, (38, 0, 2)));
    let refused: Vec<_> = answer
        .outcomes
        .iter()
        .enumerate()
        .filter_map(|(index, outcome)| match outcome {
            FactOutcome::Rejected(rejection) => Some((index, rejection.code)),
            _ => None,
        })
        .collect();
    assert_eq!(refused, [(5, RejectionCode::StoreRefused), (30, RejectionCode::StoreRefused)]);
    let head = store.agent(agent(0)).await.unwrap().unwrap();
    assert_eq!(head.scopes.values().next().unwrap().digest, None, "an agreed digest would hide the refused facts for ever");
    let again = fleet.record_report(agent(0), report(2), at(2)).await.unwrap();
    assert_eq!(again.outcomes.counts(), (0, 38, 2), "the next report tells of them again");
}

#[tokio::test]
async fn a_refused_withdrawal_is_not_lost_behind_an_agreed_digest() {
    let (fleet, store) = fleet(&[]).await;
    let offers = checked("apt", &offers(&mut Rng::new(1), "apt", COUNT));
    let report = |number: u64, count: usize| report_of(report_id(number), number, vec![scope_of("apt", at(1), &offers[..count], &[])]);
    fleet.record_report(agent(0), report(1, COUNT), at(1)).await.unwrap();
    let refusing =
        Wrapped { memory: MemoryStore::new(), twist: Refuses { packages: vec![offers[COUNT - 1].0.clone()], runs: AtomicUsize::new(0) } };
    let refusing = Arc::new(refusing);
    let other = Fleet::shared(Arc::clone(&refusing) as _);
    other.enrol(enrolment(0)).await.unwrap();
    refusing.memory.run(&work(report(1, COUNT)), Mode::Commit).await.unwrap();
    other.record_report(agent(0), report(2, COUNT - 1), at(2)).await.unwrap();
    let head = refusing.agent(agent(0)).await.unwrap().unwrap();
    assert_eq!(head.scopes.values().next().unwrap().digest, None);
    drop(store);
}

fn work(report: redflag_core::report::Report) -> UnitOfWork {
    let report = Arc::new(report);
    let work =
        redflag_core::work::RecordReport { agent: agent(0), report, received_at: at(1), batch_events: 100, withheld: Default::default() };
    UnitOfWork::RecordReport(work)
}

#[tokio::test]
async fn a_database_that_refuses_everything_is_an_error_and_stores_nothing() {
    /// Refuses even a batch of nothing but rejections.
    #[derive(Debug)]
    struct RefusesAll;

    #[async_trait]
    impl Twist for RefusesAll {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
            match work {
                UnitOfWork::EnrolAgent(_) => memory.run(work, mode).await,
                _ => Err(StoreError::new(StoreErrorKind::DataRefused)),
            }
        }
    }

    let store = Arc::new(Wrapped::new(RefusesAll));
    let fleet = Fleet::shared(Arc::clone(&store) as _);
    fleet.enrol(enrolment(0)).await.unwrap();
    let batch = Batch::new(agent(0), batch_id(1), Actor::Agent, events()).unwrap();
    let error = fleet.submit(batch, at(1)).await.unwrap_err();
    assert_eq!(*error.kind(), StoreErrorKind::DataRefused);
    assert_eq!(store.replay(agent(0), 0, 10).await.unwrap().len(), 0);
}

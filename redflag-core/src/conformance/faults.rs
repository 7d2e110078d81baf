//! Whatever goes wrong on the way, asking again finds out and has one effect.

use super::{
    CheckResult, Failure, Fault, Faulty, Harness, Lab, Shape,
    atomicity::discoveries,
    dropped_after, ensure, ensure_eq,
    generate::{Rng, agent, at, batch_id, discovered, enrolment, event_id, hostile_offer, report_id, report_of, text},
    history,
    lab::{apt, batch_work, pool, report_work},
};
use crate::{
    MemoryStore,
    query::{PageSize, UpdateFilter, UpdateQuery},
    store::{BatchStore, Expected, Mode, Record, RecordStore, Store, StoreError, StoreErrorKind},
    work::{Answer, Decide, Decision, UnitOfWork},
};
use std::{sync::Arc, time::Duration};

/// A call that takes longer waits for something that will never come, such as the lock of a call that was dropped.
const PATIENCE: Duration = Duration::from_secs(60);

/// One unit of work of every kind, each with an effect, and reports that have none.
fn of_every_kind() -> Result<Vec<UnitOfWork>, Failure> {
    let (_, offers) = pool(90, "apt", 12);
    let mut events = discoveries(91, "dnf", 5, 1);
    events.insert(2, discovered(event_id(50), "dnf", hostile_offer(&mut Rng::new(9), "dnf")));
    let decision = |(package, offer): &(crate::names::PackageKey, crate::offer::Offer)| {
        (package.clone(), Decision::Approve { offer_digest: offer.digest(package), comment: None })
    };
    let decide =
        |number: u64, decisions| Decide { agent: agent(0), batch: batch_id(number), operator: text("ada"), decisions, received_at: at(3) };
    let report = |number: u64, sequence: u64, offers: &[_]| report_of(report_id(number), sequence, vec![apt(2, offers)]);
    Ok(vec![
        UnitOfWork::EnrolAgent(enrolment(0)),
        batch_work(agent(0), batch_id(1), events, at(1))?,
        report_work(agent(0), report(1, 10, &offers[..10]), at(2), 4),
        UnitOfWork::Decide(decide(2, offers[..3].iter().map(decision).collect())),
        UnitOfWork::Decide(decide(3, offers[11..].iter().map(decision).collect())),
        report_work(agent(0), report(2, 11, &offers[2..]), at(4), 100),
        report_work(agent(0), report(3, 12, &offers[2..]), at(5), 100),
        report_work(agent(0), report(4, 5, &offers[..1]), at(6), 100),
    ])
}

fn kind(result: Result<Answer, StoreError>) -> Option<StoreErrorKind> {
    result.err().map(|error| error.kind().clone())
}

pub(super) async fn a_lost_acknowledgement_is_found_by_asking_again(harness: &dyn Harness) -> CheckResult {
    let store = harness.fresh().await;
    let faulty = Faulty::new(Arc::clone(&store), []);
    let (memory, agents) = (MemoryStore::new(), [agent(0)]);
    for work in of_every_kind()? {
        let expected = memory.run(&work, Mode::Commit).await?;
        faulty.then([Fault::Unavailable, Fault::AckLost]);
        ensure_eq!(kind(faulty.run(&work, Mode::Commit).await), Some(StoreErrorKind::Unavailable), "the scripted failure");
        ensure_eq!(kind(faulty.run(&work, Mode::Commit).await), Some(StoreErrorKind::OutcomeUnknown), "the answer to {work:?}");
        // The store had acknowledged: whatever became of the answer, the work is there.
        let committed = super::transcript(&memory, &agents).await?;
        ensure_eq!(super::transcript(&*store, &agents).await?, committed, "what can be read after the lost answer to {work:?}");
        for time in ["first", "second"] {
            ensure_eq!(
                faulty.run(&work, Mode::Commit).await?,
                expected,
                "asking again for the {time} time after a lost answer to {work:?}"
            );
        }
    }
    let expected = super::transcript(&memory, &agents).await?;
    ensure_eq!(super::transcript(&*store, &agents).await?, expected, "what can be read after asking again");
    Ok(())
}

pub(super) async fn a_lost_acknowledgement_of_a_record_is_found_by_reading(harness: &dyn Harness) -> CheckResult {
    let store = Faulty::new(harness.fresh().await, [Fault::AckLost, Fault::Unavailable]);
    ensure!(store.put("n", "k", "1", Expected::Absent).await.is_err(), "the answer of the first write is lost");
    ensure_eq!(store.get("n", "k").await?, Some(Record { value: "1".to_owned(), revision: 1 }), "the record whose answer was lost");
    ensure!(store.put("n", "k", "2", Expected::Revision(1)).await.is_err(), "the second write does not reach the store");
    ensure_eq!(store.put("n", "k", "1", Expected::Absent).await?, None, "the first write again");
    ensure_eq!(store.put("n", "k", "2", Expected::Revision(1)).await?, Some(2), "the second write again");
    store.then([Fault::AckLost]);
    ensure!(store.delete("n", "k", 2).await.is_err(), "the answer of the deletion is lost");
    ensure_eq!(store.delete("n", "k", 2).await?, false, "the deletion again");
    Ok(())
}

pub(super) async fn work_that_is_judged_twice_has_one_effect(harness: &dyn Harness) -> CheckResult {
    for seed in 30..33 {
        let (store, memory) = (harness.fresh().await, MemoryStore::new());
        let faulty = Faulty::new(Arc::clone(&store), []);
        for (step, work) in history(seed, Shape::default()).iter().enumerate() {
            faulty.then([Fault::Conflict]);
            let (found, expected) = (faulty.run(work, Mode::Commit).await, memory.run(work, Mode::Commit).await);
            let answer = |result: Result<Answer, StoreError>| result.map_err(|error| error.kind().clone());
            ensure_eq!(answer(found), answer(expected), "history seed {seed}, step {step}: work run up to its commit, then again");
        }
        let agents: Vec<_> = (0..Shape::default().agents).map(agent).collect();
        let expected = super::transcript(&memory, &agents).await?;
        ensure_eq!(super::transcript(&*store, &agents).await?, expected, "history seed {seed}: what can be read");
    }
    Ok(())
}

const ROWS: usize = 12;

/// How often a call is polled before it is dropped: every number at first, then ever larger ones.
fn polls() -> impl Iterator<Item = u32> {
    (0..32).chain((5..16).map(|power| 1 << power))
}

pub(super) async fn a_dropped_batch_is_stored_whole_or_not_at_all(harness: &dyn Harness) -> CheckResult {
    dropped(harness, |number| {
        // A manager and packages that nobody named before, and one event that is rejected.
        let mut events = discoveries(u64::from(number), &format!("tool{number}"), ROWS, 1);
        events.push(discovered(event_id(99), "apt", hostile_offer(&mut Rng::new(9), "apt")));
        batch_work(agent(number), batch_id(1), events, at(1))
    })
    .await
}

pub(super) async fn a_dropped_report_is_stored_whole_or_not_at_all(harness: &dyn Harness) -> CheckResult {
    dropped(harness, |number| {
        let word = format!("tool{number}");
        let scope = super::generate::scope_of(&word, at(1), &pool(u64::from(number), &word, ROWS).1, &[]);
        Ok(report_work(agent(number), report_of(report_id(1), 1, vec![scope]), at(1), 5))
    })
    .await
}

/// Drops the call that runs `work` after every number of polls; asking again has the effect of having asked once.
async fn dropped(harness: &dyn Harness, work: impl Fn(u32) -> Result<UnitOfWork, Failure>) -> CheckResult {
    let (store, memory) = (harness.fresh().await, MemoryStore::new());
    let mut agents = Vec::new();
    let mut ended = false;
    for polls in polls() {
        let work = work(polls)?;
        let enrolment = UnitOfWork::EnrolAgent(enrolment(polls));
        store.run(&enrolment, Mode::Commit).await?;
        memory.run(&enrolment, Mode::Commit).await?;
        let expected = memory.run(&work, Mode::Commit).await?;
        let first = dropped_after(store.run(&work, Mode::Commit), polls).await.transpose()?;
        whole_or_nothing(&*store, polls, first.is_some()).await?;
        let again = patiently(store.run(&work, Mode::Commit), polls).await?;
        ensure_eq!(again, expected, "asking again after a call was dropped after {polls} polls");
        whole_or_nothing(&*store, polls, true).await?;
        agents.push(agent(polls));
        ended = first.is_some();
        if ended {
            break;
        }
    }
    ensure!(ended, "a call does not end within {} polls", 1 << 15);
    let expected = super::transcript(&memory, &agents).await?;
    ensure_eq!(super::transcript(&*store, &agents).await?, expected, "what can be read after dropped calls");
    Lab::over(store).counts_agree().await
}

async fn patiently(call: impl Future<Output = Result<Answer, StoreError>>, polls: u32) -> Result<Answer, Failure> {
    match tokio::time::timeout(PATIENCE, call).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Failure::new(format!("no answer within {PATIENCE:?} after a call was dropped after {polls} polls"))),
    }
}

/// One read, of one moment: all rows of the work, or none.
async fn whole_or_nothing(store: &dyn Store, number: u32, must: bool) -> CheckResult {
    let size = PageSize::new(crate::limits::PAGE_SIZE_MAX).map_err(|error| Failure::new(error.to_string()))?;
    let filter = UpdateFilter { agent: Some(agent(number)), ..UpdateFilter::default() };
    let page = store.updates(&UpdateQuery { filter, size, ..UpdateQuery::default() }).await?;
    let found = (page.items.len(), page.stats.total as usize);
    ensure!(
        found == (ROWS, ROWS) || !must && found == (0, 0),
        "after {number} polls {found:?} rows are listed and counted; the work has {ROWS}"
    );
    Ok(())
}

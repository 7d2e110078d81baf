//! Readers among writers: one answer is of one moment, and nothing is seen before what caused it.

use super::{
    CheckResult, Failure, Harness, Lab, ensure, ensure_eq,
    generate::{agent, at, report_id, report_of},
    lab::{apt, pool, report_work},
    queries::{SORTS, any, asked},
};
use crate::{
    counters::CounterKey,
    ids::UpdateId,
    names::PackageKey,
    offer::Offer,
    query::{PageSize, PageStart, Sort, UpdateFilter, UpdateQuery, UpdateStats},
    state::{Context, PackageState, apply},
    store::{Mode, Store, StoreError},
};
use std::{collections::HashMap, sync::Arc};
use tokio::task::{JoinHandle, yield_now};

const REPORTS: u32 = 24;

/// Offers of which the first `STEADY` are in every report and never change; of the others every second report has all, the other
/// reports have some, at other versions.
const STEADY: usize = 30;
const ALL: usize = 60;
const FEW: usize = 45;

fn offers_of(report: u32, offers: &[(PackageKey, Offer)], others: &[(PackageKey, Offer)]) -> Vec<(PackageKey, Offer)> {
    if report.is_multiple_of(2) { offers.to_vec() } else { [&offers[..STEADY], &others[STEADY..FEW]].concat() }
}

/// Agent 0 reports again and again, in batches of seven events, while others read.
fn reporting(store: &Arc<dyn Store>) -> JoinHandle<Result<(), StoreError>> {
    let store = Arc::clone(store);
    let (offers, others) = (pool(60, "apt", ALL).1, pool(61, "apt", ALL).1);
    tokio::spawn(async move {
        for number in 0..REPORTS {
            let scope = apt(number, &offers_of(number, &offers, &others));
            let report = report_of(report_id(u64::from(number)), u64::from(number) + 1, vec![scope]);
            store.run(&report_work(agent(0), report, at(number), 7), Mode::Commit).await?;
            yield_now().await;
        }
        Ok(())
    })
}

async fn ended(writer: JoinHandle<Result<(), StoreError>>) -> CheckResult {
    writer.await.map_err(|error| Failure::new(format!("the writer panicked: {error}")))??;
    Ok(())
}

async fn store(harness: &dyn Harness) -> Result<Arc<dyn Store>, Failure> {
    let store = harness.fresh().await;
    Lab::over(Arc::clone(&store)).fleet.enrol(super::generate::enrolment(0)).await?;
    Ok(store)
}

pub(super) async fn a_page_and_its_counts_are_of_one_moment(harness: &dyn Harness) -> CheckResult {
    let store = store(harness).await?;
    let writer = reporting(&store);
    let size = asked(PageSize::new(500))?;
    loop {
        let last = writer.is_finished();
        for filter in [UpdateFilter::default(), any()] {
            let page = store.updates(&UpdateQuery { filter, size, ..UpdateQuery::default() }).await?;
            let mut recounted = UpdateStats::default();
            page.items.iter().for_each(|row| recounted.add(&CounterKey::of(&row.state), 1));
            ensure_eq!(page.stats, recounted, "the counts on a page read while reports arrive, against its rows");
            let open = page.items.iter().filter(|row| row.state.status().open()).count();
            ensure!([0, FEW, ALL].contains(&open), "{open} open rows are those of no report: a report has {FEW} or {ALL}");
        }
        let open = store.stats(&UpdateFilter::default()).await?.total as usize;
        ensure!([0, FEW, ALL].contains(&open), "{open} counted rows are those of no report: a report has {FEW} or {ALL}");
        if last {
            return ended(writer).await;
        }
        yield_now().await;
    }
}

pub(super) async fn a_state_is_never_seen_without_its_events(harness: &dyn Harness) -> CheckResult {
    let store = store(harness).await?;
    let changing: Vec<PackageKey> = pool(60, "apt", ALL).1.into_iter().skip(STEADY).step_by(5).map(|(package, _)| package).collect();
    let writer = reporting(&store);
    let mut last = false;
    while !last {
        last = writer.is_finished();
        for package in &changing {
            let id = UpdateId { agent: agent(0), package: package.clone() };
            let known = store.events(&id).await?.len() as u64;
            let row = store.update(&id).await?;
            let revision = row.as_ref().map_or(0, |row| row.state.revision);
            ensure!(revision >= known, "{package} is at revision {revision} after {known} events of it were read");
            let Some(row) = row else { continue };
            ensure_eq!(
                folded(&*store, &id, revision).await?,
                Some(row.state),
                "the state of {package} against its first {revision} events"
            );
            causes_are_stored(&*store, &id).await?;
        }
        let head = store.agent(agent(0)).await?.map_or(0, |head| head.events);
        let log = store.replay(agent(0), 0, u32::MAX).await?.len() as u64;
        ensure!(log >= head, "the agent's head tells of {head} events, and the log read afterwards has {log}");
        yield_now().await;
    }
    ended(writer).await
}

async fn folded(store: &dyn Store, id: &UpdateId, revision: u64) -> Result<Option<PackageState>, Failure> {
    let mut state = None;
    for recorded in store.events(id).await?.iter().filter(|recorded| recorded.revision <= revision) {
        let context = Context { actor: recorded.actor.clone(), received_at: recorded.received_at };
        let after = apply(state.as_ref(), &recorded.event, &context);
        state = Some(after.map_err(|rejection| Failure::new(format!("a stored event cannot be folded: {rejection} in {recorded:?}")))?);
    }
    Ok(state)
}

/// Batch and report of the newest event of a package can be read as soon as the event can.
async fn causes_are_stored(store: &dyn Store, id: &UpdateId) -> CheckResult {
    let Some(newest) = store.events(id).await?.pop() else { return Err(Failure::new(format!("{} has no event", id.package))) };
    let batch = store.batch(id.agent, newest.batch).await?;
    ensure!(batch.as_ref().is_some_and(|record| newest.index < record.receipt.submitted), "the batch of {newest:?} is stored as {batch:?}");
    let reports = store.reports(id.agent, u32::MAX).await?;
    let crate::event::Source::Report { report_id } = newest.source else {
        return Err(Failure::new(format!("an event of a report says that it came from {:?}", newest.source)));
    };
    ensure!(reports.iter().any(|report| report.report_id == report_id), "the report of {newest:?} is not stored");
    Ok(())
}

pub(super) async fn a_walk_among_writers_sees_every_steady_row_once(harness: &dyn Harness) -> CheckResult {
    let store = store(harness).await?;
    let offers = pool(60, "apt", ALL).1;
    let first = report_of(report_id(1_000), 0, vec![apt(0, &offers[..STEADY])]);
    store.run(&report_work(agent(0), first, at(0), 7), Mode::Commit).await?;
    let writer = reporting(&store);
    let mut last = false;
    while !last {
        last = writer.is_finished();
        for key in SORTS {
            for reverse in [false, true] {
                let sort = Sort { key, reverse };
                let seen = walk(&*store, sort).await?;
                for (package, _) in &offers[..STEADY] {
                    let times = seen.get(package).copied().unwrap_or(0);
                    ensure_eq!(times, 1, "how often {package}, which never changed, was seen on pages sorted by {sort}");
                }
            }
        }
    }
    ended(writer).await
}

async fn walk(store: &dyn Store, sort: Sort) -> Result<HashMap<PackageKey, u32>, Failure> {
    let mut query = UpdateQuery { filter: any(), sort, size: asked(PageSize::new(9))?, ..UpdateQuery::default() };
    let mut seen: HashMap<PackageKey, u32> = HashMap::new();
    loop {
        let page = store.updates(&query).await?;
        page.items.into_iter().for_each(|row| *seen.entry(row.state.package).or_default() += 1);
        match page.next {
            Some(next) => query.start = PageStart::After(next),
            None => return Ok(seen),
        }
        yield_now().await;
    }
}

//! The report of 3,772 updates (3,488 dnf, 277 apt, 7 docker): stored exactly, listed exactly, and cheap to repeat.

#[path = "common/seeded.rs"]
mod seeded;

use redflag_core::{
    Fleet,
    conformance::generate::{agent, at, enrolment, invalid_fact, report_id, report_of, scope_of},
    event::EventKind,
    ids::{AgentId, UpdateId},
    names::{Manager, PackageKey, Version},
    offer::Offer,
    query::{PageNumber, PageSize, PageStart, Sort, SortKey, StatusFilter, UpdateFilter, UpdateQuery},
    report::{Fact, FactOutcome, ReportStatus, ScopeContent},
    store::{EventStore, StateStore},
    words::{Status, WithdrawalReason},
};
use redflag_store_sqlite::{Options, SqliteStore};
use seeded::{Offers, first_report, offers};
use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

const COUNTS: [(&str, usize); 3] = [("dnf", 3_488), ("apt", 277), ("docker", 7)];
const ALL: u64 = 3_772;

fn store_in(directory: &tempfile::TempDir) -> (SqliteStore, Fleet) {
    let store = SqliteStore::open(directory.path().join("fleet.db"), Options::default()).expect("the store opens");
    (store.clone(), Fleet::new(store))
}

async fn reported(fleet: &Fleet, agent: AgentId, offers: &Offers) {
    let answer = fleet.record_report(agent, first_report(offers), at(1)).await.expect("the report is taken");
    assert_eq!((answer.status, u64::from(answer.events), answer.batches), (ReportStatus::Recorded, ALL, 38));
}

fn query(size: u32, sort: Sort) -> UpdateQuery {
    let filter = UpdateFilter { agent: Some(agent(0)), ..UpdateFilter::default() };
    UpdateQuery { filter, sort, size: PageSize::new(size).expect("a size within the limits"), start: PageStart::default() }
}

fn sorts() -> impl Iterator<Item = Sort> {
    let keys = [SortKey::Severity, SortKey::Name, SortKey::Agent, SortKey::LastChange];
    keys.into_iter().flat_map(|key| [false, true].map(|reverse| Sort { key, reverse }))
}

/// Every row of the list, page by page, by number.
async fn walk(store: &SqliteStore, mut query: UpdateQuery) -> Vec<UpdateId> {
    let mut ids = Vec::new();
    for number in 1.. {
        query.start = PageStart::Number(PageNumber::new(number).expect("numbers start at 1"));
        let page = store.updates(&query).await.expect("the store answers");
        assert_eq!(page.stats.total, ALL);
        assert_eq!(page.next.is_some(), (ids.len() + page.items.len()) < 3_772);
        ids.extend(page.items.iter().map(redflag_core::query::UpdateRow::id));
        if page.next.is_none() {
            break;
        }
    }
    ids
}

#[tokio::test]
async fn it_is_stored_exactly() {
    let directory = tempfile::tempdir().unwrap();
    let (store, fleet) = store_in(&directory);
    fleet.enrol(enrolment(0)).await.unwrap();
    let offers = offers(&COUNTS);
    reported(&fleet, agent(0), &offers).await;
    let stats = store.stats(&UpdateFilter::default()).await.unwrap();
    let by_manager: BTreeMap<Manager, u64> =
        COUNTS.iter().map(|(manager, count)| (Manager::parse(manager).unwrap(), *count as u64)).collect();
    assert_eq!((stats.total, stats.by_manager), (ALL, by_manager));
    for (package, offer) in offers.iter().flat_map(|(_, offers)| offers) {
        let row = store.update(&UpdateId { agent: agent(0), package: package.clone() }).await.unwrap().expect("every offer has a state");
        assert_eq!((&row.state.offer, row.state.revision, row.state.status()), (offer, 1, Status::Pending), "{package}");
    }
    let log = store.replay(agent(0), 0, u32::MAX).await.unwrap();
    assert!((1..).zip(&log).all(|(sequence, event)| event.sequence == sequence));
    assert_eq!(log.len() as u64, ALL);
}

#[tokio::test]
async fn every_row_is_reachable_at_every_size_under_every_sort() {
    let directory = tempfile::tempdir().unwrap();
    let (store, fleet) = store_in(&directory);
    fleet.enrol(enrolment(0)).await.unwrap();
    let offers = offers(&COUNTS);
    reported(&fleet, agent(0), &offers).await;
    let expected: HashSet<&PackageKey> = offers.iter().flat_map(|(_, offers)| offers).map(|(package, _)| package).collect();
    for sort in sorts() {
        let by_500 = walk(&store, query(500, sort)).await;
        let seen: HashSet<&PackageKey> = by_500.iter().map(|id| &id.package).collect();
        assert!(seen == expected && by_500.len() as u64 == ALL, "every row once by {sort}");
        for size in [50, 100, 200] {
            assert!(walk(&store, query(size, sort)).await == by_500, "the same order by {sort} at size {size}");
        }
    }
}

#[tokio::test]
async fn the_same_again_writes_no_event_and_the_next_exactly_its_changes() {
    let directory = tempfile::tempdir().unwrap();
    let (store, fleet) = store_in(&directory);
    fleet.enrol(enrolment(0)).await.unwrap();
    let mut offers = offers(&COUNTS);
    reported(&fleet, agent(0), &offers).await;
    let again = report_of(report_id(2), 2, offers.iter().map(|(manager, offers)| scope_of(manager, at(2), offers, &[])).collect());
    let answer = fleet.record_report(agent(0), again, at(2)).await.unwrap();
    assert_eq!((answer.status, answer.events, answer.outcomes.counts()), (ReportStatus::Unchanged, 0, (0, ALL, 0)));
    assert_eq!(store.replay(agent(0), ALL, 1).await.unwrap(), []);

    // 1 % of the dnf offers get a newer version, 0.5 % are gone.
    let dnf = &mut offers[0].1;
    let gone: Vec<PackageKey> = dnf.drain(100..119).map(|(package, _)| package).collect();
    let mut revised = Vec::new();
    for (package, offer) in dnf.iter_mut().step_by(90).take(38) {
        let candidate = &mut offer.candidate;
        Arc::make_mut(candidate).version = Version::parse("9:9.9-9").unwrap();
        revised.push(package.clone());
    }
    let third = report_of(report_id(3), 3, offers.iter().map(|(manager, offers)| scope_of(manager, at(3), offers, &[])).collect());
    let answer = fleet.record_report(agent(0), third, at(3)).await.unwrap();
    assert_eq!(answer.events as usize, revised.len() + gone.len());
    let events = store.replay(agent(0), ALL, 1_000).await.unwrap();
    let of = |wanted: fn(&EventKind) -> bool| -> HashSet<PackageKey> {
        events.iter().filter(|event| wanted(&event.event.kind)).map(|event| event.event.package.clone()).collect()
    };
    assert_eq!(of(|kind| matches!(kind, EventKind::Revised { .. })), revised.into_iter().collect());
    let withdrawn = |kind: &EventKind| matches!(kind, EventKind::Withdrawn { reason: WithdrawalReason::NoLongerOffered });
    assert_eq!(of(withdrawn), gone.into_iter().collect());
    assert_eq!(store.stats(&UpdateFilter::default()).await.unwrap().total, ALL - 19);
}

#[tokio::test]
async fn five_hundred_hostile_facts_harm_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let (store, fleet) = store_in(&directory);
    fleet.enrol(enrolment(0)).await.unwrap();
    fleet.enrol(enrolment(1)).await.unwrap();
    let offers = offers(&[("dnf", 3_272)]);
    let clean = report_of(report_id(1), 1, vec![scope_of("dnf", at(1), &offers[0].1, &[])]);
    let hostile_at = |index: usize| index == 0 || index == 3_771 || (1_000..1_200).contains(&index) || (index % 7 == 3 && index < 2_290);
    let mut good = offers[0].1.iter().map(|(package, offer): &(PackageKey, Offer)| Fact::Valid(package.clone(), offer.clone()));
    let mut hostile = 0;
    let facts: Vec<Fact<Offer>> = (0..3_772)
        .map(|index| {
            if hostile_at(index) && hostile < 500 || index >= 3_772 - (500 - hostile.min(500)) {
                hostile += 1;
                return invalid_fact(None);
            }
            good.next().expect("3,272 good facts")
        })
        .collect();
    assert_eq!((hostile, good.next()), (500, None));
    let mut scope = scope_of("dnf", at(1), &[], &[]);
    scope.content = ScopeContent::Facts { offers: facts.clone(), gone: Vec::new() };
    let answer = fleet.record_report(agent(0), report_of(report_id(1), 1, vec![scope]), at(1)).await.unwrap();
    assert_eq!(answer.outcomes.counts(), (3_272, 0, 500));
    for (outcome, fact) in answer.outcomes.iter().zip(&facts) {
        assert_eq!(matches!(outcome, FactOutcome::Rejected(_)), matches!(fact, Fact::Invalid { .. }));
    }
    fleet.record_report(agent(1), clean, at(1)).await.unwrap();
    let states = |number: u32| {
        let filter = UpdateFilter { agent: Some(agent(number)), status: StatusFilter::Any, ..UpdateFilter::default() };
        UpdateQuery { filter, sort: "name".parse().unwrap(), size: PageSize::new(500).unwrap(), start: PageStart::default() }
    };
    for page in 1..=7 {
        let start = PageStart::Number(PageNumber::new(page).unwrap());
        let of = async |number| store.updates(&UpdateQuery { start: start.clone(), ..states(number) }).await.unwrap();
        let (with, without) = (of(0).await, of(1).await);
        assert_eq!(with.stats, without.stats);
        let states = |page: redflag_core::query::UpdatePage| page.items.into_iter().map(|row| row.state).collect::<Vec<_>>();
        assert_eq!(states(with), states(without), "page {page}: nothing differs from the report without the hostile facts");
    }
}

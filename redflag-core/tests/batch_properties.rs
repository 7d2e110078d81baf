//! Properties of batches and reports that need no specification, only a second way to do the same (clauses B2, B3, B7, B12, R1).
//!
//! `REDFLAG_CASES` sets how many cases each property tries, `REDFLAG_SEED` replays one.
#![cfg(feature = "conformance")]
#![expect(clippy::unwrap_used, reason = "what fails in a test's helper fails the test")]

mod support;

use redflag_core::{
    MemoryStore,
    batch::{Batch, Outcome},
    conformance::generate::{
        Rng, agent, at, batch_id, checked, discovered, enrolment, event_id, hostile_offer, invalid_fact, manager, offer, report_id,
        report_of, scope_of,
    },
    counters::{CounterChanges, CounterKey},
    event::{Actor, ChangeInput, Event, EventInput},
    ids::EventId,
    names::PackageKey,
    offer::Offer,
    rejection::RejectionCode,
    report::{Fact, FactOutcome, Report, Scope, ScopeContent},
    state::{Context, PackageState, VersionChange, apply},
    store::{BatchStore, EventStore, Mode, StateStore},
    words::{ScanResult, Status},
    work::{Answer, RecordReport, SubmitBatch, UnitOfWork, Withheld},
};
use std::collections::HashMap;
use support::{for_all, now};

const KEYS: usize = 3;

/// What became of one event, told without naming a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Accepted,
    Duplicate,
    Rejected(RejectionCode),
}

fn store() -> MemoryStore {
    let store = MemoryStore::new();
    now(store.run(&UnitOfWork::EnrolAgent(enrolment(0)), Mode::Commit)).unwrap();
    store
}

fn submit(store: &MemoryStore, id: u64, events: &[EventInput]) -> Vec<Told> {
    let batch = Batch::new(agent(0), batch_id(id), Actor::Agent, events.to_vec()).unwrap();
    let work = UnitOfWork::SubmitBatch(SubmitBatch { batch, received_at: at(5), withheld: Withheld::default() });
    let Answer::Batch(receipt) = now(store.run(&work, Mode::Commit)).unwrap() else { panic!("a receipt") };
    assert_eq!(receipt.outcomes().count(), events.len(), "outcomes are dense (clause B4)");
    assert_eq!(receipt.accepted + receipt.duplicate + receipt.rejected, receipt.submitted, "outcomes add up (clause B4)");
    let told = receipt.outcomes().map(|outcome| match outcome {
        Outcome::Accepted => Told::Accepted,
        Outcome::Duplicate { .. } => Told::Duplicate,
        Outcome::Rejected(rejection) => Told::Rejected(rejection.code),
    });
    told.collect()
}

/// Everything about the agent that may not depend on how events were cut into batches.
type Seen = (Vec<PackageState>, Vec<(Event, u64, u64)>, Vec<VersionChange>, Vec<(CounterKey, i64)>);

fn seen(store: &MemoryStore) -> Seen {
    let states = store.states(agent(0));
    let log = now(store.replay(agent(0), 0, u32::MAX)).unwrap();
    let history = |state: &PackageState| {
        let id = redflag_core::ids::UpdateId { agent: agent(0), package: state.package.clone() };
        now(store.history(&id)).unwrap()
    };
    let history = states.iter().flat_map(history).collect();
    let recount: Vec<_> = CounterChanges::of_states(&states).iter().map(|(key, count)| (key.clone(), count)).collect();
    assert_eq!(store.counters(agent(0)), recount, "counters against a recount");
    (states, log.into_iter().map(|recorded| (recorded.event, recorded.sequence, recorded.revision)).collect(), history, recount)
}

/// Events about a few packages: good, impossible, hostile, repeated and with reused ids.
fn events(rng: &mut Rng, count: usize, first: u64) -> Vec<EventInput> {
    let mut events: Vec<EventInput> = Vec::with_capacity(count);
    for number in (first..).take(count) {
        if !events.is_empty() && rng.chance(8) {
            let again = rng.pick(&events).clone();
            events.push(again);
            continue;
        }
        let reused = rng.chance(5);
        let id = event_id(if reused { first + rng.next() % 3 } else { number });
        let offer = offer(rng, "apt", 2 * (number as usize * 7 % KEYS));
        let (package_name, arch, version) = (offer.package_name.clone(), offer.arch.clone(), offer.available_version.clone());
        let change = match rng.below(8) {
            0..3 => ChangeInput::Discovered(offer),
            3 => ChangeInput::Revised(offer),
            4 => ChangeInput::Withdrawn { package_name, arch, reason: "no-longer-offered".to_owned() },
            5 | 6 => ChangeInput::InstalledObserved { package_name, arch, version },
            _ => {
                events.push(discovered(id, "apt", hostile_offer(rng, "apt")));
                continue;
            }
        };
        events.push(EventInput { event_id: id, package_type: "apt".to_owned(), change, observed_at: None });
    }
    events
}

struct Case {
    before: Vec<EventInput>,
    events: Vec<EventInput>,
    rng: Rng,
}

impl Case {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let count = rng.below(4);
        let before = events(&mut rng, count, 1_000);
        let count = 1 + rng.below(7);
        let mut events = events(&mut rng, count, 2_000);
        if rng.chance(10) && !before.is_empty() {
            events.push(rng.pick(&before).clone());
        }
        Self { before, events, rng }
    }

    /// A store after the earlier events.
    fn store(&self) -> MemoryStore {
        let store = store();
        submit(&store, 1, &self.before);
        store
    }

    fn whole(&self) -> (Vec<Told>, Seen) {
        let store = self.store();
        let told = submit(&store, 2, &self.events);
        (told, seen(&store))
    }
}

#[test]
fn a_batch_is_the_sequence_of_its_events() {
    for_all("a_batch_is_the_sequence_of_its_events", 2_000, |seed| {
        let case = Case::new(seed);
        let store = case.store();
        let told: Vec<Told> = case.events.iter().zip(2..).flat_map(|(event, id)| submit(&store, id, std::slice::from_ref(event))).collect();
        assert_eq!((told, seen(&store)), case.whole());
    });
}

#[test]
fn rejected_events_could_as_well_be_absent() {
    for_all("rejected_events_could_as_well_be_absent", 2_000, |seed| {
        let case = Case::new(seed);
        let (told, after) = case.whole();
        let kept: Vec<EventInput> =
            case.events.iter().zip(&told).filter(|(_, told)| !matches!(told, Told::Rejected(_))).map(|(event, _)| event.clone()).collect();
        let store = case.store();
        let told_without = submit(&store, 2, &kept);
        let expected: Vec<Told> = told.into_iter().filter(|told| !matches!(told, Told::Rejected(_))).collect();
        assert_eq!((told_without, seen(&store)), (expected, after));
    });
}

#[test]
fn where_a_batch_is_cut_is_unobservable() {
    for_all("where_a_batch_is_cut_is_unobservable", 2_000, |seed| {
        let mut case = Case::new(seed);
        let expected = case.whole();
        let store = case.store();
        let (mut told, mut rest, mut id) = (Vec::new(), case.events.as_slice(), 2);
        while !rest.is_empty() {
            let (part, later) = rest.split_at(1 + case.rng.below(rest.len()));
            told.extend(submit(&store, id, part));
            (rest, id) = (later, id + 1);
        }
        assert_eq!((told, seen(&store)), expected);
    });
}

#[test]
fn hostile_events_anywhere_change_nothing_else() {
    for_all("hostile_events_anywhere_change_nothing_else", 2_000, |seed| {
        let mut case = Case::new(seed);
        let (told, after) = case.whole();
        let mut with = case.events.clone();
        let mut marks: Vec<bool> = vec![false; with.len()];
        for number in 0..=case.rng.below(4) {
            let place = match number {
                0 => *case.rng.pick(&[0, with.len()]),
                _ => case.rng.below(with.len() + 1),
            };
            let hostile = hostile_offer(&mut case.rng, "apt");
            with.insert(place, discovered(event_id(9_000 + number as u64), "apt", hostile));
            marks.insert(place, true);
        }
        let store = case.store();
        let all = submit(&store, 2, &with);
        let (hostile, others): (Vec<_>, Vec<_>) = all.into_iter().zip(marks).partition(|(_, hostile)| *hostile);
        assert!(hostile.iter().all(|(told, _)| matches!(told, Told::Rejected(_))), "a hostile event passed: {with:?}");
        assert_eq!((others.into_iter().map(|(told, _)| told).collect::<Vec<_>>(), seen(&store)), (told, after));
    });
}

#[test]
fn events_of_different_packages_may_change_places() {
    for_all("events_of_different_packages_may_change_places", 2_000, |seed| {
        let mut case = Case::new(seed);
        // An id that stands twice ties its events together whatever their packages.
        let mut ids: Vec<EventId> = case.before.iter().map(|event| event.event_id).collect();
        case.events.retain(|event| {
            let new = !ids.contains(&event.event_id);
            ids.push(event.event_id);
            new
        });
        let (told, (states, ..)) = case.whole();
        let mut order: Vec<usize> = (0..case.events.len()).collect();
        for _ in 0..20 {
            let place = case.rng.below(order.len().saturating_sub(1).max(1));
            if place + 1 < order.len() && name(&case.events[order[place]]) != name(&case.events[order[place + 1]]) {
                order.swap(place, place + 1);
            }
        }
        let permuted: Vec<EventInput> = order.iter().map(|index| case.events[*index].clone()).collect();
        let store = case.store();
        let mut told_permuted = submit(&store, 2, &permuted).into_iter().zip(order).collect::<Vec<_>>();
        told_permuted.sort_by_key(|(_, index)| *index);
        assert_eq!(told_permuted.into_iter().map(|(told, _)| told).collect::<Vec<_>>(), told);
        assert_eq!(store.states(agent(0)), states);
    });
}

fn name(event: &EventInput) -> (&str, Option<&str>) {
    match &event.change {
        ChangeInput::Discovered(offer) | ChangeInput::Revised(offer) => (&offer.package_name, offer.arch.as_deref()),
        ChangeInput::Withdrawn { package_name, arch, .. } | ChangeInput::InstalledObserved { package_name, arch, .. } => {
            (package_name, arch.as_deref())
        }
    }
}

#[test]
fn the_same_events_again_are_duplicates_and_the_fold_rebuilds_the_states() {
    for_all("the_same_events_again_are_duplicates_and_the_fold_rebuilds_the_states", 2_000, |seed| {
        let case = Case::new(seed);
        let store = case.store();
        let told = submit(&store, 2, &case.events);
        let before = seen(&store);
        let accepted: Vec<EventInput> =
            case.events.iter().zip(&told).filter(|(_, told)| **told == Told::Accepted).map(|(event, _)| event.clone()).collect();
        assert!(submit(&store, 3, &accepted).iter().all(|told| *told == Told::Duplicate));
        assert_eq!(submit(&store, 2, &case.events), told, "the batch again");
        assert_eq!(seen(&store), before);

        let mut folded: HashMap<PackageKey, PackageState> = HashMap::new();
        for recorded in now(store.replay(agent(0), 0, u32::MAX)).unwrap() {
            let context = Context { actor: recorded.actor, received_at: recorded.received_at };
            let after = apply(folded.get(&recorded.event.package), &recorded.event, &context).unwrap();
            assert_eq!(after.revision, recorded.revision);
            folded.insert(after.package.clone(), after);
        }
        let mut folded: Vec<_> = folded.into_values().collect();
        folded.sort_by(|a, b| a.package.cmp(&b.package));
        assert_eq!(folded, before.0);
    });
}

fn record(store: &MemoryStore, report: &Report, batch_events: u32) -> redflag_core::report::ReportAnswer {
    let report = report.clone().into();
    let work = RecordReport { agent: agent(0), report, received_at: at(7), batch_events, withheld: Withheld::default() };
    match now(store.run(&UnitOfWork::RecordReport(work), Mode::Commit)).unwrap() {
        Answer::Report(answer) => answer,
        other => panic!("a report was answered as {other:?}"),
    }
}

/// What a host of up to `packages` packages is offered.
fn host(rng: &mut Rng, packages: usize) -> Vec<(PackageKey, Offer)> {
    let numbers: Vec<usize> = (0..packages).filter(|_| rng.chance(60)).collect();
    let offers: Vec<_> = numbers.into_iter().map(|number| offer(rng, "apt", number)).collect();
    checked("apt", &offers)
}

/// A complete scan with some facts made hostile, but none without a key.
fn scan(rng: &mut Rng, second: u32, packages: usize) -> Scope {
    let mut scope = scope_of("apt", at(second), &host(rng, packages), &[]);
    if let ScopeContent::Facts { offers, .. } = &mut scope.content {
        for fact in offers {
            if rng.chance(10)
                && let Fact::Valid(package, _) = fact
            {
                *fact = invalid_fact(Some(package.clone()));
            }
        }
    }
    scope
}

#[test]
fn a_report_again_under_another_id_finds_nothing_to_do() {
    for_all("a_report_again_under_another_id_finds_nothing_to_do", 2_000, |seed| {
        let mut rng = Rng::new(seed);
        let store = store();
        for number in 1..4_u32 {
            let scope = scan(&mut rng, number, 8);
            let ScopeContent::Facts { offers, .. } = scope.content.clone() else { panic!("facts") };
            let clean = offers.iter().all(|fact| matches!(fact, Fact::Valid(..)));
            record(&store, &report_of(report_id(u64::from(number)), u64::from(number) * 2, vec![scope.clone()]), 100);
            let before = seen(&store);
            let again = record(&store, &report_of(report_id(100 + u64::from(number)), u64::from(number) * 2 + 1, vec![scope]), 100);
            assert_eq!(again.events, 0, "{again:?}");
            assert_eq!(again.batches == 0, clean, "only rejections are told again");
            assert_eq!(seen(&store), before);
        }
    });
}

#[test]
fn where_a_report_is_cut_is_unobservable() {
    for_all("where_a_report_is_cut_is_unobservable", 1_500, |seed| {
        let mut rng = Rng::new(seed);
        let scans: Vec<Scope> = (1..4).map(|second| scan(&mut rng, second, 10)).collect();
        let told = |batch_events: u32| {
            let store = store();
            let answers: Vec<_> = (1..)
                .zip(&scans)
                .map(|(number, scope)| {
                    let answer = record(&store, &report_of(report_id(number), number, vec![scope.clone()]), batch_events);
                    (answer.status, answer.events, answer.outcomes)
                })
                .collect();
            (answers, seen(&store))
        };
        let whole = told(10_000);
        for batch_events in [1, 7, 100] {
            assert_eq!(told(batch_events), whole, "in batches of {batch_events}");
        }
    });
}

#[test]
fn a_rejected_fact_takes_no_other_with_it() {
    for_all("a_rejected_fact_takes_no_other_with_it", 2_000, |seed| {
        let mut rng = Rng::new(seed);
        let (before, offers) = (host(&mut rng, 8), host(&mut rng, 8));
        let first = report_of(report_id(1), 1, vec![scope_of("apt", at(1), &before, &[])]);
        let clean = store();
        record(&clean, &first, 100);
        record(&clean, &report_of(report_id(2), 2, vec![scope_of("apt", at(2), &offers, &[])]), 100);

        let spoilt = store();
        record(&spoilt, &first, 100);
        let mut scope = scope_of("apt", at(2), &offers, &[]);
        let ScopeContent::Facts { offers: facts, .. } = &mut scope.content else { panic!("facts") };
        let bad: Vec<bool> = facts.iter().map(|_| rng.chance(30)).collect();
        for (fact, _) in facts.iter_mut().zip(&bad).filter(|(_, bad)| **bad) {
            let Fact::Valid(package, _) = fact else { panic!("a valid fact") };
            *fact = invalid_fact(Some(package.clone()));
        }
        let answer = record(&spoilt, &report_of(report_id(2), 2, vec![scope]), 2);
        let rejected: Vec<bool> = answer.outcomes.iter().map(|outcome| matches!(outcome, FactOutcome::Rejected(_))).collect();
        assert_eq!(rejected, bad);
        let shielded: Vec<&PackageKey> = offers.iter().zip(&bad).filter(|(_, bad)| **bad).map(|((package, _), _)| package).collect();
        let others = |store: &MemoryStore| {
            let states = store.states(agent(0)).into_iter().filter(|state| !shielded.contains(&&state.package));
            states.collect::<Vec<_>>()
        };
        assert_eq!(others(&spoilt), others(&clean), "packages whose facts passed");
        for state in spoilt.states(agent(0)).iter().filter(|state| shielded.contains(&&state.package)) {
            let known = before.iter().find(|(package, _)| *package == state.package);
            assert_eq!(known.map(|(_, offer)| offer), Some(&state.offer), "a shielded package stays as it was");
            assert_eq!(state.status(), Status::Pending);
        }
    });
}

#[test]
fn partial_failed_and_stale_scans_close_nothing() {
    for_all("partial_failed_and_stale_scans_close_nothing", 2_000, |seed| {
        let mut rng = Rng::new(seed);
        let store = store();
        let before = host(&mut rng, 8);
        record(&store, &report_of(report_id(1), 5, vec![scope_of("apt", at(1), &before, &[])]), 100);
        let mut scope = scan(&mut rng, 2, 8);
        let sequence = match rng.below(3) {
            0 => {
                scope.result = ScanResult::Partial;
                6
            }
            1 => {
                scope.result = ScanResult::Failed;
                scope.content = ScopeContent::Facts { offers: Vec::new(), gone: Vec::new() };
                6
            }
            _ => 1 + rng.next() % 5,
        };
        record(&store, &report_of(report_id(2), sequence, vec![scope]), 3);
        let states = store.states(agent(0));
        for (package, _) in &before {
            let state = states.iter().find(|state| state.package == *package).unwrap();
            assert_eq!(state.status(), Status::Pending, "{package}");
        }
        if sequence < 6 {
            assert_eq!(states.len(), before.len(), "a stale report adds nothing");
        }
        assert!(now(store.agent(agent(0))).unwrap().unwrap().scopes.contains_key(&manager("apt")));
    });
}

//! Core against the naive specification: every answer and every state of seeded histories (clauses B1 to B12, S1 to S4, R1 to R4).
//!
//! `REDFLAG_CASES` sets how many histories are tried, `REDFLAG_SEED` replays one.
#![cfg(feature = "conformance")]
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "what fails in a test's helper fails the test")]

mod support;

use redflag_core::{
    MemoryStore,
    batch::{Outcome, Receipt},
    conformance::{Shape, history},
    counters::CounterChanges,
    query::UpdateQuery,
    report::FactOutcome,
    store::{BatchStore, EventStore, Mode, StateStore, StoreErrorKind},
    words::{ScanResult, Status},
    work::{Answer, UnitOfWork},
};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use support::{
    for_all,
    naive::{self, Naive},
    now,
};

fn of_receipt(receipt: &Receipt) -> naive::Answer {
    let outcomes = receipt.outcomes().map(|outcome| match outcome {
        Outcome::Accepted => naive::Outcome::Accepted,
        Outcome::Duplicate { batch, index } => naive::Outcome::Duplicate(batch, index),
        Outcome::Rejected(rejection) => naive::Outcome::Rejected(rejection.code),
    });
    assert_eq!(receipt.accepted + receipt.duplicate + receipt.rejected, receipt.submitted, "clause B4");
    naive::Answer::Receipt { number: receipt.number, outcomes: outcomes.collect() }
}

fn run(store: &MemoryStore, work: &UnitOfWork) -> naive::Answer {
    match now(store.run(work, Mode::Commit)) {
        Ok(Answer::Batch(receipt) | Answer::Decision(receipt)) => of_receipt(&receipt),
        Ok(Answer::Report(answer)) => naive::Answer::Report {
            status: answer.status.as_str(),
            full_required: answer.full_required,
            quarantined: answer.quarantined,
            batches: answer.batches,
            events: answer.events,
            outcomes: answer
                .outcomes
                .iter()
                .map(|outcome| match outcome {
                    FactOutcome::Recorded => naive::FactSays::Recorded,
                    FactOutcome::Unchanged => naive::FactSays::Unchanged,
                    FactOutcome::Rejected(rejection) => naive::FactSays::Rejected(rejection.code),
                })
                .collect(),
        },
        Ok(Answer::Enrolled) => naive::Answer::Enrolled,
        Ok(other) => panic!("no history of events is answered so: {other:?}"),
        Err(error) => match error.kind() {
            StoreErrorKind::Refused(refusal) => naive::Answer::Refused(refusal.clone()),
            other => panic!("the memory store failed: {other:?}"),
        },
    }
}

fn sorted<T: Clone>(items: &[T], key: impl Fn(&T) -> redflag_core::names::PackageKey) -> Vec<T> {
    let mut items = items.to_vec();
    items.sort_by_key(key);
    items
}

fn same(store: &MemoryStore, naive: &Naive, what: &str) {
    for known in &naive.agents {
        let agent = known.head.agent;
        assert_eq!(now(store.agent(agent)).unwrap().as_ref(), Some(&known.head), "{what}: head");
        let states = store.states(agent);
        assert_eq!(states, sorted(&known.states, |state| state.package.clone()), "{what}: states");
        assert_eq!(now(store.replay(agent, 0, u32::MAX)).unwrap(), known.log, "{what}: log");
        let recount: Vec<_> = CounterChanges::of_states(&states).iter().map(|(key, count)| (key.clone(), count)).collect();
        assert_eq!(store.counters(agent), recount, "{what}: counters against a recount (clause Q2)");
        for (batch, index, code) in &known.rejections {
            let kept = now(store.rejections(agent, *batch)).unwrap();
            assert!(kept.iter().any(|item| item.index == *index && item.rejection.code == *code), "{what}: rejection {index} of {batch}");
        }
    }
}

fn histories_keep_to_the_naive_specification(test: &str, ordinary: u64, shape: Shape) -> Seen {
    let seen = Seen::default();
    for_all(test, ordinary, |seed| {
        let (store, mut naive) = (MemoryStore::new(), Naive::default());
        for (step, work) in history(seed, shape).iter().enumerate() {
            let (found, expected) = (run(&store, work), naive.run(work));
            assert_eq!(found, expected, "answer to unit of work {step} of history {seed}: {work:?}");
            seen.note(work, &found);
        }
        same(&store, &naive, &format!("history {seed}"));
        for known in &naive.agents {
            let history = sorted(&known.history, |change| change.package.clone());
            let mut packages: Vec<_> = known.states.iter().map(|state| state.package.clone()).collect();
            packages.sort();
            let stored: Vec<_> = packages
                .into_iter()
                .flat_map(|package| now(store.history(&redflag_core::ids::UpdateId { agent: known.head.agent, package })).unwrap())
                .collect();
            assert_eq!(stored, history, "version history of history {seed}");
        }
    });
    println!("{test}: {seen:?}");
    seen
}

/// How often something happened: a generator that never makes it proves nothing.
#[derive(Debug, Default)]
struct Seen {
    batches: AtomicU64,
    events: AtomicU64,
    duplicates: AtomicU64,
    rejections: AtomicU64,
    stale: AtomicU64,
    quarantined: AtomicU64,
    full_required: AtomicU64,
    refused: AtomicU64,
    partial: AtomicU64,
}

impl Seen {
    fn note(&self, work: &UnitOfWork, answer: &naive::Answer) {
        let add = |counter: &AtomicU64, count: usize| {
            counter.fetch_add(count as u64, Relaxed);
        };
        match answer {
            naive::Answer::Receipt { outcomes, .. } => {
                add(&self.batches, 1);
                add(&self.events, outcomes.len());
                add(&self.duplicates, outcomes.iter().filter(|outcome| matches!(outcome, naive::Outcome::Duplicate(..))).count());
                add(&self.rejections, outcomes.iter().filter(|outcome| matches!(outcome, naive::Outcome::Rejected(_))).count());
            }
            naive::Answer::Report { status, full_required, quarantined, batches, events, .. } => {
                add(&self.batches, *batches as usize);
                add(&self.events, *events as usize);
                add(&self.stale, usize::from(*status == "stale"));
                add(&self.quarantined, quarantined.len());
                add(&self.full_required, full_required.len());
            }
            naive::Answer::Refused(_) => add(&self.refused, 1),
            naive::Answer::Enrolled => {}
        }
        if let UnitOfWork::RecordReport(work) = work {
            add(&self.partial, work.report.scopes.iter().filter(|scope| scope.result != ScanResult::Complete).count());
        }
    }
}

#[test]
fn histories_of_small_hosts() {
    let shape = Shape { agents: 2, steps: 30, packages: 4 };
    let seen = histories_keep_to_the_naive_specification("histories_of_small_hosts", 3_200, shape);
    for (what, counter) in [
        ("duplicates", &seen.duplicates),
        ("rejections", &seen.rejections),
        ("stale reports", &seen.stale),
        ("foreign digests", &seen.full_required),
        ("refusals", &seen.refused),
        ("partial scans", &seen.partial),
    ] {
        assert!(counter.load(Relaxed) > 0 || support::replaying(), "no history had {what}");
    }
}

#[test]
fn histories_of_large_hosts_with_collapses() {
    let shape = Shape { agents: 1, steps: 40, packages: 320 };
    let seen = histories_keep_to_the_naive_specification("histories_of_large_hosts_with_collapses", 12, shape);
    assert!(seen.quarantined.load(Relaxed) > 0 || support::replaying(), "no scan was quarantined");
}

#[test]
fn every_status_a_history_can_reach_is_reached() {
    let store = MemoryStore::new();
    for work in history(1, Shape { agents: 3, steps: 300, packages: 12 }) {
        drop(now(store.run(&work, Mode::Commit)));
    }
    let filter = redflag_core::query::UpdateFilter { status: redflag_core::query::StatusFilter::Any, ..Default::default() };
    let stats = now(store.updates(&UpdateQuery { filter, ..UpdateQuery::default() })).unwrap().stats;
    for status in [Status::Pending, Status::Approved, Status::Ignored, Status::Installed, Status::Withdrawn] {
        assert!(stats.by_status.contains_key(&status), "{status}: {stats:?}");
    }
}

//! Bulk decisions that are stopped midway, again and again, end with the effect and the counts of one that was not.
#![cfg(feature = "conformance")]
#![expect(clippy::unwrap_used, reason = "what fails in a test's helper fails the test")]

mod support;

use async_trait::async_trait;
use redflag_core::{
    Fleet, MemoryStore,
    bulk::{BulkDecision, Operation, OperationCounts, Selected, Selection},
    conformance::generate::{Rng, agent, at, checked, enrolment, offers, report_id, report_of, scope_of, text},
    feed::FeedPosition,
    ids::OperationId,
    past::Moment,
    query::{PageSize, StatusFilter, UpdateFilter, UpdateQuery, UpdateStats},
    store::{BatchStore, Mode, StoreError, StoreErrorKind},
    words::{IgnoreScope, Severity, Status},
    work::{Answer, UnitOfWork},
};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering},
};
use support::{
    for_all, now,
    wrapped::{Twist, Wrapped},
};

/// Fails the commit whose turn it is, before it happens or after, as a process that is killed does.
#[derive(Debug)]
struct Killed {
    commits_left: AtomicU64,
    after_commit: AtomicBool,
}

impl Killed {
    const NEVER: (u64, bool) = (u64::MAX, false);

    fn next(&self, (commits, after_commit): (u64, bool)) {
        self.commits_left.store(commits, Ordering::Relaxed);
        self.after_commit.store(after_commit, Ordering::Relaxed);
    }
}

#[async_trait]
impl Twist for Killed {
    async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
        if !matches!(work, UnitOfWork::Decide(_)) || self.commits_left.fetch_sub(1, Ordering::Relaxed) != 0 {
            return memory.run(work, mode).await;
        }
        if self.after_commit.load(Ordering::Relaxed) {
            memory.run(work, mode).await?;
        }
        Err(StoreError::new(StoreErrorKind::OutcomeUnknown))
    }
}

const AGENTS: u32 = 6;

/// A fleet of agents that each offer something else, shown, and then some of them changed.
fn shown(seed: u64, fleet: &Fleet) -> FeedPosition {
    let mut rng = Rng::new(seed);
    let report = |host: u32, number: u32, offers: &[_]| {
        let scope = scope_of("apt", at(number), offers, &[]);
        let report = report_of(report_id(u64::from(number)), u64::from(number), vec![scope]);
        now(fleet.record_report(agent(host), report, at(number))).unwrap();
    };
    let mut pools = Vec::new();
    for host in 0..AGENTS {
        now(fleet.enrol(enrolment(host))).unwrap();
        let count = rng.below(40);
        let pool = checked("apt", &offers(&mut rng, "apt", count));
        report(host, 1, &pool);
        pools.push(pool);
    }
    let as_of = now(fleet.store().feed_grown(FeedPosition::START)).unwrap();
    for host in 0..AGENTS {
        if rng.chance(50) {
            let count = rng.below(40);
            report(host, 2, &checked("apt", &offers(&mut rng, "apt", count)));
        }
    }
    as_of
}

fn carried_out(seed: u64, kills: &[(u64, bool)]) -> (OperationCounts, Vec<(String, Status)>) {
    let killed = Killed { commits_left: AtomicU64::new(u64::MAX), after_commit: AtomicBool::new(false) };
    let store = Arc::new(Wrapped::new(killed));
    let fleet = Fleet::shared(Arc::clone(&store) as _);
    let operation = Operation {
        id: "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3".parse::<OperationId>().unwrap(),
        operator: text("ada"),
        selection: Selection { filter: UpdateFilter::default(), as_of: shown(seed, &fleet) },
        decision: BulkDecision::Approve { comment: None },
    };
    let possible = now(fleet.select(&operation.selection, &operation.decision)).unwrap().possible;
    for kill in kills {
        store.twist.next(*kill);
        // Killed or not: with few agents it may have come through.
        let _ = now(fleet.carry_out(&operation, at(3), |_| ()));
    }
    store.twist.next(Killed::NEVER);
    let mut told = OperationCounts::default();
    let counts = now(fleet.carry_out(&operation, at(4), |counts| told = *counts)).unwrap();
    assert_eq!(told, counts, "the last progress told is the outcome");
    assert_eq!(counts.done + counts.changed + counts.failed, possible, "every update shown is counted once");
    let query = UpdateQuery { size: PageSize::new(500).unwrap(), ..UpdateQuery::default() };
    let page = now(fleet.store().updates(&query)).unwrap();
    assert_eq!(page.items.len() as u64, page.stats.total);
    let rows = page.items.iter().map(|row| (format!("{} {}", row.agent, row.state.package), row.state.status()));
    (counts, rows.collect())
}

#[test]
fn an_operation_stopped_midway_goes_on_where_it_stopped() {
    for_all("an_operation_stopped_midway_goes_on_where_it_stopped", 200, |seed| {
        let mut rng = Rng::new(seed ^ 0xb01d);
        let kills: Vec<_> = (0..1 + rng.below(4)).map(|_| (rng.below(AGENTS as usize) as u64, rng.chance(50))).collect();
        assert_eq!(carried_out(seed, &kills), carried_out(seed, &[]), "kills: {kills:?}");
    });
}

#[test]
fn what_changed_since_it_was_shown_is_left_alone() {
    let outcomes: Vec<_> = (0..40).map(|seed| carried_out(seed, &[]).0).collect();
    assert!(outcomes.iter().any(|counts| counts.changed > 0) && outcomes.iter().any(|counts| counts.done > 0), "{outcomes:?}");
}

/// Lets an agent report right before its updates are counted, or right after.
#[derive(Debug, Default)]
struct Interrupted {
    before: Mutex<Option<Fleet>>,
    after: Mutex<Option<Fleet>>,
}

impl Interrupted {
    fn interrupt(whom: &Mutex<Option<Fleet>>) {
        // Taken out, because to report is to read, too.
        if let Some(fleet) = whom.lock().unwrap().take() {
            let report = report_of(report_id(9), 9, vec![scope_of("apt", at(9), &[], &[])]);
            now(fleet.record_report(agent(0), report, at(9))).unwrap();
        }
    }
}

#[async_trait]
impl Twist for Interrupted {
    fn filter(&self, filter: &UpdateFilter) -> UpdateFilter {
        Self::interrupt(&self.before);
        filter.clone()
    }
    fn stats(&self, found: UpdateStats) -> UpdateStats {
        Self::interrupt(&self.after);
        found
    }
}

fn decisions() -> [BulkDecision; 4] {
    [
        BulkDecision::Approve { comment: None },
        BulkDecision::WithdrawApproval { comment: None },
        BulkDecision::Ignore { scope: IgnoreScope::Version, until: None, reason: None },
        BulkDecision::Reopen { comment: None },
    ]
}

/// What [`Fleet::select_each`] answers, from the logs alone.
fn folded(fleet: &Fleet, selection: &Selection) -> [Selected; 4] {
    let mut selected = [Selected::default(); 4];
    for agent in (0..AGENTS).map(agent) {
        let mut states = now(fleet.states_at(agent, Moment::Position(selection.as_of))).unwrap();
        states.retain(|state| selection.filter.matches(agent, state));
        for (selected, decision) in selected.iter_mut().zip(decisions()) {
            let possible = states.iter().filter(|state| decision.possible(state)).count() as u64;
            selected.matching += states.len() as u64;
            selected.possible += possible;
            selected.agents += u64::from(possible > 0);
        }
    }
    selected
}

#[test]
fn counters_and_logs_select_the_same_at_every_position() {
    for_all("counters_and_logs_select_the_same_at_every_position", 200, |seed| {
        let mut rng = Rng::new(seed ^ 0x5e1ec7);
        let store = Arc::new(Wrapped::new(Interrupted::default()));
        let fleet = Fleet::shared(Arc::clone(&store) as _);
        let as_of = shown(seed, &fleet);
        let approve = Operation {
            id: "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3".parse().unwrap(),
            operator: text("ada"),
            selection: Selection { filter: UpdateFilter { severity: Some(Severity::Important), ..UpdateFilter::default() }, as_of },
            decision: decisions()[rng.below(2) * 2].clone(),
        };
        now(fleet.carry_out(&approve, at(3), |_| ())).unwrap();
        let end = now(fleet.selection_now(UpdateFilter::default())).unwrap().as_of.0;
        let interrupted = rng.below(end as usize + 1) as u64;
        for position in 0..=end {
            let status = [StatusFilter::Open, StatusFilter::Any, StatusFilter::Is(Status::Approved)][rng.below(3)];
            let severity = rng.chance(30).then_some(Severity::Important);
            let filter = UpdateFilter { status, severity, agent: rng.chance(30).then(|| agent(0)), ..UpdateFilter::default() };
            let selection = Selection { filter, as_of: FeedPosition(position) };
            let expected = folded(&fleet, &selection);
            if position == interrupted {
                let whom = if rng.chance(50) { &store.twist.before } else { &store.twist.after };
                *whom.lock().unwrap() = Some(fleet.clone());
            }
            assert_eq!(now(fleet.select_each(&selection, &decisions())).unwrap(), expected, "{selection:?}");
        }
    });
}

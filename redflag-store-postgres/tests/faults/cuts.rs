//! A connection that is cut: before its commit, after it, or anywhere. What the caller is told is true, and asking again finds out.

use crate::subject::{SHAPE, Subject, connected};
use redflag_core::{
    Fleet,
    conformance::{
        Findings,
        generate::{Rng, agent, at, checked, enrolment, offers, report_id, report_of, scope_of},
    },
    report::Report,
    store::{BatchStore as _, Durability, EventStore as _, Mode, StoreErrorKind},
    work::{RecordReport, UnitOfWork, Withheld},
};
use redflag_faults::{Campaign, Cluster, Cut, Proxy};
use redflag_store_postgres::PostgresStore;
use std::sync::Arc;

const EVENTS: u32 = 20;

fn report() -> Report {
    let offers = checked("apt", &offers(&mut Rng::new(1), "apt", EVENTS as usize));
    report_of(report_id(1), 1, vec![scope_of("apt", at(1), &offers, &[])])
}

/// A fleet behind a proxy whose next commit is that of the report; with the same fleet by a way that nobody cuts.
async fn behind(cluster: &Cluster) -> (Proxy, Fleet, PostgresStore) {
    let proxy = Proxy::before(&cluster.socket()).await;
    let (cut, whole) = (connected(&proxy.url(), Durability::Power).await, connected(&cluster.url(), Durability::Power).await);
    whole.run(&UnitOfWork::EnrolAgent(enrolment(0)), Mode::Commit).await.unwrap();
    // Rows that agents share are made in transactions of their own: they shall be there before.
    let withheld = Withheld::default();
    let work = RecordReport { agent: agent(0), report: Arc::new(report()), received_at: at(1), batch_events: 100, withheld };
    cut.run(&UnitOfWork::RecordReport(work), Mode::Rehearse).await.unwrap();
    (proxy, Fleet::new(cut), whole)
}

async fn events(store: &PostgresStore) -> u32 {
    u32::try_from(store.replay(agent(0), 0, 1_000).await.unwrap().len()).unwrap()
}

#[tokio::test]
async fn a_connection_cut_before_the_commit_leaves_nothing_and_the_outcome_unknown() {
    let cluster = Cluster::new(&[]);
    let (proxy, fleet, whole) = behind(&cluster).await;
    proxy.arm(Cut::BeforeCommit(0));
    let error = fleet.record_report(agent(0), report(), at(1)).await.unwrap_err();
    assert_eq!((error.kind(), proxy.disarm()), (&StoreErrorKind::OutcomeUnknown, 1), "{error:?}");
    assert_eq!(events(&whole).await, 0);
    let answer = fleet.record_report(agent(0), report(), at(2)).await.unwrap();
    assert_eq!((answer.events, events(&whole).await), (EVENTS, EVENTS));
}

#[tokio::test]
async fn a_connection_cut_after_the_commit_leaves_all_of_it_and_the_outcome_unknown() {
    let cluster = Cluster::new(&[]);
    let (proxy, fleet, whole) = behind(&cluster).await;
    proxy.arm(Cut::AfterCommit(0));
    let error = fleet.record_report(agent(0), report(), at(1)).await.unwrap_err();
    assert_eq!((error.kind(), proxy.disarm()), (&StoreErrorKind::OutcomeUnknown, 1), "{error:?}");
    assert_eq!(events(&whole).await, EVENTS);
    let answer = fleet.record_report(agent(0), report(), at(2)).await.unwrap();
    assert_eq!((answer.events, events(&whole).await), (EVENTS, EVENTS), "once, whoever asks again");
    assert_eq!(whole.reports(agent(0), 10).await.unwrap()[0].received_at, at(1), "what is stored is what was committed first");
}

fn somewhere(rng: &mut Rng) -> Cut {
    let others = u32::try_from(rng.below(40)).unwrap();
    match rng.below(3) {
        0 => Cut::BeforeCommit(others),
        1 => Cut::AfterCommit(others),
        _ => Cut::AfterBytes(rng.next() % 200_000),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_cut_anywhere_lose_nothing_and_double_nothing() {
    let test = "-p redflag-store-postgres --test faults connections_cut_anywhere_lose_nothing_and_double_nothing";
    let mut campaign = Campaign::new("PostgreSQL: connection cut", test, 25);
    let cluster = Cluster::new(&[]);
    let (mut cut, mut unknown) = (0, 0);
    while let Some((seed, mut rng)) = campaign.seed() {
        let proxy = Proxy::before(&cluster.socket()).await;
        let mut subject = Subject::new(&proxy.url(), seed, Durability::Power).await;
        while !subject.witness.finished() && campaign.cycle() {
            let writing = subject.begin(10);
            proxy.arm(somewhere(&mut rng));
            let failures = subject.ended(writing).await;
            proxy.disarm();
            unknown += failures.iter().filter(|kind| **kind == StoreErrorKind::OutcomeUnknown).count();
            // A commit that reached the server may still be at it.
            cluster.wait_until_idle();
            subject.audit().await;
        }
        cut += proxy.disarm();
        campaign.add(&subject.settle().await);
        cluster.sql("DROP SCHEMA redflag CASCADE");
    }
    assert!(cut > 0 && unknown > 0, "{cut} connections were cut, {unknown} outcomes unknown");
    campaign.end(&format!("{cut} connections cut, {unknown} outcomes unknown"));
}

/// Units of work of one agent follow each other only because they take its lock first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_harness_sees_that_a_lock_is_missing() {
    let cluster = Cluster::new(&[]);
    let mut found = Findings::default();
    for seed in 0..5 {
        cluster.sql("DROP SCHEMA IF EXISTS redflag CASCADE");
        let proxy = Proxy::before(&cluster.socket()).await;
        let mut subject = Subject::new(&proxy.url(), seed, Durability::Power).await;
        proxy.blank("pg_advisory_xact_lock");
        let writing = subject.begin(SHAPE.steps);
        writing.ended(&mut subject.witness).await;
        subject.witness.audit(&subject.store).await.unwrap();
        found.add(subject.witness.findings());
        if found.whole().is_err() {
            return;
        }
    }
    panic!("callers that submit the same work at once need no lock: {found}");
}

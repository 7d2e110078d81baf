//! Lists through several processes at once: exact at every moment, whatever commits late, was pruned or came with a dump.

use crate::{
    feed::{awaited, release, stall},
    server::{Server, into_schema},
};
use redflag_core::{
    Fleet,
    conformance::{
        Lab,
        generate::{Rng, agent, at, checked, enrolment, offers, report_id, report_of, scope_of},
    },
    names::PackageKey,
    offer::Offer,
    query::{PackageQuery, UpdateFilter, UpdateQuery},
    store::StateStore as _,
};
use redflag_store_postgres::PostgresStore;
use sqlx::Executor as _;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use tokio::task::JoinSet;

type Offers = Vec<(PackageKey, Offer)>;

fn pool(count: usize) -> Offers {
    checked("apt", &offers(&mut Rng::new(3), "apt", count))
}

/// Report `number` of an agent that is offered exactly these.
async fn report(store: &PostgresStore, of: u32, number: u32, offers: &[(PackageKey, Offer)]) {
    let report =
        report_of(report_id(u64::from(of) * 1_000 + u64::from(number)), number.into(), vec![scope_of("apt", at(number), offers, &[])]);
    Fleet::new(store.clone()).record_report(agent(of), report, at(number)).await.expect("the report is taken");
}

async fn open(store: &PostgresStore) -> u64 {
    store.stats(&UpdateFilter::default()).await.expect("the store answers").total
}

async fn enrolled(store: &PostgresStore, agents: u32) {
    for number in 0..agents {
        Fleet::new(store.clone()).enrol(enrolment(number)).await.expect("the agent is enrolled");
    }
}

/// Every report withdraws one update and brings another, so that the sum never changes; whoever is torn between two moments counts
/// one too many or too few.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_is_of_one_moment_while_agents_report_through_two_stores() {
    const AGENTS: u32 = 4;
    const REPORTS: u32 = 20;
    let (server, options) = (Server::shared(), Server::options());
    let stores = [server.open(&options).await, server.open(&options).await];
    let offers = Arc::new(pool(40));
    enrolled(&stores[0], AGENTS).await;
    for of in 0..AGENTS {
        report(&stores[0], of, 1, &offers[..10]).await;
    }
    let done = Arc::new(AtomicBool::new(false));
    let mut readers = JoinSet::new();
    for store in stores.clone() {
        let done = Arc::clone(&done);
        readers.spawn(async move {
            while !done.load(Ordering::SeqCst) {
                let page = store.updates(&UpdateQuery::default()).await.expect("a page");
                assert_eq!((page.stats.total, page.items.len()), (u64::from(AGENTS) * 10, 40));
                let packages = store.packages(&PackageQuery::default()).await.expect("packages");
                assert_eq!(packages.items.iter().map(|row| row.hosts).sum::<u64>(), u64::from(AGENTS) * 10);
            }
        });
    }
    let mut writers = JoinSet::new();
    for of in 0..AGENTS {
        let (store, offers) = (stores[of as usize % 2].clone(), Arc::clone(&offers));
        writers.spawn(async move {
            for number in 2..REPORTS {
                let from = number as usize;
                report(&store, of, number, &offers[from..from + 10]).await;
            }
        });
    }
    writers.join_all().await;
    done.store(true, Ordering::SeqCst);
    readers.join_all().await;
    for store in stores {
        Lab::over(Arc::new(store)).counts_agree().await.unwrap();
    }
}

/// A transaction that began first and commits last: whoever only looks for numbers above the newest one seen never sees it.
#[tokio::test]
async fn what_commits_late_is_listed_once_it_is_there() {
    let (server, options) = (Server::shared(), Server::options());
    let (store, reader) = (server.open(&options).await, server.open(&options).await);
    let offers = pool(10);
    enrolled(&store, 2).await;
    report(&store, 1, 1, &offers).await;
    assert_eq!(open(&reader).await, 10);
    let mut other = into_schema(&server, &options).await;
    stall(&mut other, &options, 0).await;
    let late = tokio::spawn({
        let (store, offers) = (store.clone(), offers.clone());
        async move { report(&store, 0, 1, &offers).await }
    });
    awaited(&mut other).await;
    report(&store, 1, 2, &offers[..7]).await;
    assert_eq!((open(&reader).await, open(&reader).await), (7, 7));
    release(&mut other, &options).await;
    late.await.unwrap();
    assert_eq!((open(&reader).await, open(&store).await), (17, 17));
}

/// A mirror whose changes were deleted meanwhile is filled anew.
#[tokio::test]
async fn what_was_pruned_is_not_missed() {
    let (server, options) = (Server::shared(), Server::options());
    let (store, reader) = (server.open(&options).await, server.open(&options).await);
    let offers = pool(10);
    enrolled(&store, 1).await;
    assert_eq!(open(&reader).await, 0);
    report(&store, 0, 1, &offers).await;
    let mut other = into_schema(&server, &options).await;
    other
        .execute(
            "WITH gone AS (DELETE FROM state_changes RETURNING xid)
             INSERT INTO pruned_state_changes SELECT xid FROM gone ORDER BY xid DESC LIMIT 1",
        )
        .await
        .unwrap();
    assert_eq!(open(&reader).await, 10);
    report(&store, 0, 2, &offers[..4]).await;
    assert_eq!(open(&reader).await, 4);
}

/// A dump that is restored elsewhere brings numbers of transactions that are yet to come there.
#[tokio::test]
async fn changes_of_another_server_change_nothing() {
    let (server, options) = (Server::shared(), Server::options());
    let store = server.open(&options).await;
    let offers = pool(10);
    enrolled(&store, 1).await;
    report(&store, 0, 1, &offers).await;
    let mut other = into_schema(&server, &options).await;
    other
        .execute(
            "UPDATE state_changes SET xid = '900000000000'::xid8, kinds = array_fill(9::smallint, ARRAY[states]);
             INSERT INTO pruned_state_changes VALUES ('900000000001'::xid8)",
        )
        .await
        .unwrap();
    let restored = server.open(&options).await;
    assert_eq!(open(&restored).await, 10);
    report(&restored, 0, 2, &offers[..4]).await;
    Lab::over(Arc::new(restored)).counts_agree().await.unwrap();
    let left: i64 = sqlx::Row::get(&other.fetch_one("SELECT COUNT(*) FROM pruned_state_changes").await.unwrap(), 0);
    assert_eq!(left, 0);
}

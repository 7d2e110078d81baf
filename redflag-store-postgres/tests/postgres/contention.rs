//! Work on one agent from many connections (clause R5): each waits for its turn and for nothing else, and nothing deadlocks.

use crate::server::{Server, into_schema};
use redflag_core::{
    Fleet,
    batch::Receipt,
    conformance::{
        Lab,
        generate::{Rng, agent, at, batch_id, checked, enrolment, offers, report_id, report_of, scope_of, text},
    },
    names::{PackageKey, Version},
    offer::Offer,
    report::Report,
    store::StoreErrorKind,
    work::Decision,
};
use redflag_store_postgres::Options;
use sqlx::{AssertSqlSafe, Executor as _, PgConnection, Row as _};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use tokio::task::JoinSet;

const ALL: [(&str, usize); 3] = [("dnf", 3_488), ("apt", 277), ("docker", 7)];

type Offers = Vec<(&'static str, Vec<(PackageKey, Offer)>)>;

fn all_offers(counts: &[(&'static str, usize)]) -> Offers {
    let mut rng = Rng::new(13);
    counts.iter().map(|(manager, count)| (*manager, checked(manager, &offers(&mut rng, manager, *count)))).collect()
}

/// The same packages, every one in another version.
fn revised(offers: &Offers, version: &str) -> Offers {
    let mut offers = offers.clone();
    for (_, offer) in offers.iter_mut().flat_map(|(_, offers)| offers) {
        Arc::make_mut(&mut offer.candidate).version = Version::parse(version).expect("a version");
    }
    offers
}

/// A report whose place is that of its arrival.
fn report(number: u64, offers: &Offers) -> Report {
    let scopes = offers.iter().map(|(manager, offers)| scope_of(manager, at(1), offers, &[])).collect();
    Report { sequence: None, ..report_of(report_id(number), number, scopes) }
}

async fn approve(fleet: &Fleet, host: u32, number: u64, offer: &(PackageKey, Offer)) -> Receipt {
    let decision = Decision::Approve { offer_digest: offer.1.digest(&offer.0), comment: None };
    let decisions = vec![(offer.0.clone(), decision)];
    // Whether it comes in time for the version it names is a matter of order; either way it is answered.
    fleet.decide(agent(host), batch_id(number), text("alice"), decisions, at(2)).await.expect("the decision is answered")
}

/// Who waits, waits for the turn of its agent, and holds nothing that others could wait for: no circle can close.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_in_opposite_order_and_approvals_from_many_connections_never_deadlock() {
    const ROUNDS: u64 = 25;
    let (server, options) = (Server::own(), Server::options());
    let forward = all_offers(&[("dnf", 60), ("apt", 20)]);
    let mut backward = revised(&forward, "9.9-9");
    backward.reverse();
    backward.iter_mut().for_each(|(_, offers)| offers.reverse());
    let mut fleets = Vec::new();
    for _ in 0..2 {
        fleets.push(Fleet::new(server.open(&Options { connections: 8, ..options.clone() }).await));
    }
    // Catalog rows are there already: who makes them waits for others who make the same.
    for (host, offers) in [(0, &forward), (1, &backward)] {
        fleets[0].enrol(enrolment(host)).await.unwrap();
        fleets[0].record_report(agent(host), report(1, offers), at(1)).await.unwrap();
    }
    let done = Arc::new(AtomicBool::new(false));
    let watcher = tokio::spawn(watch(into_schema(&server, &options).await, Arc::clone(&done)));
    for round in 0..ROUNDS {
        let mut work = JoinSet::new();
        for place in 0..8 {
            let (fleet, host) = (fleets[place as usize % 2].clone(), place as u32 / 4);
            let (number, offers) = (10 + round * 8 + place, if place % 2 == 0 { &forward } else { &backward });
            let (report, offer) = (report(number, offers), offers[0].1[round as usize % 20].clone());
            work.spawn(async move {
                fleet.record_report(agent(host), report, at(1)).await.expect("the report is taken");
                approve(&fleet, host, number, &offer).await;
            });
        }
        work.join_all().await;
    }
    done.store(true, Ordering::Relaxed);
    let (waiting, strange) = watcher.await.unwrap();
    assert_eq!(strange, Vec::<String>::new(), "waits for anything but the agent's turn, or while holding something");
    assert!(waiting > 0, "nobody was ever seen waiting: nothing was tested");
    let mut connection = into_schema(&server, &options).await;
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(connection.fetch_one(deadlocks).await.unwrap().get::<i64, _>(0), 0);
    for host in [0, 1] {
        let log = fleets[0].store().replay(agent(host), 0, u32::MAX).await.unwrap();
        assert!((1..).zip(&log).all(|(sequence, event)| event.sequence == sequence), "one order, without gap");
    }
    Lab::over(Arc::new(server.open(&options).await)).counts_agree().await.unwrap();
}

/// Looks at who waits until `done`; answers how many were seen, and those that should not be.
///
/// The server reads locks and processes one after the other, so a wait may have ended before its process is looked at: what seems
/// strange counts when the same wait is still there at a second look. A lock on the growth of a file is not one to wait for in a circle:
/// it is held for the moment of one write, in which nothing is waited for.
async fn watch(mut connection: PgConnection, done: Arc<AtomicBool>) -> (usize, Vec<String>) {
    let select = "SELECT l.locktype, a.backend_xid IS NOT NULL, a.query, l.pid, l.waitstart::text
                  FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid) WHERE NOT l.granted AND l.locktype <> 'extend'";
    let (mut waiting, mut strange) = (0, Vec::new());
    while !done.load(Ordering::Relaxed) {
        for row in connection.fetch_all(select).await.expect("the server answers") {
            let (lock, holds, query): (String, bool, String) = (row.get(0), row.get(1), row.get(2));
            let wait: (i32, Option<String>) = (row.get(3), row.get(4));
            waiting += 1;
            if (lock != "advisory" || holds) && still_there(&mut connection, &wait).await {
                strange.push(format!("a {lock} lock, holding something: {holds}, in {query}"));
            }
        }
    }
    (waiting, strange)
}

/// Whether a process waits for what it has been waiting for since then. A wait that has just begun has no time yet.
async fn still_there(connection: &mut PgConnection, (process, since): &(i32, Option<String>)) -> bool {
    let select = sqlx::query("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND pid = $1 AND waitstart::text = $2)");
    let row = connection.fetch_one(select.bind(process).bind(since)).await.expect("the server answers");
    row.get(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approval_during_a_long_report_waits_for_its_transaction_and_no_longer() {
    let (server, options) = (Server::shared(), Server::options());
    let fleet = Fleet::new(server.open(&options).await);
    let (first, second) = (all_offers(&ALL), revised(&all_offers(&ALL), "9.9-9"));
    for host in 0..3 {
        fleet.enrol(enrolment(host)).await.unwrap();
        fleet.record_report(agent(host), report(1, &first), at(1)).await.unwrap();
    }
    fleet.record_report(agent(1), report(2, &second), at(1)).await.unwrap();
    let mut test = into_schema(&server, &options).await;
    test.execute(AssertSqlSafe(measuring(&options.schema))).await.unwrap();
    // Undisturbed, with everything revised: the longest that such a report takes.
    fleet.record_report(agent(2), report(2, &second), at(1)).await.unwrap();
    let length = test.fetch_one("SELECT MAX(ended - began)::text FROM lengths").await.unwrap();
    println!("the transaction of a report of 3,772 updates, all revised, took {}", length.get::<String, _>(0));

    // The report has written everything and is about to commit; the approval comes.
    test.execute(AssertSqlSafe(format!("SELECT pg_advisory_lock(hashtext('{}'))", options.schema))).await.unwrap();
    let this: i32 = test.fetch_one("SELECT pg_backend_pid()").await.unwrap().get(0);
    let reporting = tokio::spawn({
        let (fleet, report) = (fleet.clone(), report(2, &second));
        async move { fleet.record_report(agent(0), report, at(1)).await }
    });
    let report_process = blocked_by(&mut test, this).await;
    let approving = tokio::spawn({
        let (fleet, offer) = (fleet.clone(), second[0].1[0].clone());
        async move { approve(&fleet, 0, 77, &offer).await }
    });
    let approval_process = blocked_by(&mut test, report_process).await;
    let select = sqlx::query("SELECT pg_blocking_pids($1)").bind(approval_process);
    let before_it: Vec<i32> = test.fetch_one(select).await.unwrap().get(0);
    assert_eq!(before_it, [report_process], "the approval waits for the report and nothing else");
    // Readers do not wait, and neither does work on another agent.
    assert_eq!(fleet.store().agent(agent(0)).await.unwrap().unwrap().events, 3_772, "what is not committed is not seen");
    assert_eq!(approve(&fleet, 1, 78, &second[0].1[0]).await.accepted, 1);
    test.execute(AssertSqlSafe(format!("SELECT pg_advisory_unlock(hashtext('{}'))", options.schema))).await.unwrap();
    reporting.await.unwrap().unwrap();
    assert_eq!(approving.await.unwrap().accepted, 1, "it is judged after the report, which brought the version it names");
}

/// Has every commit of a report note how long its transaction took, once a lock of the test's is free.
fn measuring(schema: &str) -> String {
    format!(
        "CREATE TABLE lengths (began timestamptz, ended timestamptz);
         CREATE FUNCTION measure() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             PERFORM pg_advisory_xact_lock(hashtext('{schema}'));
             INSERT INTO {schema}.lengths VALUES (transaction_timestamp(), clock_timestamp());
             RETURN NULL;
         END $$;
         CREATE CONSTRAINT TRIGGER measure AFTER INSERT ON reports DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION measure()"
    )
}

/// The server process that waits for `process`, once there is one.
async fn blocked_by(connection: &mut PgConnection, process: i32) -> i32 {
    loop {
        let select = sqlx::query("SELECT pid FROM pg_stat_activity WHERE $1 = ANY(pg_blocking_pids(pid))").bind(process);
        if let Some(row) = connection.fetch_optional(select).await.expect("the server answers") {
            return row.get(0);
        }
    }
}

/// What fell to others at the same time is run again, and had no effect before; only when it falls every time is the caller told.
#[tokio::test]
async fn work_that_falls_to_others_is_run_again() {
    let (server, options) = (Server::shared(), Server::options());
    let fleet = Fleet::new(server.open(&options).await);
    fleet.enrol(enrolment(0)).await.unwrap();
    let mut test = into_schema(&server, &options).await;
    let offers = all_offers(&[("apt", 20)]);
    for (number, state) in [(1, "40001"), (2, "40P01")] {
        test.execute(AssertSqlSafe(falling(&options.schema, state, 3))).await.unwrap();
        let version = format!("{number}.0-1");
        let answer = fleet.record_report(agent(0), report(number, &revised(&offers, &version)), at(1)).await.unwrap();
        assert_eq!(answer.events, 20, "{state}");
        let tries: i64 = test.fetch_one("SELECT last_value FROM tries").await.unwrap().get(0);
        assert_eq!(tries, 4, "three that fell, and one: {state}");
    }
    assert_eq!(fleet.store().replay(agent(0), 0, u32::MAX).await.unwrap().len(), 40);
    test.execute(AssertSqlSafe(falling(&options.schema, "40P01", 1_000))).await.unwrap();
    let error = fleet.record_report(agent(0), report(3, &offers), at(1)).await.unwrap_err();
    assert_eq!(error.kind(), &StoreErrorKind::Unavailable);
    assert_eq!(fleet.store().replay(agent(0), 0, u32::MAX).await.unwrap().len(), 40, "nothing of it is there");
}

/// Has the next `times` reports fall with `state`, after everything else of them was written.
fn falling(schema: &str, state: &str, times: u32) -> String {
    format!(
        "DROP TRIGGER IF EXISTS fall ON reports;
         DROP SEQUENCE IF EXISTS tries;
         CREATE SEQUENCE tries;
         CREATE OR REPLACE FUNCTION fall() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             -- A sequence keeps its count when what asked it is rolled back.
             IF nextval('{schema}.tries') <= {times} THEN
                 RAISE EXCEPTION 'as others have it' USING ERRCODE = '{state}';
             END IF;
             RETURN NEW;
         END $$;
         CREATE TRIGGER fall BEFORE INSERT ON reports FOR EACH ROW EXECUTE FUNCTION fall()"
    )
}

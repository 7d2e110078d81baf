//! Faults of the server and the way to it: what the caller is told, and that submitting the same again is exactly once (clause B8).

use crate::server::{Server, into_schema};
use redflag_core::{
    Fleet,
    conformance::{
        Lab,
        generate::{Rng, agent, at, checked, enrolment, offers, report_id, report_of, scope_of},
    },
    report::{Report, ReportAnswer},
    store::{BatchStore as _, Durability, EventStore as _, StateStore as _, StoreError, StoreErrorKind},
};
use redflag_store_postgres::{Options, PostgresStore};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _};
use std::{sync::Arc, time::Duration};
use tokio::task::JoinHandle;

const EVENTS: u32 = 20;

fn report(number: u32) -> Report {
    let offers = checked("apt", &offers(&mut Rng::new(number.into()), "apt", EVENTS as usize));
    report_of(report_id(number.into()), number.into(), vec![scope_of("apt", at(number), &offers, &[])])
}

/// A store with one agent, the fleet over it, and a connection into its schema.
async fn enrolled(server: &Server, options: &Options) -> (PostgresStore, Fleet, PgConnection) {
    let store = server.open(options).await;
    let fleet = Fleet::new(store.clone());
    fleet.enrol(enrolment(0)).await.expect("the agent is enrolled");
    (store, fleet, into_schema(server, options).await)
}

fn submit(fleet: &Fleet, report: Report) -> JoinHandle<Result<ReportAnswer, StoreError>> {
    let fleet = fleet.clone();
    tokio::spawn(async move { fleet.record_report(agent(0), report, at(1)).await })
}

/// The server process that waits for `connection`, once there is one.
async fn waiting_for(connection: &mut PgConnection) -> i32 {
    loop {
        let select = "SELECT pid FROM pg_stat_activity WHERE pg_backend_pid() = ANY(pg_blocking_pids(pid))";
        if let Some(row) = connection.fetch_optional(select).await.expect("the server answers") {
            return row.get(0);
        }
    }
}

async fn terminate(connection: &mut PgConnection, process: i32) {
    sqlx::query("SELECT pg_terminate_backend($1)").bind(process).execute(connection).await.expect("the server answers");
}

/// The report again, twice: one effect, one answer.
async fn exactly_once(store: &PostgresStore, fleet: &Fleet, report: Report) {
    let first = fleet.record_report(agent(0), report.clone(), at(2)).await.expect("the report is taken");
    assert_eq!(first.events, EVENTS);
    assert_eq!(fleet.record_report(agent(0), report, at(3)).await.expect("the report is taken again"), first);
    assert_eq!(store.replay(agent(0), 0, 1_000).await.expect("the store answers").len(), EVENTS as usize);
    assert_eq!(store.reports(agent(0), 10).await.expect("the store answers").len(), 1);
    Lab::over(Arc::new(store.clone())).counts_agree().await.expect("counts agree");
}

#[tokio::test]
async fn a_server_process_killed_before_the_commit_changed_nothing() {
    let (server, options) = (Server::shared(), Server::options());
    let (store, fleet, mut other) = enrolled(&server, &options).await;
    other.execute("BEGIN; SELECT * FROM agents FOR UPDATE").await.unwrap();
    let unit = submit(&fleet, report(1));
    let process = waiting_for(&mut other).await;
    terminate(&mut other, process).await;
    assert_eq!(unit.await.unwrap().unwrap_err().kind(), &StoreErrorKind::Unavailable);
    other.execute("ROLLBACK").await.unwrap();
    assert_eq!(store.replay(agent(0), 0, 1).await.unwrap(), []);
    exactly_once(&store, &fleet, report(1)).await;
}

#[tokio::test]
async fn a_server_process_killed_at_the_commit_leaves_the_outcome_unknown() {
    let (server, options) = (Server::shared(), Server::options());
    let (store, fleet, mut other) = enrolled(&server, &options).await;
    // The commit waits for a lock that this test holds.
    let name = &options.schema;
    let trigger = format!(
        "SELECT pg_advisory_lock(hashtext('{name}'));
         CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN PERFORM pg_advisory_xact_lock(hashtext('{name}')); RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON reports DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait()"
    );
    other.execute(AssertSqlSafe(trigger)).await.unwrap();
    let unit = submit(&fleet, report(1));
    let process = waiting_for(&mut other).await;
    terminate(&mut other, process).await;
    assert_eq!(unit.await.unwrap().unwrap_err().kind(), &StoreErrorKind::OutcomeUnknown);
    other.execute(AssertSqlSafe(format!("SELECT pg_advisory_unlock(hashtext('{name}'))"))).await.unwrap();
    exactly_once(&store, &fleet, report(1)).await;
}

/// The commit stands, and only the answer is lost: the server waits for a standby that never comes, and is told to end meanwhile.
#[tokio::test]
async fn a_commit_whose_answer_was_lost_has_one_effect() {
    let server = Server::own();
    let mut admin = PgConnection::connect(&server.url()).await.unwrap();
    admin.execute("ALTER SYSTEM SET fsync TO on").await.unwrap();
    admin.execute("SELECT pg_reload_conf()").await.unwrap();
    while PgConnection::connect(&server.url()).await.unwrap().fetch_one("SHOW fsync").await.unwrap().get::<String, _>(0) != "on" {}
    let options = Options { durability: Durability::Power, ..Server::options() };
    let (store, fleet, _) = enrolled(&server, &options).await;
    assert_eq!(store.guarantees().durable_on_ack, Durability::Power);
    // Catalog rows exist already, so that the only commit is that of the unit of work.
    let full = report(1);
    let rehearsal = redflag_core::work::UnitOfWork::RecordReport(redflag_core::work::RecordReport {
        agent: agent(0),
        report: full.clone().into(),
        received_at: at(1),
        batch_events: 100,
        withheld: redflag_core::work::Withheld::default(),
    });
    store.run(&rehearsal, redflag_core::store::Mode::Rehearse).await.unwrap();
    admin.execute("ALTER SYSTEM SET synchronous_standby_names TO 'nobody'").await.unwrap();
    admin.execute("SELECT pg_reload_conf()").await.unwrap();
    let shown = "SHOW synchronous_standby_names";
    while PgConnection::connect(&server.url()).await.unwrap().fetch_one(shown).await.unwrap().get::<String, _>(0) != "nobody" {}
    let unit = submit(&fleet, full.clone());
    let process = loop {
        let select = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        if let Some(row) = admin.fetch_optional(select).await.unwrap() {
            break row.get(0);
        }
        assert!(!unit.is_finished(), "the commit did not wait for the standby");
    };
    terminate(&mut admin, process).await;
    assert_eq!(unit.await.unwrap().unwrap_err().kind(), &StoreErrorKind::OutcomeUnknown);
    admin.execute("ALTER SYSTEM SET synchronous_standby_names TO ''").await.unwrap();
    admin.execute("SELECT pg_reload_conf()").await.unwrap();
    assert_eq!(store.replay(agent(0), 0, 1_000).await.unwrap().len(), EVENTS as usize, "the commit stands");
    exactly_once(&store, &fleet, full).await;
}

#[tokio::test]
async fn an_agent_that_stays_locked_is_told_as_unavailable() {
    let (server, options) = (Server::shared(), Options { lock_timeout: Duration::from_millis(20), ..Server::options() });
    let (store, fleet, mut other) = enrolled(&server, &options).await;
    other.execute("BEGIN; SELECT * FROM agents FOR UPDATE").await.unwrap();
    let error = fleet.record_report(agent(0), report(1), at(1)).await.unwrap_err();
    assert_eq!(error.kind(), &StoreErrorKind::Unavailable);
    assert!(store.agent(agent(0)).await.unwrap().is_some(), "readers do not wait for a writer");
    other.execute("ROLLBACK").await.unwrap();
    exactly_once(&store, &fleet, report(1)).await;
}

#[tokio::test]
async fn a_pool_without_a_free_connection_is_told_as_unavailable() {
    let options = Options { connections: 1, acquire_timeout: Duration::from_millis(200), ..Server::options() };
    let server = Server::shared();
    let (store, fleet, mut other) = enrolled(&server, &options).await;
    other.execute("BEGIN; SELECT * FROM agents FOR UPDATE").await.unwrap();
    let unit = submit(&fleet, report(1));
    waiting_for(&mut other).await;
    assert_eq!(store.agent(agent(0)).await.unwrap_err().kind(), &StoreErrorKind::Unavailable);
    other.execute("ROLLBACK").await.unwrap();
    assert_eq!(unit.await.unwrap().unwrap().events, EVENTS);
    exactly_once(&store, &fleet, report(1)).await;
}

#[tokio::test]
async fn a_server_that_only_reads_is_told_as_unavailable() {
    let (server, options) = (Server::shared(), Server::options());
    let (store, fleet, _) = enrolled(&server, &options).await;
    let read_only = format!("{}&options=-c%20default_transaction_read_only%3Don", server.url());
    let replica = PostgresStore::connect(&read_only, options).await.unwrap();
    assert!(replica.agent(agent(0)).await.unwrap().is_some(), "lists can be served");
    let error = Fleet::new(replica).record_report(agent(0), report(1), at(1)).await.unwrap_err();
    assert_eq!(error.kind(), &StoreErrorKind::Unavailable, "{error:?}");
    exactly_once(&store, &fleet, report(1)).await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_as_unavailable() {
    let options = Options { acquire_timeout: Duration::from_millis(300), ..Server::options() };
    for url in ["postgres://nobody@127.0.0.1:1/none", "postgres:///?host=/no/such/directory&user=nobody"] {
        let error = PostgresStore::connect(url, options.clone()).await.unwrap_err();
        assert_eq!(error.kind(), &StoreErrorKind::Unavailable, "{url}: {error:?}");
    }
    for url in ["mysql://localhost/x", "fleet.db", "", "postgres://[", "postgres://host:port/x"] {
        let error = PostgresStore::connect(url, options.clone()).await.unwrap_err();
        assert_eq!(error.kind(), &StoreErrorKind::Misconfigured, "{url}: {error:?}");
    }
}

#[tokio::test]
async fn a_dropped_future_leaves_the_store_healthy() {
    use std::{future::poll_fn, pin::pin, task::Poll};
    let options = Options { connections: 2, ..Server::options() };
    let server = Server::shared();
    let (store, fleet, _) = enrolled(&server, &options).await;
    for polls in 1..40 {
        // Started, then dropped wherever it is after so many steps.
        let mut unit = pin!(fleet.record_report(agent(0), report(1), at(1)));
        let mut read = pin!(store.agent(agent(0)));
        for _ in 0..polls {
            let done = poll_fn(|context| {
                let unit = unit.as_mut().poll(context).is_ready();
                Poll::Ready(unit)
            })
            .await;
            if done {
                break;
            }
            poll_fn(|context| {
                let _pending = read.as_mut().poll(context).is_ready();
                Poll::Ready(())
            })
            .await;
            read.set(store.agent(agent(0)));
            tokio::task::yield_now().await;
        }
    }
    // Connections dropped half made may keep the server's door blocked for a moment.
    while let Err(error) = store.agent(agent(0)).await {
        assert_eq!(error.kind(), &StoreErrorKind::Unavailable, "{error:?}");
    }
    exactly_once(&store, &fleet, report(1)).await;
}

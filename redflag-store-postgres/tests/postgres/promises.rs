//! What a store promises of its database: durability as configured, damage told, refs that refer, agents that share catalogs.

use crate::server::{Server, into_schema};
use redflag_core::{
    Fleet,
    agent::Enrolment,
    conformance::{
        Lab, Shape,
        generate::{Rng, agent, at, checked, enrolment, offers, report_id, report_of, scope_of},
        history,
    },
    store::{BatchStore as _, Durability, Mode, StateStore as _, StoreErrorKind},
    work::{Refusal, UnitOfWork},
};
use redflag_store_postgres::{Options, PostgresStore};
use sqlx::{AssertSqlSafe, Executor as _, Row as _};
use std::sync::Arc;
use tokio::task::JoinSet;

/// Clause D5: the promise is what the settings allow; less than asked for is refused.
#[tokio::test]
async fn the_guarantee_is_that_of_the_settings_in_force() {
    let server = Server::shared();
    let open = async |url: &str, durability| {
        let store = PostgresStore::connect(url, Options { durability, ..Server::options() }).await;
        store.map(|store| store.guarantees().durable_on_ack).map_err(|error| error.kind().clone())
    };
    // The server of the tests does without fsync.
    assert_eq!(open(&server.url(), Durability::Power).await, Err(StoreErrorKind::Misconfigured));
    assert_eq!(open(&server.url(), Durability::Process).await, Ok(Durability::Process));
    let asynchronous = format!("{}&options=-c%20synchronous_commit%3Doff", server.url());
    assert_eq!(open(&asynchronous, Durability::Process).await, Err(StoreErrorKind::Misconfigured));
    assert_eq!(open(&asynchronous, Durability::None).await, Ok(Durability::None));
}

#[tokio::test]
async fn damage_is_told_and_not_passed_on() {
    let (server, options) = (Server::shared(), Server::options());
    let store = server.open(&options).await;
    Fleet::new(store.clone()).enrol(enrolment(0)).await.unwrap();
    into_schema(&server, &options).await.execute("UPDATE agent_facts SET tags = '[\"\"]'").await.unwrap();
    assert_eq!(store.agent(agent(0)).await.unwrap_err().kind(), &StoreErrorKind::Corrupt);
}

#[tokio::test]
async fn one_of_many_enrolments_at_once_wins() {
    let (server, options) = (Server::shared(), Server::options());
    let stores = [server.open(&options).await, server.open(&options).await];
    for number in 0..4 {
        let mut enrolments = JoinSet::new();
        for (place, store) in stores.iter().cycle().take(8).enumerate() {
            let fleet = Fleet::new(store.clone());
            // Two keys: the same key again is the same enrolment, another one is refused.
            let key = [u8::from(place % 4 < 2); 32];
            let enrolment = Enrolment { public_key: key, ..enrolment(number) };
            enrolments.spawn(async move { (key, fleet.enrol(enrolment).await) });
        }
        let ended = enrolments.join_all().await;
        let stored = stores[0].agent(agent(number)).await.unwrap().unwrap().public_key;
        for (key, result) in ended {
            match result {
                Ok(()) => assert_eq!(key, stored),
                Err(error) => {
                    assert_eq!(error.kind(), &StoreErrorKind::Refused(Refusal::AgentExists { agent: agent(number) }));
                    assert_ne!(key, stored);
                }
            }
        }
    }
}

/// Clause R5: agents that bring the same new packages at once, in other orders, through other servers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_packages_of_many_agents_at_once_are_created_once() {
    let (server, options) = (Server::shared(), Server::options());
    let mut stores = Vec::new();
    for number in 0..6 {
        let store = server.open(&Options { connections: 3, ..options.clone() }).await;
        Fleet::new(store.clone()).enrol(enrolment(number)).await.unwrap();
        stores.push(store);
    }
    let mut offers = checked("apt", &offers(&mut Rng::new(1), "apt", 300));
    let mut reports = JoinSet::new();
    for (number, store) in (0..).zip(&stores) {
        offers.rotate_left(50);
        if number % 2 == 1 {
            offers.reverse();
        }
        let report = report_of(report_id(1), 1, vec![scope_of("apt", at(1), &offers, &[])]);
        let fleet = Fleet::new(store.clone());
        reports.spawn(async move { fleet.record_report(agent(number), report, at(1)).await });
    }
    for answer in reports.join_all().await {
        assert_eq!(answer.unwrap().events, 300);
    }
    let mut connection = into_schema(&server, &options).await;
    let packages: i64 = connection.fetch_one("SELECT COUNT(*) FROM packages").await.unwrap().get(0);
    assert_eq!(packages, 300);
    Lab::over(Arc::new(stores.remove(0))).counts_agree().await.unwrap();
}

/// Refs of rows that were never committed would go to others; what only a rehearsal created stays true.
#[tokio::test]
async fn a_rehearsal_leaves_nothing_to_be_seen() {
    let (server, options) = (Server::shared(), Server::options());
    let store = server.open(&options).await;
    for work in history(3, Shape::default()) {
        let _refused = store.run(&work, Mode::Rehearse).await;
    }
    let mut connection = into_schema(&server, &options).await;
    for table in ["agents", "update_batches", "update_events", "current_package_state", "update_counters", "reports", "rejections"] {
        let rows = connection.fetch_one(AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}"))).await.unwrap();
        assert_eq!(rows.get::<i64, _>(0), 0, "{table}");
    }
}

/// Rows of the log and of states have no foreign keys; the transaction that writes them writes what they refer to.
#[tokio::test]
async fn every_ref_refers_to_a_row_and_every_counter_counts() {
    let (server, options) = (Server::shared(), Server::options());
    let store = server.open(&options).await;
    let works: Vec<UnitOfWork> = history(5, Shape { steps: 150, ..Shape::default() });
    for work in works {
        // Refusals are part of a history.
        let _refused = store.run(&work, Mode::Commit).await;
    }
    let mut connection = into_schema(&server, &options).await;
    let mut count = async |sql: String| connection.fetch_one(AssertSqlSafe(sql)).await.unwrap().get::<i64, _>(0);
    assert!(count("SELECT COUNT(*) FROM update_events".to_owned()).await > 100, "the history is not a trivial one");
    for (rows, of) in [
        ("agent_ref FROM agents", "agent_ref FROM agent_facts"),
        ("agent_ref FROM agent_facts", "agent_ref FROM agents"),
        ("agent_ref FROM update_batches", "agent_ref FROM agents"),
        ("agent_ref FROM update_events", "agent_ref FROM agents"),
        ("package_ref FROM update_events", "package_ref FROM packages"),
        ("candidate_ref FROM update_events WHERE candidate_ref IS NOT NULL", "candidate_ref FROM candidates"),
        ("installed_ref FROM update_events WHERE installed_ref IS NOT NULL", "text_ref FROM texts"),
        ("reason_ref FROM update_events WHERE reason_ref IS NOT NULL", "text_ref FROM texts"),
        ("agent_ref FROM current_package_state", "agent_ref FROM agents"),
        ("package_ref FROM current_package_state", "package_ref FROM packages"),
        ("candidate_ref FROM current_package_state", "candidate_ref FROM candidates"),
        ("installed_ref FROM current_package_state WHERE installed_ref IS NOT NULL", "text_ref FROM texts"),
        ("reason_ref FROM current_package_state WHERE reason_ref IS NOT NULL", "text_ref FROM texts"),
        ("agent_ref, package_ref FROM update_version_history", "agent_ref, package_ref FROM current_package_state"),
        ("agent_ref, sequence FROM update_version_history", "agent_ref, sequence FROM update_events"),
        ("agent_ref FROM update_counters", "agent_ref FROM agents"),
        ("agent_ref FROM reports", "agent_ref FROM agents"),
        ("agent_ref, batch_number FROM update_events", "agent_ref, number FROM update_batches"),
        ("agent_ref, batch_number FROM rejections", "agent_ref, number FROM update_batches"),
        ("agent_ref, sequence FROM chosen_event_ids", "agent_ref, sequence FROM update_events"),
        ("agent_ref, package_ref FROM update_events", "agent_ref, package_ref FROM current_package_state"),
        (
            "agent_ref, package_ref, last_sequence FROM current_package_state",
            "agent_ref, package_ref, MAX(sequence) FROM update_events GROUP BY 1, 2",
        ),
    ] {
        assert_eq!(count(format!("SELECT COUNT(*) FROM (SELECT {rows} EXCEPT SELECT {of}) AS lost")).await, 0, "{rows}");
    }
    let counted = "agent_ref, manager, status, severity, security, availability, count FROM update_counters WHERE count > 0";
    let recounted = "s.agent_ref, p.manager, s.status, c.severity, c.security, s.availability, COUNT(*)
         FROM current_package_state AS s JOIN packages AS p USING (package_ref) JOIN candidates AS c USING (candidate_ref)
         GROUP BY 1, 2, 3, 4, 5, 6";
    for (rows, of) in [(counted, recounted), (recounted, counted)] {
        assert_eq!(count(format!("SELECT COUNT(*) FROM (SELECT {rows} EXCEPT SELECT {of}) AS lost")).await, 0, "{rows}");
    }
}

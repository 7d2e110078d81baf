//! The server on a real PostgreSQL: a simulated fleet reports, and what the server lists is what the hosts see.
#![cfg(feature = "postgres")]

use crate::{
    accounts, audit, audit_damage, audit_drills, audit_of_commands, commands,
    process::{Running, answer_to_report, client, enrol, output},
    quarantine, sign_ins, signers,
    support::{Harness, TestAgent, now, report},
};
use redflag_agent::{Silent, Simulation, SimulationOptions};
use redflag_core::{
    Fleet,
    query::{UpdateFilter, UpdateQuery},
    store::{Durability, RecordStore as _},
};
use redflag_server::{EnrolmentTokenOptions, Server, Settings, open_fleet};
use redflag_store_postgres::{Options, PostgresStore};
use serde_json::Value;
use std::net::Ipv4Addr;
use tokio_util::sync::CancellationToken;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_on_postgres_is_served_like_one_on_sqlite() {
    let postgres = tmp_postgrust::new_default_process().expect("a PostgreSQL server starts (Debian package: postgresql-15)");
    let database = postgres.connection_string();
    let settings = Settings { listen: (Ipv4Addr::LOCALHOST, 0).into(), database: database.clone(), ..Settings::default() };
    let refused = open_fleet(&settings).await.unwrap_err();
    let cause = std::error::Error::source(&refused).and_then(std::error::Error::source).map(ToString::to_string);
    assert!(cause.as_ref().is_some_and(|cause| cause.contains("fsync")), "a test server without fsync is not durable: {cause:?}");

    // The test asks for no more than what the throw-away server gives.
    let weaker = Options { durability: Durability::Process, ..Options::default() };
    let fleet = Fleet::new(PostgresStore::connect(&database, weaker.clone()).await.unwrap());
    let server = Server::bind(settings, fleet.clone()).await.unwrap();
    let token = server.enrolment_token(EnrolmentTokenOptions { seats: 3, ..EnrolmentTokenOptions::default() }).await.unwrap();
    let options = SimulationOptions { server: server.url(), token, agents: 3, rounds: 1, ..SimulationOptions::default() };
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(server.run(shutdown.clone()));
    let summary = Simulation::new(options).run(&mut Silent).await.unwrap();
    assert_eq!(summary.rejected, 0, "{summary:?}");
    let stats = fleet.store().stats(&UpdateFilter::default()).await.unwrap();
    assert_eq!(stats.total, summary.updates, "{summary:?}");
    shutdown.cancel();
    serving.await.unwrap().unwrap();

    let again = Fleet::new(PostgresStore::connect(&database, weaker).await.unwrap());
    let page = again.store().updates(&UpdateQuery::default()).await.unwrap();
    assert_eq!(page.stats, stats, "another process finds the same fleet");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_on_postgres_go_the_ways_they_go_on_sqlite() {
    let postgres = tmp_postgrust::new_default_process().expect("a PostgreSQL server starts (Debian package: postgresql-15)");
    let connect = async |schema: &str| {
        let options = Options { durability: Durability::Process, schema: schema.to_owned(), ..Options::default() };
        Fleet::new(PostgresStore::connect(&postgres.connection_string(), options).await.unwrap())
    };
    commands::an_approval_becomes_an_installation(connect("installed").await).await;
    commands::a_plan_beyond_its_terms_is_looked_at_twice(connect("looked_at").await).await;
    signers::what_is_approved_waits_until_people_have_signed_it(connect("signed").await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_audit_log_on_postgres_is_one_chain_whoever_writes() {
    let postgres = tmp_postgrust::new_default_process().expect("a PostgreSQL server starts (Debian package: postgresql-15)");
    let connect = async || {
        let options = Options { durability: Durability::Process, ..Options::default() };
        Fleet::new(PostgresStore::connect(&postgres.connection_string(), options).await.unwrap())
    };
    audit::any_number_of_writers_leave_one_chain_without_gap(connect).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_on_postgres_are_as_on_sqlite() {
    let postgres = tmp_postgrust::new_default_process().expect("a PostgreSQL server starts (Debian package: postgresql-15)");
    let harness = async |schema: &str| {
        let options = Options { durability: Durability::Process, schema: schema.to_owned(), ..Options::default() };
        Harness::over(Fleet::new(PostgresStore::connect(&postgres.connection_string(), options).await.unwrap()))
    };
    sign_ins::a_password_is_set_and_signs_in(harness("signed_in").await).await;
    sign_ins::a_session_is_used_at_any_server(&harness("sessions").await, &harness("sessions").await).await;
    accounts::a_token_does_what_it_may(harness("tokens").await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_alteration_of_the_audit_log_on_postgres_is_found() {
    let postgres = tmp_postgrust::new_default_process().expect("a PostgreSQL server starts (Debian package: postgresql-15)");
    let options = Options { durability: Durability::Process, schema: "entries".to_owned(), ..Options::default() };
    let fleet = Fleet::new(PostgresStore::connect(&postgres.connection_string(), options).await.unwrap());
    audit_drills::every_alteration_of_an_entry_is_found(fleet).await;
    let options = Options { durability: Durability::Process, schema: "gone".to_owned(), ..Options::default() };
    let fleet = Fleet::new(PostgresStore::connect(&postgres.connection_string(), options).await.unwrap());
    audit_drills::what_goes_without_an_entry_is_found(fleet).await;
    let options = Options { durability: Durability::Process, schema: "damaged".to_owned(), ..Options::default() };
    let fleet = Fleet::new(PostgresStore::connect(&postgres.connection_string(), options).await.unwrap());
    audit_damage::a_log_goes_on_behind_a_damaged_end_wherever_that_is(fleet).await;
    audit_drills::every_alteration_of_a_batch_is_found(audit_drills::Altered::Postgres(postgres.connection_string())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_alteration_of_a_command_on_postgres_is_found() {
    use audit_drills::Altered;
    let postgres = tmp_postgrust::new_default_process().expect("a PostgreSQL server starts (Debian package: postgresql-15)");
    audit_of_commands::every_alteration_of_a_command_is_found(Altered::Postgres(postgres.connection_string())).await;
    let postgres = tmp_postgrust::new_default_process().expect("a PostgreSQL server starts (Debian package: postgresql-15)");
    audit_of_commands::every_alteration_of_what_people_signed_is_found(Altered::Postgres(postgres.connection_string())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hosts_of_one_key_on_postgres_are_found_out_at_one_server_and_at_two() {
    let postgres = tmp_postgrust::new_default_process().expect("a PostgreSQL server starts (Debian package: postgresql-15)");
    let connect = async |schema: &str| {
        let options = Options { durability: Durability::Process, schema: schema.to_owned(), ..Options::default() };
        Fleet::new(PostgresStore::connect(&postgres.connection_string(), options).await.unwrap())
    };
    quarantine::two_hosts_of_one_key_are_held_until_an_administrator_decides(Harness::over(connect("one").await)).await;
    let fleets = [connect("two").await, connect("two").await];
    quarantine::two_hosts_of_one_key_are_found_out_at_two_servers(quarantine::two_servers(fleets)).await;
}

/// The binary over PostgreSQL tells the others what it has seen: two processes, one host of the key at each, with the same number.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_over_one_postgres_tell_each_other_what_agents_signed() {
    let cluster = redflag_faults::Cluster::new(&[]);
    let database = cluster.url();
    let [one, other] = [Running::start(&database, 1).await, Running::start(&database, 1).await];
    let token: Value = serde_json::from_str(&output(&database, &["enrolment-token", "--json"]).await.1).unwrap();
    let (client, agent) = (client(), TestAgent::new());
    enrol(&client, &one.url, token["token"].as_str().unwrap(), &agent).await;
    let copy = agent.copied();
    // Signed in one second, the second of them would be a replay.
    for (line, server, sequence) in [(&agent, &one, 1), (&copy, &other, 2)] {
        let body = report(sequence, &[]).to_string();
        let answer = answer_to_report(&client, &server.url, line, &body, now() + 5 * sequence.cast_signed()).await.unwrap();
        assert_eq!(answer.0, 200, "{answer:?}");
    }
    let store = PostgresStore::connect(&database, Options::default()).await.unwrap();
    let told = store.list("signatures-seen", None, 2).await.unwrap();
    let seen: Value = serde_json::from_str(&told[0].1.value).unwrap();
    assert_eq!((told.len(), told[0].0.as_str()), (1, agent.id.to_string().as_str()));
    let seen = seen["seen"].as_array().unwrap();
    assert!(seen.len() == 2 && seen[1][1] == 0, "the same number at both: {seen:?}");
}

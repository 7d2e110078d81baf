//! The real agent code against the real server over a socket.

use redflag_agent::{AgentHome, EnrolOptions, Silent, Simulation, SimulationOptions, enrol, simulation::Profile};
use redflag_core::{Fleet, query::UpdateFilter};
use redflag_server::{EnrolmentTokenOptions, Server, Settings};
use redflag_store_sqlite::SqliteStore;
use std::net::Ipv4Addr;
use tokio_util::sync::CancellationToken;

async fn bound() -> (Fleet, Server) {
    let fleet = Fleet::new(SqliteStore::in_memory().unwrap());
    let settings = Settings { listen: (Ipv4Addr::LOCALHOST, 0).into(), ..Settings::default() };
    (fleet.clone(), Server::bind(settings, fleet).await.unwrap())
}

async fn token(server: &Server, seats: u32) -> String {
    server.enrolment_token(EnrolmentTokenOptions { seats, ..EnrolmentTokenOptions::default() }).await.unwrap()
}

/// Six simulated hosts, the first with 3,772 updates, live through three rounds: what the server holds is what the hosts see.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_simulated_fleet_and_the_server_agree() {
    let (fleet, server) = bound().await;
    let (url, token) = (server.url(), token(&server, 6).await);
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(server.run(shutdown.clone()));
    let options = SimulationOptions { server: url, token, agents: 6, rounds: 3, ..SimulationOptions::default() };
    let summary = Simulation::new(options).run(&mut Silent).await.unwrap();
    let open = fleet.store().stats(&UpdateFilter::default()).await.unwrap();
    assert_eq!(open.total, summary.updates, "{summary:?}");
    let agents = fleet.store().agents(&redflag_core::query::AgentQuery::default()).await.unwrap();
    assert_eq!(agents.total, 6);
    assert_eq!(agents.items.iter().map(|row| row.head.events).sum::<u64>(), summary.events, "{summary:?}");
    assert_eq!(agents.items.iter().map(|row| row.open.total).sum::<u64>(), open.total);
    shutdown.cancel();
    serving.await.unwrap().unwrap();
}

/// Idle and changed hosts, clones, wrong clocks and lost answers: every answer is what it must be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mixed_fleet_is_answered_as_it_must_be() {
    let (fleet, server) = bound().await;
    let (url, token) = (server.url(), token(&server, 11).await);
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(server.run(shutdown.clone()));
    let options = SimulationOptions {
        server: url,
        token,
        agents: 11,
        first_updates: 40,
        profile: Profile::Mixed,
        rounds: 4,
        ..SimulationOptions::default()
    };
    let summary = Simulation::new(options).run(&mut Silent).await.unwrap();
    assert_eq!((summary.wrong, &summary.wrong_answers), (0, &Vec::new()), "{summary:?}");
    // Of ten that report, two are cloned and two have a wrong clock, in each of four rounds. What a clone sends in the same second is
    // a replay; later it is late.
    assert_eq!((summary.reporting, summary.refused + summary.reports_stale, summary.rejected), (10, 16, 0), "{summary:?}");
    assert!((8..=16).contains(&summary.refused), "a wrong clock is always refused: {summary:?}");
    assert!(summary.reports_unchanged > 0 && summary.reports_recorded > 0, "{summary:?}");
    let measured: u64 = summary.latencies.values().map(|latency| latency.count).sum();
    assert!(measured > summary.reports, "{summary:?}");
    let agents = fleet.store().agents(&redflag_core::query::AgentQuery::default()).await.unwrap();
    assert!(agents.items.iter().map(|row| row.head.events).sum::<u64>() <= summary.events, "an answer that was lost is counted once");
    let open = fleet.store().stats(&UpdateFilter::default()).await.unwrap();
    assert_eq!(open.total, summary.updates, "what was refused changed nothing");
    shutdown.cancel();
    serving.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_host_enrols_once_and_a_used_up_token_is_refused() {
    let (fleet, server) = bound().await;
    let (url, token) = (server.url(), token(&server, 1).await);
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(server.run(shutdown.clone()));
    let directory = tempfile::tempdir().unwrap();
    let home = |name: &str| AgentHome::open(directory.path().join(name)).unwrap();
    let options = EnrolOptions { server: url, token, name: Some("web-1".to_owned()), ..EnrolOptions::default() };
    let identity = enrol(&home("a"), &options).await.unwrap();
    let again = enrol(&home("a"), &options).await.unwrap();
    assert_eq!(again.agent, identity.agent);
    assert_eq!(fleet.store().agent(identity.agent).await.unwrap().unwrap().name.as_str(), "web-1");
    let refused = enrol(&home("b"), &options).await.unwrap_err();
    assert!(refused.to_string().contains("unknown, expired or used up"), "{refused}");
    shutdown.cancel();
    serving.await.unwrap().unwrap();
}

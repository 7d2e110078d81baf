//! Enrolment: one identity per host, however often it is asked for.

use crate::support::{TestServer, home, options};
use redflag_agent::{Error, Identity, Silent, Simulation, SimulationOptions, enrol};
use redflag_core::query::UpdateFilter;

#[tokio::test]
async fn a_repeated_enrolment_keeps_id_and_key() {
    let (server, directory) = (TestServer::start().await, tempfile::tempdir().unwrap());
    let home = home(&directory);
    let error = enrol(&home, &options(&server, "wrong")).await.unwrap_err();
    assert!(matches!(error, Error::TokenRefused { .. }), "{error}");
    assert!(matches!(Identity::enrolled(&home), Err(Error::NotEnrolled { .. })));
    let identity = enrol(&home, &options(&server, "good")).await.unwrap();
    let sent = server.enrolments();
    assert_eq!((&sent[0]["agent_id"], &sent[0]["public_key"]), (&sent[1]["agent_id"], &sent[1]["public_key"]));
    assert_eq!(identity.name.as_str(), "web-01");

    let again = enrol(&home, &options(&server, "good")).await.unwrap();
    assert_eq!((again.agent, server.enrolments().len()), (identity.agent, 2), "an enrolled host asks no more");
    let other = TestServer::start().await;
    assert!(enrol(&home, &options(&other, "good")).await.unwrap_err().to_string().contains("is enrolled at"));
}

#[tokio::test]
async fn a_simulated_fleet_speaks_the_real_protocol() {
    let server = TestServer::start().await;
    let simulation = Simulation::new(SimulationOptions {
        server: server.url.clone(),
        token: "good".to_owned(),
        agents: 12,
        rounds: 2,
        ..SimulationOptions::default()
    });
    let summary = simulation.run(&mut Silent).await.unwrap();
    assert_eq!((summary.agents, summary.reporting, summary.rejected), (12, 11, 0));
    assert_eq!(summary.failed_scans, 1, "sim-0008 fails at first");
    let stats = server.fleet().store().stats(&UpdateFilter::default()).await.unwrap();
    assert_eq!(stats.total, summary.updates, "the server shows what the hosts have");
    assert!(server.enrolments().iter().all(|enrolment| enrolment["tags"][0] == "simulated"));
}

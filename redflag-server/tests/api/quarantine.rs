//! Two hosts of one key: found out, held, and let go by an administrator.

use crate::{
    process::output,
    support::{Answer, Harness, TestAgent, now, offer, report, scope},
};
use axum::http::{Method, StatusCode};
use redflag_core::{Fleet, audit::entry::By};
use redflag_server::{Role, Settings, SignaturesSeen, quarantine};
use redflag_store_sqlite::SqliteStore;
use std::time::Duration;

/// One more report of an agent's line, signed at `created`.
async fn next(harness: &Harness, agent: &TestAgent, sequence: u64, created: i64) -> Answer {
    let body = report(sequence, &[scope("dnf", &[offer("bash", "1", "2", "low")])]).to_string();
    harness.send(agent.signed_at(Method::POST, "/api/v1/report", body, created)).await
}

/// A copy of the agent's files goes on beside it until one of both is refused; the turns that took.
pub(crate) async fn until_found_out(harness: &Harness, original: &TestAgent) -> u64 {
    until_found_out_at([harness, harness], original).await
}

/// The same, the agent's requests at the first server and the copy's at the second.
async fn until_found_out_at(servers: [&Harness; 2], original: &TestAgent) -> u64 {
    let (copy, created) = (original.copied(), now());
    for turn in 1..50 {
        for (harness, line, created) in [(servers[0], original, created), (servers[1], &copy, created + 1)] {
            let answer = next(harness, line, 100 + turn, created).await;
            if answer.status != StatusCode::OK {
                assert_eq!(answer.problem(), (403, "quarantined".to_owned()));
                return turn;
            }
        }
    }
    panic!("nobody found out")
}

/// Two servers that share a database, and tell each other everything at once.
pub(crate) fn two_servers(fleets: [Fleet; 2]) -> [Harness; 2] {
    fleets.map(|fleet| {
        Harness::with(fleet, Settings { signatures_seen: SignaturesSeen::Shared { every: Duration::ZERO }, ..Settings::default() })
    })
}

#[tokio::test]
async fn two_hosts_are_held_until_an_administrator_decides() {
    two_hosts_of_one_key_are_held_until_an_administrator_decides(Harness::new()).await;
}

#[tokio::test]
async fn two_hosts_at_two_servers_are_found_out_as_at_one() {
    let fleet = Fleet::new(SqliteStore::in_memory().unwrap());
    two_hosts_of_one_key_are_found_out_at_two_servers(two_servers([fleet.clone(), fleet])).await;
}

pub(crate) async fn two_hosts_of_one_key_are_found_out_at_two_servers(servers: [Harness; 2]) {
    let [one, other] = &servers;
    let agent = one.agent("web-1").await;
    let turns = until_found_out_at([one, other], &agent).await;
    assert!(turns <= 12, "{turns}");
    assert_eq!(next(other, &agent, 900, now()).await.problem(), (403, "quarantined".to_owned()), "held at both");
    quarantine::release(&one.app.audit, agent.id, By::Server, one.app.now()).await.unwrap();

    // A captured request passes once more at the other server, where it changes nothing; and it makes no second host.
    for sequence in 901..931 {
        let (captured, body, created) = (agent.copied(), report(sequence, &[]).to_string(), now());
        let own = agent.signed_at(Method::POST, "/api/v1/report", body.clone(), created);
        assert_eq!(one.send(own).await.status, StatusCode::OK);
        for (server, status) in [(one, 401), (other, 200), (other, 401)] {
            let again = captured.copied().signed_at(Method::POST, "/api/v1/report", body.clone(), created);
            assert_eq!(server.send(again).await.status.as_u16(), status, "{sequence}");
        }
    }
    // One host whose requests go now here, now there, and at once to both.
    for sequence in 3_000..3_060 {
        let asked = [one, other].map(|server| next(server, &agent, sequence, now()));
        let [here, there] = asked;
        let (here, there) = tokio::join!(here, there);
        assert_eq!([here.status, there.status], [StatusCode::OK; 2], "{here:?} {there:?}");
    }
    let admin = one.operator(Role::Admin).await;
    assert_eq!(one.delete(&admin, &format!("/api/v1/agents/{}?reason=gone", agent.id)).await.status, StatusCode::OK);
    assert!(one.app.fleet.store().list("signatures-seen", None, 1).await.unwrap().is_empty(), "nothing of a removed agent stays");
}

pub(crate) async fn two_hosts_of_one_key_are_held_until_an_administrator_decides(harness: Harness) {
    let (agent, other) = (harness.agent("web-1").await, harness.agent("web-2").await);
    let (viewer, admin) = (harness.operator(Role::Viewer).await, harness.operator(Role::Admin).await);
    harness.reported(&agent, 1, "dnf", &[offer("bash", "1", "2", "low")]).await;
    let turns = until_found_out(&harness, &agent).await;
    assert!(turns <= 12, "{turns}");
    let path = format!("/api/v1/agents/{}", agent.id);
    let held = harness.get(&viewer, &path).await.json();
    assert!(held["quarantine"]["reason"].as_str().unwrap().contains("two hosts"), "{held}");
    let listed = harness.get(&viewer, "/api/v1/agents?sort=name").await.json();
    assert!(listed["agents"][0]["quarantine"].is_object() && listed["agents"][1]["quarantine"].is_null(), "{listed}");
    for path in ["/api/v1/report", "/api/v1/commands/lease"] {
        let refused = harness.send(agent.signed(Method::POST, path, report(900, &[]).to_string())).await;
        assert_eq!(refused.problem(), (403, "quarantined".to_owned()), "{path}");
    }
    assert_eq!(harness.get(&viewer, &path).await.json()["events"], held["events"], "nothing of the record is changed");
    harness.reported(&other, 1, "dnf", &[]).await;
    let page = format!("/agents/{}", agent.id);
    assert!(harness.get(&admin, &page).await.text().contains("Let it out of quarantine"));
    let seen = harness.get(&viewer, &page).await.text();
    assert!(seen.contains("In quarantine") && !seen.contains("Let it out"), "who may not let it out is offered nothing");

    let quarantine = format!("{path}/quarantine");
    assert_eq!(harness.delete(&viewer, &quarantine).await.status, StatusCode::FORBIDDEN);
    assert_eq!(harness.delete(&admin, &quarantine).await.status, StatusCode::OK);
    assert_eq!(harness.delete(&admin, &quarantine).await.status, StatusCode::NOT_FOUND, "it is in none any more");
    assert_eq!(next(&harness, &agent, 901, now()).await.status, StatusCode::OK, "the one that is left goes on");
    assert!(harness.get(&viewer, &path).await.json()["quarantine"].is_null());
    until_found_out(&harness, &agent).await;
    assert_eq!(harness.delete(&admin, &format!("{path}?reason=cloned")).await.status, StatusCode::OK);
    assert_eq!(harness.delete(&admin, &quarantine).await.status, StatusCode::NOT_FOUND, "with the agent its quarantine goes");
}

#[tokio::test]
async fn the_command_line_lists_who_is_held_and_lets_it_out() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("fleet.db");
    let harness = Harness::over(Fleet::new(SqliteStore::open(&database, redflag_store_sqlite::Options::default()).unwrap()));
    let agent = harness.agent("web-1").await;
    let quarantine = async |arguments: &[&str]| output(&database, &[&["quarantine"], arguments].concat()).await;
    assert_eq!(quarantine(&[]).await.1, "no agent is in quarantine\n");
    until_found_out(&harness, &agent).await;
    let (id, (_, listed, _)) = (agent.id.to_string(), quarantine(&[]).await);
    assert!(listed.starts_with(&format!("{id} since ")) && listed.contains("two hosts"), "{listed}");
    let json: serde_json::Value = serde_json::from_str(&quarantine(&["--json"]).await.1).unwrap();
    assert!(json["quarantined"][&id]["reason"].is_string(), "{json}");
    let (code, released, _) = quarantine(&["--release", &id]).await;
    assert!(code == 0 && released.contains("not in quarantine any more"), "{released}");
    assert_eq!(next(&harness, &agent, 900, now()).await.status, StatusCode::OK, "a running server sees it at once");
    let (code, _, told) = quarantine(&["--release", &id]).await;
    assert!(code == 1 && told.contains("in quarantine"), "{told}");
}

/// Whoever has no key can put nobody into quarantine: what does not verify counts for nothing, and neither does what was seen before.
#[tokio::test]
async fn strangers_and_replays_put_nobody_into_quarantine() {
    let harness = Harness::new();
    let agent = harness.agent("web-1").await;
    let stranger = agent.posed_by_a_stranger();
    for sequence in 1..40 {
        assert_eq!(next(&harness, &agent, sequence, now()).await.status, StatusCode::OK);
        assert_eq!(next(&harness, &stranger, sequence, now() + 1).await.status, StatusCode::UNAUTHORIZED);
        let (captured, created) = (agent.copied(), now() - 9);
        let body = report(1_000 + sequence, &[]).to_string();
        let first = agent.signed_at(Method::POST, "/api/v1/report", body.clone(), created);
        assert_eq!(harness.send(first).await.status, StatusCode::OK);
        let again = captured.signed_at(Method::POST, "/api/v1/report", body, created);
        assert_eq!(harness.send(again).await.status, StatusCode::UNAUTHORIZED);
    }
}

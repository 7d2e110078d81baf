//! Bulk decisions: exact counts over many agents while reports arrive, nothing decided that was not shown, and a server that was
//! killed midway goes on.

use crate::support::{Harness, Session, TestAgent, offer, random_id};
use axum::http::StatusCode;
use redflag_core::Fleet;
use redflag_server::{Role, Server, Settings};
use redflag_store_sqlite::{Options, SqliteStore};
use serde_json::{Value, json};
use std::{net::Ipv4Addr, time::Duration};
use tokio_util::sync::CancellationToken;

const AGENTS: usize = 50;
/// Critical updates over all agents, as the issue has them.
const MATCHING: usize = 3_412;
const FILTER: &str = "package_type=dnf&severity=critical";

/// Offers of one agent: its share of the critical ones, and ten that nobody asks for.
fn offers(agent: usize, version: &str) -> Vec<Value> {
    let critical = MATCHING / AGENTS + usize::from(agent < MATCHING % AGENTS);
    let named = |number: usize, severity| offer(&format!("package-{number:03}"), "1-1", version, severity);
    (0..critical).map(|number| named(number, "critical")).chain((900..910).map(|number| named(number, "low"))).collect()
}

async fn fleet(harness: &Harness) -> Vec<TestAgent> {
    let mut agents = Vec::new();
    for number in 0..AGENTS {
        let agent = harness.agent(&format!("web-{number:02}")).await;
        harness.reported(&agent, 1, "dnf", &offers(number, "1-2")).await;
        agents.push(agent);
    }
    agents
}

async fn shown(harness: &Harness, session: &Session) -> Value {
    let shown = harness.get(session, &format!("/api/v1/selection?{FILTER}&decision=approve")).await.json();
    assert_eq!((&shown["matching"], &shown["possible"], &shown["agents"]), (&json!(MATCHING), &json!(MATCHING), &json!(AGENTS)), "{shown}");
    shown
}

fn body(shown: &Value, id: &str) -> Value {
    json!({"decision": "approve", "filter": shown["filter"], "as_of": shown["as_of"], "possible": shown["possible"],
        "comment": "patch day", "operation_id": id})
}

/// Looks at the operation until it has ended.
async fn ended(harness: &Harness, session: &Session, id: &str) -> Value {
    let looking = async {
        loop {
            let operation = harness.get(session, &format!("/api/v1/operations/{id}")).await.json();
            if operation["status"] != "running" {
                return operation;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), looking).await.expect("the operation ends")
}

async fn total(harness: &Harness, session: &Session, filter: &str) -> u64 {
    harness.get(session, &format!("/api/v1/updates?page_size=1&{filter}")).await.json()["total"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bulk_approval_is_exact_while_reports_arrive() {
    let harness = Harness::new();
    let session = harness.operator(Role::Approver).await;
    let agents = fleet(&harness).await;
    let (shown, id) = (shown(&harness, &session).await, random_id());

    let reports = async {
        for (number, agent) in agents.iter().enumerate().filter(|(number, _)| number % 5 == 0) {
            harness.reported(agent, 2, "dnf", &offers(number, "1-3")).await;
        }
    };
    let decided = async {
        let begun = harness.post(&session, "/api/v1/operations", &body(&shown, &id)).await;
        assert_eq!(begun.status, StatusCode::ACCEPTED, "{begun:?}");
        ended(&harness, &session, &id).await
    };
    let ((), operation) = tokio::join!(reports, decided);
    let count = |field: &str| operation[field].as_u64().unwrap();
    assert_eq!((count("done") + count("changed"), count("failed")), (MATCHING as u64, 0), "{operation}");
    assert_eq!(operation["operator"], "Ada");
    // An agent that reported before its turn was skipped; one that reported after it had its approval voided by the new version.
    let kept: u64 =
        agents.iter().enumerate().filter(|(number, _)| number % 5 != 0).map(|(number, _)| offers(number, "").len() as u64 - 10).sum();
    assert_eq!(total(&harness, &session, "status=approved").await, kept, "approved is exactly what was shown and is still offered");
    assert_eq!(total(&harness, &session, "status=approved&severity=low").await, 0);

    let again = harness.post(&session, "/api/v1/operations", &body(&shown, &id)).await;
    assert_eq!(again.json(), operation, "the same operation again has no other effect and the same answer");
}

#[tokio::test]
async fn an_operation_says_what_is_wrong_with_it() {
    let harness = Harness::new();
    let (approver, viewer) = (harness.operator(Role::Approver).await, harness.operator(Role::Viewer).await);
    let agent = harness.agent("web-01").await;
    harness.reported(&agent, 1, "dnf", &[offer("bash", "1-1", "1-2", "critical"), offer("curl", "1-1", "1-2", "low")]).await;
    let shown = harness.get(&approver, "/api/v1/selection?decision=approve").await.json();
    assert_eq!((&shown["filter"], &shown["possible"]), (&json!(""), &json!(2)));
    let post = async |body: Value| harness.post(&approver, "/api/v1/operations", &body).await.problem();
    let with = |field: &str, value: Value| {
        let mut changed = body(&shown, &random_id());
        changed[field] = value;
        changed
    };
    assert_eq!(post(with("possible", json!(3))).await, (409, "selection_changed".to_owned()));
    assert_eq!(post(with("filter", json!("severity=worst"))).await, (400, "bad_parameter".to_owned()));
    assert_eq!(post(with("filter", json!("sort=name"))).await, (400, "bad_parameter".to_owned()));
    assert_eq!(post(with("filter", json!("a b"))).await, (400, "bad_parameter".to_owned()));
    assert_eq!(post(with("decision", json!("install"))).await, (400, "bad_parameter".to_owned()));
    assert_eq!(post(with("scope", json!("package"))).await, (400, "bad_parameter".to_owned()), "only an ignore has a scope");
    assert_eq!(post(with("operator", json!("eve"))).await, (400, "bad_envelope".to_owned()));
    let refused = harness.post(&viewer, "/api/v1/operations", &body(&shown, &random_id())).await;
    assert_eq!(refused.problem(), (403, "role".to_owned()));
    assert_eq!(harness.get(&viewer, "/api/v1/operations/x").await.problem(), (404, "not_found".to_owned()));
    assert_eq!(harness.get(&approver, "/api/v1/selection").await.problem(), (400, "bad_parameter".to_owned()));
    assert_eq!(total(&harness, &approver, "status=approved").await, 0, "nothing was decided by mistake");

    let id = random_id();
    let begun = harness.post(&approver, "/api/v1/operations", &body(&shown, &id)).await;
    assert_eq!(begun.status, StatusCode::ACCEPTED);
    let mut other = body(&shown, &id);
    other["comment"] = json!("other words");
    assert_eq!(post(other).await, (409, "operation_id_reused".to_owned()));
    assert_eq!(ended(&harness, &approver, &id).await["done"], 2);
}

/// The runtime goes with everything that runs in it, at a moment of its own choice, as when the process is killed.
#[test]
fn a_server_killed_midway_goes_on_at_its_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fleet.db");
    let id = random_id();
    let killed = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    killed.block_on(async {
        let harness = Harness::over(Fleet::new(SqliteStore::open(&path, Options::default()).unwrap()));
        let session = harness.operator(Role::Approver).await;
        fleet(&harness).await;
        let shown = shown(&harness, &session).await;
        assert_eq!(harness.post(&session, "/api/v1/operations", &body(&shown, &id)).await.status, StatusCode::ACCEPTED);
        while total(&harness, &session, "status=approved").await == 0 {
            tokio::task::yield_now().await;
        }
    });
    killed.shutdown_background();

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let settings = Settings { listen: (Ipv4Addr::LOCALHOST, 0).into(), ..Settings::default() };
        let server = Server::bind(settings, Fleet::new(SqliteStore::open(&path, Options::default()).unwrap())).await.unwrap();
        let harness = Harness::of(server.app());
        let session = harness.operator(Role::Approver).await;
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(server.run(shutdown.clone()));
        let operation = ended(&harness, &session, &id).await;
        assert_eq!((&operation["done"], &operation["changed"], &operation["failed"]), (&json!(MATCHING), &json!(0), &json!(0)));
        assert_eq!(total(&harness, &session, "status=approved").await, MATCHING as u64);
        shutdown.cancel();
        serving.await.unwrap().unwrap();
    });
}

//! Decisions: what an operator saw is what is approved, and nothing else.

use crate::support::{Harness, offer, random_id, report, scope};
use axum::http::StatusCode;
use redflag_server::Role;
use serde_json::{Value, json};

const BASH: [&str; 4] = ["bash", "5.1-1", "5.1-2", "important"];

fn bash(version: &str) -> Value {
    offer(BASH[0], BASH[1], version, BASH[3])
}

#[tokio::test]
async fn an_approval_names_its_operator_survives_the_same_scan_and_does_not_carry_over() {
    let harness = Harness::new();
    let session = harness.operator(Role::Approver).await;
    let agent = harness.agent("a").await;
    harness.reported(&agent, 1, "dnf", &[bash("5.1-2")]).await;
    let update = harness.only(&session, "/api/v1/updates").await;
    let path = format!("/api/v1/updates/{}", update["id"].as_str().unwrap());
    let body = json!({"offer_digest": update["offer_digest"], "comment": "tested on staging"});
    let approved = harness.post(&session, &format!("{path}/approve"), &body).await.json();
    assert_eq!(approved["status"], "approved");
    let standing = &approved["standing"];
    assert_eq!((&standing["actor"]["name"], &standing["comment"]), (&json!("Ada"), &json!("tested on staging")), "{standing}");

    let again = harness.reported(&agent, 2, "dnf", &[bash("5.1-2")]).await;
    assert_eq!((&again["status"], &again["events"]), (&json!("unchanged"), &json!(0)));
    assert_eq!(harness.get(&session, &path).await.json()["status"], "approved");

    harness.reported(&agent, 3, "dnf", &[bash("5.1-3")]).await;
    let newer = harness.get(&session, &path).await.json();
    assert_eq!((&newer["status"], &newer["available_version"]), (&json!("pending"), &json!("5.1-3")));
    let late = harness.post(&session, &format!("{path}/approve"), &body).await;
    assert_eq!(late.problem(), (409, "offer_changed".to_owned()), "the offer changed since it was shown");
}

#[tokio::test]
async fn each_decision_has_its_way_and_its_refusals() {
    let harness = Harness::new();
    let session = harness.operator(Role::Approver).await;
    let agent = harness.agent("a").await;
    harness.reported(&agent, 1, "dnf", &[bash("5.1-2")]).await;
    let update = harness.only(&session, "/api/v1/updates").await;
    let path = |action: &str| format!("/api/v1/updates/{}/{action}", update["id"].as_str().unwrap());
    let digest = &update["offer_digest"];
    let post = async |action: &str, body: Value| harness.post(&session, &path(action), &body).await;

    assert_eq!(post("withdraw-approval", json!({})).await.problem(), (409, "illegal_transition".to_owned()));
    assert_eq!(post("approve", json!({"offer_digest": digest})).await.json()["status"], "approved");
    assert_eq!(post("approve", json!({"offer_digest": digest})).await.problem(), (409, "illegal_transition".to_owned()));
    assert_eq!(post("withdraw-approval", json!({"comment": "not yet"})).await.json()["status"], "pending");
    assert_eq!(post("ignore", json!({"offer_digest": digest, "reason": "x"})).await.json()["status"], "ignored");
    assert_eq!(post("reopen", json!({})).await.json()["status"], "pending");
    for (body, code) in [
        (json!({}), "bad_envelope"),
        (json!({"offer_digest": "x"}), "bad_envelope"),
        (json!({"offer_digest": digest, "operator": "Eve"}), "bad_envelope"),
        (json!({"offer_digest": digest, "comment": ""}), "bad_envelope"),
        (json!({"offer_digest": digest, "scope": "everything"}), "bad_envelope"),
    ] {
        assert_eq!(post("ignore", body.clone()).await.problem(), (400, code.to_owned()), "{body}");
    }
    let wrong = json!({"offer_digest": "0".repeat(64)});
    assert_eq!(post("approve", wrong).await.problem(), (409, "offer_changed".to_owned()));
}

#[tokio::test]
async fn the_same_decision_id_has_one_effect_and_not_another() {
    let harness = Harness::new();
    let session = harness.operator(Role::Approver).await;
    let agent = harness.agent("a").await;
    harness.reported(&agent, 1, "dnf", &[bash("5.1-2")]).await;
    let update = harness.only(&session, "/api/v1/updates").await;
    let path = format!("/api/v1/updates/{}", update["id"].as_str().unwrap());
    let body = json!({"offer_digest": update["offer_digest"], "decision_id": random_id()});
    for _ in 0..2 {
        assert_eq!(harness.post(&session, &format!("{path}/approve"), &body).await.status, StatusCode::OK);
    }
    assert_eq!(harness.get(&session, &path).await.json()["revision"], 2);
    let mut other = body.clone();
    other["comment"] = json!("other words");
    assert_eq!(harness.post(&session, &format!("{path}/approve"), &other).await.problem(), (409, "batch_id_reused".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_operators_deciding_at_once_one_wins_and_one_is_told() {
    let harness = Harness::new();
    let session = harness.operator(Role::Approver).await;
    let agent = harness.agent("a").await;
    harness.reported(&agent, 1, "dnf", &[bash("5.1-2")]).await;
    let update = harness.only(&session, "/api/v1/updates").await;
    let path = format!("/api/v1/updates/{}/approve", update["id"].as_str().unwrap());
    let body = json!({"offer_digest": update["offer_digest"]});
    let racing: Vec<_> = (0..8)
        .map(|_| {
            let (harness, session, path, body) = (harness.clone(), session.clone(), path.clone(), body.clone());
            tokio::spawn(async move { harness.post(&session, &path, &body).await.status.as_u16() })
        })
        .collect();
    let mut statuses = Vec::new();
    for racer in racing {
        statuses.push(racer.await.unwrap());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409, 409, 409, 409, 409, 409, 409]);
}

/// Regression 10: two reports of one agent in opposite order deadlocked, and an approval waited for seconds behind them.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn regression_10_reports_in_opposite_order_and_an_approval_are_all_answered() {
    let harness = Harness::new();
    let session = harness.operator(Role::Approver).await;
    let agent = harness.agent("a").await;
    let offers = |version: &str| (0..400).map(|at| offer(&format!("p{at}"), "1-1", version, "low")).collect::<Vec<_>>();
    harness.reported(&agent, 1, "dnf", &offers("1-2")).await;
    let update = harness.get(&session, "/api/v1/updates?sort=name&page_size=1").await.json()["updates"][0].clone();
    let path = format!("/api/v1/updates/{}/approve", update["id"].as_str().unwrap());
    let forwards = report(2, &[scope("dnf", &offers("1-2"))]);
    let backwards = report(3, &[scope("dnf", &offers("1-2").into_iter().rev().collect::<Vec<_>>())]);
    let body = json!({"offer_digest": update["offer_digest"]});
    let (one, other, approved) =
        tokio::join!(harness.report(&agent, &forwards), harness.report(&agent, &backwards), harness.post(&session, &path, &body));
    assert_eq!((one.status.as_u16(), other.status.as_u16(), approved.status.as_u16()), (200, 200, 200));
    assert_eq!(harness.get(&session, "/api/v1/updates?status=approved").await.json()["total"], 1, "no report undid the approval");
    assert_eq!(harness.get(&session, &format!("/api/v1/agents/{}", agent.id)).await.json()["events"], 401);
}

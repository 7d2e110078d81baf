//! Removing an agent: who may, what is left, and how the agent is answered afterwards.

use crate::support::{Harness, TestAgent, offer, report, scope};
use axum::http::{Method, StatusCode};
use redflag_server::Role;
use serde_json::json;

#[tokio::test]
async fn an_admin_removes_an_agent_for_good_and_the_same_again_answers_the_same() {
    let harness = Harness::new();
    let (admin, approver) = (harness.operator(Role::Admin).await, harness.operator(Role::Approver).await);
    let (agent, other) = (harness.agent("web-01").await, harness.agent("web-02").await);
    for agent in [&agent, &other] {
        harness.reported(agent, 1, "dnf", &[offer("bash", "5.1-1", "5.1-2", "low")]).await;
    }
    let before = harness.get(&admin, "/api/v1/feed").await.json();
    let path = format!("/api/v1/agents/{}", agent.id);
    assert_eq!(harness.delete(&approver, &format!("{path}?reason=x")).await.problem(), (403, "role".to_owned()));
    for wrong in ["", "?reason=", "?reason=%00", "?why=x"] {
        assert_eq!(harness.delete(&admin, &format!("{path}{wrong}")).await.problem(), (400, "bad_parameter".to_owned()), "{wrong}");
    }
    assert_eq!(harness.get(&admin, &path).await.status, StatusCode::OK, "nothing was removed by mistake");

    let page = format!("/agents/{}/remove", agent.id);
    assert_eq!(harness.get(&approver, &page).await.status, StatusCode::FORBIDDEN);
    assert_eq!(harness.post(&approver, &page, &json!({})).await.status, StatusCode::FORBIDDEN);
    assert!(!harness.get(&approver, &format!("/agents/{}", agent.id)).await.text().contains("/remove"), "nor is it offered");

    let removed = harness.delete(&admin, &format!("{path}?reason=scrapped%20in%20June")).await;
    let body = removed.json();
    assert_eq!((removed.status, &body["name"], &body["reason"]), (StatusCode::OK, &json!("web-01"), &json!("scrapped in June")));
    assert_eq!((&body["actor"], &body["batches"], &body["events"]), (&json!("operator Ada"), &json!(1), &json!(1)));
    let again = harness.delete(&admin, &format!("{path}?reason=other%20words")).await;
    assert_eq!(again.json(), body, "what was removed stays as it was removed");

    assert_eq!(harness.get(&admin, &path).await.problem(), (404, "not_found".to_owned()));
    for list in ["/api/v1/agents", "/api/v1/updates?status=any", "/api/v1/batches"] {
        let list = harness.get(&admin, list).await.json();
        assert_eq!(list["total"], 1, "{list}");
    }
    let after = harness.get(&admin, "/api/v1/feed").await.json();
    for (was, is) in before["entries"].as_array().unwrap().iter().zip(after["entries"].as_array().unwrap()) {
        assert_eq!((&was["position"], &was["digest"], &was["number"]), (&is["position"], &is["digest"], &is["number"]));
        assert_eq!(is["batch"].is_null(), is["agent_id"] == json!(agent.id), "only its own batches are gone: {is}");
    }
    let nobody = "/api/v1/agents/0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3?reason=x";
    assert_eq!(harness.delete(&admin, nobody).await.problem(), (404, "not_found".to_owned()));
}

#[tokio::test]
async fn a_removed_agent_is_answered_like_a_stranger() {
    let harness = Harness::new();
    let admin = harness.operator(Role::Admin).await;
    let agent = harness.agent("web-01").await;
    harness.reported(&agent, 1, "dnf", &[offer("bash", "5.1-1", "5.1-2", "low")]).await;
    harness.delete(&admin, &format!("/api/v1/agents/{}?reason=x", agent.id)).await;

    let stranger = TestAgent::new();
    let body = report(2, &[scope("dnf", &[])]);
    let (removed, unknown) = (harness.report(&agent, &body).await, harness.report(&stranger, &body).await);
    assert_eq!(removed.problem(), (401, "unauthorized".to_owned()));
    assert_eq!((removed.status, &removed.bytes), (unknown.status, &unknown.bytes), "an answer tells nothing");
    let compatible = agent.signed(Method::POST, &format!("/api/v1/agents/{}/updates", agent.id), r#"{"updates":[]}"#);
    assert_eq!(harness.send(compatible).await.problem(), (401, "unauthorized".to_owned()));

    // Its id is never enrolled again; the same host with a new id is a new agent, which inherits nothing.
    let token = harness.token(3).await;
    assert_eq!(harness.enrol(&token, &agent, "web-01").await.problem(), (409, "agent_removed".to_owned()));
    let fresh = TestAgent::new();
    assert_eq!(harness.enrol(&token, &fresh, "web-01").await.status, StatusCode::CREATED);
    let view = harness.get(&admin, &format!("/api/v1/agents/{}", fresh.id)).await.json();
    assert_eq!((&view["events"], &view["last_report_at"], &view["updates"]["total"]), (&json!(0), &json!(null), &json!(0)));
}

/// A removal while the agent reports: each report is taken before it or refused after it, and nothing of the agent is left.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_removal_amid_reports_leaves_nothing() {
    let harness = Harness::new();
    let admin = harness.operator(Role::Admin).await;
    for _ in 0..4 {
        let agent = harness.agent("web-01").await;
        let reporting: Vec<_> = (1..=8)
            .map(|sequence| {
                let (harness, agent) = (harness.clone(), agent.clone());
                let offers: Vec<_> = (0..50).map(|at| offer(&format!("p{at}"), "1-1", &format!("1-{sequence}"), "low")).collect();
                tokio::spawn(async move { harness.report(&agent, &report(sequence, &[scope("dnf", &offers)])).await.status.as_u16() })
            })
            .collect();
        let path = format!("/api/v1/agents/{}?reason=x", agent.id);
        let removed = harness.delete(&admin, &path).await;
        // An agent that reports faster than its log can be read is removed when it is asked again.
        assert!([200, 503].contains(&removed.status.as_u16()), "{removed:?}");
        for report in reporting {
            let status = report.await.unwrap();
            assert!([200, 401, 404].contains(&status), "{status}");
        }
        assert_eq!(harness.delete(&admin, &path).await.status, StatusCode::OK);
        for list in ["/api/v1/agents", "/api/v1/updates?status=any", "/api/v1/batches"] {
            assert_eq!(harness.get(&admin, list).await.json()["total"], 0, "{list}");
        }
    }
}

//! States of the past: as they were, not found before they began, gone once pruned.

use crate::support::{Harness, offer};
use redflag_core::{names::Text, retention::RetentionWindow};
use redflag_server::Role;
use serde_json::json;

#[tokio::test]
async fn the_past_is_as_it_was_until_retention_takes_it() {
    let harness = Harness::new();
    let session = harness.operator(Role::Approver).await;
    let agent = harness.agent("a").await;
    harness.reported_ago(&agent, 100, 1, "dnf", &[offer("curl", "1-1", "1-2", "low")]).await;
    harness.reported_ago(&agent, 99, 2, "dnf", &[offer("bash", "5.1-1", "5.1-2", "low"), offer("curl", "1-1", "1-2", "low")]).await;
    let bash = [offer("bash", "5.1-1", "5.1-3", "critical"), offer("curl", "1-1", "1-2", "low")];
    harness.reported(&agent, 3, "dnf", &bash).await;
    let update = harness.only(&session, "/api/v1/updates?search=bash").await;
    let path = format!("/api/v1/updates/{}", update["id"].as_str().unwrap());
    let approve = json!({"offer_digest": update["offer_digest"]});
    let now = harness.post(&session, &format!("{path}/approve"), &approve).await.json();

    let past = async |query: &str| harness.get(&session, &format!("{path}/past?{query}")).await;
    for (query, version, status) in [
        ("sequence=2", "5.1-2", "pending"),
        ("position=2", "5.1-2", "pending"),
        ("sequence=3", "5.1-3", "pending"),
        ("position=3", "5.1-3", "pending"),
        ("position=4", "5.1-3", "approved"),
        ("sequence=999", "5.1-3", "approved"),
    ] {
        let then = past(query).await.json();
        assert_eq!((&then["available_version"], &then["status"]), (&json!(version), &json!(status)), "{query}");
        assert_eq!((&then["id"], &then["agent_name"]), (&now["id"], &now["agent_name"]), "{query}");
    }
    assert_eq!(past("position=4").await.json(), now, "the newest past is now");
    for before in ["sequence=0", "sequence=1", "position=0", "position=1"] {
        assert_eq!(past(before).await.problem(), (404, "not_found".to_owned()), "{before}");
    }
    for wrong in ["", "sequence=1&position=1", "sequence=-1", "at=1", "sequence=1&sequence=2"] {
        assert_eq!(past(wrong).await.problem(), (400, "bad_parameter".to_owned()), "{wrong:?}");
    }

    harness.app.fleet.prune(agent.id, RetentionWindow::days(30).unwrap(), harness.app.now()).await.unwrap();
    for gone in ["sequence=1", "position=1"] {
        assert_eq!(past(gone).await.problem(), (410, "pruned".to_owned()), "{gone}");
    }
    assert_eq!(past("sequence=2").await.json()["available_version"], "5.1-2", "the base is still known");
    assert_eq!(harness.get(&session, &path).await.json(), now, "and so is the present");
}

#[tokio::test]
async fn an_agent_that_was_removed_has_no_past() {
    let harness = Harness::new();
    let session = harness.operator(Role::Admin).await;
    let agent = harness.agent("a").await;
    harness.reported(&agent, 1, "dnf", &[offer("bash", "5.1-1", "5.1-2", "low")]).await;
    let update = harness.only(&session, "/api/v1/updates").await;
    let actor = redflag_core::event::Actor::Operator(Text::lossy("Ada"));
    harness.app.fleet.remove_agent(agent.id, actor, None, harness.app.now()).await.unwrap();
    let path = format!("/api/v1/updates/{}/past?sequence=1", update["id"].as_str().unwrap());
    assert_eq!(harness.get(&session, &path).await.problem(), (404, "not_found".to_owned()));
}

//! What operators ask of hosts, call off and halt; who may; and how a waiting agent learns of it.

use crate::{
    commands::Scene,
    support::{Harness, random_id},
};
use axum::http::{Method, StatusCode};
use redflag_core::{Fleet, MemoryStore};
use redflag_server::{Role, Server, Settings};
use serde_json::{Value, json};
use std::{collections::BTreeSet, net::Ipv4Addr};
use tokio_util::sync::CancellationToken;

fn rescan() -> Value {
    json!({"action": {"kind": "rescan"}})
}

#[tokio::test]
async fn each_role_may_ask_for_what_it_may_and_foreign_ids_name_nothing() {
    let scene = Scene::of(Harness::new()).await;
    let harness = &scene.harness;
    let (viewer, admin) = (harness.operator(Role::Viewer).await, harness.operator(Role::Admin).await);
    let path = format!("/api/v1/agents/{}/commands", scene.agent.id);
    let reboot = json!({"action": {"kind": "reboot"}});
    assert_eq!(harness.post(&viewer, &path, &rescan()).await.problem(), (403, "role".to_owned()));
    assert_eq!(harness.post(&scene.operator, &path, &reboot).await.problem(), (403, "role".to_owned()));
    for wrong in [
        json!({}),
        json!({"action": {"kind": "plan", "items": []}}),
        json!({"action": {"kind": "rescan", "x": 1}}),
        json!({"action": {"kind": "refresh-metadata"}}),
        json!({"action": {"kind": "refresh-metadata", "package_type": "A B"}}),
        json!({"action": {"kind": "rescan"}, "id": "1"}),
    ] {
        assert_eq!(harness.post(&admin, &path, &wrong).await.problem(), (400, "bad_envelope".to_owned()), "{wrong}");
    }
    assert_eq!(harness.get(&viewer, "/api/v1/commands").await.json()["total"], 0, "nothing was asked for by mistake");

    let metadata = json!({"action": {"kind": "refresh-metadata", "package_type": "dnf"}, "id": random_id()});
    let asked = harness.post(&scene.operator, &path, &metadata).await.json();
    assert_eq!((&asked["id"], &asked["package_type"], &asked["requested_by"]), (&metadata["id"], &json!("dnf"), &json!("operator Ada")));
    assert_eq!(harness.post(&scene.operator, &path, &metadata).await.json(), asked, "the same again has one effect");
    let mut other = rescan();
    other["id"] = metadata["id"].clone();
    assert_eq!(harness.post(&scene.operator, &path, &other).await.problem(), (409, "command_id_reused".to_owned()));
    assert_eq!(harness.post(&admin, &path, &reboot).await.json()["action"], "reboot");

    let stranger = harness.agent("web-02").await;
    let id = asked["id"].as_str().unwrap();
    for foreign in [format!("{}/{id}", stranger.id), format!("{}/{}", scene.agent.id, random_id()), format!("x/{id}"), "x/y".to_owned()] {
        let path = format!("/api/v1/commands/{foreign}");
        assert_eq!(harness.get(&viewer, &path).await.problem(), (404, "not_found".to_owned()), "{foreign}");
        let digest = "0".repeat(64);
        for (step, body) in [("cancel", json!({})), ("retry", json!({})), ("confirm", json!({"plan_digest": digest}))] {
            let answer = harness.post(&scene.operator, &format!("{path}/{step}"), &body).await;
            assert_eq!(answer.problem(), (404, "not_found".to_owned()), "{step} {foreign}");
        }
    }
    for step in ["start", "result", "output"] {
        let body = json!({"kind": "succeeded", "offset": 0, "text": ""});
        let body = match step {
            "result" => json!({"kind": "succeeded"}),
            "output" => json!({"offset": 0, "text": "x"}),
            _ => body,
        };
        let request = stranger.signed(Method::POST, &format!("/api/v1/commands/{id}/{step}"), body.to_string());
        assert_eq!(harness.send(request).await.problem(), (404, "not_found".to_owned()), "{step} by another agent");
    }
    let unknown = format!("/api/v1/agents/{}/commands", random_id());
    assert_eq!(harness.post(&admin, &unknown, &rescan()).await.problem(), (404, "not_found".to_owned()));
    let step = format!("/api/v1/commands/{}/{id}/retry", scene.agent.id);
    assert_eq!(harness.post(&admin, &step, &json!({})).await.problem(), (409, "illegal_step".to_owned()), "it has not ended");
}

#[tokio::test]
async fn while_commands_are_halted_nothing_is_handed_out_or_begun() {
    let scene = Scene::of(Harness::new()).await;
    let harness = &scene.harness;
    let (viewer, admin) = (harness.operator(Role::Viewer).await, harness.operator(Role::Admin).await);
    let of_agent = format!("/api/v1/agents/{}/commands", scene.agent.id);
    harness.post(&scene.operator, &of_agent, &rescan()).await;
    let handed = scene.handed(0).await;
    harness.post(&scene.operator, &of_agent, &rescan()).await;

    let body = json!({"reason": "a bad mirror"});
    assert_eq!(harness.post(&scene.operator, "/api/v1/halt", &body).await.problem(), (403, "role".to_owned()));
    assert_eq!(harness.post(&admin, "/api/v1/halt", &json!({"reason": ""})).await.problem(), (400, "bad_envelope".to_owned()));
    assert_eq!(harness.get(&viewer, "/api/v1/halt").await.json()["halted"], false);
    let halt = harness.post(&admin, "/api/v1/halt", &body).await.json();
    assert_eq!((&halt["halted"], &halt["by"], &halt["reason"]), (&json!(true), &json!("Ada-admin"), &json!("a bad mirror")));
    let again = harness.post(&admin, "/api/v1/halt", &json!({"reason": "another"})).await.json();
    assert_eq!((&again, harness.get(&viewer, "/api/v1/halt").await.json()), (&halt, halt.clone()), "what is set stays as it was set");

    let lease = scene.lease(0).await;
    assert_eq!((&lease["commands"], &lease["halted"]), (&json!([]), &json!("a bad mirror")), "{lease}");
    let start = scene.agent.signed(Method::POST, &format!("/api/v1/commands/{}/start", handed.id), "");
    assert_eq!(harness.send(start).await.problem(), (409, "halted".to_owned()));

    assert_eq!(harness.delete(&scene.operator, "/api/v1/halt").await.problem(), (403, "role".to_owned()));
    for _ in 0..2 {
        assert_eq!(harness.delete(&admin, "/api/v1/halt").await.json()["halted"], false);
    }
    assert_eq!(scene.lease(0).await["commands"].as_array().unwrap().len(), 2);
    assert_eq!(scene.start(handed.id).await["state"], "started");
}

/// What `deed` answers, once the agent has looked and waits: in one thread and in memory, everything else has had its turn by then.
async fn waiting<T>(deed: impl Future<Output = T>) -> T {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    deed.await
}

/// Time stands still: a lease that is not woken waits until its time is over, which then comes at once, and answers nothing.
#[tokio::test(start_paused = true)]
async fn a_waiting_agent_is_woken_by_what_is_decided_asked_for_and_lifted() {
    let settings = Settings { listen: (Ipv4Addr::LOCALHOST, 0).into(), ..Settings::default() };
    let server = Server::bind(settings, Fleet::new(MemoryStore::default())).await.unwrap();
    let scene = Scene::of(Harness::of(server.app())).await;
    let admin = scene.harness.operator(Role::Admin).await;
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(server.run(shutdown.clone()));
    // The feed is followed from here on.
    tokio::task::yield_now().await;

    let (lease, ()) = tokio::join!(scene.lease(50), waiting(scene.approve()));
    assert_eq!(lease["commands"].as_array().unwrap().len(), 1, "an approval is told of by the feed: {lease}");
    let id = lease["commands"][0]["id"].as_str().unwrap().to_owned();
    let cancel = format!("{}/cancel", scene.path(id));
    assert_eq!(scene.harness.post(&scene.operator, &cancel, &json!({})).await.status, StatusCode::OK);

    let path = format!("/api/v1/agents/{}/commands", scene.agent.id);
    let rescan = rescan();
    let (lease, asked) = tokio::join!(scene.lease(50), waiting(scene.harness.post(&scene.operator, &path, &rescan)));
    assert_eq!((lease["commands"].as_array().unwrap().len(), &lease["commands"][0]["id"]), (1, &asked.json()["id"]), "{lease}");
    assert_eq!(scene.start(lease["commands"][0]["id"].as_str().unwrap()).await["state"], "started");

    scene.harness.post(&admin, "/api/v1/halt", &json!({"reason": "wait"})).await;
    scene.harness.post(&scene.operator, &path, &rescan).await;
    let (lease, lifted) = tokio::join!(scene.lease(50), waiting(scene.harness.delete(&admin, "/api/v1/halt")));
    assert_eq!((lease["commands"].as_array().unwrap().len(), lifted.status), (1, StatusCode::OK), "{lease}");
    assert_eq!(lease["halted"], Value::Null);
    shutdown.cancel();
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_walk_sees_each_command_once_whatever_is_asked_for_meanwhile() {
    let scene = Scene::of(Harness::new()).await;
    let harness = &scene.harness;
    let other = harness.agent("web-02").await;
    let ask = async |agent: &str| {
        let answer = harness.post(&scene.operator, &format!("/api/v1/agents/{agent}/commands"), &rescan()).await;
        answer.json()["id"].as_str().unwrap().to_owned()
    };
    let (own, others) = (scene.agent.id.to_string(), other.id.to_string());
    let mut asked = BTreeSet::new();
    for _ in 0..7 {
        asked.insert(ask(&own).await);
        ask(&others).await;
    }
    let filter = format!("agent_id={own}&state=open&page_size=3");
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = harness.get(&scene.operator, &format!("/api/v1/commands?{filter}{after}")).await.json();
        assert!(page["commands"].as_array().unwrap().iter().all(|row| row["agent_name"] == "web-01"), "{page}");
        seen.extend(page["commands"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()));
        // Newer ones stand before the walk and do not move it.
        ask(&own).await;
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!((seen.len(), seen.iter().cloned().collect::<BTreeSet<_>>()), (7, asked));
    let foreign = harness.get(&scene.operator, &format!("/api/v1/commands?state=open{after}")).await;
    assert_eq!(foreign.problem(), (400, "bad_parameter".to_owned()), "a cursor belongs to its list");
    let total = async |filter: &str| harness.get(&scene.operator, &format!("/api/v1/commands?{filter}")).await.json()["total"].clone();
    assert_eq!((total("state=queued").await, total("state=failed").await, total("").await), (json!(17), json!(0), json!(17)));
    assert_eq!(harness.get(&scene.operator, "/api/v1/commands?state=running").await.problem(), (400, "bad_parameter".to_owned()));
}

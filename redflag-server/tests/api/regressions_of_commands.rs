//! Defects of earlier systems around approving and commands (`docs/regressions.md`), each on SQLite and on PostgreSQL.

use crate::{
    commands::{Scene, done, exactly},
    support::{TestAgent, offer, random_id, report, scope},
};
use axum::http::{Method, StatusCode};
use redflag_core::{Fleet, command::payload::Action};
use redflag_server::Role;
use serde_json::{Value, json};

macro_rules! on_both_stores {
    ($($test:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $test() {
                super::$test(redflag_core::Fleet::new(redflag_store_sqlite::SqliteStore::in_memory().unwrap())).await;
            })*
        }
        #[cfg(feature = "postgres")]
        mod postgres {
            use redflag_core::{Fleet, store::Durability};
            use redflag_store_postgres::{Options, PostgresStore};
            $(#[tokio::test]
            async fn $test() {
                let postgres = tmp_postgrust::new_default_process().expect("a PostgreSQL server starts (Debian package: postgresql-15)");
                let options = Options { durability: Durability::Process, ..Options::default() };
                super::$test(Fleet::new(PostgresStore::connect(&postgres.connection_string(), options).await.unwrap())).await;
            })*
        }
    };
}

on_both_stores![
    regression_10_reports_in_opposite_order_and_an_approval_do_not_wait_for_each_other,
    regression_14_an_approval_of_nothing_is_told_and_nothing_is_installed_without_one,
    regression_15_a_successful_install_is_recorded,
    regression_16_an_agents_credential_is_good_for_its_own_commands_and_for_nothing_else,
    regression_17_commands_are_delivered_again_begun_once_and_block_no_other,
];

/// Offers of some packages, in this order.
fn offers(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| offer(name, "1", "2", "important")).collect()
}

async fn regression_10_reports_in_opposite_order_and_an_approval_do_not_wait_for_each_other(fleet: Fleet) {
    let scene = Scene::over(fleet).await;
    let names: Vec<String> = (0..200).map(|number| format!("package-{number:03}")).collect();
    let forwards: Vec<&str> = names.iter().map(String::as_str).collect();
    let backwards: Vec<&str> = forwards.iter().rev().copied().collect();
    let update = scene.update().await;
    let path = format!("/api/v1/updates/{}/approve", update["id"].as_str().unwrap());
    let body = json!({"offer_digest": update["offer_digest"]});
    let send =
        async |sequence, names: &[&str]| scene.harness.report(&scene.agent, &report(sequence, &[scope("apt", &offers(names))])).await;
    let approval = scene.harness.post(&scene.operator, &path, &body);
    let (one, other, approved) = tokio::join!(send(2, &forwards), send(3, &backwards), approval);
    assert_eq!([one.status, other.status, approved.status], [StatusCode::OK; 3]);
    let stats = scene.harness.get(&scene.operator, "/api/v1/stats").await.json();
    assert_eq!((&stats["updates"]["total"], &stats["updates"]["by_status"]["approved"]), (&json!(201), &json!(1)), "{stats}");
}

async fn regression_14_an_approval_of_nothing_is_told_and_nothing_is_installed_without_one(fleet: Fleet) {
    let scene = Scene::over(fleet).await;
    let body = json!({"offer_digest": scene.update().await["offer_digest"]});
    let nobodys = redflag_core::ids::UpdateId {
        agent: scene.agent.id,
        package: redflag_core::names::PackageKey::parse("dnf", "nothing", Some("x86_64")).unwrap(),
    };
    let answer = scene.harness.post(&scene.operator, &format!("/api/v1/updates/{nobodys}/approve"), &body).await;
    assert_eq!(answer.problem().0, 404);

    assert_eq!(scene.lease(0).await["commands"], json!([]), "nothing is handed out without an approval");
    let path = format!("/api/v1/agents/{}/commands", scene.agent.id);
    for kind in ["plan", "install", "recreate"] {
        let item = json!({"package": {"manager": "dnf", "name": "bash", "arch": "x86_64"}, "from": "5.1-1", "to": "5.1-2"});
        let action = json!({"kind": kind, "items": [item], "side_effects": [], "plan_digest": "0".repeat(64)});
        let refused = scene.harness.post(&scene.operator, &path, &json!({"action": action})).await;
        assert!(refused.status.is_client_error(), "{kind}: {refused:?}");
    }
    assert_eq!(scene.lease(0).await["commands"], json!([]));

    scene.approve().await;
    let (planned, _) = scene.planned(0, exactly).await;
    assert_eq!(planned.approvals[0].actor.as_str(), "Ada", "the approver is named in what is signed");
    assert_eq!(scene.handed(1).await.approvals, planned.approvals);
}

async fn regression_15_a_successful_install_is_recorded(fleet: Fleet) {
    let scene = Scene::over(fleet).await;
    scene.approve().await;
    scene.planned(0, exactly).await;
    let install = scene.handed(1).await;
    assert_eq!(scene.start(install.id).await["state"], "started");
    assert_eq!(scene.finish(install.id, &done()).await["state"], "succeeded");
    let mut seen = scope("dnf", &[]);
    seen["gone"] = json!([{"package_name": "bash", "arch": "x86_64", "installed_version": "5.1-2"}]);
    assert_eq!(scene.harness.report(&scene.agent, &report(2, &[seen])).await.status, StatusCode::OK);
    let update = scene.update().await;
    assert_eq!(update["status"], "installed");
    let path = format!("/api/v1/updates/{}/history", update["id"].as_str().unwrap());
    let history = scene.harness.get(&scene.operator, &path).await.json();
    assert_eq!(history.as_array().unwrap().len(), 1, "{history}");
    let told = (&history[0]["outcome"], &history[0]["from_version"], &history[0]["to_version"], &history[0]["command_id"]);
    assert_eq!(told, (&json!("installed"), &json!("5.1-1"), &json!("5.1-2"), &json!(install.id)));
}

async fn regression_16_an_agents_credential_is_good_for_its_own_commands_and_for_nothing_else(fleet: Fleet) {
    let scene = Scene::over(fleet).await;
    scene.approve().await;
    let command = scene.handed(0).await;
    let stranger: TestAgent = scene.harness.agent("other").await;
    let says = async |agent: &TestAgent, path: &str, body: String| scene.harness.send(agent.signed(Method::POST, path, body)).await;
    let lease = says(&stranger, "/api/v1/commands/lease", json!({"limit": 16, "wait_seconds": 0}).to_string()).await;
    assert_eq!(lease.json()["commands"], json!([]));
    let claim = serde_json::to_string(&done()).unwrap();
    for (what, body) in [("start", String::new()), ("result", claim), ("output", json!({"offset": 0, "text": "x"}).to_string())] {
        let answer = says(&stranger, &format!("/api/v1/commands/{}/{what}", command.id), body).await;
        assert_eq!(answer.problem().0, 404, "{what}");
    }
    let update = scene.update().await;
    let approve = format!("/api/v1/updates/{}/approve", update["id"].as_str().unwrap());
    let body = json!({"offer_digest": update["offer_digest"]}).to_string();
    for path in [&approve, &format!("{}/cancel", scene.path(command.id)), &format!("{}/retry", scene.path(command.id)), "/api/v1/halt"] {
        let answer = says(&scene.agent, path, body.clone()).await;
        assert_eq!(answer.problem().0, 401, "an agent is no operator: {path}");
    }
    let removal = scene.harness.send(scene.agent.signed(Method::DELETE, &format!("/api/v1/agents/{}", stranger.id), "")).await;
    assert_eq!(removal.problem().0, 401);
    assert_eq!(scene.handed(0).await, command, "nothing of this changed anything");
}

async fn regression_17_commands_are_delivered_again_begun_once_and_block_no_other(fleet: Fleet) {
    let scene = Scene::over(fleet).await;
    scene.approve().await;
    let (first, second) = tokio::join!(scene.lease(0), scene.lease(0));
    assert_eq!((&first["commands"], first["commands"].as_array().unwrap().len()), (&second["commands"], 1), "one command, told twice");
    let command = scene.handed(0).await;
    assert_eq!((scene.start(command.id).await, scene.lease(0).await["commands"].clone()), (scene.start(command.id).await, json!([])));

    // It hangs. Another package of the same agent goes on.
    let names = ["bash", "curl"]
        .map(|name| offer(name, if name == "bash" { "5.1-1" } else { "1" }, if name == "bash" { "5.1-2" } else { "2" }, "important"));
    scene.harness.reported(&scene.agent, 2, "dnf", &names).await;
    let updates = scene.harness.get(&scene.operator, "/api/v1/updates?search=curl").await.json();
    let (id, digest) = (updates["updates"][0]["id"].as_str().unwrap(), &updates["updates"][0]["offer_digest"]);
    let approved = scene.harness.post(&scene.operator, &format!("/api/v1/updates/{id}/approve"), &json!({"offer_digest": digest})).await;
    assert_eq!(approved.status, StatusCode::OK, "{approved:?}");
    let other = scene.handed(1).await;
    let Action::Plan { items } = &other.action else { panic!("{other:?}") };
    assert_eq!(items.iter().map(|item| item.package.name.as_str()).collect::<Vec<_>>(), ["curl"]);

    let cancel = scene.harness.post(&scene.operator, &format!("{}/cancel", scene.path(command.id)), &json!({"reason": random_id()})).await;
    assert_eq!(cancel.json()["state"], "cancelled", "it ends without the agent's help");
    assert_eq!(scene.finish(command.id, &done()).await["state"], "cancelled", "and what is said late changes nothing");
    let viewer = scene.harness.operator(Role::Viewer).await;
    let late = scene.harness.get(&viewer, &scene.path(command.id)).await.json();
    assert_eq!(late["late"].as_array().map(Vec::len), Some(1), "{late}");
}

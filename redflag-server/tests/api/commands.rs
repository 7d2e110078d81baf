//! From an approval to an installation, and every way in which that can end otherwise, as agents and operators see it.

use crate::support::{Harness, Session, TestAgent, offer, report, scope};
use axum::http::{Method, StatusCode};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use redflag_core::{
    Fleet, MemoryStore,
    command::{
        payload::{Action, Audience, Command, SideEffect},
        plan::{Change, Item, Plan},
        record::{Claim, Failure, Success},
        verify::{Authentic, PinnedKey},
    },
    names::{PackageKey, Text, Version},
    signing,
};
use redflag_server::{Role, clock};
use serde_json::{Value, json};
use std::{collections::BTreeSet, time::Duration};

/// An agent that asks for commands and verifies them, and an operator.
pub(crate) struct Scene {
    pub(crate) harness: Harness,
    pub(crate) operator: Session,
    pub(crate) agent: TestAgent,
    pinned: PinnedKey,
}

impl Scene {
    /// An agent with one update of bash, over a fleet.
    pub(crate) async fn over(fleet: Fleet) -> Self {
        Self::of(Harness::over(fleet)).await
    }

    pub(crate) async fn of(harness: Harness) -> Self {
        let operator = harness.operator(Role::Approver).await;
        let agent = TestAgent::new();
        let enrolled = harness.enrol(&harness.token(1).await, &agent, "web-01").await.json();
        let signer = serde_json::from_value::<redflag_core::command::delivery::SignerBody>(enrolled["signer"].clone()).unwrap();
        let public_key: [u8; 32] = STANDARD.decode(signer.public_key).unwrap().try_into().unwrap();
        let pinned = PinnedKey::new(&public_key, signer.mode).unwrap();
        assert_eq!(pinned.id(), signer.key_id);
        let scene = Self { harness, operator, agent, pinned };
        scene.offered(1, "5.1-2").await;
        scene
    }

    pub(crate) async fn offered(&self, sequence: u64, version: &str) {
        self.harness.reported(&self.agent, sequence, "dnf", &[offer("bash", "5.1-1", version, "important")]).await;
    }

    pub(crate) async fn update(&self) -> Value {
        self.harness.only(&self.operator, "/api/v1/updates?status=any").await
    }

    pub(crate) async fn approve(&self) {
        let update = self.update().await;
        let path = format!("/api/v1/updates/{}/approve", update["id"].as_str().unwrap());
        let approved = self.harness.post(&self.operator, &path, &json!({"offer_digest": update["offer_digest"]})).await;
        assert_eq!(approved.status, StatusCode::OK, "{approved:?}");
    }

    /// What the agent is answered when it asks for commands.
    pub(crate) async fn lease(&self, wait_seconds: u32) -> Value {
        let body = json!({"limit": 16, "wait_seconds": wait_seconds}).to_string();
        let answer = self.harness.send(self.agent.signed(Method::POST, "/api/v1/commands/lease", body)).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        answer.json()
    }

    /// The only command the agent is handed, verified as an executor would that has seen `floor`.
    pub(crate) async fn handed(&self, floor: u64) -> Command {
        let lease = self.lease(0).await;
        assert_eq!(lease["commands"].as_array().unwrap().len(), 1, "{lease}");
        let envelope = lease["commands"][0]["envelope"].as_str().unwrap();
        let audience = Audience { agent: self.agent.id, key_id: signing::key_id(&self.agent.key.verifying_key().to_bytes()) };
        let authentic = Authentic::read(envelope.as_bytes(), std::slice::from_ref(&self.pinned), 1).unwrap();
        let verified = authentic.verify(&audience, floor, clock::now(), Duration::ZERO).unwrap();
        assert_eq!(json!(verified.command().id), lease["commands"][0]["id"]);
        verified.command().clone()
    }

    pub(crate) async fn told(&self, id: impl ToString, what: &str, body: impl Into<Vec<u8>>) -> crate::support::Answer {
        let path = format!("/api/v1/commands/{}/{what}", id.to_string());
        self.harness.send(self.agent.signed(Method::POST, &path, body)).await
    }

    pub(crate) async fn start(&self, id: impl ToString) -> Value {
        self.told(id, "start", "").await.json()
    }

    pub(crate) async fn finish(&self, id: impl ToString, claim: &Claim) -> Value {
        self.told(id, "result", serde_json::to_vec(claim).unwrap()).await.json()
    }

    /// A plan command is handed out, begun, and answered with what the manager would do.
    pub(crate) async fn planned(&self, floor: u64, changes: impl FnOnce(&[Item]) -> Vec<Change>) -> (Command, Plan) {
        let command = self.handed(floor).await;
        let Action::Plan { items } = &command.action else { panic!("{:?}", command.action) };
        let plan = Plan::of(changes(items));
        assert_eq!(self.start(command.id).await["state"], "started");
        let success = Success { plan: Some(plan.clone()), output: "Dry run\n".to_owned(), ..Success::default() };
        assert_eq!(self.finish(command.id, &Claim::Succeeded(success)).await["state"], "succeeded");
        (command, plan)
    }

    pub(crate) fn path(&self, id: impl ToString) -> String {
        format!("/api/v1/commands/{}/{}", self.agent.id, id.to_string())
    }

    pub(crate) async fn command(&self, id: impl ToString) -> Value {
        self.harness.get(&self.operator, &self.path(id)).await.json()
    }
}

pub(crate) fn exactly(items: &[Item]) -> Vec<Change> {
    let change = |item: &Item| Change {
        package: item.package.clone(),
        from: Some(item.from.clone()),
        to: Some(item.to.clone()),
        origin: item.origin.clone(),
    };
    items.iter().map(change).collect()
}

/// The items, and one new package and one removal with them.
pub(crate) fn with_more(items: &[Item]) -> Vec<Change> {
    let package = |name: &str| PackageKey::parse("dnf", name, Some("x86_64")).unwrap();
    let version = |text: &str| Some(Version::parse(text).unwrap());
    let mut changes = exactly(items);
    changes.push(Change { package: package("bash-libs"), from: None, to: version("5.1-2"), origin: None });
    changes.push(Change { package: package("ksh"), from: version("1.0-1"), to: None, origin: None });
    changes
}

pub(crate) fn done() -> Claim {
    Claim::Succeeded(Success { output: "Complete!\n".to_owned(), ..Success::default() })
}

/// Approved, planned, installed and proved, each step with who took it.
pub(crate) async fn an_approval_becomes_an_installation(fleet: Fleet) {
    let scene = Scene::over(fleet).await;
    assert_eq!(scene.lease(0).await["commands"], json!([]), "nothing is approved yet");
    scene.approve().await;
    let planning = scene.handed(0).await;
    assert_eq!((planning.counter, planning.approvals[0].actor.as_str()), (1, "Ada"));
    assert_eq!(scene.handed(0).await, planning, "a lost answer is mended by asking again");

    let (plan_command, plan) = scene.planned(0, exactly).await;
    let view = scene.command(plan_command.id).await;
    assert_eq!((&view["state"], &view["action"], &view["packages"]), (&json!("succeeded"), &json!("plan"), &json!(1)), "{view}");
    assert_eq!((&view["plan"]["excess"], &view["plan"]["plan_digest"]), (&json!([]), &json!(plan.digest())));
    assert_eq!((&view["requested_by"], &view["counter"]), (&json!("system approvals"), &json!(1)));
    assert_eq!(scene.update().await["status"], "queued");

    let install = scene.handed(1).await;
    let Action::Install(order) = &install.action else { panic!("{:?}", install.action) };
    assert_eq!((order.plan_digest, &order.side_effects), (plan.digest(), &BTreeSet::new()));
    assert_eq!(view["led_to"], json!([install.id]));
    assert_eq!(scene.start(install.id).await["state"], "started");
    assert_eq!(scene.update().await["status"], "installing");
    assert_eq!(scene.finish(install.id, &done()).await["state"], "succeeded");
    assert_eq!(scene.finish(install.id, &done()).await["state"], "succeeded", "the same again has no other effect");
    let view = scene.command(install.id).await;
    assert_eq!((&view["follows"], &view["end"]["how"]["output"]), (&json!(plan_command.id), &json!("Complete!\n")), "{view}");
    assert_eq!(scene.update().await["status"], "installing", "a claim is no proof");

    let mut seen = scope("dnf", &[]);
    seen["gone"] = json!([{"package_name": "bash", "arch": "x86_64", "installed_version": "5.1-2"}]);
    assert_eq!(scene.harness.report(&scene.agent, &report(2, &[seen])).await.status, StatusCode::OK);
    let update = scene.update().await;
    assert_eq!(update["status"], "installed");
    let path = format!("/api/v1/updates/{}", update["id"].as_str().unwrap());
    let history = scene.harness.get(&scene.operator, &format!("{path}/history")).await.json();
    assert_eq!((&history[0]["outcome"], &history[0]["command_id"]), (&json!("installed"), &json!(install.id)), "{history}");
    let events = scene.harness.get(&scene.operator, &format!("{path}/events")).await.json();
    let told: Vec<_> = events
        .as_array()
        .unwrap()
        .iter()
        .map(|event| (event["change"]["kind"].as_str().unwrap(), event["actor"].as_str().unwrap()))
        .collect();
    let expected = [
        ("discovered", "agent"),
        ("approved", "operator Ada"),
        ("install-queued", "system commands"),
        ("install-started", "agent"),
        ("install-succeeded", "agent"),
        ("installed-observed", "agent"),
    ];
    assert_eq!(told, expected);
    let list = scene.harness.get(&scene.operator, "/api/v1/commands").await.json();
    assert_eq!((&list["total"], &list["commands"][0]["id"]), (&json!(2), &json!(install.id)), "newest first");
}

/// A plan that goes further is looked at, and exactly what was looked at is accepted.
pub(crate) async fn a_plan_beyond_its_terms_is_looked_at_twice(fleet: Fleet) {
    let scene = Scene::over(fleet).await;
    scene.approve().await;
    let (command, plan) = scene.planned(0, with_more).await;
    assert_eq!(scene.update().await["status"], "needs-review");
    assert_eq!(scene.lease(0).await["commands"], json!([]), "nothing is installed that nobody approved");
    let view = scene.command(command.id).await;
    let told: Vec<_> = view["plan"]["excess"]
        .as_array()
        .unwrap()
        .iter()
        .map(|excess| (excess["side_effect"].as_str().unwrap(), excess["words"].as_str().unwrap(), excess["allowed"].as_bool().unwrap()))
        .collect();
    let (new, removal) = ("adds dnf bash-libs:x86_64 5.1-2", "removes dnf ksh:x86_64");
    assert_eq!(told, [("new-package", new, false), ("removal", removal, false)], "{view}");
    assert_eq!(view["plan"]["confirmable"], true);

    let path = format!("{}/confirm", scene.path(command.id));
    let confirm = async |body: Value| scene.harness.post(&scene.operator, &path, &body).await;
    let other = Plan::of(exactly(command.action.items())).digest();
    assert_eq!(confirm(json!({"plan_digest": other})).await.problem(), (409, "other_plan".to_owned()));
    assert_eq!(confirm(json!({})).await.problem(), (400, "bad_envelope".to_owned()));
    let viewer = scene.harness.operator(Role::Viewer).await;
    let refused = scene.harness.post(&viewer, &path, &json!({"plan_digest": plan.digest()})).await;
    assert_eq!(refused.problem(), (403, "role".to_owned()));
    assert_eq!(scene.update().await["status"], "needs-review", "nothing was confirmed by mistake");

    let body = json!({"plan_digest": plan.digest(), "comment": "ksh is not used", "id": crate::support::random_id()});
    let confirmed = confirm(body.clone()).await.json();
    assert_eq!((&confirmed["id"], &confirmed["state"]), (&body["id"], &json!("queued")), "{confirmed}");
    assert_eq!(confirm(body.clone()).await.json(), confirmed, "the same again has one effect");
    let mut reused = body.clone();
    reused["comment"] = json!("other words");
    assert_eq!(confirm(reused).await.problem(), (409, "command_id_reused".to_owned()));
    assert_eq!(confirm(json!({"plan_digest": plan.digest()})).await.problem(), (409, "command_under_way".to_owned()));
    let install = scene.handed(1).await;
    let Action::Install(order) = &install.action else { panic!("{:?}", install.action) };
    assert_eq!(order.side_effects, BTreeSet::from([SideEffect::NewPackage, SideEffect::Removal]));
    assert_eq!((order.plan_digest, install.approvals[0].actor.as_str()), (plan.digest(), "Ada"));
    assert_eq!(scene.update().await["status"], "queued");
}

#[tokio::test]
async fn an_approval_becomes_an_installation_in_memory() {
    an_approval_becomes_an_installation(Fleet::new(MemoryStore::default())).await;
}

#[tokio::test]
async fn an_approval_becomes_an_installation_on_sqlite() {
    an_approval_becomes_an_installation(Fleet::new(redflag_store_sqlite::SqliteStore::in_memory().unwrap())).await;
}

#[tokio::test]
async fn a_plan_beyond_its_terms_is_looked_at_twice_on_sqlite() {
    a_plan_beyond_its_terms_is_looked_at_twice(Fleet::new(redflag_store_sqlite::SqliteStore::in_memory().unwrap())).await;
}

#[tokio::test]
async fn what_is_not_what_was_looked_at_cannot_be_confirmed() {
    let scene = Scene::of(Harness::new()).await;
    scene.approve().await;
    let newer = |items: &[Item]| {
        let to = Some(Version::parse("5.1-3").unwrap());
        exactly(items).into_iter().map(|change| Change { to: to.clone(), ..change }).collect()
    };
    let (command, plan) = scene.planned(0, newer).await;
    let view = scene.command(command.id).await;
    assert_eq!((&view["plan"]["confirmable"], &view["plan"]["excess"][0]["side_effect"]), (&json!(false), &Value::Null), "{view}");
    let confirm = async |id: String, plan: &Plan| {
        let path = format!("{}/confirm", scene.path(id));
        scene.harness.post(&scene.operator, &path, &json!({"plan_digest": plan.digest()})).await.problem()
    };
    assert_eq!(confirm(command.id.to_string(), &plan).await, (422, "invalid_command".to_owned()), "another version was approved");

    // A plan that could be confirmed, and the host is offered something else before it is.
    let update = scene.update().await;
    let reopen = format!("/api/v1/updates/{}/reopen", update["id"].as_str().unwrap());
    assert_eq!(scene.harness.post(&scene.operator, &reopen, &json!({})).await.status, StatusCode::OK);
    scene.approve().await;
    let (command, plan) = scene.planned(1, with_more).await;
    scene.offered(2, "5.1-4").await;
    assert_eq!(confirm(command.id.to_string(), &plan).await, (409, "not_approved".to_owned()));
    assert_eq!(scene.update().await["status"], "pending");
}

#[tokio::test]
async fn what_failed_is_asked_for_again_and_a_late_result_changes_nothing() {
    let scene = Scene::of(Harness::new()).await;
    scene.approve().await;
    scene.planned(0, exactly).await;
    let install = scene.handed(1).await;
    scene.start(install.id).await;
    let failure = Failure { reason: Text::lossy("the disk is full"), rolled_back: false, output: "No space left\n".to_owned() };
    assert_eq!(scene.finish(install.id, &Claim::Failed(failure)).await["state"], "failed");
    assert_eq!(scene.update().await["status"], "failed");
    let view = scene.command(install.id).await;
    assert_eq!((&view["reason"], &view["open"]), (&json!("the disk is full"), &json!(false)), "{view}");

    let body = json!({"id": crate::support::random_id()});
    let retry = format!("{}/retry", scene.path(install.id));
    let again = scene.harness.post(&scene.operator, &retry, &body).await.json();
    assert_eq!((&again["id"], &again["follows"], &again["state"]), (&body["id"], &json!(install.id), &json!("queued")), "{again}");
    assert_eq!(scene.harness.post(&scene.operator, &retry, &body).await.json(), again, "the same again has one effect");
    let repeated = scene.handed(2).await;
    assert_eq!(json!(repeated.id), body["id"]);

    // Called off while the agent has it: it may not begin, and what it says afterwards is kept and changes nothing.
    let cancel = format!("{}/cancel", scene.path(repeated.id));
    let cancelled = scene.harness.post(&scene.operator, &cancel, &json!({"reason": "wrong window"})).await.json();
    assert_eq!((&cancelled["state"], &cancelled["reason"]), (&json!("cancelled"), &json!("cancelled: wrong window")));
    assert_eq!(scene.start(repeated.id).await["state"], "cancelled");
    assert_eq!(scene.finish(repeated.id, &done()).await["state"], "cancelled");
    let late = scene.command(repeated.id).await;
    assert_eq!((&late["state"], &late["late"][0]["how"]["kind"]), (&json!("cancelled"), &json!("succeeded")), "{late}");
    assert_eq!(scene.update().await["status"], "failed");
    let again = scene.harness.post(&scene.operator, &cancel, &json!({})).await.json();
    assert_eq!(again["end"], late["end"], "what has ended stays as it ended");
    assert_eq!(scene.command(install.id).await["led_to"], json!([repeated.id]));
}

#[tokio::test]
async fn output_is_seen_while_a_command_runs_and_kept_by_its_end() {
    let scene = Scene::of(Harness::new()).await;
    scene.approve().await;
    scene.planned(0, exactly).await;
    let install = scene.handed(1).await;
    scene.start(install.id).await;
    assert_eq!(scene.command(install.id).await["output"], Value::Null);
    for (offset, text) in [(0, "Downloading\n"), (0, "Downloading\n"), (12, "Installing bash\n")] {
        let body = json!({"offset": offset, "text": text}).to_string();
        assert_eq!(scene.told(install.id, "output", body).await.status, StatusCode::NO_CONTENT);
    }
    let output = scene.command(install.id).await["output"].clone();
    assert_eq!(output, json!({"sent": 28, "text": "Downloading\nInstalling bash\n"}));
    scene.finish(install.id, &done()).await;
    let ended = scene.command(install.id).await;
    assert_eq!((&ended["output"], &ended["end"]["how"]["output"]), (&Value::Null, &json!("Complete!\n")));
}

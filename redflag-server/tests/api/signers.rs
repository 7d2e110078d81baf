//! Where people sign: nothing is handed out before as many have signed as must, and nothing with a key that was revoked.

use crate::{
    commands::{Scene, done, exactly},
    support::{Answer, Harness, Session, TestAgent},
};
use axum::http::{Method, StatusCode};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use redflag_core::{
    Fleet,
    audit::{AuditKind, FactName},
    command::{
        envelope::Envelope,
        payload::{Command, SigningMode},
        plan::Plan,
        record::{Claim, Success, Terms},
        verify::{Authentic, PinnedKey},
    },
    names::Text,
    signing,
};
use redflag_server::{Role, Settings, key_pair::KeyPair};
use redflag_store_sqlite::SqliteStore;
use serde_json::{Value, json};

/// Somebody who is signed in and has a key.
struct Person {
    session: Session,
    name: String,
    key: KeyPair,
}

impl Person {
    async fn new(harness: &Harness, role: Role) -> Self {
        let (session, name) = (harness.operator(role).await, harness.account(role).await.to_string());
        Self { session, name, key: KeyPair::new() }
    }

    fn public_key(&self) -> String {
        STANDARD.encode(self.key.public_key())
    }

    fn pinned(&self) -> PinnedKey {
        PinnedKey::new(&self.key.public_key(), SigningMode::OperatorSigns).unwrap().held_by(Text::lossy(&self.name))
    }
}

/// A host, and people of whom so many must sign.
struct Signing {
    scene: Scene,
    ada: Person,
    grace: Person,
}

impl Signing {
    async fn over(fleet: Fleet, signatures_min: u32) -> Self {
        let terms = Terms { mode: SigningMode::OperatorSigns, signatures_min, ..Terms::default() };
        let harness = Harness::with(fleet, Settings { terms, ..Settings::default() });
        let scene = Scene::of(harness.clone()).await;
        let (ada, grace) = (Person::new(&harness, Role::Approver).await, Person::new(&harness, Role::Admin).await);
        let signing = Self { scene, ada, grace };
        for person in [&signing.ada, &signing.grace] {
            assert_eq!(signing.list(&person.name, &person.public_key()).await.status, StatusCode::OK);
        }
        signing
    }

    async fn new(signatures_min: u32) -> Self {
        Self::over(Fleet::new(SqliteStore::in_memory().unwrap()), signatures_min).await
    }

    fn harness(&self) -> &Harness {
        &self.scene.harness
    }

    async fn list(&self, person: &str, public_key: &str) -> Answer {
        self.harness().post(&self.grace.session, "/api/v1/keys", &json!({"person": person, "public_key": public_key})).await
    }

    async fn revoke(&self, key: &KeyPair) -> Value {
        let (path, body) = (format!("/api/v1/keys/{}/revoke", key.id()), json!({"reason": "lost"}));
        self.harness().post(&self.grace.session, &path, &body).await.json()
    }

    /// The only command that waits for signatures.
    async fn waiting(&self) -> String {
        let list = self.harness().get(&self.scene.operator, "/api/v1/commands?state=awaiting-signature").await.json();
        assert_eq!(list["total"], 1, "{list}");
        list["commands"][0]["id"].as_str().unwrap().to_owned()
    }

    async fn to_sign(&self, id: &str) -> Value {
        let answer = self.harness().get(&self.scene.operator, &format!("{}/to-sign", self.scene.path(id))).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        answer.json()
    }

    /// Signs what the server says is to be signed.
    async fn sign_with(&self, id: &str, person: &Person, key: &KeyPair) -> Answer {
        let to_sign = self.to_sign(id).await;
        let envelope = Envelope::read(to_sign["envelope"].as_str().unwrap().as_bytes()).unwrap();
        let body =
            json!({"key_id": key.id(), "counter": to_sign["counter"], "signature": STANDARD.encode(key.sign(&envelope.bytes_to_sign()))});
        self.harness().post(&person.session, &format!("{}/signatures", self.scene.path(id)), &body).await
    }

    async fn sign(&self, id: &str, person: &Person) -> Value {
        let answer = self.sign_with(id, person, &person.key).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        answer.json()
    }

    /// The only command that the agent is handed, as a host judges it whose policy names both.
    async fn handed(&self) -> Command {
        let lease = self.scene.lease(0).await;
        assert_eq!(lease["commands"].as_array().unwrap().len(), 1, "{lease}");
        let envelope = lease["commands"][0]["envelope"].as_str().unwrap();
        Authentic::read(envelope.as_bytes(), &[self.ada.pinned(), self.grace.pinned()], 1).unwrap().command().clone()
    }

    async fn hands_out_nothing(&self) {
        assert_eq!(self.scene.lease(0).await["commands"], json!([]));
    }
}

/// Approved, planned and installed, each command signed by two people.
pub(crate) async fn what_is_approved_waits_until_people_have_signed_it(fleet: Fleet) {
    let signing = Signing::over(fleet, 2).await;
    let scene = &signing.scene;
    scene.approve().await;
    signing.hands_out_nothing().await;
    let id = signing.waiting().await;
    let view = scene.command(&id).await;
    assert_eq!((&view["mode"], &view["action"], &view["signed_by"]), (&json!("operator-signs"), &json!("plan"), &json!([])), "{view}");
    assert_eq!(signing.sign(&id, &signing.ada).await["state"], "awaiting-signature");
    signing.hands_out_nothing().await;
    let to_sign = signing.to_sign(&id).await;
    assert_eq!((&to_sign["signed_by"], &to_sign["signatures"]), (&json!([signing.ada.name]), &json!(2)));
    assert_eq!(signing.sign(&id, &signing.grace).await["state"], "queued");
    let plan_command = signing.handed().await;
    assert_eq!((plan_command.id.to_string(), plan_command.counter), (id.clone(), 1));

    let plan = Plan::of(exactly(plan_command.action.items()));
    assert_eq!(scene.start(&id).await["state"], "started");
    let success = Success { plan: Some(plan.clone()), ..Success::default() };
    assert_eq!(scene.finish(&id, &Claim::Succeeded(success)).await["state"], "succeeded");
    signing.hands_out_nothing().await;
    let install = signing.waiting().await;
    assert_ne!(install, id);
    for person in [&signing.grace, &signing.ada] {
        signing.sign(&install, person).await;
    }
    assert_eq!(signing.handed().await.counter, 2);
    assert_eq!(scene.start(&install).await["state"], "started");
    assert_eq!(scene.finish(&install, &done()).await["state"], "succeeded");
    assert_eq!(scene.command(&install).await["signed_by"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn two_people_sign_what_is_approved() {
    what_is_approved_waits_until_people_have_signed_it(Fleet::new(SqliteStore::in_memory().unwrap())).await;
}

#[tokio::test]
async fn signatures_of_other_keys_people_bytes_and_counters_are_not_taken() {
    let signing = Signing::new(1).await;
    let (scene, ada, grace) = (&signing.scene, &signing.ada, &signing.grace);
    scene.approve().await;
    signing.hands_out_nothing().await;
    let id = signing.waiting().await;
    let code = |answer: Answer| answer.problem();
    let invalid = (422, "invalid_command".to_owned());
    assert_eq!(code(signing.sign_with(&id, ada, &KeyPair::new()).await), invalid, "a key that is not listed");
    assert_eq!(code(signing.sign_with(&id, ada, &grace.key).await), invalid, "another person's key");
    let second = KeyPair::new();
    assert_eq!(signing.list(&ada.name, &STANDARD.encode(second.public_key())).await.status, StatusCode::OK);
    assert_eq!(signing.revoke(&second).await["counts"], false);
    assert_eq!(code(signing.sign_with(&id, ada, &second).await), invalid, "a key that was revoked");

    let to_sign = signing.to_sign(&id).await;
    let envelope = Envelope::read(to_sign["envelope"].as_str().unwrap().as_bytes()).unwrap();
    let path = format!("{}/signatures", scene.path(&id));
    let good = json!({"key_id": ada.key.id(), "counter": 1, "signature": STANDARD.encode(ada.key.sign(&envelope.bytes_to_sign()))});
    let with = |field: &str, value: Value| {
        let mut body = good.clone();
        body[field] = value;
        body
    };
    let other = Command { counter: 2, ..envelope.unverified().unwrap() };
    let other = STANDARD.encode(ada.key.sign(&Envelope::around(&other).bytes_to_sign()));
    for (body, expected) in [
        (with("signature", json!(other)), (422, "invalid_command")),
        (with("signature", json!("AAAA")), (400, "bad_parameter")),
        (with("signature", json!("~")), (400, "bad_parameter")),
        (with("counter", json!(2)), (409, "counter_moved")),
        (with("counter", json!(0)), (409, "counter_moved")),
        (with("counter", json!(-1)), (400, "bad_envelope")),
        (with("key_id", json!("x")), (400, "bad_envelope")),
        (with("more", json!(1)), (400, "bad_envelope")),
    ] {
        let answer = scene.harness.post(&ada.session, &path, &body).await;
        assert_eq!(answer.problem(), (expected.0, expected.1.to_owned()), "{body}");
    }
    signing.hands_out_nothing().await;
    for _ in 0..2 {
        assert_eq!(scene.harness.post(&ada.session, &path, &good).await.json()["state"], "queued", "the same again changes nothing");
    }
    assert_eq!(code(scene.harness.get(&scene.operator, &format!("{}/to-sign", scene.path(&id))).await), (409, "illegal_step".to_owned()));
    assert_eq!(signing.handed().await.counter, 1);
    let entries = scene.harness.app.audit.entries(1..=u64::MAX).await.unwrap().into_iter().map(|link| link.entry);
    let signed = entries.filter(|entry| entry.kind == AuditKind::CommandSigned).map(|entry| entry.facts[&FactName::KeyId].to_string());
    assert_eq!(signed.collect::<Vec<_>>(), [ada.key.id().to_string()], "put down once");
}

#[tokio::test]
async fn what_a_revoked_key_signed_is_neither_handed_out_nor_begun() {
    for handed_out in [false, true] {
        let signing = Signing::new(1).await;
        let scene = &signing.scene;
        scene.approve().await;
        signing.hands_out_nothing().await;
        let id = signing.waiting().await;
        assert_eq!(signing.sign(&id, &signing.ada).await["state"], "queued");
        if handed_out {
            assert_eq!(signing.handed().await.id.to_string(), id);
        }
        signing.revoke(&signing.ada.key).await;
        signing.hands_out_nothing().await;
        if handed_out {
            assert_eq!(scene.start(&id).await["state"], "cancelled", "the agent has it, and may not begin");
        } else {
            assert_eq!(scene.command(&id).await["state"], "awaiting-signature");
            assert_eq!(signing.sign(&id, &signing.grace).await["state"], "queued", "somebody else signs");
            assert_eq!(signing.handed().await.id.to_string(), id);
        }
    }
}

/// A process that revoked a key and died before it took anything back.
#[tokio::test]
async fn a_revocation_holds_from_the_moment_it_is_written() {
    for handed_out in [false, true] {
        let signing = Signing::new(1).await;
        let scene = &signing.scene;
        scene.approve().await;
        signing.hands_out_nothing().await;
        let id = signing.waiting().await;
        signing.sign(&id, &signing.ada).await;
        if handed_out {
            assert_eq!(signing.handed().await.id.to_string(), id);
        }
        let store = scene.harness.app.fleet.store();
        let key = signing.ada.key.id().to_string();
        let record = store.get("people-keys", &key).await.unwrap().unwrap();
        let mut revoked: Value = serde_json::from_str(&record.value).unwrap();
        revoked["revoked"] = json!({"by": "root", "at": "2026-11-26T00:00:00Z"});
        let expected = redflag_core::store::Expected::Revision(record.revision);
        store.put("people-keys", &key, &revoked.to_string(), expected).await.unwrap().unwrap();
        if handed_out {
            assert_eq!(scene.start(&id).await["state"], "cancelled");
        }
        signing.hands_out_nothing().await;
        assert_eq!(scene.command(&id).await["state"], "cancelled", "nobody took it back before it was about to be handed out");
    }
}

#[tokio::test]
async fn keys_are_listed_and_revoked_by_administrators() {
    let signing = Signing::new(1).await;
    let (harness, ada, grace) = (signing.harness(), &signing.ada, &signing.grace);
    let body = json!({"person": ada.name, "public_key": STANDARD.encode(KeyPair::new().public_key()), "label": "laptop"});
    assert_eq!(harness.post(&ada.session, "/api/v1/keys", &body).await.problem(), (403, "role".to_owned()));
    let listed = harness.post(&grace.session, "/api/v1/keys", &body).await.json();
    assert_eq!((&listed["counts"], &listed["label"], &listed["listed_by"]), (&json!(true), &json!("laptop"), &json!(grace.name)));
    assert!(listed["policy"].as_str().unwrap().contains("mode = \"operator-signs\""), "{listed}");
    let taken = signing.list(&grace.name, &ada.public_key()).await;
    assert_eq!(taken.problem(), (409, "key_taken".to_owned()));
    for wrong in ["", "x", "AAAA", &STANDARD.encode([0; 32])] {
        assert_eq!(signing.list(&ada.name, wrong).await.problem(), (400, "bad_envelope".to_owned()), "{wrong}");
    }
    let path = format!("/api/v1/keys/{}/revoke", listed["key_id"].as_str().unwrap());
    assert_eq!(harness.post(&ada.session, &path, &json!({})).await.problem(), (403, "role".to_owned()));
    let revoked = harness.post(&grace.session, &path, &json!({"reason": "lost"})).await.json();
    assert_eq!((&revoked["counts"], &revoked["revoked_reason"]), (&json!(false), &json!("lost")));
    assert_eq!(harness.post(&grace.session, "/api/v1/keys", &body).await.problem(), (409, "key_revoked".to_owned()));
    let unknown = format!("/api/v1/keys/{}/revoke", KeyPair::new().id());
    assert_eq!(harness.post(&grace.session, &unknown, &json!({})).await.problem(), (404, "not_found".to_owned()));
    let keys = harness.get(&ada.session, "/api/v1/keys").await.json();
    assert_eq!(keys["keys"].as_array().unwrap().len(), 3);
    let signing = harness.get(&ada.session, "/api/v1/signing").await.json();
    assert_eq!((&signing["mode"], &signing["signatures"]), (&json!("operator-signs"), &json!(1)));
}

/// The mode stands wherever commands do, and the server's own key is nowhere offered for a policy.
#[tokio::test]
async fn pages_show_the_mode_the_keys_and_what_waits() {
    let signing = Signing::new(2).await;
    let (harness, ada, grace, scene) = (signing.harness(), &signing.ada, &signing.grace, &signing.scene);
    let page = async |session: &Session, path: &str| harness.get(session, path).await.text();
    let update = format!("/updates/{}", scene.update().await["id"].as_str().unwrap());
    for path in [&update, "/bulk"] {
        let page = page(&ada.session, path).await;
        assert!(page.contains("operator-signs: 2 people must sign"), "where one approves, {path}: {page}");
    }
    scene.approve().await;
    signing.hands_out_nothing().await;
    let id = signing.waiting().await;
    signing.sign(&id, ada).await;
    let server_key = harness.app.signing_key.fingerprint();
    let command = format!("/commands/{}/{id}", scene.agent.id);
    for path in ["/commands", "/enrol", "/keys", &command] {
        let page = page(&ada.session, path).await;
        assert!(page.contains("operator-signs") && !page.contains(&server_key), "{path}: {page}");
    }
    let shown = page(&ada.session, &command).await;
    assert!(shown.contains(&ada.name) && shown.contains("1 of 2 people have signed"), "{shown}");
    assert!(
        shown.contains(&format!("redflag-server sign --server http://127.0.0.1:8080 --agent {} --command {id}", scene.agent.id)),
        "{shown}"
    );

    let keys = page(&ada.session, "/keys").await;
    assert!(
        keys.contains(&ada.key.fingerprint()) && !keys.contains("public_key\" maxlength"),
        "who is no administrator changes none: {keys}"
    );
    assert!(page(&grace.session, "/keys").await.contains("name=\"public_key\""));
    let key = KeyPair::new();
    let public_key = STANDARD.encode(key.public_key()).replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    let form = format!("person={}&public_key={public_key}&label=%3Cb%3Elaptop", ada.name);
    let send = async |path: &str, form: &str| {
        let request = axum::http::Request::post(path)
            .header("cookie", &grace.session.cookie)
            .header("x-csrf-token", &grace.session.csrf)
            .header("sec-fetch-site", "same-origin")
            .header("content-type", "application/x-www-form-urlencoded");
        harness.send(request.body(form.to_owned().into()).unwrap()).await.status
    };
    assert_eq!(send("/keys", &form).await, StatusCode::SEE_OTHER);
    assert_eq!(send("/keys", "person=x&public_key=x").await, StatusCode::BAD_REQUEST);
    assert!(page(&ada.session, "/keys").await.contains("&#60;b&#62;laptop"));
    let path = format!("/keys/{}/revoke", key.id());
    assert!(page(&grace.session, &path).await.contains("Revoke for good"));
    assert_eq!(send(&path, "reason=gone").await, StatusCode::SEE_OTHER);
    let keys = page(&ada.session, "/keys").await;
    assert!(keys.contains("revoked") && keys.contains("gone"), "{keys}");
    assert_eq!(send("/keys/x/revoke", "").await, StatusCode::NOT_FOUND);

    let host = format!("/agents/{}", scene.agent.id);
    assert!(!page(&grace.session, &host).await.contains("rescan"), "its agent has none of the keys that could ask for it");
    let rescan = json!({"action": {"kind": "rescan"}});
    let asked = harness.post(&grace.session, &format!("/api/v1/agents/{}/commands", scene.agent.id), &rescan).await;
    assert_eq!(asked.problem(), (409, "people_sign".to_owned()));

    let server_signs = Scene::of(Harness::new()).await;
    let host = format!("/agents/{}", server_signs.agent.id);
    assert!(server_signs.harness.get(&server_signs.operator, &host).await.text().contains("rescan"));
    let enrol = server_signs.harness.get(&server_signs.operator, "/enrol").await.text();
    assert!(enrol.contains("server-signs") && enrol.contains(&server_signs.harness.app.signing_key.fingerprint()), "{enrol}");
    assert!(server_signs.harness.get(&server_signs.operator, "/keys").await.text().contains("server-signs"));
}

/// One agent's credential is nothing on another agent's commands, and no agent's is anything where operators sign.
#[tokio::test]
async fn an_agent_reaches_no_other_agents_commands_and_nothing_of_the_signers() {
    let signing = Signing::new(1).await;
    let scene = &signing.scene;
    scene.approve().await;
    signing.hands_out_nothing().await;
    let id = signing.waiting().await;
    let other = scene.harness.agent("web-02").await;
    let as_agent =
        async |agent: &TestAgent, method: Method, path: &str, body: String| scene.harness.send(agent.signed(method, path, body)).await;

    // Where operators sign, neither agent is anybody, also with everything else right.
    let to_sign = signing.to_sign(&id).await;
    let envelope = Envelope::read(to_sign["envelope"].as_str().unwrap().as_bytes()).unwrap();
    let good = json!({"key_id": signing.ada.key.id(), "counter": 1, "signature": STANDARD.encode(signing.ada.key.sign(&envelope.bytes_to_sign()))});
    let key = json!({"person": signing.ada.name, "public_key": signing.ada.public_key()});
    for agent in [&scene.agent, &other] {
        for (method, path, body) in [
            (Method::GET, format!("{}/to-sign", scene.path(&id)), String::new()),
            (Method::POST, format!("{}/signatures", scene.path(&id)), good.to_string()),
            (Method::POST, format!("{}/cancel", scene.path(&id)), "{}".to_owned()),
            (Method::GET, scene.path(&id), String::new()),
            (Method::GET, "/api/v1/keys".to_owned(), String::new()),
            (Method::POST, "/api/v1/keys".to_owned(), key.to_string()),
            (Method::POST, format!("/api/v1/keys/{}/revoke", signing.ada.key.id()), "{}".to_owned()),
            (Method::GET, "/api/v1/signing".to_owned(), String::new()),
        ] {
            let answer = as_agent(agent, method.clone(), &path, body).await;
            assert_eq!(answer.problem(), (401, "unauthorized".to_owned()), "{method} {path}");
        }
    }
    assert_eq!(scene.command(&id).await["state"], "awaiting-signature");

    // What was handed to one agent is unknown to the other: its start, its output and its result.
    signing.sign(&id, &signing.ada).await;
    assert_eq!(signing.handed().await.id.to_string(), id);
    assert_eq!(scene.start(&id).await["state"], "started");
    let before = scene.command(&id).await;
    let lease = as_agent(&other, Method::POST, "/api/v1/commands/lease", json!({"limit": 16, "wait_seconds": 0}).to_string()).await;
    assert_eq!(lease.json()["commands"], json!([]));
    for (what, body) in [
        ("start", String::new()),
        ("output", json!({"offset": 0, "text": "mine"}).to_string()),
        ("result", serde_json::to_string(&done()).unwrap()),
    ] {
        let answer = as_agent(&other, Method::POST, &format!("/api/v1/commands/{id}/{what}"), body).await;
        assert_eq!(answer.problem(), (404, "not_found".to_owned()), "{what}");
    }
    assert_eq!(scene.command(&id).await, before, "nothing has changed");
    assert_eq!(signing::key_id(&signing.ada.key.public_key()), signing.ada.key.id());
}

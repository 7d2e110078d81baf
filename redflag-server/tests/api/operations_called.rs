//! Every operation of the OpenAPI document is called here, and answered as the document says; and our own page tells of each.

use crate::{
    commands::{Scene, with_more},
    quarantine,
    support::{Answer, Harness, Session, TestAgent, offer, random_id, report, scope},
};
use axum::{
    body::Body,
    http::{HeaderValue, Method, Request, header},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use redflag_core::{
    Fleet, MemoryStore,
    command::{envelope::Envelope, payload::SigningMode, record::Terms},
};
use redflag_server::{Role, Settings, access::FactorSecret, audit::AuditKey, clock, key_pair::KeyPair};
use serde_json::{Value, json};
use std::{cell::RefCell, collections::BTreeSet};

/// Calls operations and notes which.
struct Caller {
    scene: Scene,
    admin: Session,
    document: Value,
    called: RefCell<BTreeSet<(Method, String)>>,
}

impl Caller {
    async fn new() -> Self {
        Self::of(Scene::over(Fleet::new(MemoryStore::default())).await).await
    }

    async fn of(scene: Scene) -> Self {
        let admin = scene.harness.operator(Role::Admin).await;
        let document = scene.harness.get(&admin, "/api/v1/openapi.json").await.json();
        Self { scene, admin, document, called: RefCell::default() }
    }

    async fn get(&self, path: &str) -> Value {
        self.noted(Method::GET, path, self.scene.harness.get(&self.admin, path).await)
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        self.noted(Method::POST, path, self.scene.harness.post(&self.admin, path, &body).await)
    }

    async fn delete(&self, path: &str) -> Value {
        self.noted(Method::DELETE, path, self.scene.harness.delete(&self.admin, path).await)
    }

    async fn say(&self, agent: &TestAgent, path: &str, body: impl Into<Vec<u8>>) -> Value {
        self.noted(Method::POST, path, self.scene.harness.send(agent.signed(Method::POST, path, body)).await)
    }

    /// Notes a call that succeeded with a status and a media type that the document knows.
    fn noted(&self, method: Method, path: &str, answer: Answer) -> Value {
        assert!(answer.status.is_success(), "{method} {path}: {answer:?}");
        let bare = path.split('?').next().unwrap();
        let word = method.as_str().to_lowercase();
        let paths = self.document["paths"].as_object().unwrap();
        let mut templates = paths.iter().filter(|(_, item)| item[&word].is_object()).map(|(template, _)| template);
        let exact = templates.clone().find(|template| *template == bare);
        let template = exact.or_else(|| templates.find(|template| fits(template, bare)));
        let template = template.unwrap_or_else(|| panic!("{method} {bare} is in no path of the document"));
        let response = &paths[template][&word]["responses"][answer.status.as_str()];
        assert!(response.is_object(), "{method} {template} answers {}, which the document does not know", answer.status);
        let media = |kind: &HeaderValue| kind.to_str().unwrap().split(';').next().unwrap().to_owned();
        let kind = answer.headers.get(header::CONTENT_TYPE).map(media);
        let known: Vec<_> = response["content"].as_object().into_iter().flat_map(|content| content.keys().cloned()).collect();
        assert_eq!(kind.clone().into_iter().collect::<Vec<_>>(), known, "{method} {template}");
        self.called.borrow_mut().insert((method, template.clone()));
        // Numbers for machines are no JSON.
        serde_json::from_slice(&answer.bytes).unwrap_or_default()
    }

    /// What operators read.
    async fn read_everything(&self, update: &str) {
        for path in ["openapi.json", "session", "agents", "updates", "stats", "packages", "trend", "feed", "batches", "commands", "halt"] {
            self.get(&format!("/api/v1/{path}")).await;
        }
        self.get(&format!("/api/v1/agents/{}", self.scene.agent.id)).await;
        for part in ["", "/history", "/events", "/past?sequence=1"] {
            self.get(&format!("/api/v1/updates/{update}{part}")).await;
        }
        let batch = self.get("/api/v1/batches").await["batches"][0].clone();
        self.get(&format!("/api/v1/batches/{}/{}", batch["agent_id"].as_str().unwrap(), batch["batch_id"].as_str().unwrap())).await;
    }

    /// The audit log, as operators and witnesses see it; a witness is shown a checkpoint that another key signed.
    async fn audit_everything(&self) {
        self.get("/metrics").await;
        self.get("/api/v1/audit").await;
        self.get("/api/v1/audit/checkpoint").await;
        self.get("/api/v1/audit/export").await;
        let (app, agent) = (&self.scene.harness.app, &self.scene.agent);
        let own = app.audit.checkpoint(&app.audit_key).await.unwrap().unwrap();
        self.say(agent, "/api/v1/audit/witness", "{}").await;
        let forged = AuditKey::new().sign(&own.checkpoint.next(&app.audit.place().await.unwrap(), clock::now()));
        let fork = json!({"kept": forged, "shown": own.envelope, "what": "it went back"}).to_string();
        self.say(agent, "/api/v1/audit/fork", fork).await;
    }

    /// What operators decide about updates, one at a time and in bulk.
    async fn decide_everything(&self, update: &Value) {
        let path = |what: &str| format!("/api/v1/updates/{}/{what}", update["id"].as_str().unwrap());
        let offer = json!({"offer_digest": update["offer_digest"]});
        self.post(&path("approve"), offer.clone()).await;
        self.post(&path("withdraw-approval"), json!({})).await;
        self.post(&path("ignore"), offer).await;
        self.post(&path("reopen"), json!({})).await;
        let shown = self.get("/api/v1/selection?decision=approve").await;
        let body = json!({"decision": "approve", "filter": shown["filter"], "as_of": shown["as_of"], "possible": shown["possible"]});
        let begun = self.post("/api/v1/operations", body).await;
        self.get(&format!("/api/v1/operations/{}", begun["operation_id"].as_str().unwrap())).await;
    }

    /// From an approval to a plan that is looked at twice, an installation that fails, and one that is called off.
    async fn command_everything(&self) {
        let agent = &self.scene.agent;
        self.scene.approve().await;
        let (plan, made) = self.scene.planned(0, with_more).await;
        let of = |id: String, what: &str| format!("/api/v1/commands/{}/{id}{what}", agent.id);
        self.post(&of(plan.id.to_string(), "/confirm"), json!({"plan_digest": made.digest()})).await;
        let leased = self.say(agent, "/api/v1/commands/lease", json!({"limit": 16, "wait_seconds": 0}).to_string()).await;
        let install = leased["commands"][0]["id"].as_str().unwrap().to_owned();
        self.say(agent, &format!("/api/v1/commands/{install}/start"), "").await;
        self.say(agent, &format!("/api/v1/commands/{install}/output"), json!({"offset": 0, "text": "x"}).to_string()).await;
        let claim = json!({"kind": "failed", "reason": "the disk is full", "rolled_back": false}).to_string();
        self.say(agent, &format!("/api/v1/commands/{install}/result"), claim).await;
        self.get(&of(install.clone(), "")).await;
        let again = self.post(&of(install, "/retry"), json!({})).await;
        self.post(&of(again["id"].as_str().unwrap().to_owned(), "/cancel"), json!({})).await;
        self.post(&format!("/api/v1/agents/{}/commands", agent.id), json!({"action": {"kind": "rescan"}})).await;
        self.post("/api/v1/halt", json!({"reason": "a drill"})).await;
        self.delete("/api/v1/halt").await;
    }

    /// What agents do beside commands, and how one goes.
    async fn report_everything(&self) {
        let agent = TestAgent::new();
        let token = self.post("/api/v1/enrolment-tokens", json!({"seats": 1, "expires_in_hours": 1})).await;
        let body = agent.enrolment(token["token"].as_str().unwrap(), "another").to_string();
        let enrol = Request::post("/api/v1/enrol").header(header::CONTENT_TYPE, "application/json").body(Body::from(body));
        self.noted(Method::POST, "/api/v1/enrol", self.scene.harness.send(enrol.unwrap()).await);
        let body = report(1, &[scope("dnf", &[offer("bash", "5.1-1", "5.1-2", "low")])]).to_string();
        self.say(&agent, "/api/v1/report", body).await;
        self.say(&agent, &format!("/api/v1/agents/{}/updates", agent.id), r#"{"updates":[]}"#).await;
        quarantine::until_found_out(&self.scene.harness, &agent).await;
        self.delete(&format!("/api/v1/agents/{}/quarantine", agent.id)).await;
        self.delete(&format!("/api/v1/agents/{}?reason=scrapped", agent.id)).await;
    }

    /// Accounts of others, then the caller's own, whose session ends with it.
    async fn administer_everything(&self) {
        self.post("/api/v1/accounts", json!({"name": "grace", "role": "viewer"})).await;
        self.get("/api/v1/accounts").await;
        self.get("/api/v1/accounts/grace").await;
        self.post("/api/v1/accounts/grace/role", json!({"role": "approver"})).await;
        self.post("/api/v1/accounts/grace/disable", json!({})).await;
        self.post("/api/v1/accounts/grace/enable", json!({})).await;
        self.post("/api/v1/accounts/grace/sign-in-link", json!({})).await;
        let own = self.get("/api/v1/account").await["name"].as_str().unwrap().to_owned();
        for place in ["/api/v1/account".to_owned(), format!("/api/v1/accounts/{own}")] {
            let body = json!({"label": random_id(), "scopes": ["read"], "expires_in_days": 1});
            let token = self.post("/api/v1/account/tokens", body).await;
            self.delete(&format!("{place}/tokens/{}", token["listed"]["id"].as_str().unwrap())).await;
        }
        self.delete("/api/v1/accounts/grace/second-factor").await;
        let offered = self.get("/api/v1/account/second-factor").await;
        let secret = FactorSecret::parse(offered["secret"].as_str().unwrap()).unwrap();
        let harness = &self.scene.harness;
        let body = json!({"secret": secret.base32(), "code": secret.code(clock::now())});
        let set = harness.post(&self.admin, "/api/v1/account/second-factor", &body).await;
        let session = harness.session_of(&set).await;
        let code = self.noted(Method::POST, "/api/v1/account/second-factor", set)["recovery_codes"][0].clone();
        let removed = harness.post(&session, "/api/v1/account/second-factor/remove", &json!({"code": code})).await;
        let session = harness.session_of(&removed).await;
        self.noted(Method::POST, "/api/v1/account/second-factor/remove", removed);
        let changed = harness.post(&session, "/api/v1/account/password", &json!({"new": "a long enough passphrase"})).await;
        self.noted(Method::POST, "/api/v1/account/password", changed);
    }

    /// Keys of people and what they sign, on a server of its own where people sign; what was called there is called.
    async fn sign_everything(&self) {
        let terms = Terms { mode: SigningMode::OperatorSigns, signatures_min: 1, ..Terms::default() };
        let harness = Harness::with(Fleet::new(MemoryStore::default()), Settings { terms, ..Settings::default() });
        let signing = Self::of(Scene::of(harness.clone()).await).await;
        let (key, person) = (KeyPair::new(), harness.account(Role::Admin).await.to_string());
        signing.get("/api/v1/signing").await;
        signing.post("/api/v1/keys", json!({"person": person, "public_key": STANDARD.encode(key.public_key())})).await;
        signing.get("/api/v1/keys").await;
        let agent = signing.scene.agent.id;
        let asked = signing.post(&format!("/api/v1/agents/{agent}/commands"), json!({"action": {"kind": "reboot"}})).await;
        let path = |what: &str| format!("/api/v1/commands/{agent}/{}/{what}", asked["id"].as_str().unwrap());
        let shown = signing.get(&path("to-sign")).await;
        let envelope = Envelope::read(shown["envelope"].as_str().unwrap().as_bytes()).unwrap();
        let signature = STANDARD.encode(key.sign(&envelope.bytes_to_sign()));
        signing.post(&path("signatures"), json!({"key_id": key.id(), "counter": shown["counter"], "signature": signature})).await;
        signing.post(&format!("/api/v1/keys/{}/revoke", key.id()), json!({"reason": "lost"})).await;
        self.called.borrow_mut().extend(signing.called.take());
    }

    fn uncalled(&self) -> Vec<String> {
        let called = self.called.borrow();
        let of_path = |(path, item): (&String, &Value)| {
            let methods: Vec<_> = item.as_object().unwrap().keys().map(|method| method.to_uppercase()).collect();
            let path = path.clone();
            methods.into_iter().map(move |method| (method.parse::<Method>().unwrap(), path.clone()))
        };
        let all = self.document["paths"].as_object().unwrap().iter().flat_map(of_path);
        all.filter(|operation| !called.contains(operation)).map(|(method, path)| format!("{method} {path}")).collect()
    }
}

/// Whether a path is one of a template.
fn fits(template: &str, path: &str) -> bool {
    let (template, path): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
    template.len() == path.len() && template.iter().zip(&path).all(|(wanted, given)| wanted.starts_with('{') || wanted == given)
}

#[tokio::test]
async fn every_operation_of_the_document_is_called_with_success() {
    let caller = Caller::new().await;
    let update = caller.scene.update().await;
    caller.read_everything(update["id"].as_str().unwrap()).await;
    caller.decide_everything(&update).await;
    let update = caller.scene.update().await;
    if update["status"] != "pending" {
        caller.post(&format!("/api/v1/updates/{}/withdraw-approval", update["id"].as_str().unwrap()), json!({})).await;
    }
    caller.command_everything().await;
    caller.report_everything().await;
    caller.audit_everything().await;
    caller.sign_everything().await;
    caller.administer_everything().await;
    // Passwords end sessions, this one too.
    let caller = Caller { admin: caller.scene.harness.operator(Role::Admin).await, ..caller };
    caller.delete("/api/v1/account/sessions").await;
    assert_eq!(caller.uncalled(), Vec::<String>::new(), "new operations want a call here");
}

#[tokio::test]
async fn our_own_page_tells_of_every_operation_and_every_shape() {
    let caller = Caller::new().await;
    let page = caller.scene.harness.get(&caller.admin, "/docs/api").await.text();
    assert!(!page.contains("⟨U+"), "where a text was wrapped shows");
    for (path, item) in caller.document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            let heading = format!("data-operation><code>{} {path}</code>", method.to_uppercase());
            assert!(page.contains(&heading), "{heading} is not on the page");
        }
    }
    for shape in caller.document["components"]["schemas"].as_object().unwrap().keys() {
        assert!(page.contains(&format!("id=\"{shape}\"")), "{shape} is not on the page");
    }
    for link in page.split("href=\"#").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(page.contains(&format!("id=\"{link}\"")), "#{link} leads nowhere");
    }
    assert!(page.contains("--oauth2-bearer") && page.contains("Needs the role `approver`"), "how it is called, and by whom");
}

#[tokio::test]
async fn the_document_says_of_every_operation_who_may_call_it() {
    let caller = Caller::new().await;
    let ways = |method: &str, path: &str| caller.document["paths"][path][method]["security"].clone();
    assert_eq!(ways("post", "/api/v1/enrol"), json!([]));
    assert_eq!(ways("post", "/api/v1/report"), json!([{"agent": []}]));
    assert_eq!(ways("get", "/api/v1/updates"), json!([{"session": []}, {"token": []}]));
    assert_eq!(ways("post", "/api/v1/updates/{id}/approve"), json!([{"session": [], "csrf": []}, {"token": []}]));
    assert_eq!(ways("get", "/api/v1/session"), json!([{"session": []}]));
    let mut names = BTreeSet::new();
    for (path, item) in caller.document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert!(operation["security"].is_array() && operation["description"].is_string(), "{method} {path}");
            assert!(names.insert(operation["operationId"].as_str().unwrap()), "{method} {path}: the name of an operation stands once");
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.values().all(|response| response["description"] != ""), "{method} {path}: every answer means something");
        }
    }
}

//! What the server's tests share: the application in process, agents that sign, operators that sign in.

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Method, Request, StatusCode, header},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signer as _, SigningKey};
use http_body_util::BodyExt as _;
use redflag_core::{
    Fleet,
    ids::{AgentId, ReportId},
    names::Text,
    signing::{self, SignatureParameters, SignedRequest},
    wire::read_report,
};
use redflag_server::{
    AccountName, EnrolmentTokenOptions, Role, Scope, Settings,
    access::{AccountError, ApiTokenOptions, account, add_account, issue_api_token, issue_sign_in_link, issue_token},
    app::{App, AppState},
    router::router,
};
use redflag_store_sqlite::SqliteStore;
use serde_json::{Value, json};
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tower::ServiceExt as _;

/// The name the tests call the server by.
pub(crate) const HOST: &str = "redflag.test:8080";

/// The application without a socket.
#[derive(Clone)]
pub(crate) struct Harness {
    pub(crate) app: AppState,
    router: Router,
}

/// An answer, read to its end.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Vec<u8>,
}

/// A signed-in operator.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) cookie: String,
    pub(crate) csrf: String,
}

/// An agent with its key.
#[derive(Clone)]
pub(crate) struct TestAgent {
    pub(crate) id: AgentId,
    pub(crate) key: SigningKey,
    counter: Arc<AtomicU64>,
}

impl Harness {
    /// Over a fleet in SQLite, in memory.
    pub(crate) fn new() -> Self {
        Self::over(Fleet::new(SqliteStore::in_memory().unwrap()))
    }

    pub(crate) fn over(fleet: Fleet) -> Self {
        Self::with(fleet, Settings::default())
    }

    pub(crate) fn with(fleet: Fleet, settings: Settings) -> Self {
        Self::of(&App::new(fleet, settings))
    }

    /// Over an application that is there.
    pub(crate) fn of(app: &AppState) -> Self {
        Self { router: router(app), app: AppState::clone(app) }
    }

    pub(crate) async fn send(&self, mut request: Request<Body>) -> Answer {
        request.headers_mut().entry(header::HOST).or_insert(HOST.parse().unwrap());
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes().to_vec();
        Answer { status: parts.status, headers: parts.headers, bytes }
    }

    /// The name of an account of this role: Vera sees; Ada is the first one that may do more.
    pub(crate) async fn account(&self, role: Role) -> AccountName {
        let store = self.app.fleet.store();
        let first: AccountName = if role == Role::Viewer { "Vera" } else { "Ada" }.parse().unwrap();
        let known = account(store, &first).await.unwrap();
        let name = if known.is_none_or(|known| known.role == role) { first } else { format!("{first}-{role}").parse().unwrap() };
        match add_account(store, name.clone(), role).await {
            Ok(_) | Err(AccountError::Exists(_)) => name,
            Err(error) => panic!("{error}"),
        }
    }

    /// An API token of an account of this role.
    pub(crate) async fn api_token(&self, role: Role, scopes: &[Scope]) -> String {
        self.api_token_of(&self.account(role).await, scopes).await
    }

    /// An API token of this account.
    pub(crate) async fn api_token_of(&self, account: &AccountName, scopes: &[Scope]) -> String {
        let store = self.app.fleet.store();
        let scopes = scopes.iter().copied().collect();
        let options = ApiTokenOptions { account: account.clone(), label: Text::lossy("test"), scopes, expires_in: Duration::from_secs(60) };
        issue_api_token(store, options).await.unwrap().expose()
    }

    pub(crate) async fn operator(&self, role: Role) -> Session {
        let name = self.account(role).await;
        let link = issue_sign_in_link(self.app.fleet.store(), name, Some(role)).await.unwrap();
        let answer = self.sign_in(link.token.expose()).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{answer:?}");
        let cookie = answer.headers[header::SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
        let session = Session { cookie, csrf: String::new() };
        let csrf = self.get(&session, "/api/v1/session").await.json()["csrf"].as_str().unwrap().to_owned();
        Session { csrf, ..session }
    }

    pub(crate) async fn sign_in(&self, token: &str) -> Answer {
        let request = Request::post("/sign-in")
            .header("sec-fetch-site", "same-origin")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from(format!("token={token}")));
        self.send(request.unwrap()).await
    }

    pub(crate) async fn get(&self, session: &Session, path: &str) -> Answer {
        self.send(Request::get(path).header(header::COOKIE, &session.cookie).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn post(&self, session: &Session, path: &str, body: &Value) -> Answer {
        let request = Request::post(path)
            .header(header::COOKIE, &session.cookie)
            .header("x-csrf-token", &session.csrf)
            .header("sec-fetch-site", "same-origin")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_string()));
        self.send(request.unwrap()).await
    }

    pub(crate) async fn delete(&self, session: &Session, path: &str) -> Answer {
        let request = Request::delete(path)
            .header(header::COOKIE, &session.cookie)
            .header("x-csrf-token", &session.csrf)
            .header("sec-fetch-site", "same-origin")
            .body(Body::empty());
        self.send(request.unwrap()).await
    }

    /// A token with `seats`.
    pub(crate) async fn token(&self, seats: u32) -> String {
        let options = EnrolmentTokenOptions { seats, ..EnrolmentTokenOptions::default() };
        issue_token(self.app.fleet.store(), options).await.unwrap().0.expose().to_owned()
    }

    pub(crate) async fn enrol(&self, token: &str, agent: &TestAgent, name: &str) -> Answer {
        let body = agent.enrolment(token, name);
        let request = Request::post("/api/v1/enrol").header(header::CONTENT_TYPE, "application/json").body(Body::from(body.to_string()));
        self.send(request.unwrap()).await
    }

    /// An enrolled agent.
    pub(crate) async fn agent(&self, name: &str) -> TestAgent {
        let agent = TestAgent::new();
        let answer = self.enrol(&self.token(1).await, &agent, name).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        agent
    }

    /// Sends a report of `agent`.
    pub(crate) async fn report(&self, agent: &TestAgent, report: &Value) -> Answer {
        self.send(agent.signed(Method::POST, "/api/v1/report", report.to_string())).await
    }

    /// Sends a complete report of one manager and expects it to be taken.
    pub(crate) async fn reported(&self, agent: &TestAgent, sequence: u64, manager: &str, offers: &[Value]) -> Value {
        let answer = self.report(agent, &report(sequence, &[scope(manager, offers)])).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        answer.json()
    }

    /// Records a complete report as if the server had received it `days` ago.
    pub(crate) async fn reported_ago(&self, agent: &TestAgent, days: u64, sequence: u64, manager: &str, offers: &[Value]) {
        let body = report(sequence, &[scope(manager, offers)]).to_string();
        let received_at = self.app.now().saturating_sub(Duration::from_secs(days * 86_400));
        self.app.fleet.record_report(agent.id, read_report(body.as_bytes()).unwrap(), received_at).await.unwrap();
    }

    /// The only update of the list at `path`.
    pub(crate) async fn only(&self, session: &Session, path: &str) -> Value {
        let list = self.get(session, path).await.json();
        assert_eq!(list["total"], 1, "{list}");
        list["updates"][0].clone()
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start: String = self.text().chars().take(500).collect();
        write!(f, "{} {:?}\n{start}", self.status, self.headers)
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|error| panic!("{error}: {self:?} {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// The status and the stable code of a problem.
    pub(crate) fn problem(&self) -> (u16, String) {
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/problem+json", "{self:?}");
        (self.status.as_u16(), self.json()["code"].as_str().unwrap().to_owned())
    }
}

impl TestAgent {
    pub(crate) fn new() -> Self {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).unwrap();
        Self { id: random_id().parse().unwrap(), key: SigningKey::from_bytes(&seed), counter: Arc::default() }
    }

    pub(crate) fn enrolment(&self, token: &str, name: &str) -> Value {
        let public_key = STANDARD.encode(self.key.verifying_key().to_bytes());
        json!({"token": token, "agent_id": self.id, "name": name, "public_key": public_key, "tags": ["test"]})
    }

    /// A copy of its files, taken now: the same id and key, and numbers that go on from here.
    pub(crate) fn copied(&self) -> Self {
        Self { counter: Arc::new(AtomicU64::new(self.counter.load(Ordering::Relaxed))), ..self.clone() }
    }

    /// Its id with another key.
    pub(crate) fn posed_by_a_stranger(&self) -> Self {
        Self { id: self.id, ..Self::new() }
    }

    /// A request signed now.
    pub(crate) fn signed(&self, method: Method, path: &str, body: impl Into<Vec<u8>>) -> Request<Body> {
        self.signed_at(method, path, body, now())
    }

    pub(crate) fn signed_at(&self, method: Method, path: &str, body: impl Into<Vec<u8>>, created: i64) -> Request<Body> {
        let body = body.into();
        let headers = self.headers(HOST, &method, path, &body, created);
        let request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, "application/json");
        headers.into_iter().fold(request, |request, (name, value)| request.header(name, value)).body(Body::from(body)).unwrap()
    }

    /// The headers that sign a request to `host`.
    pub(crate) fn headers(&self, host: &str, method: &Method, path: &str, body: &[u8], created: i64) -> [(&'static str, String); 3] {
        let counter = self.counter.fetch_add(1, Ordering::Relaxed) + 1;
        let digest = signing::content_digest(body);
        let (bare, query) = path.split_once('?').unwrap_or((path, ""));
        let request = SignedRequest { method: method.as_str(), authority: host, path: bare, query, content_digest: &digest };
        let parameters = SignatureParameters { created, agent: self.id, counter };
        let signature = self.key.sign(parameters.signature_base(&request).as_bytes()).to_bytes();
        [
            (signing::CONTENT_DIGEST, digest),
            (signing::SIGNATURE_INPUT, parameters.to_header()),
            (signing::SIGNATURE, signing::signature_header(&signature)),
        ]
    }
}

/// Seconds since the Unix epoch.
pub(crate) fn now() -> i64 {
    redflag_server::clock::now().as_micros() / 1_000_000
}

/// A random UUID as text.
pub(crate) fn random_id() -> String {
    redflag_server::ids::batch_id().to_string()
}

/// A report with an id of its own.
pub(crate) fn report(sequence: u64, scopes: &[Value]) -> Value {
    let report_id: ReportId = random_id().parse().unwrap();
    json!({"schema": 1, "report_id": report_id, "sequence": sequence, "sent_at": "2026-11-23T10:00:00Z", "host": {"hostname": "h"}, "scopes": scopes})
}

/// A complete scope.
pub(crate) fn scope(manager: &str, offers: &[Value]) -> Value {
    let order = match manager {
        "apt" => "dpkg",
        "dnf" => "rpm",
        _ => "none",
    };
    let scanned_at = redflag_server::clock::now();
    json!({"package_type": manager, "version_order": order, "result": "complete", "scanned_at": scanned_at, "offers": offers, "gone": []})
}

/// An offer.
pub(crate) fn offer(name: &str, from: &str, to: &str, severity: &str) -> Value {
    json!({"package_name": name, "arch": "x86_64", "current_version": from, "available_version": to, "severity": severity,
        "repository_source": "updates", "size_bytes": 1000, "metadata": {"a": 1}})
}

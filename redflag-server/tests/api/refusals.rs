//! What the log tells of requests that were refused.

use crate::support::{HOST, Harness, Session, TestAgent, now, report, scope};
use axum::{
    body::Body,
    extract::ConnectInfo,
    http::{Method, Request, header},
};
use redflag_core::{
    Fleet,
    audit::{
        AuditKind,
        entry::{By, Note},
    },
    store::{StoreError, StoreErrorKind},
};
use redflag_server::{Role, Scope, Settings, Transport, audit::AuditKey, problem::Problem};
use redflag_store_sqlite::SqliteStore;
use serde_json::json;
use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use tracing::subscriber::DefaultGuard;

/// The log of this thread, on which a test without a socket runs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// A log as the binary writes it, until the guard is dropped.
    fn begin() -> (Self, DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_env_filter("info").with_ansi(false).with_writer(move || writer.clone()).finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    /// The lines since the last time.
    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn from(address: &str, mut request: Request<Body>) -> Request<Body> {
    request.extensions_mut().insert(ConnectInfo(SocketAddr::new(address.parse().unwrap(), 40_000)));
    request
}

/// A request of a session, which says that it comes from a page of `origin`.
fn of_session(session: &Session, path: &str, origin: &str, csrf: &str, body: &str) -> Request<Body> {
    let request = Request::post(path).header(header::COOKIE, &session.cookie).header(header::ORIGIN, origin).header("x-csrf-token", csrf);
    request.header(header::CONTENT_TYPE, "application/json").body(Body::from(body.to_owned())).unwrap()
}

fn form(path: &str, body: &str) -> Request<Body> {
    let request = Request::post(path).header("sec-fetch-site", "same-origin");
    request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").body(Body::from(body.to_owned())).unwrap()
}

#[tokio::test]
async fn every_way_past_a_control_is_told_with_who_from_where_and_why() {
    const WRONG: &str = "name=Ada&password=wrong+horse+battery";
    let harness = Harness::new();
    let (viewer, admin) = (harness.operator(Role::Viewer).await, harness.operator(Role::Admin).await);
    let reading = harness.api_token(Role::Admin, &[Scope::Read]).await;
    let (agent, other) = (harness.agent("a").await, harness.agent("b").await);
    let own = format!("http://{HOST}");
    let body = report(1, &[scope("apt", &[])]).to_string();
    let signed = |agent: &TestAgent, created| agent.signed_at(Method::POST, "/api/v1/report", body.clone(), created);
    let captured = signed(&agent, now());
    let (parts, _) = captured.into_parts();
    let again = || Request::from_parts(parts.clone(), Body::from(body.clone()));
    assert_eq!(harness.send(again()).await.status, 200);
    let foreign = agent.signed(Method::POST, &format!("/api/v1/agents/{}/updates", other.id), r#"{"updates":[]}"#);
    let bearer = |token: &str, path: &str| {
        Request::post(path).header(header::AUTHORIZATION, format!("Bearer {token}")).body(Body::from("{}")).unwrap()
    };
    let halt = |session: &Session, origin: &str, csrf: &str| of_session(session, "/api/v1/halt", origin, csrf, r#"{"reason":"x"}"#);
    let large = of_session(&admin, "/api/v1/halt", &own, &admin.csrf, &"x".repeat(70_000));
    let unread = of_session(&admin, "/api/v1/halt", &own, &admin.csrf, r#"{"correct horse":1}"#);
    let enrolment = Request::post("/api/v1/enrol").header(header::CONTENT_TYPE, "application/json");
    let enrolment = enrolment.body(Body::from(TestAgent::new().enrolment(&"A".repeat(43), "x").to_string())).unwrap();
    for _ in 0..10 {
        harness.send(from("203.0.113.7", form("/sign-in", WRONG))).await;
    }
    let (log, _guard) = Log::begin();
    for (request, told) in [
        (again(), ["a stranger", "401", "unauthorized", "it came before; it says it is of agent "]),
        (signed(&agent, now() - 3_600), ["a stranger", "401", "unauthorized", "it was signed at another time; "]),
        (signed(&agent.posed_by_a_stranger(), now()), ["a stranger", "401", "unauthorized", "the signature does not hold; "]),
        (signed(&TestAgent::new(), now()), ["a stranger", "401", "unauthorized", "no such agent is enrolled; "]),
        (enrolment, ["a stranger", "401", "bad_token", "the enrolment token is unknown, "]),
        (foreign, [&format!("agent {}", agent.id), "404", "not_found", ""]),
        (bearer("redflag_x", "/api/v1/halt"), ["a stranger", "401", "unauthorized", "no such API token is known"]),
        (bearer(&reading, "/api/v1/halt"), ["a stranger", "403", "scope", "this needs an API token with the scope command: API token "]),
        (halt(&viewer, &own, &viewer.csrf), ["Vera", "403", "role", "this needs the role admin; Vera is a viewer"]),
        (halt(&admin, "https://evil.example", &admin.csrf), ["Ada", "403", "cross_site", "origin \\\"https://evil.example"]),
        (halt(&admin, &own, &viewer.csrf), ["Ada", "403", "csrf", "the CSRF token is missing or of another session"]),
        (large, ["Ada", "413", "too_large", "more than the limit of 65536 bytes"]),
        // Nothing of what is in a body.
        (unread, ["Ada", "400", "bad_envelope", "\""]),
        (form("/sign-in", WRONG), ["a stranger", "429", "too_many_tries", "too many tries to sign in; "]),
    ] {
        let (route, [by, status, code, why]) = (request.uri().path().to_owned(), told);
        let answer = harness.send(from("203.0.113.7", request)).await;
        assert_eq!(answer.status.as_str(), status, "{answer:?}");
        let lines = log.lines();
        let line = lines.iter().find(|line| line.contains("a request was refused")).unwrap_or_else(|| panic!("{code}: {lines:?}"));
        let route = if why.is_empty() { "/api/v1/agents/{id}/updates" } else { &route };
        for said in [" WARN ", "client=203.0.113.7", &format!("by=\"{by}"), &format!("route=\"POST {route}\""), &format!("status={status}")]
        {
            assert!(line.contains(said), "{said} is not in {line}");
        }
        assert!(line.contains(&format!("code=\"{code}\"")) && line.contains(&format!("why=\"{why}")), "{code}, {why}: {line}");
        assert!(line.starts_with("20") && line.contains("Z "), "when, in UTC: {line}");
    }
    harness.get(&viewer, "/api/v1/agents").await;
    assert_eq!(log.lines(), [""; 0], "what is answered as it was asked for is no refusal");
}

#[tokio::test]
async fn plain_http_past_the_proxy_is_told() {
    let settings = Settings { transport: Transport::BehindTlsProxy, ..Settings::default() };
    let harness = Harness::with(Fleet::new(SqliteStore::in_memory().unwrap()), settings);
    let (log, _guard) = Log::begin();
    harness.send(from("192.0.2.1", Request::get("/%0a%1b[2J").body(Body::empty()).unwrap())).await;
    let line = log.lines().pop().unwrap();
    assert!(line.contains("client=192.0.2.1") && line.contains(r#"code="plain_http""#) && line.contains("GET /%0a%1b[2J"), "{line}");
}

/// Each stranger's address has its own lines, and so has each operator: a flood hides nobody else.
#[tokio::test]
async fn a_flood_of_refusals_is_few_lines_and_hides_nobody_else() {
    let harness = Harness::new();
    let viewer = harness.operator(Role::Viewer).await;
    let (log, _guard) = Log::begin();
    let from_address = |address: &str| from(address, Request::get("/api/v1/agents").body(Body::empty()).unwrap());
    for _ in 0..1_000 {
        assert_eq!(harness.send(from_address("198.51.100.1")).await.status, 401);
    }
    let told = log.lines().len();
    assert!((30..40).contains(&told), "{told} lines");
    harness.send(from_address("198.51.100.2")).await;
    assert_eq!(log.lines().len(), 1);
    let halt = of_session(&viewer, "/api/v1/halt", &format!("http://{HOST}"), &viewer.csrf, "{}");
    harness.send(from("198.51.100.1", halt)).await;
    assert!(log.lines().pop().is_some_and(|line| line.contains("by=\"Vera\"")));
}

/// What people and agents write stands in one line, with nothing that commands a terminal.
#[tokio::test]
async fn nobody_writes_lines_of_the_log() {
    let harness = Harness::new();
    let (admin, agent) = (harness.operator(Role::Admin).await, harness.agent("a").await);
    harness.app.audit.note(Note::new(AuditKind::Halted, By::Server, harness.app.now())).await.unwrap();
    let first = harness.app.audit.checkpoint(&harness.app.audit_key).await.unwrap().unwrap();
    let other = AuditKey::new().sign(&first.checkpoint.next(&harness.app.audit.place().await.unwrap(), harness.app.now()));
    let (log, _guard) = Log::begin();
    let forged = "x\n2026-11-26T00:00:00Z  INFO redflag: signed in\u{1b}[2J\u{7f}\r";
    assert_eq!(harness.post(&admin, "/api/v1/halt", &json!({"reason": forged})).await.status.as_u16() / 100, 2);
    let fork = json!({"kept": other, "shown": other, "what": forged.repeat(100)}).to_string();
    assert_eq!(harness.send(agent.signed(Method::POST, "/api/v1/audit/fork", fork)).await.status, 204);
    let lines = log.lines();
    assert!(lines.len() == 2 && lines[0].contains("commands are halted") && lines[1].contains("has forked"), "{lines:?}");
    assert!(!lines.iter().any(|line| line.contains(char::is_control) || line.len() > 1_000), "{lines:?}");
}

/// A broken database, a certificate of its that does not hold, a defect: the client hears that it failed, and the log why.
#[tokio::test]
async fn what_fails_in_the_server_is_told_with_its_cause() {
    const CAUSE: &str = "invalid peer certificate";
    let (log, _guard) = Log::begin();
    for (kind, level) in [
        (StoreErrorKind::Unavailable, " WARN "),
        (StoreErrorKind::OutcomeUnknown, " WARN "),
        (StoreErrorKind::Misconfigured, "ERROR "),
        (StoreErrorKind::Corrupt, "ERROR "),
        (StoreErrorKind::DataRefused, "ERROR "),
    ] {
        let problem = Problem::from(StoreError::caused(kind.clone(), CAUSE));
        let lines = log.lines();
        assert!(lines.len() == 1 && lines[0].contains(level) && lines[0].contains(CAUSE), "{kind:?}: {lines:?}");
        assert!(!problem.detail().contains(CAUSE), "{problem:?}");
    }
}

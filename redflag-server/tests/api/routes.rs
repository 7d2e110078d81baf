//! Every route against every kind of credential, from the route table itself.

use crate::support::{Answer, HOST, Harness, Session, TestAgent};
use axum::{
    body::Body,
    http::{Method, Request, StatusCode, header},
};
use redflag_core::words::Severity;
use redflag_server::{
    Role,
    access::{Policy, RouteEntry, Surface},
    router::table,
};
use serde_json::json;

/// A path of the route with ids that name nothing.
fn path(entry: &RouteEntry) -> String {
    let id = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3";
    let segment = |segment: &str| if segment.starts_with('{') { id.to_owned() } else { segment.to_owned() };
    entry.path.split('/').map(segment).collect::<Vec<_>>().join("/")
}

fn request(entry: &RouteEntry) -> Request<Body> {
    let kind = if entry.surface() == Surface::Api { "application/json" } else { "application/x-www-form-urlencoded" };
    let request = Request::builder().method(entry.method.clone()).uri(path(entry)).header(header::CONTENT_TYPE, kind);
    request.body(Body::from("{}")).unwrap()
}

fn with_session(mut request: Request<Body>, session: &Session) -> Request<Body> {
    request.headers_mut().insert(header::COOKIE, session.cookie.parse().unwrap());
    request
}

fn with_csrf(mut request: Request<Body>, session: &Session) -> Request<Body> {
    request.headers_mut().insert("x-csrf-token", session.csrf.parse().unwrap());
    request.headers_mut().insert(header::ORIGIN, format!("http://{HOST}").parse().unwrap());
    request
}

/// Whether the guard refused the request for its credential.
fn refused(entry: &RouteEntry, answer: &Answer) -> bool {
    // Signing out leads to the sign-in page too, but forgets the cookie.
    let to_sign_in = answer.status == StatusCode::SEE_OTHER
        && answer.headers[header::LOCATION] == "/sign-in"
        && !answer.headers.contains_key(header::SET_COOKIE);
    match entry.surface() {
        Surface::Api => answer.status == StatusCode::UNAUTHORIZED,
        Surface::Page => to_sign_in,
    }
}

/// The status of a refusal and, on the API, that it is a problem with this code.
fn assert_forbidden(entry: &RouteEntry, answer: &Answer, code: &str) {
    match entry.surface() {
        Surface::Api => assert_eq!(answer.problem(), (403, code.to_owned()), "{entry:?}"),
        Surface::Page => assert_eq!(answer.status, StatusCode::FORBIDDEN, "{entry:?}: {answer:?}"),
    }
}

struct Credentials {
    agent: TestAgent,
    stranger: TestAgent,
    viewer: Session,
    approver: Session,
    admin: Session,
    wrong: Session,
}

async fn credentials(harness: &Harness) -> Credentials {
    Credentials {
        agent: harness.agent("a").await,
        stranger: TestAgent::new(),
        viewer: harness.operator(Role::Viewer).await,
        approver: harness.operator(Role::Approver).await,
        admin: harness.operator(Role::Admin).await,
        wrong: Session { cookie: format!("redflag_session={}", "A".repeat(43)), csrf: "x".to_owned() },
    }
}

#[tokio::test]
async fn every_route_admits_exactly_the_credentials_of_its_policy() {
    let harness = Harness::new();
    let table = table(&harness.app);
    assert!(table.len() >= 20, "{table:?}");
    for entry in &table {
        // Fresh ones for each route: one of the routes signs out.
        let by = credentials(&harness).await;
        let agent = by.agent.signed(entry.method.clone(), &path(entry), "{}");
        let stranger = by.stranger.signed(entry.method.clone(), &path(entry), "{}");
        let agents_cookie = with_session(by.agent.signed(entry.method.clone(), &path(entry), "{}"), &by.wrong);
        match entry.policy {
            Policy::Public => {
                let answer = harness.send(request(entry)).await;
                assert!(!refused(entry, &answer), "{entry:?} is public: {answer:?}");
            }
            Policy::Agent => {
                for request in [request(entry), stranger, with_csrf(with_session(request(entry), &by.admin), &by.admin)] {
                    let answer = harness.send(request).await;
                    assert!(refused(entry, &answer), "{entry:?} must want the signature of an agent: {answer:?}");
                }
                let answer = harness.send(agent).await;
                assert!(!refused(entry, &answer), "{entry:?} must let an agent in: {answer:?}");
            }
            Policy::Operator(role) => {
                for request in
                    [request(entry), agent, stranger, agents_cookie, with_csrf(with_session(request(entry), &by.wrong), &by.wrong)]
                {
                    let answer = harness.send(request).await;
                    assert!(refused(entry, &answer), "{entry:?} must want an operator: {answer:?}");
                }
                if role > Role::Viewer {
                    let answer = harness.send(with_csrf(with_session(request(entry), &by.viewer), &by.viewer)).await;
                    assert_forbidden(entry, &answer, "role");
                }
                if entry.method != Method::GET {
                    let without_token = harness.send(with_session(request(entry), &by.admin)).await;
                    assert_forbidden(entry, &without_token, "cross_site");
                    let of_another_session = with_csrf(with_session(request(entry), &by.admin), &by.approver);
                    assert_forbidden(entry, &harness.send(of_another_session).await, "csrf");
                    for origin in ["https://evil.example", "null", "http://redflag.test:8081"] {
                        let mut foreign = with_csrf(with_session(request(entry), &by.admin), &by.admin);
                        foreign.headers_mut().insert(header::ORIGIN, origin.parse().unwrap());
                        assert_forbidden(entry, &harness.send(foreign).await, "cross_site");
                    }
                }
                let answer = harness.send(with_csrf(with_session(request(entry), &by.admin), &by.admin)).await;
                assert!(!refused(entry, &answer) && answer.status != StatusCode::FORBIDDEN, "{entry:?}: {answer:?}");
            }
        }
    }
}

/// Regression 16 of the first system: agent tokens worked on operator routes, so an agent could approve updates.
#[tokio::test]
async fn regression_16_an_agent_is_nobody_on_operator_routes_and_on_other_agents_paths() {
    let harness = Harness::new();
    let (a, b) = (harness.agent("a").await, harness.agent("b").await);
    let foreign = format!("/api/v1/agents/{}/updates", b.id);
    let answer = harness.send(a.signed(Method::POST, &foreign, r#"{"updates":[]}"#)).await;
    assert_eq!(answer.problem(), (404, "not_found".to_owned()));
    let own = format!("/api/v1/agents/{}/updates", a.id);
    assert_eq!(harness.send(a.signed(Method::POST, &own, r#"{"updates":[]}"#)).await.status, StatusCode::OK);
    let approve = a.signed(Method::POST, "/api/v1/updates/x/approve", "{}");
    assert_eq!(harness.send(approve).await.problem(), (401, "unauthorized".to_owned()));
}

#[tokio::test]
async fn no_route_answers_500_or_without_its_headers_whatever_the_method() {
    let harness = Harness::new();
    let admin = harness.operator(Role::Admin).await;
    for entry in table(&harness.app) {
        for method in [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::PATCH] {
            let mut request = with_session(request(&entry), &admin);
            *request.method_mut() = method.clone();
            let answer = harness.send(request).await;
            assert!(answer.status.as_u16() < 500, "{method} {}: {answer:?}", entry.path);
            for header in [header::CONTENT_SECURITY_POLICY, header::X_CONTENT_TYPE_OPTIONS, header::REFERRER_POLICY, header::CACHE_CONTROL]
            {
                assert!(answer.headers.contains_key(&header), "{method} {}: {header} is missing", entry.path);
            }
            if entry.path == "/sign-out" {
                assert!(method != Method::GET || answer.status == StatusCode::METHOD_NOT_ALLOWED);
            }
        }
    }
    let answer = harness.get(&admin, "/api/v1/nothing").await;
    assert_eq!(answer.problem(), (404, "not_found".to_owned()));
}

#[tokio::test]
async fn every_api_route_is_in_the_openapi_document() {
    let harness = Harness::new();
    let answer = harness.send(Request::get("/api/v1/openapi.json").body(Body::empty()).unwrap()).await;
    let document = answer.json();
    let mut described = 0;
    for entry in table(&harness.app).iter().filter(|entry| entry.surface() == Surface::Api) {
        let operation = &document["paths"][entry.path][entry.method.as_str().to_lowercase()];
        assert!(operation.is_object(), "{} {} is not in the document", entry.method, entry.path);
        described += 1;
    }
    let in_document: usize = document["paths"].as_object().unwrap().values().map(|path| path.as_object().unwrap().len()).sum();
    assert_eq!(in_document, described, "the document describes routes that do not exist");
}

#[tokio::test]
async fn the_openapi_document_says_what_is_true_of_every_operation() {
    let harness = Harness::new();
    let document = harness.send(Request::get("/api/v1/openapi.json").body(Body::empty()).unwrap()).await.json();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let responses = operation["responses"].as_object().unwrap();
            let expected: &[_] =
                if operation["requestBody"].is_object() { &["403", "408", "413", "415", "503"] } else { &["403", "408", "503"] };
            assert!(expected.iter().all(|status| responses.contains_key(*status)), "{method} {path}: {responses:?}");
            for (status, response) in responses.iter().filter(|(status, _)| !status.starts_with('2')) {
                let kinds: Vec<_> = response["content"].as_object().unwrap().keys().collect();
                assert_eq!(kinds, ["application/problem+json"], "{method} {path}: {status}");
            }
        }
    }
    let parameters = document["paths"]["/api/v1/updates"]["get"]["parameters"].as_array().unwrap();
    let words = |name: &str| parameters.iter().find(|parameter| parameter["name"] == name).unwrap()["schema"]["enum"].clone();
    assert!(Severity::ALL.iter().all(|word| words("severity").as_array().unwrap().contains(&json!(word.as_str()))));
    assert!(words("status").as_array().unwrap().contains(&json!("needs-review")));
}

#[tokio::test]
async fn a_sign_in_link_works_once_and_looking_at_it_has_no_effect() {
    let harness = Harness::new();
    let store = harness.app.fleet.store();
    let link = redflag_server::access::issue_sign_in_link(store, redflag_core::names::Text::lossy("Ada"), Role::Admin).await.unwrap();
    let token = link.token.expose();
    for _ in 0..2 {
        let page = harness.send(Request::get(format!("/sign-in?token={token}")).body(Body::empty()).unwrap()).await;
        assert_eq!(page.status, StatusCode::OK);
        assert!(!page.headers.contains_key(header::SET_COOKIE));
        assert!(page.text().contains(token), "the page's form holds the token");
    }
    let foreign = Request::post("/sign-in").header(header::ORIGIN, "https://evil.example").body(Body::from(format!("token={token}")));
    let foreign = harness.send(foreign.unwrap()).await;
    assert!(foreign.status.is_client_error() && !foreign.headers.contains_key(header::SET_COOKIE), "{foreign:?}");
    let first = harness.sign_in(token).await;
    let cookie = first.headers[header::SET_COOKIE].to_str().unwrap();
    assert!(cookie.starts_with("redflag_session=") && cookie.contains("HttpOnly; SameSite=Strict"), "{cookie}");
    assert!(!cookie.contains("Secure"), "plain loopback has no TLS");
    assert_eq!(harness.sign_in(token).await.status, StatusCode::UNAUTHORIZED);
    let secrets = store.list("sessions", None, 10).await.unwrap();
    let value = cookie.split(['=', ';']).nth(1).unwrap();
    assert!(secrets.iter().all(|(key, record)| !key.contains(value) && !record.value.contains(value)), "only digests are stored");
}

#[tokio::test]
async fn signing_out_ends_the_session_on_the_server() {
    let harness = Harness::new();
    let session = harness.operator(Role::Viewer).await;
    assert_eq!(harness.get(&session, "/api/v1/session").await.status, StatusCode::OK);
    harness.send(with_csrf(with_session(Request::post("/sign-out").body(Body::empty()).unwrap(), &session), &session)).await;
    assert_eq!(harness.get(&session, "/api/v1/session").await.problem(), (401, "unauthorized".to_owned()));
}

#[tokio::test]
async fn what_has_expired_neither_signs_in_nor_stays() {
    let harness = Harness::new();
    let store = harness.app.fleet.store();
    let expired = r#"{"name":"Ada","role":"admin","expires_at":"2020-01-01T00:00:00Z"}"#;
    let (link, session) = (redflag_server::ids::Secret::new(), redflag_server::ids::Secret::new());
    for (namespace, key) in [("sign-in-links", link.at_rest("sign-in-links")), ("sessions", session.at_rest("sessions"))] {
        store.put(namespace, &key, expired, redflag_core::store::Expected::Absent).await.unwrap();
    }
    let cookie = Session { cookie: format!("redflag_session={}", session.expose()), csrf: String::new() };
    assert_eq!(harness.get(&cookie, "/api/v1/session").await.problem(), (401, "unauthorized".to_owned()));
    assert_eq!(harness.sign_in(link.expose()).await.status, StatusCode::UNAUTHORIZED);
    harness.operator(Role::Viewer).await;
    assert_eq!(store.list("sessions", None, 10).await.unwrap().len(), 1, "only the session just opened is left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_who_press_the_button_of_one_link_one_is_signed_in() {
    let harness = Harness::new();
    let store = harness.app.fleet.store();
    for _ in 0..10 {
        let link = redflag_server::access::issue_sign_in_link(store, redflag_core::names::Text::lossy("Ada"), Role::Admin).await.unwrap();
        let racing: Vec<_> = (0..8)
            .map(|_| {
                let (harness, token) = (harness.clone(), link.token.expose().to_owned());
                tokio::spawn(async move { harness.sign_in(&token).await.status })
            })
            .collect();
        let mut signed_in = 0;
        for racer in racing {
            signed_in += usize::from(racer.await.unwrap() == StatusCode::SEE_OTHER);
        }
        assert_eq!(signed_in, 1);
    }
}

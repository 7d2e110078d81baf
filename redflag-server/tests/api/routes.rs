//! Every route against every kind of credential, from the route table itself.

use crate::support::{Answer, HOST, Harness, Session, TestAgent};
use axum::{
    body::Body,
    http::{Method, Request, StatusCode, header},
};
use redflag_core::{store::Expected, words::Severity};
use redflag_server::{
    AccountName, Role, Scope,
    access::{AccountError, Policy, RouteEntry, Standing, Surface, add_account, issue_sign_in_link, set_role, set_standing},
    ids::Secret,
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

fn with_token(mut request: Request<Body>, token: &str) -> Request<Body> {
    request.headers_mut().append(header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
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

/// What a request can bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Credential {
    Nothing,
    /// A session id that nobody has.
    UnknownSession,
    ExpiredSession,
    /// A session of an account that changed since.
    EndedSession,
    UnknownToken,
    ExpiredToken,
    /// An API token of an account that was disabled.
    EndedToken,
    /// The signature of an enrolled agent, on paths that name another agent or nothing.
    Agent,
    /// The same, with a session id that nobody has.
    AgentWithCookie,
    /// The signature of an agent that is not enrolled.
    Stranger,
    Session(Role),
    Token(Role, Scope),
    /// A session and an API token that would both do.
    Both,
    /// Two API tokens that would both do.
    TwoTokens,
}

impl Credential {
    fn all() -> Vec<Self> {
        let mut all = vec![
            Self::Nothing,
            Self::UnknownSession,
            Self::ExpiredSession,
            Self::EndedSession,
            Self::UnknownToken,
            Self::ExpiredToken,
            Self::EndedToken,
            Self::Agent,
            Self::AgentWithCookie,
            Self::Stranger,
            Self::Both,
            Self::TwoTokens,
        ];
        for role in Role::ALL {
            all.push(Self::Session(*role));
            all.extend(Scope::ALL.iter().map(|scope| Self::Token(*role, *scope)));
        }
        all
    }

    /// A request on the route with this credential, made for it alone: some routes end what they were asked with.
    async fn request(self, harness: &Harness, entry: &RouteEntry) -> Request<Body> {
        let bare = request(entry);
        match self {
            Self::Nothing => bare,
            Self::UnknownSession => with_csrf(with_session(bare, &unknown_session()), &unknown_session()),
            Self::ExpiredSession => with_session(bare, &stored_session(harness, "2020-01-01T00:00:00Z").await),
            Self::EndedSession => with_session(bare, &ended_session(harness).await),
            Self::UnknownToken => with_token(bare, &format!("redflag_{}", "A".repeat(43))),
            Self::ExpiredToken => with_token(bare, &stored_token(harness, "2020-01-01T00:00:00Z").await),
            Self::EndedToken => with_token(bare, &ended_token(harness).await),
            Self::Agent => harness.agent("a").await.signed(entry.method.clone(), &path(entry), "{}"),
            Self::AgentWithCookie => {
                with_session(harness.agent("a").await.signed(entry.method.clone(), &path(entry), "{}"), &unknown_session())
            }
            Self::Stranger => TestAgent::new().signed(entry.method.clone(), &path(entry), "{}"),
            Self::Session(role) => {
                let session = harness.operator(role).await;
                with_csrf(with_session(bare, &session), &session)
            }
            Self::Token(role, scope) => with_token(bare, &harness.api_token(role, &[scope]).await),
            Self::Both => {
                let session = harness.operator(Role::Admin).await;
                with_token(with_csrf(with_session(bare, &session), &session), &harness.api_token(Role::Admin, Scope::ALL).await)
            }
            Self::TwoTokens => {
                let bare = with_token(bare, &harness.api_token(Role::Admin, Scope::ALL).await);
                with_token(bare, &harness.api_token(Role::Admin, Scope::ALL).await)
            }
        }
    }
}

/// What the guard makes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It reaches its handler.
    Admitted,
    /// 401, or on pages the way to the sign-in page.
    Refused,
    /// 400.
    Ambiguous,
    /// 403 with this code.
    Forbidden(&'static str),
}

/// The verdict that follows from the policy, which is data.
fn expected(policy: Policy, credential: Credential) -> Verdict {
    let (role, scope) = match policy {
        Policy::Public => return Verdict::Admitted,
        Policy::Agent if matches!(credential, Credential::Agent | Credential::AgentWithCookie) => return Verdict::Admitted,
        Policy::Agent => return Verdict::Refused,
        Policy::Operator(role, scope) => (role, Some(scope)),
        Policy::Person(role) => (role, None),
    };
    match credential {
        Credential::Both | Credential::TwoTokens => Verdict::Ambiguous,
        Credential::Token(_, of_token) if Some(of_token) != scope => Verdict::Forbidden("scope"),
        Credential::Session(of_account) | Credential::Token(of_account, _) if of_account < role => Verdict::Forbidden("role"),
        Credential::Session(_) | Credential::Token(..) => Verdict::Admitted,
        _ => Verdict::Refused,
    }
}

/// The verdict as the answer tells it.
fn given(entry: &RouteEntry, answer: &Answer) -> Verdict {
    if refused(entry, answer) {
        return Verdict::Refused;
    }
    let code = || if entry.surface() == Surface::Api { answer.problem().1 } else { answer.text() };
    match answer.status {
        StatusCode::BAD_REQUEST if code().contains("two_credentials") || code().contains("brings one credential") => Verdict::Ambiguous,
        StatusCode::FORBIDDEN if code() == "role" || code().contains("this needs the role") || code().contains("This needs the role") => {
            Verdict::Forbidden("role")
        }
        StatusCode::FORBIDDEN if code() == "scope" || code().contains("no API token reaches it") => Verdict::Forbidden("scope"),
        _ => Verdict::Admitted,
    }
}

fn unknown_session() -> Session {
    Session { cookie: format!("redflag_session={}", "A".repeat(43)), csrf: "x".to_owned() }
}

/// A session of the account Ada, which was just made, that ends at `expires_at`.
async fn stored_session(harness: &Harness, expires_at: &str) -> Session {
    let (store, id) = (harness.app.fleet.store(), Secret::new());
    harness.account(Role::Admin).await;
    let record = json!({"account": "Ada", "generation": 1, "began": "password", "began_at": "2020-01-01T00:00:00Z", "expires_at": expires_at,
        "used_at": harness.app.now()});
    store.put("account-sessions", &id.at_rest("account-sessions"), &record.to_string(), Expected::Absent).await.unwrap();
    Session { cookie: format!("redflag_session={}", id.expose()), csrf: String::new() }
}

async fn ended_session(harness: &Harness) -> Session {
    let (name, other) = (harness.account(Role::Viewer).await, Role::Approver);
    let session = harness.operator(Role::Viewer).await;
    set_role(harness.app.fleet.store(), &name, other).await.unwrap();
    set_role(harness.app.fleet.store(), &name, Role::Viewer).await.unwrap();
    session
}

/// An API token of the account Ada, with every scope, that ends at `expires_at`.
async fn stored_token(harness: &Harness, expires_at: &str) -> String {
    let (store, secret) = (harness.app.fleet.store(), Secret::new());
    harness.account(Role::Admin).await;
    let record = json!({"account": "Ada", "generation": 1, "label": "x", "scopes": ["read", "decide", "command", "enrol", "administer"],
        "created_at": "2020-01-01T00:00:00Z", "expires_at": expires_at, "last_used_at": null});
    store.put("api-tokens", &secret.at_rest("api-tokens"), &record.to_string(), Expected::Absent).await.unwrap();
    format!("redflag_{}", secret.expose())
}

async fn ended_token(harness: &Harness) -> String {
    let (store, name) = (harness.app.fleet.store(), "gone".parse().unwrap());
    match add_account(store, AccountName::clone(&name), Role::Admin).await {
        Ok(_) | Err(AccountError::Exists(_)) => {}
        Err(error) => panic!("{error}"),
    }
    set_standing(store, &name, Standing::Enabled).await.unwrap();
    let token = harness.api_token_of(&name, Scope::ALL).await;
    set_standing(store, &name, Standing::Disabled).await.unwrap();
    token
}

#[tokio::test]
async fn every_route_admits_exactly_the_credentials_of_its_policy() {
    let table = table(&Harness::new().app);
    assert!(table.len() >= 20, "{table:?}");
    for entry in &table {
        let harness = Harness::new();
        for credential in Credential::all() {
            let answer = harness.send(credential.request(&harness, entry).await).await;
            assert_eq!(given(entry, &answer), expected(entry.policy, credential), "{entry:?} with {credential:?}: {answer:?}");
            let ways = answer.headers.contains_key(header::WWW_AUTHENTICATE);
            let asked = entry.surface() == Surface::Api && answer.status == StatusCode::UNAUTHORIZED;
            assert!(!asked || ways, "{entry:?} with {credential:?} is not told how to prove who it is");
            // A handler's own refusals of somebody else's objects are 404.
            let foreign = credential == Credential::Agent && entry.path == "/api/v1/agents/{id}/updates";
            assert!(!foreign || answer.problem() == (404, "not_found".to_owned()), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn every_mutation_of_a_session_wants_an_origin_of_our_own_and_the_token_of_that_session() {
    let harness = Harness::new();
    for entry in &table(&harness.app) {
        let (Policy::Operator(..) | Policy::Person(_)) = entry.policy else { continue };
        if entry.method == Method::GET {
            continue;
        }
        let (admin, approver) = (harness.operator(Role::Admin).await, harness.operator(Role::Approver).await);
        let without_token = harness.send(with_session(request(entry), &admin)).await;
        assert_forbidden(entry, &without_token, "cross_site");
        let of_another_session = with_csrf(with_session(request(entry), &admin), &approver);
        assert_forbidden(entry, &harness.send(of_another_session).await, "csrf");
        for origin in ["https://evil.example", "null", "http://redflag.test:8081"] {
            let mut foreign = with_csrf(with_session(request(entry), &admin), &admin);
            foreign.headers_mut().insert(header::ORIGIN, origin.parse().unwrap());
            assert_forbidden(entry, &harness.send(foreign).await, "cross_site");
        }
    }
}

#[tokio::test]
async fn what_was_stored_for_the_matrix_works_until_it_expires() {
    let harness = Harness::new();
    let session = stored_session(&harness, "2999-01-01T00:00:00Z").await;
    assert_eq!(harness.get(&session, "/api/v1/session").await.status, StatusCode::OK);
    let token = stored_token(&harness, "2999-01-01T00:00:00Z").await;
    let request = Request::get("/api/v1/agents").body(Body::empty()).unwrap();
    assert_eq!(harness.send(with_token(request, &token)).await.status, StatusCode::OK);
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

/// What every answer carries.
const HEADERS: [&str; 6] = [
    "content-security-policy",
    "x-content-type-options",
    "referrer-policy",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "cache-control",
];

/// JSON is UTF-8 and nothing else; text says which characters it is made of.
fn says_its_characters(kind: &header::HeaderValue) -> bool {
    let kind = kind.to_str().unwrap();
    ["application/json", "application/problem+json"].contains(&kind) || kind.contains("charset=utf-8")
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
            for header in HEADERS {
                assert!(answer.headers.contains_key(header), "{method} {}: {header} is missing", entry.path);
            }
            let policy = answer.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
            for directive in ["default-src 'none'", "object-src 'none'", "base-uri 'none'", "frame-ancestors 'none'"] {
                assert!(policy.split("; ").any(|stated| stated == directive), "{method} {}: {policy}", entry.path);
            }
            let kept = answer.headers[header::CACHE_CONTROL].to_str().unwrap();
            assert!(kept == "no-store" || entry.path.starts_with("/assets/"), "{method} {}: {kept}", entry.path);
            let shared = answer.headers.keys().find(|name| name.as_str().starts_with("access-control-"));
            assert_eq!(shared, None, "{method} {}: other sites read nothing", entry.path);
            let (kind, empty) = (answer.headers.get(header::CONTENT_TYPE), answer.bytes.is_empty());
            assert!(empty || kind.is_some_and(says_its_characters), "{method} {}: {kind:?}", entry.path);
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
    let told = document["info"]["description"].as_str().unwrap();
    assert!(told.contains("without a body: 400, or 431"), "what is answered before the API: {told}");
    let parameters = document["paths"]["/api/v1/updates"]["get"]["parameters"].as_array().unwrap();
    let words = |name: &str| parameters.iter().find(|parameter| parameter["name"] == name).unwrap()["schema"]["enum"].clone();
    assert!(Severity::ALL.iter().all(|word| words("severity").as_array().unwrap().contains(&json!(word.as_str()))));
    assert!(words("status").as_array().unwrap().contains(&json!("needs-review")));
}

#[tokio::test]
async fn a_sign_in_link_works_once_and_looking_at_it_has_no_effect() {
    let harness = Harness::new();
    let store = harness.app.fleet.store();
    let link = issue_sign_in_link(store, "Ada".parse().unwrap(), None).await.unwrap();
    let (token, url) = (link.token.expose(), link.url("https://redflag.example/"));
    assert_eq!(url.split_once('#'), Some(("https://redflag.example/sign-in", format!("token={token}").as_str())), "browsers send no more");
    for path in ["/sign-in", &format!("/sign-in?token={token}")] {
        let page = harness.send(Request::get(path).body(Body::empty()).unwrap()).await;
        assert_eq!(page.status, StatusCode::OK);
        assert!(!page.headers.contains_key(header::SET_COOKIE));
        assert!(page.text().contains("name=\"token\"") && !page.text().contains(token), "the page has a form for it, and does not know it");
    }
    let foreign = Request::post("/sign-in").header(header::ORIGIN, "https://evil.example").body(Body::from(format!("token={token}")));
    let foreign = harness.send(foreign.unwrap()).await;
    assert!(foreign.status.is_client_error() && !foreign.headers.contains_key(header::SET_COOKIE), "{foreign:?}");
    let first = harness.sign_in(token).await;
    let cookie = first.headers[header::SET_COOKIE].to_str().unwrap();
    assert!(cookie.starts_with("redflag_session=") && cookie.contains("HttpOnly; SameSite=Strict"), "{cookie}");
    assert!(!cookie.contains("Secure"), "plain loopback has no TLS");
    assert_eq!(harness.sign_in(token).await.status, StatusCode::UNAUTHORIZED);
    let secrets = store.list("account-sessions", None, 10).await.unwrap();
    let value = cookie.split(['=', ';']).nth(1).unwrap();
    assert!(secrets.iter().all(|(key, record)| !key.contains(value) && !record.value.contains(value)), "only digests are stored");
}

#[tokio::test]
async fn signing_out_ends_the_session_on_the_server() {
    let harness = Harness::new();
    let session = harness.operator(Role::Viewer).await;
    assert_eq!(harness.get(&session, "/api/v1/session").await.status, StatusCode::OK);
    let out = Request::post("/sign-out").body(Body::empty()).unwrap();
    let out = harness.send(with_csrf(with_session(out, &session), &session)).await;
    assert_eq!(out.headers["clear-site-data"], "\"cache\", \"storage\"", "the browser keeps nothing of what was seen");
    assert_eq!(harness.get(&session, "/api/v1/session").await.problem(), (401, "unauthorized".to_owned()));
}

#[tokio::test]
async fn what_has_expired_neither_signs_in_nor_stays() {
    let harness = Harness::new();
    let store = harness.app.fleet.store();
    let cookie = stored_session(&harness, "2020-01-01T00:00:00Z").await;
    let (link, expired) = (Secret::new(), r#"{"account":"Ada","generation":1,"expires_at":"2020-01-01T00:00:00Z"}"#);
    store.put("account-sign-in-links", &link.at_rest("account-sign-in-links"), expired, Expected::Absent).await.unwrap();
    assert_eq!(harness.get(&cookie, "/api/v1/session").await.problem(), (401, "unauthorized".to_owned()));
    assert_eq!(harness.sign_in(link.expose()).await.status, StatusCode::UNAUTHORIZED);
    harness.operator(Role::Viewer).await;
    assert_eq!(store.list("account-sessions", None, 10).await.unwrap().len(), 1, "only the session just opened is left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_who_press_the_button_of_one_link_one_is_signed_in() {
    let harness = Harness::new();
    let store = harness.app.fleet.store();
    for _ in 0..10 {
        let link = issue_sign_in_link(store, "Ada".parse().unwrap(), None).await.unwrap();
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

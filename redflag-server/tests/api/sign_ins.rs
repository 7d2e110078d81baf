//! Signing in by name and password, its limits, and what ends sessions.

use crate::support::{Answer, Harness, Session, offer, report, scope};
use axum::{
    body::Body,
    extract::ConnectInfo,
    http::{Request, StatusCode, header},
};
use redflag_core::{
    audit::{AuditKind, FactName},
    store::Expected,
};
use redflag_server::{
    AccountName, Role, Scope,
    access::{Password, SESSION_IDLE_MAX, SESSIONS_MAX, Standing, add_account, issue_sign_in_link, set_password, set_standing},
};
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

pub(crate) const PASSWORD: &str = "correct horse battery";

impl Harness {
    /// An account with [`PASSWORD`].
    pub(crate) async fn account_with_password(&self, name: &str, role: Role) -> AccountName {
        let (store, name) = (self.app.fleet.store(), name.parse::<AccountName>().unwrap());
        add_account(store, name.clone(), role).await.unwrap();
        let hash = redflag_server::access::Passwords::default().hash(Password::parse(&name, PASSWORD).unwrap()).await.unwrap();
        set_password(store, &name, &hash).await.unwrap();
        name
    }

    /// One try from an address.
    async fn try_from(&self, address: &str, name: &str, password: &str) -> Answer {
        self.post_sign_in(address, format!("name={name}&password={}", password.replace(' ', "+"))).await
    }

    /// What the form of the sign-in page sends, from an address.
    pub(crate) async fn post_sign_in(&self, address: &str, form: String) -> Answer {
        let request = Request::post("/sign-in")
            .header("sec-fetch-site", "same-origin")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .extension(ConnectInfo(SocketAddr::new(address.parse().unwrap(), 40_000)));
        self.send(request.body(Body::from(form)).unwrap()).await
    }

    /// The session that an answer begins.
    pub(crate) async fn session_of(&self, answer: &Answer) -> Session {
        let cookie = answer.headers[header::SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
        let session = Session { cookie, csrf: String::new() };
        let csrf = self.get(&session, "/api/v1/session").await.json()["csrf"].as_str().unwrap().to_owned();
        Session { csrf, ..session }
    }
}

#[tokio::test]
async fn whoever_came_by_a_link_sets_a_password_and_signs_in_with_it() {
    a_password_is_set_and_signs_in(Harness::new()).await;
}

pub(crate) async fn a_password_is_set_and_signs_in(harness: Harness) {
    let (first, other) = (harness.operator(Role::Approver).await, harness.operator(Role::Approver).await);
    let token = harness.api_token(Role::Approver, &[Scope::Read]).await;
    let weak = harness.post(&first, "/api/v1/account/password", &json!({"new": "too short"})).await;
    assert_eq!(weak.problem(), (400, "bad_parameter".to_owned()));
    let set = harness.post(&first, "/api/v1/account/password", &json!({"new": PASSWORD})).await;
    assert_eq!(set.status, StatusCode::NO_CONTENT, "{set:?}");
    for ended in [&first, &other] {
        assert_eq!(harness.get(ended, "/api/v1/session").await.status, StatusCode::UNAUTHORIZED, "another password ends every session");
    }
    assert_eq!(harness.with_token(&token, "/api/v1/agents").await.status, StatusCode::UNAUTHORIZED, "and every token");
    let now = harness.session_of(&set).await;
    assert_eq!(harness.get(&now, "/api/v1/account").await.json()["has_password"], true);

    for (name, password) in [("Ada", "wrong horse battery"), ("Ada", ""), ("Eve", PASSWORD), ("", ""), ("no such name", PASSWORD)] {
        let wrong = harness.try_from("192.0.2.1", name, password).await;
        assert_eq!(wrong.status, StatusCode::UNAUTHORIZED, "{name}: {wrong:?}");
        assert!(!wrong.headers.contains_key(header::SET_COOKIE) && wrong.text().contains("Name, password or code is wrong"), "{name}");
    }
    let right = harness.try_from("192.0.2.1", "ada", PASSWORD).await;
    assert_eq!((right.status, &right.headers[header::LOCATION]), (StatusCode::SEE_OTHER, &header::HeaderValue::from_static("/")));
    let session = harness.session_of(&right).await;
    assert_ne!(session.cookie, now.cookie);
    assert_eq!(harness.get(&session, "/api/v1/session").await.json()["operator"], "Ada");

    let without = harness.post(&session, "/api/v1/account/password", &json!({"new": "another horse battery"})).await;
    assert_eq!(without.problem(), (403, "wrong_password".to_owned()), "whoever finds an open browser cannot take the account");
    let body = json!({"current": PASSWORD, "new": "another horse battery"});
    assert_eq!(harness.post(&session, "/api/v1/account/password", &body).await.status, StatusCode::NO_CONTENT);
    assert_eq!(harness.try_from("192.0.2.1", "Ada", PASSWORD).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(harness.try_from("192.0.2.1", "Ada", "another horse battery").await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn signing_in_gives_a_new_session_id_and_ends_the_one_that_came_along() {
    let harness = Harness::new();
    harness.account_with_password("ada", Role::Viewer).await;
    let first = harness.try_from("192.0.2.1", "ada", PASSWORD).await;
    let first = harness.session_of(&first).await;
    let request = Request::post("/sign-in")
        .header("sec-fetch-site", "same-origin")
        .header(header::COOKIE, &first.cookie)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    let again = harness.send(request.body(Body::from("name=ada&password=correct+horse+battery")).unwrap()).await;
    let second = harness.session_of(&again).await;
    assert_ne!(first.cookie, second.cookie);
    assert_eq!(harness.get(&first, "/api/v1/session").await.status, StatusCode::UNAUTHORIZED);

    let foreign = Request::post("/sign-in")
        .header(header::ORIGIN, "https://evil.example")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    let foreign = harness.send(foreign.body(Body::from("name=ada&password=correct+horse+battery")).unwrap()).await;
    assert_eq!(foreign.status, StatusCode::FORBIDDEN, "another site signs nobody in: {foreign:?}");
    assert!(foreign.text().contains("Not allowed"), "what is refused on a page is said on a page: {foreign:?}");
}

#[tokio::test]
async fn a_disabled_account_is_nobody_and_what_it_had_does_not_come_back() {
    let harness = Harness::new();
    let name = harness.account_with_password("ada", Role::Admin).await;
    let store = harness.app.fleet.store();
    let right = harness.try_from("192.0.2.1", "ada", PASSWORD).await;
    let session = harness.session_of(&right).await;
    let token = harness.api_token_of(&name, Scope::ALL).await;
    let link = issue_sign_in_link(store, name.clone(), None).await.unwrap();
    set_standing(store, &name, Standing::Disabled).await.unwrap();
    assert_eq!(harness.try_from("192.0.2.1", "ada", PASSWORD).await.status, StatusCode::UNAUTHORIZED);
    for _ in 0..2 {
        assert_eq!(harness.get(&session, "/api/v1/session").await.status, StatusCode::UNAUTHORIZED);
        assert_eq!(harness.with_token(&token, "/api/v1/agents").await.status, StatusCode::UNAUTHORIZED);
        set_standing(store, &name, Standing::Enabled).await.unwrap();
    }
    assert_eq!(harness.sign_in(link.token.expose()).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(harness.try_from("192.0.2.1", "ada", PASSWORD).await.status, StatusCode::SEE_OTHER, "its password is still its password");
}

#[tokio::test]
async fn who_guesses_is_slowed_down_and_nobody_else_is() {
    let harness = Harness::new();
    harness.account_with_password("ada", Role::Viewer).await;
    harness.account_with_password("bob", Role::Viewer).await;
    let agent = harness.agent("web-01").await;
    // Ten tries are an account's, whatever addresses they come from.
    for number in 0..10 {
        let wrong = harness.try_from(&format!("198.51.100.{number}"), "ada", "wrong horse battery").await;
        assert_eq!(wrong.status, StatusCode::UNAUTHORIZED, "{number}");
    }
    for password in ["wrong horse battery", PASSWORD] {
        let limited = harness.try_from("198.51.100.99", "Ada", password).await;
        assert_eq!(limited.status, StatusCode::TOO_MANY_REQUESTS, "{limited:?}");
        let seconds: u64 = limited.headers[header::RETRY_AFTER].to_str().unwrap().parse().unwrap();
        assert!((1..=60).contains(&seconds), "{seconds}");
        assert!(limited.text().contains("Too many tries") && !limited.headers.contains_key(header::SET_COOKIE));
    }
    assert_eq!(harness.try_from("198.51.100.99", "bob", PASSWORD).await.status, StatusCode::SEE_OTHER);
    let link = issue_sign_in_link(harness.app.fleet.store(), "ada".parse().unwrap(), None).await.unwrap();
    assert_eq!(harness.sign_in(link.token.expose()).await.status, StatusCode::SEE_OTHER, "a link always opens");
    // Thirty tries are an address's, whatever names they are for, also names that are none.
    for number in 0..30 {
        harness.try_from("203.0.113.7", &format!("name-{number}"), "x").await;
    }
    for name in ["bob", "nobody"] {
        assert_eq!(harness.try_from("203.0.113.7", name, PASSWORD).await.status, StatusCode::TOO_MANY_REQUESTS);
    }
    assert_eq!(harness.try_from("203.0.113.8", "bob", PASSWORD).await.status, StatusCode::SEE_OTHER);
    let taken = harness.report(&agent, &report(1, &[scope("apt", &[offer("bash", "1-1", "1-2", "low")])])).await;
    assert_eq!(taken.status, StatusCode::OK, "agents are not concerned: {taken:?}");
}

/// On a busy machine only the order can be measured: without the work, the answer would come two hundred times as fast.
#[tokio::test]
async fn a_name_that_is_none_costs_the_same_work_as_one_that_is() {
    let harness = Harness::new();
    let disabled = harness.account_with_password("off", Role::Viewer).await;
    set_standing(harness.app.fleet.store(), &disabled, Standing::Disabled).await.unwrap();
    add_account(harness.app.fleet.store(), "bare".parse().unwrap(), Role::Viewer).await.unwrap();
    harness.account_with_password("ada", Role::Viewer).await;
    let mut fastest = Vec::new();
    for name in ["ada", "nobody", "off", "bare", "no name at all"] {
        let mut took = Duration::MAX;
        for number in 0..5 {
            let begun = Instant::now();
            let wrong = harness.try_from(&format!("198.51.100.{number}"), name, "wrong horse battery").await;
            took = took.min(begun.elapsed());
            assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
        }
        fastest.push((name, took));
    }
    let known = fastest[0].1;
    assert!(fastest.iter().all(|(_, took)| *took * 20 > known), "{fastest:?}");
}

/// Who, by what and from where; and a try that is not even looked at is a try.
#[tokio::test]
async fn sign_ins_and_refused_ones_stand_in_the_audit_log() {
    let harness = Harness::new();
    let newest = async || {
        let entry = harness.app.audit.entries(1..=u64::MAX).await.unwrap().pop().unwrap().entry;
        let fact = |name| entry.facts.get(&name).map_or("", |text| text.as_str()).to_owned();
        (entry.kind, entry.by.to_string(), fact(FactName::Action), fact(FactName::Address), fact(FactName::Count))
    };
    let signed_in = |by: &str, address: &str| (AuditKind::SignedIn, "ada".to_owned(), by.to_owned(), address.to_owned(), String::new());
    let name = harness.account_with_password("ada", Role::Viewer).await;
    let link = issue_sign_in_link(harness.app.fleet.store(), name, None).await.unwrap();
    assert_eq!(harness.sign_in(link.token.expose()).await.status, StatusCode::SEE_OTHER);
    assert_eq!(newest().await, signed_in("link", "0.0.0.0"), "without a connection there is no address");
    let right = harness.try_from("192.0.2.1", "ada", PASSWORD).await;
    assert_eq!(newest().await, signed_in("password", "192.0.2.1"));

    let session = harness.session_of(&right).await;
    for _ in 0..10 {
        let body = json!({"current": "wrong horse battery", "new": "another horse battery"});
        assert_eq!(harness.post(&session, "/api/v1/account/password", &body).await.problem(), (403, "wrong_password".to_owned()));
    }
    assert_eq!(newest().await.0, AuditKind::SignedIn, "nothing was signed in or refused meanwhile");
    assert_eq!(harness.try_from("192.0.2.1", "ada", PASSWORD).await.status, StatusCode::TOO_MANY_REQUESTS);
    let refused = (AuditKind::SignInRefused, "a stranger".to_owned(), String::new(), String::new(), "1".to_owned());
    assert_eq!(newest().await, refused);
}

#[tokio::test]
async fn one_session_too_many_ends_the_oldest() {
    let harness = Harness::new();
    let mut sessions = Vec::new();
    for _ in 0..SESSIONS_MAX {
        sessions.push(harness.operator(Role::Viewer).await);
    }
    assert_eq!(harness.get(&sessions[0], "/api/v1/account").await.json()["sessions"], SESSIONS_MAX);
    let another = harness.operator(Role::Viewer).await;
    assert_eq!(harness.get(&sessions[0], "/api/v1/session").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(harness.get(&sessions[1], "/api/v1/session").await.status, StatusCode::OK);
    let others = harness.operator(Role::Admin).await;
    let ended = harness.delete(&another, "/api/v1/account/sessions").await;
    assert_eq!(ended.json()["ended"], SESSIONS_MAX);
    assert_eq!(harness.get(&another, "/api/v1/session").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(harness.get(&others, "/api/v1/session").await.status, StatusCode::OK, "other accounts are not concerned");
    let newest = harness.app.audit.entries(1..=u64::MAX).await.unwrap().pop().unwrap().entry;
    assert_eq!((newest.kind, newest.facts[&FactName::Count].as_str()), (AuditKind::SignedOut, SESSIONS_MAX.to_string().as_str()));
}

/// As if the only session there is had been used last so long ago.
async fn last_used(harness: &Harness, ago: Duration) {
    let store = harness.app.fleet.store();
    let (key, record) = store.list("account-sessions", None, 2).await.unwrap().pop().unwrap();
    let mut session: Value = serde_json::from_str(&record.value).unwrap();
    session["used_at"] = json!(harness.app.now().saturating_sub(ago));
    store.put("account-sessions", &key, &session.to_string(), Expected::Revision(record.revision)).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_session_that_nobody_uses_ends() {
    let harness = Harness::new();
    let beside = Harness::over(harness.app.fleet.clone());
    a_session_is_used_at_any_server(&harness, &beside).await;
}

/// Two servers over one database: a use at either is a use, and a session ends at both.
pub(crate) async fn a_session_is_used_at_any_server(one: &Harness, other: &Harness) {
    const MINUTE: Duration = Duration::from_secs(60);
    let session = one.operator(Role::Viewer).await;
    for (here, there) in [(one, other), (other, one)] {
        last_used(one, SESSION_IDLE_MAX - MINUTE).await;
        assert_eq!(here.get(&session, "/api/v1/session").await.status, StatusCode::OK, "a minute is left");
        let records = there.app.fleet.store().list("account-sessions", None, 2).await.unwrap();
        let noted: Value = serde_json::from_str(&records[0].1.value).unwrap();
        assert!(noted["used_at"].as_str().unwrap() > there.app.now().saturating_sub(MINUTE).to_string().as_str(), "{noted}");
        assert_eq!(there.get(&session, "/").await.status, StatusCode::OK);
    }
    last_used(one, SESSION_IDLE_MAX).await;
    for server in [one, other] {
        assert_eq!(server.get(&session, "/api/v1/session").await.problem(), (401, "unauthorized".to_owned()));
        let page = server.get(&session, "/").await;
        assert_eq!((page.status, page.headers[header::LOCATION].as_bytes()), (StatusCode::SEE_OTHER, b"/sign-in".as_slice()));
    }
    let again = other.operator(Role::Viewer).await;
    assert_eq!(one.get(&again, "/api/v1/account").await.json()["sessions"], 1, "what has ended counts no more");
}

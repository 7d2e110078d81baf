//! Accounts and API tokens, as administrators and their owners see them.

use crate::support::{Answer, Harness, offer};
use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};
use redflag_core::names::Text;
use redflag_server::{
    Role, Scope,
    access::{API_TOKENS_MAX, AccountError, ApiTokenOptions, issue_api_token, issue_sign_in_link},
};
use serde_json::{Value, json};
use std::time::Duration;

impl Harness {
    /// A GET with an API token.
    pub(crate) async fn with_token(&self, token: &str, path: &str) -> Answer {
        let request = Request::get(path).header(header::AUTHORIZATION, format!("Bearer {token}"));
        self.send(request.body(Body::empty()).unwrap()).await
    }

    async fn post_with_token(&self, token: &str, path: &str, body: &Value) -> Answer {
        let request =
            Request::post(path).header(header::AUTHORIZATION, format!("bearer {token}")).header(header::CONTENT_TYPE, "application/json");
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }
}

#[tokio::test]
async fn administrators_make_accounts_change_their_roles_and_disable_them() {
    let harness = Harness::new();
    let admin = harness.operator(Role::Admin).await;
    let made = harness.post(&admin, "/api/v1/accounts", &json!({"name": "Bea", "role": "viewer"})).await;
    assert_eq!((made.status, &made.json()["has_password"]), (StatusCode::CREATED, &json!(false)), "{made:?}");
    for (body, expected) in [
        (json!({"name": "bEA", "role": "admin"}), (409, "account_exists")),
        (json!({"name": "a b", "role": "admin"}), (400, "bad_envelope")),
        (json!({"name": "", "role": "admin"}), (400, "bad_envelope")),
        (json!({"name": "c", "role": "root"}), (400, "bad_envelope")),
        (json!({"name": "c", "role": "viewer", "password": "x"}), (400, "bad_envelope")),
    ] {
        let (status, code) = harness.post(&admin, "/api/v1/accounts", &body).await.problem();
        assert_eq!((status, code.as_str()), expected, "{body}");
    }
    let link = harness.post(&admin, "/api/v1/accounts/bea/sign-in-link", &json!({})).await;
    assert_eq!(link.status, StatusCode::CREATED, "{link:?}");
    let url = link.json()["url"].as_str().unwrap().to_owned();
    let signed_in = harness.sign_in(url.split_once("token=").unwrap().1).await;
    let cookie = signed_in.headers[header::SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
    let bea = crate::support::Session { cookie, csrf: String::new() };
    assert_eq!(harness.get(&bea, "/api/v1/account").await.json()["role"], "viewer");

    let changed = harness.post(&admin, "/api/v1/accounts/bea/role", &json!({"role": "approver"})).await;
    assert_eq!((&changed.json()["name"], &changed.json()["role"]), (&json!("Bea"), &json!("approver")));
    assert_eq!(harness.get(&bea, "/api/v1/session").await.status, StatusCode::UNAUTHORIZED, "another role ends every session");
    let disabled = harness.post(&admin, "/api/v1/accounts/bea/disable", &json!({})).await;
    assert_eq!(disabled.json()["disabled"], true);
    let link = harness.post(&admin, "/api/v1/accounts/bea/sign-in-link", &json!({})).await;
    assert_eq!(link.problem(), (409, "account_disabled".to_owned()));
    assert_eq!(harness.post(&admin, "/api/v1/accounts/bea/enable", &json!({})).await.json()["disabled"], false);

    for path in ["role", "disable", "enable"] {
        let own = harness.post(&admin, &format!("/api/v1/accounts/ADA/{path}"), &json!({"role": "viewer"})).await;
        assert_eq!(own.problem(), (409, "own_account".to_owned()), "one administrator is always left");
    }
    for path in ["role", "disable", "enable", "sign-in-link"] {
        let unknown = harness.post(&admin, &format!("/api/v1/accounts/eve/{path}"), &json!({"role": "viewer"})).await;
        assert_eq!(unknown.problem(), (404, "not_found".to_owned()), "{path}");
    }
    assert_eq!(harness.get(&admin, "/api/v1/accounts/eve").await.problem(), (404, "not_found".to_owned()));
    let names: Vec<Value> =
        harness.get(&admin, "/api/v1/accounts").await.json()["accounts"].as_array().unwrap().iter().map(|a| a["name"].clone()).collect();
    assert_eq!(names, ["Ada", "Bea"]);
}

#[tokio::test]
async fn a_link_never_changes_the_role_of_an_account() {
    let harness = Harness::new();
    let store = harness.app.fleet.store();
    issue_sign_in_link(store, "ada".parse().unwrap(), Some(Role::Viewer)).await.unwrap();
    let other = issue_sign_in_link(store, "Ada".parse().unwrap(), Some(Role::Admin)).await.unwrap_err();
    assert!(matches!(other, AccountError::OtherRole { role: Role::Viewer, .. }), "{other}");
    let link = issue_sign_in_link(store, "ada".parse().unwrap(), None).await.unwrap();
    let answer = harness.sign_in(link.token.expose()).await;
    let cookie = answer.headers[header::SET_COOKIE].to_str().unwrap().split(';').next().unwrap();
    let page = harness.send(Request::get("/api/v1/session").header(header::COOKIE, cookie).body(Body::empty()).unwrap()).await;
    assert_eq!(page.json()["role"], "viewer");
}

#[tokio::test]
async fn a_token_does_what_its_scopes_and_its_accounts_role_both_allow() {
    a_token_does_what_it_may(Harness::new()).await;
}

pub(crate) async fn a_token_does_what_it_may(harness: Harness) {
    let agent = harness.agent("web-01").await;
    harness.reported(&agent, 1, "apt", &[offer("bash", "1-1", "1-2", "low")]).await;
    let approver = harness.operator(Role::Approver).await;
    let body = json!({"label": "deploy", "scopes": ["read", "decide", "administer"], "expires_in_days": 30});
    let made = harness.post(&approver, "/api/v1/account/tokens", &body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    let token = made.json()["token"].as_str().unwrap().to_owned();
    assert!(token.starts_with("redflag_") && token.len() == 8 + 43, "{token}");
    let listed = harness.get(&approver, "/api/v1/account").await.json()["tokens"][0].clone();
    assert_eq!((&listed["label"], &listed["last_used_at"], &listed["id"]), (&json!("deploy"), &Value::Null, &made.json()["listed"]["id"]));
    assert!(!harness.get(&approver, "/api/v1/account").await.text().contains(&token));

    let update = harness.with_token(&token, "/api/v1/updates").await.json()["updates"][0].clone();
    let used = harness.get(&approver, "/api/v1/account").await.json()["tokens"][0]["last_used_at"].clone();
    assert!(used.is_string());
    let path = format!("/api/v1/updates/{}/approve", update["id"].as_str().unwrap());
    let approved = harness.post_with_token(&token, &path, &json!({"offer_digest": update["offer_digest"]})).await;
    assert_eq!(approved.status, StatusCode::OK, "no CSRF token is needed: {approved:?}");
    assert_eq!(harness.with_token(&token, "/api/v1/accounts").await.problem(), (403, "role".to_owned()));
    let halt = harness.post_with_token(&token, "/api/v1/halt", &json!({"reason": "x"})).await;
    assert_eq!(halt.problem(), (403, "scope".to_owned()));
    let another = harness.post_with_token(&token, "/api/v1/account/tokens", &body).await;
    assert_eq!(another.problem(), (403, "scope".to_owned()), "a token makes no tokens");
    assert_eq!(harness.get(&approver, "/api/v1/account").await.json()["tokens"][0]["last_used_at"], used, "noted to the hour");

    let viewer = harness.operator(Role::Viewer).await;
    let id = listed["id"].as_str().unwrap();
    let foreign = harness.delete(&viewer, &format!("/api/v1/account/tokens/{id}")).await;
    assert_eq!(foreign.problem(), (404, "not_found".to_owned()), "another's token is not there");
    for wrong in [&id[..15], "0000000000000000", "zzzzzzzzzzzzzzzz", ""] {
        let unknown = harness.delete(&approver, &format!("/api/v1/account/tokens/{wrong}")).await;
        assert_eq!(unknown.status, StatusCode::NOT_FOUND, "{wrong}");
    }
    assert_eq!(harness.delete(&approver, &format!("/api/v1/account/tokens/{id}")).await.status, StatusCode::OK);
    assert_eq!(harness.with_token(&token, "/api/v1/agents").await.problem(), (401, "unauthorized".to_owned()));
}

#[tokio::test]
async fn what_a_token_may_be_has_limits() {
    let harness = Harness::new();
    let session = harness.operator(Role::Viewer).await;
    let with = |name: &str, value: Value| {
        let mut body = json!({"label": "x", "scopes": ["read"], "expires_in_days": 366});
        body[name] = value;
        body
    };
    for (body, code) in [
        (with("expires_in_days", json!(0)), "bad_parameter"),
        (with("expires_in_days", json!(367)), "bad_parameter"),
        (with("scopes", json!([])), "bad_parameter"),
        (with("scopes", json!(["root"])), "bad_envelope"),
        (with("label", json!("")), "bad_envelope"),
        (with("account", json!("ada")), "bad_envelope"),
    ] {
        assert_eq!(harness.post(&session, "/api/v1/account/tokens", &body).await.problem(), (400, code.to_owned()), "{body}");
    }
    for number in 0..API_TOKENS_MAX {
        let made = harness.post(&session, "/api/v1/account/tokens", &with("label", json!(number.to_string()))).await;
        assert_eq!(made.status, StatusCode::CREATED, "{number}");
    }
    let over = harness.post(&session, "/api/v1/account/tokens", &with("label", json!("over"))).await;
    assert_eq!(over.problem(), (409, "too_many_tokens".to_owned()));
    let store = harness.app.fleet.store();
    let keys = store.list("api-tokens", None, 100).await.unwrap();
    assert!(keys.iter().all(|(key, record)| key.len() == 64 && !record.value.contains("redflag_")), "only digests are stored");
}

#[tokio::test]
async fn a_tokens_life_is_at_most_a_year_whoever_makes_it() {
    let harness = Harness::new();
    let account = harness.account(Role::Viewer).await;
    let options = ApiTokenOptions {
        account,
        label: Text::lossy("for ever"),
        scopes: [Scope::Read].into(),
        expires_in: Duration::from_secs(10 * 366 * 86_400),
    };
    let made = issue_api_token(harness.app.fleet.store(), options).await.unwrap();
    assert_eq!(made.listed.expires_at.since(made.listed.created_at), Duration::from_secs(366 * 86_400));
    assert!(!format!("{made:?}").contains(&made.expose()[8..]), "the token stays out of logs");
}

#[tokio::test]
async fn administrators_revoke_the_tokens_of_others() {
    let harness = Harness::new();
    let admin = harness.operator(Role::Admin).await;
    let token = harness.api_token(Role::Viewer, &[Scope::Read]).await;
    let detail = harness.get(&admin, "/api/v1/accounts/vera").await.json();
    let id = detail["tokens"][0]["id"].as_str().unwrap();
    let of_another = harness.delete(&admin, &format!("/api/v1/accounts/ada/tokens/{id}")).await;
    assert_eq!(of_another.problem(), (404, "not_found".to_owned()));
    assert_eq!(harness.delete(&admin, &format!("/api/v1/accounts/vera/tokens/{id}")).await.status, StatusCode::OK);
    assert_eq!(harness.with_token(&token, "/api/v1/agents").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn an_enrolment_token_can_be_had_by_the_api() {
    let harness = Harness::new();
    let token = harness.api_token(Role::Admin, &[Scope::Enrol]).await;
    for wrong in [
        json!({"seats": 0, "expires_in_hours": 1}),
        json!({"seats": 2001, "expires_in_hours": 1}),
        json!({"seats": 1, "expires_in_hours": 0}),
    ] {
        let answer = harness.post_with_token(&token, "/api/v1/enrolment-tokens", &wrong).await;
        assert_eq!(answer.problem(), (400, "bad_parameter".to_owned()), "{wrong}");
    }
    let made = harness.post_with_token(&token, "/api/v1/enrolment-tokens", &json!({"seats": 1, "expires_in_hours": 1})).await;
    let enrolled = harness.enrol(made.json()["token"].as_str().unwrap(), &crate::support::TestAgent::new(), "web-01").await;
    assert_eq!(enrolled.status, StatusCode::CREATED, "{enrolled:?}");
}

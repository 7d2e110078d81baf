//! Signing in by a code too: how a second factor is set up, asked for, demanded and taken away.
//!
//! A code is good for its own half minute and its neighbours, and taken once. So a test has two of the app, that of its beginning and the
//! one after, and its recovery codes, and never waits.

use crate::{
    process::output,
    sign_ins::PASSWORD,
    support::{Answer, Harness, Session},
};
use axum::http::{StatusCode, header};
use redflag_core::{
    Fleet, MemoryStore,
    audit::{AuditKind, FactName},
    time::Timestamp,
};
use redflag_server::{
    AccountName, Role, Scope, Settings,
    access::{FactorSecret, RECOVERY_CODES, issue_sign_in_link},
    clock,
};
use redflag_store_sqlite::{Options, SqliteStore};
use serde_json::{Value, json};
use std::time::Duration;

const STEP: Duration = Duration::from_secs(30);
const FACTOR: &str = "/api/v1/account/second-factor";

/// Somebody with a password and a second factor.
struct Ada {
    harness: Harness,
    name: AccountName,
    secret: FactorSecret,
    began: Timestamp,
    recovery: Vec<String>,
    session: Session,
}

impl Ada {
    async fn new(role: Role) -> Self {
        Self::with(Harness::new(), role).await
    }

    async fn with(harness: Harness, role: Role) -> Self {
        let name = harness.account_with_password("ada", role).await;
        let signed_in = harness.post_sign_in("192.0.2.1", form("ada", PASSWORD, "")).await;
        let session = harness.session_of(&signed_in).await;
        let offered = harness.get(&session, FACTOR).await.json();
        let (secret, began) = (FactorSecret::parse(offered["secret"].as_str().unwrap()).unwrap(), clock::now());
        let body = json!({"current": PASSWORD, "secret": secret.base32(), "code": secret.code(began)});
        let set = harness.post(&session, FACTOR, &body).await;
        let session = harness.session_of(&set).await;
        let recovery = set.json()["recovery_codes"].as_array().unwrap().iter().map(|code| code.as_str().unwrap().to_owned()).collect();
        Self { harness, name, secret, began, recovery, session }
    }

    /// The code after that of the beginning.
    fn next_code(&self) -> String {
        self.secret.code(self.began.saturating_add(STEP))
    }

    async fn tries(&self, password: &str, code: &str) -> Answer {
        self.harness.post_sign_in("192.0.2.1", form("ada", password, code)).await
    }

    async fn link(&self) -> String {
        issue_sign_in_link(self.harness.app.fleet.store(), self.name.clone(), None).await.unwrap().token.expose().to_owned()
    }

    async fn opens(&self, link: &str, code: &str) -> Answer {
        self.harness.post_sign_in("192.0.2.1", format!("token={link}&code={code}")).await
    }
}

fn form(name: &str, password: &str, code: &str) -> String {
    format!("name={name}&password={}&code={code}", password.replace(' ', "+"))
}

/// A code that holds neither now nor before nor after.
fn wrong_code(secret: &FactorSecret) -> String {
    let near: Vec<_> =
        (-3..=3_i64).map(|steps| secret.code(Timestamp::from_micros(clock::now().as_micros() + steps * 30_000_000).unwrap())).collect();
    (0..).map(|number| format!("{number:06}")).find(|code| !near.contains(code)).unwrap()
}

#[tokio::test]
async fn it_is_set_up_with_the_password_and_a_first_code_and_ends_what_was_before() {
    let harness = Harness::new();
    let name = harness.account_with_password("ada", Role::Approver).await;
    let signed_in = harness.post_sign_in("192.0.2.1", form("ada", PASSWORD, "")).await;
    let session = harness.session_of(&signed_in).await;
    let token = harness.api_token_of(&name, &[Scope::Read]).await;
    let (offered, another) = (harness.get(&session, FACTOR).await.json(), harness.get(&session, FACTOR).await.json());
    assert_ne!(offered["secret"], another["secret"], "nothing is kept of what was offered");
    let secret = FactorSecret::parse(offered["secret"].as_str().unwrap()).unwrap();
    assert_eq!(offered["uri"], secret.uri(&name));

    let body = |current: &str, code: &str| json!({"current": current, "secret": secret.base32(), "code": code});
    let code = secret.code(clock::now());
    for (current, code, problem) in
        [("", &code, "wrong_password"), ("wrong horse battery", &code, "wrong_password"), (PASSWORD, &wrong_code(&secret), "wrong_code")]
    {
        assert_eq!(harness.post(&session, FACTOR, &body(current, code)).await.problem(), (403, problem.to_owned()), "{current} {code}");
    }
    let weak = json!({"current": PASSWORD, "secret": "AAAA", "code": code});
    assert_eq!(harness.post(&session, FACTOR, &weak).await.problem(), (400, "bad_parameter".to_owned()));
    let by_token = harness.with_token(&token, FACTOR).await;
    assert_eq!(by_token.problem(), (403, "scope".to_owned()), "no API token changes how its account signs in");

    let set = harness.post(&session, FACTOR, &body(PASSWORD, &secret.code(clock::now()))).await;
    assert_eq!((set.status, set.json()["recovery_codes"].as_array().unwrap().len()), (StatusCode::OK, RECOVERY_CODES));
    assert_eq!(harness.get(&session, "/api/v1/session").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(harness.with_token(&token, "/api/v1/agents").await.status, StatusCode::UNAUTHORIZED);
    let now = harness.session_of(&set).await;
    assert_eq!(harness.get(&now, "/api/v1/account").await.json()["has_second_factor"], true);
    let again = harness.post(&now, FACTOR, &body(PASSWORD, &secret.code(clock::now()))).await;
    assert_eq!(again.problem(), (409, "second_factor_set".to_owned()));
}

#[tokio::test]
async fn signing_in_takes_a_code_of_the_app_or_a_recovery_code_each_once() {
    let ada = Ada::new(Role::Approver).await;
    let refused = async |password: &str, code: &str| {
        let answer = ada.tries(password, code).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{code}: {answer:?}");
        assert!(!answer.headers.contains_key(header::SET_COOKIE));
        answer.text()
    };
    let wrong = wrong_code(&ada.secret);
    let (of_code, of_password) = (refused(PASSWORD, &wrong).await, refused("wrong horse battery", &ada.recovery[0]).await);
    assert_eq!(of_code, of_password, "who guesses is not told what was right");
    refused(PASSWORD, "").await;
    refused(PASSWORD, &ada.secret.code(ada.began)).await;

    let code = ada.next_code();
    assert_eq!(ada.tries(PASSWORD, &code).await.status, StatusCode::SEE_OTHER);
    refused(PASSWORD, &code).await;
    assert_eq!(ada.tries(PASSWORD, &ada.recovery[0].to_lowercase()).await.status, StatusCode::SEE_OTHER, "spared by a wrong password");
    refused(PASSWORD, &ada.recovery[0]).await;
    assert_eq!(ada.tries(PASSWORD, &ada.recovery[1]).await.status, StatusCode::SEE_OTHER);

    let actions = ada.signed_in_by().await;
    assert_eq!(actions, ["password", "password and code", "password and recovery code", "password and recovery code"]);
}

impl Ada {
    /// By what somebody signed in, as the audit log has it.
    async fn signed_in_by(&self) -> Vec<String> {
        let entries = self.harness.app.audit.entries(1..=100).await.unwrap();
        let signed_in = entries.iter().map(|link| &link.entry).filter(|entry| entry.kind == AuditKind::SignedIn);
        signed_in.map(|entry| entry.facts[&FactName::Action].to_string()).collect()
    }

    /// How many entries of a kind there are.
    async fn kinds(&self, kind: AuditKind) -> usize {
        let entries = self.harness.app.audit.entries(1..=100).await.unwrap();
        entries.iter().filter(|link| link.entry.kind == kind).count()
    }
}

#[tokio::test]
async fn a_link_asks_for_a_code_too_and_waits_for_one_that_holds() {
    let ada = Ada::new(Role::Viewer).await;
    let link = ada.link().await;
    for (code, status) in [("", StatusCode::OK), (&wrong_code(&ada.secret), StatusCode::UNAUTHORIZED)] {
        let answer = ada.opens(&link, code).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(!answer.headers.contains_key(header::SET_COOKIE));
        assert!(answer.text().contains(&format!("value=\"{link}\"")), "the link is still there to be used: {answer:?}");
        assert_eq!(answer.text().contains("The code is wrong"), !code.is_empty());
    }
    for _ in 0..20 {
        assert_eq!(ada.opens(&link, "").await.status, StatusCode::OK, "asking what is wanted is no try");
    }
    assert_eq!(ada.kinds(AuditKind::SignInRefused).await, 1, "and nobody was refused by it");
    assert_eq!(ada.opens(&link, &ada.next_code()).await.status, StatusCode::SEE_OTHER);
    assert!(ada.opens(&link, &ada.recovery[0]).await.text().contains("cannot be used any more"));
    let another = ada.link().await;
    assert_eq!(ada.opens(&another, &ada.recovery[0]).await.status, StatusCode::SEE_OTHER, "a link that was used cost no code");
    assert_eq!(ada.signed_in_by().await, ["password", "link and code", "link and recovery code"]);
}

#[tokio::test]
async fn who_guesses_at_codes_is_slowed_down() {
    let ada = Ada::new(Role::Viewer).await;
    let wrong = wrong_code(&ada.secret);
    for number in 0..10 {
        let answer = ada.harness.post_sign_in(&format!("198.51.100.{number}"), form("ada", PASSWORD, &wrong)).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{number}: knowing the password does not take the tries back");
    }
    assert_eq!(ada.tries(PASSWORD, &ada.recovery[0]).await.status, StatusCode::TOO_MANY_REQUESTS);
    let link = ada.link().await;
    assert_eq!(ada.opens(&link, &ada.recovery[0]).await.status, StatusCode::SEE_OTHER, "a link is still a way in");
    let link = ada.link().await;
    for number in 0..10 {
        let answer = ada.harness.post_sign_in(&format!("198.51.100.{number}"), format!("token={link}&code={wrong}")).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{number}");
    }
    let limited = ada.opens(&link, &ada.recovery[1]).await;
    assert_eq!(limited.status, StatusCode::TOO_MANY_REQUESTS, "{limited:?}");
    assert!(limited.headers.contains_key(header::RETRY_AFTER));
}

#[tokio::test]
async fn it_is_removed_by_a_code_of_it_or_by_another_administrator() {
    let ada = Ada::new(Role::Admin).await;
    let (harness, remove) = (&ada.harness, format!("{FACTOR}/remove"));
    let wrong = harness.post(&ada.session, &remove, &json!({"code": wrong_code(&ada.secret)})).await;
    assert_eq!(wrong.problem(), (403, "wrong_code".to_owned()), "whoever finds an open browser cannot take it away");
    let own = harness.delete(&ada.session, "/api/v1/accounts/ada/second-factor").await;
    assert_eq!(own.problem(), (409, "own_account".to_owned()));
    let removed = harness.post(&ada.session, &remove, &json!({"code": ada.recovery[3]})).await;
    assert_eq!(removed.status, StatusCode::NO_CONTENT, "{removed:?}");
    assert_eq!(ada.tries(PASSWORD, "").await.status, StatusCode::SEE_OTHER);
    let now = harness.session_of(&removed).await;
    assert_eq!(harness.post(&now, &remove, &json!({"code": ada.recovery[4]})).await.problem(), (409, "no_second_factor".to_owned()));

    let other = Ada::new(Role::Approver).await;
    let admin = other.harness.operator(Role::Admin).await;
    let view = other.harness.delete(&admin, "/api/v1/accounts/ada/second-factor").await.json();
    assert_eq!(view["has_second_factor"], false);
    assert_eq!(other.harness.get(&other.session, "/api/v1/session").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(other.tries(PASSWORD, "").await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn the_command_line_shows_who_has_one_and_takes_it_away() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("fleet.db");
    let store = SqliteStore::open(&database, Options::default()).unwrap();
    let ada = Ada::with(Harness::over(Fleet::new(store)), Role::Viewer).await;
    let (code, listed, _) = output(&database, &["account", "list"]).await;
    assert!(code == 0 && listed.contains("has a password, and a second factor"), "{listed}");
    let (code, removed, error) = output(&database, &["account", "remove-second-factor", "ada", "--json"]).await;
    assert_eq!((code, serde_json::from_str::<Value>(&removed).unwrap()["has_second_factor"].clone()), (0, json!(false)), "{error}");
    assert_eq!(ada.tries(PASSWORD, "").await.status, StatusCode::SEE_OTHER);
    let entries = ada.harness.app.audit.entries(1..=100).await.unwrap();
    let kinds: Vec<_> = entries.iter().map(|link| link.entry.kind).collect();
    assert!(kinds.contains(&AuditKind::SecondFactorSet) && kinds.contains(&AuditKind::SecondFactorRemoved), "{kinds:?}");
}

#[tokio::test]
async fn where_everybody_needs_one_who_has_none_gets_no_further_than_to_setting_it_up() {
    let settings = Settings { second_factor_required: true, ..Settings::default() };
    let harness = Harness::with(Fleet::new(MemoryStore::default()), settings);
    let name = harness.account_with_password("ada", Role::Admin).await;
    let signed_in = harness.post_sign_in("192.0.2.1", form("ada", PASSWORD, "")).await;
    let session = harness.session_of(&signed_in).await;
    for path in ["/api/v1/updates", "/api/v1/accounts", "/api/v1/keys"] {
        assert_eq!(harness.get(&session, path).await.problem(), (403, "second_factor_needed".to_owned()), "{path}");
    }
    for path in ["/", "/users", "/keys"] {
        let answer = harness.get(&session, path).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{path}: {answer:?}");
        assert_eq!(answer.headers[header::LOCATION], "/account/second-factor", "{path}");
    }
    let token = json!({"label": "a way around", "scopes": ["read"], "expires_in_days": 1});
    assert_eq!(harness.post(&session, "/api/v1/account/tokens", &token).await.problem(), (403, "second_factor_needed".to_owned()));
    for path in ["/account", "/account/second-factor", "/api/v1/session", "/api/v1/account"] {
        assert_eq!(harness.get(&session, path).await.status, StatusCode::OK, "{path}");
    }
    let machine = harness.api_token_of(&name, &[Scope::Read]).await;
    assert_eq!(harness.with_token(&machine, "/api/v1/updates").await.status, StatusCode::OK, "machines have no app");

    let offered: Value = harness.get(&session, FACTOR).await.json();
    let secret = FactorSecret::parse(offered["secret"].as_str().unwrap()).unwrap();
    let body = json!({"current": PASSWORD, "secret": secret.base32(), "code": secret.code(clock::now())});
    let set = harness.post(&session, FACTOR, &body).await;
    let session = harness.session_of(&set).await;
    assert_eq!(harness.get(&session, "/api/v1/updates").await.status, StatusCode::OK);
}

//! No secret gets into the log, however much is logged: of a run with sign-ins, tokens, enrolment and reports, at the finest level.

use crate::{
    process::{client_that_follows_nothing, deliver, enrol, output},
    support::{TestAgent, offer, report, scope},
};
use redflag_core::Fleet;
use redflag_server::{
    access::{FactorSecret, Password, Passwords, set_password},
    clock,
};
use redflag_store_sqlite::{Options, SqliteStore};
use serde_json::{Value, json};
use std::{path::Path, process::Stdio};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    process::Command,
};

const PASSWORD: &str = "correct horse battery";
const WRONG: &str = "mistyped horse battery";
const NEW: &str = "another horse battery";

/// What an operator's program does, and every secret it held.
async fn play(url: &str, database: &Path, secrets: &mut Vec<String>) {
    let client = client_that_follows_nothing();
    let form = |fields: &[(&str, &str)]| {
        let pairs: Vec<_> = fields.iter().map(|(name, value)| format!("{name}={}", value.replace(' ', "+"))).collect();
        let request = client.post(format!("{url}/sign-in")).header("sec-fetch-site", "same-origin");
        request.header("content-type", "application/x-www-form-urlencoded").body(pairs.join("&")).send()
    };
    let cookie = |answer: &reqwest::Response| {
        answer.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().split_once('=').unwrap().1.to_owned()
    };
    let (code, link, _) = output(database, &["sign-in-link", "--name", "ada"]).await;
    assert_eq!(code, 0);
    let token = link.trim().split_once("token=").unwrap().1.to_owned();
    assert_eq!(client.get(link.trim()).send().await.unwrap().status(), 200);
    let signed_in = form(&[("token", &token)]).await.unwrap();
    secrets.extend([token, cookie(&signed_in)]);

    let store = SqliteStore::open(database, Options::default()).unwrap();
    let fleet = Fleet::new(store);
    let ada = "ada".parse().unwrap();
    let hash = Passwords::default().hash(Password::parse(&ada, PASSWORD).unwrap()).await.unwrap();
    set_password(fleet.store(), &ada, &hash).await.unwrap();
    assert_eq!(form(&[("name", "ada"), ("password", WRONG)]).await.unwrap().status(), 401);
    let signed_in = form(&[("name", "ada"), ("password", PASSWORD)]).await.unwrap();
    let session = cookie(&signed_in);
    let headed = |request: reqwest::RequestBuilder| {
        request.header("cookie", format!("redflag_session={session}")).header("sec-fetch-site", "same-origin")
    };
    let shown: Value = headed(client.get(format!("{url}/api/v1/session"))).send().await.unwrap().json().await.unwrap();
    let csrf = shown["csrf"].as_str().unwrap().to_owned();
    let post = |path: &str, body: Value| headed(client.post(format!("{url}{path}"))).header("x-csrf-token", &csrf).json(&body).send();
    let made: Value = post("/api/v1/account/tokens", json!({"label": "x", "scopes": ["read", "enrol"], "expires_in_days": 1}))
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let api_token = made["token"].as_str().unwrap().to_owned();
    let listed = client.get(format!("{url}/api/v1/agents")).bearer_auth(&api_token).send().await.unwrap();
    assert_eq!(listed.status(), 200);
    let enrolment = client.post(format!("{url}/api/v1/enrolment-tokens")).bearer_auth(&api_token);
    let enrolment: Value = enrolment.json(&json!({"seats": 1, "expires_in_hours": 1})).send().await.unwrap().json().await.unwrap();
    let seat = enrolment["token"].as_str().unwrap().to_owned();
    let agent = TestAgent::new();
    enrol(&client, url, &seat, &agent).await;
    deliver(&client, url, &agent, &report(1, &[scope("apt", &[offer("bash", "1-1", "1-2", "low")])]).to_string()).await.unwrap();
    let refused = post("/api/v1/account/password", json!({"current": PASSWORD, NEW: 1})).await.unwrap();
    assert_eq!(refused.status(), 400, "a password in the wrong place");
    let refused = client.get(format!("{url}/api/v1/agents")).bearer_auth(format!("{api_token}x")).send().await.unwrap();
    assert_eq!(refused.status(), 401, "a token with a letter too many");
    let changed = post("/api/v1/account/password", json!({"current": PASSWORD, "new": NEW})).await.unwrap();
    assert_eq!(changed.status(), 204);
    secrets.extend([cookie(&changed), session, csrf, api_token, seat]);
    secrets.extend(a_second_factor(&client, url, &cookie(&changed)).await);
    secrets.extend([PASSWORD, WRONG, NEW].map(str::to_owned));
    secrets.extend(["$argon2id$", "correct+horse"].map(str::to_owned));
}

/// The secrets of a second factor that is set up and removed: that of the app, and a recovery code.
async fn a_second_factor(client: &reqwest::Client, url: &str, session: &str) -> [String; 2] {
    let headed = |request: reqwest::RequestBuilder, session: &str| {
        request.header("cookie", format!("redflag_session={session}")).header("sec-fetch-site", "same-origin")
    };
    let read = async |path: &str, session: &str| -> Value {
        headed(client.get(format!("{url}{path}")), session).send().await.unwrap().json().await.unwrap()
    };
    let post = async |path: &str, session: &str, body: Value| {
        let csrf = read("/api/v1/session", session).await["csrf"].as_str().unwrap().to_owned();
        headed(client.post(format!("{url}{path}")), session).header("x-csrf-token", csrf).json(&body).send().await.unwrap()
    };
    let offered = read("/api/v1/account/second-factor", session).await["secret"].as_str().unwrap().to_owned();
    let code = FactorSecret::parse(&offered).unwrap().code(clock::now());
    let set = post("/api/v1/account/second-factor", session, json!({"current": NEW, "secret": offered, "code": code})).await;
    let session = set.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().split_once('=').unwrap().1.to_owned();
    let recovery = set.json::<Value>().await.unwrap()["recovery_codes"][0].as_str().unwrap().to_owned();
    let removed = post("/api/v1/account/second-factor/remove", &session, json!({"code": recovery})).await;
    assert_eq!(removed.status(), 204);
    [offered, recovery]
}

#[tokio::test]
async fn no_secret_gets_into_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("fleet.db");
    let mut server = Command::new(env!("CARGO_BIN_EXE_redflag-server"))
        .args(["serve", "--listen", "127.0.0.1:0", "--database"])
        .arg(&database)
        .env("REDFLAG_LOG", "trace")
        .env_remove("REDFLAG_PUBLIC_URL")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut log = server.stderr.take().unwrap();
    let reading = tokio::spawn(async move {
        let mut text = String::new();
        log.read_to_string(&mut text).await.map(|_| text)
    });
    let mut said = BufReader::new(server.stdout.take().unwrap()).lines();
    let mut secrets = Vec::new();
    let mut url = None;
    for _ in 0..3 {
        let line = said.next_line().await.unwrap().unwrap();
        url = url.or_else(|| line.strip_prefix("serving ").map(str::to_owned));
        secrets.extend(line.split_once("token=").map(|(_, token)| token.to_owned()));
    }
    assert_eq!(secrets.len(), 1, "the first start prints a link, on standard output");
    play(&url.unwrap(), &database, &mut secrets).await;
    server.start_kill().unwrap();
    let log = reading.await.unwrap().unwrap();
    assert!(log.lines().count() > 100, "the finest level says a lot");
    for what in ["signed in by a link", "signed in by a password", "an API token was made", "a request was refused", "/sign-in"] {
        assert!(log.contains(what), "{what} is not in the log");
    }
    for secret in &secrets {
        let line = log.lines().find(|line| line.contains(secret.as_str()));
        assert!(line.is_none(), "{secret} is in the log: {line:?}");
    }
    assert_eq!(secrets.len(), 15, "every secret of the play was looked for");
}

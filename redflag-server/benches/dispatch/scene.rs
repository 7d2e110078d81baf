//! The fleet that is measured: one agent with many updates, an operator, and agents that only wait.

use crate::{
    process::Running,
    support::{TestAgent, now, offer, report, scope},
};
use axum::http::Method;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use redflag_core::{
    agent::Enrolment,
    command::{
        delivery::LeaseAnswer,
        payload::Command,
        verify::{Authentic, PinnedKey},
    },
    names::Text,
    wire::read_report,
};
use redflag_server::{Role, Settings, access::issue_sign_in_link, clock, open_fleet};
use serde_json::{Value, json};
use std::time::Duration;
use tempfile::TempDir;

/// A server that runs, and its clients.
pub(crate) struct Scene {
    pub(crate) server: Running,
    pub(crate) agent: TestAgent,
    pub(crate) others: Vec<TestAgent>,
    client: reqwest::Client,
    operator: Operator,
    _directory: TempDir,
}

struct Operator {
    cookie: String,
    csrf: String,
}

impl Scene {
    /// A server with `others` beside the agent, which has two updates for each of `rounds`.
    pub(crate) async fn start(others: usize, rounds: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("redflag.db");
        let fleet = open_fleet(&Settings { database: database.display().to_string(), ..Settings::default() }).await.unwrap();
        let agents: Vec<_> = std::iter::repeat_with(TestAgent::new).take(others + 1).collect();
        for agent in &agents {
            let public_key = agent.key.verifying_key().to_bytes();
            let name = Text::lossy(&agent.id.to_string());
            fleet.enrol(Enrolment { agent: agent.id, name, public_key, tags: Vec::new(), enrolled_at: clock::now() }).await.unwrap();
        }
        let [agent, others @ ..] = &agents[..] else { unreachable!("at least one is made") };
        let offers: Vec<_> = (0..2 * rounds).map(|number| offer(&format!("package-{number}"), "1-1", "1-2", "important")).collect();
        let body = report(1, &[scope("dnf", &offers)]).to_string();
        fleet.record_report(agent.id, read_report(body.as_bytes()).unwrap(), clock::now()).await.unwrap();
        let link = issue_sign_in_link(fleet.store(), "Ada".parse().unwrap(), Some(Role::Approver)).await.unwrap();
        drop(fleet);

        let (server, client) = (Running::start(&database, 1).await, client());
        let operator = Operator::sign_in(&client, &server.url, link.token.expose()).await;
        Self { server, agent: agent.clone(), others: others.to_vec(), client, operator, _directory: directory }
    }

    /// Every update of the agent, as operators decide about them: path and digest of the offer.
    pub(crate) async fn updates(&self, count: usize) -> Vec<(String, Value)> {
        let url = format!("{}/api/v1/updates?status=pending&page_size={count}", self.server.url);
        let list: Value = self.client.get(url).header("cookie", &self.operator.cookie).send().await.unwrap().json().await.unwrap();
        let update = |row: &Value| {
            let path = format!("/api/v1/updates/{}/approve", row["id"].as_str().unwrap());
            (path, json!({"offer_digest": row["offer_digest"]}))
        };
        list["updates"].as_array().unwrap().iter().map(update).collect()
    }

    pub(crate) async fn approve(&self, path: &str, body: &Value) {
        let request = self.client.post(format!("{}{path}", self.server.url)).header("cookie", &self.operator.cookie);
        let request = request.header("x-csrf-token", &self.operator.csrf).header("sec-fetch-site", "same-origin").json(body);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
    }

    /// An agent asks for its commands.
    pub(crate) async fn lease(&self, agent: &TestAgent, wait_seconds: u32) -> LeaseAnswer {
        let body = json!({"limit": 16, "wait_seconds": wait_seconds}).to_string();
        serde_json::from_slice(&self.say(agent, "/api/v1/commands/lease", body.into_bytes()).await).unwrap()
    }

    /// Posts as an agent does, and expects to be heard.
    pub(crate) async fn say(&self, agent: &TestAgent, path: &str, body: Vec<u8>) -> Vec<u8> {
        let host = self.server.url.strip_prefix("http://").unwrap();
        let headers = agent.headers(host, &Method::POST, path, &body, now());
        let request = self.client.post(format!("{}{path}", self.server.url)).header("content-type", "application/json").body(body);
        let request = headers.into_iter().fold(request, |request, (name, value)| request.header(name, value));
        let answer = request.send().await.unwrap();
        let (status, body) = (answer.status(), answer.bytes().await.unwrap().to_vec());
        assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&body));
        body
    }
}

impl Operator {
    async fn sign_in(client: &reqwest::Client, url: &str, token: &str) -> Self {
        let request = client.post(format!("{url}/sign-in")).header("sec-fetch-site", "same-origin");
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(format!("token={token}"));
        let answer = request.send().await.unwrap();
        let cookie = answer.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
        let session = client.get(format!("{url}/api/v1/session")).header("cookie", &cookie).send().await.unwrap();
        let session: Value = session.json().await.unwrap();
        Self { cookie, csrf: session["csrf"].as_str().unwrap().to_owned() }
    }
}

/// The only command of an answer.
pub(crate) fn command(answer: &LeaseAnswer) -> Command {
    let [command] = &answer.commands[..] else { panic!("one command is handed out: {answer:?}") };
    let public_key = STANDARD.decode(&answer.signer.public_key).unwrap().try_into().unwrap();
    let pinned = PinnedKey::new(&public_key, answer.signer.mode).unwrap();
    Authentic::read(command.envelope.as_bytes(), &[pinned], 1).unwrap().command().clone()
}

fn client() -> reqwest::Client {
    rustls::crypto::ring::default_provider().install_default().unwrap();
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(90));
    // Where signing in leads to is no matter, and it needs the cookie.
    client.redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

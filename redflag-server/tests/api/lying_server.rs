//! A server that lies to the people who sign: the command line signs nothing but what was asked for, shown and agreed to.

use crate::process::output;
use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use redflag_core::{
    command::{
        envelope::Envelope,
        payload::{Action, Audience, Command, Schema, SigningMode},
    },
    ids::Digest,
};
use redflag_server::{clock, key_pair::KeyPair};
use serde_json::{Value, json};
use std::{
    net::Ipv4Addr,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

const AGENT: &str = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3";
const COMMAND: &str = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b4";
const OTHER: &str = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2ff";

/// What the server tells, and what it is brought.
#[derive(Debug, Default)]
struct Lies {
    /// What is to be signed, each answer the next; the last one again and again.
    envelopes: Vec<String>,
    asked: usize,
    /// How many signatures are answered with another counter.
    moves: usize,
    brought: Vec<Value>,
}

type Shared = State<Arc<Mutex<Lies>>>;

async fn list() -> Json<Value> {
    Json(json!({"commands": [{"agent_id": AGENT, "id": COMMAND, "agent_name": "web\u{1b}[2J\u{202e}"}], "next": null}))
}

async fn to_sign(State(lies): Shared) -> Json<Value> {
    let mut lies = lies.lock().unwrap();
    let envelope = lies.envelopes[lies.asked.min(lies.envelopes.len() - 1)].clone();
    lies.asked += 1;
    Json(json!({"envelope": envelope, "signed_with": []}))
}

async fn take(State(lies): Shared, Json(body): Json<Value>) -> Response {
    let mut lies = lies.lock().unwrap();
    lies.brought.push(body);
    if lies.moves > 0 {
        lies.moves -= 1;
        return (StatusCode::CONFLICT, Json(json!({"code": "counter_moved", "detail": ""}))).into_response();
    }
    Json(json!({"state": "queued"})).into_response()
}

fn honest() -> Command {
    let now = clock::now();
    Command {
        schema: Schema,
        id: COMMAND.parse().unwrap(),
        audience: Audience { agent: AGENT.parse().unwrap(), key_id: Digest::of("key", &[]) },
        counter: 1,
        not_before: now.saturating_sub(Duration::from_secs(60)),
        expires_at: now.saturating_add(Duration::from_secs(600)),
        mode: SigningMode::OperatorSigns,
        action: Action::Reboot,
        approvals: Vec::new(),
    }
}

fn envelope(command: &Command) -> String {
    String::from_utf8(Envelope::around(command).to_json()).unwrap()
}

/// An envelope around bytes that are no command, or not in the one form.
fn around(payload: &str) -> String {
    let payload_type = redflag_core::command::envelope::PAYLOAD_TYPE;
    format!(r#"{{"payload":"{}","payloadType":"{payload_type}","signatures":[]}}"#, STANDARD.encode(payload))
}

struct Machine {
    _directory: tempfile::TempDir,
    key: PathBuf,
    token: PathBuf,
}

impl Machine {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (key, token) = (directory.path().join("signer.key"), directory.path().join("token"));
        KeyPair::open(&key, "key").unwrap();
        std::fs::write(&token, "redflag_token").unwrap();
        Self { _directory: directory, key, token }
    }

    /// Signs all that a server says which tells these lies: the only end, what was printed, and what was brought.
    async fn sign(&self, lies: Lies) -> (Value, String, Vec<Value>) {
        let lies = Arc::new(Mutex::new(lies));
        let command = format!("/api/v1/commands/{AGENT}/{COMMAND}");
        let router = Router::new()
            .route("/api/v1/commands", get(list))
            .route(&format!("{command}/to-sign"), get(to_sign))
            .route(&format!("{command}/signatures"), post(take))
            .with_state(Arc::clone(&lies));
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(axum::serve(listener, router).into_future());
        let (token, key) = (self.token.to_str().unwrap(), self.key.to_str().unwrap());
        let arguments = ["sign", "--server", &url, "--token-file", token, "--key", key, "--all", "--yes", "--json"];
        let (_, said, shown) = output("memory:", &arguments).await;
        serving.abort();
        let said: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}{shown}"));
        let brought = std::mem::take(&mut lies.lock().unwrap().brought);
        (said["commands"][0].clone(), shown, brought)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_was_asked_for_is_signed() {
    let machine = Machine::new();
    let honest = honest();
    let (end, shown, brought) = machine.sign(Lies { envelopes: vec![envelope(&honest)], ..Lies::default() }).await;
    assert_eq!((end["signed"].as_str(), brought.len()), (Some("queued"), 1));
    assert!(shown.contains("RESTART the host") && shown.contains("web⟨U+001B⟩[2J⟨U+202E⟩"), "{shown}");
    assert!(!shown.contains('\u{1b}'), "{shown:?}");

    let text = String::from_utf8(honest.to_bytes()).unwrap();
    let mut to_another = honest.clone();
    to_another.audience.agent = OTHER.parse().unwrap();
    for (lie, why) in [
        (envelope(&to_another), "was not asked for"),
        (envelope(&Command { id: OTHER.parse().unwrap(), ..honest.clone() }), "was not asked for"),
        (envelope(&Command { mode: SigningMode::ServerSigns, ..honest.clone() }), "people sign"),
        (around(&text.replacen('{', "{ ", 1)), "canonical"),
        (around(&text.replacen("\"schema\":1", "\"schema\":2", 1)), "schema 2"),
        (around(&text.replacen("\"reboot\"", "\"shell\"", 1)), "shell"),
        (around(&text.replacen("\"counter\":1", "\"counter\":1,\"counter\":2", 1)), "duplicate field"),
        (format!("{} ", envelope(&honest)), "canonical"),
        ("{}".to_owned(), "missing field"),
    ] {
        let (end, _, brought) = machine.sign(Lies { envelopes: vec![lie.clone()], ..Lies::default() }).await;
        assert!(end["failed"].as_str().is_some_and(|reason| reason.contains(why)), "{lie}: {end}");
        assert_eq!(brought.len(), 0, "{lie}");
    }
    let expired = Command { expires_at: clock::now(), ..honest };
    let (end, _, brought) = machine.sign(Lies { envelopes: vec![envelope(&expired)], ..Lies::default() }).await;
    assert_eq!((end["left"].as_str(), brought.len()), (Some("it has expired"), 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_agreed_to_is_signed_with_another_number_and_nothing_else_is() {
    let machine = Machine::new();
    let honest = honest();
    let later = Command { counter: 2, ..honest.clone() };
    let (end, _, brought) = machine.sign(Lies { envelopes: vec![envelope(&honest), envelope(&later)], moves: 1, ..Lies::default() }).await;
    assert_eq!((end["signed"].as_str(), brought.len()), (Some("queued"), 2));
    let key = KeyPair::read(&machine.key, "key").unwrap().unwrap();
    for (command, body) in [&honest, &later].into_iter().zip(&brought) {
        let signature = STANDARD.encode(key.sign(&Envelope::around(command).bytes_to_sign()));
        assert_eq!(body, &json!({"key_id": key.id(), "counter": command.counter, "signature": signature}));
    }
    let another = Command { counter: 2, action: Action::Rescan, ..honest.clone() };
    let lies = Lies { envelopes: vec![envelope(&honest), envelope(&another)], moves: 1, ..Lies::default() };
    let (end, _, brought) = machine.sign(lies).await;
    assert!(end["failed"].as_str().is_some_and(|why| why.contains("another one now")), "{end}");
    assert_eq!(brought.len(), 1, "the second one was never agreed to");
    let (end, _, brought) = machine.sign(Lies { envelopes: vec![envelope(&honest)], moves: 99, ..Lies::default() }).await;
    assert!(end["failed"].as_str().is_some_and(|why| why.contains("try again")), "{end}");
    assert_eq!(brought.len(), 3, "it ends");
}

//! Bad input, as files in `tests/corpus`: each names a row of the table in its README, what is sent, and what must be answered.
//!
//! Every file is played against the real router over every backend, on a fleet of its own. Whatever a file expects, no answer may be a
//! 5xx, a refusal is a problem with a stable code, and a refused request of an agent leaves the record as it was.

use crate::{
    commands::{Scene, exactly},
    support::{Answer, Session, TestAgent, now, offer, random_id, report, scope},
};
use axum::{
    body::Body,
    http::{HeaderName, Method, Request, header},
};
use redflag_core::{Fleet, MemoryStore, agent::AgentHead};
use redflag_server::Role;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, fs, path::Path};

/// One file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// Which rows of the table it plays.
    rows: String,
    /// What it is about.
    #[expect(dead_code, reason = "for people")]
    about: String,
    /// Why the answer differs from the table, where it does: the contract decides.
    #[serde(default)]
    #[expect(dead_code, reason = "for people")]
    differs: Option<String>,
    /// Whether the agent has a command that was handed out, `${command}`.
    #[serde(default)]
    command: bool,
    steps: Vec<Step>,
}

/// One request, and what is expected of its answer. Texts may hold placeholders (see [`Placeholders`]).
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    name: String,
    /// `agent`, `other`, `stranger`, `viewer`, `approver`, `admin` or `nobody`.
    #[serde(default = "agent")]
    by: String,
    #[serde(default)]
    method: Option<String>,
    #[serde(default = "report_path")]
    path: String,
    /// Headers beside those that belong to the credential; null takes one away.
    #[serde(default)]
    headers: BTreeMap<String, Option<String>>,
    /// The body as JSON.
    #[serde(default)]
    body: Option<Value>,
    /// The body byte for byte, where it is not JSON.
    #[serde(default)]
    text: Option<String>,
    /// Laid over a sound report.
    #[serde(default)]
    report: Option<Value>,
    /// Laid over its only scope, which is partial.
    #[serde(default)]
    scope: Option<Value>,
    /// The manager of the scope.
    #[serde(default = "dnf")]
    manager: String,
    /// Offers of the scope, each laid over a sound one.
    #[serde(default)]
    offers: Vec<Value>,
    /// Each of the offers so often; `${n}` in them counts from 0.
    #[serde(default)]
    times: Option<usize>,
    /// What was signed, where it is not what is sent.
    #[serde(default)]
    signed: Signed,
    /// Sent so often at the same time; all answers must be the same.
    #[serde(default)]
    copies: Option<usize>,
    answer: Expected,
}

/// How a signature differs from a sound one.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signed {
    /// Created so many seconds from now.
    seconds: Option<i64>,
    path: Option<String>,
    host: Option<String>,
    text: Option<String>,
    /// With the key of the other agent.
    #[serde(default)]
    other_key: bool,
    /// What is done to the signature: `short`, `long`, or `plus-l` (S + L, which names the same number).
    #[serde(default)]
    bent: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    status: u16,
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    parameter: Option<String>,
    /// JSON pointers into the answer, and what stands there.
    #[serde(default)]
    has: BTreeMap<String, Value>,
    /// Texts that must stand in the body.
    #[serde(default)]
    shows: Vec<String>,
    /// Texts that must not.
    #[serde(default)]
    hides: Vec<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// The step whose answer has the same bytes.
    #[serde(default)]
    same_as: Option<String>,
}

fn agent() -> String {
    "agent".to_owned()
}

fn dnf() -> String {
    "dnf".to_owned()
}

fn report_path() -> String {
    "/api/v1/report".to_owned()
}

/// Who sends, and what the placeholders stand for.
struct World {
    scene: Scene,
    other: TestAgent,
    stranger: TestAgent,
    operators: BTreeMap<&'static str, Session>,
    placeholders: Placeholders,
    reports: u64,
}

/// What `${…}` stands for: a name of a fixed set, `${new}` for a UUID of its own, `${repeat:TEXT:N}` for a text N times, `${hex:…}` for
/// bytes, `${now:S}` for the time in S seconds, and, as a whole JSON text, `${raw:…}` for what is no text, or not JSON at all.
struct Placeholders(BTreeMap<String, String>);

impl Placeholders {
    fn bytes(&self, text: &str) -> Vec<u8> {
        let Some((before, rest)) = text.split_once("${") else { return text.as_bytes().to_vec() };
        let (inside, after) = rest.split_once('}').unwrap_or_else(|| panic!("a placeholder does not end: {text}"));
        let mut bytes = before.as_bytes().to_vec();
        match inside.split_once(':') {
            Some(("repeat", what)) => {
                let (what, times) = what.rsplit_once(':').unwrap();
                bytes.extend(what.repeat(times.parse().unwrap()).into_bytes());
            }
            Some(("hex", digits)) => {
                let digit = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
                bytes.extend((0..digits.len()).step_by(2).map(digit));
            }
            Some(("now", seconds)) => {
                let micros = (now() + seconds.parse::<i64>().unwrap()) * 1_000_000;
                bytes.extend(redflag_core::time::Timestamp::from_micros(micros).unwrap().to_string().into_bytes());
            }
            None if inside == "new" => bytes.extend(random_id().into_bytes()),
            _ => {
                let known = self.0.get(inside).unwrap_or_else(|| panic!("unknown placeholder ${{{inside}}}"));
                bytes.extend(known.bytes());
            }
        }
        bytes.extend(self.bytes(after));
        bytes
    }

    fn text(&self, text: &str) -> String {
        String::from_utf8(self.bytes(text)).unwrap()
    }

    /// Writes a value as JSON, its texts filled in.
    fn json(&self, value: &Value, into: &mut Vec<u8>) {
        let between = |into: &mut Vec<u8>, first: &mut bool| {
            if !std::mem::take(first) {
                into.push(b',');
            }
        };
        let mut first = true;
        match value {
            Value::String(text) => match text.strip_prefix("${raw:").and_then(|rest| rest.strip_suffix('}')) {
                Some(raw) => into.extend(self.bytes(raw)),
                None => into.extend(Value::String(self.text(text)).to_string().into_bytes()),
            },
            Value::Array(items) => {
                into.push(b'[');
                for item in items {
                    between(into, &mut first);
                    self.json(item, into);
                }
                into.push(b']');
            }
            Value::Object(fields) => {
                into.push(b'{');
                for (name, item) in fields {
                    between(into, &mut first);
                    into.extend(Value::String(self.text(name)).to_string().into_bytes());
                    into.push(b':');
                    self.json(item, into);
                }
                into.push(b'}');
            }
            plain => into.extend(plain.to_string().into_bytes()),
        }
    }
}

/// Lays a patch over a value (RFC 7396): null takes a field away.
fn laid_over(mut value: Value, patch: &Value) -> Value {
    let Value::Object(patch) = patch else { return patch.clone() };
    let mut fields = value.as_object_mut().map(std::mem::take).unwrap_or_default();
    for (name, item) in patch {
        match item {
            Value::Null => drop(fields.remove(name)),
            item => {
                let below = fields.remove(name).unwrap_or(Value::Object(Map::new()));
                fields.insert(name.clone(), laid_over(below, item));
            }
        }
    }
    Value::Object(fields)
}

impl World {
    async fn over(fleet: Fleet, with_command: bool) -> Self {
        let scene = Scene::over(fleet).await;
        let harness = scene.harness.clone();
        let operators = BTreeMap::from([
            ("viewer", harness.operator(Role::Viewer).await),
            ("approver", harness.operator(Role::Approver).await),
            ("admin", harness.operator(Role::Admin).await),
        ]);
        let other = harness.agent("other").await;
        let update = scene.update().await;
        let mut known = BTreeMap::from([
            ("agent", scene.agent.id.to_string()),
            ("other", other.id.to_string()),
            ("token", harness.token(1_000).await),
            ("once", harness.token(1).await),
            ("host", crate::support::HOST.to_owned()),
            ("digest", update["offer_digest"].as_str().unwrap().to_owned()),
            ("update", update["id"].as_str().unwrap().to_owned()),
        ]);
        if with_command {
            scene.approve().await;
            scene.planned(0, exactly).await;
            known.insert("command", scene.handed(1).await.id.to_string());
        }
        // Ids that are made once for a file, so that steps can name what earlier ones sent.
        known.extend([("id1", random_id()), ("id2", random_id())]);
        let placeholders = Placeholders(known.into_iter().map(|(name, text)| (name.to_owned(), text)).collect());
        Self { scene, other, stranger: TestAgent::new(), operators, placeholders, reports: 1 }
    }

    /// What may not change when a request is refused.
    async fn record(&self) -> [Option<AgentHead>; 2] {
        let store = self.scene.harness.app.fleet.store();
        let head = async |agent| {
            let head = store.agent(agent).await.unwrap();
            head.map(|head| AgentHead { last_contact_at: None, ..head })
        };
        [head(self.scene.agent.id).await, head(self.other.id).await]
    }

    fn body(&mut self, step: &Step) -> Vec<u8> {
        let is_report = step.report.is_some() || step.scope.is_some() || !step.offers.is_empty();
        let mut bytes = Vec::new();
        match (&step.body, &step.text) {
            (Some(body), None) => self.placeholders.json(body, &mut bytes),
            (None, Some(text)) => bytes = self.placeholders.bytes(text),
            (None, None) if is_report => {
                let report = self.sound_report(step);
                self.placeholders.json(&report, &mut bytes);
            }
            (None, None) => {}
            (Some(_), Some(_)) => panic!("{}: a body and a text exclude each other", step.name),
        }
        bytes
    }

    fn sound_report(&mut self, step: &Step) -> Value {
        self.reports += 1;
        let sound = offer("curl", "8.0-1", "8.0-2", "low");
        let mut offers = Vec::new();
        for at in 0..step.times.unwrap_or(1) {
            let numbered = |offer: &Value| serde_json::from_str(&offer.to_string().replace("${n}", &at.to_string())).unwrap();
            offers.extend(step.offers.iter().map(|patch| laid_over(sound.clone(), &numbered(patch))));
        }
        let mut sound = scope(&step.manager, &offers);
        // So that a report closes nothing that earlier steps left.
        sound["result"] = json!("partial");
        let scope = laid_over(sound, step.scope.as_ref().unwrap_or(&json!({})));
        laid_over(report(self.reports, &[scope]), step.report.as_ref().unwrap_or(&json!({})))
    }

    fn request(&self, step: &Step, body: &[u8]) -> Request<Body> {
        let path = self.placeholders.text(&step.path);
        let default = if body.is_empty() && step.by != "agent" { "GET" } else { "POST" };
        let method: Method = step.method.as_deref().unwrap_or(default).parse().unwrap();
        let mut request = Request::builder().method(method.clone()).uri(&path).body(Body::from(body.to_vec())).unwrap();
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
        headers.insert(header::HOST, crate::support::HOST.parse().unwrap());
        let signer = match step.by.as_str() {
            "agent" => Some(&self.scene.agent),
            "other" => Some(&self.other),
            "stranger" => Some(&self.stranger),
            _ => None,
        };
        if let Some(signer) = signer {
            for (name, value) in self.signature(step, signer, &method, &path, body) {
                headers.insert(name, value.parse().unwrap());
            }
        } else if let Some(session) = self.operators.get(step.by.as_str()) {
            headers.insert(header::COOKIE, session.cookie.parse().unwrap());
            headers.insert("x-csrf-token", session.csrf.parse().unwrap());
            headers.insert("sec-fetch-site", "same-origin".parse().unwrap());
        } else {
            assert_eq!(step.by, "nobody", "{}", step.name);
        }
        for (name, value) in &step.headers {
            let name: HeaderName = name.parse().unwrap();
            headers.remove(&name);
            for value in value.iter().flat_map(|value| value.split('\n')) {
                headers.append(&name, self.placeholders.text(value).parse().unwrap());
            }
        }
        request
    }

    fn signature(&self, step: &Step, signer: &TestAgent, method: &Method, path: &str, body: &[u8]) -> [(&'static str, String); 3] {
        let Signed { seconds, path: other_path, host, text, other_key, bent } = &step.signed;
        let mut signer = signer.clone();
        if *other_key {
            signer.key = self.other.key.clone();
        }
        let path = other_path.as_ref().map_or_else(|| path.to_owned(), |path| self.placeholders.text(path));
        let body = text.as_ref().map_or_else(|| body.to_vec(), |text| self.placeholders.bytes(text));
        let host = host.as_deref().unwrap_or(crate::support::HOST);
        let mut headers = signer.headers(host, method, &path, &body, now() + seconds.unwrap_or(0));
        if let Some(how) = bent {
            headers[2].1 = bend(&headers[2].1, how);
        }
        headers
    }
}

/// A signature header whose 64 bytes were changed.
fn bend(value: &str, how: &str) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0x10,
    ];
    let mut parts = value.split(':');
    let (label, encoded) = (parts.next().unwrap(), parts.next().unwrap());
    let mut bytes = STANDARD.decode(encoded).unwrap();
    match how {
        "short" => drop(bytes.pop()),
        "long" => bytes.push(0),
        "plus-l" => {
            let mut carry = 0;
            for (byte, add) in bytes[32..].iter_mut().zip(ORDER) {
                let sum = u16::from(*byte) + u16::from(add) + carry;
                (*byte, carry) = (sum.to_le_bytes()[0], sum >> 8);
            }
        }
        other => panic!("unknown way to bend a signature: {other}"),
    }
    format!("{label}:{}:", STANDARD.encode(bytes))
}

/// What is wrong with an answer.
fn complaints(expected: &Expected, placeholders: &Placeholders, answer: &Answer) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut check = |held: bool, what: String| {
        if !held {
            wrong.push(what);
        }
    };
    check(answer.status.as_u16() == expected.status, format!("status {} instead of {}", answer.status, expected.status));
    let json: Value = serde_json::from_slice(&answer.bytes).unwrap_or_default();
    if let Some(code) = &expected.code {
        let problem = answer.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/problem+json");
        check(problem && json["status"] == answer.status.as_u16(), "no problem with its status".to_owned());
        check(json["code"] == **code, format!("code {} instead of {code}", json["code"]));
    }
    check(expected.parameter.is_none() || json["parameter"] == json!(expected.parameter), format!("parameter {}", json["parameter"]));
    for (pointer, value) in &expected.has {
        let mut filled = Vec::new();
        placeholders.json(value, &mut filled);
        let filled: Value = serde_json::from_slice(&filled).unwrap();
        check(json.pointer(pointer) == Some(&filled), format!("{pointer} is {:?} instead of {filled}", json.pointer(pointer)));
    }
    let text = answer.text();
    for shown in &expected.shows {
        check(text.contains(&placeholders.text(shown)), format!("does not show {shown:?}"));
    }
    for hidden in &expected.hides {
        check(!text.contains(&placeholders.text(hidden)), format!("shows {hidden:?}"));
    }
    for (name, value) in &expected.headers {
        let held = answer.headers.get(name).is_some_and(|there| there.to_str().is_ok_and(|there| there == value));
        check(held, format!("header {name} is {:?}", answer.headers.get(name)));
    }
    wrong
}

/// Plays one step; what is wrong with it.
async fn play(world: &mut World, step: &Step, earlier: &BTreeMap<String, Vec<u8>>) -> (Vec<String>, Vec<u8>) {
    let body = world.body(step);
    let before = world.record().await;
    let copies = (0..step.copies.unwrap_or(1)).map(|_| {
        let (harness, request) = (world.scene.harness.clone(), world.request(step, &body));
        tokio::spawn(async move { harness.send(request).await })
    });
    let mut answers = Vec::new();
    for copy in copies.collect::<Vec<_>>() {
        answers.push(copy.await.unwrap());
    }
    let answer = &answers[0];
    let mut wrong = complaints(&step.answer, &world.placeholders, answer);
    if answers.iter().any(|other| (other.status, &other.bytes) != (answer.status, &answer.bytes)) {
        wrong.push("copies were answered differently".to_owned());
    }
    if answer.status.is_client_error() && before != world.record().await {
        wrong.push("refused, and yet the record changed".to_owned());
    }
    if step.answer.same_as.as_ref().is_some_and(|name| earlier[name] != answer.bytes) {
        wrong.push(format!("not the bytes of {:?}", step.answer.same_as));
    }
    if !wrong.is_empty() {
        wrong.push(format!("{answer:?}"));
    }
    (wrong, answers.swap_remove(0).bytes)
}

fn files() -> Vec<(String, Case)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut files: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let case = serde_json::from_slice(&fs::read(path).unwrap()).unwrap_or_else(|error| panic!("{name}: {error}"));
            (name, case)
        })
        .collect();
    files.sort_by(|one, other| one.0.cmp(&other.0));
    files
}

/// Plays every file, each on a fleet that `fresh` makes.
async fn every_file<F: Future<Output = Fleet>>(fresh: impl Fn(String) -> F) {
    let mut wrong = Vec::new();
    let mut played = 0;
    for (file, case) in files() {
        let mut world = World::over(fresh(file.replace('-', "_")).await, case.command).await;
        let mut earlier = BTreeMap::new();
        for step in &case.steps {
            let (complaints, bytes) = play(&mut world, step, &earlier).await;
            wrong.extend(complaints.iter().map(|complaint| format!("{file}, {}: {complaint}", step.name)));
            earlier.insert(step.name.clone(), bytes);
            played += step.copies.unwrap_or(1);
        }
    }
    assert!(wrong.is_empty(), "{} complaints:\n{}", wrong.len(), wrong.join("\n"));
    assert!(played >= 350, "only {played} requests were played");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_corpus_is_answered_as_it_must_be_in_memory() {
    every_file(async |_| Fleet::new(MemoryStore::default())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_corpus_is_answered_as_it_must_be_on_sqlite() {
    every_file(async |_| Fleet::new(redflag_store_sqlite::SqliteStore::in_memory().unwrap())).await;
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_corpus_is_answered_as_it_must_be_on_postgres() {
    use redflag_core::store::Durability;
    use redflag_store_postgres::{Options, PostgresStore};
    let postgres = tmp_postgrust::new_default_process().expect("a PostgreSQL server starts (Debian package: postgresql-15)");
    let connection = postgres.connection_string();
    every_file(async |file| {
        let options = Options { durability: Durability::Process, schema: format!("corpus_{file}"), ..Options::default() };
        Fleet::new(PostgresStore::connect(&connection, options).await.unwrap())
    })
    .await;
}

/// Every row of the table has a line in the README, which leads to files or tests that are there.
#[test]
fn every_row_of_the_table_leads_to_a_file_or_a_test() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let readme = fs::read_to_string(directory.join("README.md")).unwrap();
    let files: Vec<_> = files();
    for row in 1..=64 {
        let line = readme.lines().find(|line| line.starts_with(&format!("| {row} |")));
        let line = line.unwrap_or_else(|| panic!("row {row} is not in the README"));
        let told: Vec<_> = files.iter().filter(|(_, case)| case.rows.split(' ').any(|other| other == row.to_string())).collect();
        for (name, _) in &told {
            assert!(line.contains(&format!("[{name}]({name}.json)")), "row {row} does not name {name}");
        }
        let leads = line.trim_end_matches('|').rsplit('|').next().unwrap_or_default();
        assert!(!leads.trim().is_empty(), "row {row} leads nowhere: {line}");
    }
}

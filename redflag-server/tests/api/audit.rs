//! The audit log on both databases: any number of writers, sealing, and every way to alter it.

use crate::support::*;
use axum::http::Method;
use redflag_core::{
    Fleet,
    audit::{
        AuditKind, FactName,
        entry::{By, Note},
        verify::Verifier,
    },
    names::Text,
};
use redflag_server::{
    Role, Settings,
    audit::{AuditKey, AuditLog, StoredCheckpoint, Verdict, Verified},
    clock, open_fleet,
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// Processes that write at once, each with a connection of its own.
const WRITERS: u64 = 8;

pub(crate) async fn verified(log: &AuditLog, key: &AuditKey) -> Result<Verified, String> {
    log.verify(vec![key.public_key()], |_| ()).await.map_err(|error| error.to_string())
}

fn halted(who: &str, count: u64) -> Note {
    Note::new(AuditKind::Halted, By::CommandLine { name: Text::lossy(who) }, clock::now()).with(FactName::Count, count)
}

/// Opens the same database again and again.
pub(crate) trait Opens: AsyncFn() -> Fleet {}
impl<F: AsyncFn() -> Fleet> Opens for F {}

pub(crate) async fn any_number_of_writers_leave_one_chain_without_gap(open: impl Opens) {
    const NOTES: u64 = 20;
    let harness = Harness::over(open().await);
    let agent = harness.agent("web-1").await;
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let log = AuditLog::new(open().await);
        writers.spawn(async move {
            for count in 0..NOTES {
                log.note(halted(&format!("writer {writer}"), count)).await.unwrap();
                log.seal_feed().await.unwrap();
            }
        });
    }
    for sequence in 1..=10 {
        let version = format!("2.{sequence}");
        harness.reported(&agent, sequence, "apt", &[offer("bash", "1", &version, "important")]).await;
    }
    writers.join_all().await;

    let (log, key) = (AuditLog::new(open().await), AuditKey::new());
    log.seal_feed().await.unwrap();
    let newest = log.checkpoint(&key).await.unwrap().unwrap();
    let found = verified(&log, &key).await.unwrap();
    let batches = found.batches;
    assert!(batches >= 10, "{found:?}");
    let entries = log.entries(1..=u64::MAX).await.unwrap();
    let noted = |who: &str| {
        let counts = entries.iter().filter(|link| link.entry.by == By::CommandLine { name: Text::lossy(who) });
        counts.map(|link| link.entry.facts[&FactName::Count].to_string().parse::<u64>().unwrap()).collect::<Vec<_>>()
    };
    for writer in 0..WRITERS {
        assert_eq!(noted(&format!("writer {writer}")), (0..NOTES).collect::<Vec<_>>(), "in the order they were written");
    }
    let others = entries.iter().filter(|link| !matches!(link.entry.kind, AuditKind::Halted | AuditKind::Batch)).count() as u64;
    assert_eq!(found.log.entries, others + WRITERS * NOTES + batches);
    assert_eq!((newest.checkpoint.size, found.log.covered), (found.log.entries, found.log.entries));
    assert!(!found.unsealed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_of_sqlite_leave_one_chain() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("fleet.db").display().to_string();
    any_number_of_writers_leave_one_chain_without_gap(async || {
        open_fleet(&Settings { database: database.clone(), ..Settings::default() }).await.unwrap()
    })
    .await;
}

#[tokio::test]
async fn operators_page_through_the_log_and_text_of_agents_stays_text() {
    let harness = Harness::new();
    let session = harness.operator(Role::Viewer).await;
    harness.agent("<script>alert(1)</script>").await;
    for count in 0..7 {
        harness.app.audit.note(halted("Ada", count)).await.unwrap();
    }
    let (mut numbers, mut path) = (Vec::new(), "/api/v1/audit?limit=3".to_owned());
    loop {
        let page = harness.get(&session, &path).await.json();
        let entries = page["entries"].as_array().unwrap();
        assert!(entries.len() <= 3, "{page}");
        numbers.extend(entries.iter().map(|entry| entry["number"].as_u64().unwrap()));
        let Some(before) = page["next_before"].as_u64() else { break };
        path = format!("/api/v1/audit?limit=3&before={before}");
    }
    let total = harness.app.audit.place().await.unwrap().number;
    assert_eq!(numbers, (1..=total).rev().collect::<Vec<_>>(), "each once, newest first");

    let halts = harness.get(&session, "/api/v1/audit?kind=halted").await.json();
    let counts: Vec<&str> = halts["entries"].as_array().unwrap().iter().map(|entry| entry["facts"]["count"].as_str().unwrap()).collect();
    assert_eq!(counts, ["6", "5", "4", "3", "2", "1", "0"]);
    assert_eq!(harness.get(&session, "/api/v1/audit?kind=nonsense").await.problem().0, 400);
    assert_eq!(harness.get(&session, "/api/v1/audit?before=0").await.problem().0, 400);
    let none = harness.get(&session, "/api/v1/audit/checkpoint").await.json();
    assert!(none["checkpoint"].is_null(), "{none}");
    let newest = harness.app.audit.checkpoint(&harness.app.audit_key).await.unwrap().unwrap();
    let shown = harness.get(&session, "/api/v1/audit/checkpoint").await.json();
    assert_eq!(shown["checkpoint"]["envelope"], newest.envelope);

    let page = harness.get(&session, "/audit").await.text();
    assert!(page.contains("&#60;script&#62;alert(1)") && !page.contains("<script>alert"), "{page}");
    assert!(page.contains(&newest.checkpoint.digest().to_string()) && page.contains(&harness.app.audit_key.fingerprint()), "{page}");
    assert!(harness.get(&session, "/audit?kind=halted&before=3").await.text().contains("No entry here"));
}

#[tokio::test]
async fn a_witness_is_shown_the_way_from_its_checkpoint_and_cannot_fill_the_log() {
    let harness = Harness::new();
    let (log, key) = (&harness.app.audit, &harness.app.audit_key);
    let agent = harness.agent("web-1").await;
    let mut envelopes = Vec::new();
    for count in 0..3 {
        log.note(halted("Ada", count)).await.unwrap();
        envelopes.push(log.checkpoint(key).await.unwrap().unwrap());
    }
    let ask = async |path: &str, body: Value| harness.send(agent.signed(Method::POST, path, body.to_string())).await;
    let shown = async |kept: Value| ask("/api/v1/audit/witness", kept).await.json()["checkpoints"].as_array().unwrap().clone();
    let name = |of: &StoredCheckpoint| json!({"number": of.checkpoint.number, "digest": of.checkpoint.digest()});
    let [first, second, third] = &envelopes[..] else { panic!("three") };
    assert_eq!(shown(json!({})).await, [third.envelope.as_str()], "the first sight is the newest");
    assert_eq!(shown(json!({"kept": name(first)})).await, [second.envelope.clone(), third.envelope.clone()]);
    assert_eq!(shown(json!({"kept": name(third)})).await, Vec::<Value>::new());
    assert_eq!(shown(json!({"kept": {"number": 2, "digest": first.checkpoint.digest()}})).await, [second.envelope.as_str()]);
    assert_eq!(shown(json!({"kept": {"number": 9, "digest": first.checkpoint.digest()}})).await, [third.envelope.as_str()]);

    let fork = |kept: &str| json!({"kept": kept, "shown": first.envelope, "what": "it went back"});
    assert_eq!(ask("/api/v1/audit/fork", fork(&second.envelope)).await.problem(), (409, "no_fork".to_owned()));
    assert_eq!(ask("/api/v1/audit/fork", fork("{}")).await.problem().0, 400);
    let before = log.place().await.unwrap().number;
    let other = AuditKey::new();
    for at in 1..=20 {
        let forged = first.checkpoint.next(&log.place().await.unwrap(), clock::now().saturating_add(std::time::Duration::from_secs(at)));
        assert_eq!(ask("/api/v1/audit/fork", fork(&other.sign(&forged))).await.status.as_u16(), 204);
    }
    assert_eq!(log.place().await.unwrap().number, before + 1, "what no key of ours signed is put down once");
    let forged = first.checkpoint.next(&log.place().await.unwrap(), clock::now());
    for _ in 0..3 {
        assert_eq!(ask("/api/v1/audit/fork", fork(&key.sign(&forged))).await.status.as_u16(), 204);
    }
    assert_eq!(log.place().await.unwrap().number, before + 2, "and what it did sign, once, too");
}

/// Who did something narrows the list, in the API and on the page, and the link to older ones keeps it.
#[tokio::test]
async fn the_log_is_narrowed_to_who_did_something() {
    let harness = Harness::new();
    let session = harness.operator(Role::Viewer).await;
    let agent = harness.agent("web-1").await;
    for count in 0..60 {
        harness.app.audit.note(halted(if count % 2 == 0 { "Ada & Bob" } else { "Eve" }, count)).await.unwrap();
    }
    let list = async |query: &str| harness.get(&session, &format!("/api/v1/audit?limit=500&{query}")).await.json();
    let count = async |query: &str| list(query).await["entries"].as_array().unwrap().len();
    assert_eq!((count("by=eve").await, count("by=Ada%20%26%20Bob").await, count("by=nobody").await), (30, 30, 0));
    assert_eq!(count(&format!("by={}", agent.id)).await, 1, "its enrolment");
    assert_eq!((count("by=Eve&kind=halted").await, count("by=Eve&kind=signed-in").await), (30, 0));
    assert_eq!(count("by=server").await, count("kind=log-begun").await);
    assert_eq!(count("by=vera").await, count("kind=signed-in").await);
    assert_eq!(harness.get(&session, "/api/v1/audit?by=a%00b").await.problem().0, 400);

    let page = harness.get(&session, "/audit?kind=halted&by=Ada+%26+Bob").await.text();
    assert!(page.contains("Ada &#38; Bob") && !page.contains("Eve"), "{page}");
    harness.app.audit.note_all((0..60).map(|count| halted("Ada & Bob", count)).collect()).await.unwrap();
    let page = harness.get(&session, "/audit?kind=halted&by=Ada+%26+Bob").await.text();
    let older = page.split("rel=\"next\" href=\"").nth(1).unwrap().split('"').next().unwrap().replace("&#38;", "&");
    assert!(older.ends_with("&kind=halted&by=Ada%20%26%20Bob"), "{older}");
    let page = harness.get(&session, &older).await.text();
    assert!(page.contains("data-row") && !page.contains("Eve"), "{page}");
}

/// The page says how far the log is signed, what was found when it was verified, and whether witnesses object; administrators export it.
#[tokio::test]
async fn the_page_says_how_the_log_stands_and_administrators_export_it() {
    let harness = Harness::new();
    let (viewer, admin) = (harness.operator(Role::Viewer).await, harness.operator(Role::Admin).await);
    let (app, agent) = (&harness.app, harness.agent("web-1").await);
    let (log, key) = (&app.audit, &app.audit_key);
    let newest = log.checkpoint(key).await.unwrap().unwrap();
    log.note_all((0..300).map(|count| halted("Ada", count)).collect()).await.unwrap();
    let page = async |session| harness.get(session, "/audit").await.text();
    let first = page(&viewer).await;
    for told in ["300 entries have come since", "No agent has reported a fork", "Nobody has run"] {
        assert!(first.contains(told), "{told}: {first}");
    }
    assert!(!first.contains("/api/v1/audit/export") && page(&admin).await.contains("href=\"/api/v1/audit/export\""));
    log.keep_verdict(&Verdict { at: clock::now(), entries: 7, wrong: None }).await.unwrap();
    assert!(page(&viewer).await.contains("up to entry 7: nothing was wrong"));
    log.keep_verdict(&Verdict { at: clock::now(), entries: 0, wrong: Some("entry 3: <b>".to_owned()) }).await.unwrap();
    assert!(page(&viewer).await.contains("entry 3: &#60;b&#62;"));
    let forged = newest.checkpoint.next(&log.place().await.unwrap(), clock::now());
    let fork = json!({"kept": key.sign(&forged), "shown": newest.envelope, "what": "it went back"}).to_string();
    assert_eq!(harness.send(agent.signed(Method::POST, "/api/v1/audit/fork", fork)).await.status.as_u16(), 204);
    assert!(page(&viewer).await.contains("1 agent has reported a fork"));

    log.checkpoint(key).await.unwrap();
    assert_eq!(harness.get(&viewer, "/api/v1/audit/export").await.problem().0, 403);
    let exported = harness.get(&admin, "/api/v1/audit/export").await;
    assert_eq!(exported.headers["content-type"], "application/x-ndjson; charset=utf-8");
    assert!(exported.headers["content-disposition"].to_str().unwrap().starts_with("attachment"));
    let mut verifier = Verifier::new(vec![key.public_key()]);
    exported.text().lines().for_each(|line| verifier.line(line).unwrap());
    assert_eq!(verifier.finish().unwrap(), verified(log, key).await.unwrap().log, "what is stored, to the last line");
}

/// An export is read while it is sent, and breaks off where it cannot be read rather than to end there.
#[tokio::test]
async fn an_export_that_cannot_be_read_to_its_end_breaks_off() {
    use axum::{body::Body, http::Request};
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;
    let harness = Harness::new();
    let admin = harness.operator(Role::Admin).await;
    let log = &harness.app.audit;
    for _ in 0..60 {
        log.note_all((0..128).map(|count| halted("Ada", count)).collect()).await.unwrap();
    }
    let request =
        || Request::get("/api/v1/audit/export").header("cookie", &admin.cookie).header("host", "redflag.test").body(Body::empty()).unwrap();
    let send = async || redflag_server::router::router(&harness.app).oneshot(request()).await.unwrap();
    let store = harness.app.fleet.store();
    let blocks = store.list("audit", None, 500).await.unwrap();
    let (last, record) = blocks.last().unwrap();
    store.put("audit", last, "rotten", redflag_core::store::Expected::Revision(record.revision)).await.unwrap().unwrap();
    let mut body = send().await.into_body();
    let (mut bytes, mut largest, mut broken) = (0, 0, false);
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => {
                let length = frame.into_data().unwrap().len();
                (bytes, largest) = (bytes + length, largest.max(length));
            }
            Err(_) => {
                broken = true;
                break;
            }
        }
    }
    assert!(broken, "it looks whole");
    assert!(largest < 1_100_000 && bytes > 2 * largest, "{bytes} bytes in pieces of at most {largest}");
    for (under, record) in &blocks[..blocks.len() - 1] {
        assert!(store.delete("audit", under, record.revision).await.unwrap());
    }
    assert_ne!(send().await.status().as_u16(), 200, "what cannot be read at all is a problem");
}

//! The audit log on both databases: any number of writers, sealing, and every way to alter it.

use crate::support::*;
use axum::http::Method;
use redflag_core::{
    Fleet,
    audit::{
        AuditKind, FactName,
        entry::{By, Note},
    },
    names::Text,
};
use redflag_server::{
    Role, Settings,
    audit::{AuditKey, AuditLog, StoredCheckpoint, Verified},
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

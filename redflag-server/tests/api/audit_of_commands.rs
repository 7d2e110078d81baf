//! The drill on commands: somebody who can write into the database alters what is stored of a command, or takes it away, and is found.

use crate::{
    audit_drills::Altered,
    commands::{Scene, done, exactly},
    signers,
};
use axum::http::StatusCode;
use redflag_core::{
    Fleet,
    audit::{command, verify::FaultAt},
    command::{
        record::{Claim, CommandRecord, Failure},
        step::Step,
    },
    ids::CommandId,
    names::Text,
    query::{CommandQuery, PageSize},
};
use redflag_server::{
    Role,
    audit::{AuditKey, AuditLog, Verified, VerifyError},
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

async fn verified(fleet: &Fleet, key: &AuditKey) -> Result<Verified, (FaultAt, String)> {
    AuditLog::new(fleet.clone()).verify(vec![key.public_key()], |_| ()).await.map_err(|error| match error {
        VerifyError::Fault(fault) => (fault.at, fault.what),
        error => panic!("{error:?}"),
    })
}

/// A fleet with a plan and an installation that ended, a result that came late, a command that was called off, one that its agent has, and
/// one that went with its agent.
async fn lived(fleet: Fleet) -> AuditKey {
    let scene = Scene::over(fleet).await;
    let (harness, key) = (&scene.harness, AuditKey::new());
    let admin = harness.operator(Role::Admin).await;
    let asked = async |agent: String| {
        let asked = harness.post(&admin, &format!("/api/v1/agents/{agent}/commands"), &json!({"action": {"kind": "rescan"}})).await;
        assert_eq!(asked.status, StatusCode::OK, "{asked:?}");
        asked.json()["id"].as_str().unwrap().to_owned()
    };
    scene.approve().await;
    scene.planned(0, exactly).await;
    let install = scene.handed(1).await;
    scene.start(install.id).await;
    scene.finish(install.id, &done()).await;
    let failed = Failure { reason: Text::lossy("the disk is full"), rolled_back: false, output: String::new() };
    for _ in 0..2 {
        assert_eq!(scene.finish(install.id, &Claim::Failed(failed.clone())).await["state"], "succeeded", "it is late, once");
    }
    let cancelled = asked(scene.agent.id.to_string()).await;
    let cancel = harness.post(&admin, &format!("{}/cancel", scene.path(cancelled)), &json!({"reason": "not today"})).await;
    assert_eq!(cancel.status, StatusCode::OK, "{cancel:?}");
    asked(scene.agent.id.to_string()).await;
    scene.handed(2).await;
    let gone = harness.agent("web-02").await;
    asked(gone.id.to_string()).await;
    let removed = harness.delete(&admin, &format!("/api/v1/agents/{}?reason=scrapped", gone.id)).await;
    assert_eq!(removed.status, StatusCode::OK, "{removed:?}");
    harness.app.audit.seal_feed().await.unwrap();
    harness.app.audit.checkpoint(&key).await.unwrap();
    key
}

/// What is stored of every command.
async fn stored(fleet: &Fleet) -> Vec<CommandRecord> {
    let page = fleet.store().commands(&CommandQuery { size: PageSize::MAX, ..CommandQuery::default() }).await.unwrap();
    page.items.into_iter().map(|row| row.record).collect()
}

/// The record with each leaf altered, one at a time, behind where that leaf is.
fn alterations(record: &Value) -> Vec<(String, Value)> {
    let mut paths = Vec::new();
    leaves(record, String::new(), &mut paths);
    let mut altered = Vec::new();
    for path in paths {
        let mut other = record.clone();
        let leaf = other.pointer_mut(&path).unwrap();
        *leaf = match &*leaf {
            // A higher number alone can have come from a change that was not put down.
            Value::Number(number) if path == "/revision" => json!(number.as_u64().unwrap() - 1),
            Value::Number(number) => json!(number.as_u64().unwrap() + 1),
            Value::Bool(truth) => json!(!truth),
            Value::String(text) if text.starts_with("20") && text.ends_with('Z') => json!(text.replacen("20", "21", 1)),
            Value::String(text) if text.ends_with('0') => json!(format!("{}1", &text[..text.len() - 1])),
            Value::String(text) if text.len() > 30 => json!(format!("{}0", &text[..text.len() - 1])),
            Value::String(text) => json!(format!("{text}x")),
            other => panic!("{path}: {other}"),
        };
        altered.push((path, other));
    }
    for field in record.as_object().unwrap().keys() {
        let mut without = record.clone();
        without.as_object_mut().unwrap().remove(field);
        altered.push((format!("without {field}"), without));
    }
    if record.get("end").is_some() {
        let mut again = record.clone();
        again.as_object_mut().unwrap().retain(|field, _| field != "end" && field != "late");
        again["state"] = json!("queued");
        again["revision"] = json!(again["revision"].as_u64().unwrap() + 1);
        altered.push(("as if it had not ended".to_owned(), again));
    }
    altered
}

fn leaves(value: &Value, path: String, paths: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            let escaped = |field: &str| field.replace('~', "~0").replace('/', "~1");
            fields.iter().for_each(|(field, value)| leaves(value, format!("{path}/{}", escaped(field)), paths));
        }
        Value::Array(items) => items.iter().enumerate().for_each(|(index, value)| leaves(value, format!("{path}/{index}"), paths)),
        _ => paths.push(path),
    }
}

fn write(database: &Altered, command: CommandId, record: &str) {
    let id = match database {
        Altered::Sqlite(_) => format!("X'{}'", command.to_string().replace('-', "")),
        #[cfg(feature = "postgres")]
        Altered::Postgres(_) => format!("'{command}'"),
    };
    database.run(&format!("UPDATE commands SET record = '{}' WHERE command_id = {id}", record.replace('\'', "''")));
}

/// Alters everything there is of every command, a leaf at a time: each alteration is found at an entry about that command.
async fn everything_of_every_command_is_covered(database: &Altered, key: &AuditKey) -> usize {
    let fleet = database.open().await;
    let found = verified(&fleet, key).await.unwrap();
    assert!(found.commands > 3, "{found:?}");
    let mut about: BTreeMap<CommandId, Vec<u64>> = BTreeMap::new();
    for link in AuditLog::new(fleet.clone()).entries(1..=500).await.unwrap() {
        if let Some((_, command)) = command::of_entry(&link.entry) {
            about.entry(command).or_default().push(link.entry.number);
        }
    }
    let mut tried = 0;
    for record in stored(&fleet).await {
        let good = serde_json::to_value(&record).unwrap();
        for (what, altered) in alterations(&good) {
            write(database, record.id, &altered.to_string());
            let (at, said) = verified(&database.open().await, key).await.expect_err(&format!("{what} of {good}"));
            let FaultAt::Entry(number) = at else { panic!("{at}") };
            assert!(about[&record.id].contains(&number), "{what} of {good}: {number}, {said}");
            let named = said.contains(&record.id.to_string()) || said.contains("cannot be read");
            assert!(named, "{what}: {said}");
            tried += 1;
        }
        write(database, record.id, &serde_json::to_string(&record).unwrap());
    }
    assert_eq!(verified(&database.open().await, key).await, Ok(found), "everything was put back");
    tried
}

/// What is stored of commands is altered, and they are taken away.
pub(crate) async fn every_alteration_of_a_command_is_found(database: Altered) {
    let fleet = database.open().await;
    let key = lived(fleet.clone()).await;
    let found = verified(&fleet, &key).await.unwrap();
    assert_eq!(found.commands_gone, 1, "{found:?}");
    drop(fleet);
    let tried = everything_of_every_command_is_covered(&database, &key).await;
    assert!(tried > 100, "{tried} alterations");

    database.run("DELETE FROM commands WHERE state = 8");
    let (at, said) = verified(&database.open().await, &key).await.unwrap_err();
    assert!(matches!(at, FaultAt::Entry(_)) && said.contains("has gone, and no entry says that the agent is removed"), "{at}: {said}");
}

/// Where people sign, their signatures are covered, too.
pub(crate) async fn every_alteration_of_what_people_signed_is_found(database: Altered) {
    let fleet = database.open().await;
    let (log, key) = (AuditLog::new(fleet.clone()), AuditKey::new());
    signers::what_is_approved_waits_until_people_have_signed_it(fleet.clone()).await;
    log.seal_feed().await.unwrap();
    log.checkpoint(&key).await.unwrap();
    drop((log, fleet));
    let tried = everything_of_every_command_is_covered(&database, &key).await;
    assert!(tried > 50, "{tried} alterations");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_alteration_of_a_command_on_sqlite_is_found() {
    let directory = tempfile::tempdir().unwrap();
    every_alteration_of_a_command_is_found(Altered::Sqlite(directory.path().join("fleet.db"))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_alteration_of_what_people_signed_on_sqlite_is_found() {
    let directory = tempfile::tempdir().unwrap();
    every_alteration_of_what_people_signed_is_found(Altered::Sqlite(directory.path().join("fleet.db"))).await;
}

/// Whatever becomes of a command afterwards leaves no fault: what entries say of it does not change with it.
#[tokio::test]
async fn a_command_that_goes_on_after_an_entry_leaves_no_fault() {
    let scene = Scene::over(Fleet::new(redflag_store_sqlite::SqliteStore::in_memory().unwrap())).await;
    let (harness, key) = (&scene.harness, AuditKey::new());
    let whole = async || {
        harness.app.audit.checkpoint(&key).await.unwrap();
        verified(&harness.app.fleet, &key).await.unwrap().commands
    };
    scene.approve().await;
    let plan = scene.handed(0).await;
    assert_eq!(whole().await, 1);
    // The lease runs out, it is handed out anew, and expires unbegun.
    let later = |hours: u64| harness.app.now().saturating_add(std::time::Duration::from_secs(hours * 3_600));
    harness.app.fleet.command(scene.agent.id, Step::Lease { limit: 1 }, later(1)).await.unwrap();
    assert_eq!(whole().await, 1);
    harness.app.fleet.sweep_commands(later(48)).await.unwrap();
    assert_eq!(scene.command(plan.id).await["state"], "expired");
    assert_eq!(whole().await, 1);
    let retried = harness.post(&scene.operator, &format!("{}/retry", scene.path(plan.id)), &json!({})).await;
    assert_eq!(retried.status, StatusCode::OK, "{retried:?}");
    assert_eq!(whole().await, 2);
}

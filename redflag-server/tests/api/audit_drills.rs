//! The drill: somebody who can write into the database alters the log, or what it seals, and is found.

use crate::support::*;
use redflag_core::{
    Fleet,
    audit::{AuditKind, verify::FaultAt},
    store::Expected,
};
use redflag_server::{
    Role, Settings,
    audit::{AuditKey, AuditLog, VerifyError},
    open_fleet,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// A database that is altered behind the back of its server.
pub(crate) enum Altered {
    Sqlite(PathBuf),
    #[cfg(feature = "postgres")]
    Postgres(String),
}

impl Altered {
    pub(crate) async fn open(&self) -> Fleet {
        match self {
            Self::Sqlite(path) => open_fleet(&Settings { database: path.display().to_string(), ..Settings::default() }).await.unwrap(),
            #[cfg(feature = "postgres")]
            Self::Postgres(url) => {
                use redflag_core::store::Durability;
                use redflag_store_postgres::{Options, PostgresStore};
                let options = Options { durability: Durability::Process, ..Options::default() };
                Fleet::new(PostgresStore::connect(url, options).await.unwrap())
            }
        }
    }

    /// Runs a statement, which must change something.
    pub(crate) fn run(&self, statement: &str) {
        match self {
            Self::Sqlite(path) => {
                assert!(without_triggers(path, statement) > 0, "{statement}");
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(url) => {
                let set = "SET search_path TO redflag; SET session_replication_role TO replica";
                let psql =
                    std::process::Command::new("psql").args(["-X", "-v", "ON_ERROR_STOP=1", "-c", set, "-c", statement, url]).output();
                let psql = psql.expect("this test needs apt-get install postgresql-client");
                let said = String::from_utf8_lossy(&psql.stdout);
                assert!(psql.status.success() && !said.contains(" 0\n"), "{statement}: {psql:?}");
            }
        }
    }
}

/// Runs a statement on a SQLite file as if nothing in it were append-only.
pub(crate) fn without_triggers(path: &Path, statement: &str) -> usize {
    let connection = rusqlite::Connection::open(path).unwrap();
    let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?));
    let mut select = connection.prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").unwrap();
    let triggers: Vec<_> = select.query_map([], read).unwrap().map(Result::unwrap).collect();
    triggers.iter().for_each(|(name, _)| connection.execute_batch(&format!("DROP TRIGGER {name}")).unwrap());
    let changed = connection.execute(statement, []).unwrap();
    triggers.iter().for_each(|(_, sql)| connection.execute_batch(sql).unwrap());
    changed
}

async fn first_bad(fleet: &Fleet, key: &AuditKey) -> Option<FaultAt> {
    match AuditLog::new(fleet.clone()).verify(vec![key.public_key()], |_| ()).await {
        Ok(_) => None,
        Err(VerifyError::Fault(fault)) => Some(fault.at),
        Err(error) => panic!("{error:?}"),
    }
}

/// A fleet in which something of every kind has happened that this test can make happen, checkpointed twice.
pub(crate) async fn lived(fleet: Fleet) -> AuditKey {
    let harness = Harness::over(fleet);
    let (app, key) = (&harness.app, AuditKey::new());
    let admin = harness.operator(Role::Admin).await;
    let agent = harness.agent("web-1").await;
    let gone = harness.agent("web-2").await;
    let broken = json!({"package_name": "", "available_version": "1"});
    for sequence in 1..=3 {
        let version = format!("2.{sequence}");
        let offers = [offer("bash", "1", &version, "important"), offer("zlib", "1", &version, "low"), broken.clone()];
        harness.reported(&agent, sequence, "apt", &offers).await;
        harness.reported(&gone, sequence, "apt", &offers[..1]).await;
        app.audit.seal_feed().await.unwrap();
    }
    app.audit.checkpoint(&key).await.unwrap();
    assert_eq!(harness.sign_in("nonsense").await.status.as_u16(), 401);
    for path in ["/api/v1/halt", "/api/v1/halt"] {
        assert_eq!(harness.post(&admin, path, &json!({"reason": "a drill"})).await.status.as_u16(), 200);
        assert!(harness.delete(&admin, path).await.status.is_success());
    }
    let answer = harness.delete(&admin, &format!("/api/v1/agents/{}?reason=scrapped", gone.id)).await;
    assert_eq!(answer.status.as_u16(), 200, "{answer:?}");
    let path = format!("/api/v1/agents/{}/commands", agent.id);
    let asked = harness.post(&admin, &path, &json!({"action": {"kind": "rescan"}})).await;
    assert_eq!(asked.status.as_u16(), 200, "{asked:?}");
    app.audit.seal_feed().await.unwrap();
    app.audit.checkpoint(&key).await.unwrap();
    key
}

/// Ways to alter the line of an entry: one of each field, and a bit of every tenth byte.
fn alterations(line: &str) -> Vec<String> {
    let mut altered = Vec::new();
    let mut link: Value = serde_json::from_str(line).unwrap();
    let fields: Vec<String> = link["entry"].as_object().unwrap().keys().cloned().collect();
    for field in fields {
        let before = link["entry"][&field].take();
        link["entry"][&field] = match &before {
            Value::Number(number) => json!(number.as_u64().unwrap() + 1),
            Value::String(text) if field == "at" => json!(text.replacen("20", "19", 1)),
            Value::String(_) => json!("halt-lifted"),
            Value::Object(object) => {
                let mut object = object.clone();
                object.retain(|key, _| key == "who");
                Value::Object(object)
            }
            other => other.clone(),
        };
        if link["entry"][&field] != before {
            altered.push(link.to_string());
        }
        link["entry"][&field] = before;
    }
    for at in (0..line.len()).step_by(10) {
        let mut bytes = line.as_bytes().to_vec();
        bytes[at] ^= 1;
        altered.extend(String::from_utf8(bytes).ok().filter(|line| !line.contains('\0')));
    }
    altered
}

/// Every entry before the newest checkpoint: altered in each field and in some bits, deleted, swapped with the next, doubled, and the log
/// cut off before it. Each is found, and named.
pub(crate) async fn every_alteration_of_an_entry_is_found(fleet: Fleet) {
    const BLOCKS: &str = "audit";
    let key = lived(fleet.clone()).await;
    assert_eq!(first_bad(&fleet, &key).await, None);
    let store = fleet.store();
    let blocks = store.list(BLOCKS, None, 500).await.unwrap();
    let kinds: BTreeSet<AuditKind> =
        AuditLog::new(fleet.clone()).entries(1..=500).await.unwrap().iter().map(|link| link.entry.kind).collect();
    for kind in [AuditKind::SignedIn, AuditKind::SignInRefused, AuditKind::AgentEnrolled, AuditKind::AgentRemoval, AuditKind::Halted] {
        assert!(kinds.contains(&kind), "{kinds:?}");
    }
    for kind in [AuditKind::HaltLifted, AuditKind::CommandRequested, AuditKind::Batch, AuditKind::LogBegun] {
        assert!(kinds.contains(&kind), "{kinds:?}");
    }
    let (mut number, mut tried) = (0, 0);
    for (under, record) in &blocks {
        let lines: Vec<&str> = record.value.split('\n').collect();
        for (at, line) in lines.iter().enumerate().skip(1) {
            number += 1;
            let with = |change: &dyn Fn(&mut Vec<String>)| {
                let mut lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
                change(&mut lines);
                lines.join("\n")
            };
            let mut altered: Vec<(u64, String)> =
                alterations(line).into_iter().map(|other| (number, with(&|lines| lines[at].clone_from(&other)))).collect();
            altered.push((number, with(&|lines| drop(lines.remove(at)))));
            altered.push((number + 1, with(&|lines| lines.insert(at, lines[at].clone()))));
            if at + 1 < lines.len() {
                altered.push((number, with(&|lines| lines.swap(at, at + 1))));
            }
            for (bad, text) in altered {
                let revision = store.get(BLOCKS, under).await.unwrap().unwrap().revision;
                let revision = store.put(BLOCKS, under, &text, Expected::Revision(revision)).await.unwrap().unwrap();
                assert_eq!(first_bad(&fleet, &key).await, Some(FaultAt::Entry(bad)), "entry {number}: {line}\n{text}");
                store.put(BLOCKS, under, &record.value, Expected::Revision(revision)).await.unwrap().unwrap();
                tried += 1;
            }
        }
    }
    // Whole blocks: each alone, and the end of the log from each one on.
    for cut_off in [false, true] {
        for (index, (under, _)) in blocks.iter().enumerate() {
            let taken = if cut_off { &blocks[index..] } else { &blocks[index..=index] };
            for (under, _) in taken {
                let revision = store.get(BLOCKS, under).await.unwrap().unwrap().revision;
                assert!(store.delete(BLOCKS, under, revision).await.unwrap());
            }
            assert_eq!(first_bad(&fleet, &key).await, Some(FaultAt::Entry(under.parse().unwrap())), "{under} {cut_off}");
            for (under, record) in taken {
                store.put(BLOCKS, under, &record.value, Expected::Absent).await.unwrap().unwrap();
            }
        }
    }
    assert!(number > 15 && tried > 500, "{number} entries, {tried} alterations");
    assert_eq!(first_bad(&fleet, &key).await, None, "everything was put back");
}

/// What batches hold is altered in rows of the database, and found at the entry of the batch.
pub(crate) async fn every_alteration_of_a_batch_is_found(database: Altered) {
    let fleet = database.open().await;
    let key = lived(fleet.clone()).await;
    let batches: Vec<(u64, u64)> = AuditLog::new(fleet.clone())
        .entries(1..=500)
        .await
        .unwrap()
        .iter()
        .filter_map(|link| link.entry.batch.as_ref().map(|batch| (link.entry.number, batch.position.0)))
        .collect();
    drop(fleet);
    let everywhere = [
        (
            "UPDATE update_events SET revision = revision + 1 WHERE sequence = 1",
            "UPDATE update_events SET revision = revision - 1 WHERE sequence = 1",
        ),
        ("UPDATE candidates SET version = '2.9' WHERE version = '2.1'", "UPDATE candidates SET version = '2.1' WHERE version = '2.9'"),
        ("UPDATE candidates SET size_bytes = 1001", "UPDATE candidates SET size_bytes = 1000"),
        ("UPDATE candidates SET metadata = '{\"a\":3}'", "UPDATE candidates SET metadata = '{\"a\":1}'"),
        ("UPDATE packages SET name = 'bask' WHERE name = 'bash'", "UPDATE packages SET name = 'bash' WHERE name = 'bask'"),
        ("UPDATE rejections SET excerpt = excerpt || ' '", "UPDATE rejections SET excerpt = trim(excerpt)"),
        ("UPDATE update_batches SET received_at = received_at + 1", "UPDATE update_batches SET received_at = received_at - 1"),
        ("UPDATE texts SET text = '0' WHERE text = '1'", "UPDATE texts SET text = '1' WHERE text = '0'"),
    ];
    for (alter, mend) in everywhere {
        database.run(alter);
        let found = first_bad(&database.open().await, &key).await;
        let named = batches.iter().any(|(entry, _)| found == Some(FaultAt::Entry(*entry)));
        assert!(named, "{alter}: {found:?}");
        database.run(mend);
        assert_eq!(first_bad(&database.open().await, &key).await, None, "{mend}");
    }
    database.run("DELETE FROM update_events WHERE sequence = 1");
    let found = first_bad(&database.open().await, &key).await;
    assert_eq!(found, Some(FaultAt::Entry(batches[0].0)), "an event is gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_alteration_of_an_entry_on_sqlite_is_found() {
    let directory = tempfile::tempdir().unwrap();
    every_alteration_of_an_entry_is_found(Altered::Sqlite(directory.path().join("fleet.db")).open().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_alteration_of_a_batch_on_sqlite_is_found() {
    let directory = tempfile::tempdir().unwrap();
    every_alteration_of_a_batch_is_found(Altered::Sqlite(directory.path().join("fleet.db"))).await;
}

/// Deletion keeps the proof: what retention and removals took leaves a log without fault.
#[tokio::test]
async fn what_is_deleted_by_its_commands_leaves_no_fault() {
    use redflag_core::{audit::entry::By, names::Text, retention::RetentionWindow};
    let harness = Harness::new();
    let (app, key) = (&harness.app, AuditKey::new());
    let (agent, gone) = (harness.agent("web-1").await, harness.agent("web-2").await);
    for (sequence, days) in [(1, 100), (2, 60), (3, 1)] {
        let version = format!("2.{sequence}");
        harness.reported_ago(&agent, days, sequence, "apt", &[offer("bash", "1", &version, "low")]).await;
        harness.reported_ago(&gone, days, sequence, "apt", &[offer("bash", "1", &version, "low")]).await;
    }
    let (window, by) = (RetentionWindow::days(30).unwrap(), By::Server);
    app.audit.before_pruning(None, by.clone(), window.begins_at(app.now()), app.now()).await.unwrap();
    app.fleet.prune(agent.id, window, app.now()).await.unwrap();
    app.audit.before_removal(gone.id, by, &Text::lossy("scrapped"), app.now()).await.unwrap();
    app.fleet.remove_agent(gone.id, redflag_core::event::Actor::Agent, None, app.now()).await.unwrap();
    app.audit.checkpoint(&key).await.unwrap();
    let found = app.audit.verify(vec![key.public_key()], |_| ()).await.unwrap();
    assert_eq!((found.batches, found.batches_gone), (1, 5), "{found:?}");
}

/// What is gone though nothing was put down of it is named, whatever else was.
pub(crate) async fn what_goes_without_an_entry_is_found(fleet: Fleet) {
    use redflag_core::{audit::entry::By, event::Actor, names::Text, retention::RetentionWindow};
    let (harness, key) = (Harness::over(fleet.clone()), AuditKey::new());
    let audit = &harness.app.audit;
    let (kept, pruned, gone) = (harness.agent("web-1").await, harness.agent("web-2").await, harness.agent("web-3").await);
    for agent in [&kept, &pruned, &gone] {
        for (sequence, days) in [(1, 100), (2, 60), (3, 1)] {
            let version = format!("2.{sequence}");
            harness.reported_ago(agent, days, sequence, "apt", &[offer("bash", "1", &version, "low")]).await;
        }
    }
    audit.seal_feed().await.unwrap();
    audit.checkpoint(&key).await.unwrap();
    let entries = audit.entries(1..=500).await.unwrap();
    let batches_of = |agent: &TestAgent| {
        let of_agent = entries.iter().filter(|link| link.entry.batch.as_ref().is_some_and(|batch| batch.agent == agent.id));
        of_agent.map(|link| link.entry.number).collect::<Vec<_>>()
    };
    let first_of = |agent: &TestAgent| Some(FaultAt::Entry(batches_of(agent)[0]));
    let (now, by, reason) = (harness.app.now(), By::Server, Text::lossy("scrapped"));
    let window = |days: u32| RetentionWindow::days(days).unwrap();
    assert_eq!(first_bad(&fleet, &key).await, None);

    // Retention of what nobody wanted to go, of another agent, and of less.
    fleet.prune(pruned.id, window(30), now).await.unwrap();
    assert_eq!(first_bad(&fleet, &key).await, first_of(&pruned));
    audit.before_pruning(Some(kept.id), by.clone(), window(30).begins_at(now), now).await.unwrap();
    audit.before_removal(kept.id, by.clone(), &reason, now).await.unwrap();
    assert_eq!(first_bad(&fleet, &key).await, first_of(&pruned));
    audit.before_pruning(None, by.clone(), window(90).begins_at(now), now).await.unwrap();
    assert_eq!(first_bad(&fleet, &key).await, Some(FaultAt::Entry(batches_of(&pruned)[1])), "the first is explained, the second is not");
    audit.before_pruning(Some(pruned.id), by.clone(), window(30).begins_at(now), now).await.unwrap();
    assert_eq!(first_bad(&fleet, &key).await, None);

    // A removal in another agent's name.
    let second = batches_of(&gone)[1];
    fleet.remove_agent(gone.id, Actor::Agent, None, now).await.unwrap();
    assert_eq!(first_bad(&fleet, &key).await, Some(FaultAt::Entry(second)), "the first is explained by retention of all");
    let entries = audit.entries(1..=500).await.unwrap();
    audit.checkpoint(&key).await.unwrap();
    // A bad entry may be the one that explains, so it comes first.
    let last = entries.last().unwrap();
    let block = redflag_core::audit::chain::key(last.entry.number);
    let record = fleet.store().get("audit", &block).await.unwrap().unwrap();
    let altered = record.value.replace("\"window\":\"20", "\"window\":\"19");
    let revision = fleet.store().put("audit", &block, &altered, Expected::Revision(record.revision)).await.unwrap().unwrap();
    assert_eq!(first_bad(&fleet, &key).await, Some(FaultAt::Entry(last.entry.number)));
    fleet.store().put("audit", &block, &record.value, Expected::Revision(revision)).await.unwrap().unwrap();
    assert_eq!(first_bad(&fleet, &key).await, Some(FaultAt::Entry(second)));
}

#[tokio::test]
async fn what_goes_without_an_entry_on_sqlite_is_found() {
    what_goes_without_an_entry_is_found(Fleet::new(redflag_store_sqlite::SqliteStore::in_memory().unwrap())).await;
}

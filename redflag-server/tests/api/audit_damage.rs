//! A log whose end cannot be read: what a server does then, and how the log goes on.

use crate::{
    audit_drills::lived,
    commands::Scene,
    support::{Harness, offer},
};
use redflag_core::{
    Fleet,
    audit::{
        AuditKind,
        chain::key,
        damage::Gap,
        entry::{By, Note},
        verify::{FaultAt, Verifier},
        witness::{Kept, go_along},
    },
    names::Text,
    store::Expected,
};
use redflag_server::{
    Role, Server, Settings,
    audit::{AuditKey, AuditLog, DamagedEnd, Verified, VerifyError},
    clock,
};
use redflag_store_sqlite::SqliteStore;
use serde_json::json;
use std::{error::Error as _, time::Duration};

const BLOCKS: &str = "audit";
const KEPT: &str = "audit-damaged";

async fn verified(fleet: &Fleet, key: &AuditKey) -> Result<Verified, FaultAt> {
    AuditLog::new(fleet.clone()).verify(vec![key.public_key()], |_| ()).await.map_err(|error| match error {
        VerifyError::Fault(fault) => fault.at,
        error => panic!("{error:?}"),
    })
}

/// Writes a record whatever is there.
async fn write(fleet: &Fleet, namespace: &str, under: &str, text: Option<&str>) {
    let (store, found) = (fleet.store(), fleet.store().get(namespace, under).await.unwrap());
    match (found, text) {
        (Some(record), Some(text)) => drop(store.put(namespace, under, text, Expected::Revision(record.revision)).await.unwrap().unwrap()),
        (None, Some(text)) => drop(store.put(namespace, under, text, Expected::Absent).await.unwrap().unwrap()),
        (Some(record), None) => assert!(store.delete(namespace, under, record.revision).await.unwrap()),
        (None, None) => {}
    }
}

async fn records(fleet: &Fleet, namespace: &str) -> Vec<(String, String)> {
    let records = fleet.store().list(namespace, None, 500).await.unwrap();
    records.into_iter().map(|(key, record)| (key, record.value)).collect()
}

async fn noted(log: &AuditLog) -> Result<(), redflag_core::store::StoreError> {
    log.note(Note::new(AuditKind::SignInRefused, By::Stranger, clock::now())).await
}

async fn continued(fleet: &Fleet) -> Option<u64> {
    let (log, by) = (AuditLog::new(fleet.clone()), By::CommandLine { name: Text::lossy("Ada") });
    let link = log.continue_behind_damage(by, &Text::lossy("a disk failed"), clock::now()).await.unwrap()?;
    Some(link.entry.number)
}

/// What an export comes to.
async fn exported(fleet: &Fleet, key: &AuditKey) -> redflag_core::audit::verify::Summary {
    let (log, mut verifier) = (AuditLog::new(fleet.clone()), Verifier::new(vec![key.public_key()]));
    let mut lines = log.lines();
    loop {
        let some = lines.next().await.unwrap();
        if some.is_empty() {
            return verifier.finish().unwrap();
        }
        some.iter().for_each(|line| verifier.line(line).unwrap());
    }
}

/// The last one, two, … and all blocks cannot be read: nothing is put down until somebody says that the log goes on, and then it does.
pub(crate) async fn a_log_goes_on_behind_a_damaged_end_wherever_that_is(fleet: Fleet) {
    let key_of_log = lived(fleet.clone()).await;
    let (blocks, checkpoints) = (records(&fleet, BLOCKS).await, records(&fleet, "audit-checkpoints").await);
    let entries = AuditLog::new(fleet.clone()).place().await.unwrap().number;
    let newest = AuditLog::new(fleet.clone()).newest_checkpoint().await.unwrap().unwrap();
    assert_eq!(continued(&fleet).await, None, "its end can be read");
    for damaged in 1..=blocks.len() {
        let cut = blocks.len() - damaged;
        for (index, (under, text)) in blocks.iter().enumerate().skip(cut) {
            let rotten = if index % 2 == 0 { "rotten".to_owned() } else { text.replacen('{', "[", 3) };
            write(&fleet, BLOCKS, under, Some(&rotten)).await;
        }
        let after = if cut == 0 { 0 } else { blocks[cut].0.parse::<u64>().unwrap() - 1 };
        assert_eq!(verified(&fleet, &key_of_log).await, Err(FaultAt::Entry(after + 1)));
        let refused = noted(&AuditLog::new(fleet.clone())).await.unwrap_err();
        let why = refused.source().unwrap();
        assert!(why.is::<DamagedEnd>() && why.to_string().contains("redflag-server audit continue"), "{why}");

        let number = continued(&fleet).await.unwrap();
        assert!(number > entries, "no lost entry had its number");
        assert_eq!(records(&fleet, KEPT).await.len(), damaged, "what cannot be read is kept");
        let log = AuditLog::new(fleet.clone());
        noted(&log).await.unwrap();
        log.seal_feed().await.unwrap();
        let next = log.checkpoint(&key_of_log).await.unwrap().unwrap();
        let found = verified(&fleet, &key_of_log).await.unwrap();
        let [Gap { after: before, continued: at, digest, signed }] = found.log.gaps[..] else { panic!("{:?}", found.log) };
        assert_eq!((before, at, signed), (after, number, newest.checkpoint.size - after), "{:?}", found.log);
        assert_eq!(log.entries(number..=number).await.unwrap()[0].digest, digest);
        assert_eq!(
            (found.log.covered, found.unsealed),
            (log.place().await.unwrap().number, false),
            "everything is sealed and signed again"
        );
        assert_eq!(exported(&fleet, &key_of_log).await, found.log);
        let kept = Kept::from(newest.envelope.clone());
        let gone_along = go_along(Some(&kept), &[Kept::from(next.envelope.clone())], &key_of_log.public_key());
        assert_eq!(gone_along, Ok(Some(Kept::from(next.envelope.clone()))), "for witnesses the log has not forked");

        // What is kept is covered, and so is the entry that goes on.
        let (kept_under, kept) = records(&fleet, KEPT).await.remove(0);
        for other in [Some("other"), None] {
            write(&fleet, KEPT, &kept_under, other).await;
            assert_eq!(verified(&fleet, &key_of_log).await, Err(FaultAt::Entry(number)), "{other:?}");
            write(&fleet, KEPT, &kept_under, Some(&kept)).await;
        }
        let entry = fleet.store().get(BLOCKS, &key(number)).await.unwrap().unwrap().value;
        write(&fleet, BLOCKS, &key(number), Some(&entry.replace("a disk failed", "all was well"))).await;
        assert_eq!(verified(&fleet, &key_of_log).await, Err(FaultAt::Entry(after + 1)), "it is the next one there is");
        write(&fleet, BLOCKS, &key(number), Some(&entry)).await;

        // It was interrupted before the damaged records were taken out: the next call goes on.
        write(&fleet, BLOCKS, &blocks[cut].0, Some(&kept)).await;
        assert_eq!(verified(&fleet, &key_of_log).await, Err(FaultAt::Entry(after + 1)));
        if damaged == 1 {
            assert_eq!(continued(&fleet).await, None);
            assert_eq!(verified(&fleet, &key_of_log).await, Ok(found));
        }

        for (namespace, before) in [(BLOCKS, &blocks[..]), ("audit-checkpoints", &checkpoints[..]), (KEPT, &[])] {
            for (under, _) in records(&fleet, namespace).await {
                write(&fleet, namespace, &under, None).await;
            }
            for (under, text) in before {
                write(&fleet, namespace, under, Some(text)).await;
            }
        }
        assert!(verified(&fleet, &key_of_log).await.unwrap().log.gaps.is_empty(), "everything was put back");
    }
}

#[tokio::test]
async fn a_log_on_sqlite_goes_on_behind_a_damaged_end() {
    a_log_goes_on_behind_a_damaged_end_wherever_that_is(Fleet::new(SqliteStore::in_memory().unwrap())).await;
}

/// What must be put down is not done; reports are taken all the same, and sealed when the log goes on.
#[tokio::test]
async fn while_its_end_is_damaged_reports_are_taken_and_nothing_is_handed_out() {
    let fleet = Fleet::new(SqliteStore::in_memory().unwrap());
    let scene = Scene::over(fleet.clone()).await;
    scene.approve().await;
    let admin = scene.harness.operator(Role::Admin).await;
    scene.harness.app.audit.seal_feed().await.unwrap();
    let (last, good) = records(&fleet, BLOCKS).await.pop().unwrap();
    write(&fleet, BLOCKS, &last, Some("rotten")).await;

    // Another process, which does not know the end from before.
    let harness = Harness::over(fleet.clone());
    let lease = json!({"limit": 16, "wait_seconds": 0}).to_string();
    let leased = async || harness.send(scene.agent.signed(axum::http::Method::POST, "/api/v1/commands/lease", lease.clone())).await;
    let damaged = (503, "audit_log_damaged".to_owned());
    assert_eq!(leased().await.problem(), damaged);
    let agent = scene.agent.id;
    let asked = harness.post(&scene.operator, &format!("/api/v1/agents/{agent}/commands"), &json!({"action": {"kind": "rescan"}})).await;
    assert_eq!(asked.problem(), damaged);
    assert_eq!(harness.get(&scene.operator, "/api/v1/commands?state=any").await.json()["total"], 1, "only the plan of what was approved");
    let halted = harness.post(&admin, "/api/v1/halt", &json!({"reason": "a drill"})).await;
    assert_eq!(halted.problem().0, 503, "it is not put down");
    assert_eq!(harness.get(&scene.operator, "/api/v1/halt").await.json()["halted"], true, "but halting is not waited with");
    let more = [offer("bash", "5.1-1", "5.1-3", "low"), offer("zlib", "1", "2", "low")];
    harness.reported(&scene.agent, 2, "dnf", &more).await;
    let server = Server::bind(Settings { listen: ([127, 0, 0, 1], 0).into(), ..Settings::default() }, fleet.clone()).await.unwrap();
    let refused = server.run(tokio_util::sync::CancellationToken::new()).await.unwrap_err();
    let cause = refused.source().and_then(std::error::Error::source).expect("a server error with its causes").to_string();
    assert!(cause.contains("redflag-server audit continue"), "{cause}");

    continued(&fleet).await.unwrap();
    let key = AuditKey::new();
    harness.delete(&admin, "/api/v1/halt").await;
    assert_eq!(leased().await.json()["commands"].as_array().unwrap().len(), 1);
    harness.app.audit.seal_feed().await.unwrap();
    harness.app.audit.checkpoint(&key).await.unwrap();
    let found = verified(&fleet, &key).await.unwrap();
    assert_eq!((found.log.gaps.len(), found.unsealed), (1, false), "{found:?}");
    assert!(found.batches >= 3 && good.contains("digest"), "what was sealed in what is lost, and the report, are sealed: {found:?}");
}

/// Waiting agents ask often, and need not all wait for the database: what was seen lately is believed for so long, and no longer.
#[tokio::test]
async fn the_end_is_looked_at_again_when_that_is_long_ago() {
    let fleet = Fleet::new(SqliteStore::in_memory().unwrap());
    let log = AuditLog::new(fleet.clone());
    write(&fleet, BLOCKS, &key(1), Some("rotten")).await;
    let (long, never) = (Duration::from_secs(3_600), Duration::ZERO);
    assert!(log.ready_lately(long).await.is_err(), "nothing was seen yet");
    write(&fleet, BLOCKS, &key(1), None).await;
    noted(&log).await.unwrap();
    let next = key(log.place().await.unwrap().number + 1);
    write(&fleet, BLOCKS, &next, Some("rotten")).await;
    assert!(log.ready_lately(long).await.is_ok());
    assert!(log.ready_lately(never).await.is_err() && log.ready().await.is_err());
    assert!(log.ready_lately(long).await.is_ok(), "what is damaged was not seen as the end");
}

/// A delivery that could not be put down is not answered, and is put down when the agent asks again.
#[tokio::test]
async fn nothing_is_handed_out_that_was_not_put_down() {
    let scene = Scene::over(Fleet::new(SqliteStore::in_memory().unwrap())).await;
    scene.approve().await;
    // Another process leases, and dies before it says so.
    let app = &scene.harness.app;
    app.fleet.request_approved(scene.agent.id, &app.settings.terms, app.now()).await.unwrap();
    let lease = redflag_core::command::step::Step::Lease { limit: 16 };
    assert_eq!(app.fleet.command(scene.agent.id, lease, app.now()).await.unwrap().len(), 1);
    let handed = async || {
        let entries = app.audit.entries(1..=u64::MAX).await.unwrap();
        entries.iter().filter(|link| link.entry.kind == AuditKind::CommandHandedOut).count()
    };
    assert_eq!(handed().await, 0);
    for _ in 0..3 {
        scene.handed(0).await;
        assert_eq!(handed().await, 1, "once, however often it is asked for");
    }
}

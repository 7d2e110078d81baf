//! Agents as witnesses, against a real server: one that goes on is gone along with, one restored from a backup is not.

use crate::support::{Harness, offer};
use redflag_agent::{Agent, AgentHome, EnrolOptions, enrol, forget, witnessed};
use redflag_core::{
    audit::{
        AuditKind,
        entry::{By, Note},
    },
    feed::FeedPosition,
};
use redflag_server::{
    EnrolmentTokenOptions, Server, Settings,
    audit::{AuditLog, keeper},
    clock, open_fleet,
};
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};
use tokio_util::sync::CancellationToken;

/// A server on files of a directory, at an address that stays.
struct Place {
    database: PathBuf,
    key: PathBuf,
    listen: SocketAddr,
}

struct Running {
    log: AuditLog,
    shutdown: CancellationToken,
    serving: tokio::task::JoinHandle<()>,
    token: String,
}

impl Place {
    fn settings(&self) -> Settings {
        Settings {
            listen: self.listen,
            database: self.database.display().to_string(),
            audit_key: Some(self.key.clone()),
            ..Settings::default()
        }
    }

    async fn start(&mut self) -> Running {
        let settings = self.settings();
        let fleet = open_fleet(&settings).await.unwrap();
        let server = Server::bind(settings, fleet).await.unwrap();
        self.listen = server.app().settings.listen;
        let token = server.enrolment_token(EnrolmentTokenOptions::default()).await.unwrap();
        let (log, shutdown) = (server.app().audit.clone(), CancellationToken::new());
        let app = redflag_server::app::AppState::clone(server.app());
        // A checkpoint is there before anybody asks.
        keeper::begin(&app).await.unwrap();
        keeper::finish(&app).await.unwrap();
        let stop = shutdown.clone();
        let serving = tokio::spawn(async move { server.run(stop).await.unwrap() });
        Running { log, shutdown, serving, token }
    }
}

impl Running {
    /// Ends it as an init system does: what is there is sealed and signed.
    async fn stop(self) {
        self.shutdown.cancel();
        self.serving.await.unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap();
}

async fn report(home: &AgentHome) {
    let mut agent = Agent::open(home.clone(), Vec::new()).unwrap();
    let summary = agent.report(&mut redflag_agent::Silent).await.unwrap();
    assert!(matches!(summary.delivery, redflag_agent::Delivery::Delivered(_)), "{summary:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_restored_from_a_backup_is_found_by_its_witnesses() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let mut place = Place { database: path("fleet.db"), key: path("audit.key"), listen: (Ipv4Addr::LOCALHOST, 0).into() };
    let running = place.start().await;
    let home = AgentHome::open(path("agent")).unwrap();
    let url = format!("http://{}", place.listen);
    enrol(&home, &EnrolOptions { server: url, token: running.token.clone(), name: Some("web-1".to_owned()), ..EnrolOptions::default() })
        .await
        .unwrap();
    report(&home).await;
    let first = witnessed(&home).unwrap().expect("it keeps the checkpoint it was shown");
    assert!(first.checkpoint >= Some(1) && first.objection.is_none(), "{first:?}");
    running.stop().await;
    copy(&path("fleet.db"), &path("backup.db"));

    // It goes on, and the witness with it.
    let running = place.start().await;
    report(&home).await;
    let second = witnessed(&home).unwrap().unwrap();
    assert!(second.checkpoint > first.checkpoint && second.objection.is_none(), "{second:?}");
    running.stop().await;

    // The backup is restored and goes on differently.
    for leftover in ["fleet.db-wal", "fleet.db-shm"] {
        drop(std::fs::remove_file(path(leftover)));
    }
    copy(&path("backup.db"), &path("fleet.db"));
    let running = place.start().await;
    report(&home).await;
    let third = witnessed(&home).unwrap().unwrap();
    let (_, what) = third.objection.clone().expect("it objects");
    assert!(what.contains("checkpoint") && third.checkpoint == second.checkpoint, "{third:?}");
    report(&home).await;
    assert_eq!(witnessed(&home).unwrap().unwrap(), third, "and keeps what it kept");
    let entries = running.log.entries(1..=u64::MAX).await.unwrap();
    let told = entries.iter().filter(|link| link.entry.kind == AuditKind::ForkReported).count();
    assert_eq!(told, 1, "the server has put it down, once");

    // A person of the host accepts the restored log.
    assert_eq!(forget(&home).unwrap(), Some(third));
    report(&home).await;
    let anew = witnessed(&home).unwrap().unwrap();
    assert!(anew.objection.is_none() && anew.checkpoint.is_some(), "{anew:?}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_another_audit_key_is_not_believed() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let mut place = Place { database: path("fleet.db"), key: path("audit.key"), listen: (Ipv4Addr::LOCALHOST, 0).into() };
    let running = place.start().await;
    let home = AgentHome::open(path("agent")).unwrap();
    let url = format!("http://{}", place.listen);
    enrol(&home, &EnrolOptions { server: url, token: running.token.clone(), ..EnrolOptions::default() }).await.unwrap();
    report(&home).await;
    running.stop().await;
    std::fs::remove_file(path("audit.key")).unwrap();
    let running = place.start().await;
    report(&home).await;
    let (_, what) = witnessed(&home).unwrap().unwrap().objection.expect("it objects");
    assert!(what.contains("not trusted here"), "{what}");
    let entries = running.log.entries(1..=u64::MAX).await.unwrap();
    assert!(entries.iter().any(|link| link.entry.kind == AuditKind::AuditKeyChanged), "and the log says so itself");
    running.stop().await;
}

/// What a server does when it stops, alone: no task that seals or signs by itself runs beside it.
#[tokio::test]
async fn what_a_stopping_server_leaves_is_sealed_and_signed() {
    let harness = Harness::new();
    let (app, agent) = (&harness.app, harness.agent("web-1").await);
    for sequence in 1..=3 {
        harness.reported(&agent, sequence, "apt", &[offer("bash", "1", &format!("2.{sequence}"), "low")]).await;
        keeper::finish(app).await.unwrap();
        let (place, newest) = (app.audit.place().await.unwrap(), app.audit.newest_checkpoint().await.unwrap().unwrap());
        let unsealed = app.fleet.store().feed(place.sealed, 1).await.unwrap();
        assert!(unsealed.is_empty() && place.sealed > FeedPosition::START, "{place:?}");
        assert_eq!(newest.checkpoint.size, place.number, "it stands for everything");
    }
}

/// A server of its own ends, and what was put down last is in its last checkpoint.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_signs_what_it_leaves() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let mut place = Place { database: path("fleet.db"), key: path("audit.key"), listen: (Ipv4Addr::LOCALHOST, 0).into() };
    let running = place.start().await;
    let log = running.log.clone();
    log.note(Note::new(AuditKind::Halted, By::Server, clock::now())).await.unwrap();
    running.stop().await;
    let (last, newest) = (log.place().await.unwrap(), log.newest_checkpoint().await.unwrap().unwrap());
    assert_eq!(newest.checkpoint.size, last.number);
}

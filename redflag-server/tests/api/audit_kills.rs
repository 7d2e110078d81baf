//! `kill -9` of the server's binary while it seals, appends and signs: the chain stays whole, and every batch is sealed exactly once.

use crate::{
    process::Running,
    support::{Harness, TestAgent, offer},
};
use redflag_core::{
    Fleet,
    audit::AuditKind,
    conformance::{Findings, generate::Rng},
    feed::FeedPosition,
};
use redflag_faults::Campaign;
use redflag_server::{
    Settings,
    audit::{AuditKey, AuditLog, Verified},
    open_fleet,
};
use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Batches that wait to be sealed when a server starts: several blocks, so that a kill comes between two of them.
const WAITING: usize = 500;
/// Kills of one server, after which another one begins.
const KILLS: u32 = 10;

/// A database whose server is killed, and what waits there to be sealed.
struct Victim {
    database: String,
    keys: PathBuf,
    harness: Harness,
    agent: TestAgent,
    reports: u64,
    /// How long a server takes from its first word until everything is sealed.
    sealing: Duration,
}

/// What the kills hit.
#[derive(Default)]
struct Hit {
    /// Servers that died with some of the waiting batches sealed.
    midway: u32,
    /// Servers that were about to stop, so that they sealed and signed the rest.
    stopping: u32,
}

impl Victim {
    async fn new(database: String, keys: &Path) -> Self {
        let fleet = opened(&database).await;
        let harness = Harness::with(fleet, Settings { batch_events: 1, ..Settings::default() });
        let agent = harness.agent("web-1").await;
        let mut victim = Self { database, keys: keys.to_owned(), harness, agent, reports: 0, sealing: Duration::ZERO };
        victim.wait_to_be_sealed().await;
        let running = victim.start().await;
        let begun = Instant::now();
        victim.until_sealed().await;
        victim.sealing = begun.elapsed();
        running.kill().await;
        victim
    }

    /// Adds batches while no server runs.
    async fn wait_to_be_sealed(&mut self) {
        self.reports += 1;
        let version = format!("2.{}", self.reports);
        let offers: Vec<_> = (0..WAITING).map(|number| offer(&format!("package-{number}"), "1", &version, "low")).collect();
        self.harness.reported_ago(&self.agent, 0, self.reports, "apt", &offers).await;
    }

    async fn start(&self) -> Running {
        let (audit_key, signing_key) = (self.keys.join("audit.key"), self.keys.join("signing.key"));
        let arguments = [OsStr::new("--audit-key"), audit_key.as_os_str(), OsStr::new("--signing-key"), signing_key.as_os_str()];
        Running::start_with(&self.database, &arguments, 1).await
    }

    fn log(&self) -> AuditLog {
        // Nothing is remembered from before.
        AuditLog::new(self.harness.app.fleet.clone())
    }

    async fn sealed(&self) -> u64 {
        self.log().place().await.unwrap().sealed.0
    }

    /// How far the feed has come.
    async fn feed(&self) -> u64 {
        self.harness.app.fleet.store().feed_grown(FeedPosition::START).await.unwrap().0
    }

    async fn until_sealed(&self) {
        while self.sealed().await < self.feed().await {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn verified(&self) -> Verified {
        let key = AuditKey::read(&self.keys.join("audit.key")).unwrap().unwrap();
        self.log().verify(vec![key.public_key()], |_| ()).await.expect("the chain is whole after every kill")
    }

    /// Kills a server while it seals what waits, or while it stops.
    async fn kill(&mut self, rng: &mut Rng, hit: &mut Hit) {
        let (sealed, feed) = (self.sealed().await, self.feed().await);
        if sealed == feed {
            self.wait_to_be_sealed().await;
        }
        let before = self.sealed().await;
        let running = self.start().await;
        let moment = |rng: &mut Rng| Duration::from_micros(rng.next() % (self.sealing.as_micros() as u64 + 1));
        if rng.chance(30) {
            hit.stopping += 1;
            tokio::time::sleep(moment(rng) / 2).await;
            running.signal("TERM").await;
        }
        if rng.chance(50) {
            // One block is there, and the next is being made.
            while self.sealed().await == before {
                tokio::time::sleep(Duration::from_micros(200)).await;
            }
            tokio::time::sleep(moment(rng) / 8).await;
        } else {
            tokio::time::sleep(moment(rng)).await;
        }
        running.kill().await;
        let after = self.sealed().await;
        hit.midway += u32::from(before < after && after < self.feed().await);
    }

    /// Lets a server end in peace: everything is sealed once, and signed. Answers how many events that are, one in each batch.
    async fn settle(&self) -> u64 {
        let mut running = self.start().await;
        self.until_sealed().await;
        running.signal("TERM").await;
        assert!(running.child.wait().await.unwrap().success());
        let found = self.verified().await;
        let entries = self.log().entries(1..=u64::MAX).await.unwrap();
        let positions: Vec<u64> = entries.iter().filter_map(|link| link.entry.batch.as_ref().map(|batch| batch.position.0)).collect();
        assert_eq!(positions, (1..=self.feed().await).collect::<Vec<_>>(), "every batch once, in the order of the feed");
        assert_eq!((found.batches, found.unsealed), (positions.len() as u64, false), "{found:?}");
        assert_eq!(found.log.covered, found.log.entries, "{found:?}");
        let starts = entries.iter().filter(|link| link.entry.kind == AuditKind::ServerStarted).count();
        assert!(starts as u32 <= KILLS + 2, "{starts}");
        found.batches
    }
}

async fn opened(database: &str) -> Fleet {
    open_fleet(&Settings { database: database.to_owned(), ..Settings::default() }).await.unwrap()
}

/// Kills the server of one database again and again. `settled` returns once nothing is under way in the database any more.
async fn kill_again_and_again(campaign: &mut Campaign, database: String, keys: &Path, mut rng: Rng, hit: &mut Hit, settled: impl Fn()) {
    let mut victim = Victim::new(database, keys).await;
    settled();
    for _ in 0..KILLS {
        if campaign.cycle() {
            victim.kill(&mut rng, hit).await;
            settled();
            victim.verified().await;
        }
    }
    campaign.add(&Findings { events: victim.settle().await, ..Findings::default() });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_while_it_seals_on_sqlite_leaves_a_whole_chain() {
    let mut campaign =
        Campaign::new("server on SQLite killed while it seals", "-p redflag-server --test api killed_while_it_seals_on_sqlite", 8);
    let mut hit = Hit::default();
    while let Some((_, rng)) = campaign.seed() {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("fleet.db").to_str().unwrap().to_owned();
        kill_again_and_again(&mut campaign, database, directory.path(), rng, &mut hit, || {}).await;
    }
    let Hit { midway, stopping } = hit;
    assert!(midway > 0, "no kill came while something was sealed");
    campaign.end(&format!("{midway} killed with some of what waited sealed, {stopping} while they stopped"));
}

/// A block of the killed server may still be on its way into PostgreSQL.
#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_while_it_seals_on_postgres_leaves_a_whole_chain() {
    let mut campaign =
        Campaign::new("server on PostgreSQL killed while it seals", "-p redflag-server --test api killed_while_it_seals_on_postgres", 6);
    let cluster = redflag_faults::Cluster::new(&[]);
    let mut hit = Hit::default();
    while let Some((_, rng)) = campaign.seed() {
        let directory = tempfile::tempdir().unwrap();
        kill_again_and_again(&mut campaign, cluster.url(), directory.path(), rng, &mut hit, || cluster.wait_until_idle()).await;
        cluster.sql("DROP SCHEMA redflag CASCADE");
    }
    let Hit { midway, stopping } = hit;
    assert!(midway > 0, "no kill came while something was sealed");
    campaign.end(&format!("{midway} killed with some of what waited sealed, {stopping} while they stopped"));
}

//! What the store is held against.
//!
//! - `raw`, the limit: prepared inserts of the same texts into one table without any index, one transaction.
//! - `naive`, the design this one replaces: four statements an event (look, log, upsert, history), random version-4 ids in text as
//!   keys, times in text, the rest of the offer as metadata in the event and again in the state, fifteen indexes over text columns,
//!   three foreign keys, transactions of 100. It is a reconstruction, and the indexes of its three tables are those that the lists
//!   of that design ask for; what it takes on disk is printed, to be held against the 1,525 bytes an event of the design replaced.

use crate::workload::Offers;
use redflag_core::{
    conformance::generate::{Rng, agent, at},
    names::PackageKey,
    offer::Offer,
};
use rusqlite::{Connection, params};
use std::path::Path;

fn open(path: &Path, tables: &str) -> Connection {
    let connection = Connection::open(path).expect("the file opens");
    connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;").expect("settings");
    connection.execute_batch(tables).expect("tables");
    connection
}

fn flat(offers: &Offers) -> impl Iterator<Item = &(PackageKey, Offer)> {
    offers.iter().flat_map(|(_, offers)| offers)
}

/// The limit of the disk format.
pub(crate) struct Raw {
    connection: Connection,
    texts: Vec<String>,
}

impl Raw {
    pub(crate) fn new(path: &Path, offers: &Offers) -> Self {
        let connection = open(path, "CREATE TABLE raw (agent, manager, name, arch, installed, version, severity, origin, metadata)");
        let texts = flat(offers).map(|(_, offer)| serde_json::to_string(offer).expect("offers serialise")).collect();
        Self { connection, texts }
    }

    pub(crate) fn report(&self, offers: &Offers) {
        self.connection.execute_batch("BEGIN IMMEDIATE").expect("begins");
        let mut insert = self.connection.prepare("INSERT INTO raw VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)").expect("prepares");
        for ((package, offer), text) in flat(offers).zip(&self.texts) {
            let candidate = &offer.candidate;
            insert
                .execute(params![
                    "a9e00000-0000-4000-8000-000000000001",
                    package.manager.as_str(),
                    package.name.as_str(),
                    package.arch.as_ref().map(AsRef::<str>::as_ref),
                    offer.installed.as_ref().map(AsRef::<str>::as_ref),
                    candidate.version.as_str(),
                    candidate.severity.as_str(),
                    candidate.origin.as_ref().map(AsRef::<str>::as_ref),
                    text,
                ])
                .expect("inserts");
        }
        self.connection.execute_batch("COMMIT").expect("commits");
    }
}

/// The design replaced.
pub(crate) struct Naive {
    connection: Connection,
    /// What has no column of its own.
    metadata: Vec<String>,
}

impl Naive {
    pub(crate) fn new(path: &Path, offers: &Offers) -> Self {
        let rest = |(_, offer): &(PackageKey, Offer)| {
            let candidate = &offer.candidate;
            let rest = (&candidate.description, &candidate.advisories, candidate.size_bytes, candidate.security, &offer.availability);
            serde_json::to_string(&rest).expect("offers serialise")
        };
        Self { connection: open(path, NAIVE), metadata: flat(offers).map(rest).collect() }
    }

    pub(crate) fn report(&self, offers: &Offers, host: u32) {
        let Self { connection, metadata } = self;
        let mut rng = Rng::new(u64::from(host));
        let mut id = || uuid::Builder::from_random_bytes(rng.uuid().into_bytes()).into_uuid().to_string();
        let (agent, now) = (agent(host).to_string(), at(host).to_string());
        connection.execute("INSERT INTO agents VALUES (?1)", [&agent]).expect("inserts");
        let mut known = connection
            .prepare("SELECT available_version FROM states WHERE agent_id = ?1 AND package_type = ?2 AND package_name = ?3")
            .expect("prepares");
        let mut event =
            connection.prepare("INSERT INTO events VALUES (?1, ?2, 'discovered', ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)").expect("prepares");
        let mut state = connection
            .prepare(
                "INSERT INTO states VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 'pending', ?10, ?10)
                 ON CONFLICT (agent_id, package_type, package_name) DO UPDATE SET
                     available_version = excluded.available_version, metadata = excluded.metadata",
            )
            .expect("prepares");
        let mut history = connection.prepare("INSERT INTO history VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)").expect("prepares");
        let all: Vec<_> = flat(offers).zip(metadata).collect();
        for chunk in all.chunks(100) {
            connection.execute_batch("BEGIN IMMEDIATE").expect("begins");
            for ((package, offer), text) in chunk {
                let candidate = &offer.candidate;
                let (manager, name) = (package.manager.as_str(), package.name.as_str());
                let installed = offer.installed.as_ref().map(AsRef::<str>::as_ref);
                let (version, severity) = (candidate.version.as_str(), candidate.severity.as_str());
                let origin = candidate.origin.as_ref().map(AsRef::<str>::as_ref);
                assert!(!known.exists(params![agent, manager, name]).expect("selects"));
                let event_id = id();
                event.execute(params![event_id, agent, manager, name, installed, version, severity, origin, text, now]).expect("inserts");
                state.execute(params![id(), agent, manager, name, installed, version, severity, origin, text, now]).expect("upserts");
                history.execute(params![id(), agent, manager, name, installed, version, event_id, now]).expect("inserts");
            }
            connection.execute_batch("COMMIT").expect("commits");
        }
    }
}

const NAIVE: &str = "
    CREATE TABLE agents (id TEXT PRIMARY KEY);
    CREATE TABLE events (
        id TEXT PRIMARY KEY, agent_id TEXT NOT NULL REFERENCES agents (id), event_type TEXT NOT NULL, package_type TEXT NOT NULL,
        package_name TEXT NOT NULL, version_from TEXT, version_to TEXT NOT NULL, severity TEXT NOT NULL, repository_source TEXT,
        metadata TEXT NOT NULL, created_at TEXT NOT NULL);
    CREATE INDEX events_agent ON events (agent_id);
    CREATE INDEX events_package ON events (package_name);
    CREATE INDEX events_created ON events (created_at);
    CREATE INDEX events_severity ON events (severity);
    CREATE TABLE states (
        id TEXT PRIMARY KEY, agent_id TEXT NOT NULL REFERENCES agents (id), package_type TEXT NOT NULL, package_name TEXT NOT NULL,
        current_version TEXT, available_version TEXT NOT NULL, severity TEXT NOT NULL, repository_source TEXT,
        metadata TEXT NOT NULL, status TEXT NOT NULL, last_discovered_at TEXT NOT NULL, last_updated_at TEXT NOT NULL,
        UNIQUE (agent_id, package_type, package_name));
    CREATE INDEX states_status ON states (status);
    CREATE INDEX states_severity ON states (severity);
    CREATE INDEX states_package ON states (package_name);
    CREATE INDEX states_updated ON states (last_updated_at);
    CREATE TABLE history (
        id TEXT PRIMARY KEY, agent_id TEXT NOT NULL REFERENCES agents (id), package_type TEXT NOT NULL, package_name TEXT NOT NULL,
        version_from TEXT, version_to TEXT NOT NULL, event_id TEXT NOT NULL, created_at TEXT NOT NULL);
    CREATE INDEX history_agent ON history (agent_id);
    CREATE INDEX history_package ON history (package_name);
    CREATE INDEX history_created ON history (created_at);";

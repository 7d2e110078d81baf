//! The design this one replaces: four statements an event (look, log, upsert, history), random version-4 ids as keys, the rest of
//! an offer as JSON in every table, fifteen indexes, three foreign keys, transactions of 100, statements prepared once.
//!
//! It is a reconstruction. What it takes on disk is printed, to be held against the 490, 576 and 486 bytes an event that the
//! original's three tables were measured at.

use crate::{
    cluster::{number, script},
    workload::{Host, rest},
};
use redflag_core::{
    conformance::generate::{Rng, agent},
    names::PackageKey,
    offer::Offer,
};
use sqlx::{Executor as _, PgConnection};
use uuid::Uuid;

pub(crate) const TABLES: [&str; 3] = ["naive.update_events", "naive.current_package_state", "naive.update_version_history"];

pub(crate) struct Naive {
    connection: PgConnection,
    rng: Rng,
    offers: Vec<(PackageKey, Offer, String)>,
    hosts: u32,
}

impl Naive {
    pub(crate) async fn new(mut connection: PgConnection, host: &Host) -> Self {
        script(&mut connection, SCHEMA).await;
        let offers = host.offers().map(|(package, offer)| (package.clone(), offer.clone(), rest(offer)));
        Self { connection, rng: Rng::new(1), offers: offers.collect(), hosts: 0 }
    }

    /// Stores the first report of another host, durably.
    pub(crate) async fn report(&mut self) {
        let agent = agent(self.hosts).as_uuid();
        self.hosts += 1;
        self.connection.execute(sqlx::query("INSERT INTO naive.agents VALUES ($1)").bind(agent)).await.expect("inserts");
        for chunk in self.offers.chunks(100) {
            self.connection.execute("BEGIN").await.expect("begins");
            for (package, offer, metadata) in chunk {
                let connection = &mut self.connection;
                event(connection, &mut self.rng, agent, package, offer, metadata).await.expect("the event is stored");
            }
            self.connection.execute("COMMIT").await.expect("commits");
        }
    }

    /// Bytes on disk an event, indexes included, of each table.
    pub(crate) async fn bytes(&mut self) -> [i64; 3] {
        let events = number(&mut self.connection, "SELECT COUNT(*) FROM naive.update_events").await;
        let mut bytes = [0; 3];
        for (bytes, table) in bytes.iter_mut().zip(TABLES) {
            *bytes = number(&mut self.connection, &format!("SELECT pg_total_relation_size('{table}')")).await / events;
        }
        bytes
    }
}

async fn event(
    connection: &mut PgConnection,
    rng: &mut Rng,
    agent: Uuid,
    package: &PackageKey,
    offer: &Offer,
    metadata: &str,
) -> Result<(), sqlx::Error> {
    let mut id = || uuid::Builder::from_random_bytes(rng.uuid().into_bytes()).into_uuid();
    let (manager, name) = (package.manager.as_str(), package.name.as_str());
    let candidate = &offer.candidate;
    let installed = offer.installed.as_ref().map(AsRef::<str>::as_ref);
    let origin = candidate.origin.as_ref().map(AsRef::<str>::as_ref);
    let look = sqlx::query(
        "SELECT available_version FROM naive.current_package_state
         WHERE agent_id = $1 AND package_type = $2 AND package_name = $3",
    );
    let found = connection.fetch_optional(look.bind(agent).bind(manager).bind(name)).await?;
    assert!(found.is_none(), "a first report");
    let bound = |sql: &'static str, id: Uuid| {
        let statement = sqlx::query(sql).bind(id).bind(agent).bind(manager).bind(name).bind(installed);
        statement.bind(candidate.version.as_str()).bind(candidate.severity.as_str()).bind(origin).bind(metadata)
    };
    let log = "INSERT INTO naive.update_events
        (id, agent_id, package_type, package_name, version_from, version_to, severity, repository_source, metadata, event_type)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::text::jsonb, 'discovered')";
    connection.execute(bound(log, id())).await?;
    let upsert = "INSERT INTO naive.current_package_state
        (id, agent_id, package_type, package_name, current_version, available_version, severity, repository_source, metadata)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::text::jsonb)
        ON CONFLICT (agent_id, package_type, package_name) DO UPDATE SET
            available_version = excluded.available_version, metadata = excluded.metadata, last_updated_at = now()";
    connection.execute(bound(upsert, id())).await?;
    let history = "INSERT INTO naive.update_version_history
        (id, agent_id, package_type, package_name, version_from, version_to, severity, repository_source, metadata)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::text::jsonb)";
    connection.execute(bound(history, id())).await?;
    Ok(())
}

const SCHEMA: &str = "
    CREATE SCHEMA naive;
    SET search_path TO naive;
    CREATE TABLE agents (id uuid PRIMARY KEY);
    CREATE TABLE update_events (
        id                uuid PRIMARY KEY,
        agent_id          uuid NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
        package_type      varchar(50) NOT NULL,
        package_name      text NOT NULL,
        version_from      text,
        version_to        text NOT NULL,
        severity          varchar(20) NOT NULL CHECK (severity IN ('critical', 'important', 'moderate', 'low', 'unknown')),
        repository_source text,
        metadata          jsonb DEFAULT '{}',
        event_type        varchar(20) NOT NULL CHECK (event_type IN ('discovered', 'updated', 'failed', 'ignored')),
        created_at        timestamptz DEFAULT now());
    CREATE INDEX ON update_events (agent_id, created_at DESC);
    CREATE INDEX ON update_events (package_name, package_type);
    CREATE INDEX ON update_events (severity, event_type);
    CREATE TABLE current_package_state (
        id                 uuid PRIMARY KEY,
        agent_id           uuid NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
        package_type       varchar(50) NOT NULL,
        package_name       text NOT NULL,
        current_version    text,
        available_version  text NOT NULL,
        severity           varchar(20) NOT NULL CHECK (severity IN ('critical', 'important', 'moderate', 'low', 'unknown')),
        repository_source  text,
        metadata           jsonb DEFAULT '{}',
        last_discovered_at timestamptz DEFAULT now(),
        last_updated_at    timestamptz DEFAULT now(),
        status             varchar(20) DEFAULT 'pending' CHECK (status IN ('pending', 'approved', 'updated', 'failed', 'ignored', 'installing')),
        UNIQUE (agent_id, package_type, package_name));
    CREATE INDEX ON current_package_state (agent_id, status);
    CREATE INDEX ON current_package_state (package_type, package_name);
    CREATE INDEX ON current_package_state (severity, status);
    CREATE INDEX ON current_package_state (last_discovered_at DESC);
    CREATE INDEX ON current_package_state (last_updated_at DESC);
    CREATE TABLE update_version_history (
        id                  uuid PRIMARY KEY,
        agent_id            uuid NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
        package_type        varchar(50) NOT NULL,
        package_name        text NOT NULL,
        version_from        text,
        version_to          text NOT NULL,
        severity            varchar(20) NOT NULL,
        repository_source   text,
        metadata            jsonb DEFAULT '{}',
        update_initiated_at timestamptz,
        update_completed_at timestamptz DEFAULT now(),
        update_status       varchar(20) DEFAULT 'success');
    CREATE INDEX ON update_version_history (agent_id, update_completed_at DESC);
    CREATE INDEX ON update_version_history (package_name, package_type);
    CREATE INDEX ON update_version_history (update_completed_at DESC);
    RESET search_path;";

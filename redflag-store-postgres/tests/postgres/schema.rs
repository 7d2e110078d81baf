//! The schema on a real PostgreSQL: it applies, twice is once, newer is refused, and it accepts every word the code can write.

use crate::server::{Server, into_schema};
use redflag_core::{
    event::EventWord,
    store::{Expected, RecordStore as _, StoreErrorKind},
    words::{AvailabilityKind, Severity, Status, VersionOutcome},
};
use redflag_store_postgres::{Options, PostgresStore};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _};

/// A server with a fleet, and a connection into the fleet's schema.
async fn migrated() -> (Server, Options, PgConnection) {
    let (server, options) = (Server::shared(), Server::options());
    server.open(&options).await;
    let connection = into_schema(&server, &options).await;
    (server, options, connection)
}

async fn state_of(connection: &mut PgConnection, statement: &str) -> Result<(), String> {
    let result = connection.execute(AssertSqlSafe(statement)).await;
    result.map(|_| ()).map_err(|error| error.as_database_error().and_then(|error| error.code()).unwrap_or_default().into_owned())
}

#[tokio::test]
async fn migrating_twice_is_once_and_a_newer_schema_is_refused_and_left_alone() {
    let (server, options, mut connection) = migrated().await;
    server.open(&options).await;
    let versions = async |connection: &mut PgConnection| -> Vec<i64> {
        let rows = connection.fetch_all("SELECT version FROM schema_migrations ORDER BY version").await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    };
    assert_eq!(versions(&mut connection).await, [1]);
    connection.execute("INSERT INTO schema_migrations (version, description, checksum) VALUES (999, 'newer', '')").await.unwrap();
    let error = PostgresStore::connect(&server.url(), options).await.unwrap_err();
    assert_eq!(error.kind(), &StoreErrorKind::SchemaTooNew);
    assert_eq!(versions(&mut connection).await, [1, 999]);
}

#[tokio::test]
async fn a_migration_that_is_not_the_one_applied_is_refused() {
    let (server, options, mut connection) = migrated().await;
    connection.execute("UPDATE schema_migrations SET checksum = 'other'").await.unwrap();
    assert_eq!(PostgresStore::connect(&server.url(), options).await.unwrap_err().kind(), &StoreErrorKind::Corrupt);
}

#[tokio::test]
async fn a_failing_migration_changes_nothing() {
    let (server, options) = (Server::shared(), Server::options());
    let mut connection = PgConnection::connect(&server.url()).await.unwrap();
    // A schema of somebody else, in which one of our tables cannot be made.
    let schema = &options.schema;
    connection.execute(AssertSqlSafe(format!("CREATE SCHEMA {schema}; CREATE TABLE {schema}.records (theirs text)"))).await.unwrap();
    PostgresStore::connect(&server.url(), options.clone()).await.unwrap_err();
    let tables =
        sqlx::query("SELECT tablename FROM pg_tables WHERE schemaname = $1").bind(schema).fetch_all(&mut connection).await.unwrap();
    assert_eq!(tables.iter().map(|row| row.get::<String, _>(0)).collect::<Vec<_>>(), ["records"]);
}

#[tokio::test]
async fn servers_that_start_at_once_migrate_once() {
    let (server, options) = (Server::shared(), Server::options());
    let mut starting = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let (url, options) = (server.url(), options.clone());
        starting.spawn(async move { PostgresStore::connect(&url, options).await });
    }
    for opened in starting.join_all().await {
        opened.expect("every server starts");
    }
    let mut connection = into_schema(&server, &options).await;
    let rows = connection.fetch_one("SELECT COUNT(*) FROM schema_migrations").await.unwrap();
    assert_eq!(rows.get::<i64, _>(0), 1);
}

#[tokio::test]
async fn fleets_in_one_database_share_nothing() {
    let (server, one, other) = (Server::shared(), Server::options(), Server::options());
    let (one, other) = (server.open(&one).await, server.open(&other).await);
    assert_eq!(one.put("n", "k", "v", Expected::Absent).await.unwrap(), Some(1));
    assert_eq!(other.get("n", "k").await.unwrap(), None);
}

/// Clause S8: what code can write, the schema takes; what it cannot, the schema refuses.
#[tokio::test]
async fn the_schema_knows_exactly_the_words_of_core() {
    let (_server, _options, mut connection) = migrated().await;
    let state = |columns: &str| format!("INSERT INTO current_package_state SELECT 1, $ + 10, 0, 0, 1, 1, 1, {columns}, false");
    let counter = |columns: &str| format!("INSERT INTO update_counters SELECT 1, 'm' || ($), {columns}, 1");
    for (words, insert) in [
        (Status::ALL.len(), state("$, 0, 0").replace("SELECT 1", "SELECT 101")),
        (Severity::ALL.len(), state("0, $, 0").replace("SELECT 1", "SELECT 102")),
        (AvailabilityKind::ALL.len(), state("0, 0, $").replace("SELECT 1", "SELECT 103")),
        (Status::ALL.len(), counter("$, 0, false, 0")),
        (Severity::ALL.len(), counter("9, $, false, 0")),
        (AvailabilityKind::ALL.len(), counter("8, 0, false, $")),
        (EventWord::ALL.len(), "INSERT INTO update_events SELECT 1, $ + 10, NULL, 1, 1, NULL, 1, 1, $, NULL, NULL, NULL, NULL, '{}'".to_owned()),
        (AvailabilityKind::ALL.len(), "INSERT INTO update_events SELECT 2, $ + 10, NULL, 1, 1, NULL, 1, 1, 0, $, 1".to_owned()),
        (VersionOutcome::ALL.len(), "INSERT INTO update_version_history SELECT 1, 1, $ + 10, NULL, '1', $, NULL, NULL, 0".to_owned()),
        (
            Severity::ALL.len(),
            "INSERT INTO candidates (content_key, version, severity, security) SELECT decode(lpad(to_hex($ + 10), 64, '0'), 'hex'), '1', $, true"
                .to_owned(),
        ),
    ] {
        for code in -1..=i64::try_from(words).unwrap() {
            let statement = insert.replace('$', &code.to_string());
            let known = (0..i64::try_from(words).unwrap()).contains(&code);
            let expected = if known { Ok(()) } else { Err("23514".to_owned()) };
            assert_eq!(state_of(&mut connection, &statement).await, expected, "{statement}");
        }
    }
}

/// Clause D1: by the database itself, whoever asks.
#[tokio::test]
async fn the_log_is_append_only() {
    let (_server, _options, mut connection) = migrated().await;
    connection
        .execute(
            "INSERT INTO update_events SELECT 1, 1, NULL, 1, 1, NULL, 1, 1, 2, NULL, NULL, NULL, NULL, '{}';
             INSERT INTO update_batches SELECT 1, 1, gen_random_uuid(), '{}', 1, NULL, decode(repeat('00', 32), 'hex'), 0, 1, 0, 1, 1, 0, 0;
             INSERT INTO update_version_history SELECT 1, 1, 1, NULL, '2', 0, NULL, NULL, 0;
             INSERT INTO rejections SELECT 1, 1, 0, 'malformed', 'f', 'm', NULL, NULL, NULL, '';
             INSERT INTO chosen_event_ids SELECT 1, gen_random_uuid(), 1, 1, 1, decode(repeat('00', 32), 'hex');
             INSERT INTO reports (agent_ref, report_id, digest, sequence, received_at, answer)
                 SELECT 1, gen_random_uuid(), decode(repeat('00', 32), 'hex'), 1, 0, '{}'",
        )
        .await
        .unwrap();
    for table in ["update_events", "update_batches", "update_version_history", "rejections", "chosen_event_ids", "reports"] {
        for statement in [format!("UPDATE {table} SET agent_ref = 2"), format!("DELETE FROM {table}"), format!("TRUNCATE {table}")] {
            assert_eq!(state_of(&mut connection, &statement).await, Err("23001".to_owned()), "{statement}");
        }
    }
}

#[tokio::test]
async fn every_table_that_grows_with_agents_leads_its_key_with_the_agent() {
    let (_server, options, mut connection) = migrated().await;
    let rows = sqlx::query(
        "SELECT c.relname AS name, a.attname AS first_column
         FROM pg_index i
         JOIN pg_class c ON c.oid = i.indrelid
         JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = $1
         JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
         WHERE i.indisprimary
         ORDER BY 1",
    )
    .bind(&options.schema)
    .fetch_all(&mut connection)
    .await
    .unwrap();
    let of_the_fleet = [
        "candidates",
        "feed",
        "feed_tickets",
        "packages",
        "pruned_state_changes",
        "records",
        "schema_migrations",
        "state_changes",
        "texts",
    ];
    let tables: Vec<(String, String)> = rows.iter().map(|row| (row.get("name"), row.get("first_column"))).collect();
    assert!(tables.len() > of_the_fleet.len() + 8, "{tables:?}");
    for (table, first_column) in tables.iter().filter(|(table, _)| !of_the_fleet.contains(&table.as_str())) {
        assert_eq!(first_column, "agent_ref", "{table}");
    }
}

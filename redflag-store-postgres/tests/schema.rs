//! The schema on a real PostgreSQL: it applies, twice is once, newer is refused, and it accepts every word the code can write.

use redflag_core::{
    event::EventWord,
    words::{AvailabilityKind, Severity, Status, VersionOutcome},
};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool, Row};
use tmp_postgrust::{new_default_process, synchronous::ProcessGuard};

/// A fresh server with the schema; the guard stops it.
async fn migrated() -> (ProcessGuard, PgPool) {
    let server = new_default_process().expect("a PostgreSQL server starts (Debian package: postgresql-15)");
    let pool = PgPool::connect(&server.connection_string()).await.expect("the server accepts connections");
    redflag_store_postgres::migrate(&pool).await.expect("the schema applies to an empty database");
    (server, pool)
}

#[tokio::test]
async fn migrating_twice_is_once_and_a_newer_schema_is_refused() {
    let (_server, pool) = migrated().await;
    redflag_store_postgres::migrate(&pool).await.expect("a second run does nothing");
    pool.execute(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (999, 'newer', true, '', 0)",
    )
    .await
    .unwrap();
    let error = redflag_store_postgres::migrate(&pool).await.unwrap_err();
    assert_eq!(error.to_string(), "the database has a newer schema than this version knows: migration 999 is unknown");
}

/// Clause S8: every value code can write is accepted by the schema, and one more is not.
#[tokio::test]
async fn every_word_is_accepted_and_the_next_code_is_not() {
    let (server, _pool) = migrated().await;
    let mut connection = PgConnection::connect(&server.connection_string()).await.unwrap();
    let mut accepts = async |statement: String| connection.execute(AssertSqlSafe(statement)).await.is_ok();
    for code in 0..=Status::ALL.len() {
        let statement = format!(
            "INSERT INTO counters (agent_ref, manager, status, severity, security, availability, count) VALUES (1, 'apt', {code}, 0, true, 0, 1)"
        );
        assert_eq!(accepts(statement).await, code < Status::ALL.len(), "status {code}");
    }
    for code in 1..=Severity::ALL.len() {
        let statement = format!(
            "INSERT INTO counters (agent_ref, manager, status, severity, security, availability, count) VALUES (2, 'apt', 0, {code}, true, 0, 1)"
        );
        assert_eq!(accepts(statement).await, code < Severity::ALL.len(), "severity {code}");
    }
    for code in 1..=AvailabilityKind::ALL.len() {
        let statement = format!(
            "INSERT INTO counters (agent_ref, manager, status, severity, security, availability, count) VALUES (3, 'apt', 0, 0, true, {code}, 1)"
        );
        assert_eq!(accepts(statement).await, code < AvailabilityKind::ALL.len(), "availability {code}");
    }
    for code in 0..=EventWord::ALL.len() {
        let statement = format!(
            "INSERT INTO update_events (agent_ref, sequence, package_ref, revision, batch_number, batch_index, kind) VALUES (1, {code} + 1, 1, 1, 1, 0, {code})"
        );
        assert_eq!(accepts(statement).await, code < EventWord::ALL.len(), "event kind {code}");
    }
    for code in 0..=VersionOutcome::ALL.len() {
        let statement = format!(
            "INSERT INTO update_version_history (agent_ref, sequence, package_ref, to_version, outcome, at) VALUES (1, {code}, 1, '1', {code}, 0)"
        );
        assert_eq!(accepts(statement).await, code < VersionOutcome::ALL.len(), "version outcome {code}");
    }
}

/// Clause D1.
#[tokio::test]
async fn the_log_refuses_updates_and_deletes() {
    let (_server, pool) = migrated().await;
    pool.execute("INSERT INTO update_events (agent_ref, sequence, package_ref, revision, batch_number, batch_index, kind) VALUES (1, 1, 1, 1, 1, 0, 0)").await.unwrap();
    pool.execute("INSERT INTO update_batches (agent_ref, number, batch_id, actor, source, digest, received_at, submitted, accepted, duplicate, rejected) VALUES (1, 1, gen_random_uuid(), '{}', '{}', decode(repeat('00', 32), 'hex'), 0, 1, 1, 0, 0)").await.unwrap();
    pool.execute(
        "INSERT INTO update_version_history (agent_ref, sequence, package_ref, to_version, outcome, at) VALUES (1, 1, 1, '1', 0, 0)",
    )
    .await
    .unwrap();
    pool.execute("INSERT INTO rejections (agent_ref, batch_number, batch_index, code, field, message, excerpt) VALUES (1, 1, 0, 'empty', 'f', 'm', '')").await.unwrap();
    for table in ["update_events", "update_batches", "update_version_history", "rejections"] {
        for statement in [format!("UPDATE {table} SET agent_ref = 2"), format!("DELETE FROM {table}")] {
            let error = pool.execute(AssertSqlSafe(statement.as_str())).await.unwrap_err();
            let code = error.as_database_error().and_then(|error| error.code()).unwrap_or_default().into_owned();
            assert_eq!(code, "23001", "{statement}: {error}");
        }
    }
}

#[tokio::test]
async fn every_table_that_grows_with_agents_leads_its_key_with_the_agent() {
    let (_server, pool) = migrated().await;
    let rows = pool
        .fetch_all(
            "SELECT c.relname AS name, a.attname AS first_column
             FROM pg_index i
             JOIN pg_class c ON c.oid = i.indrelid
             JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'public'
             JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
             WHERE i.indisprimary
             ORDER BY 1",
        )
        .await
        .unwrap();
    let catalogs = ["_sqlx_migrations", "candidates", "packages", "records", "versions"];
    let tables: Vec<(String, String)> = rows.iter().map(|row| (row.get("name"), row.get("first_column"))).collect();
    assert!(tables.len() > catalogs.len() + 8, "{tables:?}");
    for (table, first_column) in tables.iter().filter(|(table, _)| !catalogs.contains(&table.as_str())) {
        assert_eq!(first_column, "agent_ref", "{table}");
    }
}

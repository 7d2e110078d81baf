#![doc = include_str!("../README.md")]

use sqlx::{PgPool, migrate::Migrator};

/// The schema's migrations, embedded; checksummed and applied in order.
pub static MIGRATIONS: Migrator = sqlx::migrate!();

/// Why the schema could not be brought up to date.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrationError {
    /// The database was migrated by a newer version (clause D4); nothing was changed.
    #[error("the database has a newer schema than this version knows: migration {version} is unknown")]
    SchemaTooNew {
        /// The unknown migration.
        version: i64,
    },
    /// A migration failed; it is rolled back and not recorded as applied.
    #[error("the schema could not be migrated")]
    Failed(#[source] sqlx::migrate::MigrateError),
}

/// Brings the schema up to date, under a database-wide advisory lock; a second call does nothing.
///
/// Cancel safe: a migration that was not committed is not applied.
///
/// # Errors
/// When the schema is newer than this version, or a migration fails.
pub async fn migrate(pool: &PgPool) -> Result<(), MigrationError> {
    MIGRATIONS.run(pool).await.map_err(|error| match error {
        sqlx::migrate::MigrateError::VersionMissing(version) => MigrationError::SchemaTooNew { version },
        other => MigrationError::Failed(other),
    })
}

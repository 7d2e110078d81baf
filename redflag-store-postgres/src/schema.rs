//! Migrations, and the settings of the server that durability rests on, read back (clauses D4 and D5).

use crate::{
    error::Failure,
    options::Options,
    transaction::{Transaction, Transactions},
};
use redflag_core::store::{Durability, Mode, StoreError, StoreErrorKind};
use sqlx::{AssertSqlSafe, Row as _, SqlSafeStr as _, migrate::Migrator};

static MIGRATIONS: Migrator = sqlx::migrate!();

/// Brings the schema to this version, all in one transaction under an advisory lock: servers that start together follow each
/// other, a failing migration changes nothing, and a pooler that hands out server processes by transaction does no harm.
pub(crate) async fn migrate(transactions: &Transactions, schema: &str) -> Result<(), StoreError> {
    let mut transaction = transactions.write().await?;
    let lock = sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('redflag schema ' || $1, 0))").bind(schema);
    transaction.execute(lock).await?;
    let exists = sqlx::query("SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1").bind(schema);
    if transaction.row(exists).await?.is_none() {
        // The name was checked to be a plain identifier.
        transaction.script(AssertSqlSafe(format!("CREATE SCHEMA \"{schema}\"")).into_sql_str()).await?;
    }
    let applied = applied(&mut transaction, schema).await?;
    let known = || MIGRATIONS.iter();
    if let Some((newer, _)) = applied.iter().find(|(version, _)| known().all(|known| known.version != *version)) {
        let message = format!("migration {newer} of schema {schema:?} is unknown to this version");
        return Err(StoreError::caused(StoreErrorKind::SchemaTooNew, message));
    }
    for migration in known() {
        match applied.iter().find(|(version, _)| *version == migration.version) {
            Some((_, checksum)) if **checksum == *migration.checksum => {}
            Some(_) => {
                let message = format!("migration {} of schema {schema:?} was another one when it was applied", migration.version);
                return Err(StoreError::caused(StoreErrorKind::Corrupt, message));
            }
            None => {
                transaction.script(migration.sql.clone()).await?;
                let record = "INSERT INTO schema_migrations (version, description, checksum) VALUES ($1, $2, $3)";
                let record = sqlx::query(record).bind(migration.version).bind(&*migration.description).bind(&*migration.checksum);
                transaction.execute(record).await?;
            }
        }
    }
    transaction.end(Mode::Commit).await
}

/// The migrations applied so far, by version, with the checksum each had.
async fn applied(transaction: &mut Transaction, schema: &str) -> Result<Vec<(i64, Vec<u8>)>, StoreError> {
    let exists = sqlx::query("SELECT 1 FROM pg_catalog.pg_tables WHERE schemaname = $1 AND tablename = 'schema_migrations'").bind(schema);
    if transaction.row(exists).await?.is_none() {
        let create = "CREATE TABLE schema_migrations (
            version     bigint      PRIMARY KEY,
            description text        NOT NULL,
            checksum    bytea       NOT NULL, -- SHA-384 of its text
            applied_at  timestamptz NOT NULL DEFAULT now()
        )";
        transaction.execute(sqlx::query(create)).await?;
    }
    let rows = transaction.rows(sqlx::query("SELECT version, checksum FROM schema_migrations ORDER BY version")).await?;
    let read = |row: &sqlx::postgres::PgRow| Ok((row.try_get(0)?, row.try_get(1)?));
    Ok(rows.iter().map(read).collect::<Result<_, sqlx::Error>>().map_err(Failure::from)?)
}

/// The durability that the settings in force allow, at least what `options` demand.
///
/// Without `fsync` or `full_page_writes` a power cut may take commits or damage pages. Without `synchronous_commit` the newest
/// commits are lost with the server process; nothing is promised of a single one then.
pub(crate) async fn durability(transactions: &Transactions, options: &Options) -> Result<Durability, StoreError> {
    let mut transaction = transactions.read().await?;
    let select = "SELECT current_setting('server_encoding'), current_setting('fsync'), current_setting('full_page_writes'),
                         current_setting('synchronous_commit')";
    let row = transaction.row(sqlx::query(select)).await?;
    transaction.done().await?;
    let row = row.ok_or_else(|| Failure::corrupt("a server that answers no settings"))?;
    let setting = |index: usize| row.try_get::<String, _>(index).map_err(Failure::from);
    let (encoding, fsync, full_page_writes, synchronous_commit) = (setting(0)?, setting(1)?, setting(2)?, setting(3)?);
    let misconfigured = |message: String| Err(StoreError::caused(StoreErrorKind::Misconfigured, message));
    if encoding != "UTF8" {
        return misconfigured(format!("server_encoding is {encoding:?}, not \"UTF8\""));
    }
    let promised = promised(&fsync, &full_page_writes, &synchronous_commit);
    if promised < options.durability {
        return misconfigured(format!(
            "fsync is {fsync:?}, full_page_writes {full_page_writes:?}, synchronous_commit {synchronous_commit:?}: \
             durable is {promised:?}, not {:?}",
            options.durability
        ));
    }
    Ok(promised)
}

/// What these settings promise of an acknowledged commit.
fn promised(fsync: &str, full_page_writes: &str, synchronous_commit: &str) -> Durability {
    match (synchronous_commit, fsync, full_page_writes) {
        ("on" | "local" | "remote_write" | "remote_apply", "on", "on") => Durability::Power,
        ("on" | "local" | "remote_write" | "remote_apply", ..) => Durability::Process,
        _ => Durability::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_weaker_setting_promises_less() {
        for (settings, expected) in [
            (("on", "on", "on"), Durability::Power),
            (("on", "on", "local"), Durability::Power),
            (("on", "on", "remote_write"), Durability::Power),
            (("on", "on", "remote_apply"), Durability::Power),
            (("off", "on", "on"), Durability::Process),
            (("on", "off", "on"), Durability::Process),
            (("on", "on", "off"), Durability::None),
            (("off", "off", "off"), Durability::None),
            (("on", "on", "a word of a later version"), Durability::None),
        ] {
            assert_eq!(promised(settings.0, settings.1, settings.2), expected, "{settings:?}");
        }
    }
}

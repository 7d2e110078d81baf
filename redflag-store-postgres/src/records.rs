//! Documents with compare-and-set.

use crate::{
    error::Failure,
    sql::position,
    stored::{bigint, get},
    transaction::Transaction,
};
use redflag_core::{
    limits,
    store::{Expected, Record},
};
use sqlx::postgres::PgRow;

fn record(row: &PgRow) -> Result<Record, Failure> {
    Ok(Record { value: get(row, 0)?, revision: get(row, 1)? })
}

pub(crate) async fn find(transaction: &mut Transaction, namespace: &str, key: &str) -> Result<Option<Record>, Failure> {
    let select = sqlx::query("SELECT value, revision FROM records WHERE namespace = $1 AND key = $2").bind(namespace).bind(key);
    transaction.row(select).await?.map(|row| record(&row)).transpose()
}

/// Refuses what the port says no backend takes.
pub(crate) fn check(value: &str) -> Result<(), Failure> {
    if value.len() <= limits::RECORD_BYTES_MAX && !value.contains('\0') {
        return Ok(());
    }
    Err(Failure::refused(format!("a record of {} bytes, more than {} or with NUL", value.len(), limits::RECORD_BYTES_MAX)))
}

/// One statement each: whoever comes second sees the row of the first, and finds it other than expected.
pub(crate) async fn put(
    transaction: &mut Transaction,
    namespace: &str,
    key: &str,
    value: &str,
    expected: Expected,
) -> Result<Option<u64>, Failure> {
    let (statement, revision) = match expected {
        Expected::Absent => {
            let insert = "INSERT INTO records (namespace, key, value, revision) VALUES ($1, $2, $3, 1) ON CONFLICT DO NOTHING";
            (sqlx::query(insert).bind(namespace).bind(key).bind(value), 1)
        }
        Expected::Revision(revision) => {
            let update = "UPDATE records SET value = $3, revision = revision + 1 WHERE namespace = $1 AND key = $2 AND revision = $4";
            let Ok(known) = bigint(revision) else { return Ok(None) };
            (sqlx::query(update).bind(namespace).bind(key).bind(value).bind(known), revision.saturating_add(1))
        }
    };
    Ok((transaction.execute(statement).await? == 1).then_some(revision))
}

pub(crate) async fn delete(transaction: &mut Transaction, namespace: &str, key: &str, revision: u64) -> Result<bool, Failure> {
    // No revision is beyond 63 bits.
    let Ok(revision) = bigint(revision) else { return Ok(false) };
    let delete = "DELETE FROM records WHERE namespace = $1 AND key = $2 AND revision = $3";
    Ok(transaction.execute(sqlx::query(delete).bind(namespace).bind(key).bind(revision)).await? == 1)
}

pub(crate) async fn list(
    transaction: &mut Transaction,
    namespace: &str,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<(String, Record)>, Failure> {
    let select = "SELECT value, revision, key FROM records
         WHERE namespace = $1 AND ($2::text IS NULL OR key > $2) ORDER BY key LIMIT $3";
    let select = sqlx::query(select).bind(namespace).bind(after).bind(position(limit.into()));
    transaction.rows(select).await?.iter().map(|row| Ok((get(row, 2)?, record(row)?))).collect()
}

/// Namespaces that hold a record, in byte order. Each is found by the one before it, so that what they hold is passed over.
pub(crate) async fn namespaces(transaction: &mut Transaction, after: Option<&str>, limit: u32) -> Result<Vec<String>, Failure> {
    let select = "WITH RECURSIVE found (namespace) AS (
             SELECT MIN(namespace) FROM records WHERE $1::text IS NULL OR namespace > $1
             UNION ALL
             SELECT (SELECT MIN(r.namespace) FROM records AS r WHERE r.namespace > f.namespace) FROM found AS f WHERE f.namespace IS NOT NULL
         )
         SELECT namespace FROM found WHERE namespace IS NOT NULL LIMIT $2";
    let select = sqlx::query(select).bind(after).bind(i64::from(limit));
    transaction.rows(select).await?.iter().map(|row| get(row, 0)).collect()
}

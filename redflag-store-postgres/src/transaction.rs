//! The one place where transactions begin and end, and the one way statements run in them.
//!
//! Everything a transaction needs of its session (the schema, time limits) is set for it alone, in the same message that begins
//! it: nothing is assumed of a connection, so a pooler may hand out another server process each time.

use crate::{
    error::{Failure, Phase},
    options::{Options, Pooling},
};
use redflag_core::store::{Mode, StoreError};
use sqlx::{AssertSqlSafe, PgPool, Postgres, postgres::PgArguments, postgres::PgRow, query::Query};
use std::sync::Arc;

/// A statement with what it binds.
pub(crate) type Statement<'a> = Query<'a, Postgres, PgArguments>;

/// How transactions of one fleet begin.
#[derive(Clone, Debug)]
pub(crate) struct Transactions {
    pool: PgPool,
    begin_write: Arc<str>,
    begin_read: Arc<str>,
    prepared: bool,
}

/// An open transaction; dropping it rolls it back.
pub(crate) struct Transaction {
    inner: sqlx::Transaction<'static, Postgres>,
    prepared: bool,
}

impl Transactions {
    /// `options` were checked before: the schema's name stands in SQL as it is.
    pub(crate) fn new(pool: PgPool, options: &Options) -> Self {
        let Options { schema, lock_timeout, pooling, .. } = options;
        let milliseconds = lock_timeout.as_millis().clamp(1, i32::MAX as u128);
        let path = format!("SET LOCAL search_path TO \"{schema}\", pg_temp");
        // A client that vanished without closing its connection must not hold an agent's lock for ever.
        let limits = format!("SET LOCAL lock_timeout TO {milliseconds}; SET LOCAL idle_in_transaction_session_timeout TO 60000");
        // A plan for any page of any list would be one that sorts everything.
        let plans = "SET LOCAL plan_cache_mode TO force_custom_plan";
        // Units of work look up keys alone. A table that grew from nothing since it was last analysed seems so small that reading
        // all of it for each key looks cheap.
        let keys = "SET LOCAL enable_seqscan TO off";
        Self {
            pool,
            begin_write: format!("BEGIN ISOLATION LEVEL READ COMMITTED; {path}; {limits}; {keys}").into(),
            begin_read: format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {path}; {limits}; {plans}").into(),
            prepared: *pooling == Pooling::Session,
        }
    }

    /// Begins a transaction that writes; each of its statements sees what was committed before the statement.
    pub(crate) async fn write(&self) -> Result<Transaction, Failure> {
        self.begin(&self.begin_write).await
    }

    /// Begins a transaction that reads one moment of the database.
    pub(crate) async fn read(&self) -> Result<Transaction, Failure> {
        self.begin(&self.begin_read).await
    }

    async fn begin(&self, sql: &Arc<str>) -> Result<Transaction, Failure> {
        #[expect(clippy::disallowed_methods, reason = "the one place where transactions begin")]
        let inner = self.pool.begin_with(AssertSqlSafe(Arc::clone(sql))).await?;
        Ok(Transaction { inner, prepared: self.prepared })
    }
}

impl Transaction {
    /// Runs a statement; answers how many rows it touched.
    pub(crate) async fn execute(&mut self, statement: Statement<'_>) -> Result<u64, Failure> {
        Ok(statement.persistent(self.prepared).execute(&mut *self.inner).await?.rows_affected())
    }

    /// All rows of a statement.
    pub(crate) async fn rows(&mut self, statement: Statement<'_>) -> Result<Vec<PgRow>, Failure> {
        Ok(statement.persistent(self.prepared).fetch_all(&mut *self.inner).await?)
    }

    /// The only row of a statement, if it has one.
    pub(crate) async fn row(&mut self, statement: Statement<'_>) -> Result<Option<PgRow>, Failure> {
        Ok(statement.persistent(self.prepared).fetch_optional(&mut *self.inner).await?)
    }

    /// Runs the statements of a script, one after the other.
    pub(crate) async fn script(&mut self, sql: sqlx::SqlStr) -> Result<(), Failure> {
        sqlx::raw_sql(sql).execute(&mut *self.inner).await?;
        Ok(())
    }

    /// Ends it as `mode` says.
    pub(crate) async fn end(self, mode: Mode) -> Result<(), StoreError> {
        match mode {
            Mode::Commit => self.inner.commit().await.map_err(|error| Failure::from(error).into_store_error(Phase::Commit)),
            Mode::Rehearse => self.rolled_back().await,
        }
    }

    /// Ends one that only read.
    pub(crate) async fn done(self) -> Result<(), StoreError> {
        Ok(self.inner.commit().await.map_err(Failure::from)?)
    }

    /// Rolls back and waits for it, so that its locks are free.
    pub(crate) async fn rolled_back(self) -> Result<(), StoreError> {
        Ok(self.inner.rollback().await.map_err(Failure::from)?)
    }
}

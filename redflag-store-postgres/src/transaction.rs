//! The one place where transactions begin and end, and the one way statements run in them.
//!
//! Everything a transaction needs of its session (the schema, time limits, the lock on its agent) is set for it alone, in the same
//! message that begins it: nothing is assumed of a connection, so a pooler may hand out another server process each time.
//!
//! A transaction that is dropped before it has ended, because its future was, takes its connection with it. Whatever was under
//! way on the connection, the server rolls back, and nobody meets the rest of it.

use crate::{
    copy::Rows,
    error::{Failure, Phase},
    options::{Options, Pooling},
};
use redflag_core::{
    ids::AgentId,
    store::{Mode, StoreError},
};
use sqlx::{
    AssertSqlSafe, PgPool, Postgres, SqlSafeStr as _, SqlStr,
    pool::PoolConnection,
    postgres::{PgArguments, PgConnectOptions, PgRow},
    query::Query,
};
use std::sync::Arc;

/// A statement with what it binds.
pub(crate) type Statement<'a> = Query<'a, Postgres, PgArguments>;

/// How transactions of one fleet begin.
#[derive(Clone, Debug)]
pub(crate) struct Transactions {
    pool: PgPool,
    schema: Arc<str>,
    settings: Arc<str>,
    begin_write: Arc<str>,
    begin_read: Arc<str>,
    prepared: bool,
}

/// An open transaction.
pub(crate) struct Transaction {
    connection: PoolConnection<Postgres>,
    prepared: bool,
    ended: bool,
}

impl Transactions {
    /// `options` were checked before: the schema's name stands in SQL as it is.
    pub(crate) fn new(pool: PgPool, options: &Options) -> Self {
        let Options { schema, lock_timeout, pooling, .. } = options;
        let milliseconds = lock_timeout.as_millis().clamp(1, i32::MAX as u128);
        let path = format!("SET LOCAL search_path TO \"{schema}\", pg_temp");
        // A client that vanished without closing its connection must not hold an agent's lock for ever.
        let limits = format!("SET LOCAL lock_timeout TO {milliseconds}; SET LOCAL idle_in_transaction_session_timeout TO 60000");
        // Everything looks up keys. A table that grew from nothing since it was last analysed seems so small that reading all of it
        // for each key looks cheap. Where only all of it can be read that looks so dear that it would be compiled first.
        let keys = "SET LOCAL enable_seqscan TO off; SET LOCAL jit TO off";
        let settings = format!("{path}; {limits}; {keys}");
        Self {
            pool,
            schema: schema.as_str().into(),
            begin_write: format!("BEGIN ISOLATION LEVEL READ COMMITTED; {settings}").into(),
            begin_read: format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {settings}").into(),
            settings: settings.into(),
            prepared: *pooling == Pooling::Session,
        }
    }

    /// How to connect to where these transactions run.
    pub(crate) fn connect_options(&self) -> PgConnectOptions {
        (*self.pool.connect_options()).clone()
    }

    /// Runs a script that binds nothing as one transaction sent in one message: it begins and ends on the server, whether or not
    /// somebody waits for it. Each statement sees what was committed before the statement. Answers the rows of all of them.
    pub(crate) async fn message(&self, script: &'static str) -> Result<Vec<PgRow>, Failure> {
        let settings = &self.settings;
        let script = format!("SET TRANSACTION ISOLATION LEVEL READ COMMITTED; {settings}; {script}");
        Ok(sqlx::raw_sql(AssertSqlSafe(script)).fetch_all(&self.pool).await?)
    }

    /// Begins a transaction that writes; each of its statements sees what was committed before the statement.
    pub(crate) async fn write(&self) -> Result<Transaction, Failure> {
        self.begin(AssertSqlSafe(Arc::clone(&self.begin_write)).into_sql_str()).await
    }

    /// Begins a transaction that writes what belongs to `agent`, alone until it ends: the others of the agent wait their turn
    /// (clause R5), and statements see what the one before committed, because they come after the lock.
    ///
    /// The lock is one of PostgreSQL's advisory locks, by schema and agent. Unlike a lock on the agent's row it writes nothing,
    /// so that work that changes nothing costs no write at all, and it holds also while there is no row yet.
    pub(crate) async fn write_agent(&self, agent: AgentId) -> Result<Transaction, Failure> {
        let Self { schema, begin_write, .. } = self;
        // Both are plain identifiers.
        let lock = format!("SELECT pg_advisory_xact_lock(hashtextextended('redflag agent {schema} {agent}', 0))");
        self.begin(AssertSqlSafe(format!("{begin_write}; {lock}")).into_sql_str()).await
    }

    /// Begins a transaction that reads one moment of the database.
    pub(crate) async fn read(&self) -> Result<Transaction, Failure> {
        self.begin(AssertSqlSafe(Arc::clone(&self.begin_read)).into_sql_str()).await
    }

    async fn begin(&self, sql: SqlStr) -> Result<Transaction, Failure> {
        let mut transaction = Transaction { connection: self.pool.acquire().await?, prepared: self.prepared, ended: false };
        match transaction.script(sql).await {
            Ok(()) => Ok(transaction),
            Err(failure) => Err(transaction.failed(failure).await),
        }
    }
}

impl Transaction {
    /// Runs a statement; answers how many rows it touched.
    pub(crate) async fn execute(&mut self, statement: Statement<'_>) -> Result<u64, Failure> {
        Ok(statement.persistent(self.prepared).execute(&mut *self.connection).await?.rows_affected())
    }

    /// All rows of a statement.
    pub(crate) async fn rows(&mut self, statement: Statement<'_>) -> Result<Vec<PgRow>, Failure> {
        Ok(statement.persistent(self.prepared).fetch_all(&mut *self.connection).await?)
    }

    /// The only row of a statement, if it has one.
    pub(crate) async fn row(&mut self, statement: Statement<'_>) -> Result<Option<PgRow>, Failure> {
        Ok(statement.persistent(self.prepared).fetch_optional(&mut *self.connection).await?)
    }

    /// Runs the statements of a script, one after the other.
    pub(crate) async fn script(&mut self, sql: SqlStr) -> Result<(), Failure> {
        sqlx::raw_sql(sql).execute(&mut *self.connection).await?;
        Ok(())
    }

    /// Adds `rows` to the table and columns that `into` names: the way with the least work for the server, and, because rows
    /// reach the write-ahead log by the page, the least log.
    pub(crate) async fn copy(&mut self, into: &'static str, rows: Rows) -> Result<(), Failure> {
        let mut copy = self.connection.copy_in_raw(&format!("COPY {into} FROM STDIN (FORMAT binary)")).await?;
        copy.send(rows.finish()).await?;
        copy.finish().await?;
        Ok(())
    }

    /// Ends it as `mode` says.
    pub(crate) async fn end(mut self, mode: Mode) -> Result<(), StoreError> {
        match mode {
            Mode::Commit => {
                self.script(COMMIT).await.map_err(|failure| failure.into_store_error(Phase::Commit))?;
                self.ended = true;
                Ok(())
            }
            Mode::Rehearse => self.rolled_back().await,
        }
    }

    /// Ends one that only read.
    pub(crate) async fn done(mut self) -> Result<(), StoreError> {
        self.script(COMMIT).await?;
        self.ended = true;
        Ok(())
    }

    /// Rolls back and waits for it, so that its lock is free.
    pub(crate) async fn rolled_back(mut self) -> Result<(), StoreError> {
        self.script(ROLLBACK).await?;
        self.ended = true;
        Ok(())
    }

    /// Ends one in which `failure` came, and hands that back.
    pub(crate) async fn failed(self, failure: Failure) -> Failure {
        // Where not even this succeeds, the connection is given up.
        let _rolled_back = self.rolled_back().await;
        failure
    }
}

const COMMIT: SqlStr = SqlStr::from_static("COMMIT");
const ROLLBACK: SqlStr = SqlStr::from_static("ROLLBACK");

impl Drop for Transaction {
    fn drop(&mut self) {
        if !self.ended {
            self.connection.close_on_drop();
        }
    }
}

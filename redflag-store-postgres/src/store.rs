//! The store: a pool of connections and the ports over it.

use crate::{
    agents,
    catalog::{Absent, Catalog},
    commands, derived,
    encryption::{encrypted, explained},
    error::Failure,
    feed::{self, Growth},
    follower::Follower,
    lists,
    load::{Found, load},
    log,
    mirror::{self, Mirrors},
    options::{Options, Pooling},
    persist::persist,
    pruning, records, removal, schema, traces,
    transaction::{Transaction, Transactions},
};
use async_trait::async_trait;
use redflag_core::{
    agent::AgentHead,
    batch::{BatchRecord, RejectedItem},
    command::record::CommandRecord,
    event::RecordedEvent,
    feed::{FeedEntry, FeedPosition},
    ids::{AgentId, BatchId, CommandId, UpdateId},
    query::{
        AgentPage, AgentQuery, BatchPage, BatchQuery, CommandPage, CommandQuery, PackagePage, PackageQuery, TrendPoint, TrendQuery,
        UpdateFilter, UpdatePage, UpdateQuery, UpdateRow, UpdateStats,
    },
    rebuild::Derived,
    removal::RemovedAgent,
    report::StoredReport,
    state::{PackageState, VersionChange},
    store::{
        BatchStore, CommandStore, EventStore, Expected, Guarantees, Mode, Record, RecordStore, StateStore, StoreError, StoreErrorKind,
    },
    time::Timestamp,
    work::{Answer, Changes, Decided, Needs, UnitOfWork},
};
use sqlx::{PgPool, postgres::PgPoolOptions};
use std::sync::Arc;

/// How often a unit of work is begun before it is given up because others keep getting in its way.
const ATTEMPTS_MAX: u32 = 8;

/// Prepared statements kept by a connection; more than the crate has, but for the shapes of lists.
const STATEMENTS_KEPT: usize = 200;

/// A fleet in one schema of a PostgreSQL database. Cloning is cheap and shares the connections.
///
/// Every method must be called within a tokio runtime and may be cancelled by dropping its future: the transaction is rolled
/// back, unless its commit was already sent, and its connection closed. Any number of stores, in any number of processes, can serve one fleet.
#[derive(Clone, Debug)]
pub struct PostgresStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    pool: PgPool,
    transactions: Transactions,
    catalog: Catalog,
    mirrors: Mirrors,
    follower: Follower,
    growth: Growth,
    options: Options,
    guarantees: Guarantees,
}

/// A unit of work decided from what was found.
struct Decision {
    found: Found,
    decided: Decided,
}

impl PostgresStore {
    /// Connects to the database at `url` (`postgres://user:password@host/database`), creates the schema of the fleet if there is
    /// none, and brings it to this version.
    ///
    /// A server on another machine is spoken to over TLS, with its certificate verified against its name, unless the URL says otherwise
    /// (`sslmode=require`, `verify-ca` or `disable`). The certificate of a private authority is named with `sslrootcert=FILE`.
    ///
    /// # Errors
    /// When the database cannot be reached, the schema is newer than this version, or a setting that durability needs is not in
    /// force.
    pub async fn connect(url: &str, options: Options) -> Result<Self, StoreError> {
        options.check()?;
        let kept = match options.pooling {
            Pooling::Session => STATEMENTS_KEPT,
            Pooling::Transaction => 0,
        };
        if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
            // The URL itself may hold a password.
            return Err(StoreError::caused(StoreErrorKind::Misconfigured, "the URL does not begin with postgres://"));
        }
        let connect = encrypted(url.parse().map_err(Failure::Sqlx)?);
        let pool = PgPoolOptions::new()
            .max_connections(options.connections.max(1))
            .acquire_timeout(options.acquire_timeout)
            .connect_with(connect.statement_cache_capacity(kept).application_name("redflag"))
            .await
            .map_err(explained)?;
        let transactions = Transactions::new(pool.clone(), &options);
        let durable_on_ack = schema::durability(&transactions, &options).await?;
        schema::migrate(&transactions, &options.schema).await?;
        mirror::forget_foreign(&transactions).await?;
        let growth = Growth::new();
        let follower = Follower::start(transactions.clone(), growth.heard());
        let guarantees = Guarantees { durable_on_ack };
        let (catalog, mirrors) = (Catalog::default(), Mirrors::default());
        Ok(Self { inner: Arc::new(Inner { pool, transactions, catalog, mirrors, follower, growth, options, guarantees }) })
    }

    /// Waits for the work under way and closes every connection; whatever comes later answers that the database is not available.
    pub async fn close(&self) {
        self.inner.follower.stop();
        self.inner.growth.stop();
        self.inner.pool.close().await;
    }

    /// Tries a unit of work. `before` is what an earlier try decided; it holds while the agent's row is the one it was decided from,
    /// because whatever changes anything of an agent writes its row.
    ///
    /// Answers what was decided, and what must be created in the catalogs before it can be written, if anything must; nothing was
    /// written then.
    async fn attempt(&self, work: &UnitOfWork, mode: Mode, before: Option<Decision>) -> Result<(Decision, Option<Absent>), Failure> {
        let Inner { transactions, catalog, follower, .. } = &*self.inner;
        let needs = work.needs();
        let mut transaction = transactions.write_agent(needs.agent).await?;
        match decide_and_write(&mut transaction, catalog, work, &needs, before).await {
            Ok((decision, None)) => {
                let ended = transaction.end(mode).await;
                if mode == Mode::Commit && traces::feeds(&decision.decided.changes) {
                    // Also when the outcome is unknown.
                    follower.wake();
                }
                ended?;
                Ok((decision, None))
            }
            Ok(lacking) => {
                transaction.rolled_back().await?;
                Ok(lacking)
            }
            Err(failure) => Err(transaction.failed(failure).await),
        }
    }
}

async fn decide_and_write(
    transaction: &mut Transaction,
    catalog: &Catalog,
    work: &UnitOfWork,
    needs: &Needs,
    before: Option<Decision>,
) -> Result<(Decision, Option<Absent>), Failure> {
    let decision = match before {
        Some(before) if before.found.still_holds(transaction, needs.agent).await? => before,
        _ => {
            let found = load(transaction, catalog, needs).await?;
            let decided = work.decide(&found.loaded).map_err(StoreError::from)?;
            Decision { found, decided }
        }
    };
    if decision.decided.changes == Changes::default() {
        return Ok((decision, None));
    }
    match catalog.refs(transaction, &decision.decided.changes).await? {
        Ok(refs) => persist(transaction, &decision.found, &decision.decided.changes, &refs).await?,
        Err(absent) => return Ok((decision, Some(absent))),
    }
    Ok((decision, None))
}

/// Reads one moment of the database: `read!(self, |transaction| ...)`.
macro_rules! read {
    ($store:expr, |$transaction:ident| $read:expr) => {{
        let mut transaction = $store.inner.transactions.read().await?;
        let $transaction = &mut transaction;
        match $read.await {
            Ok(answer) => {
                transaction.done().await?;
                Ok(answer)
            }
            Err(failure) => Err(transaction.failed(failure).await.into()),
        }
    }};
}

/// Reads one moment of the database, with the mirror of it: `read_lists!(self, |transaction, mirror| ...)`.
macro_rules! read_lists {
    ($store:expr, |$transaction:ident, $mirror:ident| $read:expr) => {{
        let Inner { transactions, mirrors, .. } = &*$store.inner;
        let older = mirrors.newest(transactions).await?;
        read!($store, |$transaction| async {
            let $mirror = &*mirrors.seen_by($transaction, &older).await?;
            $read
        })
    }};
}

#[async_trait]
impl BatchStore for PostgresStore {
    async fn run(&self, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
        let mut before = None;
        for _ in 0..ATTEMPTS_MAX {
            match self.attempt(work, mode, before.take()).await {
                Ok((decision, None)) => return Ok(decision.decided.answer),
                Ok((decision, Some(absent))) => {
                    absent.create(&self.inner.transactions).await?;
                    before = Some(decision);
                }
                Err(failure) if failure.is_conflict() => {}
                Err(failure) => return Err(failure.into()),
            }
        }
        Err(StoreError::caused(StoreErrorKind::Unavailable, format!("others got in the way {ATTEMPTS_MAX} times")))
    }

    async fn batch(&self, agent: AgentId, batch: BatchId) -> Result<Option<BatchRecord>, StoreError> {
        read!(self, |transaction| log::batch(transaction, agent, batch))
    }

    async fn rejections(&self, agent: AgentId, batch: BatchId) -> Result<Vec<RejectedItem>, StoreError> {
        read!(self, |transaction| log::rejections(transaction, agent, batch))
    }

    fn guarantees(&self) -> Guarantees {
        self.inner.guarantees
    }
}

#[async_trait]
impl StateStore for PostgresStore {
    async fn update(&self, id: &UpdateId) -> Result<Option<UpdateRow>, StoreError> {
        read!(self, |transaction| lists::find(transaction, id))
    }

    async fn updates(&self, query: &UpdateQuery) -> Result<UpdatePage, StoreError> {
        let after = query.after()?;
        read_lists!(self, |transaction, mirror| lists::page(transaction, &self.inner.catalog, mirror, query, after.as_ref()).await)
    }

    async fn stats(&self, filter: &UpdateFilter) -> Result<UpdateStats, StoreError> {
        read_lists!(self, |transaction, mirror| Ok::<_, Failure>(mirror.stats(filter)))
    }

    async fn history(&self, id: &UpdateId) -> Result<Vec<VersionChange>, StoreError> {
        read!(self, |transaction| log::history(transaction, id))
    }

    async fn agent(&self, agent: AgentId) -> Result<Option<AgentHead>, StoreError> {
        read!(self, |transaction| agents::find(transaction, agent))
    }

    async fn agents(&self, query: &AgentQuery) -> Result<AgentPage, StoreError> {
        read!(self, |transaction| agents::page(transaction, query))
    }

    async fn packages(&self, query: &PackageQuery) -> Result<PackagePage, StoreError> {
        read_lists!(self, |transaction, mirror| Ok::<_, Failure>(mirror.packages(query)))
    }

    async fn trend(&self, query: &TrendQuery) -> Result<Vec<TrendPoint>, StoreError> {
        read_lists!(self, |transaction, mirror| lists::trend(transaction, mirror, query).await)
    }

    async fn derived(&self, agent: AgentId) -> Result<Option<Derived>, StoreError> {
        read!(self, |transaction| derived::find(transaction, agent))
    }

    async fn removed_agents(&self, after: Option<AgentId>, limit: u32) -> Result<Vec<RemovedAgent>, StoreError> {
        read!(self, |transaction| removal::list(transaction, after, limit))
    }
}

#[async_trait]
impl EventStore for PostgresStore {
    async fn events(&self, id: &UpdateId) -> Result<Vec<RecordedEvent>, StoreError> {
        read!(self, |transaction| log::events(transaction, id))
    }

    async fn replay(&self, agent: AgentId, after: u64, limit: u32) -> Result<Vec<RecordedEvent>, StoreError> {
        read!(self, |transaction| log::replay(transaction, agent, after, limit))
    }

    async fn batches(&self, query: &BatchQuery) -> Result<BatchPage, StoreError> {
        read!(self, |transaction| log::batches(transaction, query))
    }

    async fn reports(&self, agent: AgentId, limit: u32) -> Result<Vec<StoredReport>, StoreError> {
        read!(self, |transaction| log::reports(transaction, agent, limit))
    }

    async fn agent_batches(&self, agent: AgentId, after: u64, limit: u32) -> Result<Vec<BatchRecord>, StoreError> {
        read!(self, |transaction| log::agent_batches(transaction, agent, after, limit))
    }

    async fn bases(&self, agent: AgentId) -> Result<Vec<PackageState>, StoreError> {
        read!(self, |transaction| pruning::bases(transaction, agent))
    }

    async fn feed(&self, after: FeedPosition, limit: u32) -> Result<Vec<FeedEntry>, StoreError> {
        feed::newest(&self.inner.transactions).await?;
        read!(self, |transaction| feed::entries(transaction, after, limit))
    }

    async fn feed_grown(&self, after: FeedPosition) -> Result<FeedPosition, StoreError> {
        let Inner { transactions, growth, options, .. } = &*self.inner;
        let mut heard = growth.subscribe(transactions, options);
        loop {
            // What is heard while the database is asked wakes as well.
            heard.mark_unchanged();
            let newest = feed::newest(transactions).await?;
            if newest > after {
                return Ok(newest);
            }
            // It cannot end before the store.
            drop(heard.changed().await);
        }
    }

    async fn batches_until(&self, agent: AgentId, position: FeedPosition) -> Result<u64, StoreError> {
        read!(self, |transaction| feed::batches_until(transaction, agent, position))
    }
}

#[async_trait]
impl CommandStore for PostgresStore {
    async fn command(&self, agent: AgentId, command: CommandId) -> Result<Option<CommandRecord>, StoreError> {
        read!(self, |transaction| commands::find(transaction, agent, command))
    }

    async fn commands(&self, query: &CommandQuery) -> Result<CommandPage, StoreError> {
        read!(self, |transaction| commands::page(transaction, query))
    }

    async fn due_commands(&self, at: Timestamp, after: Option<AgentId>, limit: u32) -> Result<Vec<AgentId>, StoreError> {
        read!(self, |transaction| commands::due(transaction, at, after, limit))
    }
}

#[async_trait]
impl RecordStore for PostgresStore {
    async fn get(&self, namespace: &str, key: &str) -> Result<Option<Record>, StoreError> {
        read!(self, |transaction| records::find(transaction, namespace, key))
    }

    async fn put(&self, namespace: &str, key: &str, value: &str, expected: Expected) -> Result<Option<u64>, StoreError> {
        records::check(value)?;
        let mut transaction = self.inner.transactions.write().await?;
        let revision = records::put(&mut transaction, namespace, key, value, expected).await?;
        transaction.end(Mode::Commit).await?;
        Ok(revision)
    }

    async fn delete(&self, namespace: &str, key: &str, revision: u64) -> Result<bool, StoreError> {
        let mut transaction = self.inner.transactions.write().await?;
        let deleted = records::delete(&mut transaction, namespace, key, revision).await?;
        transaction.end(Mode::Commit).await?;
        Ok(deleted)
    }

    async fn list(&self, namespace: &str, after: Option<&str>, limit: u32) -> Result<Vec<(String, Record)>, StoreError> {
        read!(self, |transaction| records::list(transaction, namespace, after, limit))
    }

    async fn namespaces(&self, after: Option<&str>, limit: u32) -> Result<Vec<String>, StoreError> {
        read!(self, |transaction| records::namespaces(transaction, after, limit))
    }
}

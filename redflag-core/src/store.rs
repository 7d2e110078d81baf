//! The ports a backend implements (see `docs/writing-a-backend.md`).
//!
//! Small, object-safe and without default methods: a wrapper that forgets a method does not compile. Every method may be
//! cancelled by dropping its future: what was not committed leaves no trace, and a commit already sent may still take effect
//! (clause B8), which resubmitting finds out.

use crate::{
    agent::AgentHead,
    batch::{BatchRecord, RejectedItem},
    command::record::CommandRecord,
    event::RecordedEvent,
    feed::{FeedEntry, FeedPosition},
    ids::{AgentId, BatchId, CommandId, UpdateId},
    query::{
        AgentPage, AgentQuery, BatchPage, BatchQuery, CommandPage, CommandQuery, PackagePage, PackageQuery, QueryError, TrendPoint,
        TrendQuery, UpdateFilter, UpdatePage, UpdateQuery, UpdateRow, UpdateStats,
    },
    rebuild::Derived,
    removal::RemovedAgent,
    report::StoredReport,
    state::{PackageState, VersionChange},
    time::Timestamp,
    work::{Answer, Refusal, UnitOfWork},
};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::{error::Error, fmt};

/// Whether a unit of work is to last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Commit it.
    Commit,
    /// Do the same work, up to the statement before the commit, and roll it back.
    Rehearse,
}

/// What survives once a commit was acknowledged (clause D5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// Nothing: memory only.
    None,
    /// The end of the process, not a power cut.
    Process,
    /// A power cut, as far as the disk keeps its word.
    Power,
}

/// What a backend promises; read from the database at open, not assumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guarantees {
    /// What survives an acknowledged commit.
    pub durable_on_ack: Durability,
}

/// Writing: units of work and what is kept of batches.
#[async_trait]
pub trait BatchStore: Send + Sync + fmt::Debug {
    /// Runs one unit of work in one write transaction.
    ///
    /// # Errors
    /// [`StoreErrorKind::Refused`] when core refuses it; [`StoreErrorKind::OutcomeUnknown`] when the commit was sent and not
    /// answered: submitting the same work again is always safe.
    async fn run(&self, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError>;

    /// A stored batch.
    async fn batch(&self, agent: AgentId, batch: BatchId) -> Result<Option<BatchRecord>, StoreError>;

    /// The rejected events of a batch, by index.
    async fn rejections(&self, agent: AgentId, batch: BatchId) -> Result<Vec<RejectedItem>, StoreError>;

    /// What is promised.
    fn guarantees(&self) -> Guarantees;
}

/// Reading: states, agents and counts.
#[async_trait]
pub trait StateStore: Send + Sync + fmt::Debug {
    /// One update, open or closed.
    async fn update(&self, id: &UpdateId) -> Result<Option<UpdateRow>, StoreError>;

    /// A page of updates with the counts of the whole list, of one moment.
    async fn updates(&self, query: &UpdateQuery) -> Result<UpdatePage, StoreError>;

    /// The counts alone.
    async fn stats(&self, filter: &UpdateFilter) -> Result<UpdateStats, StoreError>;

    /// The version history of one package on one agent, oldest first.
    async fn history(&self, id: &UpdateId) -> Result<Vec<VersionChange>, StoreError>;

    /// One agent.
    async fn agent(&self, agent: AgentId) -> Result<Option<AgentHead>, StoreError>;

    /// A page of agents.
    async fn agents(&self, query: &AgentQuery) -> Result<AgentPage, StoreError>;

    /// A page of packages with how many hosts have an update of each that passes.
    async fn packages(&self, query: &PackageQuery) -> Result<PackagePage, StoreError>;

    /// Open updates at the end of each day, oldest day first.
    async fn trend(&self, query: &TrendQuery) -> Result<Vec<TrendPoint>, StoreError>;

    /// Everything that follows from an agent's log, of one moment; none for an unknown agent.
    async fn derived(&self, agent: AgentId) -> Result<Option<Derived>, StoreError>;

    /// Up to `limit` removed agents whose id is above `after`, in the order of their ids.
    async fn removed_agents(&self, after: Option<AgentId>, limit: u32) -> Result<Vec<RemovedAgent>, StoreError>;
}

/// Reading: the log.
#[async_trait]
pub trait EventStore: Send + Sync + fmt::Debug {
    /// Every event of one package on one agent, oldest first.
    async fn events(&self, id: &UpdateId) -> Result<Vec<RecordedEvent>, StoreError>;

    /// Up to `limit` events of an agent's stream with a sequence above `after`, in order.
    async fn replay(&self, agent: AgentId, after: u64, limit: u32) -> Result<Vec<RecordedEvent>, StoreError>;

    /// A page of batches, newest first.
    async fn batches(&self, query: &BatchQuery) -> Result<BatchPage, StoreError>;

    /// Up to `limit` batches of an agent with a number above `after`, in order.
    async fn agent_batches(&self, agent: AgentId, after: u64, limit: u32) -> Result<Vec<BatchRecord>, StoreError>;

    /// The newest `limit` stored reports of an agent, newest first.
    async fn reports(&self, agent: AgentId, limit: u32) -> Result<Vec<StoredReport>, StoreError>;

    /// The base states of an agent, in key order: what stands for the events that retention took.
    async fn bases(&self, agent: AgentId) -> Result<Vec<PackageState>, StoreError>;

    /// Up to `limit` entries of the feed after `after`, in order and without gap. Whatever was committed before the call is there.
    async fn feed(&self, after: FeedPosition, limit: u32) -> Result<Vec<FeedEntry>, StoreError>;

    /// Waits until the feed goes on after `after`; answers its newest position. May wait for ever. Cancel safe.
    async fn feed_grown(&self, after: FeedPosition) -> Result<FeedPosition, StoreError>;

    /// The number of an agent's newest batch at or below a position of the feed; 0 when there is none.
    async fn batches_until(&self, agent: AgentId, position: FeedPosition) -> Result<u64, StoreError>;
}

/// Reading: the queue of commands. Writing goes through units of work ([`crate::command::step`]).
#[async_trait]
pub trait CommandStore: Send + Sync + fmt::Debug {
    /// One command of an agent.
    async fn command(&self, agent: AgentId, command: CommandId) -> Result<Option<CommandRecord>, StoreError>;

    /// A page of commands, newest first, with the count of the whole list, of one moment.
    async fn commands(&self, query: &CommandQuery) -> Result<CommandPage, StoreError>;

    /// Up to `limit` agents whose id is above `after`, in the order of their ids, that have a command due at `at`
    /// ([`CommandRecord::due_at`]).
    async fn due_commands(&self, at: Timestamp, after: Option<AgentId>, limit: u32) -> Result<Vec<AgentId>, StoreError>;
}

/// What a `put` expects to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// No record.
    Absent,
    /// The record at this revision.
    Revision(u64),
}

/// A small document with the revision to name when replacing it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The document, at most [`crate::limits::RECORD_BYTES_MAX`] bytes of text without NUL.
    pub value: String,
    /// Grows with every change, from 1.
    pub revision: u64,
}

/// Namespaced documents with compare-and-set: accounts, sessions, tokens, settings.
#[async_trait]
pub trait RecordStore: Send + Sync + fmt::Debug {
    /// One record.
    async fn get(&self, namespace: &str, key: &str) -> Result<Option<Record>, StoreError>;

    /// Writes a record if it is as `expected`; answers its new revision, or none when it was not as expected.
    async fn put(&self, namespace: &str, key: &str, value: &str, expected: Expected) -> Result<Option<u64>, StoreError>;

    /// Deletes a record if it is at `revision`; answers whether it was.
    async fn delete(&self, namespace: &str, key: &str, revision: u64) -> Result<bool, StoreError>;

    /// Up to `limit` records whose key sorts after `after`, in byte order of their keys.
    async fn list(&self, namespace: &str, after: Option<&str>, limit: u32) -> Result<Vec<(String, Record)>, StoreError>;

    /// Up to `limit` namespaces that hold a record and sort after `after`, in byte order.
    async fn namespaces(&self, after: Option<&str>, limit: u32) -> Result<Vec<String>, StoreError>;
}

/// All ports in one backend.
pub trait Store: BatchStore + StateStore + EventStore + CommandStore + RecordStore {}

impl<S: BatchStore + StateStore + EventStore + CommandStore + RecordStore> Store for S {}

/// Why a store could not do what was asked.
#[derive(Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// The kind of a [`StoreError`]: what the caller can do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// Core refused the unit of work; nothing changed.
    Refused(Refusal),
    /// The query cannot be answered as asked.
    Query(QueryError),
    /// The database cannot be reached or is out of a resource; nothing changed. Try again later.
    Unavailable,
    /// The commit was sent and not answered; submit the same work again (clause B8).
    OutcomeUnknown,
    /// The database refused data that core had accepted; nothing changed (clause B13).
    DataRefused,
    /// Retention has taken the part of the log that was asked for (clause D3).
    Pruned,
    /// The schema is newer than this version knows (clause D4).
    SchemaTooNew,
    /// A setting that durability or integrity needs is not in force (clause D5).
    Misconfigured,
    /// What is stored cannot be read back: damage, or a defect.
    Corrupt,
}

impl StoreError {
    /// An error of `kind` without a deeper cause.
    #[must_use]
    pub const fn new(kind: StoreErrorKind) -> Self {
        Self { kind, source: None }
    }

    /// An error of `kind`, caused by `source`.
    pub fn caused(kind: StoreErrorKind, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind, source: Some(source.into()) }
    }

    /// The kind.
    #[must_use]
    pub const fn kind(&self) -> &StoreErrorKind {
        &self.kind
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            StoreErrorKind::Refused(refusal) => refusal.fmt(f),
            StoreErrorKind::Query(error) => error.fmt(f),
            StoreErrorKind::Unavailable => f.write_str("the database is not available"),
            StoreErrorKind::OutcomeUnknown => f.write_str("the outcome of the commit is unknown"),
            StoreErrorKind::DataRefused => f.write_str("the database refused data"),
            StoreErrorKind::Pruned => f.write_str("that part of the log has been pruned"),
            StoreErrorKind::SchemaTooNew => f.write_str("the database has a newer schema than this version knows"),
            StoreErrorKind::Misconfigured => f.write_str("the database is not configured as it must be"),
            StoreErrorKind::Corrupt => f.write_str("stored data cannot be read back"),
        }
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

impl From<Refusal> for StoreError {
    fn from(refusal: Refusal) -> Self {
        Self::new(StoreErrorKind::Refused(refusal))
    }
}

impl From<QueryError> for StoreError {
    fn from(error: QueryError) -> Self {
        Self::new(StoreErrorKind::Query(error))
    }
}

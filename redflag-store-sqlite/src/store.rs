//! The store: one file, one writer, a few readers, and the ports over them.

use crate::{
    BackupProgress, agents, backup, commands, derived,
    error::Failure,
    feed,
    index::{self, Index, Look, SharedIndex},
    lists, log,
    readers::Readers,
    records, removed, rows,
    schema::{self, Place},
    transaction, trend,
    writer::WriterThread,
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
        BatchStore, CommandStore, Durability, EventStore, Expected, Guarantees, Mode, Record, RecordStore, StateStore, StoreError,
        StoreErrorKind,
    },
    time::Timestamp,
    work::{Answer, UnitOfWork},
};
use rusqlite::{Connection, OpenFlags};
use std::{fs::OpenOptions, io, os::unix::fs::OpenOptionsExt as _, path::Path, sync::Arc, time::Duration};
use tokio::{sync::watch, time::timeout};

/// How a [`SqliteStore`] opens its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// When a commit is on the disk.
    pub synchronous: Synchronous,
    /// Connections that read, at least 1. Reads beyond them wait; writes never wait for reads.
    pub readers: u32,
    /// How long to wait for another process that writes the same file before answering that the database is not available.
    pub busy_timeout: Duration,
    /// How often whoever waits for the feed to grow looks whether another process wrote the file; what this store writes wakes at once.
    pub feed_poll_interval: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            synchronous: Synchronous::Full,
            readers: 4,
            busy_timeout: Duration::from_secs(5),
            feed_poll_interval: Duration::from_secs(1),
        }
    }
}

/// When a commit is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Synchronous {
    /// Before it is acknowledged: it survives a power cut.
    Full,
    /// At the next checkpoint: it survives the end of the process; a power cut may take the newest commits, never a part of one.
    Normal,
}

/// A fleet in one SQLite file. Cloning is cheap and shares the connections.
///
/// Every method must be called within a tokio runtime that has its timer and may be cancelled by dropping its future: what had not begun is not
/// run, what had begun runs to its end unobserved. Dropping the last clone waits for the unit of work under way and closes the
/// file.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// None for a database in memory, which only the writer's connection sees.
    readers: Option<Readers>,
    writer: WriterThread,
    index: Arc<SharedIndex>,
    /// Changes with every commit of this process after which the feed goes on.
    feed_grew: watch::Receiver<()>,
    feed_poll_interval: Duration,
    guarantees: Guarantees,
}

impl SqliteStore {
    /// Opens the fleet at `path`, creates the file (mode 0600) if there is none, and brings its schema to this version.
    ///
    /// Blocks for as long as the disk does; within a runtime, call it through `spawn_blocking` if that matters.
    ///
    /// # Errors
    /// When the file cannot be opened, is no database of RedFlag, has a newer schema, or a setting that durability needs cannot
    /// be made.
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Self, StoreError> {
        let Options { synchronous, readers, busy_timeout, feed_poll_interval } = options;
        create_private(path.as_ref())?;
        let mut writer = Connection::open(&path).map_err(Failure::from)?;
        schema::configure(&writer, Place::File, synchronous, busy_timeout)?;
        schema::migrate(&mut writer)?;
        let reader = || -> Result<Connection, StoreError> {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(&path, flags).map_err(Failure::from)?;
            schema::configure_reader(&connection, busy_timeout)?;
            Ok(connection)
        };
        let readers = (0..readers.max(1)).map(|_| reader()).collect::<Result<Vec<_>, _>>()?;
        let durable_on_ack = match synchronous {
            Synchronous::Full => Durability::Power,
            Synchronous::Normal => Durability::Process,
        };
        Self::start(writer, Some(Readers::new(readers)), durable_on_ack, feed_poll_interval)
    }

    /// A fleet in memory, for tests: nothing survives its end.
    ///
    /// # Errors
    /// When SQLite cannot get the memory it needs.
    pub fn in_memory() -> Result<Self, StoreError> {
        let mut writer = Connection::open_in_memory().map_err(Failure::from)?;
        let Options { synchronous, busy_timeout, feed_poll_interval, readers: _ } = Options::default();
        schema::configure(&writer, Place::Memory, synchronous, busy_timeout)?;
        schema::migrate(&mut writer)?;
        Self::start(writer, None, Durability::None, feed_poll_interval)
    }

    fn start(
        writer: Connection,
        readers: Option<Readers>,
        durable_on_ack: Durability,
        feed_poll_interval: Duration,
    ) -> Result<Self, StoreError> {
        let index = Arc::new(SharedIndex::default());
        let (rings, feed_grew) = watch::channel(());
        let writer = WriterThread::start(writer, Arc::clone(&index), rings)?;
        let inner = Inner { readers, writer, index, feed_grew, feed_poll_interval, guarantees: Guarantees { durable_on_ack } };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Copies the fleet, as it is at one moment, to a new file of mode 0600, which [`SqliteStore::open`] opens like any other; calls
    /// `progress` after every 4 MiB. Nothing waits meanwhile but for one of the readers, which the copy takes as long as it lasts (a
    /// fleet in memory has no other: there everything waits). What is written meanwhile is not in the copy, and the write-ahead log
    /// grows by it.
    ///
    /// When the call returns, the copy is on the disk. A copy that fails or panics leaves no file. Dropping the future does not
    /// stop it.
    ///
    /// # Errors
    /// When there is a file at `path` already, which stays as it is, it cannot be written, or the fleet cannot be read.
    pub async fn backup_to(&self, path: impl AsRef<Path>, progress: impl FnMut(BackupProgress) + Send + 'static) -> Result<(), StoreError> {
        let path = path.as_ref().to_owned();
        self.read(move |connection| backup::copy(connection, &path, progress)).await
    }

    /// Runs `work` on one moment of the database.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        match &self.inner.readers {
            Some(readers) => readers.read(work).await,
            None => self.inner.writer.call(move |writer| transaction::read(&mut writer.connection, work)).await,
        }
    }

    /// Looks into the index as it is at one moment of the database, and goes on with the database of that moment.
    async fn read_indexed<L, T>(
        &self,
        look: impl Fn(&Index) -> L + Clone + Send + 'static,
        go_on: impl Fn(&Connection, L) -> Result<T, Failure> + Clone + Send + 'static,
    ) -> Result<T, StoreError>
    where
        L: Send + 'static,
        T: Send + 'static,
    {
        /// Each but the first happens only when the file was written right then.
        const TRIES: usize = 16;
        for _ in 0..TRIES {
            let (index, look, go_on) = (Arc::clone(&self.inner.index), look.clone(), go_on.clone());
            let found = self.read(move |connection| match index.look(index::generation(connection)?, look) {
                Look::Found(found) => Ok(Look::Found(go_on(connection, found)?)),
                Look::Gone => Ok(Look::Gone),
                Look::Unknown => Ok(Look::Unknown),
            });
            match found.await? {
                Look::Found(answer) => return Ok(answer),
                Look::Gone => {}
                Look::Unknown => self.read_index().await?,
            }
        }
        // Other processes write the file, faster than this one can follow.
        self.read(move |connection| go_on(connection, look(&Index::read(connection, index::generation(connection)?)?))).await
    }

    /// Reads what lists are found by, unless others did so while this waited for its turn.
    async fn read_index(&self) -> Result<(), StoreError> {
        let turn = self.inner.index.turn().await;
        let index = Arc::clone(&self.inner.index);
        let unknown = self.read(move |connection| Ok(matches!(index.look(index::generation(connection)?, |_| ()), Look::Unknown)));
        if unknown.await? {
            let index = Arc::clone(&self.inner.index);
            self.read(move |connection| index.read(connection, &turn)).await?;
        }
        Ok(())
    }

    /// Does what the ports have no word for, on the connection that writes.
    #[cfg(test)]
    pub(crate) async fn on_writer<T: Send + 'static>(&self, job: impl FnOnce(&Connection) -> T + Send + 'static) -> T {
        self.inner.writer.call(|writer| Ok(job(&writer.connection))).await.unwrap()
    }

    /// Runs `change` in one write transaction.
    async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.inner.writer.call(move |writer| writer.change(change)).await
    }
}

/// A new file is for its owner alone: it says what every host of the fleet lacks. SQLite gives its companions the same mode.
fn create_private(path: &Path) -> Result<(), StoreError> {
    // Names by which SQLite means something else than a file of that name.
    if path.to_str().is_some_and(|name| name.is_empty() || name == ":memory:" || name.starts_with("file:")) {
        return Ok(());
    }
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            let message = format!("creating {}: {error}", path.display());
            Err(StoreError::caused(StoreErrorKind::Unavailable, message))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

#[async_trait]
impl BatchStore for SqliteStore {
    async fn run(&self, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
        let work = work.clone();
        self.inner.writer.call(move |writer| writer.run(&work, mode)).await
    }

    async fn batch(&self, agent: AgentId, batch: BatchId) -> Result<Option<BatchRecord>, StoreError> {
        self.read(move |connection| match rows::agent_ref(connection, agent)? {
            Some(agent_ref) => rows::find_batch(connection, agent_ref, agent, batch),
            None => Ok(None),
        })
        .await
    }

    async fn rejections(&self, agent: AgentId, batch: BatchId) -> Result<Vec<RejectedItem>, StoreError> {
        self.read(move |connection| log::rejections(connection, agent, batch)).await
    }

    fn guarantees(&self) -> Guarantees {
        self.inner.guarantees
    }
}

#[async_trait]
impl StateStore for SqliteStore {
    async fn update(&self, id: &UpdateId) -> Result<Option<UpdateRow>, StoreError> {
        let id = id.clone();
        self.read(move |connection| match log::refs(connection, &id)? {
            Some((agent_ref, package_ref)) => rows::update(connection, agent_ref, package_ref),
            None => Ok(None),
        })
        .await
    }

    async fn updates(&self, query: &UpdateQuery) -> Result<UpdatePage, StoreError> {
        let after = query.after()?;
        let query = query.clone();
        let (wanted, filling) = (query.clone(), query);
        let page = move |index: &Index| index.page(&wanted, after.as_ref());
        self.read_indexed(page, move |connection, listed| lists::filled(connection, &filling, listed)).await
    }

    async fn stats(&self, filter: &UpdateFilter) -> Result<UpdateStats, StoreError> {
        let filter = filter.clone();
        self.read_indexed(move |index| index.stats(&filter), |_, stats| Ok(stats)).await
    }

    async fn history(&self, id: &UpdateId) -> Result<Vec<VersionChange>, StoreError> {
        let id = id.clone();
        self.read(move |connection| log::history(connection, &id)).await
    }

    async fn agent(&self, agent: AgentId) -> Result<Option<AgentHead>, StoreError> {
        self.read(move |connection| Ok(rows::head(connection, agent)?.map(|(_, head)| head))).await
    }

    async fn agents(&self, query: &AgentQuery) -> Result<AgentPage, StoreError> {
        let query = query.clone();
        self.read(move |connection| agents::page(connection, &query)).await
    }

    async fn packages(&self, query: &PackageQuery) -> Result<PackagePage, StoreError> {
        let query = query.clone();
        self.read_indexed(move |index| index.packages(&query), |_, page| Ok(page)).await
    }

    async fn trend(&self, query: &TrendQuery) -> Result<Vec<TrendPoint>, StoreError> {
        let query = *query;
        self.read(move |connection| trend::points(connection, &query)).await
    }

    async fn derived(&self, agent: AgentId) -> Result<Option<Derived>, StoreError> {
        self.read(move |connection| derived::of_agent(connection, agent)).await
    }

    async fn removed_agents(&self, after: Option<AgentId>, limit: u32) -> Result<Vec<RemovedAgent>, StoreError> {
        self.read(move |connection| removed::page(connection, after, limit)).await
    }
}

#[async_trait]
impl EventStore for SqliteStore {
    async fn events(&self, id: &UpdateId) -> Result<Vec<RecordedEvent>, StoreError> {
        let id = id.clone();
        self.read(move |connection| log::events(connection, &id)).await
    }

    async fn replay(&self, agent: AgentId, after: u64, limit: u32) -> Result<Vec<RecordedEvent>, StoreError> {
        self.read(move |connection| log::replay(connection, agent, after, limit)).await
    }

    async fn batches(&self, query: &BatchQuery) -> Result<BatchPage, StoreError> {
        let query = query.clone();
        self.read(move |connection| log::batches(connection, &query)).await
    }

    async fn reports(&self, agent: AgentId, limit: u32) -> Result<Vec<StoredReport>, StoreError> {
        self.read(move |connection| log::reports(connection, agent, limit)).await
    }

    async fn agent_batches(&self, agent: AgentId, after: u64, limit: u32) -> Result<Vec<BatchRecord>, StoreError> {
        self.read(move |connection| log::agent_batches(connection, agent, after, limit)).await
    }

    async fn bases(&self, agent: AgentId) -> Result<Vec<PackageState>, StoreError> {
        self.read(move |connection| log::bases(connection, agent)).await
    }

    async fn feed(&self, after: FeedPosition, limit: u32) -> Result<Vec<FeedEntry>, StoreError> {
        self.read(move |connection| feed::entries(connection, after, limit)).await
    }

    async fn feed_grown(&self, after: FeedPosition) -> Result<FeedPosition, StoreError> {
        let mut grew = self.inner.feed_grew.clone();
        loop {
            // Before looking, so that nothing can be committed unseen in between.
            grew.mark_unchanged();
            let newest = self.read(feed::newest).await?;
            if newest > after {
                return Ok(newest);
            }
            match timeout(self.inner.feed_poll_interval, grew.changed()).await {
                Ok(Ok(())) | Err(_) => {}
                Ok(Err(ended)) => return Err(StoreError::caused(StoreErrorKind::Unavailable, ended)),
            }
        }
    }

    async fn batches_until(&self, agent: AgentId, position: FeedPosition) -> Result<u64, StoreError> {
        self.read(move |connection| feed::batches_until(connection, agent, position)).await
    }
}

#[async_trait]
impl CommandStore for SqliteStore {
    async fn command(&self, agent: AgentId, command: CommandId) -> Result<Option<CommandRecord>, StoreError> {
        self.read(move |connection| commands::find(connection, agent, command)).await
    }

    async fn commands(&self, query: &CommandQuery) -> Result<CommandPage, StoreError> {
        let query = *query;
        self.read(move |connection| commands::page(connection, &query)).await
    }

    async fn due_commands(&self, at: Timestamp, after: Option<AgentId>, limit: u32) -> Result<Vec<AgentId>, StoreError> {
        self.read(move |connection| commands::due(connection, at, after, limit)).await
    }
}

#[async_trait]
impl RecordStore for SqliteStore {
    async fn get(&self, namespace: &str, key: &str) -> Result<Option<Record>, StoreError> {
        let (namespace, key) = (namespace.to_owned(), key.to_owned());
        self.read(move |connection| records::find(connection, &namespace, &key)).await
    }

    async fn put(&self, namespace: &str, key: &str, value: &str, expected: Expected) -> Result<Option<u64>, StoreError> {
        records::check(value)?;
        let (namespace, key, value) = (namespace.to_owned(), key.to_owned(), value.to_owned());
        self.change(move |connection| records::put(connection, &namespace, &key, &value, expected)).await
    }

    async fn delete(&self, namespace: &str, key: &str, revision: u64) -> Result<bool, StoreError> {
        let (namespace, key) = (namespace.to_owned(), key.to_owned());
        self.change(move |connection| records::delete(connection, &namespace, &key, revision)).await
    }

    async fn list(&self, namespace: &str, after: Option<&str>, limit: u32) -> Result<Vec<(String, Record)>, StoreError> {
        let (namespace, after) = (namespace.to_owned(), after.map(str::to_owned));
        self.read(move |connection| records::list(connection, &namespace, after.as_deref(), limit)).await
    }

    async fn namespaces(&self, after: Option<&str>, limit: u32) -> Result<Vec<String>, StoreError> {
        let after = after.map(str::to_owned);
        self.read(move |connection| records::namespaces(connection, after, limit)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redflag_core::{
        Fleet,
        conformance::generate::{Rng, agent, at, checked, enrolment, offers, report_id, report_of, scope_of},
        event::Actor,
        query::{PageSize, StatusFilter},
        rebuild::Rebuild,
        store::StoreErrorKind,
        work::{RecordReport, Withheld},
    };

    #[tokio::test]
    async fn a_full_disk_is_told_and_heals_by_itself() {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(directory.path().join("fleet.db"), Options::default()).unwrap();
        let fleet = Fleet::new(store.clone());
        fleet.enrol(enrolment(0)).await.unwrap();
        let offers = checked("apt", &offers(&mut Rng::new(1), "apt", 2_000));
        let report = report_of(report_id(1), 1, vec![scope_of("apt", at(1), &offers, &[])]);
        let limit = |pages: u32| store.on_writer(move |connection| connection.pragma_update(None, "max_page_count", pages).unwrap());
        limit(1).await;
        let error = fleet.record_report(agent(0), report.clone(), at(2)).await.unwrap_err();
        assert_eq!(error.kind(), &StoreErrorKind::Unavailable, "{error:?}");
        assert_eq!(store.agent(agent(0)).await.unwrap().unwrap().events, 0);
        assert_eq!(store.replay(agent(0), 0, 1).await.unwrap(), []);
        limit(u32::MAX - 1).await;
        assert_eq!(fleet.record_report(agent(0), report, at(3)).await.unwrap().events, 2_000);
        assert_eq!(store.stats(&UpdateFilter::default()).await.unwrap().total, 2_000);
    }

    /// Clause D5: the promise rests on what SQLite says of the very connection that writes.
    #[tokio::test]
    async fn the_writer_syncs_as_promised() {
        let directory = tempfile::tempdir().unwrap();
        for (synchronous, level, promised) in [(Synchronous::Full, 2, Durability::Power), (Synchronous::Normal, 1, Durability::Process)] {
            let options = Options { synchronous, ..Options::default() };
            let store = SqliteStore::open(directory.path().join("fleet.db"), options).unwrap();
            let level_of = |connection: &Connection| Ok(connection.pragma_query_value(None, "synchronous", |row| row.get(0))?);
            let found: i64 = store.change(level_of).await.unwrap();
            assert_eq!((found, store.guarantees().durable_on_ack), (level, promised));
        }
    }

    /// Refs given out in a transaction that was rolled back go to others; whoever remembered them would mix packages up.
    #[tokio::test]
    async fn what_was_rolled_back_is_forgotten() {
        let store = SqliteStore::in_memory().unwrap();
        let work = |number: u32, manager: &str| {
            let offers = checked(manager, &offers(&mut Rng::new(1), manager, 20));
            let report = report_of(report_id(u64::from(number)), u64::from(number), vec![scope_of(manager, at(1), &offers, &[])]);
            let withheld = Withheld::default();
            let report = report.into();
            let work = RecordReport { agent: agent(0), report, received_at: at(number), batch_events: 100, withheld };
            (UnitOfWork::RecordReport(work), offers)
        };
        let ((rehearsed, expected), (other, _)) = (work(2, "apt"), work(1, "dnf"));
        store.run(&UnitOfWork::EnrolAgent(enrolment(0)), Mode::Commit).await.unwrap();
        store.run(&rehearsed, Mode::Rehearse).await.unwrap();
        store.run(&other, Mode::Commit).await.unwrap();
        store.run(&rehearsed, Mode::Commit).await.unwrap();
        for (package, offer) in expected {
            let row = store.update(&UpdateId { agent: agent(0), package: package.clone() }).await.unwrap();
            assert_eq!(row.map(|row| (row.state.package, row.state.offer)), Some((package, offer)));
        }
    }

    /// To read the index anew takes seconds in a large fleet.
    #[tokio::test]
    async fn removal_and_rebuild_keep_the_index_and_keep_it_right() {
        let store = SqliteStore::in_memory().unwrap();
        let fleet = Fleet::new(store.clone());
        for host in 0..3 {
            fleet.enrol(enrolment(host)).await.unwrap();
            let offers = checked("apt", &offers(&mut Rng::new(1), "apt", 20 + host as usize));
            let report = report_of(report_id(1), 1, vec![scope_of("apt", at(1), &offers, &[])]);
            fleet.record_report(agent(host), report, at(1)).await.unwrap();
        }
        let any = UpdateFilter { status: StatusFilter::Any, ..UpdateFilter::default() };
        let query = UpdateQuery { filter: any, size: PageSize::new(100).unwrap(), ..UpdateQuery::default() };
        let right = async |change: &str| {
            let generation = store.change(index::generation).await.unwrap();
            let known = store.inner.index.look(generation, |_| ());
            assert!(matches!(known, Look::Found(())), "the index is kept when {change}");
            let kept = store.updates(&query).await.unwrap();
            store.inner.index.forget();
            assert_eq!(kept, store.updates(&query).await.unwrap(), "a list when {change}, against an index read anew");
            kept.stats.total
        };
        store.stats(&query.filter).await.unwrap();
        let mut derived = store.derived(agent(1)).await.unwrap().unwrap();
        derived.states.truncate(5);
        let rebuild = UnitOfWork::Rebuild(Rebuild { agent: agent(1), derived });
        store.run(&rebuild, Mode::Commit).await.unwrap();
        assert_eq!(right("fewer states are put in place").await, 20 + 5 + 22);
        fleet.rebuild(agent(1)).await.unwrap();
        assert_eq!(right("an agent is rebuilt").await, 20 + 21 + 22);
        fleet.remove_agent(agent(2), Actor::Agent, None, at(2)).await.unwrap();
        assert_eq!(right("an agent is removed").await, 20 + 21);
    }

    #[tokio::test]
    async fn a_panic_in_a_unit_of_work_is_rolled_back_and_the_next_one_runs() {
        let store = SqliteStore::in_memory().unwrap();
        let broken = store.change(|connection| -> Result<(), Failure> {
            records::put(connection, "n", "k", "v", Expected::Absent)?;
            panic!("a defect, as this test needs one")
        });
        assert_eq!(broken.await.unwrap_err().kind(), &StoreErrorKind::OutcomeUnknown);
        assert_eq!(store.put("n", "k", "v", Expected::Absent).await.unwrap(), Some(1));
    }
}

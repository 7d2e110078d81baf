//! The store: one redb file, and the two ways to touch it, reading and writing.
//!
//! redb lets one write transaction live at a time and any number of read transactions beside it, each on one moment of the file.
//! That is all the isolation the ports ask for, so there is no lock of ours.

use crate::{
    error::Failure,
    load, persist,
    tables::{self, LAYOUT, META},
};
use redb::{Database, Durability, ReadTransaction, ReadableDatabase, ReadableTable, WriteTransaction};
use redflag_core::{
    store::{Mode, StoreError, StoreErrorKind},
    work::{Answer, UnitOfWork},
};
use std::{fmt, fs::File, path::Path, sync::Arc};
use tokio::sync::{Notify, futures::Notified};

/// A fleet in one redb file. Cloning is cheap and shares the file, which closes with the last clone, or with the last transaction
/// that was under way by then.
///
/// Every method must be called within a tokio runtime. Dropping a future abandons its answer, not its work: a transaction that
/// has begun runs to its end, and submitting the same work again tells what became of it (clause B8).
#[derive(Clone)]
pub struct RedbStore {
    database: Arc<Database>,
    /// Wakes whoever waits for the feed to go on.
    committed: Arc<Notify>,
}

impl fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbStore").finish_non_exhaustive()
    }
}

impl RedbStore {
    /// Opens the fleet at `path`, and makes the file if there is none. Blocks for as long as the disk does.
    ///
    /// # Errors
    /// `Unavailable` when the file cannot be opened or is open elsewhere, `SchemaTooNew` when a newer program laid it out, and
    /// `Corrupt` when it is no database of redb.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_file(path.as_ref()).map_err(StoreError::from)
    }

    fn open_file(path: &Path) -> Result<Self, Failure> {
        let database = Database::create(path)?;
        write(&database, Mode::Commit, create_tables)?;
        // A power cut must not take the name of a new file either; redb syncs the file alone.
        if let Some(directory) = path.canonicalize().map_err(redb::StorageError::Io)?.parent() {
            File::open(directory).and_then(|directory| directory.sync_all()).map_err(redb::StorageError::Io)?;
        }
        Ok(Self { database: Arc::new(database), committed: Arc::default() })
    }

    /// Runs `work` on one moment of the file, on a thread that may block.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&ReadTransaction) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        let database = Arc::clone(&self.database);
        let reading = tokio::task::spawn_blocking(move || work(&database.begin_read()?));
        let read = reading.await.map_err(|panicked| StoreError::caused(StoreErrorKind::Unavailable, panicked))?;
        Ok(read?)
    }

    /// Runs `work` in one write transaction, on a thread that may block.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        mode: Mode,
        work: impl FnOnce(&WriteTransaction) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (database, committed) = (Arc::clone(&self.database), Arc::clone(&self.committed));
        let writing = tokio::task::spawn_blocking(move || {
            let written = write(&database, mode, work);
            // Whoever is woken looks for itself: the error of a commit may come from one that took effect.
            committed.notify_waiters();
            written
        });
        // A panic may have come before or after the commit.
        let written = writing.await.map_err(|panicked| StoreError::caused(StoreErrorKind::OutcomeUnknown, panicked))?;
        Ok(written?)
    }

    /// Ends once a write transaction that was under way or comes after this call has ended.
    pub(crate) fn committed(&self) -> Notified<'_> {
        self.committed.notified()
    }

    /// The heart of a backend: load, decide, write, all in one transaction.
    pub(crate) async fn run_unit(&self, work: UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
        self.write(mode, move |transaction| {
            let needs = work.needs();
            let loaded = load::load(transaction, &needs)?;
            let decided = work.decide(&loaded)?;
            persist::persist(transaction, needs.agent, &decided.changes)?;
            Ok(decided.answer)
        })
        .await
    }
}

/// The one place where write transactions begin and end. An error of `work` rolls everything back, because redb aborts a
/// transaction that is dropped.
fn write<T>(database: &Database, mode: Mode, work: impl FnOnce(&WriteTransaction) -> Result<T, Failure>) -> Result<T, Failure> {
    let mut transaction = database.begin_write()?;
    // redb's default, but the store's guarantee rests on it.
    transaction.set_durability(Durability::Immediate)?;
    let answer = work(&transaction)?;
    match mode {
        Mode::Commit => transaction.commit().map_err(Failure::of_commit)?,
        Mode::Rehearse => transaction.abort()?,
    }
    Ok(answer)
}

/// Makes the tables that are missing, since reading a table that was never made is an error, and checks the layout.
fn create_tables(transaction: &WriteTransaction) -> Result<(), Failure> {
    let mut meta = transaction.open_table(META)?;
    let layout = meta.get("layout")?.map(|layout| layout.value());
    match layout {
        None => drop(meta.insert("layout", LAYOUT)?),
        Some(LAYOUT) => {}
        Some(newer) => return Err(Failure::too_new(newer)),
    }
    transaction.open_table(tables::AGENTS)?;
    transaction.open_table(tables::STATES)?;
    transaction.open_table(tables::BASES)?;
    transaction.open_table(tables::COUNTERS)?;
    transaction.open_table(tables::OPEN_CHANGES)?;
    transaction.open_table(tables::EVENTS)?;
    transaction.open_table(tables::EVENTS_OF_PACKAGE)?;
    transaction.open_table(tables::CHOSEN_IDS)?;
    transaction.open_table(tables::HISTORY)?;
    transaction.open_table(tables::BATCHES)?;
    transaction.open_table(tables::BATCH_NUMBERS)?;
    transaction.open_table(tables::FEED)?;
    transaction.open_table(tables::REJECTIONS)?;
    transaction.open_table(tables::REPORTS)?;
    transaction.open_table(tables::REPORT_NUMBERS)?;
    transaction.open_table(tables::COMMANDS)?;
    transaction.open_table(tables::REMOVED)?;
    transaction.open_table(tables::RECORDS)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(opened: Result<RedbStore, StoreError>) -> StoreErrorKind {
        opened.expect_err("the file must not open").kind().clone()
    }

    #[test]
    fn a_file_opens_once_and_again_after_it_was_closed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fleet.redb");
        let store = RedbStore::open(&path).unwrap();
        assert_eq!(kind(RedbStore::open(&path)), StoreErrorKind::Unavailable);
        drop(store);
        RedbStore::open(&path).unwrap();
    }

    #[test]
    fn a_file_of_a_newer_program_is_refused_unchanged() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fleet.redb");
        let newer = |transaction: &WriteTransaction| {
            transaction.open_table(META)?.insert("layout", LAYOUT + 1)?;
            Ok(())
        };
        write(&Database::create(&path).unwrap(), Mode::Commit, newer).unwrap();
        for _ in 0..2 {
            assert_eq!(kind(RedbStore::open(&path)), StoreErrorKind::SchemaTooNew);
        }
    }

    #[test]
    fn a_file_of_something_else_is_refused_unchanged() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("letter.txt");
        std::fs::write(&path, "dear reader, ".repeat(1_000)).unwrap();
        assert_eq!(kind(RedbStore::open(&path)), StoreErrorKind::Corrupt);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "dear reader, ".repeat(1_000));
    }
}

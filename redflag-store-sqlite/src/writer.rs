//! The writer: one connection on its own thread, fed by a bounded queue.
//!
//! A job whose caller went away before it began is not run; one that began runs to its end. Dropping the last handle ends the
//! thread after the jobs already taken.

use crate::{
    catalog::Catalog,
    error::Failure,
    index::{self, SharedIndex},
    load::load,
    persist::{Written, persist},
    transaction,
};
use redflag_core::{
    store::{Mode, StoreError, StoreErrorKind},
    work::{Answer, Decided, UnitOfWork},
};
use rusqlite::Connection;
use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::JoinHandle,
};
use tokio::sync::{mpsc, oneshot, watch};

/// Jobs that wait before callers have to.
const QUEUE_JOBS: usize = 256;

type Job = Box<dyn FnOnce(&mut Writer) + Send>;

/// The writing connection with what it remembers.
pub(crate) struct Writer {
    pub(crate) connection: Connection,
    catalog: Catalog,
    index: Arc<SharedIndex>,
    /// Wakes those who wait for the feed, after the commit.
    feed_grew: watch::Sender<()>,
}

impl Writer {
    /// One unit of work in one transaction.
    pub(crate) fn run(&mut self, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
        let Self { connection, catalog, index, feed_grew } = self;
        let mut commit = None;
        let result = transaction::write(connection, mode, |connection| {
            let needs = work.needs();
            let (agent_ref, loaded) = load(connection, catalog, &needs)?;
            let decided = work.decide(&loaded).map_err(StoreError::from)?;
            let written = persist(connection, catalog, agent_ref, loaded.head.as_ref(), &decided.changes)?;
            if mode == Mode::Commit && written.as_ref().is_some_and(Written::concerns_lists) {
                commit = Some(index.commit(index::advance(connection)?));
            }
            Ok((decided, written))
        });
        if mode == Mode::Rehearse || result.is_err() {
            catalog.rolled_back();
            return result.map(|(decided, _)| decided.answer);
        }
        catalog.committed();
        let (Decided { changes, answer }, written) = result?;
        if let (Some(commit), Some(written)) = (commit, &written) {
            commit.done(written.change(&changes));
        }
        if written.is_some_and(|written| written.feed_grew) {
            feed_grew.send_replace(());
        }
        Ok(answer)
    }

    /// Small changes that touch no catalog.
    pub(crate) fn change<T>(&mut self, change: impl FnOnce(&Connection) -> Result<T, Failure>) -> Result<T, StoreError> {
        transaction::write(&mut self.connection, Mode::Commit, change)
    }
}

/// A handle on the writer's thread.
pub(crate) struct WriterThread {
    /// None only while dropping.
    queue: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl WriterThread {
    pub(crate) fn start(connection: Connection, index: Arc<SharedIndex>, feed_grew: watch::Sender<()>) -> Result<Self, StoreError> {
        let (queue, mut jobs) = mpsc::channel::<Job>(QUEUE_JOBS);
        let mut writer = Writer { connection, catalog: Catalog::default(), index, feed_grew };
        let work = move || {
            while let Some(job) = jobs.blocking_recv() {
                // A panic is a defect, but one that must not take the fleet's only writer with it: the transaction was rolled back
                // while unwinding, and what the catalog remembers of it is forgotten.
                if catch_unwind(AssertUnwindSafe(|| job(&mut writer))).is_err() {
                    tracing::error!("a unit of work panicked; it was rolled back");
                    writer.catalog.rolled_back();
                    writer.index.forget();
                }
            }
        };
        let thread = std::thread::Builder::new().name("redflag-sqlite-writer".to_owned()).spawn(work);
        let thread = thread.map_err(|error| StoreError::caused(StoreErrorKind::Unavailable, error))?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// Runs `job` on the writer's thread and waits for its result.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Writer) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, result) = oneshot::channel();
        let job: Job = Box::new(move |writer| {
            if !reply.is_closed() {
                // A caller that went away meanwhile finds out by asking again (clause B8).
                let _gone = reply.send(job(writer));
            }
        });
        let ended = || StoreError::caused(StoreErrorKind::Unavailable, "the writer's thread has ended");
        self.queue.as_ref().ok_or_else(ended)?.send(job).await.map_err(|_| ended())?;
        result.await.map_err(|_| StoreError::caused(StoreErrorKind::OutcomeUnknown, "the unit of work panicked"))?
    }
}

impl Drop for WriterThread {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the writer's thread panicked");
        }
    }
}

impl fmt::Debug for WriterThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriterThread").finish_non_exhaustive()
    }
}

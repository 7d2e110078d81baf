//! The readers: a small pool of read-only connections, each used on a blocking thread for one read at a time.

use crate::{error::Failure, transaction};
use redflag_core::store::{StoreError, StoreErrorKind};
use rusqlite::Connection;
use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The pool. Reads beyond its size wait their turn.
pub(crate) struct Readers {
    idle: Arc<Mutex<Vec<Connection>>>,
    /// As many permits as connections, so whoever holds one finds one.
    permits: Arc<Semaphore>,
}

impl Readers {
    pub(crate) fn new(connections: Vec<Connection>) -> Self {
        let permits = Arc::new(Semaphore::new(connections.len()));
        Self { idle: Arc::new(Mutex::new(connections)), permits }
    }

    /// Runs `work` on one moment of the database.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        let closed = |error| StoreError::caused(StoreErrorKind::Unavailable, error);
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(closed)?;
        let mut loan = Loan::new(Arc::clone(&self.idle), permit)?;
        let read = tokio::task::spawn_blocking(move || transaction::read(loan.connection(), work));
        read.await.map_err(|error| StoreError::caused(StoreErrorKind::Unavailable, error))?
    }
}

/// A connection that returns to the pool however its use ends: a finished read, a cancelled one or a panic.
struct Loan {
    connection: Option<Connection>,
    idle: Arc<Mutex<Vec<Connection>>>,
    _permit: OwnedSemaphorePermit,
}

impl Loan {
    fn new(idle: Arc<Mutex<Vec<Connection>>>, permit: OwnedSemaphorePermit) -> Result<Self, StoreError> {
        let connection = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if connection.is_none() {
            return Err(StoreError::caused(StoreErrorKind::Unavailable, "no idle connection"));
        }
        Ok(Self { connection, idle, _permit: permit })
    }

    fn connection(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("a loan holds its connection until it is dropped")
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        // Before the permit, which is a later field.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).extend(self.connection.take());
    }
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readers").field("idle", &self.permits.available_permits()).finish_non_exhaustive()
    }
}

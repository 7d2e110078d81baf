//! Where transactions begin: nowhere else (clippy.toml forbids it).

use crate::error::{Failure, Phase};
use redflag_core::store::{Mode, StoreError};
use rusqlite::{Connection, TransactionBehavior};

/// Runs `work` in one write transaction, which takes the write lock at once so that it never has to be taken later, when another
/// writer may have moved on. An error of `work` rolls everything back.
pub(crate) fn write<T>(
    connection: &mut Connection,
    mode: Mode,
    work: impl FnOnce(&Connection) -> Result<T, Failure>,
) -> Result<T, StoreError> {
    #[expect(clippy::disallowed_methods, reason = "the one place where write transactions begin")]
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(Failure::from)?;
    let answer = work(&transaction)?;
    match mode {
        Mode::Commit => transaction.commit().map_err(|error| Failure::from(error).into_store_error(Phase::Commit))?,
        Mode::Rehearse => transaction.rollback().map_err(Failure::from)?,
    }
    Ok(answer)
}

/// Runs `work` on one moment of the database.
pub(crate) fn read<T>(connection: &mut Connection, work: impl FnOnce(&Connection) -> Result<T, Failure>) -> Result<T, StoreError> {
    #[expect(clippy::disallowed_methods, reason = "the one place where read transactions begin")]
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Deferred).map_err(Failure::from)?;
    let answer = work(&transaction)?;
    transaction.commit().map_err(Failure::from)?;
    Ok(answer)
}

//! What an error of SQLite means to the caller: one table, by extended result code.

use redflag_core::store::{StoreError, StoreErrorKind};
use rusqlite::{Error as SqliteError, ErrorCode, ffi};

/// An error inside this crate: SQLite's, or one that already knows its kind.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Sqlite(#[from] SqliteError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What was being done when an error came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Anything that a rollback undoes.
    Statement,
    /// The commit itself.
    Commit,
}

impl Failure {
    /// Stored data that cannot be read back.
    pub(crate) fn corrupt(what: impl Into<String>) -> Self {
        Self::Store(StoreError::caused(StoreErrorKind::Corrupt, what.into()))
    }

    pub(crate) fn into_store_error(self, phase: Phase) -> StoreError {
        match self {
            Self::Store(error) => error,
            Self::Sqlite(error) => StoreError::caused(kind(&error, phase), error),
        }
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        failure.into_store_error(Phase::Statement)
    }
}

/// What the caller can do about `error`.
///
/// At commit, SQLite keeps the transaction open on `BUSY` and rolls it back on `FULL`: nothing changed. After any other error
/// there the last page may or may not have reached the disk, so the outcome is unknown (clause B8).
pub(crate) fn kind(error: &SqliteError, phase: Phase) -> StoreErrorKind {
    let SqliteError::SqliteFailure(failure, _) = error else { return kind_of_client_error(error) };
    match (failure.code, phase) {
        (ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::DiskFull, _) => StoreErrorKind::Unavailable,
        (ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch, _) => StoreErrorKind::DataRefused,
        (_, Phase::Commit) => StoreErrorKind::OutcomeUnknown,
        (ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase, Phase::Statement) => StoreErrorKind::Corrupt,
        (ErrorCode::SystemIoFailure, Phase::Statement) if damaged(failure.extended_code) => StoreErrorKind::Corrupt,
        (_, Phase::Statement) => StoreErrorKind::Unavailable,
    }
}

/// I/O errors that say that what was read is not what was written, not that the disk could not be reached.
const fn damaged(extended_code: i32) -> bool {
    matches!(extended_code, ffi::SQLITE_IOERR_CORRUPTFS | ffi::SQLITE_IOERR_DATA)
}

/// Errors of rusqlite itself: a value that does not fit on its way in, or out.
const fn kind_of_client_error(error: &SqliteError) -> StoreErrorKind {
    match error {
        SqliteError::ToSqlConversionFailure(_) | SqliteError::NulError(_) => StoreErrorKind::DataRefused,
        _ => StoreErrorKind::Corrupt,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(extended_code: i32) -> SqliteError {
        SqliteError::SqliteFailure(ffi::Error::new(extended_code), None)
    }

    /// One row per result code that matters: what it means before the commit, and at it.
    #[test]
    fn every_row_of_the_table() {
        use StoreErrorKind::{Corrupt, DataRefused, OutcomeUnknown, Unavailable};
        for (code, statement, commit) in [
            (ffi::SQLITE_BUSY, Unavailable, Unavailable),
            (ffi::SQLITE_BUSY_SNAPSHOT, Unavailable, Unavailable),
            (ffi::SQLITE_LOCKED, Unavailable, Unavailable),
            (ffi::SQLITE_FULL, Unavailable, Unavailable),
            (ffi::SQLITE_IOERR, Unavailable, OutcomeUnknown),
            (ffi::SQLITE_IOERR_WRITE, Unavailable, OutcomeUnknown),
            (ffi::SQLITE_IOERR_FSYNC, Unavailable, OutcomeUnknown),
            (ffi::SQLITE_IOERR_CORRUPTFS, Corrupt, OutcomeUnknown),
            (ffi::SQLITE_IOERR_DATA, Corrupt, OutcomeUnknown),
            (ffi::SQLITE_READONLY, Unavailable, OutcomeUnknown),
            (ffi::SQLITE_READONLY_DBMOVED, Unavailable, OutcomeUnknown),
            (ffi::SQLITE_CANTOPEN, Unavailable, OutcomeUnknown),
            (ffi::SQLITE_NOMEM, Unavailable, OutcomeUnknown),
            (ffi::SQLITE_INTERRUPT, Unavailable, OutcomeUnknown),
            (ffi::SQLITE_CONSTRAINT_CHECK, DataRefused, DataRefused),
            (ffi::SQLITE_CONSTRAINT_DATATYPE, DataRefused, DataRefused),
            (ffi::SQLITE_CONSTRAINT_FOREIGNKEY, DataRefused, DataRefused),
            (ffi::SQLITE_CONSTRAINT_TRIGGER, DataRefused, DataRefused),
            (ffi::SQLITE_TOOBIG, DataRefused, DataRefused),
            (ffi::SQLITE_MISMATCH, DataRefused, DataRefused),
            (ffi::SQLITE_CORRUPT, Corrupt, OutcomeUnknown),
            (ffi::SQLITE_NOTADB, Corrupt, OutcomeUnknown),
        ] {
            assert_eq!(kind(&failure(code), Phase::Statement), statement, "code {code} in a statement");
            assert_eq!(kind(&failure(code), Phase::Commit), commit, "code {code} at commit");
        }
        let too_large = SqliteError::ToSqlConversionFailure(Box::new(u8::try_from(256).unwrap_err()));
        assert_eq!(kind(&too_large, Phase::Statement), DataRefused);
        assert_eq!(kind(&SqliteError::QueryReturnedNoRows, Phase::Statement), Corrupt);
    }
}

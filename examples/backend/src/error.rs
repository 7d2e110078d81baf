//! What an error of redb means to the caller.
//!
//! The question is never what went wrong, but what the caller can do: try later, submit the same work again, leave out one event,
//! or call somebody.

use redflag_core::{
    query::QueryError,
    store::{StoreError, StoreErrorKind},
    work::Refusal,
};
use std::io;

/// The error of everything inside this crate. [`StoreError`] and redb's errors are both foreign, so `?` needs a type of ours
/// between them.
#[derive(Debug)]
pub(crate) struct Failure(StoreError);

impl Failure {
    /// Stored data that cannot be read back.
    pub(crate) fn corrupt(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(StoreError::caused(StoreErrorKind::Corrupt, cause))
    }

    /// Data that this backend does not take.
    pub(crate) fn refused(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(StoreError::caused(StoreErrorKind::DataRefused, cause))
    }

    /// A file laid out by a newer program.
    pub(crate) fn too_new(layout: u64) -> Self {
        Self(StoreError::caused(StoreErrorKind::SchemaTooNew, format!("the file has layout {layout}")))
    }

    /// An error of the commit itself. redb rolls a poisoned transaction back; after any other error the commit may or may not
    /// have reached the disk, which only submitting again can tell (clause B8).
    pub(crate) fn of_commit(error: redb::CommitError) -> Self {
        let kind = match error {
            redb::CommitError::TransactionPoisoned => StoreErrorKind::Unavailable,
            _ => StoreErrorKind::OutcomeUnknown,
        };
        Self(StoreError::caused(kind, redb::Error::from(error)))
    }
}

/// `?` on every error of redb before the commit. Nothing changed: the transaction is rolled back when it is dropped.
macro_rules! failures_of_redb {
    ($($error:ident),+) => {$(
        impl From<redb::$error> for Failure {
            fn from(error: redb::$error) -> Self {
                let error = redb::Error::from(error);
                Self(StoreError::caused(kind(&error), error))
            }
        }
    )+};
}

failures_of_redb!(DatabaseError, TransactionError, SetDurabilityError, TableError, StorageError);

fn kind(error: &redb::Error) -> StoreErrorKind {
    match error {
        redb::Error::ValueTooLarge(_) => StoreErrorKind::DataRefused,
        redb::Error::Corrupted(_)
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TypeDefinitionChanged { .. }
        | redb::Error::TableIsMultimap(_) => StoreErrorKind::Corrupt,
        // How redb says that a file is none of its own.
        redb::Error::Io(cause) if cause.kind() == io::ErrorKind::InvalidData => StoreErrorKind::Corrupt,
        redb::Error::UpgradeRequired(_) => StoreErrorKind::Misconfigured,
        // The disk is full or broken, the file is open elsewhere, an earlier error closed the database.
        _ => StoreErrorKind::Unavailable,
    }
}

/// `?` on what core says.
macro_rules! failures_of_core {
    ($($error:ident),+) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self(error.into())
            }
        }
    )+};
}

failures_of_core!(Refusal, QueryError);

impl From<Failure> for StoreError {
    fn from(Failure(error): Failure) -> Self {
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redb::{CommitError, DatabaseError, StorageError};

    #[test]
    fn kinds_say_what_the_caller_can_do() {
        let io = |kind: io::ErrorKind| StorageError::Io(kind.into());
        for (error, expected) in [
            (Failure::from(io(io::ErrorKind::StorageFull)), StoreErrorKind::Unavailable),
            (Failure::from(io(io::ErrorKind::InvalidData)), StoreErrorKind::Corrupt),
            (Failure::from(StorageError::PreviousIo), StoreErrorKind::Unavailable),
            (Failure::from(StorageError::Corrupted("page 7".to_owned())), StoreErrorKind::Corrupt),
            (Failure::from(StorageError::ValueTooLarge(1)), StoreErrorKind::DataRefused),
            (Failure::from(DatabaseError::DatabaseAlreadyOpen), StoreErrorKind::Unavailable),
            (Failure::from(DatabaseError::UpgradeRequired(1)), StoreErrorKind::Misconfigured),
            (Failure::of_commit(CommitError::Storage(io(io::ErrorKind::StorageFull))), StoreErrorKind::OutcomeUnknown),
            (Failure::of_commit(CommitError::TransactionPoisoned), StoreErrorKind::Unavailable),
        ] {
            let error = StoreError::from(error);
            assert_eq!(error.kind(), &expected, "{error:?}");
        }
    }
}

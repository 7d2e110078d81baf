//! What an error of PostgreSQL or of the way to it means to the caller: one table, by SQLSTATE.

use redflag_core::store::{StoreError, StoreErrorKind};
use sqlx::Error as SqlxError;

/// An error inside this crate: sqlx's, or one that already knows its kind.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Sqlx(#[from] SqlxError),
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

    /// Data that this backend cannot keep.
    pub(crate) fn refused(what: impl Into<String>) -> Self {
        Self::Store(StoreError::caused(StoreErrorKind::DataRefused, what.into()))
    }

    pub(crate) fn into_store_error(self, phase: Phase) -> StoreError {
        match self {
            Self::Store(error) => error,
            Self::Sqlx(error) => StoreError::caused(kind(&error, phase), error),
        }
    }

    /// Whether the transaction fell to others at the same time and may well succeed when run again.
    pub(crate) fn is_conflict(&self) -> bool {
        let Self::Sqlx(SqlxError::Database(error)) = self else { return false };
        matches!(error.code().as_deref(), Some(SERIALIZATION_FAILURE | DEADLOCK_DETECTED))
    }

    /// Whether the server refused to write because it only reads.
    pub(crate) fn is_read_only(&self) -> bool {
        let Self::Sqlx(SqlxError::Database(error)) = self else { return false };
        error.code().as_deref() == Some(READ_ONLY_TRANSACTION)
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        failure.into_store_error(Phase::Statement)
    }
}

const SERIALIZATION_FAILURE: &str = "40001";
const DEADLOCK_DETECTED: &str = "40P01";
const READ_ONLY_TRANSACTION: &str = "25006";

/// What the caller can do about `error`.
fn kind(error: &SqlxError, phase: Phase) -> StoreErrorKind {
    let on_the_way = match phase {
        Phase::Statement => StoreErrorKind::Unavailable,
        Phase::Commit => StoreErrorKind::OutcomeUnknown,
    };
    match error {
        SqlxError::Database(error) => kind_of_state(error.code().as_deref().unwrap_or_default(), phase),
        SqlxError::PoolTimedOut | SqlxError::PoolClosed => StoreErrorKind::Unavailable,
        SqlxError::Configuration(_) | SqlxError::InvalidArgument(_) => StoreErrorKind::Misconfigured,
        SqlxError::Encode(_) => StoreErrorKind::DataRefused,
        SqlxError::RowNotFound
        | SqlxError::TypeNotFound { .. }
        | SqlxError::ColumnIndexOutOfBounds { .. }
        | SqlxError::ColumnNotFound(_)
        | SqlxError::ColumnDecode { .. }
        | SqlxError::Decode(_) => StoreErrorKind::Corrupt,
        _ => on_the_way,
    }
}

/// By SQLSTATE (PostgreSQL manual, appendix A).
///
/// At commit, only what PostgreSQL is known to answer after it has rolled back is told as such; after anything else the commit
/// may stand, so the outcome is unknown (clause B8).
fn kind_of_state(state: &str, phase: Phase) -> StoreErrorKind {
    let class = state.get(..2).unwrap_or_default();
    match (class, state, phase) {
        // Conflicts with others, read-only servers: rolled back.
        ("40" | "25", ..) => StoreErrorKind::Unavailable,
        // Data, integrity, limits of the program such as the size of an index row: rolled back.
        ("22" | "23" | "54", ..) => StoreErrorKind::DataRefused,
        (_, _, Phase::Commit) => StoreErrorKind::OutcomeUnknown,
        // Damage found, or an internal error.
        ("XX", ..) => StoreErrorKind::Corrupt,
        // A schema that does not exist, a right that is missing, or SQL that this server does not know.
        ("3F" | "42" | "0A", ..) => StoreErrorKind::Misconfigured,
        // Connection lost, resources short, shut down by an operator, locks not granted in time, no such database or role yet.
        _ => StoreErrorKind::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use StoreErrorKind::{Corrupt, DataRefused, Misconfigured, OutcomeUnknown, Unavailable};

    /// One row per state that matters: what it means before the commit, and at it.
    #[test]
    fn every_row_of_the_table() {
        for (state, name, statement, commit) in [
            ("08006", "connection_failure", Unavailable, OutcomeUnknown),
            ("08P01", "protocol_violation", Unavailable, OutcomeUnknown),
            ("0A000", "feature_not_supported", Misconfigured, OutcomeUnknown),
            ("22021", "character_not_in_repertoire", DataRefused, DataRefused),
            ("22001", "string_data_right_truncation", DataRefused, DataRefused),
            ("22003", "numeric_value_out_of_range", DataRefused, DataRefused),
            ("23502", "not_null_violation", DataRefused, DataRefused),
            ("23505", "unique_violation", DataRefused, DataRefused),
            ("23514", "check_violation", DataRefused, DataRefused),
            ("23001", "restrict_violation", DataRefused, DataRefused),
            ("25006", "read_only_sql_transaction", Unavailable, Unavailable),
            ("25P03", "idle_in_transaction_session_timeout", Unavailable, Unavailable),
            ("28P01", "invalid_password", Unavailable, OutcomeUnknown),
            ("3D000", "invalid_catalog_name", Unavailable, OutcomeUnknown),
            ("3F000", "invalid_schema_name", Misconfigured, OutcomeUnknown),
            ("40001", "serialization_failure", Unavailable, Unavailable),
            ("40P01", "deadlock_detected", Unavailable, Unavailable),
            ("42501", "insufficient_privilege", Misconfigured, OutcomeUnknown),
            ("42P01", "undefined_table", Misconfigured, OutcomeUnknown),
            ("53100", "disk_full", Unavailable, OutcomeUnknown),
            ("53200", "out_of_memory", Unavailable, OutcomeUnknown),
            ("53300", "too_many_connections", Unavailable, OutcomeUnknown),
            ("54000", "program_limit_exceeded", DataRefused, DataRefused),
            ("55P03", "lock_not_available", Unavailable, OutcomeUnknown),
            ("57014", "query_canceled", Unavailable, OutcomeUnknown),
            ("57P01", "admin_shutdown", Unavailable, OutcomeUnknown),
            ("57P02", "crash_shutdown", Unavailable, OutcomeUnknown),
            ("57P03", "cannot_connect_now", Unavailable, OutcomeUnknown),
            ("58030", "io_error", Unavailable, OutcomeUnknown),
            ("XX000", "internal_error", Corrupt, OutcomeUnknown),
            ("XX001", "data_corrupted", Corrupt, OutcomeUnknown),
            ("XX002", "index_corrupted", Corrupt, OutcomeUnknown),
            ("", "none", Unavailable, OutcomeUnknown),
        ] {
            assert_eq!(kind_of_state(state, Phase::Statement), statement, "{state} {name} in a statement");
            assert_eq!(kind_of_state(state, Phase::Commit), commit, "{state} {name} at commit");
        }
    }

    #[test]
    fn errors_on_the_way_leave_a_commit_unknown() {
        let io = || SqlxError::Io(std::io::ErrorKind::ConnectionReset.into());
        assert_eq!((kind(&io(), Phase::Statement), kind(&io(), Phase::Commit)), (Unavailable, OutcomeUnknown));
        let protocol = || SqlxError::Protocol("expected CommandComplete".to_owned());
        assert_eq!((kind(&protocol(), Phase::Statement), kind(&protocol(), Phase::Commit)), (Unavailable, OutcomeUnknown));
        assert_eq!(kind(&SqlxError::PoolTimedOut, Phase::Statement), Unavailable);
        assert_eq!(kind(&SqlxError::RowNotFound, Phase::Statement), Corrupt);
        assert_eq!(kind(&SqlxError::Encode("too large".into()), Phase::Statement), DataRefused);
        assert_eq!(kind(&SqlxError::Configuration("no such option".into()), Phase::Statement), Misconfigured);
    }
}

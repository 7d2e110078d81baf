//! How a [`PostgresStore`](crate::PostgresStore) uses its database.

use redflag_core::store::{Durability, StoreError, StoreErrorKind};
use std::time::Duration;

/// How a [`PostgresStore`](crate::PostgresStore) uses its database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The schema that holds the fleet, created if there is none; a database can hold several fleets. 1 to 63 bytes of lower
    /// case ASCII letters, digits and `_`, no digit first, not `pg_…`.
    pub schema: String,
    /// Most connections, at least 1. Work beyond them waits.
    pub connections: u32,
    /// How long to wait for a free connection before answering that the database is not available.
    pub acquire_timeout: Duration,
    /// How long a unit of work waits for another one of the same agent before answering that the database is not available.
    pub lock_timeout: Duration,
    /// What stands between the store and PostgreSQL.
    pub pooling: Pooling,
    /// The weakest durability to open with: a database that promises less is refused (clause D5).
    pub durability: Durability,
}

/// What stands between the store and PostgreSQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// Nothing, or a pooler that gives a connection its own server process: statements are prepared once a connection.
    Session,
    /// A pooler that hands out server processes by transaction: nothing is kept on a connection from one to the next.
    Transaction,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            schema: "redflag".to_owned(),
            connections: 10,
            acquire_timeout: Duration::from_secs(5),
            lock_timeout: Duration::from_secs(10),
            pooling: Pooling::Session,
            durability: Durability::Power,
        }
    }
}

impl Options {
    /// Refuses a schema name that could not stand in SQL as it is.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let name = &self.schema;
        let letters = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        let first = name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
        if letters && first && name.len() <= 63 && !name.starts_with("pg_") {
            return Ok(());
        }
        let message = format!("{name:?} is no name for a schema: 1 to 63 of a-z, 0-9 and _, no digit first, not pg_");
        Err(StoreError::caused(StoreErrorKind::Misconfigured, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schema_names_are_plain_identifiers() {
        let with = |schema: &str| Options { schema: schema.to_owned(), ..Options::default() }.check().is_ok();
        for name in ["redflag", "a", "_fleet_2", &"x".repeat(63)] {
            assert!(with(name), "{name:?}");
        }
        for name in ["", "2nd", "Fleet", "a-b", "a\"; DROP", "ä", "pg_toast", &"x".repeat(64)] {
            assert!(!with(name), "{name:?}");
        }
    }
}

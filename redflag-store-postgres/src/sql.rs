//! Statements put together from fixed pieces: a value can only be bound, never become part of the text.

use crate::transaction::Statement;
use sqlx::{Encode, Postgres, QueryBuilder, Type};

/// A statement under construction.
pub(crate) struct Pieces(QueryBuilder<Postgres>);

impl Pieces {
    pub(crate) fn new(sql: &'static str) -> Self {
        Self(QueryBuilder::new(sql))
    }

    pub(crate) fn push(&mut self, sql: &'static str) -> &mut Self {
        self.0.push(sql);
        self
    }

    /// Adds a place for `value`.
    pub(crate) fn bind<'t, T: Encode<'t, Postgres> + Type<Postgres>>(&mut self, value: T) -> &mut Self {
        self.0.push_bind(value);
        self
    }

    /// The statement, ready to run once.
    pub(crate) fn build(&mut self) -> Statement<'_> {
        self.0.build()
    }
}

/// Positions and offsets beyond 63 bits are beyond every row.
pub(crate) fn position(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

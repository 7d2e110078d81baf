//! Statements put together from fixed pieces, in which a value can only be bound, never become part of the text; and inserts of many
//! rows.

use crate::error::Failure;
use rusqlite::{CachedStatement, Connection, ParamsFromIter, ToSql, params_from_iter, types::Value};

/// A statement with the values it binds.
#[derive(Debug)]
pub(crate) struct Statement {
    sql: String,
    values: Vec<Value>,
}

impl Statement {
    pub(crate) fn new(sql: &'static str) -> Self {
        Self { sql: sql.to_owned(), values: Vec::new() }
    }

    pub(crate) fn push(&mut self, sql: &'static str) -> &mut Self {
        self.sql.push_str(sql);
        self
    }

    /// Adds a place for `value`.
    pub(crate) fn bind(&mut self, value: impl Bind) -> &mut Self {
        self.sql.push('?');
        self.values.push(value.into_value());
        self
    }

    pub(crate) fn sql(&self) -> &str {
        &self.sql
    }

    pub(crate) fn parameters(&self) -> ParamsFromIter<&[Value]> {
        params_from_iter(self.values.as_slice())
    }
}

/// What can be bound.
pub(crate) trait Bind {
    fn into_value(self) -> Value;
}

macro_rules! binds {
    ($($type:ty),+) => {$(
        impl Bind for $type {
            fn into_value(self) -> Value {
                self.into()
            }
        }
    )+};
}

binds!(bool, i64, u8, u32, String, Vec<u8>);

impl Bind for u64 {
    /// Positions and offsets beyond 63 bits are beyond every row.
    fn into_value(self) -> Value {
        i64::try_from(self).unwrap_or(i64::MAX).into()
    }
}

/// A prepared insert of many rows, of which `N` columns from the first on are integers or nothing. Their parameters keep their
/// values from row to row, so that only what differs from the row before is bound.
pub(crate) struct Insert<'c, const N: usize> {
    statement: CachedStatement<'c>,
    bound: [Option<Option<i64>>; N],
}

impl<'c, const N: usize> Insert<'c, N> {
    pub(crate) fn new(connection: &'c Connection, sql: &str) -> Result<Self, Failure> {
        Ok(Self { statement: connection.prepare_cached(sql)?, bound: [None; N] })
    }

    /// Inserts a row of these integers and what follows them.
    pub(crate) fn row(&mut self, integers: [Option<i64>; N], rest: &[&dyn ToSql]) -> Result<(), Failure> {
        for (place, (integer, bound)) in (1..).zip(integers.into_iter().zip(&mut self.bound)) {
            if *bound != Some(integer) {
                self.statement.raw_bind_parameter(place, integer)?;
                *bound = Some(integer);
            }
        }
        for (place, value) in (N + 1..).zip(rest) {
            self.statement.raw_bind_parameter(place, value)?;
        }
        self.statement.raw_execute()?;
        Ok(())
    }
}

/// The key of an agent's event of this sequence, or of its state of this package; see the schema.
pub(crate) fn key(agent_ref: i64, within: i64) -> Result<i64, Failure> {
    let key = agent_ref.checked_mul(KEYS_OF_AGENT).filter(|_| (0..KEYS_OF_AGENT).contains(&within)).and_then(|key| key.checked_add(within));
    key.ok_or_else(|| rusqlite::Error::ToSqlConversionFailure(format!("{agent_ref} and {within} as one key").into()).into())
}

/// All keys of an agent, first and last.
pub(crate) fn keys(agent_ref: i64) -> Result<[i64; 2], Failure> {
    Ok([key(agent_ref, 0)?, key(agent_ref, KEYS_OF_AGENT - 1)?])
}

const KEYS_OF_AGENT: i64 = 10_000_000_000;

/// An integer as SQLite keeps it.
pub(crate) fn integer(value: u64) -> Result<i64, Failure> {
    i64::try_from(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)).into())
}

//! Statements put together from fixed pieces: a value can only be bound, never become part of the text.

use rusqlite::{ParamsFromIter, params_from_iter, types::Value};

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

//! How core's values stand in columns, and how they are read back.
//!
//! Writing binds plain integers, texts and bytes; reading goes through core's own parsers, so that a value that could not have
//! been written is reported as damage instead of travelling on.

use crate::error::Failure;
use redflag_core::{
    event::EventWord,
    ids::{AgentId, BatchId, CommandId, Digest, EventId, ReportId},
    metadata::Metadata,
    names::{Arch, Manager, PackageKey, PackageName, Text, Version},
    time::{Day, Timestamp},
    words::{AvailabilityKind, Severity, Status, VersionOutcome},
};
use serde::de::DeserializeOwned;
use sqlx::{Column as _, Decode, Postgres, Row as _, Type, postgres::PgRow};
use std::fmt::Debug;
use uuid::Uuid;

/// A value that can be read from one column.
pub(crate) trait Stored: Sized {
    /// What PostgreSQL keeps it as.
    type Column<'r>: Decode<'r, Postgres> + Type<Postgres> + Debug;

    /// None when the column does not hold such a value.
    fn read(column: Self::Column<'_>) -> Option<Self>;
}

/// Reads column `index` of `row`.
pub(crate) fn get<T: Stored>(row: &PgRow, index: usize) -> Result<T, Failure> {
    let column: T::Column<'_> = row.try_get(index)?;
    T::read(column).ok_or_else(|| {
        let found: Option<T::Column<'_>> = row.try_get(index).ok();
        let column = row.columns().get(index).map_or("?", |column| column.name());
        Failure::corrupt(format!("column {column:?} holds {found:?}, not {}", std::any::type_name::<T>()))
    })
}

/// Reads the key of a package from three columns from `index`: manager, name, architecture (empty for none).
pub(crate) fn package_key(row: &PgRow, index: usize) -> Result<PackageKey, Failure> {
    let arch = match row.try_get::<&str, _>(index + 2)? {
        "" => None,
        _ => Some(get::<Arch>(row, index + 2)?),
    };
    Ok(PackageKey { manager: get(row, index)?, name: get(row, index + 1)?, arch })
}

/// A value kept as JSON text.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned> Stored for Json<T> {
    type Column<'r> = &'r str;

    fn read(column: &str) -> Option<Self> {
        serde_json::from_str(column).ok().map(Self)
    }
}

/// `value` as the JSON text that [`Json`] reads.
pub(crate) fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("core's values always serialise")
}

/// A word's code as its column holds it.
pub(crate) fn code(code: u8) -> i16 {
    code.into()
}

/// Reads a value out of a column of an array.
pub(crate) fn read<'r, T: Stored>(column: T::Column<'r>) -> Result<T, Failure>
where
    T::Column<'r>: Copy,
{
    T::read(column).ok_or_else(|| Failure::corrupt(format!("an array holds {column:?}, not {}", std::any::type_name::<T>())))
}

/// Reads a count or number of an agent's stream from column `index`.
pub(crate) fn count(row: &PgRow, index: usize) -> Result<u64, Failure> {
    get::<u32>(row, index).map(u64::from)
}

/// A number that callers choose as its column holds it.
///
/// # Errors
/// Above 2^63 - 1, which PostgreSQL cannot keep.
pub(crate) fn bigint(number: u64) -> Result<i64, Failure> {
    i64::try_from(number).map_err(|_| Failure::refused(format!("{number} is above 2^63 - 1")))
}

/// A count or number of an agent's stream as its column holds it.
///
/// # Errors
/// Above 2^31 - 1: a stream ends there.
pub(crate) fn integer(number: impl Into<u64>) -> Result<i32, Failure> {
    let number = number.into();
    i32::try_from(number).map_err(|_| Failure::refused(format!("{number} is above 2^31 - 1")))
}

/// An index in a batch as its column holds it.
///
/// # Errors
/// Above 2^15 - 1, which no limit of core allows.
pub(crate) fn smallint(number: u32) -> Result<i16, Failure> {
    i16::try_from(number).map_err(|_| Failure::refused(format!("{number} is above 2^15 - 1")))
}

impl<T: Stored> Stored for Option<T> {
    type Column<'r> = Option<T::Column<'r>>;

    fn read(column: Self::Column<'_>) -> Option<Self> {
        match column {
            None => Some(None),
            Some(column) => T::read(column).map(Some),
        }
    }
}

macro_rules! stored {
    ($($type:ty as $column:ty: |$value:ident| $read:expr;)+) => {$(
        impl Stored for $type {
            type Column<'r> = $column;

            fn read($value: $column) -> Option<Self> {
                $read
            }
        }
    )+};
}

stored! {
    i32 as i32: |column| Some(column);
    u16 as i16: |column| column.try_into().ok();
    u32 as i32: |column| column.try_into().ok();
    i64 as i64: |column| Some(column);
    u64 as i64: |column| column.try_into().ok();
    u8 as i16: |column| column.try_into().ok();
    bool as bool: |column| Some(column);
    Day as i32: |column| Self::from_number(column).ok();
    Timestamp as i64: |column| Self::from_micros(column).ok();
    AvailabilityKind as i16: |column| Self::from_code(column.try_into().ok()?);
    EventWord as i16: |column| Self::from_code(column.try_into().ok()?);
    Severity as i16: |column| Self::from_code(column.try_into().ok()?);
    Status as i16: |column| Self::from_code(column.try_into().ok()?);
    VersionOutcome as i16: |column| Self::from_code(column.try_into().ok()?);
    AgentId as Uuid: |column| Self::from_uuid(column).ok();
    BatchId as Uuid: |column| Self::from_uuid(column).ok();
    CommandId as Uuid: |column| Self::from_uuid(column).ok();
    EventId as Uuid: |column| Self::from_uuid(column).ok();
    ReportId as Uuid: |column| Self::from_uuid(column).ok();
}

macro_rules! texts {
    ($($type:ty: |$value:ident| $read:expr;)+) => {$(
        impl Stored for $type {
            type Column<'r> = &'r str;

            fn read($value: &str) -> Option<Self> {
                $read
            }
        }
    )+};
}

texts! {
    String: |column| Some(column.to_owned());
    Arch: |column| Self::parse(column).ok();
    Manager: |column| Self::parse(column).ok();
    Metadata: |column| Self::parse(column).ok();
    PackageName: |column| Self::parse(column).ok();
    Text: |column| Self::parse(column).ok();
    Version: |column| Self::parse(column).ok();
}

impl Stored for [u8; 32] {
    type Column<'r> = &'r [u8];

    fn read(column: &[u8]) -> Option<Self> {
        column.try_into().ok()
    }
}

impl Stored for Digest {
    type Column<'r> = &'r [u8];

    fn read(column: &[u8]) -> Option<Self> {
        column.try_into().ok().map(Self::from_bytes)
    }
}

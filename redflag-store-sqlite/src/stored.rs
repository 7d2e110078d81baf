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
use rusqlite::{Row, types::ValueRef};
use serde::de::DeserializeOwned;
use uuid::Uuid;

/// A value that can be read from one column.
pub(crate) trait Stored: Sized {
    /// None when the column does not hold such a value.
    fn read(value: ValueRef<'_>) -> Option<Self>;
}

/// Reads column `index` of `row`.
pub(crate) fn get<T: Stored>(row: &Row<'_>, index: usize) -> Result<T, Failure> {
    let value = row.get_ref(index)?;
    T::read(value).ok_or_else(|| {
        let column = row.as_ref().column_name(index).unwrap_or("?").to_owned();
        Failure::corrupt(format!("column {column:?} holds {value:?}, not {}", std::any::type_name::<T>()))
    })
}

/// Reads the key of a package from three columns from `index`: manager, name, architecture (empty for none).
pub(crate) fn package_key(row: &Row<'_>, index: usize) -> Result<PackageKey, Failure> {
    let arch = match row.get_ref(index + 2)? {
        ValueRef::Text(b"") => None,
        _ => get::<Option<Arch>>(row, index + 2)?,
    };
    Ok(PackageKey { manager: get(row, index)?, name: get(row, index + 1)?, arch })
}

/// A value kept as JSON text.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned> Stored for Json<T> {
    fn read(value: ValueRef<'_>) -> Option<Self> {
        serde_json::from_str(text(value)?).ok().map(Self)
    }
}

/// `value` as the JSON text that [`Json`] reads.
pub(crate) fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("core's values always serialise")
}

impl<T: Stored> Stored for Option<T> {
    fn read(value: ValueRef<'_>) -> Option<Self> {
        if value == ValueRef::Null { Some(None) } else { T::read(value).map(Some) }
    }
}

fn text(value: ValueRef<'_>) -> Option<&str> {
    value.as_str().ok()
}

fn bytes<const N: usize>(value: ValueRef<'_>) -> Option<[u8; N]> {
    value.as_blob().ok()?.try_into().ok()
}

impl Stored for i64 {
    fn read(value: ValueRef<'_>) -> Option<Self> {
        value.as_i64().ok()
    }
}

impl Stored for bool {
    fn read(value: ValueRef<'_>) -> Option<Self> {
        match value.as_i64().ok()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

impl Stored for String {
    fn read(value: ValueRef<'_>) -> Option<Self> {
        text(value).map(str::to_owned)
    }
}

impl Stored for [u8; 32] {
    fn read(value: ValueRef<'_>) -> Option<Self> {
        bytes(value)
    }
}

impl Stored for Digest {
    fn read(value: ValueRef<'_>) -> Option<Self> {
        bytes(value).map(Self::from_bytes)
    }
}

impl Stored for Timestamp {
    fn read(value: ValueRef<'_>) -> Option<Self> {
        Self::from_micros(value.as_i64().ok()?).ok()
    }
}

impl Stored for Day {
    fn read(value: ValueRef<'_>) -> Option<Self> {
        Self::from_number(value.as_i64().ok()?.try_into().ok()?).ok()
    }
}

impl Stored for Metadata {
    fn read(value: ValueRef<'_>) -> Option<Self> {
        Self::parse(text(value)?).ok()
    }
}

macro_rules! numbers {
    ($($type:ty),+) => {$(
        impl Stored for $type {
            fn read(value: ValueRef<'_>) -> Option<Self> {
                value.as_i64().ok()?.try_into().ok()
            }
        }
    )+};
}

macro_rules! ids {
    ($($type:ty),+) => {$(
        impl Stored for $type {
            fn read(value: ValueRef<'_>) -> Option<Self> {
                Self::from_uuid(Uuid::from_bytes(bytes(value)?)).ok()
            }
        }
    )+};
}

macro_rules! texts {
    ($($type:ty),+) => {$(
        impl Stored for $type {
            fn read(value: ValueRef<'_>) -> Option<Self> {
                Self::parse(text(value)?).ok()
            }
        }
    )+};
}

macro_rules! words {
    ($($type:ty),+) => {$(
        impl Stored for $type {
            fn read(value: ValueRef<'_>) -> Option<Self> {
                Self::from_code(value.as_i64().ok()?.try_into().ok()?)
            }
        }
    )+};
}

numbers!(u8, u32, u64);
ids!(AgentId, BatchId, CommandId, EventId, ReportId);
texts!(Arch, Manager, PackageName, Text, Version);
words!(AvailabilityKind, EventWord, Severity, Status, VersionOutcome);

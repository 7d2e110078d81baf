#![doc = include_str!("../README.md")]

mod commands;
mod documents;
mod error;
mod feed;
mod forget;
mod lists;
mod load;
mod log;
mod persist;
mod ports;
mod records;
mod store;
mod tables;

pub use store::RedbStore;

/// The guide's own code must compile, too.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/writing-a-backend.md")]
struct Guide;

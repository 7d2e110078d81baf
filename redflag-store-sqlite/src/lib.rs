#![doc = include_str!("../README.md")]

mod agents;
mod catalog;
mod error;
mod lists;
mod load;
mod log;
mod persist;
#[cfg(test)]
mod plans;
mod readers;
mod records;
mod rows;
mod schema;
mod sql;
mod store;
mod stored;
mod tally;
mod transaction;
mod writer;

pub use store::{Options, SqliteStore, Synchronous};

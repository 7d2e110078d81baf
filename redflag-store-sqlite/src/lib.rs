#![doc = include_str!("../README.md")]

mod agents;
mod backup;
mod catalog;
mod commands;
mod derived;
mod error;
mod feed;
mod index;
mod lists;
mod load;
mod log;
mod maintenance;
mod persist;
#[cfg(test)]
mod plans;
mod readers;
mod records;
mod removed;
mod rows;
mod schema;
mod sql;
mod store;
mod stored;
mod transaction;
mod trend;
mod writer;

pub use backup::BackupProgress;
pub use store::{Options, SqliteStore, Synchronous};

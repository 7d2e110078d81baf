#![doc = include_str!("../README.md")]

mod agents;
mod catalog;
mod error;
mod lists;
mod load;
mod log;
mod options;
mod persist;
mod records;
mod rows;
mod schema;
mod sql;
mod store;
mod stored;
mod transaction;

pub use options::{Options, Pooling};
pub use store::PostgresStore;

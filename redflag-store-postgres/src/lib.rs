#![doc = include_str!("../README.md")]

mod agents;
mod catalog;
mod copy;
mod derived;
mod error;
mod lists;
mod load;
mod log;
mod options;
mod pass;
mod persist;
mod pruning;
mod records;
mod removal;
mod rows;
mod schema;
mod scopes;
mod sql;
mod store;
mod stored;
mod transaction;

pub use options::{Options, Pooling};
pub use store::PostgresStore;

#![doc = include_str!("../README.md")]

mod agents;
mod catalog;
mod commands;
mod copy;
mod derived;
mod encryption;
mod error;
mod feed;
mod follower;
mod lists;
mod load;
mod log;
mod mirror;
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
mod traces;
mod transaction;

pub use options::{Options, Pooling};
pub use store::PostgresStore;

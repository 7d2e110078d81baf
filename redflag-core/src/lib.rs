#![doc = include_str!("../README.md")]

pub mod agent;
pub mod audit;
pub mod batch;
pub mod bulk;
pub mod command;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod counters;
pub mod diff;
pub mod event;
pub mod export;
pub mod feed;
pub mod ids;
pub mod ignores;
pub mod limits;
pub mod memory;
pub mod metadata;
pub mod names;
pub mod offer;
pub mod past;
pub mod public_key;
pub mod query;
pub mod rebuild;
pub mod rejection;
pub mod removal;
pub mod report;
pub mod restore;
pub mod retention;
pub mod signing;
pub mod state;
mod states;
pub mod store;
pub mod time;
pub mod transition;
pub mod version_order;
pub mod wire;
pub mod words;
pub mod work;

mod canonical;
mod dsse;
mod fleet;
mod record_report;
mod strict_json;

pub use fleet::Fleet;
pub use memory::MemoryStore;

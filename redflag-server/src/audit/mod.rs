//! The audit log of a fleet, as records of its store: appended to by every process that does something, sealed and signed by servers.
//!
//! What happens is put down with [`AuditLog::note`] before it is answered. Batches of the feed are sealed by the [`keeper`] that each
//! server runs, in feed order, and so are the checkpoints signed. Everything is written by compare-and-set, so that any number of
//! processes may do all of it at once.

pub mod keeper;

mod checkpoints;
mod damage;
mod deletions;
mod export;
mod filter;
mod gone;
mod key;
mod log;
pub(crate) mod refusals;
mod seal;
mod start;
mod verdict;
mod verify;

pub use checkpoints::StoredCheckpoint;
pub use damage::DamagedEnd;
pub use export::Lines;
pub use filter::AuditFilter;
pub use key::AuditKey;
pub use log::AuditLog;
pub use verdict::Verdict;
pub use verify::{Verified, VerifyError};

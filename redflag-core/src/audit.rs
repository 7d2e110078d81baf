//! The audit log: a chain of entries that cannot be altered unnoticed, and the checkpoints that are signed over it.
//!
//! Core says what an [`entry`] is, how entries hang together ([`chain`]), what a [`checkpoint`] says of them, how a log is [`verify`]d
//! and when it has forked for a [`witness`]. It stores and signs nothing: a log is kept in blocks, which are records, and exported as
//! lines, which anybody can verify with the public key alone.
//!
//! What it shows: up to the newest checkpoint nothing was altered, taken out, put in or put elsewhere since. What it does not show:
//! entries after the newest checkpoint can be cut off unnoticed, and whoever holds both the log and the key can write another one; only
//! those who kept a checkpoint can tell then.

pub mod chain;
pub mod checkpoint;
pub mod command;
pub mod damage;
pub mod entry;
pub mod verify;
pub mod witness;

mod batch;
mod kind;

pub use batch::SealedBatch;
pub use kind::{AuditKind, FactName};

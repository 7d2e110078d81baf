//! Commands: signed orders to one agent, and the plans they bind to (clauses C and A1).
//!
//! Core says what a command and a plan are and judges them; it signs nothing by itself and runs nothing. What a package manager
//! does with a plan is the agent's affair.
//!
//! What the queue keeps of it from its request to its end is its [`record`], which goes through the states of its [`lifecycle`].
//!
//! A command travels as an [`envelope`] around a [`payload`]; [`verify`] takes it apart and says with a [`refusal`] what is wrong
//! with it.

pub mod envelope;
pub mod lifecycle;
pub mod payload;
pub mod plan;
pub mod record;
pub mod refusal;
pub mod verify;

mod strict_json;

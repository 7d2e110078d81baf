//! Commands: signed orders to one agent, and the plans they bind to (clauses C and A1).
//!
//! Core says what a command and a plan are and judges them; it signs nothing by itself and runs nothing. What a package manager
//! does with a plan is the agent's affair.
//!
//! Its way from the request to its end is the queue: [`record`]s, the [`lifecycle`] each goes through, and the [`step`]s that take it
//! there, units of work that write events, states and commands together.
//!
//! What is [`approved`] is requested to be planned when its agent asks for commands; how the two talk is in [`delivery`].
//!
//! A command travels as an [`envelope`] around a [`payload`]; [`verify`] takes it apart and says with a [`refusal`] what is wrong
//! with it.

pub mod approved;
pub mod delivery;
pub mod envelope;
pub mod lifecycle;
pub mod payload;
pub mod people;
pub mod plan;
pub mod record;
pub mod refusal;
pub mod step;
pub mod verify;

mod progress;
pub(crate) mod queue;
mod request;

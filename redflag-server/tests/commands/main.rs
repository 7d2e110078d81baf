//! The commands that move, check and shorten a fleet, as processes on fleets that a server made.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod accounts;
mod audit;
mod decide;
mod fleet;
mod life;
mod moving;
mod postgres;
mod queue;
mod signers;
mod signing_key;
mod terminal;
mod unit;

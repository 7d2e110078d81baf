//! The agent against a server of the test's own, over real connections.

#![expect(clippy::unwrap_used, reason = "helpers of tests may end the test")]

mod carrying_out;
mod command_lab;
mod commands;
mod convergence;
mod delivery;
mod desk;
mod doctor;
mod enrolment;
mod footprint;
mod real_executor;
mod reports;
mod rotation;
mod stand_in;
mod support;

//! The agent against a server of the test's own, over real connections.

#![expect(clippy::unwrap_used, reason = "helpers of tests may end the test")]

mod commands;
mod convergence;
mod delivery;
mod doctor;
mod enrolment;
mod footprint;
mod reports;
mod support;

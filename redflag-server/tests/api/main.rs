//! The server as its clients see it, through its router in process and, where a process is the point, through its binary.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod agents;
mod binary;
mod decisions;
mod listing;
mod postgres;
mod real_agents;
mod real_dnf;
mod regressions;
mod routes;
mod support;

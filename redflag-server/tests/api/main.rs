//! The server as its clients see it, through its router in process and, where a process is the point, through its binary.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod accounts;
mod agents;
mod audit;
mod audit_damage;
mod audit_drills;
mod audit_of_commands;
mod audit_of_starts;
mod binary;
mod certificates;
mod citations;
mod command_pages;
mod commands;
mod commands_of_operators;
mod corpus;
mod crowds;
mod decisions;
mod feed;
mod forms;
mod kills;
mod listing;
mod lying_server;
mod metrics;
mod network;
mod operations;
mod operations_called;
mod packages;
mod past;
mod postgres;
mod process;
mod quarantine;
mod quota;
mod real_agents;
mod real_dnf;
mod real_signers;
mod refusals;
mod regressions;
mod regressions_of_commands;
mod removal;
mod routes;
mod secrets;
mod sign_ins;
mod signers;
mod support;
mod witnesses;

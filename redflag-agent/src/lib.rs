#![doc = include_str!("../README.md")]

pub mod agent;
pub mod clock;
pub mod command_line;
pub mod counters;
pub mod delivery;
pub mod durable;
pub mod enrolment;
pub mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod home;
pub mod host;
pub mod identity;
pub mod install;
pub mod ledger;
pub mod outbox;
pub mod output;
pub mod progress;
pub mod quarantine;
pub mod report;
pub mod scan;
pub mod scan_command;
pub mod segment;
pub mod server;
pub mod simulation;
pub mod status;
pub mod status_command;

mod engine;
mod tool;

pub use agent::{Agent, Counts, Delivery, ReportSummary, RunOptions};
pub use delivery::Retries;
pub use enrolment::{EnrolOptions, enrol};
pub use error::{Error, Result};
pub use home::AgentHome;
pub use identity::Identity;
pub use progress::{Progress, Silent, Stage};
pub use server::{PlainHttp, ServerUrl};
pub use simulation::{Simulation, SimulationOptions, SimulationSummary};

#![cfg_attr(feature = "agent", doc = include_str!("../README.md"))]
#![cfg_attr(not(feature = "agent"), doc = "The executor alone: see [`executor`].")]

#[cfg(feature = "agent")]
pub mod agent;
pub mod clock;
#[cfg(feature = "agent")]
pub mod command_line;
#[cfg(feature = "agent")]
pub mod commands;
#[cfg(feature = "agent")]
pub mod counters;
#[cfg(feature = "agent")]
pub mod delivery;
#[cfg(feature = "agent")]
pub mod doctor;
#[cfg(feature = "agent")]
pub mod doctor_command;
pub mod durable;
pub mod engine;
#[cfg(feature = "agent")]
pub mod enrolment;
pub mod error;
#[cfg(feature = "agent")]
pub mod execute_command;
pub mod executor;
#[cfg(feature = "agent")]
pub mod forget_command;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod home;
#[cfg(feature = "agent")]
pub mod host;
#[cfg(feature = "agent")]
pub mod identity;
pub mod install;
#[cfg(feature = "agent")]
pub mod ledger;
#[cfg(feature = "agent")]
pub mod outbox;
pub mod output;
#[cfg(feature = "agent")]
pub mod progress;
pub mod quarantine;
#[cfg(feature = "agent")]
pub mod report;
pub mod scan;
#[cfg(feature = "agent")]
pub mod scan_command;
pub mod segment;
#[cfg(feature = "agent")]
pub mod server;
#[cfg(feature = "agent")]
pub mod signer;
#[cfg(feature = "agent")]
pub mod simulation;
#[cfg(feature = "agent")]
pub mod status;
#[cfg(feature = "agent")]
pub mod status_command;
#[cfg(feature = "agent")]
pub mod terminal_progress;
#[cfg(feature = "agent")]
pub mod trust_command;
#[cfg(feature = "agent")]
pub mod witness;

#[cfg(test)]
mod changed_text;
mod printed;
mod tool;

#[cfg(feature = "agent")]
pub use agent::{Agent, Counts, Delivery, ReportSummary, RunOptions};
#[cfg(feature = "agent")]
pub use commands::CommandOptions;
#[cfg(feature = "agent")]
pub use delivery::Retries;
#[cfg(feature = "agent")]
pub use enrolment::{EnrolOptions, enrol};
pub use error::{Error, Result};
pub use home::AgentHome;
#[cfg(feature = "agent")]
pub use identity::Identity;
pub use printed::Printed;
#[cfg(feature = "agent")]
pub use progress::{Progress, Silent, Stage};
#[cfg(feature = "agent")]
pub use server::{PlainHttp, ServerUrl, TrustedCertificates};
#[cfg(feature = "agent")]
pub use simulation::{Simulation, SimulationOptions, SimulationSummary};

/// The guide's own code must compile and hold, too.
#[cfg(doctest)]
#[doc = include_str!("../../docs/writing-a-scanner.md")]
struct Guide;
#[cfg(feature = "agent")]
pub use witness::{Witnessed, forget, witnessed};

#![doc = include_str!("../README.md")]

pub mod access;
pub mod api;
pub mod app;
pub mod audit;
pub mod clock;
pub mod database;
pub mod halt;
pub mod ids;
pub mod key_pair;
pub mod listing;
pub mod operations;
pub mod people;
pub mod problem;
pub mod quarantine;
pub mod queue;
pub mod reading;
pub mod router;
pub mod second_look;
pub mod settings;
pub mod signing_key;
pub mod visible;

mod body;
mod dispatch;
mod metrics;
mod pages;
mod server;
mod serving;
mod sign_in;
mod signatures;

pub use access::{AccountName, AgentQuota, EnrolmentTokenOptions, Role, Scope, TrustedProxy};
pub use database::DatabaseName;
pub use server::{Certificate, Server, ServerError, open_fleet};
pub use serving::tls::{TlsError, TlsFiles};
pub use settings::{RequestLimits, Settings, SignaturesSeen, Transport};

//! The commands, one a file, and what they share.

pub(crate) mod account;
pub(crate) mod api_token;
pub(crate) mod audit;
pub(crate) mod backup;
pub(crate) mod command;
pub(crate) mod decide;
pub(crate) mod enrolment_token;
pub(crate) mod export;
pub(crate) mod halt;
pub(crate) mod import;
pub(crate) mod list;
pub(crate) mod migrate_store;
pub(crate) mod prune;
pub(crate) mod quarantine;
pub(crate) mod rebuild;
pub(crate) mod remove_agent;
pub(crate) mod serve;
pub(crate) mod sign;
pub(crate) mod sign_in_link;
pub(crate) mod signer;
pub(crate) mod signing_key;

mod agents;
mod command_lines;
mod database;
mod lines;
mod noted_url;
mod password;
mod target;
mod whole_file;

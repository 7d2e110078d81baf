//! The commands, one a file, and what they share.

pub(crate) mod backup;
pub(crate) mod decide;
pub(crate) mod enrolment_token;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod migrate_store;
pub(crate) mod prune;
pub(crate) mod rebuild;
pub(crate) mod remove_agent;
pub(crate) mod serve;
pub(crate) mod sign_in_link;

mod agents;
mod database;
mod lines;
mod noted_url;
mod target;
mod whole_file;

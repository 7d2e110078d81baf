//! Commands: what the server orders, handed to the executor of this host once, and how it ended, told until it was heard.
//!
//! ```text
//! lease → judged by the pinned key → inbox: received → start, answered `started` → inbox: started → executor
//!       → inbox: ended, with the result → result, answered → inbox: answered, while a report is owed → scan and report → forgotten
//! ```
//!
//! Every arrow can be cut by a crash. What lies in the [`inbox`] is gone on with from where it stands: asking twice whether to start is
//! harmless, the executor's journal carries a command out once however often it is handed over, and a result is told again until it
//! was answered. A command that is not in the inbox is handed out again by the server.
//!
//! The loop itself is the agent's (`agent/command_loop.rs`): it does one thing at a time, and scans in between.

pub mod claim;
pub mod inbox;

pub(crate) mod handover;
pub(crate) mod judge;
pub(crate) mod told;

use crate::delivery::Retries;
use std::{path::PathBuf, time::Duration};

/// How an agent carries commands out.
#[derive(Clone, Debug)]
pub struct CommandOptions {
    /// Where the executor of this host listens.
    pub socket: PathBuf,
    /// How often and how patiently an executor that cannot take a command now is asked again.
    pub patience: Retries,
    /// How long to wait, more or less, before a server that hands nothing out is asked again.
    pub pause: Duration,
    /// How long a scan that is due waits for the executor at its work.
    pub scan_patience: Duration,
}

impl CommandOptions {
    /// Through the executor that listens at `socket`.
    #[must_use]
    pub fn through(socket: impl Into<PathBuf>) -> Self {
        let patience = Retries { first: Duration::from_secs(1), longest: Duration::from_mins(1), limit: Some(20) };
        Self { socket: socket.into(), patience, pause: Duration::from_secs(30), scan_patience: Duration::from_hours(1) }
    }
}

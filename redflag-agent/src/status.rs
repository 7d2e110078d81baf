//! What the agent last did, kept for `redflag-agent status`: for people, never read back to decide anything.

use crate::{clock, durable, error::Result, home::AgentHome, report::ScopeSummary};
use redflag_core::{
    agent::HostFacts,
    command::payload::ActionKind,
    ids::{CommandId, Digest, ReportId},
    report::ReportStatus,
    time::Timestamp,
    wire::ReportAnswerBody,
};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

const STATUS: &str = "status.json";

/// What the agent last did.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Status {
    /// The last report the server took.
    pub last_delivery: Option<LastDelivery>,
    /// What the host was at the last scan.
    #[serde(default)]
    pub host: HostFacts,
    /// The last scan of each manager.
    pub scopes: Vec<ScopeSummary>,
    /// What went wrong since; none after a delivery.
    pub trouble: Option<Trouble>,
    /// What it does about commands.
    #[serde(default)]
    pub commands: CommandStatus,
}

/// What the agent does about commands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CommandStatus {
    /// Where the executor listens that it hands commands to; none while it only observes.
    pub executor: Option<PathBuf>,
    /// The last command that came to an end.
    pub last: Option<LastCommand>,
    /// Why it takes no commands now; none while it does.
    pub held_up: Option<Trouble>,
    /// The key that the server has prepared to sign with next, as it said at the last poll.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_key_id: Option<Digest>,
    /// What went wrong with commands; none after one that went as it should.
    pub trouble: Option<Trouble>,
}

/// A command that came to an end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastCommand {
    /// Which.
    pub id: CommandId,
    /// What was to be done, where the agent knows.
    pub action: Option<ActionKind>,
    /// When, by this host's clock.
    pub at: Timestamp,
    /// How, in words for people.
    pub end: String,
}

/// A report the server took.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LastDelivery {
    /// Which.
    pub report_id: ReportId,
    /// When, by this host's clock.
    pub at: Timestamp,
    /// How it was taken.
    pub status: ReportStatus,
    /// Events it made.
    pub events: u32,
    /// Facts rejected.
    pub rejected: u64,
}

impl LastDelivery {
    pub(crate) fn new(report_id: ReportId, answer: &ReportAnswerBody) -> Self {
        Self { report_id, at: clock::now(), status: answer.status, events: answer.events, rejected: answer.rejected }
    }
}

/// Something that went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// When, by this host's clock.
    pub at: Timestamp,
    /// What.
    pub message: String,
}

impl Trouble {
    pub(crate) fn new(message: String) -> Self {
        Self { at: clock::now(), message }
    }
}

impl Status {
    /// The status kept in `home`; empty when there is none, or one of another version.
    #[must_use]
    pub fn read(home: &AgentHome) -> Self {
        durable::read_json(&home.file(STATUS))
            .unwrap_or_else(|error| {
                tracing::warn!("{error}; starting with an empty status");
                None
            })
            .unwrap_or_default()
    }

    pub(crate) fn write(&self, home: &AgentHome) -> Result<()> {
        durable::show_json(&home.file(STATUS), self)
    }
}

//! What the agent last did, kept for `redflag-agent status`: for people, never read back to decide anything.

use crate::{clock, durable, error::Result, home::AgentHome, report::ScopeSummary};
use redflag_core::{agent::HostFacts, ids::ReportId, report::ReportStatus, time::Timestamp, wire::ReportAnswerBody};
use serde::{Deserialize, Serialize};

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
#[derive(Clone, Debug, Serialize, Deserialize)]
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

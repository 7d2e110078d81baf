//! One agent as a row: the view that the overview, the list of agents and the agent's own page share.

use super::{
    text::When,
    update_row::{agent_href, updates_href},
};
use redflag_core::{
    agent::{AgentHead, AgentStatus, AgentStatusWord},
    ids::AgentId,
    names::{Manager, Text},
    query::{AgentRow, UpdateFilter},
    time::Timestamp,
    words::{ScanResult, Severity},
};
use std::time::Duration;

/// The tag that marks agents of the simulator.
const SIMULATED: &str = "simulated";

/// An agent as templates show it.
#[derive(Clone, Debug)]
pub(crate) struct AgentView {
    pub(crate) id: AgentId,
    pub(crate) href: String,
    pub(crate) name: Text,
    pub(crate) simulated: bool,
    pub(crate) status: AgentStatusWord,
    pub(crate) reason: String,
    pub(crate) last_contact: Option<When>,
    pub(crate) scans: Vec<ScanView>,
    /// Whether it ever reported; before that, nothing is known of its updates.
    pub(crate) reported: bool,
    pub(crate) open: u64,
    pub(crate) updates_href: String,
    pub(crate) severities: Vec<Tally>,
    pub(crate) os: Option<Text>,
    pub(crate) version: Option<Text>,
}

/// The last scan of one manager.
#[derive(Clone, Debug)]
pub(crate) struct ScanView {
    pub(crate) manager: Manager,
    pub(crate) at: When,
    pub(crate) troubled: bool,
    pub(crate) word: ScanResult,
}

/// Open updates of one severity.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    pub(crate) word: Severity,
    pub(crate) count: u64,
    pub(crate) href: String,
}

/// When an agent is looked at, and how long it may be silent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    pub(crate) now: Timestamp,
    pub(crate) offline_after: Duration,
}

impl Clock {
    /// The clock of a request.
    pub(crate) fn of(app: &crate::app::App) -> Self {
        Self { now: app.now(), offline_after: app.settings.offline_after }
    }

    /// The status of an agent.
    pub(crate) fn status(self, head: &AgentHead) -> AgentStatus {
        AgentStatus::of(head, self.now, self.offline_after)
    }
}

impl AgentView {
    /// `row`, as seen at `clock`.
    pub(crate) fn new(row: &AgentRow, clock: Clock) -> Self {
        let AgentRow { head, open } = row;
        let AgentStatus { status, reason } = clock.status(head);
        let of_agent = UpdateFilter { agent: Some(head.agent), ..UpdateFilter::default() };
        let severities = open.by_severity.iter().filter(|(_, count)| **count > 0);
        Self {
            id: head.agent,
            href: agent_href(head.agent),
            name: head.name.clone(),
            simulated: head.tags.iter().any(|tag| tag.as_str() == SIMULATED),
            status,
            reason,
            last_contact: head.last_contact_at.map(|at| When::seen_from(clock.now, at)),
            scans: head
                .scopes
                .iter()
                .map(|(manager, scope)| ScanView {
                    manager: manager.clone(),
                    at: When::seen_from(clock.now, scope.received_at),
                    troubled: scope.result != ScanResult::Complete,
                    word: scope.result,
                })
                .collect(),
            reported: head.last_report.is_some(),
            open: open.total,
            severities: severities
                .map(|(word, count)| Tally {
                    word: *word,
                    count: *count,
                    href: updates_href(UpdateFilter { severity: Some(*word), ..of_agent.clone() }),
                })
                .collect(),
            updates_href: updates_href(of_agent),
            os: head.host.os.clone(),
            version: head.host.agent_version.clone(),
        }
    }
}

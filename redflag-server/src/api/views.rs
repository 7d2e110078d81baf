//! Updates, events and histories as JSON. The names of an update's fields are those existing clients know.

use super::openapi::wire::updates as shapes;
use redflag_core::{
    event::RecordedEvent,
    metadata::Metadata,
    query::{UpdateRow, UpdateStats},
    state::{Standing, VersionChange},
};
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// One update in a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct UpdateView {
    /// Opaque; names agent and package.
    pub id: String,
    /// The agent.
    pub agent_id: String,
    /// Its name.
    pub agent_name: String,
    /// The manager: `apt`, `dnf`, `docker`, …
    pub package_type: String,
    /// The package.
    pub package_name: String,
    /// Its architecture, where the manager knows one.
    pub arch: Option<String>,
    /// The version installed; none for a new dependency.
    pub current_version: Option<String>,
    /// The version offered.
    pub available_version: String,
    /// `critical`, `important`, `moderate`, `low` or `unknown`.
    pub severity: &'static str,
    /// Whether the source marks it as a security update.
    pub security: bool,
    /// CVE ids.
    pub cve_list: Vec<String>,
    /// Advisory ids.
    pub advisories: Vec<String>,
    /// Repository or origin.
    pub repository_source: Option<String>,
    /// Download size in bytes.
    pub size_bytes: Option<u64>,
    /// One line about the package.
    pub package_description: Option<String>,
    /// Anything else the scanner knows.
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Metadata>,
    /// Whether it can be installed now.
    pub availability: &'static str,
    /// Why not.
    pub availability_reason: Option<String>,
    /// Where the update stands.
    pub status: &'static str,
    /// Names the offer exactly; a decision must bring it.
    pub offer_digest: String,
    /// When this offer was first received.
    pub last_discovered_at: String,
    /// When it last changed.
    pub last_updated_at: String,
}

/// One update with who decided what.
#[derive(Debug, Serialize, ToSchema)]
pub struct UpdateDetailView {
    /// The update as lists show it.
    #[serde(flatten)]
    pub update: UpdateView,
    /// Where it stands, with who decided, when, and in which words.
    #[schema(value_type = shapes::Standing)]
    pub standing: Standing,
    /// How many events led here.
    pub revision: u64,
}

/// Counts over a whole list, by the same rules and of the same moment as the list.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct StatsView {
    /// All of them.
    pub total: u64,
    /// Open ones that can be installed now.
    pub installable: u64,
    /// Open security updates.
    pub security: u64,
    /// By status; words with none are absent.
    pub by_status: BTreeMap<&'static str, u64>,
    /// By severity.
    pub by_severity: BTreeMap<&'static str, u64>,
    /// By manager.
    pub by_package_type: BTreeMap<String, u64>,
    /// By availability.
    pub by_availability: BTreeMap<&'static str, u64>,
}

/// One event in the life of an update.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventView {
    /// Its id.
    pub event_id: String,
    /// Its number in the agent's stream.
    pub sequence: u64,
    /// Its number in the update's life.
    pub revision: u64,
    /// The kind and what belongs to it.
    #[schema(value_type = shapes::EventChange)]
    pub change: Box<serde_json::value::RawValue>,
    /// Who caused it.
    pub actor: String,
    /// The batch that brought it.
    pub batch_id: String,
    /// Its index there.
    pub index: u32,
    /// When it was observed, by the observer's clock.
    pub observed_at: Option<String>,
    /// When the server received it.
    pub received_at: String,
}

/// A version that was installed, failed to install, or was rolled back.
#[derive(Debug, Serialize, ToSchema)]
pub struct VersionChangeView {
    /// The version before.
    pub from_version: Option<String>,
    /// The version meant.
    pub to_version: String,
    /// `installed`, `failed` or `rolled-back`.
    pub outcome: &'static str,
    /// The command that caused it; none when it happened outside RedFlag.
    pub command_id: Option<String>,
    /// Why it failed or was undone.
    pub reason: Option<String>,
    /// When the server received it.
    pub at: String,
    /// The event it comes from, by its number in the agent's stream.
    pub sequence: u64,
}

impl From<&UpdateRow> for UpdateView {
    fn from(row: &UpdateRow) -> Self {
        let (package, offer) = (&row.state.package, &row.state.offer);
        let candidate = &offer.candidate;
        Self {
            id: row.id().to_string(),
            agent_id: row.agent.to_string(),
            agent_name: row.agent_name.to_string(),
            package_type: package.manager.to_string(),
            package_name: package.name.to_string(),
            arch: text(package.arch.as_ref()),
            current_version: text(offer.installed.as_ref()),
            available_version: candidate.version.to_string(),
            severity: candidate.severity.as_str(),
            security: candidate.security,
            cve_list: candidate.cves.iter().map(ToString::to_string).collect(),
            advisories: candidate.advisories.iter().map(ToString::to_string).collect(),
            repository_source: text(candidate.origin.as_ref()),
            size_bytes: candidate.size_bytes,
            package_description: text(candidate.description.as_ref()),
            metadata: candidate.metadata.clone(),
            availability: offer.availability.kind.as_str(),
            availability_reason: text(offer.availability.reason.as_ref()),
            status: row.state.status().as_str(),
            offer_digest: row.state.offer_digest().to_string(),
            last_discovered_at: row.state.discovered_at.to_string(),
            last_updated_at: row.state.changed_at.to_string(),
        }
    }
}

impl From<&UpdateRow> for UpdateDetailView {
    fn from(row: &UpdateRow) -> Self {
        Self { update: row.into(), standing: row.state.standing.clone(), revision: row.state.revision }
    }
}

impl From<&UpdateStats> for StatsView {
    fn from(stats: &UpdateStats) -> Self {
        Self {
            total: stats.total,
            installable: stats.installable,
            security: stats.security,
            by_status: stats.by_status.iter().map(|(word, count)| (word.as_str(), *count)).collect(),
            by_severity: stats.by_severity.iter().map(|(word, count)| (word.as_str(), *count)).collect(),
            by_package_type: stats.by_manager.iter().map(|(manager, count)| (manager.to_string(), *count)).collect(),
            by_availability: stats.by_availability.iter().map(|(word, count)| (word.as_str(), *count)).collect(),
        }
    }
}

impl From<&RecordedEvent> for EventView {
    fn from(recorded: &RecordedEvent) -> Self {
        let json = recorded.event.kind.to_json();
        Self {
            event_id: recorded.event.id.to_string(),
            sequence: recorded.sequence,
            revision: recorded.revision,
            // A kind of a newer version may have been stored with a body that is no JSON: it is shown as a text then.
            change: serde_json::value::RawValue::from_string(json)
                .or_else(|_| serde_json::value::to_raw_value(recorded.event.kind.as_str()))
                .expect("a text always serialises"),
            actor: recorded.actor.to_string(),
            batch_id: recorded.batch.to_string(),
            index: recorded.index,
            observed_at: text(recorded.event.observed_at.as_ref()),
            received_at: recorded.received_at.to_string(),
        }
    }
}

impl From<&VersionChange> for VersionChangeView {
    fn from(change: &VersionChange) -> Self {
        Self {
            from_version: text(change.from_version.as_ref()),
            to_version: change.to_version.to_string(),
            outcome: change.outcome.as_str(),
            command_id: text(change.command.as_ref()),
            reason: text(change.reason.as_ref()),
            at: change.at.to_string(),
            sequence: change.sequence,
        }
    }
}

pub(super) fn text<T: ToString>(value: Option<&T>) -> Option<String> {
    value.map(ToString::to_string)
}

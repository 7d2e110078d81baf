//! One update as a row: the view that the list of updates, an agent's page and the update's own page share.

use super::text::{self, When};
use crate::listing::Listing as _;
use redflag_core::{
    event::EventWord,
    ids::AgentId,
    names::Text,
    query::{UpdateFilter, UpdateQuery, UpdateRow},
    state::Standing,
    time::Timestamp,
    transition::{Transition, transition},
    words::{AvailabilityKind, IgnoreScope, Severity, Status},
};

/// An update as templates show it.
#[derive(Clone, Debug)]
pub(crate) struct UpdateView {
    pub(crate) id: String,
    pub(crate) href: String,
    pub(crate) name: String,
    pub(crate) manager: String,
    pub(crate) arch: Option<String>,
    pub(crate) agent: Text,
    pub(crate) agent_href: String,
    pub(crate) installed: Option<String>,
    pub(crate) candidate: String,
    pub(crate) severity: Severity,
    /// The source's own word, where it is not one of ours.
    pub(crate) severity_word: Option<Text>,
    pub(crate) security: bool,
    pub(crate) status: Status,
    /// Who decided, or why it failed, in few words.
    pub(crate) decided: Option<String>,
    pub(crate) availability: AvailabilityKind,
    pub(crate) availability_reason: Option<Text>,
    pub(crate) origin: Option<Text>,
    pub(crate) changed: When,
    /// The digest of the offer, where it can be approved.
    pub(crate) approve: Option<String>,
}

impl UpdateView {
    /// `row`, as seen from `now`.
    pub(crate) fn new(row: &UpdateRow, now: Timestamp) -> Self {
        let (state, candidate) = (&row.state, &row.state.offer.candidate);
        let id = row.id().to_string();
        let status = state.status();
        Self {
            href: format!("/updates/{id}"),
            id,
            name: state.package.name.to_string(),
            manager: state.package.manager.to_string(),
            arch: state.package.arch.as_ref().map(ToString::to_string),
            agent: row.agent_name.clone(),
            agent_href: agent_href(row.agent),
            installed: state.offer.installed.as_ref().map(ToString::to_string),
            candidate: candidate.version.to_string(),
            severity: candidate.severity,
            severity_word: candidate.severity_word.clone(),
            security: candidate.security,
            status,
            decided: decided(&state.standing),
            availability: state.offer.availability.kind,
            availability_reason: state.offer.availability.reason.clone(),
            origin: candidate.origin.clone(),
            changed: When::seen_from(now, state.changed_at),
            approve: possible(EventWord::Approved, status).then(|| state.offer_digest().to_string()),
        }
    }
}

/// Whether the transition table (clause S3) lets `event` happen to an update of `status`.
pub(crate) fn possible(event: EventWord, status: Status) -> bool {
    transition(event, Some(status)) != Transition::Forbidden
}

/// Where an agent's page is.
pub(crate) fn agent_href(agent: AgentId) -> String {
    format!("/agents/{agent}")
}

/// Where the open updates that pass `filter` are listed.
pub(crate) fn updates_href(filter: UpdateFilter) -> String {
    UpdateQuery { filter, ..UpdateQuery::default() }.href("/updates")
}

fn decided(standing: &Standing) -> Option<String> {
    match standing {
        Standing::Approved(approval) | Standing::NeedsReview { approval, .. } => Some(format!("by {}", text::actor(&approval.actor))),
        Standing::Queued(dispatch) | Standing::Installing(dispatch) => {
            Some(format!("approved by {}", text::actor(&dispatch.approval.actor)))
        }
        Standing::Ignored(ignore) => {
            let scope = if ignore.scope == IgnoreScope::Package { ", every version" } else { "" };
            Some(format!("by {}{scope}", text::actor(&ignore.actor)))
        }
        Standing::Failed { reason, .. } | Standing::RolledBack { reason, .. } => Some(reason.to_string()),
        Standing::Pending | Standing::Installed { .. } | Standing::Withdrawn { .. } => None,
    }
}

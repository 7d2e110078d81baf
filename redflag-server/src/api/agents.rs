//! Agents: the list and one of them.

use super::{
    id::Id,
    quarantine::QuarantineView,
    views::{StatsView, text},
};
use crate::{
    app::{App, AppState},
    listing::{self, Listing},
    problem::{Problem, ProblemBody},
    quarantine::{self, Quarantine},
};
use axum::{Json, extract::State, http::Uri};
use redflag_core::{
    agent::{AgentHead, AgentStatus, HostFacts, ScopeHead},
    ids::AgentId,
    names::Text,
    query::{AgentQuery, UpdateFilter, UpdateStats},
    signing,
};
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// What narrows and orders a list of agents.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "states the parameters for the OpenAPI document; `crate::listing` reads them")]
pub(super) struct AgentListParameters {
    /// The page, from 1.
    #[param(minimum = 1, maximum = 4_294_967_295_u64)]
    page: Option<u64>,
    /// Rows on a page, 1 to 500; 50 if absent.
    #[param(minimum = 1, maximum = 500)]
    page_size: Option<u32>,
    /// A text in the agent's name, taken literally.
    #[param(max_length = 128, pattern = "^([^\\x00]*[^\\x00\\s][^\\x00]*)?$")]
    search: Option<String>,
    /// `name` (if absent), `last-contact` or `updates`; with `-` before it reversed.
    #[param(pattern = "^(-?(name|last-contact|updates))?$")]
    sort: Option<String>,
}

/// A page of agents.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AgentListView {
    /// The rows.
    agents: Vec<AgentView>,
    /// Agents of the whole list.
    total: u64,
    /// The page asked for.
    page: u32,
    /// Rows a page holds.
    page_size: u32,
}

/// One agent.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AgentView {
    /// Its id.
    id: String,
    /// The name shown.
    name: String,
    /// `online`, `degraded`, `offline` or `unknown`.
    status: &'static str,
    /// Why, in a few words.
    status_reason: String,
    /// Since when and why nothing is taken from it; null when it is not in quarantine.
    quarantine: Option<QuarantineView>,
    /// Words that mark it.
    tags: Vec<String>,
    /// What it says of its host; data, never identity.
    host: HostView,
    /// A short name of its public key, for comparing.
    key_fingerprint: String,
    /// When it was enrolled.
    enrolled_at: String,
    /// When it last said anything.
    last_contact_at: Option<String>,
    /// When its newest report was received.
    last_report_at: Option<String>,
    /// When any of its managers was last scanned.
    last_scan_at: Option<String>,
    /// What is known of each manager.
    scopes: BTreeMap<String, ScopeView>,
    /// Events in its stream.
    events: u64,
    /// Batches in its stream.
    batches: u64,
    /// Counts over its open updates.
    updates: StatsView,
}

/// What an agent says of its host.
#[derive(Debug, Serialize, ToSchema)]
struct HostView {
    hostname: Option<String>,
    os: Option<String>,
    kernel: Option<String>,
    arch: Option<String>,
    agent_version: Option<String>,
    /// What it runs in.
    virtualisation: Option<VirtualisationView>,
    /// When its kernel was started, by its own clock.
    booted_at: Option<String>,
    /// Why it must be restarted before its updates take effect; empty when it need not be, null when that is unknown.
    reboot_reasons: Option<Vec<String>>,
    /// Services that still run code which an update has replaced; null when that is unknown.
    services_to_restart: Option<Vec<String>>,
    /// A digest of its machine id; agents with the same one run on copies of one machine, or on one machine.
    machine_digest: Option<String>,
}

/// What a host runs in.
#[derive(Debug, Serialize, ToSchema)]
struct VirtualisationView {
    /// `physical`, `virtual-machine` or `container`.
    kind: &'static str,
    /// The technology in the words of systemd-detect-virt(1), where it is known.
    technology: Option<String>,
}

impl From<&HostFacts> for HostView {
    fn from(host: &HostFacts) -> Self {
        let list = |list: &Option<Vec<Text>>| list.as_ref().map(|list| list.iter().map(ToString::to_string).collect());
        Self {
            hostname: text(host.hostname.as_ref()),
            os: text(host.os.as_ref()),
            kernel: text(host.kernel.as_ref()),
            arch: text(host.arch.as_ref()),
            agent_version: text(host.agent_version.as_ref()),
            virtualisation: host.virtualisation.as_ref().map(|virtualisation| VirtualisationView {
                kind: virtualisation.kind.as_str(),
                technology: text(virtualisation.technology.as_ref()),
            }),
            booted_at: text(host.booted_at.as_ref()),
            reboot_reasons: list(&host.reboot_reasons),
            services_to_restart: list(&host.services_to_restart),
            machine_digest: text(host.machine_digest.as_ref()),
        }
    }
}

/// What is known of one manager on one agent.
#[derive(Debug, Serialize, ToSchema)]
struct ScopeView {
    /// How the last scan ended: `complete`, `partial` or `failed`.
    result: &'static str,
    /// Why it failed or was partial.
    error: Option<String>,
    /// When it was scanned, by the agent's clock.
    scanned_at: String,
    /// When the server received it.
    received_at: String,
    /// When the server received the last complete scan.
    complete_at: Option<String>,
    /// When the manager's metadata was last refreshed, by the agent's clock.
    metadata_at: Option<String>,
    /// Why the last refresh failed.
    refresh_error: Option<String>,
    /// Offers in the last scan that said anything.
    offers: u64,
    /// Since when an implausible empty scan waits to be confirmed.
    quarantined_at: Option<String>,
}

/// A page of agents, each with its derived status and counts.
#[utoipa::path(get, path = "/api/v1/agents", tag = "agents", params(AgentListParameters),
    responses((status = 200, body = AgentListView), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody)))]
pub(super) async fn list(State(app): State<AppState>, uri: Uri) -> Result<Json<AgentListView>, Problem> {
    let query = AgentQuery::from_uri(&uri)?;
    let page = app.fleet.store().agents(&query).await?;
    let quarantined = quarantine::all(app.fleet.store()).await?;
    let agents = page.items.iter().map(|row| view(&app, &row.head, &row.open, quarantined.get(&row.head.agent))).collect();
    Ok(Json(AgentListView { agents, total: page.total, page: query.page.get(), page_size: query.size.get() }))
}

/// One agent.
#[utoipa::path(get, path = "/api/v1/agents/{id}", tag = "agents", params(("id" = String, Path)),
    responses((status = 200, body = AgentView), (status = 401, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub(super) async fn one(State(app): State<AppState>, Id(id): Id<AgentId>, uri: Uri) -> Result<Json<AgentView>, Problem> {
    listing::no_parameters(&uri)?;
    let store = app.fleet.store();
    let head = store.agent(id).await?.ok_or_else(|| Problem::not_found(format!("no agent {id}")))?;
    let open = store.stats(&UpdateFilter { agent: Some(id), ..UpdateFilter::default() }).await?;
    let quarantine = quarantine::of(store, id).await?;
    Ok(Json(view(&app, &head, &open, quarantine.as_ref())))
}

fn view(app: &App, head: &AgentHead, open: &UpdateStats, quarantine: Option<&Quarantine>) -> AgentView {
    let AgentStatus { status, reason } = AgentStatus::of(head, app.now(), app.settings.offline_after);
    AgentView {
        id: head.agent.to_string(),
        name: head.name.to_string(),
        status: status.as_str(),
        status_reason: reason,
        quarantine: quarantine.map(Into::into),
        tags: head.tags.iter().map(ToString::to_string).collect(),
        host: (&head.host).into(),
        key_fingerprint: signing::fingerprint(&head.public_key),
        enrolled_at: head.enrolled_at.to_string(),
        last_contact_at: text(head.last_contact_at.as_ref()),
        last_report_at: head.last_report.map(|report| report.received_at.to_string()),
        last_scan_at: text(head.last_scan_at().as_ref()),
        scopes: head.scopes.iter().map(|(manager, scope)| (manager.to_string(), scope.into())).collect(),
        events: head.events,
        batches: head.batches,
        updates: open.into(),
    }
}

impl From<&ScopeHead> for ScopeView {
    fn from(scope: &ScopeHead) -> Self {
        Self {
            result: scope.result.as_str(),
            error: text(scope.error.as_ref()),
            scanned_at: scope.scanned_at.to_string(),
            received_at: scope.received_at.to_string(),
            complete_at: text(scope.complete_at.as_ref()),
            metadata_at: text(scope.metadata_at.as_ref()),
            refresh_error: text(scope.refresh_error.as_ref()),
            offers: scope.offers,
            quarantined_at: text(scope.quarantined_at.as_ref()),
        }
    }
}

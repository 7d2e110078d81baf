//! Removing an agent with everything that is stored of it. [`remove`] is shared with the pages.

use super::{id::Id, views::text};
use crate::{
    access::Operator,
    app::{App, AppState},
    listing::Parameters,
    problem::{Problem, ProblemBody},
    quarantine,
};
use axum::{Json, extract::State, http::Uri};
use redflag_core::{event::Actor, ids::AgentId, names::Text, removal::RemovedAgent};
use serde::Serialize;
use utoipa::ToSchema;

/// Why an agent is removed.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "states the parameters for the OpenAPI document; `agent` reads them")]
pub(super) struct RemovalParameters {
    /// In which words; needed.
    #[param(min_length = 1, pattern = "^[^\\x00]+$")]
    reason: String,
}

/// What is kept of an agent that was removed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RemovedView {
    /// Its id, never enrolled again.
    agent_id: String,
    /// The name it had.
    name: String,
    /// When it was enrolled.
    enrolled_at: String,
    /// When it was removed.
    removed_at: String,
    /// Who removed it.
    actor: String,
    /// In which words.
    reason: Option<String>,
    /// Batches its stream had; the feed keeps the digest of each.
    batches: u64,
    /// Events its stream had.
    events: u64,
}

/// Removes an agent with everything that is stored of it, for good. The same again answers the same.
#[utoipa::path(delete, path = "/api/v1/agents/{id}", tag = "agents", params(("id" = String, Path), RemovalParameters),
    responses((status = 200, body = RemovedView), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub(super) async fn agent(
    State(app): State<AppState>,
    operator: Operator,
    Id(id): Id<AgentId>,
    uri: Uri,
) -> Result<Json<RemovedView>, Problem> {
    let mut given = Parameters::read(&uri)?;
    let reason = given.take_with("reason", |text| Text::parse(text).map_err(|rejection| rejection.message))?;
    given.finish()?;
    let reason = reason.ok_or_else(|| Problem::parameter("reason", "is needed: why the agent is removed"))?;
    remove(&app, &operator, id, reason).await.map(|removed| Json((&removed).into()))
}

/// Removes an agent in the name of an operator; what was removed before is answered as it was then.
///
/// # Errors
/// 404 for an unknown agent; 503 when the store fails or the agent reports faster than its log can be read.
pub async fn remove(app: &App, operator: &Operator, agent: AgentId, reason: Text) -> Result<RemovedAgent, Problem> {
    let actor = Actor::Operator(operator.name.clone());
    app.audit.before_removal(agent, operator.by(), &reason, app.now()).await?;
    let removed = app.fleet.remove_agent(agent, actor, Some(reason), app.now()).await?;
    quarantine::forget(app.fleet.store(), agent).await?;
    app.replays.forget(agent);
    app.quotas.forget(agent);
    tracing::info!(%agent, name = removed.name.as_str(), operator = operator.name.as_str(), "an agent was removed");
    Ok(removed)
}

impl From<&RemovedAgent> for RemovedView {
    fn from(removed: &RemovedAgent) -> Self {
        Self {
            agent_id: removed.agent.to_string(),
            name: removed.name.to_string(),
            enrolled_at: removed.enrolled_at.to_string(),
            removed_at: removed.removed_at.to_string(),
            actor: removed.actor.to_string(),
            reason: text(removed.reason.as_ref()),
            batches: removed.batches,
            events: removed.events,
        }
    }
}

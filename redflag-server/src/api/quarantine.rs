//! Letting an agent out of quarantine. [`release`] is shared with the pages.

use super::id::Id;
use crate::{
    access::Operator,
    app::{App, AppState},
    listing,
    problem::{Problem, ProblemBody},
    quarantine::{self, Quarantine},
};
use axum::{Json, extract::State, http::Uri};
use redflag_core::{audit::entry::By, ids::AgentId};
use serde::Serialize;
use utoipa::ToSchema;

/// Since when and why an agent is in quarantine.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct QuarantineView {
    /// Since when.
    at: String,
    /// Why, for people.
    reason: String,
}

/// Lets an agent out of quarantine; answers the quarantine that ended.
#[utoipa::path(delete, path = "/api/v1/agents/{id}/quarantine", tag = "agents", params(("id" = String, Path)),
    responses((status = 200, body = QuarantineView), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody),
        (status = 404, body = ProblemBody)))]
pub(super) async fn lift(
    State(app): State<AppState>,
    operator: Operator,
    Id(id): Id<AgentId>,
    uri: Uri,
) -> Result<Json<QuarantineView>, Problem> {
    listing::no_parameters(&uri)?;
    Ok(Json((&release(&app, &operator, id).await?).into()))
}

/// Lets an agent out of quarantine in the name of an operator; answers the quarantine that ended.
///
/// # Errors
/// 404 when it is in none; 503 when the store fails.
pub async fn release(app: &App, operator: &Operator, agent: AgentId) -> Result<Quarantine, Problem> {
    let by = By::Operator { name: operator.name.clone() };
    let ended = quarantine::release(&app.audit, agent, by, app.now()).await?;
    ended.ok_or_else(|| Problem::not_found(format!("no agent {agent} is in quarantine")))
}

impl From<&Quarantine> for QuarantineView {
    fn from(quarantine: &Quarantine) -> Self {
        Self { at: quarantine.at.to_string(), reason: quarantine.reason.to_string() }
    }
}

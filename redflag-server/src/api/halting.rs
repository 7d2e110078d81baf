//! The emergency halt: whether commands are halted, halting and going on.

use crate::{
    access::Operator,
    app::AppState,
    body::JsonBody,
    halt::{self, Halt},
    listing,
    problem::{Problem, ProblemBody},
    queue,
};
use axum::{Json, extract::State, http::Uri};
use redflag_core::names::Text;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Whether commands are halted.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HaltView {
    /// While they are, nothing is handed out, and nothing that was handed out may be begun.
    halted: bool,
    /// Who halted them.
    by: Option<String>,
    /// When.
    at: Option<String>,
    /// Why.
    reason: Option<String>,
}

/// Why commands are halted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct HaltBody {
    /// In which words; every page shows them.
    #[schema(value_type = String, min_length = 1, pattern = "^[^\\x00]+$")]
    reason: Text,
}

/// Whether commands are halted.
#[utoipa::path(get, path = "/api/v1/halt", tag = "commands",
    responses((status = 200, body = HaltView), (status = 401, body = ProblemBody)))]
pub(super) async fn show(State(app): State<AppState>, uri: Uri) -> Result<Json<HaltView>, Problem> {
    listing::no_parameters(&uri)?;
    Ok(Json(halt::halted(app.fleet.store()).await?.into()))
}

/// Halts all commands of all agents. Where they are halted already, that stays as it is and is answered.
#[utoipa::path(post, path = "/api/v1/halt", tag = "commands", request_body = HaltBody,
    responses((status = 200, body = HaltView), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody)))]
pub(super) async fn set(
    State(app): State<AppState>,
    operator: Operator,
    JsonBody(body): JsonBody<HaltBody>,
) -> Result<Json<HaltView>, Problem> {
    Ok(Json(Some(queue::halt(&app, &operator, body.reason).await?).into()))
}

/// Lets commands be handed out again, and wakes every agent that waits. Where they are not halted, nothing changes.
#[utoipa::path(delete, path = "/api/v1/halt", tag = "commands",
    responses((status = 200, body = HaltView), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody)))]
pub(super) async fn lift(State(app): State<AppState>, operator: Operator, uri: Uri) -> Result<Json<HaltView>, Problem> {
    listing::no_parameters(&uri)?;
    queue::lift(&app, &operator).await?;
    Ok(Json(None.into()))
}

impl From<Option<Halt>> for HaltView {
    fn from(halt: Option<Halt>) -> Self {
        match halt {
            Some(Halt { by, at, reason }) => {
                Self { halted: true, by: Some(by.to_string()), at: Some(at.to_string()), reason: Some(reason.to_string()) }
            }
            None => Self { halted: false, by: None, at: None, reason: None },
        }
    }
}

//! What operators do with commands: ask for one, call one off, ask for one again, accept a plan.

use super::{
    command_views::CommandDetailView,
    commands::detail,
    id::{Id, Ids},
};
use crate::{
    access::Operator,
    app::AppState,
    body::JsonBody,
    problem::{Problem, ProblemBody},
    queue::{self, Accepted},
};
use axum::{Json, extract::State};
use redflag_core::{
    command::payload::Action,
    ids::{AgentId, CommandId, Digest},
    names::{Manager, Text},
};
use serde::Deserialize;
use utoipa::ToSchema;

/// Something to be done on a host that is about no package.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RequestBody {
    /// What.
    action: HostAction,
    /// The client's id of the command: the same again has one effect. Made by the server if absent.
    #[schema(value_type = Option<String>, format = Uuid)]
    id: Option<CommandId>,
}

/// What can be asked for. What changes packages follows from approvals alone.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
enum HostAction {
    /// Scan and report now.
    Rescan {},
    /// Fetch what the package sources offer now.
    RefreshMetadata {
        /// Whose sources: `apt`, `dnf`, …
        #[schema(value_type = String, pattern = "^[a-z][a-z0-9._-]*$")]
        package_type: Manager,
    },
    /// Restart the host; needs the role `admin`.
    Reboot {},
}

/// Why a command is called off.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CancelBody {
    /// In which words.
    #[schema(value_type = Option<String>, min_length = 1, pattern = "^[^\\x00]+$")]
    reason: Option<Text>,
}

/// A command is asked for again.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RetryBody {
    /// The client's id of the new command: the same again has one effect. Made by the server if absent.
    #[schema(value_type = Option<String>, format = Uuid)]
    id: Option<CommandId>,
}

/// A second look at a plan (clause A1).
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfirmBody {
    /// The plan the operator saw: `plan_digest` of the plan.
    #[schema(value_type = String, pattern = "^[0-9a-f]{64}$")]
    plan_digest: Digest,
    /// In which words.
    #[schema(value_type = Option<String>, min_length = 1, pattern = "^[^\\x00]+$")]
    comment: Option<Text>,
    /// The client's id of the installation: the same again has one effect. Made by the server if absent.
    #[schema(value_type = Option<String>, format = Uuid)]
    id: Option<CommandId>,
}

type Answered = Result<Json<CommandDetailView>, Problem>;

/// Asks for something that is done on the host itself; answers the command.
#[utoipa::path(post, path = "/api/v1/agents/{id}/commands", tag = "commands", params(("id" = String, Path)), request_body = RequestBody,
    responses((status = 200, body = CommandDetailView), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub(super) async fn request(
    State(app): State<AppState>,
    operator: Operator,
    Id(agent): Id<AgentId>,
    JsonBody(body): JsonBody<RequestBody>,
) -> Answered {
    let record = queue::request(&app, &operator, agent, body.action.into(), body.id).await?;
    detail(&app, &record).await.map(Json)
}

/// Calls a command off, whatever its agent does. One that has ended stays as it is, and is answered.
#[utoipa::path(post, path = "/api/v1/commands/{agent_id}/{id}/cancel", tag = "commands",
    params(("agent_id" = String, Path), ("id" = String, Path)), request_body = CancelBody,
    responses((status = 200, body = CommandDetailView), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub(super) async fn cancel(
    State(app): State<AppState>,
    operator: Operator,
    Ids(agent, command): Ids<AgentId, CommandId>,
    JsonBody(body): JsonBody<CancelBody>,
) -> Answered {
    let record = queue::cancel(&app, &operator, agent, command, body.reason).await?;
    detail(&app, &record).await.map(Json)
}

/// Asks again for a command that came to nothing; answers the new one.
#[utoipa::path(post, path = "/api/v1/commands/{agent_id}/{id}/retry", tag = "commands",
    params(("agent_id" = String, Path), ("id" = String, Path)), request_body = RetryBody,
    responses((status = 200, body = CommandDetailView), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub(super) async fn retry(
    State(app): State<AppState>,
    operator: Operator,
    Ids(agent, command): Ids<AgentId, CommandId>,
    JsonBody(body): JsonBody<RetryBody>,
) -> Answered {
    let record = queue::retry(&app, &operator, agent, command, body.id).await?;
    detail(&app, &record).await.map(Json)
}

/// Accepts exactly the plan shown; answers the installation.
#[utoipa::path(post, path = "/api/v1/commands/{agent_id}/{id}/confirm", tag = "commands",
    params(("agent_id" = String, Path), ("id" = String, Path)), request_body = ConfirmBody,
    responses((status = 200, body = CommandDetailView), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody),
        (status = 422, body = ProblemBody, description = "the plan is not about what was approved")))]
pub(super) async fn confirm(
    State(app): State<AppState>,
    operator: Operator,
    Ids(agent, plan): Ids<AgentId, CommandId>,
    JsonBody(body): JsonBody<ConfirmBody>,
) -> Answered {
    let ConfirmBody { plan_digest, comment, id } = body;
    let record = queue::confirm(&app, &operator, agent, Accepted { plan, digest: plan_digest, comment }, id).await?;
    detail(&app, &record).await.map(Json)
}

impl From<HostAction> for Action {
    fn from(action: HostAction) -> Self {
        match action {
            HostAction::Rescan {} => Self::Rescan,
            HostAction::RefreshMetadata { package_type } => Self::RefreshMetadata { manager: package_type },
            HostAction::Reboot {} => Self::Reboot,
        }
    }
}

//! Having something done on a host from its page: scanning now, restarting.

use super::{command_row::command_href, frame::Answer};
use crate::{access::Operator, app::AppState, problem::Problem, queue};
use axum::{
    extract::{Form, Path, State},
    response::{IntoResponse as _, Redirect},
};
use redflag_core::{
    command::payload::Action,
    ids::{AgentId, CommandId},
    rejection::quoted,
};
use serde::Deserialize;

/// What the forms send; the guard has checked the field `csrf`.
#[derive(Debug, Deserialize)]
pub(super) struct HostActionForm {
    kind: String,
    /// The id of the command, so that a form sent twice has one effect.
    id: Option<CommandId>,
}

/// `POST /agents/{id}/commands`.
pub(super) async fn ask(
    State(app): State<AppState>,
    operator: Operator,
    Path(id): Path<String>,
    Form(form): Form<HostActionForm>,
) -> Answer {
    let agent: AgentId = id.parse().map_err(|_| Problem::not_found("no agent has this address"))?;
    let action = match form.kind.as_str() {
        "rescan" => Action::Rescan,
        "reboot" => Action::Reboot,
        other => return Err(Problem::parameter("kind", format!("unknown action {}", quoted(other))).into()),
    };
    let record = queue::request(&app, &operator, agent, action, form.id).await?;
    Ok(Redirect::to(&command_href(agent, record.id)).into_response())
}

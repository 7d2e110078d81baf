//! Commands as operators see them: the list, and one with its plan, its output and what came of it.

use super::{
    command_views::{CommandDetailView, CommandView},
    id::Ids,
};
use crate::{
    app::{App, AppState},
    listing::{self, Listing as _},
    problem::{Problem, ProblemBody},
    queue,
};
use axum::{Json, extract::State, http::Uri};
use redflag_core::{
    command::record::CommandRecord,
    ids::{AgentId, CommandId},
    query::CommandQuery,
};
use serde::Serialize;
use utoipa::ToSchema;

/// Which part of the list of commands; an empty value counts as absent.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "states the parameters for the OpenAPI document; `crate::listing` reads them")]
pub(super) struct CommandListParameters {
    /// Only of this agent.
    #[param(format = Uuid)]
    agent_id: Option<String>,
    /// `any` (if absent), `open`, or one state.
    state: Option<String>,
    /// Rows on a page, 1 to 500; 50 if absent.
    #[param(minimum = 1, maximum = 500)]
    page_size: Option<u32>,
    /// Right after the row that this cursor names; from `next` of a page of the same list.
    after: Option<String>,
}

/// A page of commands, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CommandListView {
    /// The rows.
    commands: Vec<CommandView>,
    /// Commands of the whole list.
    total: u64,
    /// Rows a page holds.
    page_size: u32,
    /// The cursor of the next page; none on the last.
    next: Option<String>,
}

/// A page of commands, newest first. Their order never changes, so a walk sees each once, whatever happens meanwhile.
#[utoipa::path(get, path = "/api/v1/commands", tag = "commands", params(CommandListParameters),
    responses((status = 200, body = CommandListView), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody)))]
pub(super) async fn list(State(app): State<AppState>, uri: Uri) -> Result<Json<CommandListView>, Problem> {
    let query = CommandQuery::from_uri(&uri)?;
    let page = app.fleet.store().commands(&query).await?;
    Ok(Json(CommandListView {
        commands: page.items.iter().map(|row| CommandView::new(&row.agent_name, &row.record)).collect(),
        total: page.total,
        page_size: query.size.get(),
        next: page.next.map(|position| listing::command_cursor(&query, position)),
    }))
}

/// One command with everything that happened to it.
#[utoipa::path(get, path = "/api/v1/commands/{agent_id}/{id}", tag = "commands", params(("agent_id" = String, Path), ("id" = String, Path)),
    responses((status = 200, body = CommandDetailView), (status = 401, body = ProblemBody), (status = 404, body = ProblemBody),
        (status = 405, body = ProblemBody, description = "the id is `start`, `result` or `output`, which are paths of agents")))]
pub(super) async fn one(
    State(app): State<AppState>,
    Ids(agent, command): Ids<AgentId, CommandId>,
    uri: Uri,
) -> Result<Json<CommandDetailView>, Problem> {
    listing::no_parameters(&uri)?;
    let unknown = || Problem::not_found(format!("no command {command} of agent {agent}"));
    let record = app.fleet.store().command(agent, command).await?.ok_or_else(unknown)?;
    detail(&app, &record).await.map(Json)
}

/// A command as it stands, with what rests on it and what it prints.
pub(super) async fn detail(app: &App, record: &CommandRecord) -> Result<CommandDetailView, Problem> {
    let (store, agent) = (app.fleet.store(), record.audience.agent);
    let head = store.agent(agent).await?.ok_or_else(|| Problem::not_found(format!("no agent {agent}")))?;
    let led_to = queue::led_to(store, record).await?;
    Ok(CommandDetailView::new(&head.name, record, &led_to, app.outputs.of(agent, record.id)))
}

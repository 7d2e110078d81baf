//! What agents say about commands: they ask for them, begin them, and tell how they ended.

use super::{id::Id, openapi::wire::delivery as shapes};
use crate::{
    access::AgentCredential,
    app::AppState,
    body::JsonBody,
    dispatch, halt, people,
    problem::{Problem, ProblemBody},
    queue,
};
use axum::{Json, extract::State, http::StatusCode};
use redflag_core::{
    audit::{self, AuditKind, entry::By},
    command::{
        delivery::{LeaseAnswer, LeaseBody, OutputBody, ResultAnswer, StartAnswer},
        record::Claim,
        step::Step,
    },
    ids::CommandId,
    limits,
};
use std::time::Duration;

/// Hands out the agent's commands; waits for one where there is none.
#[utoipa::path(post, path = "/api/v1/commands/lease", tag = "agent", request_body = shapes::LeaseBody,
    responses((status = 200, body = shapes::LeaseAnswer), (status = 400, body = ProblemBody),
        (status = 401, body = ProblemBody)))]
pub(super) async fn lease(
    State(app): State<AppState>,
    credential: AgentCredential,
    JsonBody(body): JsonBody<LeaseBody>,
) -> Result<Json<LeaseAnswer>, Problem> {
    let LeaseBody { limit, wait_seconds } = body;
    dispatch::lease(&app, credential.agent, limit, Duration::from_secs(wait_seconds.into())).await.map(Json)
}

/// Says that the agent is about to begin. It may only when the answer is `started`.
#[utoipa::path(post, path = "/api/v1/commands/{id}/start", tag = "agent", params(("id" = String, Path)),
    responses((status = 200, body = shapes::CommandStanding), (status = 401, body = ProblemBody),
        (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub(super) async fn start(
    State(app): State<AppState>,
    credential: AgentCredential,
    Id(command): Id<CommandId>,
) -> Result<Json<StartAnswer>, Problem> {
    if let Some(halt) = halt::halted(app.fleet.store()).await? {
        return Err(Problem::new(StatusCode::CONFLICT, "halted", format!("commands are halted: {}", halt.reason)));
    }
    // A key may have been revoked since the command was handed out.
    if let Some(record) = app.fleet.store().command(credential.agent, command).await?
        && record.state.open()
        && !people::suffice(app.fleet.store(), &[record]).await?
    {
        people::recall(&app.fleet, credential.agent).await?;
    }
    let record = queue::first(app.fleet.command(credential.agent, Step::Start { command }, app.now()).await?)?;
    tracing::info!(agent = %credential.agent, %command, state = %record.state, "an agent is about to begin a command");
    Ok(Json(StartAnswer { id: command, state: record.state }))
}

/// Says how a command ended. The same again has one effect; a result that comes late is kept as late.
#[utoipa::path(post, path = "/api/v1/commands/{id}/result", tag = "agent", params(("id" = String, Path)),
    request_body = shapes::ClaimBody,
    responses((status = 200, body = shapes::CommandStanding), (status = 400, body = ProblemBody),
        (status = 401, body = ProblemBody), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub(super) async fn result(
    State(app): State<AppState>,
    credential: AgentCredential,
    Id(command): Id<CommandId>,
    JsonBody(claim): JsonBody<Claim>,
) -> Result<Json<ResultAnswer>, Problem> {
    let agent = credential.agent;
    app.audit.ready().await?;
    let before = app.fleet.store().command(agent, command).await?;
    let commands = app.fleet.command(credential.agent, Step::Finish { command, claim }, app.now()).await?;
    app.outputs.forget(credential.agent, command);
    let record = queue::first(commands)?;
    // What is said again is there already.
    let (by, now) = (By::Agent { agent }, app.now());
    match (&before, record.late.last()) {
        (Some(before), _) if before.state.open() => {
            app.audit.note(audit::command::note(AuditKind::CommandEnded, by, &record, now)).await?;
        }
        (Some(before), Some(late)) if before.late.len() < record.late.len() => {
            app.audit.note(audit::command::late_note(by, &record, late, now)).await?;
        }
        _ => {}
    }
    tracing::info!(agent = %credential.agent, %command, state = %record.state, "an agent told how a command ended");
    Ok(Json(ResultAnswer { id: command, state: record.state }))
}

/// Takes what a running command prints, for whoever watches.
#[utoipa::path(post, path = "/api/v1/commands/{id}/output", tag = "agent", params(("id" = String, Path)),
    request_body = shapes::OutputBody,
    responses((status = 204, description = "taken"), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 404, body = ProblemBody), (status = 413, body = ProblemBody)))]
pub(super) async fn output(
    State(app): State<AppState>,
    credential: AgentCredential,
    Id(command): Id<CommandId>,
    JsonBody(OutputBody { offset, text }): JsonBody<OutputBody>,
) -> Result<StatusCode, Problem> {
    if text.len() > limits::COMMAND_OUTPUT_BYTES_MAX {
        let detail = format!("more than the limit of {} bytes", limits::COMMAND_OUTPUT_BYTES_MAX);
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail));
    }
    let record = app.fleet.store().command(credential.agent, command).await?;
    let record = record.ok_or_else(|| Problem::not_found(format!("unknown command {command}")))?;
    if record.state.open() {
        app.outputs.add(credential.agent, command, offset, &text);
    }
    Ok(StatusCode::NO_CONTENT)
}

//! What agents send: enrolment and reports.

use super::{
    id::Id,
    openapi::wire::{self as wires, reports as shapes},
};
use crate::{
    access::{self, AgentCredential, ClientAddress},
    app::AppState,
    body::{JsonBody, JsonBytes, parsed},
    problem::{Problem, ProblemBody},
};
use axum::{Json, extract::State, http::StatusCode};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::VerifyingKey;
use redflag_core::{
    agent::Enrolment,
    audit::{
        AuditKind, FactName,
        entry::{By, Note},
    },
    command::delivery::SignerBody,
    ids::AgentId,
    names::Text,
    report::Report,
    signing,
    wire::{self, ReportAnswerBody},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Most tags of an agent.
pub(super) const TAGS_MAX: usize = 32;

/// A host asks to become an agent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EnrolBody {
    /// The enrolment token.
    token: String,
    /// The id the host chose, a UUID; the same id and key again take no second seat.
    #[schema(value_type = String, format = Uuid)]
    agent_id: AgentId,
    /// The name to be shown.
    #[schema(value_type = String, min_length = 1, pattern = "^[^\\x00]+$")]
    name: Text,
    /// The Ed25519 public key made on the host, in base64.
    public_key: String,
    /// Words that mark the agent; at most 32.
    #[serde(default)]
    #[schema(schema_with = wires::tags)]
    tags: Vec<Text>,
}

/// An enrolled agent.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EnrolledView {
    /// Its id.
    agent_id: String,
    /// The name shown.
    name: String,
    /// The server's time, for comparing clocks.
    server_time: String,
    /// Whose key signs commands here; the agent pins it.
    #[schema(value_type = wires::delivery::Signer)]
    signer: SignerBody,
}

/// Enrols an agent with a token.
#[utoipa::path(post, path = "/api/v1/enrol", tag = "agent", request_body = EnrolBody,
    responses((status = 201, body = EnrolledView), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 409, body = ProblemBody)))]
pub(super) async fn enrol(
    State(app): State<AppState>,
    address: ClientAddress,
    JsonBody(body): JsonBody<EnrolBody>,
) -> Result<(StatusCode, Json<EnrolledView>), Problem> {
    let public_key = public_key(&body.public_key)?;
    if body.tags.len() > TAGS_MAX {
        return Err(Problem::parameter("tags", format!("{} tags, more than the limit of {TAGS_MAX}", body.tags.len())));
    }
    let (agent, store, now) = (body.agent_id, app.fleet.store(), app.now());
    app.strangers.admit(address)?;
    app.strangers.checked(address, access::take_seat(store, &body.token, agent, &public_key, now).await)?;
    let enrolment = Enrolment { agent, name: body.name, public_key, tags: body.tags, enrolled_at: now };
    let known = store.agent(agent).await?.is_some();
    app.fleet.enrol(enrolment).await?;
    let head = store.agent(agent).await?.ok_or_else(|| Problem::not_found(format!("no agent {agent}")))?;
    // The same again is the same enrolment.
    if !known {
        let note = Note::new(AuditKind::AgentEnrolled, By::Agent { agent }, now).with(FactName::Name, &head.name);
        app.audit.note(note.with(FactName::KeyId, signing::key_id(&public_key))).await?;
    }
    tracing::info!(%agent, name = head.name.as_str(), "an agent enrolled");
    let signer = app.signing_key.signer(app.settings.terms.mode);
    let view = EnrolledView { agent_id: agent.to_string(), name: head.name.to_string(), server_time: now.to_string(), signer };
    Ok((StatusCode::CREATED, Json(view)))
}

/// Takes a report. The same report again gets the same answer and has one effect.
#[utoipa::path(post, path = "/api/v1/report", tag = "agent", request_body = shapes::ReportBody,
    responses((status = 200, body = shapes::ReportAnswerBody),
        (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 409, body = ProblemBody),
        (status = 413, body = ProblemBody)))]
pub(super) async fn report(
    State(app): State<AppState>,
    credential: AgentCredential,
    JsonBytes(bytes): JsonBytes,
) -> Result<Json<ReportAnswerBody>, Problem> {
    let report = parsed(bytes, wire::read_report).await?;
    record(&app, credential, report).await
}

/// Takes a report in the shape of earlier agents; it is partial, so it withdraws nothing.
#[utoipa::path(post, path = "/api/v1/agents/{id}/updates", tag = "agent", params(("id" = String, Path)),
    request_body = shapes::CompatibleReportBody,
    responses((status = 200, body = shapes::ReportAnswerBody),
        (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 404, body = ProblemBody),
        (status = 409, body = ProblemBody), (status = 413, body = ProblemBody)))]
pub(super) async fn compatible_report(
    State(app): State<AppState>,
    credential: AgentCredential,
    Id(id): Id<AgentId>,
    JsonBytes(bytes): JsonBytes,
) -> Result<Json<ReportAnswerBody>, Problem> {
    if id != credential.agent {
        return Err(Problem::not_found(format!("no agent {id}")));
    }
    let received_at = app.now();
    let report = parsed(bytes, move |bytes| wire::read_compatible_report(id, received_at, bytes)).await?;
    record(&app, credential, report).await
}

async fn record(app: &AppState, credential: AgentCredential, report: Report) -> Result<Json<ReportAnswerBody>, Problem> {
    let answer = app.fleet.record_report(credential.agent, report, app.now()).await?;
    let body = ReportAnswerBody::from(&answer);
    app.quotas.spend_events(credential.agent, u64::from(body.events));
    let (agent, report) = (credential.agent, body.report_id);
    if body.rejected > 0 {
        tracing::warn!(%agent, %report, rejected = body.rejected, "facts of a report were rejected");
    }
    tracing::info!(%agent, %report, status = %body.status, events = body.events, batches = body.batches, "a report was taken");
    Ok(Json(body))
}

/// Reads a public key: a point of the curve and not one of the few weak ones, whose signatures anybody can make.
fn public_key(text: &str) -> Result<[u8; 32], Problem> {
    let bytes = STANDARD.decode(text).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    let sound = |bytes: &[u8; 32]| VerifyingKey::from_bytes(bytes).is_ok_and(|key| !key.is_weak());
    bytes.filter(sound).ok_or_else(|| Problem::parameter("public_key", "not an Ed25519 public key in base64"))
}

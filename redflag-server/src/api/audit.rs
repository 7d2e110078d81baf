//! The audit log: its entries and checkpoints for operators, and for agents what makes them its witnesses.

use super::{
    audit_views::{AuditListView, CheckpointListView, EntryView},
    openapi::wire::audit as shapes,
};
use crate::{
    access::AgentCredential,
    app::AppState,
    body::JsonBody,
    listing::{self, Parameters},
    problem::{Problem, ProblemBody},
};
use axum::{
    Json,
    body::{Body, Bytes},
    extract::State,
    http::{StatusCode, Uri, header},
    response::IntoResponse,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http_body_util::channel::Channel;
use redflag_core::{
    audit::{
        AuditKind, FactName,
        checkpoint::Checkpoint,
        entry::{By, Note},
        witness::{CheckpointName, ForkBody, Kept, WitnessAnswer, WitnessBody},
    },
    ids::Digest,
    limits,
    rejection::quoted,
    store::{Expected, StoreError},
};

/// Which fork each agent reported last.
pub(crate) const REPORTED: &str = "audit-forks";

/// What narrows a list of entries.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "states the parameters for the OpenAPI document; the handler reads them")]
pub(super) struct AuditParameters {
    /// Entries with a number below this; the newest if absent.
    #[param(minimum = 1, maximum = 9_007_199_254_740_991_u64)]
    before: Option<u64>,
    /// Entries on a page, 1 to 500; 50 if absent.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// Of this kind only. Then a page may hold fewer entries than there are, or none, and still name a next one.
    kind: Option<String>,
    /// By this one only: the name of an account or of somebody at a command line, the id of an agent, `server` or `stranger`.
    by: Option<String>,
}

/// Entries of the audit log, newest first.
#[utoipa::path(get, path = "/api/v1/audit", tag = "audit", params(AuditParameters),
    responses((status = 200, body = AuditListView), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody)))]
pub(super) async fn list(State(app): State<AppState>, uri: Uri) -> Result<Json<AuditListView>, Problem> {
    let mut given = Parameters::read(&uri)?;
    let before = given.take_number("before", 1..=limits::COMMAND_COUNTER_MAX)?;
    let limit = given.take_number("limit", 1..=limits::PAGE_SIZE_MAX)?.unwrap_or(limits::PAGE_SIZE_DEFAULT);
    let filter = listing::take_audit(&mut given)?;
    given.finish()?;
    let (links, next_before) = app.audit.backwards(before, limit as usize, |entry| filter.passes(entry)).await?;
    let place = app.audit.place().await?;
    let entries = links.iter().map(EntryView::from).collect();
    Ok(Json(AuditListView { entries, total: place.number, head: place.digest.to_string(), next_before }))
}

/// The whole audit log as JSON Lines, for verification elsewhere: of each entry its link, of each checkpoint its envelope behind the last entry
/// it stands for. It is read while it is sent; an answer that breaks off is not whole, and ends without its last chunk.
#[utoipa::path(get, path = "/api/v1/audit/export", tag = "audit",
    responses((status = 200, body = String, content_type = "application/x-ndjson", description = "what `redflag-server audit verify --input` verifies"),
        (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody)))]
pub(super) async fn export(State(app): State<AppState>, uri: Uri) -> Result<impl IntoResponse, Problem> {
    listing::no_parameters(&uri)?;
    let mut lines = app.audit.lines();
    // What cannot be read from the beginning on is told as a problem.
    let mut some = lines.next().await?;
    let (mut sender, body) = Channel::<Bytes, StoreError>::new(1);
    tokio::spawn(async move {
        while !some.is_empty() {
            let text = some.into_iter().fold(String::new(), |text, line| text + &line + "\n");
            if sender.send_data(text.into()).await.is_err() {
                return;
            }
            match lines.next().await {
                Ok(more) => some = more,
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "an export of the audit log breaks off");
                    return sender.abort(error);
                }
            }
        }
    });
    let disposition = "attachment; filename=\"redflag-audit.jsonl\"";
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson; charset=utf-8"), (header::CONTENT_DISPOSITION, disposition)], Body::new(body)))
}

/// The newest checkpoint of the audit log and the key that signs.
#[utoipa::path(get, path = "/api/v1/audit/checkpoint", tag = "audit",
    responses((status = 200, body = CheckpointListView), (status = 401, body = ProblemBody)))]
pub(super) async fn checkpoint(State(app): State<AppState>, uri: Uri) -> Result<Json<CheckpointListView>, Problem> {
    listing::no_parameters(&uri)?;
    let newest = app.audit.newest_checkpoint().await?;
    Ok(Json(CheckpointListView::of(&app.audit_key, newest.as_ref())))
}

/// Shows a witness how the log went on.
#[utoipa::path(post, path = "/api/v1/audit/witness", tag = "agent", request_body = shapes::WitnessBody,
    responses((status = 200, body = shapes::WitnessAnswer), (status = 400, body = ProblemBody),
        (status = 401, body = ProblemBody)))]
pub(super) async fn witness(
    State(app): State<AppState>,
    _agent: AgentCredential,
    JsonBody(WitnessBody { kept }): JsonBody<WitnessBody>,
) -> Result<Json<WitnessAnswer>, Problem> {
    let log = &app.audit;
    let shown = match kept {
        None => log.newest_checkpoint().await?.into_iter().collect(),
        Some(CheckpointName { number, digest }) => {
            let own = log.checkpoints_after(number.saturating_sub(1), 1).await?.into_iter().next();
            match own.filter(|own| own.checkpoint.number == number) {
                Some(own) if own.checkpoint.digest() == digest => log.checkpoints_after(number, limits::CHECKPOINTS_TOLD_MAX).await?,
                Some(own) => vec![own],
                None => log.newest_checkpoint().await?.into_iter().collect(),
            }
        }
    };
    let public_key = STANDARD.encode(app.audit_key.public_key().to_bytes());
    Ok(Json(WitnessAnswer { public_key, checkpoints: shown.into_iter().map(|stored| Kept::from(stored.envelope)).collect() }))
}

/// Takes the report of a witness that the log has forked. Each agent's newest one is an entry, once.
#[utoipa::path(post, path = "/api/v1/audit/fork", tag = "agent",
    request_body = shapes::ForkBody,
    responses((status = 204, description = "put down"), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 409, body = ProblemBody, description = "the checkpoint is one of this log")))]
pub(super) async fn fork(
    State(app): State<AppState>,
    credential: AgentCredential,
    JsonBody(fork): JsonBody<ForkBody>,
) -> Result<StatusCode, Problem> {
    let read = |field: &'static str, kept: &Kept| {
        Checkpoint::read_unproven(kept.envelope().as_bytes()).map_err(|error| Problem::parameter(field, error.to_string()))
    };
    let ((kept, key_id), _) = (read("kept", &fork.kept)?, read("shown", &fork.shown)?);
    let own = app.audit.checkpoints_after(kept.number.saturating_sub(1), 1).await?.into_iter().next();
    if own.is_some_and(|own| own.checkpoint == kept) {
        return Err(Problem::new(StatusCode::CONFLICT, "no_fork", "the checkpoint that is kept is one of this log"));
    }
    // A witness may say the same again, and a hostile one anything: one at a time, and nothing new of the same.
    let (agent, now, store) = (credential.agent, app.now(), app.fleet.store());
    let digest = Digest::of("redflag fork v1", &[fork.kept.envelope().as_bytes(), fork.shown.envelope().as_bytes()]).to_string();
    let proven = Checkpoint::read(fork.kept.envelope().as_bytes(), &[app.audit_key.public_key()]).is_ok();
    let expected = match store.get(REPORTED, &agent.to_string()).await? {
        Some(record) if record.value == digest || !proven => return Ok(StatusCode::NO_CONTENT),
        Some(record) => Expected::Revision(record.revision),
        None => Expected::Absent,
    };
    if store.put(REPORTED, &agent.to_string(), &digest, expected).await?.is_some() {
        let what = quoted(&fork.what);
        tracing::error!(%agent, checkpoint = kept.number, proven, "a witness says that the audit log has forked: {what}");
        let state = if proven { "signed by this server's key" } else { "signed by another key" };
        let note = Note::new(AuditKind::ForkReported, By::Agent { agent }, now).with(FactName::Count, kept.number);
        let note = note.with(FactName::Digest, kept.digest()).with(FactName::KeyId, key_id).with(FactName::State, state);
        app.audit.note(note.with(FactName::Reason, &fork.what)).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

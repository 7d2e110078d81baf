//! What a person signs for a command, and the signature that comes back.

use super::{command_views::CommandDetailView, commands::detail, id::Ids};
use crate::{
    access::Operator,
    app::AppState,
    body::JsonBody,
    listing,
    problem::{Problem, ProblemBody},
    signatures::{self, Signature, ToSign},
};
use axum::{Json, extract::State, http::Uri};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use redflag_core::ids::{AgentId, CommandId, Digest};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What is to be signed. Who signs reads the envelope, and believes nothing that stands beside it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ToSignView {
    /// The DSSE envelope without signatures, byte for byte as it will travel with them. What is signed is its pre-authentication encoding.
    envelope: String,
    /// The counter in it; a signature must name it.
    counter: u64,
    /// How many people must sign.
    signatures: u32,
    /// Who has signed it, with keys that count.
    signed_by: Vec<String>,
    /// The ids of all keys that signed it.
    signed_with: Vec<String>,
}

/// A signature.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SignatureBody {
    /// The full name of the key that made it.
    #[schema(value_type = String, pattern = "^[0-9a-f]{64}$")]
    key_id: Digest,
    /// The counter in what was signed.
    #[schema(minimum = 1)]
    counter: u64,
    /// The 64 bytes of the Ed25519 signature, in base64.
    #[schema(pattern = "^[A-Za-z0-9+/]{85}[AQgw]==$")]
    signature: String,
}

/// What a person signs for this command, as it stands now. Another command of the agent that is signed or handed out before changes it.
#[utoipa::path(get, path = "/api/v1/commands/{agent_id}/{id}/to-sign", tag = "commands",
    params(("agent_id" = String, Path), ("id" = String, Path)),
    responses((status = 200, body = ToSignView), (status = 401, body = ProblemBody), (status = 404, body = ProblemBody),
        (status = 409, body = ProblemBody, description = "it does not wait for signatures")))]
pub(super) async fn to_sign(
    State(app): State<AppState>,
    Ids(agent, command): Ids<AgentId, CommandId>,
    uri: Uri,
) -> Result<Json<ToSignView>, Problem> {
    listing::no_parameters(&uri)?;
    let ToSign { record, counter, envelope, signed_by } = signatures::to_sign(&app, agent, command).await?;
    let envelope = String::from_utf8(envelope.to_json()).map_err(|error| Problem::internal(&error))?;
    let signed_by = signed_by.into_iter().map(|person| person.to_string()).collect();
    let signed_with = record.signatures.keys().map(ToString::to_string).collect();
    Ok(Json(ToSignView { envelope, counter, signatures: record.terms.signatures_min, signed_by, signed_with }))
}

/// Takes a signature that one of the caller's own keys made. The last that is needed lets the command be handed out. The same again changes
/// nothing; another one of the same person takes its place.
#[utoipa::path(post, path = "/api/v1/commands/{agent_id}/{id}/signatures", tag = "commands",
    params(("agent_id" = String, Path), ("id" = String, Path)), request_body = SignatureBody,
    responses((status = 200, body = CommandDetailView), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 404, body = ProblemBody),
        (status = 409, body = ProblemBody, description = "it does not wait for signatures, or must be signed with another counter"),
        (status = 422, body = ProblemBody, description = "the key is none of the caller's that counts, or the signature does not fit")))]
pub(super) async fn sign(
    State(app): State<AppState>,
    operator: Operator,
    Ids(agent, command): Ids<AgentId, CommandId>,
    JsonBody(body): JsonBody<SignatureBody>,
) -> Result<Json<CommandDetailView>, Problem> {
    let SignatureBody { key_id, counter, signature } = body;
    let bytes = STANDARD.decode(signature).ok().and_then(|bytes| bytes.try_into().ok());
    let bytes = bytes.ok_or_else(|| Problem::parameter("signature", "must be 64 bytes in base64"))?;
    let record = signatures::sign(&app, &operator, agent, command, Signature { key_id, counter, bytes }).await?;
    detail(&app, &record).await.map(Json)
}

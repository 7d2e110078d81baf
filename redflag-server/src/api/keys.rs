//! Keys of people: which are listed, listing one and revoking one. And whose keys sign commands here.

use super::id::Id;
use crate::{
    access::{AccountName, Operator},
    app::AppState,
    body::JsonBody,
    listing,
    people::{self, KeyError, ListedKey, NewKey, PersonKey},
    problem::{Problem, ProblemBody},
};
use axum::{
    Json,
    extract::State,
    http::{StatusCode, Uri},
};
use redflag_core::{ids::Digest, names::Text};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Whose keys sign commands.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SigningView {
    /// `server-signs`, or `operator-signs`: then people sign, with keys that are not on the server.
    mode: &'static str,
    /// How many people must sign a command; 0 where the server signs.
    signatures: u32,
    /// The fingerprint of the server's own key, which signs commands only with `server-signs`.
    server_fingerprint: String,
    /// Its full name.
    server_key_id: String,
    /// Its 32 bytes, in base64.
    server_public_key: String,
}

/// The keys of people.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct KeysView {
    /// By person, the oldest first, with those that were revoked.
    keys: Vec<KeyView>,
}

/// A key of a person.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct KeyView {
    /// Its full name.
    key_id: String,
    /// For people to compare.
    fingerprint: String,
    /// Its 32 bytes, in base64.
    public_key: String,
    /// The account whose key it is.
    person: String,
    /// What tells it from the person's other keys.
    label: Option<String>,
    /// Who listed it.
    listed_by: String,
    /// When.
    listed_at: String,
    /// Whether its signatures count.
    counts: bool,
    /// Who revoked it.
    revoked_by: Option<String>,
    /// When.
    revoked_at: Option<String>,
    /// Why.
    revoked_reason: Option<String>,
    /// What root adds to the policy of a host that is to do what this key signs.
    policy: String,
}

/// A key to be listed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyBody {
    /// The account whose key it is.
    #[schema(value_type = String, pattern = "^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$")]
    person: AccountName,
    /// The 32 bytes of the Ed25519 public key, in base64; `redflag-server signer show` prints them.
    #[schema(value_type = String)]
    public_key: PersonKey,
    /// What tells it from the person's other keys.
    #[schema(value_type = Option<String>, min_length = 1, pattern = "^[^\\x00]+$")]
    label: Option<Text>,
}

/// Why a key does not count any more.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RevokeBody {
    /// In which words.
    #[schema(value_type = Option<String>, min_length = 1, pattern = "^[^\\x00]+$")]
    reason: Option<Text>,
}

/// Whose keys sign commands here.
#[utoipa::path(get, path = "/api/v1/signing", tag = "commands",
    responses((status = 200, body = SigningView), (status = 401, body = ProblemBody)))]
pub(super) async fn signing(State(app): State<AppState>, uri: Uri) -> Result<Json<SigningView>, Problem> {
    listing::no_parameters(&uri)?;
    let (terms, signer) = (&app.settings.terms, app.signing_key.signer(app.settings.terms.mode));
    Ok(Json(SigningView {
        mode: terms.mode.as_str(),
        signatures: terms.signatures_min,
        server_fingerprint: app.signing_key.fingerprint(),
        server_key_id: signer.key_id.to_string(),
        server_public_key: signer.public_key,
    }))
}

/// Every key of a person that is or was listed.
#[utoipa::path(get, path = "/api/v1/keys", tag = "commands",
    responses((status = 200, body = KeysView), (status = 401, body = ProblemBody)))]
pub(super) async fn list(State(app): State<AppState>, uri: Uri) -> Result<Json<KeysView>, Problem> {
    listing::no_parameters(&uri)?;
    let keys = people::keys(app.fleet.store()).await?;
    Ok(Json(KeysView { keys: keys.into_iter().map(KeyView::from).collect() }))
}

/// Lists a key of a person. Its signatures count here then; on a host they do once root has added it to the policy. The same again changes
/// nothing.
#[utoipa::path(post, path = "/api/v1/keys", tag = "commands", request_body = KeyBody,
    responses((status = 200, body = KeyView), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 404, body = ProblemBody, description = "there is no such account"),
        (status = 409, body = ProblemBody, description = "it is another person's, was revoked, or too many are listed")))]
pub(super) async fn add(
    State(app): State<AppState>,
    operator: Operator,
    JsonBody(body): JsonBody<KeyBody>,
) -> Result<Json<KeyView>, Problem> {
    let KeyBody { person, public_key, label } = body;
    let listed = people::list(&app.audit, NewKey { person, public_key, label, by: operator.by() }).await?;
    Ok(Json(listed.into()))
}

/// Revokes a key for good: it signs nothing any more, and nothing that lacks its signature now is handed out or begun. What has begun goes on.
/// A host forgets it when root takes it out of that host's policy.
#[utoipa::path(post, path = "/api/v1/keys/{id}/revoke", tag = "commands", params(("id" = String, Path)), request_body = RevokeBody,
    responses((status = 200, body = KeyView), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 404, body = ProblemBody)))]
pub(super) async fn revoke(
    State(app): State<AppState>,
    operator: Operator,
    Id(id): Id<Digest>,
    JsonBody(body): JsonBody<RevokeBody>,
) -> Result<Json<KeyView>, Problem> {
    let revoked = people::revoke(&app.audit, id, operator.by(), body.reason).await?;
    let revoked = revoked.ok_or_else(|| Problem::not_found(format!("no key {id} is listed")))?;
    Ok(Json(revoked.into()))
}

impl From<KeyError> for Problem {
    fn from(error: KeyError) -> Self {
        let conflict = |code, error: KeyError| Self::new(StatusCode::CONFLICT, code, error.to_string());
        match error {
            KeyError::Store(error) => error.into(),
            KeyError::NoAccount(_) => Self::not_found(error.to_string()),
            KeyError::Taken { .. } => conflict("key_taken", error),
            KeyError::Revoked(_) => conflict("key_revoked", error),
            KeyError::TooMany => conflict("too_many_keys", error),
        }
    }
}

impl From<ListedKey> for KeyView {
    fn from(key: ListedKey) -> Self {
        let ListedKey { person, public_key, label, listed_by, listed_at, revoked } = key;
        Self {
            key_id: public_key.id().to_string(),
            fingerprint: public_key.fingerprint(),
            public_key: public_key.to_string(),
            policy: public_key.policy_block(&person),
            person: person.to_string(),
            label: label.map(|label| label.to_string()),
            listed_by: listed_by.to_string(),
            listed_at: listed_at.to_string(),
            counts: revoked.is_none(),
            revoked_by: revoked.as_ref().map(|revoked| revoked.by.to_string()),
            revoked_at: revoked.as_ref().map(|revoked| revoked.at.to_string()),
            revoked_reason: revoked.and_then(|revoked| revoked.reason).map(|reason| reason.to_string()),
        }
    }
}

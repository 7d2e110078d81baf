//! The second factor of the caller's own account.

use crate::{
    access::{self, ClientAddress, FactorSecret, Operator, Wanted},
    app::AppState,
    body::JsonBody,
    listing,
    problem::{Problem, ProblemBody},
};
use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, Uri, header},
    response::{AppendHeaders, IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A secret for an authenticator app. Nothing is kept of it before a code of it was shown.
#[derive(Serialize, ToSchema)]
pub(super) struct OfferedFactorView {
    /// The secret in base32 (RFC 4648).
    secret: String,
    /// The same as apps read it from a QR code.
    uri: String,
}

/// A second factor that is asked for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FactorBody {
    /// The password in force; not needed without one, and in a session that began by a link.
    current: Option<String>,
    /// The secret that was offered.
    #[schema(pattern = "^[A-Z2-7]{32}$")]
    secret: String,
    /// What the app shows of it now.
    #[schema(pattern = "^[0-9]{6}$")]
    code: String,
}

/// Codes for who has lost the app.
#[derive(Serialize, ToSchema)]
pub(super) struct RecoveryCodesView {
    /// Each signs in once in place of a code of the app. They are here and nowhere else.
    recovery_codes: Vec<String>,
}

/// A code of the second factor in force.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CodeBody {
    /// What the app shows, or a recovery code.
    code: String,
}

/// Offers a secret for an authenticator app, another one each time.
#[utoipa::path(get, path = "/api/v1/account/second-factor", tag = "accounts",
    responses((status = 200, body = OfferedFactorView), (status = 401, body = ProblemBody)))]
pub(super) async fn offer(operator: Operator, uri: Uri) -> Result<Json<OfferedFactorView>, Problem> {
    listing::no_parameters(&uri)?;
    let secret = FactorSecret::new();
    Ok(Json(OfferedFactorView { secret: secret.base32(), uri: secret.uri(&operator.account) }))
}

/// Gives the caller's own account a second factor. Every session and API token of the account ends; the cookie in the answer is a new
/// session.
#[utoipa::path(post, path = "/api/v1/account/second-factor", tag = "accounts", request_body = FactorBody,
    responses((status = 200, body = RecoveryCodesView), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody),
        (status = 429, body = ProblemBody)))]
pub(super) async fn set(
    State(app): State<AppState>,
    operator: Operator,
    headers: HeaderMap,
    client: ClientAddress,
    JsonBody(body): JsonBody<FactorBody>,
) -> Result<Response, Problem> {
    let secret = FactorSecret::parse(&body.secret).map_err(|detail| Problem::parameter("secret", detail))?;
    let current = body.current.unwrap_or_default();
    let wanted = Wanted { current: &current, secret, code: &body.code };
    let (session, recovery_codes) = access::set_second_factor(&app, &operator, &headers, client, wanted).await?;
    Ok((AppendHeaders([(header::SET_COOKIE, session.cookie)]), Json(RecoveryCodesView { recovery_codes })).into_response())
}

/// Takes the second factor of the caller's own account away. Every session and API token of the account ends; the cookie in the answer is a
/// new session.
#[utoipa::path(post, path = "/api/v1/account/second-factor/remove", tag = "accounts", request_body = CodeBody,
    responses((status = 204), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody),
        (status = 404, body = ProblemBody), (status = 409, body = ProblemBody), (status = 429, body = ProblemBody)))]
pub(super) async fn remove(
    State(app): State<AppState>,
    operator: Operator,
    headers: HeaderMap,
    client: ClientAddress,
    JsonBody(body): JsonBody<CodeBody>,
) -> Result<Response, Problem> {
    let cookie = access::remove_own_second_factor(&app, &operator, &headers, client, &body.code).await?;
    Ok((StatusCode::NO_CONTENT, AppendHeaders([(header::SET_COOKIE, cookie)])).into_response())
}

//! The caller's own account: password, sessions, API tokens.

use super::{account_views::ApiTokenView, id::Id};
use crate::{
    access::{self, ApiTokenOptions, ClientAddress, Operator, Scope, administration},
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
use redflag_core::names::Text;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, time::Duration};
use utoipa::ToSchema;

/// Most days for which a token can be asked.
pub(crate) const TOKEN_DAYS_MAX: u32 = 366;

/// The caller's own account.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OwnAccountView {
    /// Its name, as decisions record it.
    name: String,
    /// `viewer`, `approver` or `admin`.
    role: &'static str,
    /// Whether it has a password; without one it signs in by a link.
    has_password: bool,
    /// Whether signing in takes a code of its second factor too.
    has_second_factor: bool,
    /// How many sessions it has, this one included.
    sessions: usize,
    /// Its API tokens, the newest first.
    tokens: Vec<ApiTokenView>,
}

/// A new password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PasswordBody {
    /// The password in force; not needed without one, and in a session that began by a link.
    current: Option<String>,
    /// The new one: at least 12 characters, none of the most common ones.
    #[schema(min_length = 12, max_length = 1024, pattern = "^[^\\x00\\r\\n]*$")]
    new: String,
}

/// What a new API token allows.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenBody {
    /// What it is for.
    #[schema(value_type = String, min_length = 1, pattern = "^[^\\x00]+$")]
    label: Text,
    /// What it may do, as far as its account may.
    #[schema(value_type = Vec<ScopeWord>, min_items = 1)]
    scopes: BTreeSet<Scope>,
    /// For how many days, 1 to 366.
    #[schema(minimum = 1, maximum = 366)]
    expires_in_days: u32,
}

/// What an API token may do.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "kebab-case")]
#[expect(dead_code, reason = "describes the words of `Scope` in the document")]
enum ScopeWord {
    Read,
    Decide,
    Command,
    Enrol,
    Administer,
}

/// An API token just made.
#[derive(Serialize, ToSchema)]
pub(super) struct NewTokenView {
    /// The token, to be sent as `authorization: Bearer TOKEN`. It is here and nowhere else.
    token: String,
    /// How it is listed.
    listed: ApiTokenView,
}

/// What ended.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EndedView {
    /// How many sessions.
    ended: usize,
}

/// The caller's own account.
#[utoipa::path(get, path = "/api/v1/account", tag = "accounts",
    responses((status = 200, body = OwnAccountView), (status = 401, body = ProblemBody)))]
pub(super) async fn show(State(app): State<AppState>, operator: Operator, uri: Uri) -> Result<Json<OwnAccountView>, Problem> {
    listing::no_parameters(&uri)?;
    let store = app.fleet.store();
    // The guard has just read it, and accounts are never deleted.
    let account = access::account(store, &operator.account).await?.ok_or_else(Problem::unauthorized)?;
    let tokens = access::api_tokens(store, Some(&account.name)).await?;
    Ok(Json(OwnAccountView {
        name: account.name.to_string(),
        role: account.role.as_str(),
        has_password: account.has_password(),
        has_second_factor: account.has_second_factor(),
        sessions: access::sessions_of(store, &account, app.now()).await?,
        tokens: tokens.iter().map(ApiTokenView::from).collect(),
    }))
}

/// Gives the caller's own account a password. Every session and API token of the account ends; the cookie in the answer is a new session.
#[utoipa::path(post, path = "/api/v1/account/password", tag = "accounts", request_body = PasswordBody,
    responses((status = 204), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody),
        (status = 404, body = ProblemBody), (status = 429, body = ProblemBody)))]
pub(super) async fn set_password(
    State(app): State<AppState>,
    operator: Operator,
    headers: HeaderMap,
    client: ClientAddress,
    JsonBody(body): JsonBody<PasswordBody>,
) -> Result<Response, Problem> {
    let current = body.current.unwrap_or_default();
    let cookie = access::change_password(&app, &operator, &headers, client, &current, &body.new).await?;
    Ok((StatusCode::NO_CONTENT, AppendHeaders([(header::SET_COOKIE, cookie)])).into_response())
}

/// Ends every session of the caller's own account, this one too. API tokens stay.
#[utoipa::path(delete, path = "/api/v1/account/sessions", tag = "accounts",
    responses((status = 200, body = EndedView), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody)))]
pub(super) async fn end_sessions(State(app): State<AppState>, operator: Operator, uri: Uri) -> Result<Json<EndedView>, Problem> {
    listing::no_parameters(&uri)?;
    let ended = access::sign_out_everywhere(&app, &operator).await?;
    Ok(Json(EndedView { ended }))
}

/// Makes an API token of the caller's own account.
#[utoipa::path(post, path = "/api/v1/account/tokens", tag = "accounts", request_body = TokenBody,
    responses((status = 201, body = NewTokenView), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub(super) async fn make_token(
    State(app): State<AppState>,
    operator: Operator,
    JsonBody(body): JsonBody<TokenBody>,
) -> Result<(StatusCode, Json<NewTokenView>), Problem> {
    let options = token_options(&operator, body.label, body.scopes, body.expires_in_days)?;
    let made = administration::make_token(&app, &operator, options).await?;
    Ok((StatusCode::CREATED, Json(NewTokenView { token: made.expose(), listed: (&made.listed).into() })))
}

/// Revokes an API token of the caller's own account.
#[utoipa::path(delete, path = "/api/v1/account/tokens/{id}", tag = "accounts", params(("id" = String, Path)),
    responses((status = 200, body = ApiTokenView), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody),
        (status = 404, body = ProblemBody)))]
pub(super) async fn revoke_token(
    State(app): State<AppState>,
    operator: Operator,
    Id(id): Id<String>,
    uri: Uri,
) -> Result<Json<ApiTokenView>, Problem> {
    listing::no_parameters(&uri)?;
    Ok(Json((&administration::revoke_token(&app, &operator, &operator.account, &id).await?).into()))
}

/// What a token of the operator's own account shall allow, for API and pages.
///
/// # Errors
/// 400 without a scope, or for a number of days out of bounds.
pub(crate) fn token_options(operator: &Operator, label: Text, scopes: BTreeSet<Scope>, days: u32) -> Result<ApiTokenOptions, Problem> {
    if scopes.is_empty() {
        return Err(Problem::parameter("scopes", "a token needs at least one scope"));
    }
    if !(1..=TOKEN_DAYS_MAX).contains(&days) {
        return Err(Problem::parameter("expires_in_days", format!("must be 1 to {TOKEN_DAYS_MAX}")));
    }
    let expires_in = Duration::from_secs(u64::from(days) * 24 * 60 * 60);
    Ok(ApiTokenOptions { account: operator.account.clone(), label, scopes, expires_in })
}

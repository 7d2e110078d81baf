//! Accounts of operators, for administrators.

use super::{
    account_views::{AccountView, ApiTokenView},
    id::{Id, Ids},
};
use crate::{
    access::{self, AccountError, AccountName, Operator, Role, Standing, administration},
    app::AppState,
    body::JsonBody,
    listing, pages,
    problem::{Problem, ProblemBody},
};
use axum::{
    Json,
    extract::State,
    http::{StatusCode, Uri},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Every account.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AccountsView {
    /// In the order of their names.
    accounts: Vec<AccountView>,
}

/// An account with its API tokens.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AccountDetailView {
    /// The account.
    account: AccountView,
    /// Its API tokens, the newest first.
    tokens: Vec<ApiTokenView>,
}

/// A new account.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AccountBody {
    /// Its name; names that differ in case only are one.
    #[schema(value_type = String, min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9][A-Za-z0-9._@-]*$")]
    name: AccountName,
    /// What it may do.
    role: RoleWord,
}

/// Another role.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RoleBody {
    /// What the account may do from now on.
    role: RoleWord,
}

/// What an account may do.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
enum RoleWord {
    /// See.
    Viewer,
    /// Also decide.
    Approver,
    /// Everything.
    Admin,
}

impl From<RoleWord> for Role {
    fn from(word: RoleWord) -> Self {
        match word {
            RoleWord::Viewer => Self::Viewer,
            RoleWord::Approver => Self::Approver,
            RoleWord::Admin => Self::Admin,
        }
    }
}

/// A sign-in link just made.
#[derive(Serialize, ToSchema)]
pub(super) struct LinkView {
    /// Signs in once; it is here and nowhere else.
    url: String,
    /// When it ends.
    expires_at: String,
}

/// Every account.
#[utoipa::path(get, path = "/api/v1/accounts", tag = "accounts",
    responses((status = 200, body = AccountsView), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody)))]
pub(super) async fn list(State(app): State<AppState>, uri: Uri) -> Result<Json<AccountsView>, Problem> {
    listing::no_parameters(&uri)?;
    let accounts = access::accounts(app.fleet.store()).await?;
    Ok(Json(AccountsView { accounts: accounts.iter().map(AccountView::from).collect() }))
}

/// Makes an account. It has no password: make a link for whoever it is for.
#[utoipa::path(post, path = "/api/v1/accounts", tag = "accounts", request_body = AccountBody,
    responses((status = 201, body = AccountView), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub(super) async fn add(
    State(app): State<AppState>,
    operator: Operator,
    JsonBody(body): JsonBody<AccountBody>,
) -> Result<(StatusCode, Json<AccountView>), Problem> {
    let account = administration::add(&app, &operator, body.name, body.role.into()).await?;
    Ok((StatusCode::CREATED, Json((&account).into())))
}

/// One account with its API tokens.
#[utoipa::path(get, path = "/api/v1/accounts/{name}", tag = "accounts", params(("name" = String, Path)),
    responses((status = 200, body = AccountDetailView), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody),
        (status = 404, body = ProblemBody)))]
pub(super) async fn one(State(app): State<AppState>, Id(name): Id<AccountName>, uri: Uri) -> Result<Json<AccountDetailView>, Problem> {
    listing::no_parameters(&uri)?;
    let store = app.fleet.store();
    let account = access::account(store, &name).await?.ok_or(AccountError::Unknown(name))?;
    let tokens = access::api_tokens(store, Some(&account.name)).await?;
    Ok(Json(AccountDetailView { account: (&account).into(), tokens: tokens.iter().map(ApiTokenView::from).collect() }))
}

/// Gives an account another role. Its sessions, links and API tokens end.
#[utoipa::path(post, path = "/api/v1/accounts/{name}/role", tag = "accounts", params(("name" = String, Path)), request_body = RoleBody,
    responses((status = 200, body = AccountView), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub(super) async fn set_role(
    State(app): State<AppState>,
    operator: Operator,
    Id(name): Id<AccountName>,
    JsonBody(body): JsonBody<RoleBody>,
) -> Result<Json<AccountView>, Problem> {
    Ok(Json((&administration::change_role(&app, &operator, &name, body.role.into()).await?).into()))
}

/// Takes the second factor of an account away: of somebody who has lost both the app and the recovery codes. Its sessions, links and API
/// tokens end.
#[utoipa::path(delete, path = "/api/v1/accounts/{name}/second-factor", tag = "accounts", params(("name" = String, Path)),
    responses((status = 200, body = AccountView), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody),
        (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub(super) async fn remove_second_factor(
    State(app): State<AppState>,
    operator: Operator,
    Id(name): Id<AccountName>,
    uri: Uri,
) -> Result<Json<AccountView>, Problem> {
    listing::no_parameters(&uri)?;
    Ok(Json((&administration::remove_second_factor(&app, &operator, &name).await?).into()))
}

/// Disables an account. Its sessions, links and API tokens end, and it cannot sign in.
#[utoipa::path(post, path = "/api/v1/accounts/{name}/disable", tag = "accounts", params(("name" = String, Path)),
    responses((status = 200, body = AccountView), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody),
        (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub(super) async fn disable(
    State(app): State<AppState>,
    operator: Operator,
    Id(name): Id<AccountName>,
    uri: Uri,
) -> Result<Json<AccountView>, Problem> {
    listing::no_parameters(&uri)?;
    Ok(Json((&administration::change_standing(&app, &operator, &name, Standing::Disabled).await?).into()))
}

/// Enables an account again. What was made for it before does not come back, its password does.
#[utoipa::path(post, path = "/api/v1/accounts/{name}/enable", tag = "accounts", params(("name" = String, Path)),
    responses((status = 200, body = AccountView), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody),
        (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub(super) async fn enable(
    State(app): State<AppState>,
    operator: Operator,
    Id(name): Id<AccountName>,
    uri: Uri,
) -> Result<Json<AccountView>, Problem> {
    listing::no_parameters(&uri)?;
    Ok(Json((&administration::change_standing(&app, &operator, &name, Standing::Enabled).await?).into()))
}

/// Makes a link that signs the account in once, within 15 minutes; whoever opens it may set a password.
#[utoipa::path(post, path = "/api/v1/accounts/{name}/sign-in-link", tag = "accounts", params(("name" = String, Path)),
    responses((status = 201, body = LinkView), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody),
        (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub(super) async fn link(
    State(app): State<AppState>,
    operator: Operator,
    Id(name): Id<AccountName>,
    uri: Uri,
) -> Result<(StatusCode, Json<LinkView>), Problem> {
    listing::no_parameters(&uri)?;
    let link = administration::link(&app, &operator, &name).await?;
    let view = LinkView { url: link.url(&pages::server_url(&app)), expires_at: link.expires_at.to_string() };
    Ok((StatusCode::CREATED, Json(view)))
}

/// Revokes an API token of an account.
#[utoipa::path(delete, path = "/api/v1/accounts/{name}/tokens/{id}", tag = "accounts",
    params(("name" = String, Path), ("id" = String, Path)),
    responses((status = 200, body = ApiTokenView), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody),
        (status = 404, body = ProblemBody)))]
pub(super) async fn revoke_token(
    State(app): State<AppState>,
    operator: Operator,
    Ids(name, id): Ids<AccountName, String>,
    uri: Uri,
) -> Result<Json<ApiTokenView>, Problem> {
    listing::no_parameters(&uri)?;
    Ok(Json((&administration::revoke_token(&app, &operator, &name, &id).await?).into()))
}

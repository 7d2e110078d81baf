//! What administrators do with accounts, for API and pages.
//!
//! Nobody changes the role or the standing of the account they act with: so one administrator is always left. Its second factor nobody
//! takes away without a code of it.

use super::{
    account::{self, Account, AccountError, AccountName, Standing},
    api_tokens::{self, ApiToken, ApiTokenOptions, NewApiToken},
    enrolment::{self, EnrolmentTokenOptions},
    links::{self, SignInLink},
    notes,
    operator::Operator,
    role::Role,
};
use crate::{app::App, ids::Secret, problem::Problem};
use axum::http::StatusCode;
use redflag_core::{audit::AuditKind, time::Timestamp};

/// Makes an account.
///
/// # Errors
/// 409 when there is one of that name or there are too many, 503 when the store fails.
pub(crate) async fn add(app: &App, operator: &Operator, name: AccountName, role: Role) -> Result<Account, Problem> {
    let account = account::add_account(app.fleet.store(), name, role).await?;
    app.audit.note(notes::account_note(AuditKind::AccountMade, operator.by(), &account, app.now())).await?;
    tracing::info!(operator = operator.name.as_str(), account = account.name.as_str(), %role, "an account was made");
    Ok(account)
}

/// Gives another's account another role.
///
/// # Errors
/// 404 when there is no such account, 409 when it is the operator's own, 503 when the store fails.
pub(crate) async fn change_role(app: &App, operator: &Operator, name: &AccountName, role: Role) -> Result<Account, Problem> {
    not_own(operator, name)?;
    let account = account::set_role(app.fleet.store(), name, role).await?;
    app.audit.note(notes::account_note(AuditKind::AccountChanged, operator.by(), &account, app.now())).await?;
    tracing::info!(operator = operator.name.as_str(), account = account.name.as_str(), %role, "the role of an account was set");
    Ok(account)
}

/// Disables another's account, or enables it again.
///
/// # Errors
/// As [`change_role`].
pub(crate) async fn change_standing(app: &App, operator: &Operator, name: &AccountName, standing: Standing) -> Result<Account, Problem> {
    not_own(operator, name)?;
    let account = account::set_standing(app.fleet.store(), name, standing).await?;
    app.audit.note(notes::account_note(AuditKind::AccountChanged, operator.by(), &account, app.now())).await?;
    tracing::info!(operator = operator.name.as_str(), account = account.name.as_str(), ?standing, "the standing of an account was set");
    Ok(account)
}

/// Takes the second factor of another's account away: of who has lost both the app and the recovery codes.
///
/// # Errors
/// As [`change_role`].
pub(crate) async fn remove_second_factor(app: &App, operator: &Operator, name: &AccountName) -> Result<Account, Problem> {
    not_own(operator, name)?;
    let account = account::remove_second_factor(app.fleet.store(), name).await?;
    app.audit.note(notes::account_note(AuditKind::SecondFactorRemoved, operator.by(), &account, app.now())).await?;
    tracing::info!(operator = operator.name.as_str(), account = account.name.as_str(), "the second factor of an account was removed");
    Ok(account)
}

/// Makes a sign-in link for an account that is there.
///
/// # Errors
/// 404 when there is no such account, 409 when it is disabled, 503 when the store fails.
pub(crate) async fn link(app: &App, operator: &Operator, name: &AccountName) -> Result<SignInLink, Problem> {
    let store = app.fleet.store();
    let account = account::account(store, name).await?.ok_or_else(|| AccountError::Unknown(name.clone()))?;
    let link = links::issue_sign_in_link(store, account.name, None).await?;
    app.audit.note(links::link_note(operator.by(), name, None, app.now())).await?;
    tracing::info!(operator = operator.name.as_str(), account = name.as_str(), "a sign-in link was made");
    Ok(link)
}

/// Makes an API token of the operator's own account.
///
/// # Errors
/// 409 when there are too many, 503 when the store fails.
pub(crate) async fn make_token(app: &App, operator: &Operator, options: ApiTokenOptions) -> Result<NewApiToken, Problem> {
    let made = api_tokens::issue_api_token(app.fleet.store(), options).await?;
    app.audit.note(notes::api_token_note(AuditKind::TokenMade, operator.by(), &made.listed, app.now())).await?;
    let ApiToken { id, account, expires_at, .. } = &made.listed;
    tracing::info!(operator = operator.name.as_str(), account = account.as_str(), id, %expires_at, "an API token was made");
    Ok(made)
}

/// Revokes an API token of this account.
///
/// # Errors
/// 404 when it has none of that id, 503 when the store fails.
pub(crate) async fn revoke_token(app: &App, operator: &Operator, account: &AccountName, id: &str) -> Result<ApiToken, Problem> {
    let revoked = api_tokens::revoke_api_token(app.fleet.store(), Some(account), id).await?;
    let token = revoked.ok_or_else(|| Problem::not_found("no such API token"))?;
    app.audit.note(notes::api_token_note(AuditKind::TokenRevoked, operator.by(), &token, app.now())).await?;
    tracing::info!(operator = operator.name.as_str(), account = token.account.as_str(), id = token.id, "an API token was revoked");
    Ok(token)
}

/// Makes a token with which agents enrol, and answers when it ends.
///
/// # Errors
/// 503 when the store fails.
pub(crate) async fn make_enrolment_token(
    app: &App,
    operator: &Operator,
    options: EnrolmentTokenOptions,
) -> Result<(Secret, Timestamp), Problem> {
    let seats = options.seats;
    let (token, expires_at) = enrolment::issue_token(app.fleet.store(), options.clone()).await?;
    app.audit.note(enrolment::token_note(operator.by(), &options, expires_at, app.now())).await?;
    tracing::info!(operator = operator.name.as_str(), seats, %expires_at, "an enrolment token was made");
    Ok((token, expires_at))
}

fn not_own(operator: &Operator, name: &AccountName) -> Result<(), Problem> {
    if operator.account.key() == name.key() {
        let detail =
            "nobody changes the role or the standing of their own account, or its second factor without a code; another administrator can";
        return Err(Problem::new(StatusCode::CONFLICT, "own_account", detail));
    }
    Ok(())
}

//! Signing in: by a one-time link, or by name and password.

use super::{
    account::{self, Account, AccountName, Standing},
    client::{self, ClientAddress},
    links,
    password::Verified,
    sessions::{self, Began},
};
use crate::{app::App, problem::Problem};
use axum::http::{HeaderMap, StatusCode};
use redflag_core::audit::{
    AuditKind, FactName,
    entry::{By, Note},
};

/// Consumes a sign-in link and begins a session; the answer is the `Set-Cookie` header. None when the link is unknown, used or
/// expired, or its account changed since.
///
/// # Errors
/// 503 when the store fails.
pub(crate) async fn sign_in_by_link(app: &App, headers: &HeaderMap, client: ClientAddress, token: &str) -> Result<Option<String>, Problem> {
    let Some(account) = links::open(app, token).await? else { return Ok(None) };
    let cookie = sessions::begin(app, &account, Began::Link, headers).await?;
    app.audit.note(signed_in(&account, "link", client, app)).await?;
    tracing::info!(account = account.name.as_str(), %client, "signed in by a link");
    Ok(Some(cookie))
}

/// Begins a session for whoever knows the password of `name`; the answer is the `Set-Cookie` header. None when it is wrong, the
/// account has no password, is disabled, or is none: each costs the same work.
///
/// # Errors
/// 429 when there were too many tries, 503 when too many are trying at once or the store fails.
pub(crate) async fn sign_in_by_password(
    app: &App,
    headers: &HeaderMap,
    client: ClientAddress,
    name: &str,
    password: &str,
) -> Result<Option<String>, Problem> {
    let known = match name.parse::<AccountName>() {
        Ok(name) => account::account(app.fleet.store(), &name).await?,
        Err(_) => None,
    };
    let Some(account) = verified(app, client, name, known, password).await? else {
        tracing::warn!(%client, "a name and password did not sign in");
        return Ok(None);
    };
    let cookie = sessions::begin(app, &account, Began::Password, headers).await?;
    app.audit.note(signed_in(&account, "password", client, app)).await?;
    tracing::info!(account = account.name.as_str(), %client, "signed in by a password");
    Ok(Some(cookie))
}

fn signed_in(account: &Account, by: &str, client: ClientAddress, app: &App) -> Note {
    let operator = By::Operator { name: account.name.text().clone() };
    let note = Note::new(AuditKind::SignedIn, operator, app.now());
    note.with(FactName::Role, account.role).with(FactName::Action, by).with(FactName::Address, client)
}

/// The account, if `password` is its password. Every try counts against the limits, and one that succeeds is taken back.
pub(super) async fn verified(
    app: &App,
    client: ClientAddress,
    name: &str,
    account: Option<Account>,
    password: &str,
) -> Result<Option<Account>, Problem> {
    let limited = |after| {
        let detail = "too many tries to sign in; a sign-in link still works";
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_tries", detail).with_retry_after(after)
    };
    let address = client::subscriber(client.0);
    app.attempts.begin(name, address).map_err(limited)?;
    let enabled = account.filter(|account| account.standing == Standing::Enabled);
    let hash = enabled.as_ref().and_then(|account| account.password.clone());
    let verified = app.passwords.verify(password.to_owned(), hash.clone()).await?;
    let Some(account) = enabled.filter(|_| verified != Verified::No) else { return Ok(None) };
    app.attempts.succeeded(name, address);
    if let (Verified::Again(new), Some(old)) = (verified, hash) {
        account::refresh_hash(app.fleet.store(), &account.name, &old, new).await?;
    }
    Ok(Some(account))
}

//! What operators do with their own accounts.

use super::{
    account::{self, AccountError},
    client::ClientAddress,
    notes,
    operator::Operator,
    password::Password,
    sessions::{self, Began},
    sign_in,
};
use crate::{app::App, problem::Problem};
use axum::http::{HeaderMap, StatusCode};
use redflag_core::{
    audit::{AuditKind, FactName, entry::Note},
    store::StoreError,
};

/// Gives an operator's own account a password. All sessions and API tokens of the account end; the answer is the `Set-Cookie` header of
/// a new session for the browser that asked.
///
/// The password in force is asked for, except of a session that began by a link: that is how one comes back who forgot it.
///
/// # Errors
/// 400 for a new password that is not good enough, 403 `wrong_password` when the current one is wrong or missing, 429 after too many
/// tries, 503 when the store fails.
pub(crate) async fn change_password(
    app: &App,
    operator: &Operator,
    headers: &HeaderMap,
    client: ClientAddress,
    current: &str,
    new: &str,
) -> Result<String, Problem> {
    let new = Password::parse(&operator.account, new).map_err(|detail| Problem::parameter("new", detail))?;
    let store = app.fleet.store();
    let name = &operator.account;
    let account = account::account(store, name).await?.ok_or_else(|| AccountError::Unknown(name.clone()))?;
    if operator.began != Some(Began::Link) && account.has_password() {
        let wrong = || Problem::new(StatusCode::FORBIDDEN, "wrong_password", "the current password is wrong");
        sign_in::verified(app, client, name.as_str(), Some(account), current).await?.ok_or_else(wrong)?;
    }
    let changed = account::set_password(store, name, &app.passwords.hash(new).await?).await?;
    app.audit.note(notes::account_note(AuditKind::PasswordSet, operator.by(), &changed, app.now())).await?;
    tracing::info!(account = name.as_str(), "a password was set");
    // Whoever knows the link's session knew no password; from here on this one is known.
    Ok(sessions::begin(app, &changed, Began::Password, headers).await?)
}

/// Ends every session of an operator's own account, this one too, and answers how many there were. Stopped midway, some have ended.
///
/// # Errors
/// When the store fails.
pub(crate) async fn sign_out_everywhere(app: &App, operator: &Operator) -> Result<usize, StoreError> {
    let now = app.now();
    let ended = sessions::end_all(app.fleet.store(), &operator.account, now).await?;
    app.audit.note(Note::new(AuditKind::SignedOut, operator.by(), now).with(FactName::Count, ended)).await?;
    tracing::info!(account = operator.name.as_str(), ended, "signed out everywhere");
    Ok(ended)
}

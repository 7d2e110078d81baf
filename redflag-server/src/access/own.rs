//! What operators do with their own accounts.

use super::{
    account::{self, Account, AccountError},
    client::{self, ClientAddress},
    notes,
    operator::Operator,
    password::Password,
    second_factor::{FactorSecret, SecondFactor},
    sessions::{self, Began, NewSession},
    sign_in::{self, Tries},
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
    let name = knows_password(app, operator, client, current).await?.name;
    let changed = account::set_password(app.fleet.store(), &name, &app.passwords.hash(new).await?).await?;
    app.audit.note(notes::account_note(AuditKind::PasswordSet, operator.by(), &changed, app.now())).await?;
    tracing::info!(account = name.as_str(), "a password was set");
    // Whoever knows the link's session knew no password; from here on this one is known.
    Ok(sessions::begin(app, &changed, Began::Password, headers).await?.cookie)
}

/// An operator's own account, once the password in force was given where one is asked for.
async fn knows_password(app: &App, operator: &Operator, client: ClientAddress, current: &str) -> Result<Account, Problem> {
    let name = &operator.account;
    let account = account::account(app.fleet.store(), name).await?.ok_or_else(|| AccountError::Unknown(name.clone()))?;
    if operator.began == Some(Began::Link) || !account.has_password() {
        return Ok(account);
    }
    let tries = Tries { name: name.as_str(), address: client::subscriber(client.0) };
    let wrong = || Problem::new(StatusCode::FORBIDDEN, "wrong_password", "the current password is wrong");
    let account = sign_in::verified(app, &tries, Some(account), current).await?.ok_or_else(wrong)?;
    tries.succeeded(app);
    Ok(account)
}

/// A second factor that an operator asks for.
pub(crate) struct Wanted<'a> {
    /// The password in force, where one is asked for.
    pub(crate) current: &'a str,
    /// The secret that was shown.
    pub(crate) secret: FactorSecret,
    /// What the app shows of it.
    pub(crate) code: &'a str,
}

/// Gives an operator's own account a second factor, once the app has shown a code of it. All sessions and API tokens of the account end;
/// answered are a new session and the recovery codes, which are kept as digests only.
///
/// # Errors
/// 403 `wrong_password` or `wrong_code`, 409 when it has one already, 429 after too many tries, 503 when the store fails.
pub(crate) async fn set_second_factor(
    app: &App,
    operator: &Operator,
    headers: &HeaderMap,
    client: ClientAddress,
    wanted: Wanted<'_>,
) -> Result<(NewSession, Vec<String>), Problem> {
    let account = knows_password(app, operator, client, wanted.current).await?;
    if account.has_second_factor() {
        let detail = "this account has a second factor; remove it first";
        return Err(Problem::new(StatusCode::CONFLICT, "second_factor_set", detail));
    }
    let (factor, codes) = SecondFactor::begin(wanted.secret, wanted.code, app.now()).ok_or_else(wrong_code)?;
    let changed = account::set_second_factor(app.fleet.store(), &account.name, Some(&factor)).await?;
    app.audit.note(notes::account_note(AuditKind::SecondFactorSet, operator.by(), &changed, app.now())).await?;
    tracing::info!(account = account.name.as_str(), "a second factor was set");
    let began = operator.began.unwrap_or(Began::Password);
    Ok((sessions::begin(app, &changed, began, headers).await?, codes))
}

/// Takes the second factor of an operator's own account away, by one of its codes. All sessions and API tokens of the account end; the
/// answer is the `Set-Cookie` header of a new session.
///
/// # Errors
/// 403 `wrong_code`, 409 when it has none, 429 after too many tries, 503 when the store fails.
pub(crate) async fn remove_own_second_factor(
    app: &App,
    operator: &Operator,
    headers: &HeaderMap,
    client: ClientAddress,
    code: &str,
) -> Result<String, Problem> {
    let (store, name) = (app.fleet.store(), &operator.account);
    let account = account::account(store, name).await?.ok_or_else(|| AccountError::Unknown(name.clone()))?;
    if !account.has_second_factor() {
        return Err(Problem::new(StatusCode::CONFLICT, "no_second_factor", "this account has no second factor"));
    }
    let tries = Tries { name: name.as_str(), address: client::subscriber(client.0) };
    tries.begin(app)?;
    account::use_code(store, name, code, app.now()).await?.ok_or_else(wrong_code)?;
    tries.succeeded(app);
    let changed = account::remove_second_factor(store, name).await?;
    app.audit.note(notes::account_note(AuditKind::SecondFactorRemoved, operator.by(), &changed, app.now())).await?;
    tracing::info!(account = name.as_str(), "a second factor was removed");
    Ok(sessions::begin(app, &changed, operator.began.unwrap_or(Began::Password), headers).await?.cookie)
}

fn wrong_code() -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "wrong_code", "the code is wrong, was used before, or the clocks of server and app differ")
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

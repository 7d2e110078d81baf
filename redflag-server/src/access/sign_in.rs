//! Signing in: by a one-time link, or by name and password; and by a code of the second factor of an account that has one.

use super::{
    account::{self, Account, AccountName, Standing},
    client::{self, ClientAddress},
    links,
    password::Verified,
    second_factor::Used,
    sessions::{self, Began},
};
use crate::{app::App, problem::Problem};
use axum::http::{HeaderMap, StatusCode};
use redflag_core::audit::{
    AuditKind, FactName,
    entry::{By, Note},
};
use std::net::IpAddr;

/// Consumes a sign-in link and begins a session; the answer is the `Set-Cookie` header.
///
/// Where the account has a second factor, `code` must hold before the link is consumed: whoever mistypes tries again.
///
/// # Errors
/// 429 when there were too many codes that did not hold, 503 when the store fails.
pub(crate) async fn sign_in_by_link(
    app: &App,
    headers: &HeaderMap,
    client: ClientAddress,
    token: &str,
    code: &str,
) -> Result<ByLink, Problem> {
    let Some(account) = links::account(app, token).await? else { return Ok(ByLink::Unusable) };
    // The tries of a link are its own: who guesses at the account's password does not bar the way of the link.
    let tries = Tries { name: &format!("a link to {}", account.name), address: client::subscriber(client.0) };
    let mut by = "link";
    if account.has_second_factor() {
        if code.is_empty() {
            return Ok(ByLink::WantsCode);
        }
        tries.begin(app)?;
        by = match account::use_code(app.fleet.store(), &account.name, code, app.now()).await? {
            Some(used) => told(&account, "link", used),
            None => return Ok(ByLink::WrongCode),
        };
        tries.succeeded(app);
    }
    if !links::consume(app, token).await? {
        return Ok(ByLink::Unusable);
    }
    let session = sessions::begin(app, &account, Began::Link, headers).await?;
    app.audit.note(signed_in(&account, by, client, app)).await?;
    tracing::info!(account = account.name.as_str(), %client, "signed in by a link");
    Ok(ByLink::SignedIn(session.cookie))
}

/// What came of a link.
pub(crate) enum ByLink {
    /// A session, with its `Set-Cookie` header.
    SignedIn(String),
    /// The link still works, and wants a code of the account's second factor, which nobody has tried to give.
    WantsCode,
    /// The link still works, and the code does not hold.
    WrongCode,
    /// It is unknown, used or expired, or its account changed since.
    Unusable,
}

/// Begins a session for whoever knows the password of `name` and, where the account has a second factor, a code of it; the answer is the
/// `Set-Cookie` header. None when something of it is wrong, the account has no password, is disabled, or is none: each costs the same work
/// and is answered the same, so that who guesses is not told what was right.
///
/// # Errors
/// 429 when there were too many tries, 503 when too many are trying at once or the store fails.
pub(crate) async fn sign_in_by_password(
    app: &App,
    headers: &HeaderMap,
    client: ClientAddress,
    name: &str,
    password: &str,
    code: &str,
) -> Result<Option<String>, Problem> {
    let known = match name.parse::<AccountName>() {
        Ok(name) => account::account(app.fleet.store(), &name).await?,
        Err(_) => None,
    };
    let tries = Tries { name, address: client::subscriber(client.0) };
    let Some((account, by)) = proved(app, &tries, known, password, code).await? else {
        tracing::warn!(%client, "a name and password did not sign in");
        return Ok(None);
    };
    tries.succeeded(app);
    let session = sessions::begin(app, &account, Began::Password, headers).await?;
    app.audit.note(signed_in(&account, by, client, app)).await?;
    tracing::info!(account = account.name.as_str(), %client, "signed in by a password");
    Ok(Some(session.cookie))
}

/// The account, if `password` is its password and `code` is of its second factor, and by what it signed in.
async fn proved(
    app: &App,
    tries: &Tries<'_>,
    account: Option<Account>,
    password: &str,
    code: &str,
) -> Result<Option<(Account, &'static str)>, Problem> {
    let Some(account) = verified(app, tries, account, password).await? else { return Ok(None) };
    if !account.has_second_factor() {
        return Ok(Some((account, "password")));
    }
    let used = account::use_code(app.fleet.store(), &account.name, code, app.now()).await?;
    Ok(used.map(|used| {
        let by = told(&account, "password", used);
        (account, by)
    }))
}

/// By what somebody signed in who showed a code too.
fn told(account: &Account, first: &'static str, used: Used) -> &'static str {
    if let Used::Recovery { left } = used {
        tracing::warn!(account = account.name.as_str(), left, "a recovery code was used");
    }
    match (first, used) {
        ("link", Used::Code) => "link and code",
        ("link", Used::Recovery { .. }) => "link and recovery code",
        (_, Used::Code) => "password and code",
        (_, Used::Recovery { .. }) => "password and recovery code",
    }
}

fn signed_in(account: &Account, by: &str, client: ClientAddress, app: &App) -> Note {
    let operator = By::Operator { name: account.name.text().clone() };
    let note = Note::new(AuditKind::SignedIn, operator, app.now());
    note.with(FactName::Role, account.role).with(FactName::Action, by).with(FactName::Address, client)
}

/// Whose tries are counted.
pub(super) struct Tries<'a> {
    /// Of which account, as it was named.
    pub(super) name: &'a str,
    /// From which address.
    pub(super) address: IpAddr,
}

impl Tries<'_> {
    /// Counts a try before it is looked at.
    ///
    /// # Errors
    /// 429 when it is one too many.
    pub(super) fn begin(&self, app: &App) -> Result<(), Problem> {
        let limited = |after| {
            let detail = "too many tries to sign in; a sign-in link still works";
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_tries", detail).with_retry_after(after)
        };
        app.attempts.begin(self.name, self.address).map_err(limited)
    }

    /// Takes a try back that succeeded.
    pub(super) fn succeeded(&self, app: &App) {
        app.attempts.succeeded(self.name, self.address);
    }
}

/// The account, if `password` is its password. The try is counted; whoever calls takes it back once nothing else is to be proved.
pub(super) async fn verified(app: &App, tries: &Tries<'_>, account: Option<Account>, password: &str) -> Result<Option<Account>, Problem> {
    tries.begin(app)?;
    let enabled = account.filter(|account| account.standing == Standing::Enabled);
    let hash = enabled.as_ref().and_then(|account| account.password.clone());
    let verified = app.passwords.verify(password.to_owned(), hash.clone()).await?;
    let Some(account) = enabled.filter(|_| verified != Verified::No) else { return Ok(None) };
    if let (Verified::Again(new), Some(old)) = (verified, hash) {
        account::refresh_hash(app.fleet.store(), &account.name, &old, new).await?;
    }
    Ok(Some(account))
}

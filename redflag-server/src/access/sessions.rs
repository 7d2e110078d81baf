//! Sessions of people in browsers.
//!
//! Only SHA-256 digests of session ids are stored. The CSRF token is computed from the session id, so it is as secret and lives
//! exactly as long.

use super::{
    account::{self, Account, AccountName},
    expiring::{self, Expiring},
    operator::Operator,
};
use crate::{app::App, ids::Secret, settings::Settings};
use axum::http::{HeaderMap, header};
use redflag_core::{
    ids::Digest,
    store::{Store, StoreError},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long a session lasts.
const SESSION_LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);
/// Most sessions of one account; one more ends the oldest.
pub const SESSIONS_MAX: usize = 20;

/// How a session began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Began {
    /// By a one-time link. Whoever got one may set a password without knowing the one in force.
    Link,
    /// By name and password.
    Password,
}

/// A session, as it is stored.
#[derive(Debug, Serialize, Deserialize)]
struct Session {
    account: AccountName,
    generation: u64,
    began: Began,
    began_at: Timestamp,
    expires_at: Timestamp,
}

impl Expiring for Session {
    const NAMESPACE: &str = "account-sessions";

    fn expires_at(&self) -> Timestamp {
        self.expires_at
    }
}

/// Begins a session under an id of its own; the answer is the `Set-Cookie` header. A session that the request came with ends.
pub(super) async fn begin(app: &App, account: &Account, began: Began, headers: &HeaderMap) -> Result<String, StoreError> {
    let (store, began_at) = (app.fleet.store(), app.now());
    end_presented(app, headers).await?;
    let ended = |session: &Session| session.account == account.name && !account.honours(session.generation);
    let mut own = expiring::sweep::<Session>(store, began_at, ended).await?;
    own.retain(|(_, _, session)| session.account == account.name);
    own.sort_unstable_by_key(|(_, _, session)| session.began_at);
    for (key, record, _) in own.iter().take((own.len() + 1).saturating_sub(SESSIONS_MAX)) {
        store.delete(Session::NAMESPACE, key, record.revision).await?;
    }
    let expires_at = began_at.saturating_add(SESSION_LIFETIME);
    let session = Session { account: account.name.clone(), generation: account.generation, began, began_at, expires_at };
    let id = Secret::new();
    expiring::insert(store, &id, &session).await?;
    Ok(cookie(&app.settings, id.expose(), SESSION_LIFETIME))
}

/// Ends the session of a request; the answer is the `Set-Cookie` header that forgets it.
///
/// # Errors
/// When the store fails.
pub async fn sign_out(app: &App, headers: &HeaderMap) -> Result<String, StoreError> {
    end_presented(app, headers).await?;
    Ok(cookie(&app.settings, "", Duration::ZERO))
}

/// Ends every session of an account, and answers how many there were. Stopped midway, some have ended.
///
/// # Errors
/// When the store fails.
pub(super) async fn end_all(store: &dyn Store, account: &AccountName, now: Timestamp) -> Result<usize, StoreError> {
    let before = expiring::sweep::<Session>(store, now, |_| false).await?.len();
    let after = expiring::sweep::<Session>(store, now, |session| session.account == *account).await?.len();
    Ok(before.saturating_sub(after))
}

/// How many sessions of an account there are.
pub(crate) async fn sessions_of(store: &dyn Store, account: &Account, now: Timestamp) -> Result<usize, StoreError> {
    let sessions = expiring::sweep::<Session>(store, now, |_| false).await?;
    let of_account = |session: &Session| session.account == account.name && account.honours(session.generation);
    Ok(sessions.iter().filter(|(_, _, session)| of_account(session)).count())
}

/// The operator whose session this is; none when it does not hold.
pub(super) async fn authenticate(app: &App, id: &Secret) -> Result<Option<Operator>, StoreError> {
    let store = app.fleet.store();
    let Some((_, session)) = expiring::find::<Session>(store, id).await? else { return Ok(None) };
    if session.expires_at <= app.now() {
        return Ok(None);
    }
    let account = account::account(store, &session.account).await?.filter(|account| account.honours(session.generation));
    Ok(account.map(|account| Operator {
        name: account.name.text().clone(),
        role: account.role,
        csrf: Some(csrf_token(id)),
        began: Some(session.began),
        expires_at: session.expires_at,
        account: account.name,
    }))
}

fn csrf_token(id: &Secret) -> String {
    Digest::of("redflag csrf v1", &[id.expose().as_bytes()]).to_string()
}

async fn end_presented(app: &App, headers: &HeaderMap) -> Result<(), StoreError> {
    let Presented::One(id) = presented(&app.settings, headers) else { return Ok(()) };
    if let Some((record, _)) = expiring::find::<Session>(app.fleet.store(), &id).await? {
        app.fleet.store().delete(Session::NAMESPACE, &expiring::key::<Session>(&id), record.revision).await?;
    }
    Ok(())
}

/// The name of the session cookie. The `__Host-` prefix makes browsers insist on `Secure` and refuse cookies planted by
/// neighbours; it is not possible without TLS.
#[must_use]
pub const fn session_cookie(settings: &Settings) -> &'static str {
    if settings.transport.encrypted() { "__Host-redflag_session" } else { "redflag_session" }
}

fn cookie(settings: &Settings, value: &str, lifetime: Duration) -> String {
    let name = session_cookie(settings);
    let secure = if settings.transport.encrypted() { "; Secure" } else { "" };
    format!("{name}={value}; Path=/; Max-Age={}; HttpOnly; SameSite=Strict{secure}", lifetime.as_secs())
}

/// What the cookies of a request say.
pub(super) enum Presented {
    /// Nothing about a session.
    Nothing,
    /// Something that cannot be a session: two cookies of one name, of which one was planted, or no id.
    Wrong,
    /// A session id, which may hold or not.
    One(Secret),
}

/// What a request presents as its session.
pub(super) fn presented(settings: &Settings, headers: &HeaderMap) -> Presented {
    let name = session_cookie(settings);
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut named =
        cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('=')).filter(|(key, _)| *key == name);
    match (named.next(), named.next()) {
        (None, _) => Presented::Nothing,
        (Some((_, value)), None) => Secret::presented(value).map_or(Presented::Wrong, Presented::One),
        (Some(_), Some(_)) => Presented::Wrong,
    }
}

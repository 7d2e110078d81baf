//! Operators: one-time sign-in links and sessions.
//!
//! Only SHA-256 digests of links and session ids are stored. A link is consumed by compare-and-delete, so that of two clicks one
//! wins. The CSRF token is computed from the session id, so it is as secret and lives exactly as long.

use crate::{
    app::{App, AppState},
    clock,
    ids::Secret,
    problem::Problem,
    settings::Settings,
};
use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header, request::Parts},
};
use redflag_core::{
    ids::Digest,
    names::Text,
    store::{Expected, Store, StoreError, StoreErrorKind},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr, time::Duration};

/// How long a sign-in link can be used.
const LINK_LIFETIME: Duration = Duration::from_secs(15 * 60);
/// How long a session lasts.
const SESSION_LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);
const LINKS: &str = "sign-in-links";
const SESSIONS: &str = "sessions";

/// What an operator may do; each role may do all that those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// See.
    Viewer,
    /// Also decide about updates.
    Approver,
    /// Everything.
    Admin,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Viewer => "viewer",
            Self::Approver => "approver",
            Self::Admin => "admin",
        })
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "viewer" => Ok(Self::Viewer),
            "approver" => Ok(Self::Approver),
            "admin" => Ok(Self::Admin),
            other => Err(format!("unknown role {other:?}; known are: viewer, approver, admin")),
        }
    }
}

/// The signed-in operator of a request.
///
/// As an extractor it is there on routes with [`super::Policy::Operator`] only.
#[derive(Clone, Debug)]
pub struct Operator {
    /// The account's name, as decisions record it.
    pub name: Text,
    /// What the operator may do.
    pub role: Role,
    /// The session's CSRF token, for the field `csrf` of forms and the header `x-csrf-token`.
    pub csrf: String,
    /// When the session ends.
    pub expires_at: Timestamp,
}

impl FromRequestParts<AppState> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _app: &AppState) -> Result<Self, Problem> {
        parts.extensions.get().cloned().ok_or_else(Problem::unauthorized)
    }
}

/// Who a sign-in link or a session is for, as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Grant {
    name: Text,
    role: Role,
    expires_at: Timestamp,
}

/// A sign-in link just made.
#[derive(Clone, Debug)]
pub struct SignInLink {
    /// What stands behind `/sign-in?token=`; shown once, not kept.
    pub token: Secret,
    /// When it ends.
    pub expires_at: Timestamp,
}

impl SignInLink {
    /// The link under the server's address.
    #[must_use]
    pub fn url(&self, server: &str) -> String {
        format!("{}/sign-in?token={}", server.trim_end_matches('/'), self.token.expose())
    }
}

/// Makes a link that signs `name` in once, within 15 minutes.
///
/// # Errors
/// When the store fails.
pub async fn issue_sign_in_link(store: &dyn Store, name: Text, role: Role) -> Result<SignInLink, StoreError> {
    let token = Secret::new();
    let expires_at = clock::now().saturating_add(LINK_LIFETIME);
    insert(store, LINKS, &token.at_rest(LINKS), &Grant { name, role, expires_at }).await?;
    Ok(SignInLink { token, expires_at })
}

/// Consumes a sign-in link and opens a session; the answer is the `Set-Cookie` header. None when the link is unknown, used or
/// expired.
///
/// # Errors
/// When the store fails.
pub async fn sign_in(app: &App, token: &str) -> Result<Option<String>, StoreError> {
    let Some(token) = Secret::presented(token) else { return Ok(None) };
    let (store, key) = (app.fleet.store(), token.at_rest(LINKS));
    let Some(record) = store.get(LINKS, &key).await? else { return Ok(None) };
    if !store.delete(LINKS, &key, record.revision).await? {
        return Ok(None);
    }
    let link = read(&record.value)?;
    if link.expires_at <= app.now() {
        return Ok(None);
    }
    forget_expired(store, LINKS, app.now()).await?;
    forget_expired(store, SESSIONS, app.now()).await?;
    let session = Secret::new();
    let expires_at = app.now().saturating_add(SESSION_LIFETIME);
    insert(store, SESSIONS, &session.at_rest(SESSIONS), &Grant { expires_at, ..link }).await?;
    tracing::info!("an operator signed in");
    Ok(Some(cookie(&app.settings, session.expose(), SESSION_LIFETIME)))
}

/// Ends the session of a request; the answer is the `Set-Cookie` header that forgets it.
///
/// # Errors
/// When the store fails.
pub async fn sign_out(app: &App, headers: &HeaderMap) -> Result<String, StoreError> {
    if let Some(session) = presented(&app.settings, headers) {
        let key = session.at_rest(SESSIONS);
        if let Some(record) = app.fleet.store().get(SESSIONS, &key).await? {
            app.fleet.store().delete(SESSIONS, &key, record.revision).await?;
        }
    }
    Ok(cookie(&app.settings, "", Duration::ZERO))
}

/// The operator whose session the request's cookie names; none without one that holds.
pub(super) async fn authenticate(app: &App, headers: &HeaderMap) -> Result<Option<Operator>, Problem> {
    let Some(session) = presented(&app.settings, headers) else { return Ok(None) };
    let Some(record) = app.fleet.store().get(SESSIONS, &session.at_rest(SESSIONS)).await? else { return Ok(None) };
    let Grant { name, role, expires_at } = read(&record.value)?;
    if expires_at <= app.now() {
        return Ok(None);
    }
    let csrf = Digest::of("redflag csrf v1", &[session.expose().as_bytes()]).to_string();
    Ok(Some(Operator { name, role, csrf, expires_at }))
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

fn presented(settings: &Settings, headers: &HeaderMap) -> Option<Secret> {
    let name = session_cookie(settings);
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut named =
        cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('=')).filter(|(key, _)| *key == name);
    let (_, value) = named.next()?;
    // Two cookies of one name: one of them was planted.
    if named.next().is_some() { None } else { Secret::presented(value) }
}

async fn insert(store: &dyn Store, namespace: &str, key: &str, grant: &Grant) -> Result<(), StoreError> {
    let value = serde_json::to_string(grant).expect("grants always serialise");
    match store.put(namespace, key, &value, Expected::Absent).await? {
        Some(_) => Ok(()),
        None => Err(StoreError::caused(StoreErrorKind::Corrupt, "a fresh secret of 256 bits is already stored")),
    }
}

/// Deletes what has expired, so that it does not pile up; what somebody else deletes meanwhile is gone as well.
async fn forget_expired(store: &dyn Store, namespace: &str, now: Timestamp) -> Result<(), StoreError> {
    const RECORDS_PER_READ: u32 = 100;
    let mut after: Option<String> = None;
    loop {
        let records = store.list(namespace, after.as_deref(), RECORDS_PER_READ).await?;
        for (key, record) in &records {
            if read(&record.value)?.expires_at <= now {
                store.delete(namespace, key, record.revision).await?;
            }
        }
        match records.into_iter().next_back() {
            Some((key, _)) => after = Some(key),
            None => return Ok(()),
        }
    }
}

fn read(value: &str) -> Result<Grant, StoreError> {
    serde_json::from_str(value).map_err(|error| StoreError::caused(StoreErrorKind::Corrupt, error))
}

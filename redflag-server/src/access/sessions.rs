//! Sessions of people in browsers.
//!
//! Only SHA-256 digests of session ids are stored. The CSRF token is computed from the session id, so it is as secret and lives
//! exactly as long.
//!
//! A session has two ends: one that nothing moves, and one for who does not use it. Its last use stands in its record, so that every
//! server process that shares the database knows it; it is noted once in a few minutes, not at each request.

use super::{
    account::{self, Account, AccountName},
    expiring::{self, Expiring},
    operator::Operator,
};
use crate::{app::App, ids::Secret, settings::Settings};
use axum::http::{HeaderMap, HeaderName, header};
use redflag_core::{
    ids::Digest,
    store::{Expected, Record, Store, StoreError},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long a session lasts at most.
pub const SESSION_LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);
/// How long a session lasts that nobody uses: as long as NIST SP 800-63B-4 allows at its second level.
pub const SESSION_IDLE_MAX: Duration = Duration::from_secs(60 * 60);
/// How exact the time of the last use is: noting each use would be a write for each request. A session ends that much too early at most.
const LAST_USE_STEP: Duration = Duration::from_secs(5 * 60);
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
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Session {
    account: AccountName,
    generation: u64,
    began: Began,
    began_at: Timestamp,
    expires_at: Timestamp,
    /// When it was used last, to [`LAST_USE_STEP`]; none until then.
    #[serde(default)]
    used_at: Option<Timestamp>,
}

impl Expiring for Session {
    const NAMESPACE: &str = "account-sessions";

    fn expires_at(&self) -> Timestamp {
        self.expires_at.min(self.used_at.unwrap_or(self.began_at).saturating_add(SESSION_IDLE_MAX))
    }
}

/// A session just begun.
pub(crate) struct NewSession {
    /// The `Set-Cookie` header.
    pub(crate) cookie: String,
    /// Its CSRF token.
    pub(crate) csrf: String,
}

/// Begins a session under an id of its own. A session that the request came with ends.
pub(super) async fn begin(app: &App, account: &Account, began: Began, headers: &HeaderMap) -> Result<NewSession, StoreError> {
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
    let session = Session { account: account.name.clone(), generation: account.generation, began, began_at, expires_at, used_at: None };
    let id = Secret::new();
    expiring::insert(store, &id, &session).await?;
    Ok(NewSession { cookie: cookie(&app.settings, id.expose(), SESSION_LIFETIME), csrf: csrf_token(&id) })
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

/// The operator whose session this is; none when it does not hold. That is a use of it.
pub(super) async fn authenticate(app: &App, id: &Secret) -> Result<Option<Operator>, StoreError> {
    used(app.fleet.store(), id, app.now()).await
}

async fn used(store: &dyn Store, id: &Secret, now: Timestamp) -> Result<Option<Operator>, StoreError> {
    let Some((record, session)) = expiring::find::<Session>(store, id).await? else { return Ok(None) };
    if session.expires_at() <= now {
        return Ok(None);
    }
    let account = account::account(store, &session.account).await?.filter(|account| account.honours(session.generation));
    let Some(account) = account else { return Ok(None) };
    note_use(store, id, &record, &session, now).await?;
    Ok(Some(Operator {
        name: account.name.text().clone(),
        role: account.role,
        csrf: Some(csrf_token(id)),
        began: Some(session.began),
        expires_at: session.expires_at,
        second_factor: account.has_second_factor(),
        account: account.name,
    }))
}

async fn note_use(store: &dyn Store, id: &Secret, record: &Record, session: &Session, now: Timestamp) -> Result<(), StoreError> {
    if now < session.used_at.unwrap_or(session.began_at).saturating_add(LAST_USE_STEP) {
        return Ok(());
    }
    let used = Session { used_at: Some(now), ..session.clone() };
    // Whoever changed it meanwhile noted a use as well, or ended it; what has ended is not put back.
    store.put(Session::NAMESPACE, &expiring::key::<Session>(id), &expiring::json(&used), Expected::Revision(record.revision)).await?;
    Ok(())
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

/// What tells a browser to let go of what it keeps of pages. Not of cookies: those of other ports of the host would go with ours.
pub(crate) const CLEAR_SITE_DATA: (HeaderName, &str) = (HeaderName::from_static("clear-site-data"), "\"cache\", \"storage\"");

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Role, add_account};
    use redflag_core::{MemoryStore, store::RecordStore as _};

    /// A session that began at a time of the test's choosing.
    struct Opened {
        store: MemoryStore,
        id: Secret,
        began_at: Timestamp,
    }

    impl Opened {
        async fn new() -> Self {
            let (store, id, began_at) = (MemoryStore::new(), Secret::new(), "2026-11-26T08:00:00Z".parse().unwrap());
            let account = add_account(&store, "ada".parse().unwrap(), Role::Viewer).await.unwrap();
            let session = Session {
                account: account.name,
                generation: account.generation,
                began: Began::Password,
                began_at,
                expires_at: Timestamp::saturating_add(began_at, SESSION_LIFETIME),
                used_at: None,
            };
            expiring::insert(&store, &id, &session).await.unwrap();
            Self { store, id, began_at }
        }

        /// Whether it holds `after` its beginning.
        async fn holds(&self, after: Duration) -> bool {
            used(&self.store, &self.id, self.began_at.saturating_add(after)).await.unwrap().is_some()
        }

        async fn revision(&self) -> u64 {
            expiring::find::<Session>(&self.store, &self.id).await.unwrap().unwrap().0.revision
        }
    }

    const MINUTE: Duration = Duration::from_secs(60);
    const MOMENT: Duration = Duration::from_micros(1);

    #[tokio::test]
    async fn a_session_ends_an_hour_after_its_last_use_and_not_before() {
        let unused = Opened::new().await;
        assert!(!unused.holds(SESSION_IDLE_MAX).await, "at the hour it has ended");
        assert!(!unused.holds(SESSION_IDLE_MAX + MINUTE).await);
        let used = Opened::new().await;
        let last = SESSION_IDLE_MAX - MOMENT;
        assert!(used.holds(last).await, "a moment before the hour it holds, and that is a use");
        assert!(used.holds(last + SESSION_IDLE_MAX - MOMENT).await);
        assert!(!used.holds(last + SESSION_IDLE_MAX - MOMENT + SESSION_IDLE_MAX).await);
    }

    #[tokio::test]
    async fn no_use_prolongs_a_session_beyond_its_lifetime() {
        let session = Opened::new().await;
        let mut at = Duration::ZERO;
        while at + 30 * MINUTE < SESSION_LIFETIME {
            at += 30 * MINUTE;
            assert!(session.holds(at).await, "{at:?}");
        }
        assert!(session.holds(SESSION_LIFETIME - MOMENT).await);
        assert!(!session.holds(SESSION_LIFETIME).await);
    }

    #[tokio::test]
    async fn uses_are_written_down_once_in_five_minutes_and_never_bring_back_what_has_ended() {
        let session = Opened::new().await;
        let first = session.revision().await;
        for second in 0..300 {
            assert!(session.holds(Duration::from_secs(second)).await);
        }
        assert_eq!(session.revision().await, first, "five minutes of requests write nothing");
        assert!(session.holds(LAST_USE_STEP).await);
        let second = session.revision().await;
        assert_ne!(second, first);
        assert!(session.holds(LAST_USE_STEP - MINUTE).await, "a clock that went back");
        assert_eq!(session.revision().await, second);

        let (record, found) = expiring::find::<Session>(&session.store, &session.id).await.unwrap().unwrap();
        session.store.delete(Session::NAMESPACE, &expiring::key::<Session>(&session.id), record.revision).await.unwrap();
        let later = session.began_at.saturating_add(20 * MINUTE);
        note_use(&session.store, &session.id, &record, &found, later).await.unwrap();
        assert!(expiring::find::<Session>(&session.store, &session.id).await.unwrap().is_none(), "signed out in between");
    }
}

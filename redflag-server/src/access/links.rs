//! One-time sign-in links: the first way in, and the way back in.
//!
//! Only SHA-256 digests of links are stored. A link is consumed by compare-and-delete, so that of two clicks one wins.

use super::{
    account::{self, Account, AccountError, AccountName, Standing},
    expiring::{self, Expiring},
    role::Role,
};
use crate::{app::App, clock, ids::Secret};
use redflag_core::{
    audit::{
        AuditKind, FactName,
        entry::{By, Note},
    },
    store::{Store, StoreError},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long a sign-in link can be used.
const LINK_LIFETIME: Duration = Duration::from_secs(15 * 60);

/// A link, as it is stored.
#[derive(Debug, Serialize, Deserialize)]
struct Link {
    account: AccountName,
    generation: u64,
    expires_at: Timestamp,
}

impl Expiring for Link {
    const NAMESPACE: &str = "account-sign-in-links";

    fn expires_at(&self) -> Timestamp {
        self.expires_at
    }
}

/// A sign-in link just made.
#[derive(Clone, Debug)]
pub struct SignInLink {
    /// What stands behind `/sign-in#token=`; shown once, not kept.
    pub token: Secret,
    /// When it ends.
    pub expires_at: Timestamp,
}

impl SignInLink {
    /// The link under the server's address.
    #[must_use]
    pub fn url(&self, server: &str) -> String {
        format!("{}/sign-in#token={}", server.trim_end_matches('/'), self.token.expose())
    }
}

/// Makes a link that signs `name` in once, within 15 minutes. Where there is no such account it is made, with `role`, or as an
/// administrator's without one; the role of an account that is there never changes.
///
/// # Errors
/// When the account is disabled, has another role than the one asked for, cannot be made, or the store fails.
pub async fn issue_sign_in_link(store: &dyn Store, name: AccountName, role: Option<Role>) -> Result<SignInLink, AccountError> {
    let account = match account::account(store, &name).await? {
        Some(account) => account,
        None => account::add_account(store, name, role.unwrap_or(Role::Admin)).await?,
    };
    if account.standing == Standing::Disabled {
        return Err(AccountError::Disabled(account.name));
    }
    if role.is_some_and(|role| role != account.role) {
        return Err(AccountError::OtherRole { name: account.name, role: account.role });
    }
    let token = Secret::new();
    let expires_at = clock::now().saturating_add(LINK_LIFETIME);
    expiring::insert(store, &token, &Link { account: account.name, generation: account.generation, expires_at }).await?;
    Ok(SignInLink { token, expires_at })
}

/// What the audit log says of a link just made.
#[must_use]
pub fn link_note(by: By, name: &AccountName, role: Option<Role>, at: Timestamp) -> Note {
    Note::new(AuditKind::SignInLinkMade, by, at).with(FactName::Account, name).with_some(FactName::Role, role)
}

/// Whom a link signs in; none when it is unknown, used or expired, or the account changed since. Asking has no effect on it.
pub(super) async fn account(app: &App, token: &str) -> Result<Option<Account>, StoreError> {
    let Some(token) = Secret::presented(token) else { return Ok(None) };
    let Some((_, link)) = expiring::find::<Link>(app.fleet.store(), &token).await? else { return Ok(None) };
    if link.expires_at <= app.now() {
        return Ok(None);
    }
    Ok(account::account(app.fleet.store(), &link.account).await?.filter(|account| account.honours(link.generation)))
}

/// Consumes a link; whether it was there to be consumed, which it is for one of many who press its button at once.
pub(super) async fn consume(app: &App, token: &str) -> Result<bool, StoreError> {
    let (store, Some(token)) = (app.fleet.store(), Secret::presented(token)) else { return Ok(false) };
    let Some((record, _)) = expiring::find::<Link>(store, &token).await? else { return Ok(false) };
    let consumed = store.delete(Link::NAMESPACE, &expiring::key::<Link>(&token), record.revision).await?;
    expiring::sweep::<Link>(store, app.now(), |_| false).await?;
    Ok(consumed)
}

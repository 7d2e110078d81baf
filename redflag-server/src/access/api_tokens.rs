//! API tokens: what scripts and integrations carry instead of a session.
//!
//! A token is `redflag_` and 256 random bits, so that scanners of secrets recognise one that leaked; only its SHA-256 is stored. It
//! may do what its scopes *and* its account's role allow.

use super::{
    account::{self, Account, AccountError, AccountName},
    expiring::{self, Expiring},
    operator::Operator,
    role::Scope,
};
use crate::{app::App, clock, ids::Secret, problem::Problem};
use redflag_core::{
    names::Text,
    store::{Expected, Record, Store, StoreError},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt, time::Duration};

/// What every API token begins with.
pub const API_TOKEN_PREFIX: &str = "redflag_";
/// Longest life of an API token.
pub const API_TOKEN_LIFETIME_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);
/// Most API tokens of one account.
pub const API_TOKENS_MAX: usize = 20;
/// How exact the time of the last use is: noting each use would be a write for each request.
const LAST_USE_STEP: Duration = Duration::from_secs(60 * 60);
/// Characters of the record's key that are the token's id: 64 bits of a digest, which tell nothing of the token.
const ID_CHARACTERS: usize = 16;

/// What a new API token allows.
#[derive(Clone, Debug)]
pub struct ApiTokenOptions {
    /// Whose it is.
    pub account: AccountName,
    /// What it is for, in the words of its owner.
    pub label: Text,
    /// What it may do; at least one.
    pub scopes: BTreeSet<Scope>,
    /// For how long, at most [`API_TOKEN_LIFETIME_MAX`].
    pub expires_in: Duration,
}

/// A token, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stored {
    account: AccountName,
    generation: u64,
    label: Text,
    scopes: BTreeSet<Scope>,
    created_at: Timestamp,
    expires_at: Timestamp,
    last_used_at: Option<Timestamp>,
}

impl Expiring for Stored {
    const NAMESPACE: &str = "api-tokens";

    fn expires_at(&self) -> Timestamp {
        self.expires_at
    }
}

/// An API token, as it is listed: everything but the token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ApiToken {
    /// What names it: 16 hexadecimal digits.
    pub id: String,
    /// Whose it is.
    pub account: AccountName,
    /// What it is for.
    pub label: Text,
    /// What it may do.
    pub scopes: BTreeSet<Scope>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// When it was used last, to the hour; none if never.
    pub last_used_at: Option<Timestamp>,
}

impl ApiToken {
    fn of(key: &str, stored: Stored) -> Self {
        let Stored { account, label, scopes, created_at, expires_at, last_used_at, .. } = stored;
        Self { id: id_of(key).to_owned(), account, label, scopes, created_at, expires_at, last_used_at }
    }
}

/// An API token just made, with the secret itself.
#[derive(Clone)]
pub struct NewApiToken {
    secret: Secret,
    /// How it is listed.
    pub listed: ApiToken,
}

impl NewApiToken {
    /// The token, for its owner; shown once, not kept.
    #[must_use]
    pub fn expose(&self) -> String {
        format!("{API_TOKEN_PREFIX}{}", self.secret.expose())
    }
}

impl fmt::Debug for NewApiToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewApiToken").field("listed", &self.listed).finish_non_exhaustive()
    }
}

/// Makes a token. Its life is brought within [`API_TOKEN_LIFETIME_MAX`].
///
/// # Errors
/// When there is no such account, it is disabled, it has [`API_TOKENS_MAX`] tokens, or the store fails.
pub async fn issue_api_token(store: &dyn Store, options: ApiTokenOptions) -> Result<NewApiToken, AccountError> {
    let ApiTokenOptions { account: name, label, scopes, expires_in } = options;
    let Account { name, generation, standing, .. } =
        account::account(store, &name).await?.ok_or_else(|| AccountError::Unknown(name.clone()))?;
    if standing == account::Standing::Disabled {
        return Err(AccountError::Disabled(name));
    }
    let created_at = clock::now();
    let dead = |token: &Stored| token.account == name && token.generation != generation;
    let own = expiring::sweep::<Stored>(store, created_at, dead).await?;
    if own.iter().filter(|(_, _, token)| token.account == name).count() >= API_TOKENS_MAX {
        return Err(AccountError::TooManyTokens { name, max: API_TOKENS_MAX });
    }
    let expires_at = created_at.saturating_add(expires_in.min(API_TOKEN_LIFETIME_MAX));
    let stored = Stored { account: name, generation, label, scopes, created_at, expires_at, last_used_at: None };
    let secret = Secret::new();
    expiring::insert(store, &secret, &stored).await?;
    let listed = ApiToken::of(&expiring::key::<Stored>(&secret), stored);
    Ok(NewApiToken { secret, listed })
}

/// The tokens that work: of one account, or of all; the newest first.
///
/// # Errors
/// When the store fails.
pub async fn api_tokens(store: &dyn Store, of: Option<&AccountName>) -> Result<Vec<ApiToken>, StoreError> {
    let mut found = Vec::new();
    let stored = expiring::sweep::<Stored>(store, clock::now(), |_| false).await?;
    let accounts = account::accounts(store).await?;
    let works = |token: &Stored| accounts.iter().any(|account| account.name == token.account && account.honours(token.generation));
    for (key, _, token) in stored {
        if of.is_none_or(|account| account.key() == token.account.key()) && works(&token) {
            found.push(ApiToken::of(&key, token));
        }
    }
    found.sort_by_key(|token| std::cmp::Reverse(token.created_at));
    Ok(found)
}

/// Revokes a token, of one account or of any, and answers what it was; none when there is no such token, or it is another's.
///
/// # Errors
/// When the store fails.
pub async fn revoke_api_token(store: &dyn Store, of: Option<&AccountName>, id: &str) -> Result<Option<ApiToken>, StoreError> {
    let hexadecimal = id.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if id.len() != ID_CHARACTERS || !hexadecimal {
        return Ok(None);
    }
    loop {
        // A key begins with the id and is longer, so it is the next one after it.
        let next = store.list(Stored::NAMESPACE, Some(id), 1).await?.pop();
        let Some((key, record)) = next.filter(|(key, _)| key.starts_with(id)) else { return Ok(None) };
        let token: Stored = expiring::read(&record.value)?;
        if of.is_some_and(|account| account.key() != token.account.key()) {
            return Ok(None);
        }
        // A lost turn means that its use was noted, or that somebody else revoked it.
        if store.delete(Stored::NAMESPACE, &key, record.revision).await? {
            return Ok(Some(ApiToken::of(&key, token)));
        }
    }
}

/// The operator a token stands for, on a route that needs `scope`; without one the route is for people only.
///
/// # Errors
/// 401 when the token does not hold, 403 when it does not reach that far, 503 when the store fails.
pub(super) async fn authenticate(app: &App, presented: &str, scope: Option<Scope>) -> Result<Operator, Problem> {
    let unknown = || Problem::unauthorized().because("no such API token is known");
    let secret = presented.strip_prefix(API_TOKEN_PREFIX).and_then(Secret::presented).ok_or_else(unknown)?;
    let (store, now) = (app.fleet.store(), app.now());
    let (record, token) = expiring::find::<Stored>(store, &secret).await?.ok_or_else(unknown)?;
    let key = expiring::key::<Stored>(&secret);
    let of_token = |problem: Problem, why: &str| problem.because(format!("{why}: API token {} of {}", id_of(&key), token.account));
    if token.expires_at <= now {
        return Err(of_token(Problem::unauthorized(), "it has expired"));
    }
    let account = account::account(store, &token.account).await?.filter(|account| account.honours(token.generation));
    let account = account.ok_or_else(|| of_token(Problem::unauthorized(), "its account changed since"))?;
    let beyond = match scope {
        None => Some("this is for people who are signed in; no API token reaches it".to_owned()),
        Some(scope) if !token.scopes.contains(&scope) => Some(format!("this needs an API token with the scope {scope}")),
        Some(_) => None,
    };
    if let Some(detail) = beyond {
        return Err(of_token(Problem::forbidden("scope", detail.clone()), &detail));
    }
    note_use(store, &secret, &record, &token, now).await?;
    Ok(Operator {
        name: account.name.text().clone(),
        role: account.role,
        csrf: None,
        began: None,
        expires_at: token.expires_at,
        second_factor: account.has_second_factor(),
        account: account.name,
    })
}

async fn note_use(store: &dyn Store, secret: &Secret, record: &Record, token: &Stored, now: Timestamp) -> Result<(), StoreError> {
    if token.last_used_at.is_some_and(|noted| now < noted.saturating_add(LAST_USE_STEP)) {
        return Ok(());
    }
    let used = Stored { last_used_at: Some(now), ..token.clone() };
    // Whoever changed it meanwhile noted a use as well, or revoked it.
    store.put(Stored::NAMESPACE, &expiring::key::<Stored>(secret), &expiring::json(&used), Expected::Revision(record.revision)).await?;
    Ok(())
}

fn id_of(key: &str) -> &str {
    &key[..ID_CHARACTERS]
}

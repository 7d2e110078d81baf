//! Accounts: who operators are, what they may do, and whether they may sign in.
//!
//! An account is never deleted, because decisions name it for ever and a second person of that name would inherit them; it is
//! disabled. Every change of role, password, second factor or standing raises its generation, and what was made under an earlier one (links,
//! sessions, API tokens) ends with the next request, in every process.

use super::{
    password::PasswordHash,
    role::Role,
    second_factor::{SecondFactor, Used},
};
use crate::{clock, problem::Problem};
use axum::http::StatusCode;
use redflag_core::{
    names::Text,
    store::{Expected, Store, StoreError, StoreErrorKind},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Longest name of an account, in bytes.
pub const ACCOUNT_NAME_BYTES_MAX: usize = 64;
/// Most accounts of one fleet.
pub const ACCOUNTS_MAX: usize = 1_000;
const ACCOUNTS: &str = "accounts";
const RECORDS_PER_READ: u32 = 100;

/// The name of an account: 1 to [`ACCOUNT_NAME_BYTES_MAX`] ASCII letters, digits, `.`, `_`, `-` and `@`, a letter or digit first.
///
/// Names that differ in case only are one account's, so that nobody signs as somebody who looks the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Text", into = "Text")]
pub struct AccountName(Text);

impl AccountName {
    /// The name of the account that a first start makes.
    #[must_use]
    pub fn first() -> Self {
        Self(Text::lossy("operator"))
    }

    /// The name, as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The name, as decisions record it.
    #[must_use]
    pub fn text(&self) -> &Text {
        &self.0
    }

    /// Under which its record is kept.
    pub(super) fn key(&self) -> String {
        self.as_str().to_ascii_lowercase()
    }
}

impl FromStr for AccountName {
    type Err = String;

    fn from_str(written: &str) -> Result<Self, String> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-@".contains(&byte);
        let kept = (1..=ACCOUNT_NAME_BYTES_MAX).contains(&written.len())
            && written.as_bytes()[0].is_ascii_alphanumeric()
            && written.bytes().all(allowed);
        let quoted = || redflag_core::rejection::quoted(written);
        let rule =
            || format!("{} is not 1 to {ACCOUNT_NAME_BYTES_MAX} letters, digits, '.', '_', '-' or '@', a letter or digit first", quoted());
        if kept { Ok(Self(Text::lossy(written))) } else { Err(rule()) }
    }
}

impl TryFrom<Text> for AccountName {
    type Error = String;

    fn try_from(text: Text) -> Result<Self, String> {
        text.as_str().parse()
    }
}

impl From<AccountName> for Text {
    fn from(name: AccountName) -> Self {
        name.0
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Whether an account may sign in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It may.
    Enabled,
    /// It may not, and nothing made for it works.
    Disabled,
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its name.
    pub name: AccountName,
    /// What it may do.
    pub role: Role,
    /// Whether it may sign in.
    pub standing: Standing,
    /// When it was made.
    pub created_at: Timestamp,
    /// The hash of its password; none until one was set.
    pub(super) password: Option<PasswordHash>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) second_factor: Option<SecondFactor>,
    pub(super) generation: u64,
}

impl Account {
    /// Whether it has a password; without one it signs in by a link.
    #[must_use]
    pub fn has_password(&self) -> bool {
        self.password.is_some()
    }

    /// Whether signing in takes a code of its second factor too.
    #[must_use]
    pub fn has_second_factor(&self) -> bool {
        self.second_factor.is_some()
    }

    /// Whether what was made for it under `generation` still works.
    pub(super) fn honours(&self, generation: u64) -> bool {
        self.standing == Standing::Enabled && self.generation == generation
    }
}

/// Why something about an account was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccountError {
    /// There is none of that name.
    #[error("there is no account {0}")]
    Unknown(AccountName),
    /// There is one of that name already.
    #[error("there is an account {0} already")]
    Exists(AccountName),
    /// There are [`ACCOUNTS_MAX`] accounts.
    #[error("there are {ACCOUNTS_MAX} accounts already, which is the limit")]
    Full,
    /// It is disabled.
    #[error("the account {0} is disabled")]
    Disabled(AccountName),
    /// A link was asked for with another role than the account has.
    #[error("the account {name} has the role {role}, which a sign-in link does not change")]
    OtherRole {
        /// The account.
        name: AccountName,
        /// Its role.
        role: Role,
    },
    /// It has as many API tokens as an account may have.
    #[error("the account {name} has {max} API tokens already, which is the limit")]
    TooManyTokens {
        /// The account.
        name: AccountName,
        /// The limit.
        max: usize,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<AccountError> for Problem {
    fn from(error: AccountError) -> Self {
        let (status, code) = match &error {
            AccountError::Unknown(_) => (StatusCode::NOT_FOUND, "not_found"),
            AccountError::Exists(_) => (StatusCode::CONFLICT, "account_exists"),
            AccountError::Full => (StatusCode::CONFLICT, "too_many_accounts"),
            AccountError::Disabled(_) => (StatusCode::CONFLICT, "account_disabled"),
            AccountError::OtherRole { .. } => (StatusCode::CONFLICT, "other_role"),
            AccountError::TooManyTokens { .. } => (StatusCode::CONFLICT, "too_many_tokens"),
            AccountError::Store(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        };
        match error {
            AccountError::Store(error) => error.into(),
            error => Self::new(status, code, error.to_string()),
        }
    }
}

/// The account of this name.
///
/// # Errors
/// When the store fails.
pub async fn account(store: &dyn Store, name: &AccountName) -> Result<Option<Account>, StoreError> {
    let record = store.get(ACCOUNTS, &name.key()).await?;
    record.map(|record| read(&record.value)).transpose()
}

/// Every account, in the order of their names.
///
/// # Errors
/// When the store fails.
pub async fn accounts(store: &dyn Store) -> Result<Vec<Account>, StoreError> {
    let mut found = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let records = store.list(ACCOUNTS, after.as_deref(), RECORDS_PER_READ).await?;
        for (_, record) in &records {
            found.push(read(&record.value)?);
        }
        match records.into_iter().next_back() {
            Some((key, _)) => after = Some(key),
            None => return Ok(found),
        }
    }
}

/// Makes an account, without a password: a sign-in link opens it, or [`set_password`] gives it one.
///
/// # Errors
/// When there is one of that name, there are [`ACCOUNTS_MAX`], or the store fails.
pub async fn add_account(store: &dyn Store, name: AccountName, role: Role) -> Result<Account, AccountError> {
    if accounts(store).await?.len() >= ACCOUNTS_MAX {
        return Err(AccountError::Full);
    }
    let account =
        Account { name, role, standing: Standing::Enabled, created_at: clock::now(), password: None, second_factor: None, generation: 1 };
    match store.put(ACCOUNTS, &account.name.key(), &json(&account), Expected::Absent).await? {
        Some(_) => Ok(account),
        None => Err(AccountError::Exists(account.name)),
    }
}

/// Gives an account another role.
///
/// # Errors
/// When there is no such account or the store fails.
pub async fn set_role(store: &dyn Store, name: &AccountName, role: Role) -> Result<Account, AccountError> {
    change(store, name, |account| account.role = role).await
}

/// Disables an account, or enables it again. What was made for it before does not come back.
///
/// # Errors
/// When there is no such account or the store fails.
pub async fn set_standing(store: &dyn Store, name: &AccountName, standing: Standing) -> Result<Account, AccountError> {
    change(store, name, |account| account.standing = standing).await
}

/// Gives an account a password, the only one it has from then on.
///
/// # Errors
/// When there is no such account or the store fails.
pub async fn set_password(store: &dyn Store, name: &AccountName, password: &PasswordHash) -> Result<Account, AccountError> {
    change(store, name, |account| account.password = Some(password.clone())).await
}

/// Gives an account a second factor, the only one it has from then on, or takes it away.
///
/// # Errors
/// When there is no such account or the store fails.
pub(super) async fn set_second_factor(
    store: &dyn Store,
    name: &AccountName,
    factor: Option<&SecondFactor>,
) -> Result<Account, AccountError> {
    change(store, name, |account| account.second_factor = factor.cloned()).await
}

/// Takes the second factor of an account away, for who cannot show a code any more.
///
/// # Errors
/// When there is no such account or the store fails.
pub async fn remove_second_factor(store: &dyn Store, name: &AccountName) -> Result<Account, AccountError> {
    set_second_factor(store, name, None).await
}

/// Uses a code of an account's second factor up; none when it does not hold, or the account has no second factor. Nothing ends by it.
pub(super) async fn use_code(store: &dyn Store, name: &AccountName, code: &str, now: Timestamp) -> Result<Option<Used>, StoreError> {
    loop {
        let Some(record) = store.get(ACCOUNTS, &name.key()).await? else { return Ok(None) };
        let account = read(&record.value)?;
        let Some((factor, used)) = account.second_factor.as_ref().and_then(|factor| factor.after(code, now)) else { return Ok(None) };
        let spent = Account { second_factor: Some(factor), ..account };
        // A lost turn means that another change got through: that code may be used by now.
        if store.put(ACCOUNTS, &name.key(), &json(&spent), Expected::Revision(record.revision)).await?.is_some() {
            return Ok(Some(used));
        }
    }
}

/// Replaces the hash `old` of a password by another hash of the same password; nothing else changes, and nothing ends by it.
pub(super) async fn refresh_hash(store: &dyn Store, name: &AccountName, old: &PasswordHash, new: PasswordHash) -> Result<(), StoreError> {
    let Some(record) = store.get(ACCOUNTS, &name.key()).await? else { return Ok(()) };
    let account = read(&record.value)?;
    if account.password.as_ref() == Some(old) {
        let refreshed = Account { password: Some(new), ..account };
        // Whoever changed the account meanwhile is right; the next sign-in tries again.
        store.put(ACCOUNTS, &name.key(), &json(&refreshed), Expected::Revision(record.revision)).await?;
    }
    Ok(())
}

/// Changes an account by compare-and-set, and raises its generation if that changed anything.
async fn change(store: &dyn Store, name: &AccountName, change: impl Fn(&mut Account)) -> Result<Account, AccountError> {
    loop {
        let record = store.get(ACCOUNTS, &name.key()).await?.ok_or_else(|| AccountError::Unknown(name.clone()))?;
        let before = read(&record.value)?;
        let mut account = before.clone();
        change(&mut account);
        if account == before {
            return Ok(account);
        }
        account.generation += 1;
        // A lost turn means that another change got through.
        if store.put(ACCOUNTS, &name.key(), &json(&account), Expected::Revision(record.revision)).await?.is_some() {
            return Ok(account);
        }
    }
}

fn read(value: &str) -> Result<Account, StoreError> {
    serde_json::from_str(value).map_err(|error| StoreError::caused(StoreErrorKind::Corrupt, error))
}

fn json(account: &Account) -> String {
    serde_json::to_string(account).expect("accounts always serialise")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::FactorSecret;
    use redflag_core::memory::MemoryStore;
    use std::sync::Barrier;

    #[test]
    fn names_are_short_and_plain() {
        let longest = "a".repeat(ACCOUNT_NAME_BYTES_MAX);
        for name in ["a", "Ada", "ada.lovelace@example.org", "ci_bot-2", "0", &longest] {
            assert_eq!(name.parse::<AccountName>().unwrap().as_str(), name);
        }
        for name in ["", " ada", "ada ", ".", "-a", "@a", "a/b", "a b", "adä", "a\0", "a\n", &format!("{longest}a")] {
            assert!(name.parse::<AccountName>().is_err(), "{name:?}");
        }
    }

    #[tokio::test]
    async fn names_that_differ_in_case_only_are_one_accounts() {
        let store = MemoryStore::default();
        add_account(&store, "Ada".parse().unwrap(), Role::Viewer).await.unwrap();
        let again = add_account(&store, "aDA".parse().unwrap(), Role::Admin).await.unwrap_err();
        assert!(matches!(again, AccountError::Exists(_)), "{again}");
        assert_eq!(account(&store, &"ADA".parse().unwrap()).await.unwrap().unwrap().name.as_str(), "Ada");
    }

    #[tokio::test]
    async fn every_change_raises_the_generation_and_no_change_does_not() {
        let store = MemoryStore::default();
        let name: AccountName = "ada".parse().unwrap();
        let made = add_account(&store, name.clone(), Role::Viewer).await.unwrap();
        assert_eq!(set_role(&store, &name, Role::Viewer).await.unwrap(), made);
        let approver = set_role(&store, &name, Role::Approver).await.unwrap();
        assert!(!approver.honours(made.generation) && approver.honours(approver.generation));
        let disabled = set_standing(&store, &name, Standing::Disabled).await.unwrap();
        assert!(!disabled.honours(disabled.generation));
        let enabled = set_standing(&store, &name, Standing::Enabled).await.unwrap();
        assert!(!enabled.honours(approver.generation), "what was made before does not come back");
    }

    /// Four at once, on threads of their own, for each recovery code of a hundred second factors.
    #[test]
    fn of_many_who_use_one_code_at_once_one_succeeds() {
        const THREADS: usize = 4;
        let runtime = || tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (store, name, now) = (MemoryStore::default(), "ada".parse::<AccountName>().unwrap(), clock::now());
        runtime().block_on(add_account(&store, name.clone(), Role::Viewer)).unwrap();
        for _ in 0..100 {
            let secret = FactorSecret::new();
            let (factor, codes) = SecondFactor::begin(secret.clone(), &secret.code(now), now).unwrap();
            let made = runtime().block_on(set_second_factor(&store, &name, Some(&factor))).unwrap();
            let start = Barrier::new(THREADS);
            let tries = || {
                let (runtime, mut used) = (runtime(), 0);
                for code in &codes {
                    start.wait();
                    used += usize::from(runtime.block_on(use_code(&store, &name, code, now)).unwrap().is_some());
                }
                used
            };
            let used: usize = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(tries)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).sum()
            });
            assert_eq!(used, codes.len(), "each code was taken once");
            let spent = runtime().block_on(account(&store, &name)).unwrap().unwrap();
            assert_eq!(spent.generation, made.generation, "signing in ends nothing");
        }
    }

    #[tokio::test]
    async fn accounts_have_a_limit() {
        let store = MemoryStore::default();
        for number in 0..ACCOUNTS_MAX {
            let account = Account {
                name: format!("a{number}").parse().unwrap(),
                role: Role::Viewer,
                standing: Standing::Enabled,
                created_at: Timestamp::MAX,
                password: None,
                second_factor: None,
                generation: 1,
            };
            store_put(&store, &account).await;
            if number + 2 == ACCOUNTS_MAX {
                add_account(&store, "last".parse().unwrap(), Role::Viewer).await.unwrap();
            }
        }
        let over = add_account(&store, "over".parse().unwrap(), Role::Viewer).await.unwrap_err();
        assert!(matches!(over, AccountError::Full), "{over}");
    }

    async fn store_put(store: &MemoryStore, account: &Account) {
        use redflag_core::store::RecordStore as _;
        store.put(ACCOUNTS, &account.name.key(), &json(account), Expected::Absent).await.unwrap();
    }
}

//! Keys of people, as this server lists them: who may sign, with which keys, and which of them were revoked.
//!
//! Only public keys are here. The list decides what is taken and handed out; what a host does is decided by the list in that host's own
//! policy. A revoked key stays listed as revoked, so that nobody lists it again by mistake.

use crate::{
    access::{self, AccountName, Standing},
    audit::AuditLog,
    clock,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use redflag_core::{
    Fleet,
    audit::{
        AuditKind, FactName,
        entry::{By, Note},
    },
    command::{
        payload::SigningMode,
        people::People,
        record::CommandRecord,
        step::Step,
        verify::{InvalidKey, PinnedKey},
    },
    ids::{AgentId, Digest},
    names::Text,
    query::{CommandFilter, CommandQuery, PageSize},
    signing,
    store::{Expected, Record, Store, StoreError, StoreErrorKind},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt, str::FromStr};

/// Most keys that are listed, with those that were revoked.
pub const KEYS_MAX: usize = 1_000;

const NAMESPACE: &str = "people-keys";
const KEYS_PER_READ: u32 = 100;

/// The public half of a person's key: a sound one, whatever it was read from.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PersonKey([u8; 32]);

impl PersonKey {
    /// The key with these 32 bytes.
    ///
    /// # Errors
    /// When they are no Ed25519 key whose signatures prove anything.
    pub fn new(bytes: [u8; 32]) -> Result<Self, InvalidKey> {
        PinnedKey::new(&bytes, SigningMode::OperatorSigns).map(|_| Self(bytes))
    }

    /// Its [`signing::key_id`].
    #[must_use]
    pub fn id(&self) -> Digest {
        signing::key_id(&self.0)
    }

    /// Its [`signing::fingerprint`].
    #[must_use]
    pub fn fingerprint(&self) -> String {
        signing::fingerprint(&self.0)
    }

    /// What root adds to the policy of a host that is to do what this key signs, as `person`'s.
    #[must_use]
    pub fn policy_block(&self, person: &AccountName) -> String {
        let (mode, public_key) = (SigningMode::OperatorSigns, Digest::from_bytes(self.0));
        // Names of accounts hold nothing that TOML gives a meaning.
        format!("[[signer]]\nname = \"{person}\"\nmode = \"{mode}\"\npublic_key = \"{public_key}\"")
    }
}

/// In base64.
impl fmt::Display for PersonKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PersonKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PersonKey").field(&self.fingerprint()).finish()
    }
}

impl FromStr for PersonKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "must be the 32 bytes of an Ed25519 public key, in base64".to_owned();
        let bytes: [u8; 32] = STANDARD.decode(text).map_err(|_| wrong())?.try_into().map_err(|_| wrong())?;
        Self::new(bytes).map_err(|error| error.to_string())
    }
}

impl TryFrom<String> for PersonKey {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<PersonKey> for String {
    fn from(key: PersonKey) -> Self {
        key.to_string()
    }
}

/// A key as it is listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedKey {
    /// Whose it is.
    pub person: AccountName,
    /// The key.
    pub public_key: PersonKey,
    /// What tells it from the person's other keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<Text>,
    /// Who listed it.
    pub listed_by: Text,
    /// When.
    pub listed_at: Timestamp,
    /// That it does not count any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Revocation>,
}

/// That a key does not count any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// Who revoked it.
    pub by: Text,
    /// When.
    pub at: Timestamp,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Text>,
}

/// A key that is to be listed.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// Whose it is.
    pub person: AccountName,
    /// The key.
    pub public_key: PersonKey,
    /// What tells it from the person's other keys.
    pub label: Option<Text>,
    /// Who lists it.
    pub by: By,
}

/// Why a key is not listed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Nobody has this name.
    #[error("there is no account {0}")]
    NoAccount(AccountName),
    /// It is somebody else's.
    #[error("the key {id} is listed for {person} already")]
    Taken {
        /// The key.
        id: Digest,
        /// Whose it is.
        person: AccountName,
    },
    /// It was revoked, which is for good.
    #[error("the key {0} was revoked, and a revoked key is not listed again: make another one")]
    Revoked(Digest),
    /// There are too many.
    #[error("{KEYS_MAX} keys are listed already")]
    TooMany,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Every listed key with those that were revoked, by person, the oldest first.
///
/// # Errors
/// When the store fails.
pub async fn keys(store: &dyn Store) -> Result<Vec<ListedKey>, StoreError> {
    let mut found: Vec<ListedKey> = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let records = store.list(NAMESPACE, after.as_deref(), KEYS_PER_READ).await?;
        for (_, record) in &records {
            found.push(read(record)?);
        }
        match records.into_iter().next_back() {
            Some((key, _)) => after = Some(key),
            None => break,
        }
    }
    found.sort_by(|a, b| (&a.person, a.listed_at).cmp(&(&b.person, b.listed_at)));
    Ok(found)
}

/// The keys that count now: not revoked, and of accounts that are enabled.
///
/// # Errors
/// When the store fails.
pub async fn counting(store: &dyn Store) -> Result<People, StoreError> {
    let accounts = access::accounts(store).await?;
    let enabled = |name: &AccountName| accounts.iter().any(|account| account.name == *name && account.standing == Standing::Enabled);
    let keys = keys(store).await?;
    keys.into_iter().filter(|key| key.revoked.is_none() && enabled(&key.person)).try_fold(People::default(), |people, key| {
        people.with(key.person.into(), &key.public_key.0).map_err(|error| StoreError::caused(StoreErrorKind::Corrupt, error))
    })
}

/// Lists a key, and puts it down in the log. The same again changes nothing.
///
/// # Errors
/// [`KeyError`]; nothing is listed then, unless it is the log that failed.
pub async fn list(log: &AuditLog, new: NewKey) -> Result<ListedKey, KeyError> {
    let NewKey { person, public_key, label, by } = new;
    let store = log.fleet().store();
    let id = public_key.id();
    // As the account is written: names differ by more than capitals.
    let person = access::account(store, &person).await?.ok_or(KeyError::NoAccount(person))?.name;
    let listed = ListedKey { person, public_key, label, listed_by: name(&by), listed_at: clock::now(), revoked: None };
    if keys(store).await?.len() >= KEYS_MAX {
        return Err(KeyError::TooMany);
    }
    if store.put(NAMESPACE, &id.to_string(), &json(&listed), Expected::Absent).await?.is_some() {
        tracing::info!(person = listed.person.as_str(), key_id = %id, by = listed.listed_by.as_str(), "a person's key is listed");
        log.note(note(AuditKind::SignerListed, by, &listed, listed.listed_at)).await?;
        return Ok(listed);
    }
    match find(store, id).await? {
        Some((known, _)) if known.revoked.is_some() => Err(KeyError::Revoked(id)),
        Some((known, _)) if known.person != listed.person => Err(KeyError::Taken { id, person: known.person }),
        Some((known, _)) => Ok(known),
        None => Err(StoreError::caused(StoreErrorKind::Corrupt, "a key that was listed a moment ago is gone").into()),
    }
}

/// Revokes a key for good, puts that down in the log, and takes back what only it signed. One that was revoked stays as it is, and is answered; none when no such key
/// is listed.
///
/// # Errors
/// When the store fails.
///
/// # Cancel safety
/// A key that was revoked may have commands left that wait with its signature: none of them is handed out or begun.
pub async fn revoke(log: &AuditLog, id: Digest, by: By, reason: Option<Text>) -> Result<Option<ListedKey>, StoreError> {
    let (fleet, store) = (log.fleet(), log.fleet().store());
    let revoked = loop {
        let Some((key, record)) = find(store, id).await? else { return Ok(None) };
        if key.revoked.is_some() {
            break key;
        }
        let (at, reason) = (clock::now(), reason.clone());
        let revocation = Revocation { by: name(&by), at, reason: reason.clone() };
        let key = ListedKey { revoked: Some(revocation), ..key };
        if store.put(NAMESPACE, &id.to_string(), &json(&key), Expected::Revision(record.revision)).await?.is_some() {
            tracing::warn!(person = key.person.as_str(), key_id = %id, %by, "a person's key is revoked");
            log.note(note(AuditKind::SignerRevoked, by, &key, at).with_some(FactName::Reason, reason)).await?;
            break key;
        }
    };
    recall_all(fleet).await?;
    Ok(Some(revoked))
}

/// Whether commands bear the signatures they need, of keys that count now. Where the server signs, they need none.
///
/// # Errors
/// When the store fails.
pub(crate) async fn suffice(store: &dyn Store, commands: &[CommandRecord]) -> Result<bool, StoreError> {
    if commands.iter().all(|record| record.terms.mode == SigningMode::ServerSigns) {
        return Ok(true);
    }
    let people = counting(store).await?;
    Ok(commands.iter().all(|record| people.suffice(record)))
}

/// Takes back what an agent has been given or waits for it, and lacks signatures that count.
///
/// # Errors
/// When the store fails.
pub(crate) async fn recall(fleet: &Fleet, agent: AgentId) -> Result<(), StoreError> {
    let people = counting(fleet.store()).await?;
    for record in fleet.command(agent, Step::Recall { people }, clock::now()).await? {
        tracing::warn!(%agent, command = %record.id, state = %record.state, "a key that signed this command does not count any more");
    }
    Ok(())
}

fn note(kind: AuditKind, by: By, key: &ListedKey, at: Timestamp) -> Note {
    Note::new(kind, by, at).with(FactName::Account, &key.person).with(FactName::KeyId, key.public_key.id())
}

/// The name the list records.
fn name(by: &By) -> Text {
    match by {
        By::Operator { name } | By::CommandLine { name } => name.clone(),
        By::Agent { .. } | By::Server | By::Stranger => Text::lossy(&by.to_string()),
    }
}

async fn recall_all(fleet: &Fleet) -> Result<(), StoreError> {
    let mut query = CommandQuery { state: CommandFilter::Open, size: PageSize::MAX, ..CommandQuery::default() };
    let mut agents = BTreeSet::new();
    loop {
        let page = fleet.store().commands(&query).await?;
        agents.extend(page.items.iter().filter(|row| !row.record.signatures.is_empty()).map(|row| row.record.audience.agent));
        match page.next {
            Some(next) => query.after = Some(next),
            None => break,
        }
    }
    for agent in agents {
        recall(fleet, agent).await?;
    }
    Ok(())
}

async fn find(store: &dyn Store, id: Digest) -> Result<Option<(ListedKey, Record)>, StoreError> {
    store.get(NAMESPACE, &id.to_string()).await?.map(|record| Ok((read(&record)?, record))).transpose()
}

fn read(record: &Record) -> Result<ListedKey, StoreError> {
    serde_json::from_str(&record.value).map_err(|error| StoreError::caused(StoreErrorKind::Corrupt, error))
}

fn json(key: &ListedKey) -> String {
    serde_json::to_string(key).expect("listed keys always serialise")
}

#[cfg(test)]
mod tests {
    use super::*;
    use redflag_core::MemoryStore;

    fn key(seed: u8) -> PersonKey {
        PersonKey::new(ed25519_dalek::SigningKey::from_bytes(&[seed; 32]).verifying_key().to_bytes()).unwrap()
    }

    fn new(person: &str, seed: u8) -> NewKey {
        NewKey { person: person.parse().unwrap(), public_key: key(seed), label: None, by: root() }
    }

    fn root() -> By {
        By::CommandLine { name: Text::lossy("root") }
    }

    #[tokio::test]
    async fn a_key_is_one_persons_and_never_listed_again_once_revoked() {
        let log = AuditLog::new(Fleet::new(MemoryStore::new()));
        let store = log.fleet().store();
        assert!(matches!(list(&log, new("ada", 1)).await, Err(KeyError::NoAccount(_))));
        accounts(store).await;
        let listed = list(&log, new("ADA", 1)).await.unwrap();
        assert_eq!(listed.person.as_str(), "ada");
        assert_eq!(list(&log, new("ada", 1)).await.unwrap(), listed, "the same again");
        assert!(matches!(list(&log, new("grace", 1)).await, Err(KeyError::Taken { person, .. }) if person.as_str() == "ada"));
        list(&log, new("ada", 2)).await.unwrap();
        let people = counting(store).await.unwrap();
        assert_eq!([1, 2].map(|seed| people.person(&key(seed).id()).unwrap().as_str()), ["ada", "ada"]);
        let revoked = revoke(&log, key(1).id(), root(), Some(Text::lossy("lost"))).await.unwrap().unwrap();
        assert_eq!(revoke(&log, key(1).id(), By::CommandLine { name: Text::lossy("eve") }, None).await.unwrap(), Some(revoked), "once");
        assert_eq!(revoke(&log, key(9).id(), root(), None).await.unwrap(), None);
        assert!(matches!(list(&log, new("ada", 1)).await, Err(KeyError::Revoked(_))));
        let people = counting(store).await.unwrap();
        assert_eq!([1, 2].map(|seed| people.person(&key(seed).id()).is_some()), [false, true]);
        assert_eq!(keys(store).await.unwrap().len(), 2, "a revoked key is still shown");
        let put_down = log.entries(1..=10).await.unwrap().into_iter().map(|link| link.entry.kind);
        let (listed, revoked) = (AuditKind::SignerListed, AuditKind::SignerRevoked);
        assert_eq!(put_down.collect::<Vec<_>>(), [AuditKind::LogBegun, listed, listed, revoked], "each once");
        access::set_standing(store, &"ada".parse().unwrap(), Standing::Disabled).await.unwrap();
        assert_eq!(counting(store).await.unwrap(), People::default(), "whose account is disabled signs nothing");
    }

    async fn accounts(store: &dyn Store) {
        for name in ["ada", "grace"] {
            access::add_account(store, name.parse().unwrap(), access::Role::Approver).await.unwrap();
        }
    }

    #[tokio::test]
    async fn keys_have_a_limit() {
        let log = AuditLog::new(Fleet::new(MemoryStore::new()));
        let store = log.fleet().store();
        accounts(store).await;
        for number in 1..KEYS_MAX {
            let seed = number.to_be_bytes();
            let secret: [u8; 32] = std::array::from_fn(|at| seed[at % seed.len()]);
            let public_key = PersonKey::new(ed25519_dalek::SigningKey::from_bytes(&secret).verifying_key().to_bytes()).unwrap();
            let listed = ListedKey { public_key, ..listed() };
            store.put(NAMESPACE, &public_key.id().to_string(), &json(&listed), Expected::Absent).await.unwrap();
        }
        list(&log, new("ada", 1)).await.unwrap();
        assert!(matches!(list(&log, new("ada", 2)).await, Err(KeyError::TooMany)));
    }

    fn listed() -> ListedKey {
        let NewKey { person, public_key, label, by } = new("ada", 1);
        ListedKey { person, public_key, label, listed_by: name(&by), listed_at: Timestamp::MAX, revoked: None }
    }

    #[test]
    fn what_proves_nothing_is_no_key() {
        assert_eq!(key(1).to_string().parse::<PersonKey>().unwrap(), key(1));
        for wrong in ["", "x", "AAAA", &key(1).to_string()[..40], &STANDARD.encode([0; 32])] {
            assert!(wrong.parse::<PersonKey>().is_err(), "{wrong}");
        }
    }
}

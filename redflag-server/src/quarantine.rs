//! Agents in quarantine: nothing is taken from their key and nothing is handed out to it until an administrator decides. Nothing of
//! their record is changed.
//!
//! A key comes here when two hosts sign with it; the rule is in the documentation of the guard of replays. The administrator removes the
//! agent, so that both hosts are enrolled anew, or lets the key out once only one host has it.

use crate::{access, app::App, audit::AuditLog, problem::Problem};
use redflag_core::{
    audit::{
        AuditKind, FactName,
        entry::{By, Note},
    },
    ids::AgentId,
    names::Text,
    store::{Expected, Record, Store, StoreError, StoreErrorKind},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const NAMESPACE: &str = "quarantine";
const RECORDS_PER_READ: u32 = 500;

/// Since when and why an agent is in quarantine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    /// Since when.
    pub at: Timestamp,
    /// Why, for people.
    pub reason: Text,
}

/// The quarantine of an agent; none when it is not in any.
///
/// # Errors
/// When the store fails.
pub async fn of(store: &dyn Store, agent: AgentId) -> Result<Option<Quarantine>, StoreError> {
    store.get(NAMESPACE, &agent.to_string()).await?.as_ref().map(parse).transpose()
}

/// Every agent in quarantine.
///
/// # Errors
/// When the store fails.
pub async fn all(store: &dyn Store) -> Result<BTreeMap<AgentId, Quarantine>, StoreError> {
    let mut found = BTreeMap::new();
    let mut after: Option<String> = None;
    loop {
        let records = store.list(NAMESPACE, after.as_deref(), RECORDS_PER_READ).await?;
        for (key, record) in &records {
            let agent = key.parse().map_err(|error| StoreError::caused(StoreErrorKind::Corrupt, error))?;
            found.insert(agent, parse(record)?);
        }
        match records.into_iter().next_back() {
            Some((key, _)) => after = Some(key),
            None => return Ok(found),
        }
    }
}

/// Puts an agent into quarantine because two hosts sign with its key. One that is there already stays as it is.
///
/// # Errors
/// When the store fails.
pub(crate) async fn two_hosts(app: &App, agent: AgentId) -> Result<(), StoreError> {
    let reason = Text::lossy("two hosts sign with its key: its state directory, or its whole machine, was copied");
    let quarantine = Quarantine { at: app.now(), reason };
    let value = serde_json::to_string(&quarantine).map_err(|error| StoreError::caused(StoreErrorKind::Corrupt, error))?;
    if app.fleet.store().put(NAMESPACE, &agent.to_string(), &value, Expected::Absent).await?.is_some() {
        tracing::error!(%agent, "two hosts sign with one key: the agent is in quarantine");
        let note = Note::new(AuditKind::AgentQuarantined, By::Server, quarantine.at);
        app.audit.note(note.with(FactName::Agent, agent).with(FactName::Reason, &quarantine.reason)).await?;
    }
    Ok(())
}

/// Lets an agent out of quarantine; answers the quarantine that ended.
///
/// # Errors
/// When the store fails.
pub async fn release(audit: &AuditLog, agent: AgentId, by: By, now: Timestamp) -> Result<Option<Quarantine>, StoreError> {
    let (store, key) = (audit.fleet().store(), agent.to_string());
    while let Some(record) = store.get(NAMESPACE, &key).await? {
        let note = Note::new(AuditKind::QuarantineLifted, by.clone(), now);
        audit.note(note.with(FactName::Agent, agent)).await?;
        if store.delete(NAMESPACE, &key, record.revision).await? {
            tracing::info!(%agent, %by, "an agent was let out of quarantine");
            return parse(&record).map(Some);
        }
    }
    Ok(None)
}

/// Forgets the quarantine of an agent that was removed, and what it signed with.
///
/// # Errors
/// When the store fails.
pub async fn forget(store: &dyn Store, agent: AgentId) -> Result<(), StoreError> {
    access::forget_signatures(store, agent).await?;
    let key = agent.to_string();
    while let Some(record) = store.get(NAMESPACE, &key).await? {
        if store.delete(NAMESPACE, &key, record.revision).await? {
            break;
        }
    }
    Ok(())
}

/// Refuses an agent in quarantine.
///
/// # Errors
/// 403 when it is in quarantine; 503 when the store fails.
pub(crate) async fn admit(store: &dyn Store, agent: AgentId) -> Result<(), Problem> {
    match of(store, agent).await? {
        None => Ok(()),
        Some(Quarantine { at, reason }) => {
            let detail = format!("this agent is in quarantine since {at}: {reason}; an administrator decides");
            Err(Problem::forbidden("quarantined", detail).because(format!("agent {agent} is in quarantine")))
        }
    }
}

fn parse(record: &Record) -> Result<Quarantine, StoreError> {
    serde_json::from_str(&record.value).map_err(|error| StoreError::caused(StoreErrorKind::Corrupt, error))
}

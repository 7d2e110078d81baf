//! What an entry says of a command, and how the command that is stored now is held against it.
//!
//! A record changes on its way, so a digest of all of it proves only that nothing changed since. Parts of it never change once they are
//! there, and each has a digest of its own: what is ordered, on whose consent and on which terms, from the request on; what was signed and
//! the signatures of people, from the first delivery on; how it ended, from the end on; each late result.

use super::{
    entry::{By, Entry, Note},
    kind::{AuditKind, FactName},
};
use crate::{
    command::{
        envelope::Envelope,
        record::{CommandRecord, End},
    },
    ids::{AgentId, CommandId, Digest},
    time::Timestamp,
};
use serde::Serialize;

/// What is put down of a step of a command, as it stands after it.
#[must_use]
pub fn note(kind: AuditKind, by: By, record: &CommandRecord, at: Timestamp) -> Note {
    Note::new(kind, by, at)
        .with(FactName::Agent, record.audience.agent)
        .with(FactName::Command, record.id)
        .with(FactName::Action, record.action.kind())
        .with(FactName::State, record.state)
        .with(FactName::Revision, record.revision)
        .with(FactName::Digest, whole(record))
        .with(FactName::Order, ordered(record))
        .with_some(FactName::Counter, record.counter)
        .with_some(FactName::Envelope, delivered(record))
        .with_some(FactName::Result, record.end.as_ref().map(said))
}

/// What is put down of a result that came late: beside what [`note`] says, the digest of that result.
#[must_use]
pub fn late_note(by: By, record: &CommandRecord, late: &End, at: Timestamp) -> Note {
    note(AuditKind::CommandSaidLate, by, record, at).with(FactName::Late, said(late))
}

/// The command an entry is about, where [`note`] wrote it.
#[must_use]
pub fn of_entry(entry: &Entry) -> Option<(AgentId, CommandId)> {
    entry.facts.get(&FactName::Order)?;
    let fact = |name| entry.facts.get(&name).map(|text| text.as_str());
    Some((fact(FactName::Agent)?.parse().ok()?, fact(FactName::Command)?.parse().ok()?))
}

/// Holds the command as it is stored now against what an entry says of it.
///
/// # Errors
/// With what differs, for people.
pub fn hold_against(entry: &Entry, record: &CommandRecord) -> Result<(), String> {
    let ended = record.end.as_ref().map(|end| end.how.state());
    if ended != Some(record.state).filter(|state| !state.open()) {
        return Err("where it stands and how it ended do not go together".to_owned());
    }
    let held = |name, what: &str, now: Option<String>| match entry.facts.get(&name) {
        Some(then) if now.as_deref() != Some(then.as_str()) => Err(format!("{what} is not as it was")),
        _ => Ok(()),
    };
    held(FactName::Order, "what it orders, on whose consent or on which terms,", Some(ordered(record).to_string()))?;
    held(FactName::Action, "its action", Some(record.action.kind().to_string()))?;
    if entry.facts.contains_key(&FactName::Envelope) {
        held(FactName::Counter, "its counter", record.counter.map(|counter| counter.to_string()))?;
    }
    held(FactName::Envelope, "what was handed out, or a signature on it,", delivered(record).map(|digest| digest.to_string()))?;
    held(FactName::Result, "how it ended", record.end.as_ref().map(|end| said(end).to_string()))?;
    if let Some(late) = entry.facts.get(&FactName::Late)
        && !record.late.iter().any(|end| said(end).to_string() == late.as_str())
    {
        return Err("what was said late is not as it was".to_owned());
    }
    let revision = entry.facts.get(&FactName::Revision).and_then(|revision| revision.as_str().parse::<u64>().ok());
    match revision.map(|then| record.revision.cmp(&then)) {
        Some(std::cmp::Ordering::Less) => Err("it is as it was before".to_owned()),
        Some(std::cmp::Ordering::Equal) => held(FactName::Digest, "something of it", Some(whole(record).to_string())),
        Some(std::cmp::Ordering::Greater) | None => Ok(()),
    }
}

/// All that is stored of it.
fn whole(record: &CommandRecord) -> Digest {
    digest("redflag audited command v1", record)
}

/// What never changes from the request on.
fn ordered(record: &CommandRecord) -> Digest {
    let CommandRecord { id, audience, action, approvals, terms, request, follows, not_before, expires_at, .. } = record;
    digest("redflag audited order v1", &(id, audience, action, approvals, terms, request, follows, not_before, expires_at))
}

/// What was signed, byte for byte, and the signatures of people; none before it was delivered.
fn delivered(record: &CommandRecord) -> Option<Digest> {
    let payload = record.payload().filter(|_| record.delivered())?;
    let signatures = serde_json::to_vec(&record.signatures).expect("signatures always serialise");
    Some(Digest::of("redflag audited envelope v1", &[&Envelope::around(&payload).bytes_to_sign(), &signatures]))
}

/// How it ended, or what was said late.
fn said(end: &End) -> Digest {
    digest("redflag audited result v1", end)
}

fn digest(purpose: &str, content: &impl Serialize) -> Digest {
    Digest::of(purpose, &[&serde_json::to_vec(content).expect("commands always serialise")])
}

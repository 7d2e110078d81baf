//! What a server says when it starts: on which terms, with which keys, and what of that is not as it was at the last start.
//!
//! Keys are files and terms are options, so nobody sees them change but the server that starts with others. The last start is an entry of
//! the log; where that entry stands is remembered beside the log, so that a start need not read through it.

use super::AuditLog;
use crate::app::App;
use redflag_core::{
    audit::{
        AuditKind, FactName,
        entry::{By, Entry, Note},
    },
    ids::Digest,
    store::{Expected, StoreError, StoreErrorKind},
};

/// The namespace, and the key in it, of the number of the newest [`AuditKind::ServerStarted`].
const STARTED: (&str, &str) = ("audit-started", "entry");
/// What is told of terms.
const TERMS: [FactName; 4] = [FactName::Mode, FactName::Count, FactName::Scopes, FactName::SecondFactor];
/// Entries behind which a start is looked for that was just put down.
const BEHIND: u64 = 500;

/// Says that a server starts: its version, whose keys sign commands and checkpoints, what may be installed without a second look, and whether
/// signing in takes a second factor; and, in the same block, what of it is another than at the last start.
///
/// # Errors
/// When the store fails, or the end of the log is damaged.
///
/// # Cancel safety
/// Cancelled, nothing is put down or all of it; then the next start may say once more what changed.
pub async fn begin(app: &App) -> Result<(), StoreError> {
    let (log, terms) = (&app.audit, &app.settings.terms);
    let effects: Vec<&str> = terms.side_effects.iter().map(|effect| effect.as_str()).collect();
    let started = note(app, AuditKind::ServerStarted)
        .with(FactName::Version, env!("CARGO_PKG_VERSION"))
        .with(FactName::Mode, terms.mode)
        .with(FactName::Count, terms.signatures_min)
        .with(FactName::Scopes, effects.join(" "))
        .with(FactName::SecondFactor, if app.settings.second_factor_required { "required" } else { "optional" })
        .with(FactName::KeyId, app.signing_key.id())
        .with(FactName::AuditKeyId, app.audit_key.id());
    let before = log.place().await?.number;
    let mut notes = vec![started.clone()];
    if let Some(last) = last(log).await? {
        notes.extend(signing_key_changed(app, &last));
        notes.extend(terms_changed(app, &last, &started));
        notes.extend(audit_key_changed(app, Some(&last)).await?);
    } else {
        notes.extend(audit_key_changed(app, None).await?);
    }
    log.note_all(notes).await?;
    remember(log, before).await
}

fn note(app: &App, kind: AuditKind) -> Note {
    Note::new(kind, By::Server, app.now())
}

fn signing_key_changed(app: &App, last: &Entry) -> Option<Note> {
    let (old, new) = (last.facts.get(&FactName::KeyId)?, app.signing_key.id());
    (old.as_str() != new.to_string()).then(|| {
        tracing::warn!(%old, %new, "another key of this server signs commands than at the last start");
        note(app, AuditKind::SigningKeyChanged).with(FactName::OldKeyId, old).with(FactName::KeyId, new)
    })
}

fn terms_changed(app: &App, last: &Entry, started: &Note) -> Option<Note> {
    TERMS.iter().any(|name| last.facts.get(name).is_some_and(|then| started.fact(*name) != Some(then))).then(|| {
        let told = |name| last.facts.get(&name).map_or("", |text| text.as_str());
        let (mode, count, effects) = (told(FactName::Mode), told(FactName::Count), told(FactName::Scopes));
        let factor = told(FactName::SecondFactor);
        let before = format!("{mode}, {count} signatures of people, side effects: {effects}, second factor: {factor}");
        tracing::warn!(before, "commands are signed and installed on other terms than at the last start");
        let changed = note(app, AuditKind::TermsChanged).with(FactName::Before, before);
        TERMS.iter().fold(changed, |note, name| note.with_some(*name, started.fact(*name)))
    })
}

/// The last start knows which key signs checkpoints; before there was one, the newest checkpoint does.
async fn audit_key_changed(app: &App, last: Option<&Entry>) -> Result<Option<Note>, StoreError> {
    let told = last.and_then(|last| last.facts.get(&FactName::AuditKeyId)).and_then(|id| id.as_str().parse::<Digest>().ok());
    let old = match told {
        Some(old) => Some(old),
        None => app.audit.newest_checkpoint().await?.map(|newest| newest.key_id),
    };
    let new = app.audit_key.id();
    Ok(old.filter(|old| *old != new).map(|old| {
        tracing::warn!(%old, %new, "another key signs the checkpoints of the audit log from now on; agents will not believe it by themselves");
        note(app, AuditKind::AuditKeyChanged).with(FactName::OldKeyId, old).with(FactName::KeyId, new)
    }))
}

/// The entry of the last start. None in a log without one, and where it cannot be read: `verify` names what is damaged there.
async fn last(log: &AuditLog) -> Result<Option<Entry>, StoreError> {
    match find(log).await {
        Err(error) if *error.kind() == StoreErrorKind::Corrupt => {
            let source = &error as &dyn std::error::Error;
            tracing::error!(error = source, "the entry of the last start cannot be read: what changed since is not put down");
            Ok(None)
        }
        found => found,
    }
}

async fn find(log: &AuditLog) -> Result<Option<Entry>, StoreError> {
    let (namespace, key) = STARTED;
    let remembered = log.fleet().store().get(namespace, key).await?.and_then(|record| record.value.parse::<u64>().ok());
    if let Some(number) = remembered
        && let Some(link) = log.entries(number..=number).await?.pop()
        && link.entry.kind == AuditKind::ServerStarted
    {
        return Ok(Some(link.entry));
    }
    let mut before = None;
    loop {
        let (mut found, next) = log.backwards(before, 1, |entry| entry.kind == AuditKind::ServerStarted).await?;
        match (found.pop(), next) {
            (Some(link), _) => return Ok(Some(link.entry)),
            (None, Some(next)) => before = Some(next),
            (None, None) => return Ok(None),
        }
    }
}

/// Remembers where the newest start stands, which came behind this entry.
async fn remember(log: &AuditLog, before: u64) -> Result<(), StoreError> {
    let entries = log.entries(before + 1..=before + BEHIND).await?;
    let Some(started) = entries.iter().rfind(|link| link.entry.kind == AuditKind::ServerStarted) else { return Ok(()) };
    let (store, (namespace, key)) = (log.fleet().store(), STARTED);
    let expected = store.get(namespace, key).await?.map_or(Expected::Absent, |record| Expected::Revision(record.revision));
    // When another server is quicker, its start is the one to be remembered.
    store.put(namespace, key, &started.entry.number.to_string(), expected).await.map(drop)
}
